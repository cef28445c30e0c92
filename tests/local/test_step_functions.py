"""State machines wait and are forgotten on the local cloud's clock, and what it refuses. What AWS
does: tests/conformance.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from startonce.aws import Aws
from startonce.local.clock import Clock
from startonce.local.states.redrive import Tokens, why_not
from tests.conftest import start_cloud, wait_for


def test_waits_pass_on_the_cloud_s_clock(aws: Aws, role: str) -> None:
    wait = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 60, "End": True}}}
    client = aws.client("stepfunctions")
    machine = client.create_state_machine(
        name=f"m-{uuid.uuid4().hex[:12]}", definition=json.dumps(wait), roleArn=role
    )["stateMachineArn"]
    execution = client.start_execution(stateMachineArn=machine)["executionArn"]
    wait_for(
        lambda: client.describe_execution(executionArn=execution)["status"] == "SUCCEEDED",
        seconds=20,
    )


FINE = {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}}


def branch(state: dict[str, Any]) -> dict[str, Any]:
    inner = {"StartAt": "B", "States": {"B": state}}
    return {"StartAt": "A", "States": {"A": {"Type": "Parallel", "Branches": [inner], "End": True}}}


def states(**given: dict[str, Any]) -> dict[str, Any]:
    return {"StartAt": "A", "States": given}


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        pytest.param({}, "These fields are required: [StartAt, States] at /", id="empty"),
        pytest.param(
            states(A={"Type": "Pass", "Next": "C"}, B={"Type": "Pass", "End": True}),
            "'MISSING_TRANSITION_TARGET: Missing 'Next' target: C at /States/A/Next, "
            'MISSING_TRANSITION_TARGET: State "B" is not reachable. at /States/B\'',
            id="transitions",
        ),
        pytest.param(
            branch({"Type": "Pass", "Next": "A"}),
            "Missing 'Next' target: A at /States/A/Branches[0]/States/B/Next",
            id="out of a branch",
        ),
        pytest.param(
            branch({"Type": "Task", "Resource": "x", "End": True}),
            "Value is not a valid resource ARN at /States/A/Branches[0]/States/B/Resource",
            id="resource",
        ),
        pytest.param(
            states(A={"Type": "Succeed", "End": True}),
            "The field 'End' is not supported in a Succeed state at /States/A",
            id="end of an end",
        ),
        pytest.param(
            states(A={"Type": "Pass", "ResultPath": "no path", "End": True}),
            "SCHEMA_VALIDATION_FAILED",
            id="left to the interpreter",
        ),
    ],
)
def test_a_definition_that_cannot_run_leaves_the_present_one(
    aws: Aws, role: str, definition: dict[str, Any], message: str
) -> None:
    client = aws.client("stepfunctions")
    machine = client.create_state_machine(
        name=f"m-{uuid.uuid4().hex[:12]}", definition=json.dumps(FINE), roleArn=role
    )["stateMachineArn"]
    with pytest.raises(ClientError) as caught:
        client.update_state_machine(stateMachineArn=machine, definition=json.dumps(definition))
    error = caught.value.response["Error"]
    assert error["Code"] == "InvalidDefinition"
    assert message in error["Message"]
    described = client.describe_state_machine(stateMachineArn=machine)
    assert json.loads(described["definition"]) == FINE


def test_a_catch_and_a_choice_lead_somewhere(aws: Aws, role: str) -> None:
    rule = {"Variable": "$.a", "IsPresent": True, "Next": "B"}
    definition = states(
        A={"Type": "Choice", "Choices": [rule], "Default": "C"},
        B={
            "Type": "Map",
            "ItemProcessor": FINE,
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "D"}],
            "Next": "C",
        },
        C={"Type": "Succeed"},
        D={"Type": "Fail"},
    )
    client = aws.client("stepfunctions")
    client.create_state_machine(
        name=f"m-{uuid.uuid4().hex[:12]}", definition=json.dumps(definition), roleArn=role
    )


def started(aws: Aws, role: str, definition: dict[str, Any], name: str = "one") -> tuple[str, str]:
    """The ARNs of a new state machine and of an execution of it that is over."""
    client = aws.client("stepfunctions")
    machine = client.create_state_machine(
        name=f"m-{uuid.uuid4().hex[:12]}", definition=json.dumps(definition), roleArn=role
    )["stateMachineArn"]
    execution = client.start_execution(stateMachineArn=machine, name=name)["executionArn"]
    wait_for(lambda: client.describe_execution(executionArn=execution)["status"] == "FAILED")
    return machine, execution


def refusal_of_redrive(aws: Aws, execution: str) -> dict[str, Any]:
    with pytest.raises(ClientError) as caught:
        aws.client("stepfunctions").redrive_execution(executionArn=execution)
    error: dict[str, Any] = caught.value.response["Error"]
    return error


FAIL = {"StartAt": "F", "States": {"F": {"Type": "Fail"}}}
FAILING_MAP = {"Type": "Map", "ItemsPath": "$$.Execution", "ItemProcessor": FAIL, "End": True}


@pytest.mark.parametrize(
    ("definition", "what"),
    [
        pytest.param(branch({"Type": "Fail"}), "an unsuccessful Parallel state: 'A'", id="branch"),
        pytest.param(states(A=FAILING_MAP), "an unsuccessful Map state: 'A'", id="map"),
        pytest.param(
            states(
                A={"Type": "Pass", "Assign": {"a": 1}, "Next": "B"},
                B={"Type": "Fail"},
            ),
            "executions with Assign: 'A'",
            id="variables",
        ),
    ],
)
def test_what_cannot_be_restored_is_not_redriven(
    aws: Aws, role: str, definition: dict[str, Any], what: str
) -> None:
    _, execution = started(aws, role, definition)
    error = refusal_of_redrive(aws, execution)
    assert error["Code"] == "NotImplemented"
    assert error["Message"] == f"NotImplemented: the local cloud has no redrive of {what}"
    found = aws.client("stepfunctions").describe_execution(executionArn=execution)
    assert (found["status"], found["redriveCount"]) == ("FAILED", 0)


@pytest.fixture
def fast() -> Iterator[Aws]:
    """A cloud in which 14 days are a quarter of a second, and 90 days one and a half."""
    running = start_cloud("--speed", "5000000", "--no-iam")
    yield running.aws
    assert running.stop() == 0


def test_an_execution_is_redrivable_for_14_days_and_kept_for_90(fast: Aws) -> None:
    client = fast.client("stepfunctions")
    role = "arn:aws:iam::123456789012:role/nobody"
    machine, execution = started(fast, role, FAIL)

    def reason() -> str | None:
        text: str | None = client.describe_execution(executionArn=execution).get(
            "redriveStatusReason"
        )
        return text

    assert wait_for(reason) == "Execution redrivable period exceeded"
    assert refusal_of_redrive(fast, execution) == {
        "Code": "ExecutionNotRedrivable",
        "Message": "Execution redrivable period exceeded",
    }
    wait_for(lambda: not client.list_executions(stateMachineArn=machine)["executions"])
    with pytest.raises(client.exceptions.ExecutionDoesNotExist):
        client.describe_execution(executionArn=execution)
    with pytest.raises(client.exceptions.ExecutionDoesNotExist):
        client.get_execution_history(executionArn=execution)
    assert refusal_of_redrive(fast, execution)["Code"] == "ExecutionDoesNotExist"
    again = client.start_execution(stateMachineArn=machine, name="one", input='{"new": 1}')
    assert again["executionArn"] == execution
    assert client.describe_execution(executionArn=execution)["input"] == '{"new": 1}'


DAY = 24 * 60 * 60


@pytest.mark.parametrize(
    ("status", "events", "age", "closed_for", "reason"),
    [
        ("FAILED", 24_998, 365 * DAY, 14 * DAY, None),
        ("ABORTED", 5, 0, 0, None),
        ("TIMED_OUT", 5, 0, 0, None),
        ("FAILED", 24_999, 0, 0, "Execution history event limit exceeded"),
        ("FAILED", 5, 365 * DAY + 1, 0, "Execution has exceeded the max execution time"),
        ("FAILED", 5, 20 * DAY, 14 * DAY + 1, "Execution redrivable period exceeded"),
    ],
)
def test_when_an_execution_can_be_redriven(
    status: str, events: int, age: float, closed_for: float, reason: str | None
) -> None:
    assert why_not(status, events, age, closed_for) == reason


class ClockByHand(Clock):
    """Shows what it is set to."""

    shown = 0.0

    def now(self) -> float:
        return self.shown


@pytest.fixture
def by_hand() -> Iterator[ClockByHand]:
    clock = ClockByHand()
    yield clock
    clock.stop()


def test_a_client_token_is_known_for_15_minutes(by_hand: ClockByHand) -> None:
    tokens, date = Tokens(by_hand), datetime.now(UTC)
    tokens.keep("a", date)
    by_hand.shown = 15 * 60
    assert tokens.date_of("a") == date
    by_hand.shown = 15 * 60 + 1
    assert tokens.date_of("a") is None


def test_the_last_ten_client_tokens_are_known(by_hand: ClockByHand) -> None:
    tokens, date = Tokens(by_hand), datetime.now(UTC)
    for number in range(11):
        tokens.keep(str(number), date)
    known = [number for number in range(12) if tokens.date_of(str(number))]
    assert known == list(range(1, 11))
