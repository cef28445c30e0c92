"""docs/failures.md, "NotifyUser": what nobody can take back is not done twice unasked."""

from __future__ import annotations

import pytest

from tests.conftest import wait_for
from tests.failures.matrix import Row, shows
from tests.failures.trouble import Event, Trouble

EXIT, TIMED_OUT = "Runtime.ExitError", "Sandbox.Timedout"


def failed(trouble: Trouble, event: Event) -> tuple[str, str]:
    failure = trouble.failure(event)
    return failure["error"], failure["redrive"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param(
            "notifyUser:exception",
            "InjectedFault",
            marks=shows("NotifyUser raises before it publishes"),
        ),
        pytest.param(
            "notifyUser:exit-after", EXIT, marks=shows("NotifyUser dies after it published")
        ),
        pytest.param(
            "notifyUser:exit-after",
            EXIT,
            marks=shows("NotifyUser dies after it published, and is redriven all the same"),
        ),
        pytest.param(
            "notifyUser:timeout-after",
            TIMED_OUT,
            marks=shows("NotifyUser's function times out after it published"),
        ),
        pytest.param(
            "notifyUser:memory-after",
            EXIT,
            marks=shows("NotifyUser runs out of memory after it published"),
        ),
        pytest.param(
            "notifyUser:service-error-after",
            "Lambda.ServiceException",
            marks=shows("Lambda answers 5xx after NotifyUser ran"),
        ),
        pytest.param(
            "sns.Publish:service-error",
            "InternalErrorException",
            marks=shows("the notification topic answers 5xx"),
        ),
        pytest.param(
            "sns.Publish:disconnect-after",
            "ConnectionClosedError",
            marks=shows("the topic's answer is lost after it published"),
        ),
    ],
)
def test_it_may_have_published(trouble: Trouble, row: Row, fault: str, error: str) -> None:
    with trouble.configured("notifyUser", Timeout=2):
        trouble.fail(fault)
        event = trouble.publish()
        trouble.end(event, row)
    assert failed(trouble, event) == (error, "may_repeat")
    trouble.put_right(event, row)


@shows("NotifyUser's task times out")
def test_its_task_times_out(trouble: Trouble, row: Row) -> None:
    # A function that runs longer than its task waits.
    with trouble.configured("notifyUser", Timeout=trouble.timeout("notifyUser") + 2):
        trouble.fail("notifyUser:timeout")
        event = trouble.publish()
        trouble.end(event, row)
    assert failed(trouble, event) == ("States.Timeout", "may_repeat")
    trouble.put_right(event, row)


@shows("NotifyUser is throttled")
def test_throttled(trouble: Trouble, row: Row) -> None:
    trouble.fail("notifyUser:throttle")
    trace = trouble.end(trouble.publish(), row)
    assert [step.tries for step in trace.executions[0].steps] == [1, 2]


@shows("NotifyUser is throttled for minutes")
def test_throttled_for_minutes(trouble: Trouble, row: Row) -> None:
    trouble.fail("notifyUser:throttle:9")
    event = trouble.publish()
    trouble.end(event, row)
    assert failed(trouble, event) == ("Lambda.TooManyRequestsException", "safe")
    trouble.put_right(event, row)


def test_what_may_have_been_done_is_not_redriven_unasked(trouble: Trouble) -> None:
    trouble.fail("notifyUser:exit-after")
    event = trouble.publish()
    wait_for(lambda: trouble.outcome(event).failures)
    trouble.service.startonce("redrive", "--all", code=1)
    outcome = trouble.outcome(event)
    assert (outcome.figures, len(outcome.failures)) == ((1, 1, 1), 1)
