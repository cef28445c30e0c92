"""SQS queues as event sources of functions."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from tests.conformance.account import Account, Function, Queue, allow, new_name
from tests.conformance.sources import LAMBDA, LAMBDA_API, documented

pytestmark = documented(f"{LAMBDA}/with-sqs.html")

ERRORS = f"{LAMBDA}/services-sqs-errorhandling.html"
CONFIGURING = f"{LAMBDA}/services-sqs-configure.html"
SAY = "def handler(event, context): say(**event)"
BODIES = (
    "def handler(event, context):\n"
    "    bodies = [record['body'] for record in event['Records']]\n"
    "    say(bodies=bodies, times=[int(record['attributes']['ApproximateReceiveCount'])"
    " for record in event['Records']])\n"
)
VISIBILITY = 5
"""Seconds; more than a function's timeout, and short, because some emulators wait in real time."""


def make_queue(account: Account, **attributes: str) -> Queue:
    return account.queue(VisibilityTimeout=str(VISIBILITY), **attributes)


def make_function(account: Account, source: str) -> Function:
    return account.function(source, Timeout=3)


def connect(account: Account, queue: Queue, function: Function, **options: Any) -> str:
    """The mapping's ID."""
    client = account.client("lambda")
    mapping = client.create_event_source_mapping(
        EventSourceArn=queue.arn, FunctionName=function.name, **options
    )["UUID"]
    account.defer(lambda: client.delete_event_source_mapping(UUID=mapping))
    if options.get("Enabled", True):
        wait_for_state(account, mapping, "Enabled")
    return str(mapping)


def wait_for_state(account: Account, mapping: str, state: str) -> None:
    client = account.client("lambda")
    account.wait_for(
        lambda: client.get_event_source_mapping(UUID=mapping)["State"] == state,
        what=f"state {state}",
    )


def bodies(function: Function, count: int, clock: float = 0) -> list[str]:
    """All that its handler got, when it is ``count`` or more."""

    def look() -> list[str] | None:
        got = [body for said in function.said() for body in said["bodies"]]
        return got if len(got) >= count else None

    found: list[str] = function.account.wait_for(look, clock, f"message {count}")
    return found


def test_the_event_holds_the_message(account: Account) -> None:
    queue, function = make_queue(account), make_function(account, SAY)
    connect(account, queue, function)
    attribute = {"DataType": "String", "StringValue": "ä"}
    message_id = queue.send("grüße", MessageAttributes={"kind": attribute})
    [event] = function.wait_for_said()
    [record] = event["Records"]
    assert record.pop("receiptHandle")
    attributes = record.pop("attributes")
    assert attributes["ApproximateReceiveCount"] == "1"
    names = {"SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp"}
    assert names <= set(attributes)
    kind = record["messageAttributes"].pop("kind")
    assert (kind["dataType"], kind["stringValue"]) == ("String", "ä")
    record.pop("md5OfMessageAttributes", None)
    assert record == {
        "messageId": message_id,
        "body": "grüße",
        "messageAttributes": {},
        "md5OfBody": hashlib.md5("grüße".encode()).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.arn,
        "awsRegion": account.target.region,
    }


def counts(account: Account, queue: Queue) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = account.client("sqs").get_queue_attributes(QueueUrl=queue.url, AttributeNames=names)
    return sum(int(found["Attributes"][name]) for name in names)


def test_a_message_that_was_handled_is_deleted(account: Account) -> None:
    queue, function = make_queue(account), make_function(account, BODIES)
    connect(account, queue, function)
    queue.send("hello")
    assert bodies(function, 1) == ["hello"]
    account.wait_for(lambda: counts(account, queue) == 0, what="an empty queue")


@documented(CONFIGURING)
def test_messages_that_wait_come_in_batches(account: Account) -> None:
    queue, function = make_queue(account), make_function(account, BODIES)
    mapping = connect(account, queue, function, Enabled=False, BatchSize=3)
    for number in range(7):
        queue.send(str(number))
    account.client("lambda").update_event_source_mapping(UUID=mapping, Enabled=True)
    got = bodies(function, 7)
    assert sorted(got) == [str(number) for number in range(7)]
    sizes = [len(said["bodies"]) for said in function.said()]
    assert max(sizes) <= 3
    assert len(sizes) < 7


