"""Faults of API calls: they strike the deployed service's own calls, in each service's words."""

from __future__ import annotations

import json
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from startonce.aws import Aws
from startonce.local.hanging import Hanging
from startonce.local.iam import s3_operations
from tests.conftest import CloudProcess, let_topic_send, start_cloud, wait_for
from tests.local.conftest import TRUST, Function, MakeFunction, Queue, make_role, zipped

CALLER = """
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

def handler(event, context):
    config = Config(retries={'total_max_attempts': event['tries']}, read_timeout=event['patience'])
    client = boto3.client(event['service'], config=config)
    try:
        getattr(client, event['operation'])(**event['arguments'])
    except ClientError as error:
        answer = error.response
        return [answer['Error']['Code'], answer['ResponseMetadata']['HTTPStatusCode']]
    except Exception as error:
        return [type(error).__name__, None]
    return ['done', 200]
"""
DONE = ["done", 200]
MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:nobody"
TOPIC = "arn:aws:sns:us-east-1:123456789012:nobody"

Call = Callable[..., Any]


@pytest.fixture(autouse=True)
def _no_faults_are_left(cloud: CloudProcess) -> Iterator[None]:
    yield
    cloud.clear_faults()


@pytest.fixture
def call(make_function: MakeFunction) -> Call:
    """Make a function call an API; returns the error's code and status."""
    function = make_function(CALLER, Timeout=30)

    def made(
        service: str, operation: str, tries: int = 1, patience: int = 20, **arguments: Any
    ) -> Any:
        event = {"service": service, "operation": operation, "arguments": arguments}
        return function.invoke({**event, "tries": tries, "patience": patience})["Payload"]

    return made


@pytest.mark.parametrize(
    ("target", "service", "operation", "arguments", "throttled", "failed"),
    [
        pytest.param(
            "states.StartExecution",
            "stepfunctions",
            "start_execution",
            {"stateMachineArn": MACHINE},
            ["ThrottlingException", 400],
            ["InternalFailure", 500],
            id="states",
        ),
        pytest.param(
            "dynamodb.PutItem",
            "dynamodb",
            "put_item",
            {"TableName": "nobody", "Item": {"id": {"S": "1"}}},
            ["ThrottlingException", 400],
            ["InternalServerError", 500],
            id="dynamodb",
        ),
        pytest.param(
            "sqs.SendMessage",
            "sqs",
            "send_message",
            {"QueueUrl": "http://127.0.0.1/123456789012/nobody", "MessageBody": "x"},
            ["RequestThrottled", 403],
            ["InternalFailure", 500],
            id="sqs",
        ),
        pytest.param(
            "sns.Publish",
            "sns",
            "publish",
            {"TopicArn": TOPIC, "Message": "x"},
            ["Throttling", 400],
            ["InternalError", 500],
            id="sns",
        ),
        pytest.param(
            "s3.PutObject",
            "s3",
            "put_object",
            {"Bucket": "nobody", "Key": "a/b", "Body": "x"},
            ["SlowDown", 503],
            ["InternalError", 500],
            id="s3",
        ),
        pytest.param(
            "lambda.Invoke",
            "lambda",
            "invoke",
            {"FunctionName": "nobody"},
            ["TooManyRequestsException", 429],
            ["ServiceException", 500],
            id="lambda",
        ),
        pytest.param(
            "events.PutEvents",
            "events",
            "put_events",
            {"Entries": [{"Source": "x", "DetailType": "x", "Detail": "{}"}]},
            ["ThrottlingException", 400],
            ["InternalFailure", 500],
            id="any other",
        ),
    ],
)
def test_each_service_refuses_in_its_own_words(
    cloud: CloudProcess,
    call: Call,
    target: str,
    service: str,
    operation: str,
    arguments: dict[str, Any],
    throttled: list[Any],
    failed: list[Any],
) -> None:
    before = cloud.struck()
    cloud.add_faults(f"{target}:throttle", f"{target}:service-error")
    assert call(service, operation, **arguments) == throttled
    assert call(service, operation, **arguments) == failed
    after = cloud.struck()
    for kind in ("throttle", "service-error"):
        name = f"{target}:{kind}"
        assert after[name] == before.get(name, 0) + 1


@pytest.mark.parametrize(
    ("kind", "seen"),
    [
        ("service-error", ["InternalFailure", 500]),
        ("hang", ["ReadTimeoutError", None]),
        ("disconnect", ["ConnectionClosedError", None]),
    ],
)
@pytest.mark.parametrize("after", [False, True])
def test_the_call_is_done_only_with_after(
    cloud: CloudProcess, call: Call, queue: Callable[[], Queue], kind: str, seen: Any, after: bool
) -> None:
    target = queue()
    cloud.add_fault("sqs.SendMessage", kind, after)
    sent = {"QueueUrl": target.url, "MessageBody": "x"}
    assert call("sqs", "send_message", patience=1, **sent) == seen
    assert len(target.messages()) == after


