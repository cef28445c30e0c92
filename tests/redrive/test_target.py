"""The stack is found by its name: this service's, or one that startonce was copied into."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from startonce.aws import Aws
from startonce.redrive.target import find_target
from startonce.stack import StackNotFoundError
from tests.redrive.messages import MACHINE, TOPIC

OUTPUTS = {
    "EventTopicArn": TOPIC,
    "FailureQueueUrl": "https://sqs/1/failures",
    "OrderFlowArn": MACHINE,
    "ServerlessDeploymentBucketName": "b",
}


class CloudFormation(Aws):
    meta = SimpleNamespace(region_name="eu-west-1", endpoint_url="https://cloudformation")

    def __init__(self, outputs: dict[str, str] | ClientError) -> None:
        self._outputs = outputs
        self.client = lambda service: self

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803
        if isinstance(self._outputs, ClientError):
            raise self._outputs
        named = [{"OutputKey": key, "OutputValue": text} for key, text in self._outputs.items()]
        return {"Stacks": [{"Outputs": named}]}


def test_a_copied_service_has_few_outputs() -> None:
    target = find_target(CloudFormation(OUTPUTS), "bookshop-prod")
    assert (target.stack_name, target.state_machine_arn) == ("bookshop-prod", MACHINE)
    assert not target.by_message_id
    assert target.large_events_bucket is None
    assert target.execution_arn("x") == MACHINE.replace(":stateMachine:", ":execution:") + ":x"


def test_what_the_parameters_change() -> None:
    more = {"ExecutionNameSource": "messageId", "LargeEventsBucketName": "large"}
    target = find_target(CloudFormation({**OUTPUTS, **more}), "s")
    assert target.by_message_id
    assert target.large_events_bucket == "large"


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({}, "0 state machines"),
        ({**OUTPUTS, "Other": MACHINE + "2"}, "2 state machines"),
        ({"OrderFlowArn": MACHINE, "EventTopicArn": TOPIC}, "no output 'FailureQueueUrl'"),
        ({"OrderFlowArn": MACHINE, "FailureQueueUrl": "q"}, "no output 'EventTopicArn'"),
    ],
)
def test_a_stack_of_something_else(outputs: dict[str, str], said: str) -> None:
    with pytest.raises(StackNotFoundError, match=said):
        find_target(CloudFormation(outputs), "s")


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "so it is"}}, "DescribeStacks")


def test_no_stack() -> None:
    with pytest.raises(
        StackNotFoundError, match="no stack s in eu-west-1 at https://cloudformation: so it is"
    ):
        find_target(CloudFormation(refusal("ValidationError")), "s")


def test_a_missing_permission_is_no_missing_stack() -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        find_target(CloudFormation(refusal("AccessDenied")), "s")