@documented(ERRORS)
def test_a_message_that_failed_comes_again_after_the_visibility_time_out(
    account: Account,
) -> None:
    source = BODIES + "    if said_once(): raise ValueError\n"
    source = "TRIES = []\ndef said_once(): TRIES.append(1); return len(TRIES) == 1\n" + source
    queue, function = make_queue(account), make_function(account, source)
    connect(account, queue, function)
    queue.send("hello")
    first, second = function.wait_for_said(2, clock=4 * VISIBILITY)
    assert first == {"bodies": ["hello"], "times": [1]}
    assert second == {"bodies": ["hello"], "times": [2]}
    account.wait_for(lambda: counts(account, queue) == 0, what="an empty queue")


@documented(ERRORS)
def test_a_message_that_always_fails_goes_to_the_queue_s_own_dead_letters(
    account: Account,
) -> None:
    dead_letters = account.queue()
    redrive = json.dumps({"deadLetterTargetArn": dead_letters.arn, "maxReceiveCount": "2"})
    queue = make_queue(account, RedrivePolicy=redrive)
    function = make_function(account, BODIES + "    raise ValueError\n")
    connect(account, queue, function)
    message_id = queue.send("hello")
    [message] = dead_letters.wait_for(clock=6 * VISIBILITY)
    assert (message["Body"], message["MessageId"]) == ("hello", message_id)
    assert bodies(function, 2) == ["hello", "hello"]


PARTIAL = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}
FAILS_ONE = (
    "def handler(event, context):\n"
    "    bodies = [record['body'] for record in event['Records']]\n"
    "    say(bodies=bodies)\n"
    "    bad = [r for r in event['Records'] if r['body'] == 'bad'"
    " and r['attributes']['ApproximateReceiveCount'] == '1']\n"
    "    return {'batchItemFailures': [{'itemIdentifier': r['messageId']} for r in bad]}\n"
)


def send_both(account: Account, queue: Queue, function: Function, **options: Any) -> None:
    mapping = connect(account, queue, function, Enabled=False, BatchSize=10, **options)
    for body in ("good", "bad"):
        queue.send(body)
    account.client("lambda").update_event_source_mapping(UUID=mapping, Enabled=True)


@documented(f"{ERRORS}#services-sqs-batchfailurereporting")
def test_of_a_batch_only_the_reported_messages_come_again(account: Account) -> None:
    queue, function = make_queue(account), make_function(account, FAILS_ONE)
    send_both(account, queue, function, **PARTIAL)
    got = bodies(function, 3, clock=4 * VISIBILITY)
    assert sorted(got) == ["bad", "bad", "good"]
    account.wait_for(lambda: counts(account, queue) == 0, what="an empty queue")


@documented(f"{ERRORS}#services-sqs-batchfailurereporting")
def test_without_the_setting_a_report_is_no_failure(account: Account) -> None:
    queue, function = make_queue(account), make_function(account, FAILS_ONE)
    send_both(account, queue, function)
    assert sorted(bodies(function, 2)) == ["bad", "good"]
    account.wait_for(lambda: counts(account, queue) == 0, what="an empty queue")
    assert len(bodies(function, 2)) == 2


@documented(f"{ERRORS}#services-sqs-batchfailurereporting")
def test_a_report_of_an_unknown_message_fails_the_whole_batch(account: Account) -> None:
    source = FAILS_ONE.replace("'itemIdentifier': r['messageId']", "'itemIdentifier': 'nobody'")
    queue, function = make_queue(account), make_function(account, source)
    send_both(account, queue, function, **PARTIAL)
    got = bodies(function, 4, clock=4 * VISIBILITY)
    assert sorted(got[:4]) == ["bad", "bad", "good", "good"]


@documented(f"{LAMBDA}/with-sqs-filtering.html")
def test_a_filter_drops_other_messages(account: Account) -> None:
    queue, function = make_queue(account), make_function(account, BODIES)
    pattern = json.dumps({"body": {"kind": ["wanted"]}})
    connect(account, queue, function, FilterCriteria={"Filters": [{"Pattern": pattern}]})
    wanted = json.dumps({"kind": "wanted"})
    queue.send(json.dumps({"kind": "unwanted"}))
    queue.send(wanted)
    assert bodies(function, 1) == [wanted]
    account.wait_for(lambda: counts(account, queue) == 0, what="an empty queue")


@documented(f"{LAMBDA_API}/API_UpdateEventSourceMapping.html")
def test_a_disabled_mapping_rests_until_it_is_enabled(account: Account) -> None:
    queue, function = make_queue(account), make_function(account, BODIES)
    mapping = connect(account, queue, function, Enabled=False)
    queue.send("hello")
    wait_for_state(account, mapping, "Disabled")
    assert function.said() == []
    account.client("lambda").update_event_source_mapping(UUID=mapping, Enabled=True)
    assert bodies(function, 1) == ["hello"]


