"""What a request asks for is read from real requests, as boto3 writes them."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from werkzeug.test import EnvironBuilder

from startonce.local.iam.policy import NotEvaluatedError
from startonce.local.iam.requested_action import protocol, requested, signature

ACCOUNT = "123456789012"
HERE = f"us-east-1:{ACCOUNT}"
FUNCTION = f"arn:aws:lambda:{HERE}:function:f"
MACHINE = f"arn:aws:states:{HERE}:stateMachine:m"
TABLE = f"arn:aws:dynamodb:{HERE}:table/t"
TOPIC = f"arn:aws:sns:{HERE}:t"
QUEUE = f"arn:aws:sqs:{HERE}:q"
QUEUE_URL = f"http://127.0.0.1:1/{ACCOUNT}/q"
GROUP = f"arn:aws:logs:{HERE}:log-group:/g"
KEY = {"k": {"S": "v"}}


def environ_of(service: str, operation: str, **parameters: Any) -> dict[str, Any]:
    """The request that boto3 would send, as a WSGI server hands it on."""
    client = boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1:1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    sent: list[AWSPreparedRequest] = []

    def capture(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        sent.append(request)
        response = AWSResponse(request.url, 400, {}, io.BytesIO())
        response._content = b""
        return response

    client.meta.events.register("before-send", capture)
    with pytest.raises((ClientError, ResponseParserError)):
        getattr(client, operation)(**parameters)
    return _environ(sent[0])


def _environ(request: AWSPreparedRequest) -> dict[str, Any]:
    url = urlsplit(request.url)
    body = request.body or b""
    content = body.encode() if isinstance(body, str) else body
    content = content if isinstance(content, bytes) else content.read()
    headers = {
        name: value.decode() if isinstance(value, bytes) else value
        for name, value in request.headers.items()
    }
    environ = EnvironBuilder(
        path=unquote(url.path), method=request.method, headers=headers, data=content
    ).get_environ()
    environ["QUERY_STRING"] = url.query
    environ["REQUEST_URI"] = f"{url.path}?{url.query}" if url.query else url.path
    return dict(environ)


def needs(service: str, operation: str, **parameters: Any) -> list[tuple[str, str | None]]:
    environ = environ_of(service, operation, **parameters)
    signed = signature(environ)
    assert signed is not None
    found = requested(environ, signed, "aws", ACCOUNT, lambda service, name: f"{service} {name}")
    return [(access.action, access.resource) for access in found]


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "action", "resource"),
    [
        ("lambda", "invoke", {"FunctionName": "f"}, "lambda:InvokeFunction", FUNCTION),
        ("lambda", "invoke", {"FunctionName": FUNCTION}, "lambda:InvokeFunction", FUNCTION),
        (
            "lambda",
            "invoke",
            {"FunctionName": "f", "Qualifier": "live"},
            "lambda:InvokeFunction",
            f"{FUNCTION}:live",
        ),
        (
            "lambda",
            "invoke",
            {"FunctionName": f"{ACCOUNT}:f:2"},
            "lambda:InvokeFunction",
            f"{FUNCTION}:2",
        ),
        ("lambda", "get_function", {"FunctionName": "f"}, "lambda:GetFunction", FUNCTION),
        ("lambda", "list_functions", {}, "lambda:ListFunctions", "*"),
        (
            "lambda",
            "list_function_event_invoke_configs",
            {"FunctionName": "f"},
            "lambda:ListFunctionEventInvokeConfigs",
            FUNCTION,
        ),
        (
            "lambda",
            "create_function",
            {"FunctionName": "f", "Role": "r", "Code": {"ZipFile": b""}},
            "lambda:CreateFunction",
            FUNCTION,
        ),
        (
            "lambda",
            "tag_resource",
            {"Resource": FUNCTION, "Tags": {}},
            "lambda:TagResource",
            FUNCTION,
        ),
        (
            "stepfunctions",
            "start_execution",
            {"stateMachineArn": MACHINE},
            "states:StartExecution",
            MACHINE,
        ),
        (
            "stepfunctions",
            "stop_execution",
            {"executionArn": f"arn:aws:states:{HERE}:execution:m:e"},
            "states:StopExecution",
            f"arn:aws:states:{HERE}:execution:m:e",
        ),
        (
            "stepfunctions",
            "send_task_success",
            {"taskToken": "t", "output": "{}"},
            "states:SendTaskSuccess",
            "*",
        ),
        (
            "stepfunctions",
            "list_state_machines",
            {},
            "states:ListStateMachines",
            f"arn:aws:states:{HERE}:stateMachine:*",
        ),
        (
            "sqs",
            "send_message",
            {"QueueUrl": QUEUE_URL, "MessageBody": "b"},
            "sqs:SendMessage",
            QUEUE,
        ),
        (
            "sqs",
            "delete_message_batch",
            {"QueueUrl": QUEUE_URL, "Entries": [{"Id": "1", "ReceiptHandle": "r"}]},
            "sqs:DeleteMessage",
            QUEUE,
        ),
        ("sqs", "get_queue_url", {"QueueName": "q"}, "sqs:GetQueueUrl", QUEUE),
        ("sqs", "list_queues", {}, "sqs:ListQueues", "*"),
        ("sns", "publish", {"TopicArn": TOPIC, "Message": "m"}, "sns:Publish", TOPIC),
        ("sns", "publish", {"PhoneNumber": "+358", "Message": "m"}, "sns:Publish", "+358"),
        (
            "sns",
            "publish_batch",
            {"TopicArn": TOPIC, "PublishBatchRequestEntries": [{"Id": "1", "Message": "m"}]},
            "sns:Publish",
            TOPIC,
        ),
        ("sns", "unsubscribe", {"SubscriptionArn": f"{TOPIC}:s"}, "sns:Unsubscribe", TOPIC),
        ("sns", "create_topic", {"Name": "t"}, "sns:CreateTopic", TOPIC),
        ("sns", "list_topics", {}, "sns:ListTopics", "*"),
        ("dynamodb", "put_item", {"TableName": "t", "Item": KEY}, "dynamodb:PutItem", TABLE),
        ("dynamodb", "get_item", {"TableName": TABLE, "Key": KEY}, "dynamodb:GetItem", TABLE),
        (
            "dynamodb",
            "query",
            {"TableName": "t", "IndexName": "index"},
            "dynamodb:Query",
            f"{TABLE}/index/index",
        ),
        ("dynamodb", "list_tables", {}, "dynamodb:ListTables", "*"),
        (
            "logs",
            "put_log_events",
            {
                "logGroupName": "/g",
                "logStreamName": "s",
                "logEvents": [{"timestamp": 1, "message": "m"}],
            },
            "logs:PutLogEvents",
            f"{GROUP}:log-stream:s",
        ),
        (
            "logs",
            "filter_log_events",
            {"logGroupName": "/g"},
            "logs:FilterLogEvents",
            f"{GROUP}:log-stream:",
        ),
        (
            "logs",
            "describe_log_groups",
            {},
            "logs:DescribeLogGroups",
            f"arn:aws:logs:{HERE}:log-group::log-stream:",
        ),
        (
            "events",
            "put_events",
            {"Entries": [{"Source": "s", "DetailType": "t", "Detail": "{}"}]},
            "events:PutEvents",
            f"arn:aws:events:{HERE}:event-bus/default",
        ),
        (
            "events",
            "put_targets",
            {"Rule": "r", "EventBusName": "b", "Targets": [{"Id": "1", "Arn": FUNCTION}]},
            "events:PutTargets",
            f"arn:aws:events:{HERE}:rule/b/r",
        ),
        (
            "sts",
            "assume_role",
            {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/r", "RoleSessionName": "ss"},
            "sts:AssumeRole",
            f"arn:aws:iam::{ACCOUNT}:role/r",
        ),
        (
            "kms",
            "encrypt",
            {"KeyId": "1234", "Plaintext": b"p"},
            "kms:Encrypt",
            f"arn:aws:kms:{HERE}:key/1234",
        ),
        (
            "kms",
            "encrypt",
            {"KeyId": "alias/a", "Plaintext": b"p"},
            "kms:Encrypt",
            "kms alias/a",
        ),
        (
            "secretsmanager",
            "get_secret_value",
            {"SecretId": "s"},
            "secretsmanager:GetSecretValue",
            "secretsmanager s",
        ),
        (
            "ssm",
            "get_parameter",
            {"Name": "/a/b"},
            "ssm:GetParameter",
            f"arn:aws:ssm:{HERE}:parameter/a/b",
        ),
        (
            "xray",
            "put_trace_segments",
            {"TraceSegmentDocuments": ["{}"]},
            "xray:PutTraceSegments",
            "*",
        ),
        (
            "cloudwatch",
            "put_metric_data",
            {"Namespace": "n", "MetricData": [{"MetricName": "m", "Value": 1}]},
            "cloudwatch:PutMetricData",
            None,
        ),
        ("iam", "list_roles", {}, "iam:ListRoles", None),
        ("s3", "list_buckets", {}, "s3:ListAllMyBuckets", "*"),
        ("s3", "list_objects_v2", {"Bucket": "b"}, "s3:ListBucket", "arn:aws:s3:::b"),
        ("s3", "head_object", {"Bucket": "b", "Key": "k"}, "s3:GetObject", "arn:aws:s3:::b/k"),
        (
            "s3",
            "put_object",
            {"Bucket": "b", "Key": "a/ü k", "Body": b"x"},
            "s3:PutObject",
            "arn:aws:s3:::b/a/ü k",
        ),
        (
            "s3",
            "create_multipart_upload",
            {"Bucket": "b", "Key": "k"},
            "s3:PutObject",
            "arn:aws:s3:::b/k",
        ),
        (
            "s3",
            "abort_multipart_upload",
            {"Bucket": "b", "Key": "k", "UploadId": "u"},
            "s3:AbortMultipartUpload",
            "arn:aws:s3:::b/k",
        ),
        ("s3", "get_bucket_policy", {"Bucket": "b"}, "s3:GetBucketPolicy", "arn:aws:s3:::b"),
        ("s3", "delete_bucket_policy", {"Bucket": "b"}, "s3:DeleteBucketPolicy", "arn:aws:s3:::b"),
        (
            "s3",
            "delete_bucket_tagging",
            {"Bucket": "b"},
            "s3:PutBucketTagging",
            "arn:aws:s3:::b",
        ),
        (
            "s3",
            "get_object_tagging",
            {"Bucket": "b", "Key": "k"},
            "s3:GetObjectTagging",
            "arn:aws:s3:::b/k",
        ),
    ],
)
def test_one_action_on_one_resource(
    service: str, operation: str, parameters: dict[str, Any], action: str, resource: str | None
) -> None:
    assert needs(service, operation, **parameters) == [(action, resource)]


def test_a_batch_needs_each_table() -> None:
    put = {"PutRequest": {"Item": KEY}}
    assert needs("dynamodb", "batch_write_item", RequestItems={"t": [put], "u": [put]}) == [
        ("dynamodb:BatchWriteItem", TABLE),
        ("dynamodb:BatchWriteItem", TABLE[:-1] + "u"),
    ]


def test_a_transaction_needs_the_action_of_each_item() -> None:
    items = [
        {"Put": {"TableName": "t", "Item": KEY}},
        {"ConditionCheck": {"TableName": "u", "Key": KEY, "ConditionExpression": "c"}},
    ]
    assert needs("dynamodb", "transact_write_items", TransactItems=items) == [
        ("dynamodb:PutItem", TABLE),
        ("dynamodb:ConditionCheckItem", TABLE[:-1] + "u"),
    ]


def test_a_copy_needs_both_ends() -> None:
    source = {"Bucket": "from", "Key": "ü"}
    assert needs("s3", "copy_object", Bucket="to", Key="k", CopySource=source) == [
        ("s3:GetObject", "arn:aws:s3:::from/ü"),
        ("s3:PutObject", "arn:aws:s3:::to/k"),
    ]


def test_deleting_many_objects_needs_each() -> None:
    objects = {"Objects": [{"Key": "a&b"}, {"Key": "c"}]}
    assert needs("s3", "delete_objects", Bucket="b", Delete=objects) == [
        ("s3:DeleteObject", "arn:aws:s3:::b/a&b"),
        ("s3:DeleteObject", "arn:aws:s3:::b/c"),
    ]


def test_asking_who_one_is_needs_nothing() -> None:
    assert needs("sts", "get_caller_identity") == []


def test_a_statement_s_verb_is_its_action() -> None:
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-iam.html"""
    statements = [{"Statement": "SELECT * FROM t"}, {"Statement": "insert INTO t VALUE {}"}]
    assert needs("dynamodb", "batch_execute_statement", Statements=statements) == [
        ("dynamodb:PartiQLSelect", None),
        ("dynamodb:PartiQLInsert", None),
    ]


