"""Lambda polls queues for functions as on AWS: batches, failures, order and limits."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from startonce.aws import Aws
from startonce.local.events.event_pattern import PatternError, UnknownOperatorError, check, matches
from startonce.local.queues.polling import reported_failures
from tests.conftest import wait_for
from tests.local.conftest import Function, MakeFunction, make_role

HEAD = """
import json, time
def handler(event, context):
    print('EVENT ' + json.dumps({'id': context.aws_request_id, 'event': event}))
    bodies = [record['body'] for record in event['Records']]
"""
ECHO = HEAD
FAIL = HEAD + "    raise ValueError('no')"
FAIL_BAD = HEAD + "    assert 'bad' not in bodies"
REPORT_BAD = (
    HEAD
    + """
    return {'batchItemFailures': [
        {'itemIdentifier': one['messageId']} for one in event['Records'] if one['body'] == 'bad'
    ]}
"""
)
SLOW = HEAD + "    time.sleep(0.4)\n    print('DONE')"

Map = Callable[..., dict[str, Any]]


class Source:
    """A queue to be polled."""

    def __init__(self, aws: Aws, fifo: bool = False, **attributes: str) -> None:
        self.sqs = aws.client("sqs")
        name = f"q-{uuid.uuid4().hex[:12]}" + (".fifo" if fifo else "")
        if fifo:
            attributes |= {"FifoQueue": "true", "ContentBasedDeduplication": "true"}
        self.url = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        self.arn = self.attribute("QueueArn")

    def attribute(self, name: str) -> str:
        answer = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=[name])
        return str(answer["Attributes"][name])

    def send(self, *bodies: str, **options: Any) -> list[str]:
        return [
            self.sqs.send_message(QueueUrl=self.url, MessageBody=body, **options)["MessageId"]
            for body in bodies
        ]

    def send_at_once(self, *bodies: str) -> None:
        entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
        self.sqs.send_message_batch(QueueUrl=self.url, Entries=entries)

    def is_empty(self) -> bool:
        names = ("", "NotVisible", "Delayed")
        return all(self.attribute(f"ApproximateNumberOfMessages{one}") == "0" for one in names)

    def messages(self) -> list[dict[str, Any]]:
        answer = self.sqs.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, AttributeNames=["All"]
        )
        return list(answer.get("Messages", []))


@pytest.fixture
def mapped(aws: Aws, request: pytest.FixtureRequest) -> Map:
    """An event source mapping, deleted after the test."""

    def make(source: Source, function: Function, **options: Any) -> dict[str, Any]:
        client = aws.client("lambda")
        made = client.create_event_source_mapping(
            EventSourceArn=source.arn, FunctionName=function.name, **options
        )
        request.addfinalizer(lambda: _delete(client, made["UUID"]))
        return dict(made)

    return make


def _delete(client: Any, key: str) -> None:
    with contextlib.suppress(client.exceptions.ResourceNotFoundException):
        client.delete_event_source_mapping(UUID=key)


def calls(function: Function) -> list[dict[str, Any]]:
    lines = function.log_lines()
    return [json.loads(line.removeprefix("EVENT ")) for line in lines if line.startswith("EVENT ")]


def records(function: Function) -> list[dict[str, Any]]:
    return [record for call in calls(function) for record in call["event"]["Records"]]


def bodies(function: Function) -> list[str]:
    return [record["body"] for record in records(function)]


def test_the_event_is_the_message_as_lambda_describes_it(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    function, source = make_function(ECHO), Source(aws)
    mapped(source, function)
    attributes = {
        "word": {"DataType": "String", "StringValue": "grün"},
        "raw": {"DataType": "Binary", "BinaryValue": b"\x01\x02"},
    }
    sent = source.sqs.send_message(
        QueueUrl=source.url, MessageBody="grüße", MessageAttributes=attributes
    )
    [call] = wait_for(lambda: calls(function))
    [record] = call["event"]["Records"]
    inner = record.pop("attributes")
    assert record.pop("receiptHandle")
    lists: dict[str, Any] = {"stringListValues": [], "binaryListValues": []}
    assert record == {
        "messageId": sent["MessageId"],
        "body": "grüße",
        "messageAttributes": {
            "word": {"stringValue": "grün", **lists, "dataType": "String"},
            "raw": {"binaryValue": "AQI=", **lists, "dataType": "Binary"},
        },
        "md5OfMessageAttributes": sent["MD5OfMessageAttributes"],
        "md5OfBody": sent["MD5OfMessageBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": source.arn,
        "awsRegion": "us-east-1",
    }
    assert set(inner) == {
        "ApproximateReceiveCount",
        "SentTimestamp",
        "SenderId",
        "ApproximateFirstReceiveTimestamp",
    }
    assert inner["ApproximateReceiveCount"] == "1"
    assert abs(int(inner["SentTimestamp"]) / 1000 - time.time()) < 60
    wait_for(source.is_empty)


def test_a_fifo_message_shows_its_group_and_place(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    function, source = make_function(ECHO), Source(aws, fifo=True)
    mapped(source, function)
    source.send("a", MessageGroupId="g")
    [record] = wait_for(lambda: records(function))
    attributes = record["attributes"]
    assert attributes["MessageGroupId"] == "g"
    assert len(attributes["SequenceNumber"]) == 20
    assert attributes["MessageDeduplicationId"]


def test_messages_come_in_batches_of_the_batch_size_at_most(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    function, source = make_function(ECHO), Source(aws)
    source.send_at_once(*"abcdefg")
    mapped(source, function, BatchSize=3)
    wait_for(lambda: len(records(function)) == 7)
    assert sorted(len(call["event"]["Records"]) for call in calls(function)) == [1, 3, 3]
    assert sorted(bodies(function)) == list("abcdefg")
    wait_for(source.is_empty)


def test_a_batching_window_gathers_what_arrives_meanwhile(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    function, source = make_function(ECHO), Source(aws)
    mapped(source, function, BatchSize=24, MaximumBatchingWindowInSeconds=300)
    for _ in range(2):
        source.send_at_once(*"abcdefgh")
    assert calls(function) == []
    source.send_at_once(*"abcdefgh")
    wait_for(lambda: calls(function))
    [call] = calls(function)
    assert len(call["event"]["Records"]) == 24


def test_an_event_has_six_megabytes_at_most(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    source = Source(aws)
    function = make_function("def handler(event, context): print('GOT', len(event['Records']))")
    source.send(*["x" * 1_000_000] * 8)
    mapped(source, function)
    wait_for(source.is_empty)
    lines = wait_for(lambda: [line for line in function.log_lines() if line.startswith("GOT")])
    assert sorted(int(line.split()[1]) for line in lines) == [2, 6]


def test_a_failed_batch_returns_after_the_visibility_timeout_with_a_new_request_id(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    dead = Source(aws)
    policy = {"deadLetterTargetArn": dead.arn, "maxReceiveCount": 2}
    source = Source(aws, VisibilityTimeout="60", RedrivePolicy=json.dumps(policy))
    function = make_function(FAIL)
    mapped(source, function)
    started = time.monotonic()
    [sent] = source.send("a")
    [message] = wait_for(dead.messages)
    assert time.monotonic() - started >= 2  # two visibility timeouts at speed 60
    assert (message["MessageId"], message["Body"]) == (sent, "a")
    tries = calls(function)
    assert len({one["id"] for one in tries}) == 2
    assert [
        one["event"]["Records"][0]["attributes"]["ApproximateReceiveCount"] for one in tries
    ] == ["1", "2"]
    assert source.is_empty()


def test_a_failed_batch_fails_whole(aws: Aws, make_function: MakeFunction, mapped: Map) -> None:
    dead = Source(aws)
    policy = {"deadLetterTargetArn": dead.arn, "maxReceiveCount": 1}
    source = Source(aws, RedrivePolicy=json.dumps(policy))
    source.send_at_once("good", "bad")
    mapped(source, make_function(FAIL_BAD))
    wait_for(lambda: dead.attribute("ApproximateNumberOfMessages") == "2")


def test_only_the_reported_messages_return(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    dead = Source(aws)
    policy = {"deadLetterTargetArn": dead.arn, "maxReceiveCount": 2}
    source = Source(aws, RedrivePolicy=json.dumps(policy))
    source.send_at_once("good", "bad", "fine")
    function = make_function(REPORT_BAD)
    mapped(source, function, FunctionResponseTypes=["ReportBatchItemFailures"])
    [message] = wait_for(dead.messages)
    assert message["Body"] == "bad"
    assert sorted(bodies(function)) == ["bad", "bad", "fine", "good"]
    assert source.is_empty()


def test_reported_messages_count_for_nothing_where_reports_are_not_asked_for(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    source, function = Source(aws), make_function(REPORT_BAD)
    mapped(source, function)
    source.send("bad")
    wait_for(lambda: calls(function))
    wait_for(source.is_empty)


@pytest.mark.parametrize(
    "answer",
    [
        '{"batchItemFailures": [{"foo": "x"}]}',
        '{"batchItemFailures": [{"itemIdentifier": "nobody"}]}',
        '"not an object"',
    ],
)
def test_an_answer_that_makes_no_sense_fails_the_whole_batch(
    aws: Aws, make_function: MakeFunction, mapped: Map, answer: str
) -> None:
    dead = Source(aws)
    policy = {"deadLetterTargetArn": dead.arn, "maxReceiveCount": 1}
    source = Source(aws, RedrivePolicy=json.dumps(policy))
    source.send_at_once("a", "b")
    function = make_function(HEAD + f"    return json.loads({answer!r})")
    mapped(source, function, FunctionResponseTypes=["ReportBatchItemFailures"])
    wait_for(lambda: dead.attribute("ApproximateNumberOfMessages") == "2")


@pytest.mark.parametrize(
    ("answer", "failures"),
    [
        ("null", set()),
        ("{}", set()),
        ('{"batchItemFailures": null}', set()),
        ('{"batchItemFailures": []}', set()),
        ('{"batchItemFailures": [{"itemIdentifier": "a"}]}', {"a"}),
        ('{"batchItemFailures": [{"itemIdentifier": ""}]}', None),
        ('{"batchItemFailures": [{"itemIdentifier": null}]}', None),
        ('{"batchItemFailures": [{"item": "a"}]}', None),
        ('{"batchItemFailures": "a"}', None),
        ("[1]", None),
        ("no JSON", None),
    ],
)
def test_what_an_answer_reports(answer: str, failures: set[str] | None) -> None:
    assert reported_failures(answer.encode()) == failures


def test_messages_of_a_throttled_function_return_to_the_queue(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    source, function = Source(aws), make_function(ECHO)
    client = aws.client("lambda")
    client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=0)
    mapped(source, function)
    source.send("a")
    wait_for(lambda: source.attribute("ApproximateNumberOfMessagesNotVisible") == "1")
    client.delete_function_concurrency(FunctionName=function.name)
    assert wait_for(lambda: bodies(function)) == ["a"]
    wait_for(source.is_empty)


def test_a_message_is_tried_once_while_its_function_runs_however_fast_the_clock(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    source = Source(aws, VisibilityTimeout="10")  # a sixth of a second at speed 60
    function = make_function(SLOW)
    mapped(source, function)
    source.send("a")
    wait_for(lambda: any(line.startswith("DONE") for line in function.log_lines()))
    wait_for(source.is_empty)
    assert len(calls(function)) == 1


def test_a_group_of_a_fifo_queue_is_handled_in_order(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    source, function = Source(aws, fifo=True), make_function(ECHO)
    sent = [str(number) for number in range(12)]
    source.send(*sent, MessageGroupId="g")
    mapped(source, function, BatchSize=1)
    wait_for(lambda: len(bodies(function)) == len(sent))
    assert bodies(function) == sent


def test_a_failed_message_of_a_fifo_queue_holds_up_its_group_alone(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    dead = Source(aws, fifo=True)
    policy = {"deadLetterTargetArn": dead.arn, "maxReceiveCount": 2}
    source = Source(aws, fifo=True, RedrivePolicy=json.dumps(policy))
    function = make_function(FAIL_BAD)
    source.send("bad", "after", MessageGroupId="g")
    source.send("other", MessageGroupId="h")
    mapped(source, function, BatchSize=1)
    wait_for(source.is_empty)
    seen = wait_for(lambda: bodies(function) if "after" in bodies(function) else None)
    assert seen.index("after") == 3
    assert sorted(seen[:3]) == ["bad", "bad", "other"]
    assert [message["Body"] for message in dead.messages()] == ["bad"]


def test_a_filter_lets_some_messages_through_and_the_others_are_deleted(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    source, function = Source(aws), make_function(ECHO)
    pattern = json.dumps({"body": {"kind": ["wanted"], "size": [{"numeric": [">", 1]}]}})
    made = mapped(source, function, FilterCriteria={"Filters": [{"Pattern": pattern}]})
    assert made["FilterCriteria"] == {"Filters": [{"Pattern": pattern}]}
    wanted = json.dumps({"kind": "wanted", "size": 2})
    source.send(json.dumps({"kind": "wanted", "size": 1}), "no JSON", wanted)
    wait_for(source.is_empty)
    assert wait_for(lambda: bodies(function)) == [wanted]


@pytest.mark.parametrize(
    ("pattern", "value", "matching"),
    [
        ({"a": ["x", 1, None]}, {"a": None}, True),
        ({"a": [1]}, {"a": True}, False),
        ({"a": [{"exists": False}]}, {"b": 1}, True),
        ({"a": [{"exists": True}]}, {"a": None}, True),
        ({"a": [{"prefix": "x"}]}, {"a": "xy"}, True),
        ({"a": [{"suffix": {"equals-ignore-case": "Y"}}]}, {"a": "xy"}, True),
        ({"a": [{"anything-but": ["x"]}]}, {"a": "y"}, True),
        ({"a": [{"anything-but": {"prefix": "x"}}]}, {"a": "xy"}, False),
        ({"a": [{"anything-but": ["x"]}]}, {}, False),
        ({"a": [{"numeric": [">", 0, "<=", 5]}]}, {"a": 5}, True),
        ({"a": [{"wildcard": "x*z"}]}, {"a": "xyz"}, True),
        ({"a": {"b": [1]}}, {"a": [{"b": 2}, {"b": 1}]}, True),
        ({"$or": [{"a": [1]}, {"b": [1]}]}, {"b": 1}, True),
        ({"a": [1]}, {"a": [3, 1]}, True),
    ],
)
def test_patterns(pattern: dict[str, Any], value: object, matching: bool) -> None:
    check(pattern)
    assert matches(pattern, value) is matching


@pytest.mark.parametrize(
    "pattern", [None, "text", {}, {"a": "x"}, {"a": []}, {"a": [{"numeric": [1]}]}]
)
def test_patterns_that_are_none(pattern: object) -> None:
    with pytest.raises(PatternError):
        check(pattern)


def test_an_operator_that_is_not_implemented_is_named() -> None:
    with pytest.raises(UnknownOperatorError) as caught:
        check({"a": [{"cidr": "10.0.0.0/8"}]})
    assert caught.value.name == "cidr"


def test_the_states_of_a_mapping(aws: Aws, make_function: MakeFunction, mapped: Map) -> None:
    source, function = Source(aws), make_function(ECHO)
    client = aws.client("lambda")
    made = mapped(source, function)
    assert made.pop("ResponseMetadata")["HTTPStatusCode"] == 202
    assert made.pop("EventSourceMappingArn").endswith(made["UUID"])
    assert made.pop("LastModified")
    key = made.pop("UUID")
    assert made == {
        "BatchSize": 10,
        "EventSourceArn": source.arn,
        "FunctionArn": function.arn,
        "FunctionResponseTypes": [],
        "MaximumBatchingWindowInSeconds": 0,
        "State": "Creating",
        "StateTransitionReason": "USER_INITIATED",
    }

    def state() -> str:
        return str(client.get_event_source_mapping(UUID=key)["State"])

    def after(**change: Any) -> str:
        return str(client.update_event_source_mapping(UUID=key, **change)["State"])

    assert state() == "Enabled"
    assert (after(BatchSize=3), state()) == ("Updating", "Enabled")
    assert (after(Enabled=False), state()) == ("Disabling", "Disabled")
    assert (after(Enabled=True), state()) == ("Enabling", "Enabled")
    for filters in ({"FunctionName": function.name}, {"EventSourceArn": source.arn}):
        [listed] = client.list_event_source_mappings(**filters)["EventSourceMappings"]
        assert (listed["UUID"], listed["BatchSize"]) == (key, 3)
    assert client.delete_event_source_mapping(UUID=key)["State"] == "Deleting"
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        state()
    assert (
        client.list_event_source_mappings(FunctionName=function.name)["EventSourceMappings"] == []
    )


def test_a_disabled_mapping_leaves_the_messages(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    source, first, second = Source(aws), make_function(ECHO), make_function(ECHO)
    made = mapped(source, first, Enabled=False)
    assert made["State"] == "Disabled"
    source.send("a")
    assert source.attribute("ApproximateNumberOfMessages") == "1"
    aws.client("lambda").update_event_source_mapping(
        UUID=made["UUID"], FunctionName=second.name, Enabled=True
    )
    assert wait_for(lambda: bodies(second)) == ["a"]
    assert calls(first) == []


def test_a_deleted_mapping_leaves_the_messages(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    source, function = Source(aws), make_function(ECHO)
    made = mapped(source, function)
    source.send("a")
    wait_for(lambda: bodies(function))
    wait_for(source.is_empty)
    aws.client("lambda").delete_event_source_mapping(UUID=made["UUID"])
    source.send("b")
    assert [message["Body"] for message in source.messages()] == ["b"]
    assert bodies(function) == ["a"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ({"BatchSize": 11}, "InvalidParameterValueException", "Maximum batch window in seconds"),
        ({"StartingPosition": "LATEST"}, "InvalidParameterValueException", "StartingPosition"),
        (
            {"FilterCriteria": {"Filters": [{"Pattern": "text"}]}},
            "InvalidParameterValueException",
            "Invalid filter pattern definition.",
        ),
        (
            {"FilterCriteria": {"Filters": [{"Pattern": '{"a": [{"cidr": "::/0"}]}'}]}},
            "NotImplemented",
            "cidr",
        ),
        ({"MaximumRetryAttempts": 1}, "NotImplemented", "MaximumRetryAttempts"),
        ({"BisectBatchOnFunctionError": True}, "NotImplemented", "BisectBatchOnFunctionError"),
        ({"KMSKeyArn": "arn:aws:kms:us-east-1:1:key/a"}, "NotImplemented", "KMSKeyArn"),
        (
            {"EventSourceArn": "arn:aws:kinesis:us-east-1:123456789012:stream/s"},
            "NotImplemented",
            "kinesis",
        ),
        (
            {"EventSourceArn": "arn:aws:dynamodb:us-east-1:123456789012:table/t/stream/s"},
            "NotImplemented",
            "dynamodb",
        ),
        (
            {"EventSourceArn": "arn:aws:sqs:us-east-1:123456789012:nobody"},
            "InvalidParameterValueException",
            "NonExistentQueue",
        ),
        ({"ScalingConfig": {"MaximumConcurrency": 1001}}, "ValidationException", "1000"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(
    aws: Aws, make_function: MakeFunction, options: dict[str, Any], code: str, message: str
) -> None:
    source, function = Source(aws), make_function(ECHO)
    with pytest.raises(ClientError) as caught:
        aws.client("lambda").create_event_source_mapping(
            **{"EventSourceArn": source.arn, "FunctionName": function.name, **options}
        )
    error = caught.value.response["Error"]
    assert error["Code"] == code
    assert message in error["Message"]


def test_a_function_must_not_outlast_the_visibility_timeout(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    with pytest.raises(ClientError, match="30 seconds is less than Function timeout: 31 seconds"):
        mapped(Source(aws), make_function(ECHO, Timeout=31))


def test_a_function_whose_role_may_not_read_the_queue_is_not_mapped(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    function = make_function(ECHO, Role=make_role(aws))
    with pytest.raises(
        ClientError, match="does not have permissions to call ReceiveMessage on SQS"
    ):
        mapped(Source(aws), function)


def test_a_queue_is_mapped_to_a_function_once(
    aws: Aws, make_function: MakeFunction, mapped: Map
) -> None:
    source, function = Source(aws), make_function(ECHO)
    made = mapped(source, function)
    with pytest.raises(ClientError) as caught:
        mapped(source, function)
    assert caught.value.response["Error"]["Code"] == "ResourceConflictException"
    assert made["UUID"] in caught.value.response["Error"]["Message"]


def test_a_stack_makes_changes_and_removes_a_mapping(aws: Aws, make_function: MakeFunction) -> None:
    source, function = Source(aws), make_function(ECHO)
    client, stacks = aws.client("lambda"), aws.client("cloudformation")
    stack = f"s-{uuid.uuid4().hex[:12]}"

    def template(**properties: Any) -> str:
        given = {"EventSourceArn": source.arn, "FunctionName": function.name, **properties}
        mapping = {"Type": "AWS::Lambda::EventSourceMapping", "Properties": given}
        return json.dumps({"Resources": {"Mapping": mapping}})

    def mappings() -> list[dict[str, Any]]:
        answer = client.list_event_source_mappings(EventSourceArn=source.arn)
        return list(answer["EventSourceMappings"])

    body = template(BatchSize="5", FunctionResponseTypes=["ReportBatchItemFailures"])
    stacks.create_stack(StackName=stack, TemplateBody=body)
    [made] = mappings()
    assert (made["BatchSize"], made["State"]) == (5, "Enabled")
    source.send("a")
    wait_for(lambda: bodies(function))
    stacks.update_stack(StackName=stack, TemplateBody=template(Enabled="false"))
    [changed] = mappings()
    assert changed["UUID"] == made["UUID"]
    assert (changed["BatchSize"], changed["FunctionResponseTypes"]) == (10, [])
    stacks.delete_stack(StackName=stack)
    assert mappings() == []