@documented(f"{LAMBDA_API}/API_DeleteEventSourceMapping.html")
def test_after_the_mapping_is_deleted_messages_stay(account: Account) -> None:
    queue, function = make_queue(account), make_function(account, BODIES)
    client, mapping = account.client("lambda"), connect(account, queue, function)
    client.delete_event_source_mapping(UUID=mapping)

    def is_gone() -> bool:
        try:
            client.get_event_source_mapping(UUID=mapping)
        except client.exceptions.ResourceNotFoundException:
            return True
        return False

    account.wait_for(is_gone, what="the end of the mapping")
    queue.send("hello")
    assert [message["Body"] for message in queue.wait_for()] == ["hello"]
    assert function.said() == []


@documented(f"{LAMBDA_API}/API_ListEventSourceMappings.html")
def test_mappings_are_listed(account: Account) -> None:
    queue, function = make_queue(account), make_function(account, BODIES)
    mapping = connect(account, queue, function, BatchSize=7)
    listed = account.client("lambda").list_event_source_mappings(FunctionName=function.name)
    [found] = listed["EventSourceMappings"]
    assert (found["UUID"], found["BatchSize"], found["State"]) == (mapping, 7, "Enabled")
    assert (found["EventSourceArn"], found["FunctionArn"]) == (queue.arn, function.arn)


@documented(f"{LAMBDA}/services-sqs-scaling.html")
def test_a_fifo_queue_s_messages_come_in_order(account: Account) -> None:
    queue = make_queue(account, FifoQueue="true", ContentBasedDeduplication="true")
    function = make_function(account, BODIES)
    connect(account, queue, function, BatchSize=2)
    for number in range(6):
        queue.send(str(number), MessageGroupId="one")
    assert bodies(function, 6) == [str(number) for number in range(6)]


@documented(CONFIGURING)
def test_a_mapping_can_call_an_alias(account: Account) -> None:
    queue = make_queue(account)
    function = make_function(account, BODIES + "    say(bodies=[context.function_version])\n")
    client = account.client("lambda")
    client.publish_version(FunctionName=function.name)
    client.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")
    mapping = client.create_event_source_mapping(
        EventSourceArn=queue.arn, FunctionName=f"{function.name}:live"
    )["UUID"]
    account.defer(lambda: client.delete_event_source_mapping(UUID=mapping))
    queue.send("hello")
    assert bodies(function, 2) == ["hello", "1"]


@documented(f"{LAMBDA_API}/API_CreateEventSourceMapping.html")
def test_a_queue_is_connected_once(account: Account) -> None:
    queue, function = make_queue(account), make_function(account, BODIES)
    connect(account, queue, function)
    client = account.client("lambda")
    with pytest.raises(client.exceptions.ResourceConflictException):
        connect(account, queue, function)


@documented(CONFIGURING)
def test_the_visibility_time_out_is_no_less_than_the_function_s(account: Account) -> None:
    queue = account.queue(VisibilityTimeout="2")
    function, client = make_function(account, BODIES), account.client("lambda")
    with pytest.raises(client.exceptions.InvalidParameterValueException) as caught:
        connect(account, queue, function)
    expected = "Queue visibility timeout: 2 seconds is less than Function timeout: 3 seconds"
    assert expected in caught.value.response["Error"]["Message"]


@documented(f"{LAMBDA}/with-sqs.html#events-sqs-permissions")
def test_a_role_that_may_not_receive_cannot_be_connected(account: Account) -> None:
    function = account.function(BODIES, Timeout=3, role=account.role(allow("sns:*", "*")))
    queue, client = make_queue(account), account.client("lambda")
    with pytest.raises(client.exceptions.InvalidParameterValueException) as caught:
        connect(account, queue, function)
    message = caught.value.response["Error"]["Message"]
    assert "role does not have permissions to call ReceiveMessage on SQS" in message


@documented(f"{LAMBDA_API}/API_CreateEventSourceMapping.html")
def test_a_queue_that_does_not_exist_cannot_be_connected(account: Account) -> None:
    queue, function = make_queue(account), make_function(account, BODIES)
    queue.arn += new_name("nobody")
    client = account.client("lambda")
    with pytest.raises(client.exceptions.InvalidParameterValueException):
        connect(account, queue, function)
