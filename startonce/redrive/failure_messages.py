"""Reads what stands in the failure queue. Each way into it has a form of its own."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from hashlib import md5
from typing import Any
from urllib.parse import parse_qs, urlsplit

LONGEST_LINE = 300
"""Characters of an error that are shown."""


class Kind(Enum):
    """How the event came into the failure queue; the value is what people read."""

    GIVEN_UP = "Lambda gave up on the invoker"
    UNDELIVERED = "SNS could not deliver"
    UNBUFFERED = "the event queue gave up"
    STEP_FAILED = "a step failed for good"
    NOT_UNDERSTOOD = "not understood"


@dataclass(frozen=True)
class Received:
    """A message as SQS gave it.

    Attributes:
        sent_at: when it came into the queue; a message of the event queue keeps the time when it
            came into that one.
        source_arn: the queue that gave it up, if it came from one.
        attributes: its message attributes, as boto3 gives them.
        system: SQS's own attributes, as texts.
    """

    message_id: str
    receipt_handle: str
    body: str
    sent_at: datetime
    source_arn: str | None = None
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    system: Mapping[str, str] = field(default_factory=dict)

    def said(self, name: str) -> str | None:
        """The message attribute of this name, if it is there and of the type String or Number."""
        return _text(self.attributes.get(name, {}).get("StringValue"))


@dataclass(frozen=True)
class EventFailure:
    """An event of which nobody knows whether it has an execution.

    Attributes:
        event: the execution's input, as a JSON value.
        source: ARN of the function, topic or queue that had the event last; None where the message
            does not say.
        delivery_id: what the deliverer calls it: Lambda's request ID or SQS's message ID; None for
            SNS, which has no other than its message ID.
        sns_message_id: None if the event is none of SNS's.
        attempts: None where the message does not say.
    """

    message: Received
    kind: Kind
    event: Any
    source: str | None
    delivery_id: str | None
    sns_message_id: str | None
    error: str
    cause: str
    attempts: int | None

    @property
    def names(self) -> list[str]:
        """The names that its execution may have, by whichever parameter ``executionName``."""
        return [one for one in (self.delivery_id, self.sns_message_id) if one is not None]

    def name(self, by_message_id: bool) -> str:
        """The execution's name, as the invoker gives it."""
        return self.names[-1 if by_message_id else 0]


@dataclass(frozen=True)
class StepFailure:
    """An execution of which a step failed for good.

    Attributes:
        redrive: what a redrive would do: ``safe``, ``may_repeat`` or ``useless``; None in messages
            of a state machine that does not say, and that cannot be redriven.
        redrive_count: how often the execution had been redriven when it wrote the message.
    """

    message: Received
    execution_name: str
    execution_arn: str
    redrive: str | None
    redrive_count: int
    error: str
    cause: str

    kind = Kind.STEP_FAILED

    @property
    def names(self) -> list[str]:
        """The execution's name."""
        return [self.execution_name]


@dataclass(frozen=True)
class NotUnderstood:
    """A message that none of the service's parts wrote."""

    message: Received
    error: str
    cause: str = ""

    kind = Kind.NOT_UNDERSTOOD

    @property
    def names(self) -> list[str]:
        """None."""
        return []


Failure = EventFailure | StepFailure | NotUnderstood


def parse(message: Received) -> Failure:
    """What the message says. Never raises: what cannot be read is :class:`NotUnderstood`."""
    if message.source_arn is not None:
        return _unbuffered(message, message.source_arn)
    try:
        body = json.loads(message.body)
    except (ValueError, RecursionError):
        return NotUnderstood(message, "it is not JSON")
    fields = body if isinstance(body, dict) else {}
    return (
        _undelivered(message, fields)
        or _dead_letter(message, body)
        or _step_failure(message, fields)
        or _destination_record(message, fields)
        or NotUnderstood(message, "it has none of the forms that come into the failure queue")
    )


def first_line(text: str) -> str:
    """The first line of a cause, without what a terminal would obey.

    A function's cause is its error payload: of that, it is the message.
    """
    try:
        said = json.loads(text)
        text = said["errorMessage"] if isinstance(said["errorMessage"], str) else text
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    line = next((one for one in text.splitlines() if one.strip()), "").strip()
    line = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in line)
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…"


def _step_failure(message: Received, body: dict[str, Any]) -> StepFailure | None:
    """What the state ReportFailure writes."""
    name, arn = _text(body.get("execution_name")), _text(body.get("execution_arn"))
    if name is None or arn is None or not arn.endswith(f":{name}") or ":execution:" not in arn:
        return None
    count = body.get("redrive_count")
    counted = isinstance(count, int) and not isinstance(count, bool) and count >= 0
    return StepFailure(
        message=message,
        execution_name=name,
        execution_arn=arn,
        # One without the other is of no use: only together they tell a redrive that has been.
        redrive=_text(body.get("redrive")) if counted else None,
        redrive_count=count if counted and isinstance(count, int) else 0,
        error=_text(body.get("error")) or "",
        cause=_text(body.get("cause")) or "",
    )


