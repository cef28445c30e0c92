"""SQS as on AWS, where queues stand between functions; every wait passes on the clock."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from startonce.aws import Aws
from startonce.local.queues.message_store import MessageStore, State
from tests.conftest import SPEED, CloudProcess, wait_for

LARGEST = 1_048_576
NewQueue = Callable[..., str]


@pytest.fixture
def new_queue(aws: Aws) -> NewQueue:
    """The URL of a queue with the given attributes."""

    def make(fifo: bool = False, **attributes: str) -> str:
        name = f"q-{uuid.uuid4().hex[:12]}"
        if fifo:
            name += ".fifo"
            attributes["FifoQueue"] = "true"
        return str(
            aws.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        )

    return make


def arn_of(aws: Aws, url: str) -> str:
    return attribute(aws, url, "QueueArn")


def attribute(aws: Aws, url: str, name: str) -> str:
    answer = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=[name])
    return str(answer["Attributes"][name])


def receive(aws: Aws, url: str, **options: Any) -> list[dict[str, Any]]:
    defaults = {"MaxNumberOfMessages": 10, "AttributeNames": ["All"]}
    answer = aws.client("sqs").receive_message(QueueUrl=url, **{**defaults, **options})
    return list(answer.get("Messages", []))


def error_of(caught: pytest.ExceptionInfo[ClientError]) -> tuple[str, str]:
    error = caught.value.response["Error"]
    return error["Code"].rpartition(".")[2], error["Message"]


def test_a_received_message_is_hidden_for_the_visibility_timeout_on_the_clock(
    aws: Aws, new_queue: NewQueue
) -> None:
    url = new_queue(VisibilityTimeout="120")
    aws.client("sqs").send_message(QueueUrl=url, MessageBody="a")
    started = time.monotonic()
    [first] = receive(aws, url)
    assert receive(aws, url) == []
    [second] = wait_for(lambda: receive(aws, url))
    assert 120 / SPEED <= time.monotonic() - started < 30
    assert (first["MessageId"], second["Attributes"]["ApproximateReceiveCount"]) == (
        second["MessageId"],
        "2",
    )
    assert first["ReceiptHandle"] != second["ReceiptHandle"]


def test_a_delayed_message_arrives_after_its_delay_on_the_clock(
    aws: Aws, new_queue: NewQueue
) -> None:
    url = new_queue()
    started = time.monotonic()
    aws.client("sqs").send_message(QueueUrl=url, MessageBody="a", DelaySeconds=120)
    assert attribute(aws, url, "ApproximateNumberOfMessagesDelayed") == "1"
    assert receive(aws, url) == []
    wait_for(lambda: receive(aws, url))
    assert 120 / SPEED <= time.monotonic() - started < 30


def test_a_long_poll_ends_on_the_clock_with_nothing(aws: Aws, new_queue: NewQueue) -> None:
    started = time.monotonic()
    assert receive(aws, new_queue(), WaitTimeSeconds=20) == []
    assert 20 / SPEED <= time.monotonic() - started < 10


def test_a_message_is_gone_after_the_retention_period(aws: Aws, new_queue: NewQueue) -> None:
    url = new_queue(MessageRetentionPeriod="60")
    aws.client("sqs").send_message(QueueUrl=url, MessageBody="a")
    assert attribute(aws, url, "ApproximateNumberOfMessages") == "1"
    wait_for(lambda: attribute(aws, url, "ApproximateNumberOfMessages") == "0")
    assert receive(aws, url) == []


def test_timestamps_are_real(aws: Aws, new_queue: NewQueue) -> None:
    url = new_queue()
    aws.client("sqs").send_message(QueueUrl=url, MessageBody="a")
    [message] = receive(aws, url)
    for name in ("SentTimestamp", "ApproximateFirstReceiveTimestamp"):
        assert abs(int(message["Attributes"][name]) / 1000 - time.time()) < 30


def test_a_message_received_too_often_moves_to_the_dead_letter_queue(
    aws: Aws, new_queue: NewQueue
) -> None:
    dead = new_queue()
    policy = {"deadLetterTargetArn": arn_of(aws, dead), "maxReceiveCount": 2}
    url = new_queue(RedrivePolicy=json.dumps(policy))
    sent = aws.client("sqs").send_message(QueueUrl=url, MessageBody="a")
    for _ in range(2):
        assert receive(aws, url, VisibilityTimeout=0)
    assert receive(aws, url) == []
    [message] = receive(aws, dead)
    assert (message["MessageId"], message["Body"]) == (sent["MessageId"], "a")
    assert message["Attributes"]["DeadLetterQueueSourceArn"] == arn_of(aws, url)


def test_an_outdated_receipt_handle_deletes_nothing(aws: Aws, new_queue: NewQueue) -> None:
    url = new_queue()
    sqs = aws.client("sqs")
    sqs.send_message(QueueUrl=url, MessageBody="a")
    [first] = receive(aws, url, VisibilityTimeout=0)
    [second] = receive(aws, url, VisibilityTimeout=0)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    assert attribute(aws, url, "ApproximateNumberOfMessages") == "1"
    for _ in range(2):  # a second time is no error
        sqs.delete_message(QueueUrl=url, ReceiptHandle=second["ReceiptHandle"])
    assert attribute(aws, url, "ApproximateNumberOfMessages") == "0"


def test_a_receipt_handle_of_nobody_is_refused(aws: Aws, new_queue: NewQueue) -> None:
    url, other = new_queue(), new_queue()
    aws.client("sqs").send_message(QueueUrl=other, MessageBody="a")
    [message] = receive(aws, other)
    for handle in ("made up", message["ReceiptHandle"]):
        with pytest.raises(ClientError) as caught:
            aws.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=handle)
        assert error_of(caught)[0] == "ReceiptHandleIsInvalid"


def test_the_visibility_of_a_message_that_is_not_in_flight_cannot_be_changed(
    aws: Aws, new_queue: NewQueue
) -> None:
    url = new_queue()
    aws.client("sqs").send_message(QueueUrl=url, MessageBody="a")
    [message] = receive(aws, url)
    change = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0}
    aws.client("sqs").change_message_visibility(**change)
    with pytest.raises(ClientError) as caught:
        aws.client("sqs").change_message_visibility(**change)
    assert error_of(caught)[0] == "InvalidParameterValue"
    assert "not available for visibility timeout change" in error_of(caught)[1]


@pytest.mark.parametrize("letter", ["a", "ü", "語"])
def test_a_body_may_have_one_mebibyte_in_utf_8(aws: Aws, new_queue: NewQueue, letter: str) -> None:
    url = new_queue()
    size = len(letter.encode())
    body = letter * (LARGEST // size) + "x" * (LARGEST % size)
    aws.client("sqs").send_message(QueueUrl=url, MessageBody=body)
    [message] = receive(aws, url)
    assert message["Body"] == body
    with pytest.raises(ClientError) as caught:
        aws.client("sqs").send_message(QueueUrl=url, MessageBody=body + "x")
    assert error_of(caught)[0] == "InvalidParameterValue"
    assert "shorter than 1048576 bytes" in error_of(caught)[1]


def test_message_attributes_count_towards_the_size(aws: Aws, new_queue: NewQueue) -> None:
    kind = {"kind": {"DataType": "String", "StringValue": "x"}}
    with pytest.raises(ClientError, match="shorter than"):
        aws.client("sqs").send_message(
            QueueUrl=new_queue(), MessageBody="x" * LARGEST, MessageAttributes=kind
        )


def test_a_batch_may_have_one_mebibyte_in_all(aws: Aws, new_queue: NewQueue) -> None:
    entries = [{"Id": str(number), "MessageBody": "ü" * 200_000} for number in range(3)]
    with pytest.raises(ClientError) as caught:
        aws.client("sqs").send_message_batch(QueueUrl=new_queue(), Entries=entries)
    assert error_of(caught)[0] == "BatchRequestTooLong"


def test_a_body_with_control_characters_is_refused(aws: Aws, new_queue: NewQueue) -> None:
    with pytest.raises(ClientError) as caught:
        aws.client("sqs").send_message(QueueUrl=new_queue(), MessageBody="bell \x07")
    assert error_of(caught)[0] == "InvalidMessageContents"


def test_changing_one_attribute_leaves_the_policy(aws: Aws, new_queue: NewQueue) -> None:
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Deny"}]})
    url = new_queue(Policy=policy)
    aws.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "7"})
    assert json.loads(attribute(aws, url, "Policy")) == json.loads(policy)


@pytest.mark.parametrize("where", ["create_queue", "get_queue_url", "list_queues", "Ref", "AWS"])
def test_a_queue_s_url_works_with_the_endpoint(
    aws: Aws, cloud: CloudProcess, new_queue: NewQueue, where: str
) -> None:
    url = new_queue()
    name = url.rsplit("/", 1)[-1]
    sqs = aws.client("sqs")
    if where == "get_queue_url":
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    elif where == "list_queues":
        [url] = sqs.list_queues(QueueNamePrefix=name)["QueueUrls"]
    elif where == "Ref":
        url = from_template(aws, {})
    elif where == "AWS":
        url = f"https://sqs.us-east-1.amazonaws.com/123456789012/{name}"
    if where != "AWS":
        assert url.startswith(cloud.endpoint)
    sqs.send_message(QueueUrl=url, MessageBody="a")
    [message] = receive(aws, url)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def from_template(aws: Aws, properties: dict[str, Any], stack: str | None = None) -> str:
    """The URL of a queue from a new stack, or from an update of one."""
    template = {
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue", "Properties": properties}},
        "Outputs": {"Url": {"Value": {"Ref": "Queue"}}},
    }
    client = aws.client("cloudformation")
    name = stack or f"s-{uuid.uuid4().hex[:12]}"
    (client.update_stack if stack else client.create_stack)(
        StackName=name, TemplateBody=json.dumps(template)
    )
    [described] = client.describe_stacks(StackName=name)["Stacks"]
    return str(described["Outputs"][0]["OutputValue"])


def test_a_stack_s_update_changes_every_attribute(aws: Aws) -> None:
    stack = f"s-{uuid.uuid4().hex[:12]}"
    client = aws.client("cloudformation")
    template = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}
    client.create_stack(StackName=stack, TemplateBody=json.dumps(template))
    changes = {"DelaySeconds": 3, "MessageRetentionPeriod": 600, "VisibilityTimeout": 90}
    url = from_template(aws, changes, stack)
    for name, value in changes.items():
        assert attribute(aws, url, name) == str(value)


def test_a_fifo_queue_gives_out_a_group_in_order_and_one_batch_at_a_time(
    aws: Aws, new_queue: NewQueue
) -> None:
    url = new_queue(fifo=True, ContentBasedDeduplication="true")
    for body, group in (("1", "a"), ("2", "a"), ("3", "b")):
        aws.client("sqs").send_message(QueueUrl=url, MessageBody=body, MessageGroupId=group)
    [first] = receive(aws, url, MaxNumberOfMessages=1)
    assert [message["Body"] for message in receive(aws, url)] == ["3"]
    aws.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    [second] = receive(aws, url)
    assert (first["Body"], second["Body"]) == ("1", "2")
    numbers = [int(one["Attributes"]["SequenceNumber"]) for one in (first, second)]
    assert numbers == sorted(numbers)


def test_a_fifo_queue_takes_a_message_once_in_five_minutes(aws: Aws, new_queue: NewQueue) -> None:
    url = new_queue(fifo=True)
    message = {
        "QueueUrl": url,
        "MessageBody": "a",
        "MessageGroupId": "g",
        "MessageDeduplicationId": "d",
    }
    sqs = aws.client("sqs")
    first = sqs.send_message(**message)
    [received] = receive(aws, url)
    sqs.delete_message(QueueUrl=url, ReceiptHandle=received["ReceiptHandle"])
    again = sqs.send_message(**message)
    assert (again["MessageId"], again["SequenceNumber"]) == (
        first["MessageId"],
        first["SequenceNumber"],
    )
    assert receive(aws, url) == []


def test_the_aws_cli_uses_a_queue_by_its_url(
    aws: Aws, cloud: CloudProcess, new_queue: NewQueue
) -> None:
    if shutil.which("aws") is None:
        pytest.skip("no AWS CLI here")
    url = new_queue()
    aws.client("sqs").send_message(QueueUrl=url, MessageBody="from boto3")
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    command = ["aws", "sqs", "receive-message", "--queue-url", url]
    done = subprocess.run(
        [*command, "--endpoint-url", cloud.endpoint],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(done.stdout)["Messages"][0]["Body"] == "from boto3"


def test_a_store_forgets_what_was_deleted() -> None:
    store: MessageStore[str] = MessageStore(ordered=True)
    for number in range(2_000):
        key = str(number)
        store.add(key, key, sent_at=number, lane=f"group {number}")
        entry = store.first()
        assert entry is not None
        store.take(entry, until=number + 30)
        store.remove(entry)
    assert [store.count(state) for state in State] == [0, 0, 0]
    assert not store._lanes
    assert not store._open
    assert len(store._ages._items) + len(store._hidden._items) < 100


@pytest.mark.parametrize("waiting", [100, 20_000])
def test_a_store_finds_the_next_message_however_many_wait(waiting: int) -> None:
    store: MessageStore[str] = MessageStore(ordered=False)
    for number in range(waiting):
        store.add(str(number), "", sent_at=0)
    started = time.process_time()
    for _ in range(100):
        entry = store.first()
        assert entry is not None
        store.take(entry, until=1)
        store.remove(entry)
    assert time.process_time() - started < 0.05  # a look through 20,000 takes 0.1 s by itself
