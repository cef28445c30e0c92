"""A redrive starts an execution with what an attempt would have started it with, to the byte.

The tool has its own copy of what handlers/invoker.py does, for the service knows nothing of the
tool, and the tool imports nothing of the service. Here the one is held against the other.
"""

from __future__ import annotations

import importlib.util
import json
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import md5
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from startonce.redrive import redriving
from startonce.redrive.failure_messages import Received, parse
from startonce.redrive.failure_queue import FailureQueue
from startonce.redrive.redriving import Outcome
from tests.conftest import REPOSITORY
from tests.redrive.messages import (
    EVENT_QUEUE,
    REQUEST_ID,
    SENT_BY_SNS,
    SNS_ID,
    TARGET,
    lambda_record,
    received,
)
from tests.redrive.step_functions import Bucket, Machines, redriver

BUCKET = "large"
LIMIT = redriving._LARGEST_INPUT
CONTEXT = SimpleNamespace(aws_request_id=REQUEST_ID, get_remaining_time_in_millis=lambda: 30_000)
LETTERS = ["a", "é", "語", "🎉", '"', "\n", "\x01", "\u2028", "\udfff", "\x7f", "\ud800"]
Said = tuple[list[tuple[str, str]], dict[str, bytes]]
"""The names and inputs that were started, and what was put into the bucket."""


@pytest.fixture(params=["requestId", "messageId"])
def name_source(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[True, False], ids=["bucket", "no bucket"])
def has_bucket(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def environment(
    monkeypatch: pytest.MonkeyPatch, name_source: str, has_bucket: bool
) -> pytest.MonkeyPatch:
    """As Lambda gives it to the function, which is not to find anything else."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("EXECUTION_NAME", name_source)
    monkeypatch.setenv("CF_OperationLog", TARGET.state_machine_arn)
    monkeypatch.delenv("CF_LargeEventsBucket", raising=False)
    if has_bucket:
        monkeypatch.setenv("CF_LargeEventsBucket", BUCKET)
    return monkeypatch


def load(name: str, machines: Machines, bucket: Bucket) -> ModuleType:
    """A handler that calls these instead of AWS."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "handlers" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.CLIENT, module.S3 = machines, lambda: bucket
    return module  # type: ignore[no-any-return]


def attempted(name: str, event: Any) -> Said:
    machines, bucket = Machines(), Bucket()
    module = load(name, machines, bucket)
    try:
        module.handler(event, CONTEXT)
    except module.EventTooLarge:
        assert machines.starts == []
    return machines.starts, bucket.objects


def redriven(message: Received, name_source: str, has_bucket: bool) -> Said:
    machines, bucket = Machines(), Bucket()
    target = replace(
        TARGET,
        by_message_id=name_source == "messageId",
        large_events_bucket=BUCKET if has_bucket else None,
    )
    result = redriver(machines, bucket, target).redrive(parse(message))
    if result.outcome is not Outcome.REDRIVEN:
        assert result.reason == "too large: deploy with --param largeEvents=bucket"
    return machines.starts, bucket.objects


def sized(size: int, letter: str) -> dict[str, Any]:
    """An SNS event with as many bytes in the input."""
    event: dict[str, Any] = {"Records": [{"Sns": {"MessageId": SNS_ID, "Message": ""}}]}
    width = len(redriving.to_input(letter)) - len('""')
    room = size - len(redriving.to_input(event))
    event["Records"][0]["Sns"]["Message"] = letter * (room // width) + "a" * (room % width)
    return event


EVENTS: list[Any] = [
    *(None, True, 7, -0.0, 1.0, 1e16, 1e-7, 2**70, "", "text", [], {}, [[]], {"": {"": []}}),
    {"Records": []},
    {"Records": [{"Sns": {"MessageId": 7}}]},
    {"Records": [{"Sns": {"MessageId": ""}}]},
    {"Records": [{"Sns": {"MessageId": SNS_ID}}, {"Sns": {"MessageId": "other"}}]},
    {"b": 1, "a": 2, "ä\ud800": "\udc00"},
    {"text": "".join(LETTERS)},
    {"escaped": "\\ud83c\\udf89 \\u00e9"},
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: ascii(event)[:40])
def test_any_event(
    environment: pytest.MonkeyPatch, name_source: str, has_bucket: bool, event: Any
) -> None:
    [(name, text)], stored = said = attempted("invoker", event)
    assert said == redriven(received(lambda_record(requestPayload=event)), name_source, has_bucket)
    assert (json.loads(text), stored) == (event, {})
    assert name in (REQUEST_ID, SNS_ID)


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT, LIMIT + 1, LIMIT + 7, 300_000])
@pytest.mark.parametrize("letter", LETTERS, ids=ascii)
def test_any_size(
    environment: pytest.MonkeyPatch, name_source: str, has_bucket: bool, letter: str, size: int
) -> None:
    event = sized(size, letter)
    starts, stored = said = attempted("invoker", event)
    assert said == redriven(received(lambda_record(requestPayload=event)), name_source, has_bucket)
    assert len(starts) == (size <= LIMIT or has_bucket)
    assert [len(data) for data in stored.values()] == [size] * (size > LIMIT and has_bucket)


