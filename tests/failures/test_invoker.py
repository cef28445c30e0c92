"""docs/failures.md, "The invoker": how its attempts end, and where the event is then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from startonce.deploy import deploy
from startonce.trace import Trace
from tests.conftest import start_cloud, wait_for
from tests.failures.conftest import SPEED
from tests.failures.matrix import Row, shows
from tests.failures.trouble import Event, Trouble
from tests.service import all_messages, deploy_service

STARTED, ALREADY, FAILED = "started", "already_started", "failed"


def outcomes(trace: Trace) -> list[str | None]:
    return [attempt.outcome for attempt in trace.attempts]


def errors(trouble: Trouble, event: Event) -> list[str]:
    """What the attempts for the event logged as their errors."""
    client, group = trouble.client("logs"), trouble.service.stack.invoker_log_group
    pages = client.get_paginator("filter_log_events").paginate(logGroupName=group)
    texts = [one["message"] for page in pages for one in page["events"]]
    lines = [json.loads(text) for text in texts if event.message_id in text]
    return [line["error"] for line in lines if "error" in line]


def given_up(trouble: Trouble, event: Event) -> tuple[str, str]:
    """The condition and the error type in Lambda's record."""
    body = trouble.failure(event)
    payload = body.get("responsePayload") or {}
    return body["requestContext"]["condition"], payload.get("errorType", "")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        pytest.param(
            "exception", "error", marks=shows("exception before the execution is started")
        ),
        pytest.param("timeout", "timeout", marks=shows("time-out before the execution is started")),
        pytest.param(
            "memory", "error", marks=shows("out of memory before the execution is started")
        ),
    ],
)
def test_an_attempt_fails_before(trouble: Trouble, row: Row, kind: str, status: str) -> None:
    with trouble.configured("invoker", Timeout=2):
        trouble.fail(f"invoker:{kind}")
        trace = trouble.end(trouble.publish(), row, attempts=None)
    # The attempt that never reached the handler has no line with the message's ID, so that only
    # the second one is known to be for it by more than its request ID.
    assert outcomes(trace) == [None, STARTED]
    assert trace.attempts[0].status == status


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        pytest.param(
            "exception", "error", marks=shows("exception after the execution was started")
        ),
        pytest.param("timeout", "timeout", marks=shows("time-out after the execution was started")),
        pytest.param(
            "memory", "error", marks=shows("out of memory after the execution was started")
        ),
        pytest.param(
            "exit", "error", marks=shows("the process exits after the execution was started")
        ),
    ],
)
def test_an_attempt_fails_after(trouble: Trouble, row: Row, kind: str, status: str) -> None:
    with trouble.configured("invoker", Timeout=2):
        trouble.fail(f"invoker:{kind}-after")
        trace = trouble.end(trouble.publish(), row, attempts=2)
    assert outcomes(trace) == [STARTED, ALREADY]
    assert trace.attempts[0].status == status


@shows("throttled")
def test_throttled(trouble: Trouble, row: Row) -> None:
    trouble.fail("invoker:throttle:5")
    assert outcomes(trouble.end(trouble.publish(), row)) == [STARTED]


@shows("throttled for six hours")
def test_throttled_for_six_hours(trouble: Trouble, row: Row) -> None:
    trouble.fail("invoker:throttle:100%")
    event = trouble.publish()
    wait_for(lambda: trouble.cloud.struck().get("invoker:throttle", 0) > 5)
    trouble.cloud.advance(6 * 3600)
    trouble.end(event, row, attempts=0)
    assert given_up(trouble, event) == ("EventAgeExceeded", "")
    trouble.mend()
    trouble.put_right(event, row)


@shows("the variable is absent for a minute")
def test_the_variable_is_absent_for_a_minute(trouble: Trouble, row: Row) -> None:
    with trouble.configured("invoker", Environment={"Variables": {}}):
        event = trouble.publish()
        wait_for(lambda: errors(trouble, event))
    trace = trouble.end(event, row, attempts=None)
    assert set(errors(trouble, event)) == {"MissingVariable"}
    assert outcomes(trace)[-1] == STARTED


@shows("the variable is absent")
def test_the_variable_is_absent(trouble: Trouble, row: Row) -> None:
    with trouble.configured("invoker", Environment={"Variables": {}}):
        event = trouble.publish()
        trouble.end(event, row, attempts=3)
    assert given_up(trouble, event) == ("RetriesExhausted", "MissingVariable")
    trouble.put_right(event, row)


@shows("Step Functions throttles one attempt")
def test_step_functions_throttles_one_attempt(trouble: Trouble, row: Row) -> None:
    trouble.fail("states.StartExecution:throttle:2")
    event = trouble.publish()
    assert outcomes(trouble.end(event, row, attempts=2)) == [FAILED, STARTED]


@shows("Step Functions throttles every attempt")
def test_step_functions_throttles_every_attempt(trouble: Trouble, row: Row) -> None:
    trouble.fail("states.StartExecution:throttle:6")
    event = trouble.publish()
    trouble.end(event, row, attempts=3)
    assert given_up(trouble, event)[0] == "RetriesExhausted"
    assert "ThrottlingException" in trouble.failure(event)["responsePayload"]["errorMessage"]
    trouble.put_right(event, row)


