import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

OPERATION = {"user_id": "u-1", "operation": "Grüße", "occurred_at": "2025-01-31T09:30:00Z"}
STEP = {"execution_name": "e-1", "retry_count": 0, "operation": OPERATION}


@pytest.fixture
def subscriber(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A queue subscribed to the notification topic."""
    sns = boto3.client("sns")
    topic = sns.create_topic(Name="notifications")["TopicArn"]
    queue = boto3.resource("sqs").create_queue(QueueName="subscriber")
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue.attributes["QueueArn"])
    monkeypatch.setenv("CF_NotificationTopic", topic)
    return queue


@pytest.fixture
def notify(load: Any) -> ModuleType:
    module: ModuleType = load("notify_user")
    return module


def received(queue: Any) -> list[dict[str, Any]]:
    return [json.loads(message.body) for message in queue.receive_messages(MaxNumberOfMessages=10)]


def test_publishes_the_operation_once(notify: ModuleType, subscriber: Any) -> None:
    answer = notify.handler(STEP, None)
    [message] = received(subscriber)
    assert answer == {"message_id": message["MessageId"]}
    assert json.loads(message["Message"]) == {"execution_name": "e-1", **OPERATION}


def test_a_subscriber_can_tell_a_duplicate_by_the_attribute(
    notify: ModuleType, subscriber: Any
) -> None:
    notify.handler(STEP, None)
    [message] = received(subscriber)
    assert message["MessageAttributes"] == {"execution_name": {"Type": "String", "Value": "e-1"}}


def test_a_missing_variable_is_an_error_before_anything_is_published(
    notify: ModuleType, subscriber: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CF_NotificationTopic")
    with pytest.raises(notify.MissingVariable, match=r"CF_NotificationTopic.*deployment.*stack"):
        notify.handler(STEP, None)
    assert received(subscriber) == []


def test_a_lost_answer_does_not_make_the_sdk_publish_again(
    notify: ModuleType, subscriber: Any
) -> None:
    calls = []

    def lose_answer(**_: Any) -> None:
        calls.append(1)
        raise ReadTimeoutError(endpoint_url="sns")

    notify.CLIENT.meta.events.register("before-send", lose_answer)
    with pytest.raises(ReadTimeoutError):
        notify.handler(STEP, None)
    assert len(calls) == 1


def test_an_error_of_sns_is_raised(
    notify: ModuleType, subscriber: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CF_NotificationTopic", "arn:aws:sns:eu-central-1:123456789012:none")
    with pytest.raises(ClientError, match="NotFound"):
        notify.handler(STEP, None)


def test_writes_one_line_without_the_operation(
    notify: ModuleType, subscriber: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answer = notify.handler(STEP, None)
    [line] = [line.__dict__ for line in caplog.records if line.name == "notify_user"]
    assert (line["execution_name"], line["retry_count"], line["outcome"]) == ("e-1", 0, "published")
    assert line["message_id"] == answer["message_id"]
    assert "u-1" not in str(line)


def test_the_one_sdk_attempt_fits_into_the_function_timeout(
    notify: ModuleType, worst_case_seconds: Callable[[Any], float]
) -> None:
    assert notify.CLIENT.meta.config.retries["total_max_attempts"] == 1
    assert worst_case_seconds(notify.CLIENT) <= 9
