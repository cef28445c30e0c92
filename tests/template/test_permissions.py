"""Roles and policies: what the code and the configuration use, and nothing else."""

import ast
import json
import re
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
POLLING = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
FUNCTIONS = {
    "InvokerRole": ("invoker", {"sqs:SendMessage"}),  # for the onFailure destination
    "BatchInvokerRole": ("batch_invoker", POLLING),
    "RecordOperationRole": ("record_operation", set()),
    "NotifyUserRole": ("notify_user", set()),
}


OBJECTS = {"Fn::Join": ["/", [{"Fn::GetAtt": ["LargeEventsBucket", "Arn"]}, "*"]]}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(package: Any, role: str) -> list[dict[str, Any]]:
    policies = package.properties(role)["Policies"]
    return [s for policy in policies for s in policy["PolicyDocument"]["Statement"]]


def actions(package: Any, role: str) -> set[str]:
    return {action for s in statements(package, role) for action in as_list(s["Action"])}


def called_actions(handler: str) -> set[str]:
    """The IAM actions of the client calls in the source of a handler, and in what it imports."""
    tree = ast.parse((HANDLERS / f"{handler}.py").read_text())
    clients: dict[str, str] = {}
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=variable)], value=value):
                # A client, or a function that makes one: functools.cache(lambda: boto3.client(…)).
                for made in re.findall(r"boto3\.client\('(\w+)'", ast.unparse(value)):
                    clients[variable] = made
            case ast.ImportFrom(module=str(module)) if module.startswith("handlers."):
                found |= called_actions(module.removeprefix("handlers."))
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(
                    value=ast.Name(id=variable) | ast.Call(func=ast.Name(id=variable)), attr=method
                )
            ) if variable in clients:
                service = clients[variable]
                client = boto3.client(service, region_name="us-east-1")
                prefix = {"stepfunctions": "states"}.get(service, service)
                if method in client.meta.method_to_api_mapping:  # S3.cache_info() is no call
                    found.add(f"{prefix}:{client.meta.method_to_api_mapping[method]}")
    return found


@pytest.mark.parametrize("role", FUNCTIONS)
def test_a_function_may_do_what_its_code_calls_and_nothing_else(variant: Any, role: str) -> None:
    handler, configured = FUNCTIONS[role]
    if handler == "batch_invoker" and not variant.buffered:
        assert role not in variant.package.resources
        return
    called = called_actions(handler)
    assert called
    if not variant.has_bucket:
        called -= {"s3:PutObject", "s3:GetObject"}
    assert actions(variant.package, role) == called | configured | LOGS | TRACING


def test_what_the_code_calls_is_found(package: Any) -> None:
    assert called_actions("invoker") == {"states:StartExecution", "s3:PutObject"}
    assert called_actions("batch_invoker") == {"states:StartExecution", "s3:PutObject"}
    assert called_actions("record_operation") == {"dynamodb:PutItem", "s3:GetObject"}


def test_the_state_machine_may_call_its_steps_report_and_log(package: Any) -> None:
    assert actions(package, "OperationLogRole") == (
        {"lambda:InvokeFunction", "sqs:SendMessage"}
        | WITHOUT_RESOURCE["Tracing"]
        | WITHOUT_RESOURCE["LogDelivery"]
    )


def test_each_role_belongs_to_one_user(variant: Any) -> None:
    package = variant.package
    roles = set(package.of_type("AWS::IAM::Role"))
    expected = {*FUNCTIONS, "OperationLogRole"}
    assert roles == (expected if variant.buffered else expected - {"BatchInvokerRole"})
    used = [f["Role"]["Fn::GetAtt"][0] for f in package.of_type("AWS::Lambda::Function").values()]
    used.append(package.properties("OperationLog")["RoleArn"]["Fn::GetAtt"][0])
    assert sorted(used) == sorted(roles)


def test_a_star_stands_only_where_aws_has_no_resource(variant: Any) -> None:
    package = variant.package
    for role in package.of_type("AWS::IAM::Role"):
        for statement in statements(package, role):
            allowed = set(as_list(statement["Action"]))
            assert not [action for action in allowed if "*" in action]
            if statement["Resource"] != OBJECTS and "*" in str(statement["Resource"]):
                assert statement["Resource"] == "*"
                assert allowed <= WITHOUT_RESOURCE[statement["Sid"]]