def test_the_next_call_is_done_as_ever(
    cloud: CloudProcess, call: Call, queue: Callable[[], Queue]
) -> None:
    target = queue()
    cloud.add_fault("sqs.SendMessage", "disconnect", times=2)
    sent = {"QueueUrl": target.url, "MessageBody": "x"}
    assert call("sqs", "send_message", tries=3, **sent) == DONE
    assert len(target.messages()) == 1


def test_other_actions_and_other_services_are_not_struck(
    cloud: CloudProcess, call: Call, queue: Callable[[], Queue]
) -> None:
    cloud.add_faults("sqs.SendMessage:throttle", "sns.Publish:throttle", "s3.GetObject:throttle")
    assert call("sqs", "get_queue_attributes", QueueUrl=queue().url) == DONE
    assert call("s3", "list_buckets") == DONE


def test_a_person_s_own_calls_are_never_struck(
    cloud: CloudProcess, aws: Aws, queue: Callable[[], Queue]
) -> None:
    target = queue()
    before = cloud.struck()
    cloud.add_fault("sqs.SendMessage", "throttle")
    aws.client("sqs").send_message(QueueUrl=target.url, MessageBody="x")
    assert len(target.messages()) == 1
    assert cloud.struck() == before


def test_a_state_machine_s_call_is_struck_and_its_retry_is_not(
    cloud: CloudProcess, aws: Aws, role: str, queue: Callable[[], Queue]
) -> None:
    target = queue()
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage",
        "Parameters": {"QueueUrl": target.url, "MessageBody": "x"},
        "Retry": [{"ErrorEquals": ["SQS.SqsException"]}],
        "End": True,
    }
    cloud.add_fault("sqs.SendMessage", "throttle")
    assert outcome(aws, role, task) == "SUCCEEDED"
    assert len(target.messages()) == 1
    assert cloud.struck()["sqs.SendMessage:throttle"] >= 1


def test_a_state_machine_s_call_of_a_function_is_struck(
    cloud: CloudProcess, aws: Aws, role: str, make_function: MakeFunction
) -> None:
    function = make_function("def handler(event, context): print('tried')")
    task = {
        "Type": "Task",
        "Resource": function.arn,
        "Retry": [{"ErrorEquals": ["Lambda.TooManyRequestsException"]}],
        "End": True,
    }
    cloud.add_fault("lambda.Invoke", "throttle")
    assert outcome(aws, role, task) == "SUCCEEDED"
    assert function.log_lines().count("tried") == 1
    assert cloud.struck()["lambda.Invoke:throttle"] >= 1


def outcome(aws: Aws, role: str, task: dict[str, Any]) -> str:
    client = aws.client("stepfunctions")
    machine = client.create_state_machine(
        name=f"m-{uuid.uuid4().hex[:12]}",
        definition=json.dumps({"StartAt": "A", "States": {"A": task}}),
        roleArn=role,
    )["stateMachineArn"]
    execution = client.start_execution(stateMachineArn=machine)["executionArn"]

    def ended() -> str | None:
        status = client.describe_execution(executionArn=execution)["status"]
        return None if status == "RUNNING" else str(status)

    return str(wait_for(ended))


@pytest.fixture
def told(tmp_path: Path) -> Iterator[tuple[CloudProcess, Callable[[], str]]]:
    """A local cloud of its own, and what it told the terminal."""
    path = tmp_path / "errors"
    with path.open("w") as errors:
        running = start_cloud("--speed", "60", errors=errors)
        yield running, path.read_text
        assert running.stop() == 0


def failing_function(aws: Aws, destination: str) -> Function:
    everything: dict[str, object] = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    client = aws.client("lambda")
    client.create_function(
        FunctionName="failing",
        Role=make_role(aws, everything),
        Runtime="python3.13",
        Handler="app.handler",
        Code={"ZipFile": zipped(app="def handler(event, context): raise ValueError")},
    )
    client.put_function_event_invoke_config(
        FunctionName="failing",
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": destination}},
    )
    return Function(aws, "failing")


@pytest.mark.parametrize("kind", ["throttle", "service-error", "disconnect"])
def test_a_destination_that_is_struck_loses_the_event_and_says_so(
    told: tuple[CloudProcess, Callable[[], str]], kind: str
) -> None:
    cloud, errors = told
    queue = Queue(cloud.aws)
    function = failing_function(cloud.aws, queue.arn)
    cloud.add_fault("sqs.SendMessage", kind)
    function.invoke(InvocationType="Event")
    wait_for(lambda: "is lost" in errors())
    assert queue.messages() == []
    assert cloud.struck() == {f"sqs.SendMessage:{kind}": 1}
    function.invoke(InvocationType="Event")
    wait_for(queue.messages)


