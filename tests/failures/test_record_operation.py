"""docs/failures.md, "RecordOperation": what is tried again, and what goes to the failure queue."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.conftest import wait_for
from tests.failures.matrix import Row, shows
from tests.failures.trouble import Event, Trouble
from tests.service import operation


def errors(trouble: Trouble, event: Event) -> list[str]:
    """The errors of the steps' tries, in their order."""
    found = []
    for one in trouble.history(event):
        if one["type"] in ("TaskFailed", "TaskTimedOut", "LambdaFunctionFailed"):
            [details] = [value for key, value in one.items() if key.endswith("Details")]
            found.append(details["error"])
        elif one["type"] == "LambdaFunctionTimedOut":
            found.append("States.Timeout")
    return found


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("exception", marks=shows("RecordOperation raises an exception")),
        pytest.param("exception-after", marks=shows("RecordOperation raises after it wrote")),
    ],
)
def test_it_raises(trouble: Trouble, row: Row, kind: str) -> None:
    trouble.fail(f"recordOperation:{kind}")
    event = trouble.publish()
    trouble.end(event, row)
    failure = trouble.failure(event)
    assert (failure["error"], failure["redrive"]) == ("InjectedFault", "safe")
    assert trouble.history(event)[-1]["executionFailedEventDetails"]["error"] == (
        "States.NoChoiceMatched"
    )
    trouble.put_right(event, row)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        pytest.param(
            "timeout", "Sandbox.Timedout", marks=shows("RecordOperation's function times out")
        ),
        pytest.param(
            "timeout-after",
            "Sandbox.Timedout",
            marks=shows("RecordOperation's function times out after it wrote"),
        ),
        pytest.param(
            "memory-after",
            "Runtime.ExitError",
            marks=shows("RecordOperation runs out of memory after it wrote"),
        ),
        pytest.param(
            "throttle",
            "Lambda.TooManyRequestsException",
            marks=shows("RecordOperation is throttled"),
        ),
        pytest.param(
            "service-error-after",
            "Lambda.ServiceException",
            marks=shows("Lambda answers 5xx after RecordOperation ran"),
        ),
    ],
)
def test_it_is_tried_again(trouble: Trouble, row: Row, kind: str, error: str) -> None:
    with trouble.configured("recordOperation", Timeout=2):
        trouble.fail(f"recordOperation:{kind}")
        event = trouble.publish()
        trace = trouble.end(event, row)
    assert errors(trouble, event) == [error]
    assert [step.tries for step in trace.executions[0].steps] == [2, 1]


@shows("RecordOperation's task times out")
def test_its_task_times_out(trouble: Trouble, row: Row) -> None:
    # A function that runs longer than its task waits.
    with trouble.configured("recordOperation", Timeout=trouble.timeout("recordOperation") + 2):
        trouble.fail("recordOperation:timeout")
        event = trouble.publish()
        trouble.end(event, row)
    assert errors(trouble, event) == ["States.Timeout"]


@shows("the table throttles")
def test_the_table_throttles(trouble: Trouble, row: Row) -> None:
    trouble.fail("dynamodb.PutItem:throttle:2")
    event = trouble.publish()
    trouble.end(event, row)
    assert errors(trouble, event) == ["TableUnavailable"]


@shows("the table's answer is lost after it wrote")
def test_the_table_s_answer_is_lost(trouble: Trouble, row: Row) -> None:
    trouble.fail("dynamodb.PutItem:disconnect-after")
    event = trouble.publish()
    trouble.end(event, row)
    assert errors(trouble, event) == []


@shows("the message is no operation")
def test_the_message_is_no_operation(trouble: Trouble, row: Row) -> None:
    event = trouble.publish(operation="")
    trouble.end(event, row)
    failure = trouble.failure(event)
    assert (failure["error"], failure["redrive"]) == ("InvalidOperation", "useless")
    assert trouble.history(event)[-1]["executionFailedEventDetails"]["error"] == "InvalidOperation"
    trouble.put_right(event, row)


@shows("S3 does not give a large event")
def test_s3_does_not_give_a_large_event(trouble: Trouble, row: Row) -> None:
    trouble.fail("s3.GetObject:service-error:2")
    event = trouble.publish(details="x" * 260_000)
    trouble.end(event, row)
    assert errors(trouble, event) == ["EventUnavailable"]


@shows("a large event is gone from its bucket")
def test_a_large_event_is_gone(trouble: Trouble, row: Row) -> None:
    trouble.fail("recordOperation:throttle:100%")
    event = trouble.publish(details="x" * 260_000)
    wait_for(lambda: trouble.outcome(event).executions)
    [name] = trouble.outcome(event).executions
    bucket = trouble.service.stack.large_events_bucket
    trouble.client("s3").delete_object(Bucket=bucket, Key=name)
    trouble.mend()
    trouble.end(event, row)
    assert trouble.failure(event)["error"] == "EventGone"


@shows("RecordOperation's answer is over 256 KiB")
def test_its_answer_is_too_large(trouble: Trouble, row: Row) -> None:
    # More than SNS takes, but not more than Lambda does.
    user, message_id = f"user-{uuid.uuid4().hex[:8]}", str(uuid.uuid4())
    message = json.dumps(operation(user_id=user + "x" * 300_000))
    trouble.deliver({"Records": [{"Sns": {"MessageId": message_id, "Message": message}}]})
    event = Event(user, message_id)
    trouble.end(event, row)
    assert trouble.failure(event)["error"] == "States.DataLimitExceeded"