def _destination_record(message: Received, body: dict[str, Any]) -> EventFailure | None:
    """https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html"""
    context = body.get("requestContext")
    if not isinstance(context, dict) or "requestPayload" not in body:
        return None
    request_id, condition = _text(context.get("requestId")), _text(context.get("condition"))
    if request_id is None or condition in (None, "Success"):
        return None
    response = body.get("responsePayload")
    said = response if isinstance(response, dict) else {}
    count = context.get("approximateInvokeCount")
    return EventFailure(
        message=message,
        kind=Kind.GIVEN_UP,
        event=body["requestPayload"],
        source=_text(context.get("functionArn")),
        delivery_id=request_id,
        sns_message_id=_sns_message_id(body["requestPayload"]),
        error=_text(said.get("errorType")) or condition or "",
        cause=_text(said.get("errorMessage")) or (condition or "" if said else ""),
        attempts=count if isinstance(count, int) else None,
    )


def _dead_letter(message: Received, event: Any) -> EventFailure | None:
    """https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html#invocation-dlq"""
    request_id, code = message.said("RequestID"), message.said("ErrorCode")
    if request_id is None or code is None:
        return None
    return EventFailure(
        message=message,
        kind=Kind.GIVEN_UP,
        event=event,
        source=None,
        delivery_id=request_id,
        sns_message_id=_sns_message_id(event),
        error=f"status {code}",
        cause=message.said("ErrorMessage") or "",
        attempts=None,
    )


def _undelivered(message: Received, body: dict[str, Any]) -> EventFailure | None:
    """https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html"""
    message_id = _sent_by_sns(body)
    if message_id is None:
        return None
    return EventFailure(
        message=message,
        kind=Kind.UNDELIVERED,
        event={"Records": [_delivered(body)]},
        source=_text(body["TopicArn"]),
        delivery_id=None,
        sns_message_id=message_id,
        error=message.said("ErrorCode") or "not delivered",
        cause=message.said("ErrorMessage") or "Lambda did not take the event at all",
        attempts=0,
    )


def _delivered(sent: dict[str, Any]) -> dict[str, Any]:
    """The record that SNS hands to a function, which has other names for two of the fields.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html
    """
    sns: dict[str, Any] = {"Type": "Notification", "MessageId": sent["MessageId"]}
    sns |= {"TopicArn": sent["TopicArn"], "Subject": sent.get("Subject")}
    sns |= {key: sent[key] for key in ("Message", "Timestamp", "SignatureVersion") if key in sent}
    for theirs, ours in (
        ("Signature", "Signature"),
        ("SigningCertURL", "SigningCertUrl"),
        ("UnsubscribeURL", "UnsubscribeUrl"),
    ):
        if theirs in sent:
            sns[ours] = sent[theirs]
    sns["MessageAttributes"] = sent.get("MessageAttributes", {})
    record: dict[str, Any] = {"EventSource": "aws:sns", "EventVersion": "1.0"}
    if subscription := _subscription_in(_text(sent.get("UnsubscribeURL")) or ""):
        record["EventSubscriptionArn"] = subscription
    return {**record, "Sns": sns}


def _subscription_in(unsubscribe_url: str) -> str | None:
    try:
        found = parse_qs(urlsplit(unsubscribe_url).query).get("SubscriptionArn")
    except ValueError:
        return None
    return found[0] if found else None


def _unbuffered(message: Received, source_arn: str) -> EventFailure:
    """A message of the event queue, which it gave up: see ``handlers/batch_invoker.py``."""
    return EventFailure(
        message=message,
        kind=Kind.UNBUFFERED,
        event={"Records": [_polled(message, source_arn)]},
        source=source_arn,
        delivery_id=message.message_id,
        sns_message_id=_notification_id(message.body),
        error="not started",
        cause="each attempt of the batch invoker failed; its log says why",
        attempts=None,  # the queue's count goes on with each look into the failure queue
    )


def _polled(message: Received, source_arn: str) -> dict[str, Any]:
    """The record that Lambda hands to a function that reads the queue.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
    """
    return {
        "messageId": message.message_id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": dict(message.system),
        "messageAttributes": {
            name: _polled_attribute(value) for name, value in message.attributes.items()
        },
        "md5OfBody": md5(message.body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": source_arn,
        "awsRegion": source_arn.split(":")[3] if source_arn.count(":") >= 3 else "",
    }


def _polled_attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    if "BinaryValue" in value:
        described["binaryValue"] = b64encode(value["BinaryValue"]).decode()
    else:
        described["stringValue"] = value.get("StringValue")
    # SQS has no lists, and Lambda says so.
    lists: dict[str, Any] = {"stringListValues": [], "binaryListValues": []}
    return {**described, **lists, "dataType": value["DataType"]}


def _sent_by_sns(body: dict[str, Any]) -> str | None:
    """The message ID, if this is what SNS sends to queues."""
    if body.get("Type") != "Notification" or _text(body.get("TopicArn")) is None:
        return None
    return _text(body.get("MessageId")) if isinstance(body.get("Message"), str) else None


def _notification_id(body: str) -> str | None:
    """SNS's message ID, as ``handlers/batch_invoker.py`` finds it."""
    try:
        sent = json.loads(body)
        return _text(sent["MessageId"]) if sent["Type"] == "Notification" else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _sns_message_id(event: Any) -> str | None:
    """As ``handlers/invoker.py`` finds it."""
    try:
        return _text(event["Records"][0]["Sns"]["MessageId"])
    except (TypeError, KeyError, IndexError):
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


IS_NAME = re.compile(r"[^\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,80}").fullmatch
"""Whether Step Functions takes a text as an execution's name.

https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
"""
