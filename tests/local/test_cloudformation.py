"""A template is deployed whole, or refused by name."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from startonce.aws import Aws
from startonce.deploy import DeployError, deploy, remove
from tests.conftest import CloudProcess, start_cloud
from tests.local.conftest import MakeFunction
from tests.service_copy import copy_service

QUEUE = {"Type": "AWS::SQS::Queue"}
BROKEN = {
    "Type": "AWS::Lambda::Permission",
    "Properties": {"FunctionName": "nobody", "Action": "x", "Principal": "sns.amazonaws.com"},
}


@dataclass
class Stack:
    """A stack made for one test."""

    aws: Aws
    name: str

    def create(self, template: dict[str, Any], **parameters: str) -> None:
        self._client.create_stack(StackName=self.name, **arguments(template, parameters))

    def update(self, template: dict[str, Any], **parameters: str) -> None:
        self._client.update_stack(StackName=self.name, **arguments(template, parameters))

    def change(self, kind: str, template: dict[str, Any], **parameters: str) -> None:
        """By a change set."""
        names = {"StackName": self.name, "ChangeSetName": "change"}
        self._client.create_change_set(
            ChangeSetType=kind, **names, **arguments(template, parameters)
        )
        self._client.execute_change_set(**names)

    def delete(self) -> None:
        self._client.delete_stack(StackName=self.name)

    @property
    def status(self) -> str:
        return str(self._described["StackStatus"])

    @property
    def outputs(self) -> dict[str, str]:
        outputs = self._described.get("Outputs", [])
        return {one["OutputKey"]: one["OutputValue"] for one in outputs}

    @property
    def resources(self) -> dict[str, str]:
        """Physical IDs by logical IDs."""
        answer = self._client.describe_stack_resources(StackName=self.name)
        return {
            one["LogicalResourceId"]: one["PhysicalResourceId"] for one in answer["StackResources"]
        }

    def events(self, logical_id: str) -> list[tuple[str, str]]:
        """Status and reason, the first one first."""
        answer = self._client.describe_stack_events(StackName=self.name)
        return [
            (one["ResourceStatus"], one.get("ResourceStatusReason", ""))
            for one in reversed(answer["StackEvents"])
            if one["LogicalResourceId"] == logical_id
        ]

    @property
    def _described(self) -> dict[str, Any]:
        [stack] = self._client.describe_stacks(StackName=self.name)["Stacks"]
        return dict(stack)

    @property
    def _client(self) -> Any:
        return self.aws.client("cloudformation")


def arguments(template: dict[str, Any], parameters: dict[str, str]) -> dict[str, Any]:
    return {
        "TemplateBody": json.dumps(template),
        "Parameters": [
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
    }


@pytest.fixture
def other() -> Iterator[CloudProcess]:
    """A local cloud of its own: the service has one name."""
    running = start_cloud()
    yield running
    assert running.stop() == 0


@pytest.fixture
def stack(aws: Aws) -> Stack:
    return Stack(aws, f"s-{uuid.uuid4().hex[:12]}")


def delay_of(stack: Stack) -> str:
    answer = stack.aws.client("sqs").get_queue_attributes(
        QueueUrl=stack.resources["Queue"], AttributeNames=["DelaySeconds"]
    )
    return str(answer["Attributes"]["DelaySeconds"])


def with_delay(value: object, **parts: object) -> dict[str, Any]:
    """A template of one queue."""
    queue = {**QUEUE, "Properties": {"DelaySeconds": value}}
    return {"Resources": {"Queue": queue}, **parts}


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


@pytest.mark.parametrize("kind", ["update", "change set"])
def test_an_update_gives_the_new_outputs(stack: Stack, kind: str) -> None:
    def template(text: str) -> dict[str, Any]:
        return {"Resources": {"Queue": QUEUE}, "Outputs": {text: {"Value": text}}}

    if kind == "update":
        stack.create(template("old"))
        stack.update(template("new"))
    else:
        stack.change("CREATE", template("old"))
        assert (stack.status, stack.outputs) == ("CREATE_COMPLETE", {"old": "old"})
        stack.change("UPDATE", template("new"))
    assert (stack.status, stack.outputs) == ("UPDATE_COMPLETE", {"new": "new"})


PARAMETER = {"Parameters": {"Delay": {"Type": "String", "Default": "1"}}}
CONDITION = {"Conditions": {"Long": {"Fn::Equals": [{"Ref": "Delay"}, "9"]}}}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"Ref": "Delay"}, id="Ref"),
        pytest.param({"Fn::Sub": "${Delay}"}, id="Sub"),
        pytest.param({"Fn::Sub": ["${It}", {"It": {"Ref": "Delay"}}]}, id="Sub with a map"),
        pytest.param({"Fn::If": ["Long", "9", "1"]}, id="If"),
        pytest.param({"Fn::Join": ["", [{"Ref": "Delay"}]]}, id="Join"),
    ],
)
@pytest.mark.parametrize("how", ["given", "default"])
def test_a_changed_parameter_changes_what_depends_on_it(
    stack: Stack, value: object, how: str
) -> None:
    template = with_delay(value, **PARAMETER, **CONDITION)
    stack.create(template)
    assert delay_of(stack) == "1"
    queue = stack.resources["Queue"]
    if how == "given":
        stack.update(template, Delay="9")
    else:
        other = {"Parameters": {"Delay": {"Type": "String", "Default": "9"}}}
        stack.update({**template, **other})
    assert delay_of(stack) == "9"
    assert stack.resources["Queue"] == queue


def test_a_changed_condition_makes_and_removes_resources(stack: Stack) -> None:
    template = with_delay("1", **PARAMETER, **CONDITION)
    template["Resources"]["Extra"] = {**QUEUE, "Condition": "Long"}
    stack.create(template)
    assert set(stack.resources) == {"Queue"}
    stack.update(template, Delay="9")
    assert set(stack.resources) == {"Queue", "Extra"}
    stack.update(template, Delay="1")
    assert set(stack.resources) == {"Queue"}


def test_no_value_takes_an_item_out_of_a_list(stack: Stack) -> None:
    alarm = {
        "Namespace": "N",
        "MetricName": "M",
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 1,
        "Period": 60,
        "Threshold": 1,
        "Statistic": "Sum",
        "AlarmActions": [{"Fn::If": ["Long", "arn:aws:sns:x", {"Ref": "AWS::NoValue"}]}],
    }
    template = with_delay("1", **PARAMETER, **CONDITION)
    template["Resources"]["Alarm"] = {"Type": "AWS::CloudWatch::Alarm", "Properties": alarm}
    stack.create(template)

    def actions() -> list[str]:
        client = stack.aws.client("cloudwatch")
        [found] = client.describe_alarms(AlarmNames=[stack.resources["Alarm"]])["MetricAlarms"]
        return list(found["AlarmActions"])

    assert actions() == []
    stack.update(template, Delay="9")
    assert actions() == ["arn:aws:sns:x"]


def versioned(function: str, **alias: object) -> dict[str, Any]:
    version = {"Type": "AWS::Lambda::Version", "Properties": {"FunctionName": function}}
    properties = {
        "FunctionName": function,
        "Name": "live",
        "FunctionVersion": {"Fn::GetAtt": ["Version", "Version"]},
        **alias,
    }
    return {
        "Resources": {
            "Version": version,
            "Alias": {"Type": "AWS::Lambda::Alias", "Properties": properties},
        },
        "Outputs": {
            "Version": {"Value": {"Ref": "Version"}},
            "Alias": {"Value": {"Ref": "Alias"}},
        },
    }


def test_ref_of_a_version_and_of_an_alias_is_an_arn(
    stack: Stack, make_function: MakeFunction
) -> None:
    function = make_function("def handler(event, context): return context.function_version")
    stack.create(versioned(function.name))
    assert stack.outputs == {"Version": f"{function.arn}:1", "Alias": f"{function.arn}:live"}
    assert function.invoke(Qualifier="live")["Payload"] == "1"
    stack.delete()
    assert function.invoke()["Payload"] == "$LATEST"
    with pytest.raises(ClientError, match="Function not found"):
        function.invoke(Qualifier="1")


def test_an_alias_follows_a_new_version(stack: Stack, make_function: MakeFunction) -> None:
    function = make_function("def handler(event, context): return context.function_version")
    template = versioned(function.name)
    stack.create(template)
    function.aws.client("lambda").update_function_configuration(
        FunctionName=function.name, Description="other"
    )
    text = json.dumps(template).replace('"Version": {"Type"', '"Second": {"Type"')
    text = text.replace('["Version", "Version"]', '["Second", "Version"]')
    stack.update(json.loads(text.replace('{"Ref": "Version"}', '{"Ref": "Second"}')))
    assert stack.status == "UPDATE_COMPLETE"
    assert stack.outputs["Version"] == f"{function.arn}:2"
    assert function.invoke(Qualifier="live")["Payload"] == "2"


def test_what_an_alias_cannot_do_here_is_refused_by_name(
    stack: Stack, make_function: MakeFunction
) -> None:
    weights = {"AdditionalVersionWeights": [{"FunctionVersion": "1", "FunctionWeight": 0.5}]}
    stack.create(versioned(make_function("").name, RoutingConfig=weights))
    assert "no RoutingConfig for aliases" in stack.events("Alias")[-1][1]


def test_a_stack_whose_resource_fails_is_taken_back(stack: Stack) -> None:
    queue = f"q-{uuid.uuid4().hex[:12]}"
    fine = {**QUEUE, "Properties": {"QueueName": queue}}
    stack.create({"Resources": {"Fine": fine, "Broken": {**BROKEN, "DependsOn": "Fine"}}})
    assert stack.status == "ROLLBACK_COMPLETE"
    assert [status for status, _ in stack.events(stack.name)] == [
        "CREATE_IN_PROGRESS",
        "ROLLBACK_IN_PROGRESS",
        "ROLLBACK_COMPLETE",
    ]
    status, reason = stack.events("Broken")[-1]
    assert status == "CREATE_FAILED"
    assert "Function not found" in reason
    assert [one[0] for one in stack.events("Fine")][-1] == "DELETE_COMPLETE"
    assert stack.resources == stack.outputs == {}
    assert "QueueUrls" not in stack.aws.client("sqs").list_queues(QueueNamePrefix=queue)
    with pytest.raises(ClientError, match="ROLLBACK_COMPLETE state and can not be updated"):
        stack.update({"Resources": {"Fine": QUEUE}})
    stack.delete()
    stack.create({"Resources": {"Fine": QUEUE}})
    assert stack.status == "CREATE_COMPLETE"


@pytest.mark.parametrize("kind", ["update", "change set"])
def test_an_update_whose_resource_fails_is_taken_back(stack: Stack, kind: str) -> None:
    before = with_delay("1", Outputs={"Old": {"Value": "old"}})
    stack.create(before)
    queue = stack.resources["Queue"]
    after = with_delay("9", Outputs={"New": {"Value": "new"}})
    after["Resources"]["Extra"] = {**QUEUE, "DependsOn": "Queue"}
    after["Resources"]["Broken"] = {**BROKEN, "DependsOn": "Extra"}
    if kind == "update":
        stack.update(after)
    else:
        stack.change("UPDATE", after)
    assert stack.status == "UPDATE_ROLLBACK_COMPLETE"
    assert stack.events(stack.name)[-2:] == [
        ("UPDATE_ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create: [Broken]."),
        ("UPDATE_ROLLBACK_COMPLETE", ""),
    ]
    assert stack.events("Broken")[-1][0] == "CREATE_FAILED"
    assert stack.resources == {"Queue": queue}
    assert delay_of(stack) == "1"
    assert stack.outputs == {"Old": "old"}
    del after["Resources"]["Broken"]
    stack.update(after)
    assert (stack.status, delay_of(stack)) == ("UPDATE_COMPLETE", "9")


@pytest.mark.parametrize(
    ("part", "message"),
    [
        pytest.param({"Ref": "Nobody"}, r"dependencies \[Nobody\]", id="no such name"),
        pytest.param({"Fn::Sub": "${Nobody.Arn}"}, r"dependencies \[Nobody\]", id="in a text"),
        pytest.param({"Ref": "Queue"}, r"Circular dependency .*\[Queue\]", id="a circle"),
    ],
)
def test_a_template_that_cannot_be_read_makes_nothing(
    stack: Stack, part: object, message: str
) -> None:
    with pytest.raises(ClientError, match=message):
        stack.create(with_delay(part))
    stack.create({"Resources": {"Queue": QUEUE}})
    with pytest.raises(ClientError, match=message):
        stack.update(with_delay(part))
    assert stack.status == "CREATE_COMPLETE"


def test_a_resource_that_is_gone_already_is_no_obstacle(stack: Stack) -> None:
    stack.create({"Resources": {"Queue": QUEUE}})
    stack.aws.client("sqs").delete_queue(QueueUrl=stack.resources["Queue"])
    stack.delete()
    with pytest.raises(ClientError, match="does not exist"):
        assert stack.status


def test_a_stack_whose_resource_remains_says_so(stack: Stack) -> None:
    stack.create({"Resources": {"Bucket": {"Type": "AWS::S3::Bucket"}}})
    bucket = stack.resources["Bucket"]
    client = stack.aws.client("s3")
    client.put_object(Bucket=bucket, Key="x")
    stack.delete()
    assert stack.status == "DELETE_FAILED"
    assert stack.events("Bucket")[-1][0] == "DELETE_FAILED"
    client.delete_object(Bucket=bucket, Key="x")
    stack.delete()
    with pytest.raises(ClientError, match="does not exist"):
        assert stack.status


def test_metadata_may_change(stack: Stack) -> None:
    def template(text: str) -> dict[str, Any]:
        metadata = {"Type": "AWS::CDK::Metadata", "Properties": {"Analytics": text}}
        return {"Resources": {"Queue": QUEUE, "Metadata": metadata}}

    stack.create(template("old"))
    stack.update(template("new"))
    assert stack.status == "UPDATE_COMPLETE"


def test_how_long_logs_are_kept_can_be_changed(stack: Stack) -> None:
    def template(days: int) -> dict[str, Any]:
        group = {"Type": "AWS::Logs::LogGroup", "Properties": {"RetentionInDays": days}}
        return {"Resources": {"Group": group}}

    stack.create(template(30))
    name = stack.resources["Group"]
    stack.update(template(365))
    client = stack.aws.client("logs")
    [group] = client.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    assert group["retentionInDays"] == 365


def test_an_alarm_has_the_name_that_it_is_given(stack: Stack) -> None:
    alarm = {
        "AlarmName": f"a-{uuid.uuid4().hex[:12]}",
        "Namespace": "N",
        "MetricName": "M",
        "ComparisonOperator": "GreaterThanThreshold",
        "EvaluationPeriods": 1,
    }
    stack.create({"Resources": {"Alarm": {"Type": "AWS::CloudWatch::Alarm", "Properties": alarm}}})
    assert stack.resources["Alarm"] == alarm["AlarmName"]


def test_nothing_to_change_is_told(stack: Stack) -> None:
    stack.create({"Resources": {"Queue": QUEUE}})
    with pytest.raises(ClientError, match="No updates are to be performed"):
        stack.update({"Resources": {"Queue": QUEUE}})


def test_a_resource_that_cannot_be_changed_here_is_named(stack: Stack) -> None:
    def template(key: str) -> dict[str, Any]:
        table = {
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": key, "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": key, "KeyType": "HASH"}],
        }
        return {"Resources": {"Table": {"Type": "AWS::DynamoDB::Table", "Properties": table}}}

    stack.create(template("one"))
    stack.update(template("two"))
    assert stack.status == "UPDATE_ROLLBACK_COMPLETE"
    reasons = [reason for _, reason in stack.events("Table")]
    assert any("cannot change AttributeDefinitions, KeySchema" in one for one in reasons)


def test_a_service_is_deployed_twice_with_change_sets(tmp_path: Path, other: CloudProcess) -> None:
    service = copy_service(tmp_path)
    settings = service / "serverless.yml"
    text = settings.read_text()
    assert "deploymentMethod: direct" in text
    settings.write_text(text.replace("  deploymentMethod: direct\n", ""))
    deploy(service, other.endpoint)
    topic = "arn:aws:sns:us-east-1:123456789012:alarms"
    settings.write_text(
        settings.read_text().replace("alarmTopicArn: ''", f"alarmTopicArn: {topic}")
    )
    deploy(service, other.endpoint)
    alarms = other.aws.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert alarms
    assert {action for alarm in alarms for action in alarm["AlarmActions"]} == {topic}
    remove(service, other.endpoint)


def test_a_failed_deployment_says_why_at_once(tmp_path: Path, other: CloudProcess) -> None:
    service = copy_service(tmp_path)
    (service / "resources" / "table.yml").write_text(
        "Resources:\n"
        "  OperationsTable:\n"
        "    Type: AWS::Lambda::Permission\n"
        "    Properties: {FunctionName: nobody, Action: x, Principal: sns.amazonaws.com}\n"
    )
    began = time.monotonic()
    with pytest.raises(DeployError, match="CREATE_FAILED: OperationsTable") as caught:
        deploy(service, other.endpoint)
    assert "Function not found" in str(caught.value)
    assert time.monotonic() - began < 20
    client = other.aws.client("cloudformation")
    [stack] = client.describe_stacks(StackName="startonce-local")["Stacks"]
    assert stack["StackStatus"] in ("ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
