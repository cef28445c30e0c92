"""Roles and policies: what the code and the configuration use, and nothing else."""

import ast
from pathlib import Path
from typing import Any

import boto3
import pytest

HANDLERS = Path(__file__).parents[2] / "handlers"
TRACING = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
# AWS knows no resource for these; see the pages that resources/roles.yml names.
WITHOUT_RESOURCE = {
    "Tracing": TRACING | {"xray:GetSamplingRules", "xray:GetSamplingTargets"},
    "LogDelivery": {
        "logs:CreateLogDelivery",
        "logs:GetLogDelivery",
        "logs:UpdateLogDelivery",
        "logs:DeleteLogDelivery",
        "logs:ListLogDeliveries",
        "logs:PutResourcePolicy",
        "logs:DescribeResourcePolicies",
        "logs:DescribeLogGroups",
    },
}
FUNCTIONS = {
    "InvokerRole": ("invoker", {"sqs:SendMessage"}),  # for the onFailure destination
    "RecordOperationRole": ("record_operation", set()),
    "NotifyUserRole": ("notify_user", set()),
}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(package: Any, role: str) -> list[dict[str, Any]]:
    policies = package.properties(role)["Policies"]
    return [s for policy in policies for s in policy["PolicyDocument"]["Statement"]]


def actions(package: Any, role: str) -> set[str]:
    return {action for s in statements(package, role) for action in as_list(s["Action"])}


def called_actions(handler: str) -> set[str]:
    """The IAM actions of the client calls in a handler's source."""
    tree = ast.parse((HANDLERS / f"{handler}.py").read_text())
    clients: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Assign(
                targets=[ast.Name(id=variable)],
                value=ast.Call(
                    func=ast.Attribute(value=ast.Name(id="boto3"), attr="client"),
                    args=[ast.Constant(value=str(service))],
                ),
            ):
                clients[variable] = service
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=variable), attr=method)) if (
                variable in clients
            ):
                service = clients[variable]
                client = boto3.client(service, region_name="us-east-1")
                prefix = {"stepfunctions": "states"}.get(service, service)
                found.add(f"{prefix}:{client.meta.method_to_api_mapping[method]}")
    return found


@pytest.mark.parametrize("role", FUNCTIONS)
def test_a_function_may_do_what_its_code_calls_and_nothing_else(package: Any, role: str) -> None:
    handler, configured = FUNCTIONS[role]
    called = called_actions(handler)
    assert called
    assert actions(package, role) == called | configured | LOGS | TRACING


def test_the_state_machine_may_call_its_steps_report_and_log(package: Any) -> None:
    assert actions(package, "OperationLogRole") == (
        {"lambda:InvokeFunction", "sqs:SendMessage"}
        | WITHOUT_RESOURCE["Tracing"]
        | WITHOUT_RESOURCE["LogDelivery"]
    )


def test_each_role_belongs_to_one_user(package: Any) -> None:
    roles = set(package.of_type("AWS::IAM::Role"))
    assert roles == {*FUNCTIONS, "OperationLogRole"}
    used = [f["Role"]["Fn::GetAtt"][0] for f in package.of_type("AWS::Lambda::Function").values()]
    used.append(package.properties("OperationLog")["RoleArn"]["Fn::GetAtt"][0])
    assert sorted(used) == sorted(roles)


def test_a_star_stands_only_where_aws_has_no_resource(package: Any) -> None:
    for role in package.of_type("AWS::IAM::Role"):
        for statement in statements(package, role):
            allowed = set(as_list(statement["Action"]))
            assert not [action for action in allowed if "*" in action]
            if "*" in str(statement["Resource"]):
                assert statement["Resource"] == "*"
                assert allowed <= WITHOUT_RESOURCE[statement["Sid"]]


def test_each_permission_names_the_resource_that_is_used(package: Any) -> None:
    queue = {"Fn::GetAtt": ["FailureQueue", "Arn"]}
    expected = {
        ("InvokerRole", "StartExecution"): {"Ref": "OperationLog"},
        ("InvokerRole", "Destination"): queue,
        ("InvokerRole", "Logs"): {"Fn::GetAtt": ["InvokerLogGroup", "Arn"]},
        ("RecordOperationRole", "PutItem"): {"Fn::GetAtt": ["OperationsTable", "Arn"]},
        ("RecordOperationRole", "Logs"): {"Fn::GetAtt": ["RecordOperationLogGroup", "Arn"]},
        ("NotifyUserRole", "Publish"): {"Ref": "NotificationTopic"},
        ("NotifyUserRole", "Logs"): {"Fn::GetAtt": ["NotifyUserLogGroup", "Arn"]},
        ("OperationLogRole", "Steps"): [
            {"Fn::GetAtt": ["RecordOperationLambdaFunction", "Arn"]},
            {"Fn::GetAtt": ["NotifyUserLambdaFunction", "Arn"]},
        ],
        ("OperationLogRole", "ReportFailure"): queue,
    }
    found = {
        (role, s["Sid"]): s["Resource"]
        for role in package.of_type("AWS::IAM::Role")
        for s in statements(package, role)
        if s["Sid"] not in WITHOUT_RESOURCE
    }
    assert found == expected


def test_only_the_service_that_runs_it_may_assume_a_role(package: Any) -> None:
    for role, properties in package.of_type("AWS::IAM::Role").items():
        [statement] = properties["AssumeRolePolicyDocument"]["Statement"]
        service = "states" if role == "OperationLogRole" else "lambda"
        assert statement["Principal"] == {"Service": f"{service}.amazonaws.com"}


def test_only_the_topic_may_invoke_the_invoker(package: Any) -> None:
    [permission] = package.of_type("AWS::Lambda::Permission").values()
    assert permission["Principal"] == "sns.amazonaws.com"
    assert permission["FunctionName"] == {"Fn::GetAtt": ["InvokerLambdaFunction", "Arn"]}
    assert permission["SourceArn"] == package.properties("EventSubscription")["TopicArn"]


def test_the_queue_admits_the_topic_alone_and_only_over_tls(package: Any) -> None:
    allow, deny = package.properties("FailureQueuePolicy")["PolicyDocument"]["Statement"]
    topic = package.properties("EventSubscription")["TopicArn"]
    assert allow["Effect"] == "Allow"
    assert allow["Principal"] == {"Service": "sns.amazonaws.com"}
    assert allow["Action"] == "sqs:SendMessage"
    assert allow["Condition"] == {"ArnEquals": {"aws:SourceArn": topic}}
    assert (deny["Effect"], deny["Principal"], deny["Action"]) == ("Deny", "*", "sqs:*")
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_topics_take_messages_only_over_tls(package: Any) -> None:
    policies = package.of_type("AWS::SNS::TopicPolicy")
    assert {p["Topics"][0]["Ref"] for p in policies.values()} == {"EventTopic", "NotificationTopic"}
    for policy in policies.values():
        [deny] = policy["PolicyDocument"]["Statement"]
        assert (deny["Effect"], deny["Principal"]) == ("Deny", "*")
        assert deny["Action"] == "sns:Publish"
        assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_queue_topics_and_table_are_encrypted(package: Any) -> None:
    assert package.properties("FailureQueue")["SqsManagedSseEnabled"] is True
    for topic in ("EventTopic", "NotificationTopic"):
        assert package.properties(topic)["KmsMasterKeyId"] == "alias/aws/sns"
    table = package.properties("OperationsTable")
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