def test_each_permission_names_the_resource_that_is_used(variant: Any) -> None:
    package = variant.package
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
    if variant.buffered:
        expected |= {
            ("BatchInvokerRole", "StartExecution"): {"Ref": "OperationLog"},
            ("BatchInvokerRole", "Poll"): {"Fn::GetAtt": ["EventQueue", "Arn"]},
            ("BatchInvokerRole", "Logs"): {"Fn::GetAtt": ["BatchInvokerLogGroup", "Arn"]},
        }
    if variant.has_bucket:
        expected |= {
            ("InvokerRole", "PutLargeEvent"): OBJECTS,
            ("RecordOperationRole", "GetLargeEvent"): OBJECTS,
        }
    if variant.has_bucket and variant.buffered:
        expected[("BatchInvokerRole", "PutLargeEvent")] = OBJECTS
    found = {
        (role, s["Sid"]): s["Resource"]
        for role in package.of_type("AWS::IAM::Role")
        for s in statements(package, role)
        if s["Sid"] not in WITHOUT_RESOURCE
    }
    assert found == expected


def test_only_the_service_that_runs_it_may_assume_a_role(variant: Any) -> None:
    for role, properties in variant.package.of_type("AWS::IAM::Role").items():
        [statement] = properties["AssumeRolePolicyDocument"]["Statement"]
        service = "states" if role == "OperationLogRole" else "lambda"
        assert statement["Principal"] == {"Service": f"{service}.amazonaws.com"}


def test_only_the_topic_may_invoke_the_invoker(package: Any) -> None:
    [permission] = package.of_type("AWS::Lambda::Permission").values()
    assert permission["Principal"] == "sns.amazonaws.com"
    assert permission["FunctionName"] == {"Fn::GetAtt": ["InvokerLambdaFunction", "Arn"]}
    assert permission["SourceArn"] == package.properties("EventSubscription")["TopicArn"]


@pytest.mark.parametrize("queue", ["FailureQueue", "EventQueue"])
def test_a_queue_admits_the_topic_alone_and_only_over_tls(variant: Any, queue: str) -> None:
    package = variant.package
    if queue == "EventQueue" and not variant.buffered:
        return
    policy = package.properties(f"{queue}Policy")
    assert policy["Queues"] == [{"Ref": queue}]
    allow, deny = policy["PolicyDocument"]["Statement"]
    topic = package.properties("EventSubscription")["TopicArn"]
    assert allow["Resource"] == deny["Resource"] == {"Fn::GetAtt": [queue, "Arn"]}
    assert allow["Effect"] == "Allow"
    assert allow["Principal"] == {"Service": "sns.amazonaws.com"}
    assert allow["Action"] == "sqs:SendMessage"
    assert allow["Condition"] == {"ArnEquals": {"aws:SourceArn": topic}}
    assert (deny["Effect"], deny["Principal"], deny["Action"]) == ("Deny", "*", "sqs:*")
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_bucket_is_there_only_if_it_is_wanted_and_nobody_is_told_of_none(variant: Any) -> None:
    package = variant.package
    about = {name for name in package.resources if "LargeEvents" in name}
    both = {"LargeEventsBucket", "LargeEventsBucketPolicy"}
    assert about == (both if variant.has_bucket else set())
    outputs = package.template["Outputs"]
    assert ("LargeEventsBucketName" in outputs) == variant.has_bucket
    left = {name: entry for name, entry in package.template.items() if name != "Parameters"}
    del left["Conditions"]
    assert ("LargeEventsBucket" in json.dumps(left)) == variant.has_bucket


def test_the_bucket_is_private_encrypted_forgetful_and_only_over_tls(package: Any) -> None:
    bucket = package.deployed().properties("LargeEventsBucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    [rule] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    [expiry] = bucket["LifecycleConfiguration"]["Rules"]
    assert (expiry["Status"], expiry["ExpirationInDays"]) == ("Enabled", 90)
    policy = package.deployed().properties("LargeEventsBucketPolicy")
    assert policy["Bucket"] == {"Ref": "LargeEventsBucket"}
    [deny] = policy["PolicyDocument"]["Statement"]
    assert (deny["Effect"], deny["Principal"], deny["Action"]) == ("Deny", "*", "s3:*")
    assert deny["Resource"] == [{"Fn::GetAtt": ["LargeEventsBucket", "Arn"]}, OBJECTS]
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_topics_take_messages_only_over_tls(package: Any) -> None:
    policies = package.of_type("AWS::SNS::TopicPolicy")
    assert {p["Topics"][0]["Ref"] for p in policies.values()} == {"EventTopic", "NotificationTopic"}
    for policy in policies.values():
        [deny] = policy["PolicyDocument"]["Statement"]
        assert (deny["Effect"], deny["Principal"]) == ("Deny", "*")
        assert deny["Action"] == "sns:Publish"
        assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_queues_topics_and_table_are_encrypted(variant: Any) -> None:
    package = variant.package
    for queue in package.of_type("AWS::SQS::Queue").values():
        assert queue["SqsManagedSseEnabled"] is True
    for topic in ("EventTopic", "NotificationTopic"):
        assert package.properties(topic)["KmsMasterKeyId"] == "alias/aws/sns"
    table = package.properties("OperationsTable")
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
