"""State machines wait on the local cloud's clock. What AWS does: tests/conformance."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from startonce.aws import Aws
from tests.conftest import wait_for


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