def test_encrypting_anew_needs_both_keys() -> None:
    given = {"CiphertextBlob": b"c", "DestinationKeyId": "1234"}
    assert needs("kms", "re_encrypt", **given) == [
        ("kms:ReEncryptFrom", None),
        ("kms:ReEncryptTo", f"arn:aws:kms:{HERE}:key/1234"),
    ]


def test_a_batch_of_secrets_needs_each() -> None:
    assert needs("secretsmanager", "batch_get_secret_value", SecretIdList=["a", "b"]) == [
        ("secretsmanager:BatchGetSecretValue", "*"),
        ("secretsmanager:GetSecretValue", "secretsmanager a"),
        ("secretsmanager:GetSecretValue", "secretsmanager b"),
    ]


def test_a_request_that_is_no_operation_is_named() -> None:
    environ = environ_of("lambda", "list_functions")
    environ["REQUEST_URI"] = "/2099-01-01/nothing"
    signed = signature(environ)
    assert signed is not None
    with pytest.raises(NotEvaluatedError, match="GET /2099-01-01/nothing of lambda"):
        requested(environ, signed, "aws", ACCOUNT, lambda *_: None)


def test_the_body_can_still_be_read() -> None:
    environ = environ_of("sqs", "send_message", QueueUrl=QUEUE_URL, MessageBody="b")
    signed = signature(environ)
    assert signed is not None
    requested(environ, signed, "aws", ACCOUNT, lambda *_: None)
    assert b'"MessageBody"' in environ["wsgi.input"].read()


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "expected"),
    [
        ("sqs", "list_queues", {}, "json"),
        ("sns", "list_topics", {}, "query"),
        ("lambda", "list_functions", {}, "rest-json"),
        ("s3", "list_buckets", {}, "rest-xml"),
    ],
)
def test_the_protocol(
    service: str, operation: str, parameters: dict[str, Any], expected: str
) -> None:
    environ = environ_of(service, operation, **parameters)
    signed = signature(environ)
    assert signed is not None
    assert protocol(environ, signed) == expected


def test_who_signed_is_known_from_the_header_or_from_a_presigned_url() -> None:
    signed = signature(environ_of("sqs", "list_queues"))
    assert signed is not None
    assert (signed.access_key_id, signed.region, signed.service) == ("key", "us-east-1", "sqs")
    presigned = {"QUERY_STRING": "X-Amz-Credential=key%2F20261123%2Feu-west-1%2Fs3%2Faws4_request"}
    signed = signature(presigned)
    assert signed is not None
    assert (signed.access_key_id, signed.region, signed.service) == ("key", "eu-west-1", "s3")
    assert signature({}) is None
