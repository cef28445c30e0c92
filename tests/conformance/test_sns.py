"""SNS: what functions and queues get, and what they do not get."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from tests.conformance.account import Account, Function, Topic
from tests.conformance.sources import LAMBDA, SNS, SNS_API, documented, recorded

pytestmark = documented(f"{LAMBDA}/with-sns.html")

SAY = "def handler(event, context): say(id=context.aws_request_id, **event)"
FILTERS = f"{SNS}/sns-subscription-filter-policies.html"
DEAD_LETTERS = f"{SNS}/sns-dead-letter-queues.html"
RAW = f"{SNS}/sns-large-payload-raw-message-delivery.html"
MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def text(value: str) -> dict[str, str]:
    return {"DataType": "String", "StringValue": value}


def messages(function: Function, count: int = 1) -> list[Any]:
    """The ``Sns`` parts of the events that it got."""
    return [said["Records"][0]["Sns"] for said in function.wait_for_said(count)]


def test_a_function_gets_one_record(account: Account) -> None:
    function, topic = account.function(SAY), account.topic()
    subscription = topic.to_function(function)
    topic.publish("hello")
    [event] = function.wait_for_said()
    [record] = event["Records"]
    del record["Sns"]
    assert record == {
        "EventSource": "aws:sns",
        "EventVersion": "1.0",
        "EventSubscriptionArn": subscription,
    }


@recorded("the Sns part of an event")
def test_the_record_holds_the_message(account: Account) -> None:
    function, topic = account.function(SAY), account.topic()
    topic.to_function(function)
    message_id = topic.publish("grüße")
    [sns] = messages(function)
    assert set(sns) == {
        "Type",
        "MessageId",
        "TopicArn",
        "Subject",
        "Message",
        "Timestamp",
        "SignatureVersion",
        "Signature",
        "SigningCertUrl",
        "UnsubscribeUrl",
        "MessageAttributes",
    }
    assert (sns["Type"], sns["TopicArn"], sns["MessageId"]) == (
        "Notification",
        topic.arn,
        message_id,
    )
    assert (sns["Message"], sns["Subject"], sns["MessageAttributes"]) == ("grüße", None, {})
    assert sns["SignatureVersion"] == "1"
    assert re.fullmatch(MOMENT, sns["Timestamp"])


def test_the_record_s_urls_are_the_subscription_s(account: Account) -> None:
    function, topic = account.function(SAY), account.topic()
    subscription = topic.to_function(function)
    topic.publish("hello")
    [sns] = messages(function)
    assert sns["SigningCertUrl"].endswith(".pem")
    assert subscription in sns["UnsubscribeUrl"]
    assert len(base64.b64decode(sns["Signature"], validate=True)) > 0


def test_the_subject_is_in_the_record(account: Account) -> None:
    function, topic = account.function(SAY), account.topic()
    topic.to_function(function)
    topic.publish("hello", Subject="about")
    assert messages(function)[0]["Subject"] == "about"


@documented(f"{SNS}/sns-message-attributes.html")
def test_the_attributes_are_in_the_record(account: Account) -> None:
    function, topic = account.function(SAY), account.topic()
    topic.to_function(function)
    number = {"DataType": "Number", "StringValue": "1.5"}
    binary = {"DataType": "Binary", "BinaryValue": b"\x00\xff"}
    topic.publish(
        "hello", MessageAttributes={"text": text("ä"), "number": number, "binary": binary}
    )
    assert messages(function)[0]["MessageAttributes"] == {
        "text": {"Type": "String", "Value": "ä"},
        "number": {"Type": "Number", "Value": "1.5"},
        "binary": {"Type": "Binary", "Value": base64.b64encode(b"\x00\xff").decode()},
    }


@recorded("two messages are two events, each with a request ID")
def test_every_message_is_an_event_of_its_own(account: Account) -> None:
    function, topic = account.function(SAY), account.topic()
    topic.to_function(function)
    published = {topic.publish("same") for _ in range(2)}
    said = function.wait_for_said(2)
    assert {one["Records"][0]["Sns"]["MessageId"] for one in said} == published
    assert len({one["id"] for one in said}) == 2


@documented(f"{LAMBDA}/invocation-async.html")
def test_a_message_whose_function_fails_is_tried_again_as_the_same_event(account: Account) -> None:
    source = SAY.replace("say", "return fail") + (
        "\ndef fail(id, Records):\n"
        "    say(id=id, message=Records[0]['Sns']['MessageId'])\n"
        "    raise ValueError"
    )
    function, topic = account.function(source), account.topic()
    function.asynchronous(MaximumRetryAttempts=1)
    topic.to_function(function)
    message_id = topic.publish("hello")
    first, second = function.wait_for_said(2, clock=60)
    assert first == second
    assert first["message"] == message_id


@documented(f"{SNS_API}/API_PublishBatch.html")
def test_each_message_of_a_batch_is_an_event(account: Account) -> None:
    function, topic = account.function(SAY), account.topic()
    topic.to_function(function)
    entries = [{"Id": str(number), "Message": f"message {number}"} for number in range(3)]
    answer = account.client("sns").publish_batch(
        TopicArn=topic.arn, PublishBatchRequestEntries=entries
    )
    assert {one["Id"] for one in answer["Successful"]} == {"0", "1", "2"}
    got = messages(function, 3)
    assert {sns["Message"] for sns in got} == {"message 0", "message 1", "message 2"}
    assert {sns["MessageId"] for sns in got} == {one["MessageId"] for one in answer["Successful"]}


@documented(f"{SNS_API}/API_Publish.html")
def test_a_message_can_be_another_one_for_each_protocol(account: Account) -> None:
    function, topic, queue = account.function(SAY), account.topic(), account.queue()
    topic.to_function(function)
    topic.to_queue(queue)
    topic.publish(
        json.dumps({"default": "for all", "lambda": "for functions"}), MessageStructure="json"
    )
    assert messages(function)[0]["Message"] == "for functions"
    assert queue.one()["Message"] == "for all"


@documented(f"{SNS}/sns-common-scenarios.html")
def test_all_subscribers_get_the_message(account: Account) -> None:
    first, second, topic, queue = (
        account.function(SAY),
        account.function(SAY),
        account.topic(),
        account.queue(),
    )
    topic.to_function(first)
    topic.to_function(second)
    topic.to_queue(queue)
    message_id = topic.publish("hello")
    assert messages(first)[0]["MessageId"] == message_id
    assert messages(second)[0]["MessageId"] == message_id
    assert queue.one()["MessageId"] == message_id


def got_by_filter(account: Account, **subscription: str) -> tuple[Function, Topic]:
    function, topic = account.function(SAY), account.topic()
    topic.to_function(function, **subscription)
    return function, topic


@documented(FILTERS)
def test_a_filter_keeps_other_messages_away(account: Account) -> None:
    function, topic = got_by_filter(account, FilterPolicy=json.dumps({"kind": ["wanted"]}))
    topic.publish("no attribute")
    topic.publish("unwanted", MessageAttributes={"kind": text("unwanted")})
    topic.publish("wanted", MessageAttributes={"kind": text("wanted")})
    assert [sns["Message"] for sns in messages(function)] == ["wanted"]


@documented(f"{SNS}/string-value-matching.html")
@pytest.mark.parametrize(
    ("rule", "wanted", "unwanted"),
    [
        pytest.param({"prefix": "sign"}, text("signed"), text("left"), id="prefix"),
        pytest.param({"suffix": "ed"}, text("signed"), text("left"), id="suffix"),
        pytest.param({"anything-but": ["left"]}, text("signed"), text("left"), id="anything-but"),
        pytest.param(
            {"equals-ignore-case": "signed"}, text("SIGNED"), text("left"), id="ignore case"
        ),
        pytest.param(
            {"numeric": [">", 1]},
            {"DataType": "Number", "StringValue": "2"},
            {"DataType": "Number", "StringValue": "1"},
            id="numeric",
        ),
        pytest.param({"exists": True}, text("x"), None, id="exists"),
    ],
)
def test_a_filter_has_rules(account: Account, rule: Any, wanted: Any, unwanted: Any) -> None:
    function, topic = got_by_filter(account, FilterPolicy=json.dumps({"kind": [rule]}))
    topic.publish("unwanted", MessageAttributes={"kind": unwanted} if unwanted else {})
    topic.publish("wanted", MessageAttributes={"kind": wanted})
    assert [sns["Message"] for sns in messages(function)] == ["wanted"]


@documented(FILTERS)
def test_all_names_of_a_filter_must_match(account: Account) -> None:
    rules = {"kind": ["wanted"], "user": ["ada", "grace"]}
    function, topic = got_by_filter(account, FilterPolicy=json.dumps(rules))
    topic.publish("one", MessageAttributes={"kind": text("wanted")})
    topic.publish("both", MessageAttributes={"kind": text("wanted"), "user": text("grace")})
    assert [sns["Message"] for sns in messages(function)] == ["both"]


@documented(f"{SNS}/sns-message-filtering-scope.html")
def test_a_filter_can_look_into_the_message(account: Account) -> None:
    function, topic = got_by_filter(
        account,
        FilterPolicyScope="MessageBody",
        FilterPolicy=json.dumps({"operation": {"kind": ["wanted"]}}),
    )
    topic.publish("no JSON")
    topic.publish(json.dumps({"operation": {"kind": "unwanted"}}))
    wanted = json.dumps({"operation": {"kind": "wanted"}, "more": 1})
    topic.publish(wanted)
    assert [sns["Message"] for sns in messages(function)] == [wanted]


@documented(f"{SNS_API}/API_Unsubscribe.html")
def test_after_unsubscribing_nothing_comes(account: Account) -> None:
    function, topic, queue = account.function(SAY), account.topic(), account.queue()
    subscription = topic.to_function(function)
    topic.to_queue(queue)
    topic.publish("before")
    function.wait_for_said()
    account.client("sns").unsubscribe(SubscriptionArn=subscription)
    topic.publish("after")
    queue.wait_for(2)
    assert [sns["Message"] for sns in messages(function)] == ["before"]


@documented(f"{SNS}/sns-sqs-as-subscriber.html")
def test_a_queue_gets_the_notification_as_json(account: Account) -> None:
    topic, queue = account.topic(), account.queue()
    subscription = topic.to_queue(queue)
    message_id = topic.publish("grüße", Subject="about", MessageAttributes={"kind": text("x")})
    got = queue.one()
    assert re.fullmatch(MOMENT, got.pop("Timestamp"))
    assert got.pop("SigningCertURL").endswith(".pem")
    assert subscription in got.pop("UnsubscribeURL")
    assert got.pop("Signature")
    assert got == {
        "Type": "Notification",
        "MessageId": message_id,
        "TopicArn": topic.arn,
        "Subject": "about",
        "Message": "grüße",
        "SignatureVersion": "1",
        "MessageAttributes": {"kind": {"Type": "String", "Value": "x"}},
    }


@documented(f"{SNS}/sns-message-and-json-formats.html")
def test_a_queue_s_notification_has_no_empty_parts(account: Account) -> None:
    topic, queue = account.topic(), account.queue()
    topic.to_queue(queue)
    topic.publish("hello")
    assert {"Subject", "MessageAttributes"}.isdisjoint(queue.one())


@documented(RAW)
def test_raw_delivery_gives_the_message_as_it_is(account: Account) -> None:
    topic, queue = account.topic(), account.queue()
    topic.to_queue(queue, RawMessageDelivery="true")
    topic.publish("grüße", MessageAttributes={"kind": text("x")})
    [message] = queue.wait_for()
    assert message["Body"] == "grüße"
    kind = message["MessageAttributes"]["kind"]
    assert (kind["DataType"], kind["StringValue"]) == ("String", "x")


@documented(DEAD_LETTERS)
def test_a_message_for_a_function_that_is_gone_goes_to_the_redrive_queue(account: Account) -> None:
    function, topic, failures = account.function(SAY), account.topic(), account.queue()
    failures.let_topics_send()
    policy = json.dumps({"deadLetterTargetArn": failures.arn})
    topic.to_function(function, RedrivePolicy=policy)
    account.client("lambda").delete_function(FunctionName=function.name)
    message_id = topic.publish("too late")
    got = failures.one()
    assert (got["Type"], got["MessageId"], got["TopicArn"]) == (
        "Notification",
        message_id,
        topic.arn,
    )
    assert got["Message"] == "too late"


@documented(DEAD_LETTERS)
def test_a_message_for_a_queue_that_is_gone_goes_to_the_redrive_queue(account: Account) -> None:
    topic, queue, failures = account.topic(), account.queue(), account.queue()
    failures.let_topics_send()
    topic.to_queue(queue, RedrivePolicy=json.dumps({"deadLetterTargetArn": failures.arn}))
    account.client("sqs").delete_queue(QueueUrl=queue.url)
    message_id = topic.publish("too late")
    assert failures.one()["MessageId"] == message_id


@documented(f"{SNS}/sns-fifo-topics.html")
def test_a_fifo_topic_keeps_the_order_of_a_group(account: Account) -> None:
    topic = account.topic(FifoTopic="true", ContentBasedDeduplication="true")
    queue = account.queue(FifoQueue="true")
    topic.to_queue(queue, RawMessageDelivery="true")
    for number in range(5):
        topic.publish(str(number), MessageGroupId="one")
    assert [message["Body"] for message in queue.wait_for(5)] == ["0", "1", "2", "3", "4"]


@documented(f"{SNS}/fifo-message-dedup.html")
def test_a_fifo_topic_takes_a_message_once(account: Account) -> None:
    topic, queue = account.topic(FifoTopic="true"), account.queue(FifoQueue="true")
    topic.to_queue(queue, RawMessageDelivery="true")
    for body, key in (("first", "a"), ("again", "a"), ("other", "b")):
        topic.publish(body, MessageGroupId="one", MessageDeduplicationId=key)
    assert [message["Body"] for message in queue.wait_for(2)] == ["first", "other"]