@pytest.mark.parametrize("after", [False, True])
def test_sns_s_redrive_that_is_struck_says_so(
    told: tuple[CloudProcess, Callable[[], str]], after: bool
) -> None:
    cloud, errors = told
    client = cloud.aws.client("sns")
    queue = Queue(cloud.aws)
    topic = client.create_topic(Name="t")["TopicArn"]
    let_topic_send(cloud.aws, queue.url, queue.arn, topic)
    client.subscribe(
        TopicArn=topic,
        Protocol="lambda",
        Endpoint="arn:aws:lambda:us-east-1:123456789012:function:nobody",
        Attributes={"RedrivePolicy": json.dumps({"deadLetterTargetArn": queue.arn})},
    )
    cloud.add_fault("sqs.SendMessage", "throttle" if not after else "service-error", after)
    client.publish(TopicArn=topic, Message="x")
    wait_for(lambda: "is lost" in errors())
    assert len(queue.messages()) == after


def test_a_call_that_hangs_does_not_keep_the_local_cloud_from_stopping(
    told: tuple[CloudProcess, Callable[[], str]],
) -> None:
    cloud, errors = told
    role = cloud.aws.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=TRUST)
    keys = cloud.aws.client("sts").assume_role(
        RoleArn=role["Role"]["Arn"], RoleSessionName="somebody"
    )["Credentials"]
    cloud.add_fault("sts.GetCallerIdentity", "hang")
    with socket.create_connection(("127.0.0.1", int(cloud.endpoint.rpartition(":")[2]))) as client:
        scope = f"Credential={keys['AccessKeyId']}/20260101/us-east-1/sts/aws4_request"
        body = b"Action=GetCallerIdentity&Version=2011-06-15"
        client.sendall(
            f"POST / HTTP/1.1\r\nHost: x\r\nAuthorization: AWS4-HMAC-SHA256 {scope}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        wait_for(cloud.struck)
        assert cloud.stop() == 0
        assert client.recv(1) == b""
    assert errors() == ""


def test_who_hangs_goes_with_the_client() -> None:
    hanging, (here, there) = Hanging(), socket.socketpair()
    with here, there:
        thread = threading.Thread(target=hanging.wait, args=(here,))
        thread.start()
        there.sendall(b"still here")
        there.close()
        thread.join(10)
        assert not thread.is_alive()


def test_who_hangs_goes_at_the_end_and_nobody_hangs_afterwards() -> None:
    hanging, (here, there) = Hanging(), socket.socketpair()
    with here, there:
        thread = threading.Thread(target=hanging.wait, args=(here,))
        thread.start()
        wait_for(lambda: hanging._open)
        hanging.end()
        assert not thread.is_alive()
        hanging.wait(here)


@pytest.mark.parametrize(
    ("request_line", "query", "headers", "expected"),
    [
        ("GET /", {}, {}, "ListBuckets"),
        ("PUT /b", {}, {}, "CreateBucket"),
        ("GET /b", {}, {}, "ListObjects"),
        ("GET /b", {"list-type": "2"}, {}, "ListObjectsV2"),
        ("POST /b", {"delete": ""}, {}, "DeleteObjects"),
        ("GET /b", {"location": ""}, {}, "GetBucketLocation"),
        ("GET /b/k", {}, {}, "GetObject"),
        ("HEAD /b/k/l", {}, {}, "HeadObject"),
        ("PUT /b/k", {"x-id": "PutObject"}, {}, "PutObject"),
        ("PUT /b/k", {}, {"x-amz-copy-source": "b/j"}, "CopyObject"),
        ("PUT /b/k", {"partNumber": "1", "uploadId": "u"}, {}, "UploadPart"),
        ("POST /b/k", {"uploads": ""}, {}, "CreateMultipartUpload"),
        ("POST /b/k", {"uploadId": "u"}, {}, "CompleteMultipartUpload"),
        ("DELETE /b/k", {}, {}, "DeleteObject"),
        ("DELETE /b/k", {"tagging": ""}, {}, "DeleteObjectTagging"),
        ("PATCH /b/k", {}, {}, None),
    ],
)
def test_s3_s_operations_are_told_apart(
    request_line: str, query: dict[str, str], headers: dict[str, str], expected: str | None
) -> None:
    method, path = request_line.split()
    assert s3_operations.operation(method, path, query, headers) == expected
