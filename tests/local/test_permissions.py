"""Roles do what their policies allow, and nothing else. Who may what, seen from one role at a time,
is in tests/conformance/test_permissions.py; here is what no account on AWS can show, and the edges.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from startonce.aws import Aws
from tests.conftest import CloudProcess, let_topic_send, policy, start_cloud, wait_for
from tests.local.conftest import TRUST, MakeFunction, Queue, make_role, zipped

ACCOUNT = "123456789012"
FAILING = "def handler(event, context): raise ValueError('always')"
CALL = """
import boto3, botocore
def handler(event, context):
    try:
        getattr(boto3.client(event["service"]), event["operation"])(**event["parameters"])
    except botocore.exceptions.ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return [status, error.response["Error"]["Code"], error.response["Error"]["Message"]]
    return "done"
"""


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, object]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def assumed(aws: Aws, role: str, service: str, **options: str) -> Any:
    """A client of somebody who took on the role, as a function does."""
    given = aws.client("sts").assume_role(RoleArn=role, RoleSessionName="me", **options)
    keys = given["Credentials"]
    return boto3.client(
        service,
        endpoint_url=aws.endpoint,
        region_name="us-east-1",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )


def outcome(call: Callable[[], Any]) -> tuple[int, str, str]:
    """The status, the code and the message of a refusal."""
    with pytest.raises(ClientError) as caught:
        call()
    response = caught.value.response
    error = response["Error"]
    return response["ResponseMetadata"]["HTTPStatusCode"], error["Code"], error["Message"]


def refused(role: str, action: str, resource: str) -> str:
    name = role.rpartition("/")[2]
    return (
        f"User: arn:aws:sts::{ACCOUNT}:assumed-role/{name}/me is not authorized to perform: "
        f"{action} on resource: {resource} because no identity-based policy allows the {action} "
        "action"
    )


def test_a_function_that_its_role_does_not_let_gets_aws_s_error(
    aws: Aws, make_function: MakeFunction, queue: Callable[[], Queue]
) -> None:
    target = queue()
    role = make_role(aws, allow("sqs:ReceiveMessage", target.arn))
    function = make_function(CALL, Role=role)
    parameters = {"QueueUrl": target.url, "MessageBody": "m"}
    event = {"service": "sqs", "operation": "send_message", "parameters": parameters}
    expected = refused(role, "sqs:sendmessage", target.arn).replace("/me ", f"/{function.name} ")
    assert function.invoke(event)["Payload"] == [403, "AccessDenied", expected]
    aws.client("iam").put_role_policy(
        RoleName=role.rpartition("/")[2],
        PolicyName="more",
        PolicyDocument=policy(allow("sqs:Send*", target.arn[:-3] + "*")),
    )
    assert function.invoke(event)["Payload"] == "done"


TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:t"
MACHINE = f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:m"
TABLE = f"arn:aws:dynamodb:us-east-1:{ACCOUNT}:table/t"


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "status", "code", "action", "resource"),
    [
        (
            "sns",
            "publish",
            {"TopicArn": TOPIC, "Message": "m"},
            403,
            "AuthorizationError",
            "SNS:Publish",
            TOPIC,
        ),
        (
            "stepfunctions",
            "start_execution",
            {"stateMachineArn": MACHINE},
            400,
            "AccessDeniedException",
            "states:StartExecution",
            MACHINE,
        ),
        (
            "dynamodb",
            "get_item",
            {"TableName": "t", "Key": {"k": {"S": "v"}}},
            400,
            "AccessDeniedException",
            "dynamodb:GetItem",
            TABLE,
        ),
        (
            "lambda",
            "invoke",
            {"FunctionName": "f"},
            403,
            "AccessDeniedException",
            "lambda:InvokeFunction",
            f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f",
        ),
        (
            "s3",
            "get_object",
            {"Bucket": "b", "Key": "k"},
            403,
            "AccessDenied",
            "s3:GetObject",
            '"arn:aws:s3:::b/k"',
        ),
        ("iam", "list_roles", {}, 403, "AccessDenied", "iam:ListRoles", "*"),
    ],
)
def test_each_service_refuses_in_its_own_way(
    aws: Aws,
    service: str,
    operation: str,
    parameters: dict[str, Any],
    status: int,
    code: str,
    action: str,
    resource: str,
) -> None:
    role = make_role(aws)
    client = assumed(aws, role, service)
    found = outcome(lambda: getattr(client, operation)(**parameters))
    assert found == (status, code, refused(role, action, resource))


def test_an_explicit_deny_wins_and_is_said(aws: Aws, queue: Callable[[], Queue]) -> None:
    target = queue()
    deny = {**allow("sqs:SendMessage", target.arn), "Effect": "Deny"}
    client = assumed(aws, make_role(aws, allow("*"), deny), "sqs")
    status, code, message = outcome(
        lambda: client.send_message(QueueUrl=target.url, MessageBody="m")
    )
    assert (status, code) == (403, "AccessDenied")
    assert message.endswith("with an explicit deny in an identity-based policy")
    client.get_queue_attributes(QueueUrl=target.url)


def test_aws_s_own_managed_policies_are_known(aws: Aws) -> None:
    role, iam = make_role(aws), aws.client("iam")
    name = role.rpartition("/")[2]
    basic = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
    iam.attach_role_policy(RoleName=name, PolicyArn=basic)
    assumed(aws, role, "logs").create_log_group(logGroupName=f"/g/{name}")
    status, _, _ = outcome(lambda: assumed(aws, role, "sqs").list_queues())
    assert status == 403
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.attach_role_policy(RoleName=name, PolicyArn="arn:aws:iam::aws:policy/NoSuch")


def test_a_boundary_and_a_session_policy_narrow_what_is_allowed(aws: Aws) -> None:
    role, iam = make_role(aws, allow("*")), aws.client("iam")
    only_sqs = policy(allow("sqs:*"))
    session = assumed(aws, role, "sns", Policy=only_sqs)
    assert outcome(session.list_topics)[2].endswith(
        "because no session policy allows the SNS:ListTopics action"
    )
    boundary = iam.create_policy(PolicyName=role.rpartition("/")[2], PolicyDocument=only_sqs)
    iam.put_role_permissions_boundary(
        RoleName=role.rpartition("/")[2], PermissionsBoundary=boundary["Policy"]["Arn"]
    )
    assumed(aws, role, "sqs").list_queues()
    assert outcome(assumed(aws, role, "sns").list_topics)[2].endswith(
        "because no permissions boundary allows the SNS:ListTopics action"
    )


def test_whoever_has_a_role_s_keys_may_ask_whose_they_are(aws: Aws) -> None:
    role = make_role(aws, {**allow("*"), "Effect": "Deny"})
    answer = assumed(aws, role, "sts").get_caller_identity()
    name = role.rpartition("/")[2]
    assert answer["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/me"


@pytest.mark.parametrize("key", ["test", "local", "AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"])
def test_whoever_comes_from_outside_is_an_administrator(aws: Aws, key: str) -> None:
    client = boto3.client(
        "sqs",
        endpoint_url=aws.endpoint,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key="secret",
    )
    client.list_queues()


def test_a_condition_that_is_not_evaluated_is_named(aws: Aws) -> None:
    ours = {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}
    client = assumed(aws, make_role(aws, allow("sqs:*", Condition=ours)), "sqs")
    status, code, message = outcome(client.list_queues)
    assert (status, code) == (501, "NotImplemented")
    assert message.startswith("NotImplemented: ")
    assert "aws:SourceIp" in message


def test_a_bucket_s_policy_counts(aws: Aws) -> None:
    bucket = f"b-{uuid.uuid4().hex[:12]}"
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="open", Body=b"text")
    s3.put_object(Bucket=bucket, Key="shut", Body=b"text")
    role = make_role(aws)
    objects = f"arn:aws:s3:::{bucket}"
    statements = [
        allow("s3:GetObject", f"{objects}/*", Principal={"AWS": role}),
        {**allow("s3:*", f"{objects}/shut", Principal="*"), "Effect": "Deny"},
        {
            **allow("s3:*", [objects, f"{objects}/*"], Principal="*"),
            "Effect": "Deny",
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    ]
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(*statements))
    client = assumed(aws, role, "s3")
    assert client.get_object(Bucket=bucket, Key="open")["Body"].read() == b"text"
    message = outcome(lambda: client.get_object(Bucket=bucket, Key="shut"))[2]
    assert message.endswith("with an explicit deny in a resource-based policy")


def test_a_topic_s_own_default_policy_lets_no_role(aws: Aws) -> None:
    topic = aws.client("sns").create_topic(Name=f"t-{uuid.uuid4().hex[:12]}")["TopicArn"]
    role = make_role(aws)
    client = assumed(aws, role, "sns")
    found = outcome(lambda: client.publish(TopicArn=topic, Message="m"))
    assert found == (403, "AuthorizationError", refused(role, "SNS:Publish", topic))


def test_a_queue_that_lets_another_topic_refuses_this_one(
    aws: Aws, queue: Callable[[], Queue]
) -> None:
    sns, target, failures = aws.client("sns"), queue(), queue()
    mine, other = (
        sns.create_topic(Name=f"t-{uuid.uuid4().hex[:12]}")["TopicArn"] for _ in range(2)
    )
    let_topic_send(aws, target.url, target.arn, mine)
    let_topic_send(aws, failures.url, failures.arn, other)
    for topic in (mine, other):
        sns.subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=target.arn,
            Attributes={"RedrivePolicy": json.dumps({"deadLetterTargetArn": failures.arn})},
        )
        sns.publish(TopicArn=topic, Message=topic)
    [message] = wait_for(failures.messages)
    assert json.loads(message["Body"])["Message"] == other
    [message] = wait_for(target.messages)
    assert json.loads(message["Body"])["Message"] == mine


NOBODY = policy(
    {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
)


@pytest.mark.parametrize("trust", ["{}", NOBODY])
def test_a_function_needs_a_role_that_lambda_can_assume(
    aws: Aws, make_function: MakeFunction, trust: str
) -> None:
    iam, client = aws.client("iam"), aws.client("lambda")
    name = f"r-{uuid.uuid4().hex[:12]}"
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    expected = (
        400,
        "InvalidParameterValueException",
        "The role defined for the function cannot be assumed by Lambda.",
    )
    assert outcome(lambda: make_function(FAILING, Role=role)) == expected
    function = make_function(FAILING)
    change = {"FunctionName": function.name, "Role": role}
    assert outcome(lambda: client.update_function_configuration(**change)) == expected
    iam.update_assume_role_policy(RoleName=name, PolicyDocument=TRUST)
    client.update_function_configuration(**change)


def test_the_policies_of_a_template_s_role_follow_the_template(aws: Aws) -> None:
    def template(*actions: str, managed: str) -> str:
        statement = policy(*(allow(action) for action in actions))
        own = {"PolicyName": "own", "PolicyDocument": json.loads(statement)}
        role = {
            "AssumeRolePolicyDocument": json.loads(TRUST),
            "Policies": [own],
            "ManagedPolicyArns": [f"arn:aws:iam::aws:policy/{managed}"],
        }
        resources = {"Role": {"Type": "AWS::IAM::Role", "Properties": role}}
        outputs = {"Role": {"Value": {"Fn::GetAtt": ["Role", "Arn"]}}}
        return json.dumps({"Resources": resources, "Outputs": outputs})

    client, name = aws.client("cloudformation"), f"s-{uuid.uuid4().hex[:12]}"
    body = template("sqs:ListQueues", managed="AmazonSNSReadOnlyAccess")
    client.create_stack(StackName=name, TemplateBody=body)
    [output] = client.describe_stacks(StackName=name)["Stacks"][0]["Outputs"]
    role = output["OutputValue"]
    assumed(aws, role, "sqs").list_queues()
    assumed(aws, role, "sns").list_topics()
    assert outcome(assumed(aws, role, "s3").list_buckets)[0] == 403

    body = template("sqs:SendMessage", managed="AmazonS3ReadOnlyAccess")
    client.update_stack(StackName=name, TemplateBody=body)
    assert outcome(assumed(aws, role, "sqs").list_queues)[0] == 403
    assert outcome(assumed(aws, role, "sns").list_topics)[0] == 403
    assumed(aws, role, "s3").list_buckets()


def test_a_template_s_own_policies_follow_it_and_go_with_it(aws: Aws) -> None:
    def template(inline: str, managed: str) -> str:
        document = {name: json.loads(policy(allow(name))) for name in (inline, managed)}
        roles = [{"Ref": "Role"}]
        trust = {"AssumeRolePolicyDocument": json.loads(TRUST), "RoleName": name}
        own = {"PolicyName": "own", "PolicyDocument": document[inline], "Roles": roles}
        shared = {"PolicyDocument": document[managed], "Roles": roles}
        resources = {
            "Role": {"Type": "AWS::IAM::Role", "Properties": trust},
            "Own": {"Type": "AWS::IAM::Policy", "Properties": own},
            "Shared": {"Type": "AWS::IAM::ManagedPolicy", "Properties": shared},
        }
        return json.dumps({"Resources": resources})

    client, iam, name = aws.client("cloudformation"), aws.client("iam"), f"s-{uuid.uuid4().hex[:9]}"
    role = f"arn:aws:iam::{ACCOUNT}:role/{name}"
    body = template("sqs:ListQueues", "sns:ListTopics")
    client.create_stack(StackName=name, TemplateBody=body)
    assumed(aws, role, "sqs").list_queues()
    assumed(aws, role, "sns").list_topics()

    body = template("dynamodb:ListTables", "s3:ListAllMyBuckets")
    client.update_stack(StackName=name, TemplateBody=body)
    assumed(aws, role, "dynamodb").list_tables()
    assumed(aws, role, "s3").list_buckets()
    assert outcome(assumed(aws, role, "sqs").list_queues)[0] == 403
    assert outcome(assumed(aws, role, "sns").list_topics)[0] == 403

    client.delete_stack(StackName=name)
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.get_role(RoleName=name)


def create_function(aws: Aws, role: str, source: str, **configuration: Any) -> str:
    name = f"f-{uuid.uuid4().hex[:12]}"
    aws.client("lambda").create_function(
        FunctionName=name,
        Role=role,
        Runtime="python3.13",
        Handler="app.handler",
        Code={"ZipFile": zipped(app=source)},
        **configuration,
    )
    return name


def test_a_record_that_the_role_may_not_send_is_lost_with_a_line_in_the_log(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    with log.open("w") as errors:
        cloud = start_cloud("--speed", "60", errors=errors)
    aws = cloud.aws
    try:
        forbidden = Queue(aws)
        function = create_function(aws, make_role(aws), FAILING)
        aws.client("lambda").put_function_event_invoke_config(
            FunctionName=function,
            MaximumRetryAttempts=0,
            DestinationConfig={"OnFailure": {"Destination": forbidden.arn}},
        )
        aws.client("lambda").invoke(FunctionName=function, InvocationType="Event")
        wait_for(lambda: "is not authorized to perform: sqs:sendmessage" in log.read_text())
        assert "is lost" in log.read_text()
        assert forbidden.messages() == []
    finally:
        assert cloud.stop() == 0


@pytest.fixture(scope="module")
def without_iam() -> Iterator[CloudProcess]:
    running = start_cloud("--speed", "60", "--no-iam")
    yield running
    assert running.stop() == 0


def test_without_iam_every_role_may_do_everything(without_iam: CloudProcess) -> None:
    aws = without_iam.aws
    name = f"r-{uuid.uuid4().hex[:12]}"
    iam = aws.client("iam")
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    target, topic = Queue(aws), aws.client("sns").create_topic(Name="t")["TopicArn"]
    function = create_function(aws, role, CALL)
    parameters = {"QueueUrl": target.url, "MessageBody": "from the function"}
    event = {"service": "sqs", "operation": "send_message", "parameters": parameters}
    payload = json.dumps(event)
    answer = aws.client("lambda").invoke(FunctionName=function, Payload=payload)
    assert json.loads(answer["Payload"].read()) == "done"
    aws.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=target.arn)
    aws.client("sns").publish(TopicArn=topic, Message="m")
    wait_for(lambda: len(target.messages()) == 2)