@pytest.mark.parametrize(
    ("kind", "then"),
    [
        pytest.param("service-error", {STARTED}, marks=shows("Step Functions answers 5xx")),
        # By its second call the execution may run or have ended; AWS answers differently.
        pytest.param(
            "service-error-after",
            {STARTED, ALREADY},
            marks=shows("Step Functions answers 5xx after it started the execution"),
        ),
        pytest.param(
            "disconnect-after",
            {STARTED, ALREADY},
            marks=shows("the answer is lost after the execution started"),
        ),
    ],
)
def test_one_call_of_step_functions_fails(
    trouble: Trouble, row: Row, kind: str, then: set[str]
) -> None:
    trouble.fail(f"states.StartExecution:{kind}")
    [outcome] = outcomes(trouble.end(trouble.publish(), row))
    assert outcome in then


@pytest.mark.parametrize(
    ("kind", "then"),
    [
        pytest.param("hang", STARTED, marks=shows("the connection to Step Functions hangs")),
        pytest.param(
            "hang-after", ALREADY, marks=shows("the connection hangs after the execution started")
        ),
    ],
)
def test_the_connection_hangs(trouble: Trouble, row: Row, kind: str, then: str) -> None:
    # Both of the SDK's attempts within the first attempt.
    trouble.fail(f"states.StartExecution:{kind}:2")
    event = trouble.publish()
    assert outcomes(trouble.end(event, row, attempts=2)) == [FAILED, then]
    assert errors(trouble, event) == ["ReadTimeoutError"]


@shows("the event is delivered twice at the same moment")
def test_the_event_is_delivered_twice(trouble: Trouble, row: Row) -> None:
    trouble.fail("invoker:duplicate")
    trace = trouble.end(trouble.publish(), row, attempts=2)
    assert len({attempt.request_id for attempt in trace.attempts}) == 1


@shows("all attempts fail before the execution is started")
def test_all_attempts_fail_before(trouble: Trouble, row: Row) -> None:
    trouble.fail("invoker:exception:3")
    event = trouble.publish()
    trouble.end(event, row, attempts=None)
    assert given_up(trouble, event) == ("RetriesExhausted", "InjectedFault")
    assert trouble.failure(event)["requestContext"]["approximateInvokeCount"] == 3
    trouble.put_right(event, row)


@shows("all attempts fail after the execution was started")
def test_all_attempts_fail_after(trouble: Trouble, row: Row) -> None:
    trouble.fail("invoker:exception-after:3")
    event = trouble.publish()
    trace = trouble.end(event, row, attempts=3)
    assert outcomes(trace) == [STARTED, ALREADY, ALREADY]
    trouble.put_right(event, row)


@shows("the invoker is deleted")
def test_the_invoker_is_deleted(own_trouble: Trouble, row: Row) -> None:
    name = own_trouble.function("invoker")
    own_trouble.client("lambda").delete_function(FunctionName=name)
    event = own_trouble.publish()
    own_trouble.end(event, row, attempts=0)
    assert own_trouble.failure(event)["MessageId"] == event.message_id
    own_trouble.put_right(event, row)


@shows("the topic may not invoke the invoker")
def test_the_topic_may_not_invoke(own_trouble: Trouble, row: Row) -> None:
    functions, name = own_trouble.client("lambda"), own_trouble.function("invoker")
    policy = json.loads(functions.get_policy(FunctionName=name)["Policy"])
    for statement in policy["Statement"]:
        functions.remove_permission(FunctionName=name, StatementId=statement["Sid"])
    event = own_trouble.publish()
    own_trouble.end(event, row, attempts=0)
    assert own_trouble.failure(event)["MessageId"] == event.message_id
    own_trouble.put_right(event, row)


@shows("the role may not start executions")
def test_the_role_may_not_start_executions(trouble: Trouble, row: Row) -> None:
    iam, functions = trouble.client("iam"), trouble.client("lambda")
    name = trouble.function("invoker")
    role = functions.get_function_configuration(FunctionName=name)["Role"].rpartition("/")[2]
    own = {"RoleName": role, "PolicyName": "invoker"}
    before = iam.get_role_policy(**own)["PolicyDocument"]
    kept = [one for one in before["Statement"] if one["Sid"] != "StartExecution"]
    iam.put_role_policy(**own, PolicyDocument=json.dumps({**before, "Statement": kept}))
    try:
        event = trouble.publish()
        trouble.end(event, row, attempts=3)
    finally:
        iam.put_role_policy(**own, PolicyDocument=json.dumps(before))
    assert "AccessDeniedException" in trouble.failure(event)["responsePayload"]["errorMessage"]
    trouble.put_right(event, row)


@shows("the event is larger than an execution's input")
def test_the_event_is_larger_than_an_input(trouble: Trouble, row: Row) -> None:
    trace = trouble.end(trouble.publish(details="ä" * 125_000 + '"' * 3_000), row)
    assert outcomes(trace) == [STARTED]
    assert all_messages(trouble.service.aws, trouble.service.stack.failure_queue_url) == []


@shows("the event is larger, and S3 answers 5xx")
def test_the_event_is_larger_and_s3_fails(trouble: Trouble, row: Row) -> None:
    trouble.fail("s3.PutObject:service-error")
    event = trouble.publish(details="x" * 260_000)
    assert outcomes(trouble.end(event, row, attempts=2)) == [FAILED, STARTED]


@shows("the event is larger, and there is no bucket")
def test_the_event_is_larger_and_there_is_no_bucket(tmp_path: Path, row: Row) -> None:
    cloud = start_cloud("--speed", SPEED)
    trouble = Trouble(deploy_service(cloud, tmp_path, "--param=largeEvents=off"))
    event = trouble.publish(details="x" * 260_000)
    trouble.end(event, row, attempts=3)
    assert given_up(trouble, event) == ("RetriesExhausted", "EventTooLarge")
    deploy(tmp_path, cloud.endpoint, "--param=largeEvents=bucket")
    trouble.put_right(event, row)
    assert cloud.stop() == 0