class Sqs:
    """A queue with one message."""

    def __init__(self, message: dict[str, Any]) -> None:
        self._messages = [message]

    def receive_message(self, **_: Any) -> dict[str, Any]:
        return {"Messages": [self._messages.pop()]}


def taken(message: dict[str, Any]) -> Received:
    [[only]] = [next(FailureQueue(Sqs(message), "url").batches())]
    return only


def polled(message: dict[str, Any]) -> dict[str, Any]:
    """The record that Lambda hands to a function that reads a queue.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
    """
    lists: dict[str, Any] = {"stringListValues": [], "binaryListValues": []}
    values = {
        name: {"binaryValue": b64encode(one["BinaryValue"]).decode()}
        if "BinaryValue" in one
        else {"stringValue": one["StringValue"]}
        for name, one in message["MessageAttributes"].items()
    }
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {
            name: {**value, **lists, "dataType": message["MessageAttributes"][name]["DataType"]}
            for name, value in values.items()
        },
        "md5OfBody": md5(message["Body"].encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": EVENT_QUEUE,
        "awsRegion": "us-east-1",
    }


BODIES = [
    "",
    "text",
    "7",
    "[" * 100_000,
    json.dumps(SENT_BY_SNS),
    json.dumps({**SENT_BY_SNS, "Message": "é\ud800"}),
    json.dumps({**SENT_BY_SNS, "Message": "語🎉"}, ensure_ascii=False),
    json.dumps({"Type": "Notification", "MessageId": SNS_ID}),
    *(letter * 90_000 for letter in "aé語🎉\n"),
    *("a" * size for size in range(260_000, 262_144, 97)),
]
ATTRIBUTES: list[dict[str, Any]] = [
    {},
    {
        "word": {"StringValue": "grün", "DataType": "String.label"},
        "number": {"StringValue": "7.0", "DataType": "Number"},
        "raw": {"BinaryValue": b"\x00\xff", "DataType": "Binary"},
    },
]


@pytest.mark.parametrize("attributes", ATTRIBUTES, ids=["bare", "with attributes"])
def test_any_message_of_a_queue(
    environment: pytest.MonkeyPatch, name_source: str, has_bucket: bool, attributes: dict[str, Any]
) -> None:
    sent_at = int(datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp() * 1000)
    system = {"SentTimestamp": str(sent_at), "DeadLetterQueueSourceArn": EVENT_QUEUE}
    for body in BODIES:
        message: dict[str, Any] = {"MessageId": "m-1", "ReceiptHandle": "r-1", "Body": body}
        message |= {"Attributes": system, "MessageAttributes": attributes}
        said = attempted("batch_invoker", {"Records": [polled(message)]})
        assert said == redriven(taken(message), name_source, has_bucket), body[:40]
