"""SNS hands messages to functions as on AWS."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from startonce.aws import Aws
from tests.conftest import wait_for
from tests.local.conftest import Function, MakeFunction

ECHO = "import json\ndef handler(event, context): print('EVENT ' + json.dumps(event))"


@pytest.fixture
def topic(aws: Aws) -> str:
    return str(aws.client("sns").create_topic(Name=f"t-{uuid.uuid4().hex[:12]}")["TopicArn"])


def events(function: Function) -> list[dict[str, Any]]:
    lines = function.log_lines()
    return [json.loads(line.removeprefix("EVENT ")) for line in lines if line.startswith("EVENT ")]


def subscribe(aws: Aws, topic: str, endpoint: str, **attributes: str) -> str:
    answer = aws.client("sns").subscribe(
        TopicArn=topic, Protocol="lambda", Endpoint=endpoint, Attributes=attributes
    )
    return str(answer["SubscriptionArn"])


def test_the_event_is_the_message(aws: Aws, make_function: MakeFunction, topic: str) -> None:
    function = make_function(ECHO)
    subscription = subscribe(aws, topic, function.arn)
    published = aws.client("sns").publish(
        TopicArn=topic,
        Message="grüße",
        MessageAttributes={"kind": {"DataType": "String", "StringValue": "greeting"}},
    )
    [event] = wait_for(lambda: events(function))
    [record] = event["Records"]
    sns = record.pop("Sns")
    assert record == {
        "EventSource": "aws:sns",
        "EventVersion": "1.0",
        "EventSubscriptionArn": subscription,
    }
    assert sns["MessageId"] == published["MessageId"]
    assert (sns["Type"], sns["TopicArn"], sns["Subject"]) == ("Notification", topic, None)
    assert sns["Message"] == "grüße"
    assert sns["MessageAttributes"] == {"kind": {"Type": "String", "Value": "greeting"}}
    assert {"Timestamp", "SignatureVersion", "Signature", "SigningCertUrl", "UnsubscribeUrl"} < set(
        sns
    )


def test_a_filter_policy_keeps_messages_away(
    aws: Aws, make_function: MakeFunction, topic: str
) -> None:
    function = make_function(ECHO)
    subscribe(aws, topic, function.arn, FilterPolicy=json.dumps({"kind": ["wanted"]}))
    for kind in ("unwanted", "wanted"):
        attribute = {"DataType": "String", "StringValue": kind}
        aws.client("sns").publish(
            TopicArn=topic, Message=kind, MessageAttributes={"kind": attribute}
        )
    [event] = wait_for(lambda: events(function))
    assert event["Records"][0]["Sns"]["Message"] == "wanted"


def test_a_message_for_a_function_that_is_gone_goes_to_the_redrive_queue(
    aws: Aws, make_function: MakeFunction, topic: str, queue: Callable[[], Any]
) -> None:
    function, failures = make_function(ECHO), queue()
    policy = json.dumps({"deadLetterTargetArn": failures.arn})
    subscribe(aws, topic, function.arn, RedrivePolicy=policy)
    aws.client("lambda").delete_function(FunctionName=function.name)
    published = aws.client("sns").publish(TopicArn=topic, Message="too late")
    [message] = wait_for(failures.messages)
    body = json.loads(message["Body"])
    assert (body["Message"], body["MessageId"]) == ("too late", published["MessageId"])
    assert body["TopicArn"] == topic
