"""A template is deployed whole, or refused by name."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from startonce.aws import Aws


@pytest.mark.parametrize("operation", ["create_stack", "validate_template"])
def test_a_type_that_is_not_implemented_is_refused_by_name(aws: Aws, operation: str) -> None:
    resources = {
        "Fine": {"Type": "AWS::SQS::Queue"},
        "Odd": {"Type": "AWS::Lambda::CapacityProvider"},
    }
    template = json.dumps({"Resources": resources})
    name = {"StackName": "odd"} if operation == "create_stack" else {}
    with pytest.raises(ClientError) as caught:
        getattr(aws.client("cloudformation"), operation)(TemplateBody=template, **name)
    message = caught.value.response["Error"]["Message"]
    assert "NotImplemented" in message
    assert "Odd (AWS::Lambda::CapacityProvider)" in message
    assert "Fine" not in message


def test_sub_with_a_map_leaves_the_context_object_s_dollars_alone(aws: Aws) -> None:
    text = {"Fn::Sub": ["$$.Execution.Name ${Region} ${AWS::Region}", {"Region": "here"}]}
    template = {
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
        "Outputs": {"Text": {"Value": text}},
    }
    client = aws.client("cloudformation")
    client.create_stack(StackName="dollars", TemplateBody=json.dumps(template))
    stack = client.describe_stacks(StackName="dollars")["Stacks"][0]
    assert stack["Outputs"][0]["OutputValue"] == "$$.Execution.Name here us-east-1"
