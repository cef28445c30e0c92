"""Each form that comes into the failure queue is read, and whatever else comes is told apart."""

from __future__ import annotations

import json
from typing import Any

import pytest

from startonce.redrive.failure_messages import (
    LONGEST_LINE,
    EventFailure,
    Kind,
    NotUnderstood,
    StepFailure,
    first_line,
    parse,
)
from tests.redrive.messages import (
    EVENT,
    EVENT_QUEUE,
    INVOKER,
    REQUEST_ID,
    SENT_BY_SNS,
    SNS_ID,
    SUBSCRIPTION,
    TOPIC,
    execution_arn,
    lambda_record,
    received,
    report,
    texts,
)


def event_failure(body: object, **changes: Any) -> EventFailure:
    failure = parse(received(body, **changes))
    assert isinstance(failure, EventFailure)
    return failure


def test_lambda_s_record() -> None:
    failure = event_failure(lambda_record())
    assert (failure.kind, failure.event, failure.source) == (Kind.GIVEN_UP, EVENT, INVOKER)
    assert (failure.error, failure.cause, failure.attempts) == (
        "ClientError",
        "throttled\nagain",
        3,
    )
    assert failure.names == [REQUEST_ID, SNS_ID]
    assert failure.name(by_message_id=False) == REQUEST_ID
    assert failure.name(by_message_id=True) == SNS_ID


@pytest.mark.parametrize("payload", [None, 7, "text", [], {"Records": []}, {"detail": {}}])
def test_an_event_without_a_message_id_goes_by_its_request_id(payload: object) -> None:
    failure = event_failure(lambda_record(requestPayload=payload))
    assert failure.event == payload
    assert failure.name(by_message_id=True) == REQUEST_ID


def test_lambda_s_record_of_an_event_that_got_too_old() -> None:
    record = lambda_record(context={"condition": "EventAgeExceeded", "approximateInvokeCount": 0})
    del record["responsePayload"], record["responseContext"]
    failure = event_failure(record)
    assert (failure.error, failure.cause, failure.attempts) == ("EventAgeExceeded", "", 0)


@pytest.mark.parametrize("response", [None, "text", [1], {}, {"errorType": 7}])
def test_any_answer_of_a_function_is_read(response: object) -> None:
    assert event_failure(lambda_record(responsePayload=response)).error == "RetriesExhausted"


def test_lambda_s_dead_letter() -> None:
    attributes = texts(RequestID=REQUEST_ID, ErrorCode="200", ErrorMessage="it broke")
    failure = event_failure(EVENT, attributes=attributes)
    assert (failure.kind, failure.event, failure.source) == (Kind.GIVEN_UP, EVENT, None)
    assert (failure.error, failure.cause) == ("status 200", "it broke")
    assert failure.names == [REQUEST_ID, SNS_ID]


def test_what_sns_could_not_deliver_becomes_the_event_that_lambda_gets() -> None:
    failure = event_failure(SENT_BY_SNS)
    assert (failure.kind, failure.source, failure.attempts) == (Kind.UNDELIVERED, TOPIC, 0)
    assert failure.names == [SNS_ID]
    assert failure.name(by_message_id=False) == failure.name(by_message_id=True) == SNS_ID
    [record] = failure.event["Records"]
    assert record["EventSource"] == "aws:sns"
    assert record["EventVersion"] == "1.0"
    assert record["EventSubscriptionArn"] == SUBSCRIPTION
    assert record["Sns"] == {
        "Type": "Notification",
        "MessageId": SNS_ID,
        "TopicArn": TOPIC,
        "Subject": None,
        "Message": '{"user_id": "ada"}',
        "Timestamp": "2026-11-23T10:00:00.000Z",
        "SignatureVersion": "1",
        "Signature": "c2lnbmVk",
        "SigningCertUrl": "https://sns.us-east-1.amazonaws.com/x.pem",
        "UnsubscribeUrl": SENT_BY_SNS["UnsubscribeURL"],
        "MessageAttributes": {},
    }


def test_what_sns_sent_along_stays() -> None:
    attributes = {"kind": {"Type": "String", "Value": "x"}}
    failure = event_failure({**SENT_BY_SNS, "Subject": "s", "MessageAttributes": attributes})
    sns = failure.event["Records"][0]["Sns"]
    assert (sns["Subject"], sns["MessageAttributes"]) == ("s", attributes)


def test_what_the_event_queue_gave_up_becomes_a_batch_of_one() -> None:
    system = {"SentTimestamp": "1795428000000", "ApproximateReceiveCount": "11"}
    failure = event_failure(SENT_BY_SNS, source_arn=EVENT_QUEUE, system=system)
    assert (failure.kind, failure.source) == (Kind.UNBUFFERED, EVENT_QUEUE)
    assert failure.name(by_message_id=False) == "m-1"
    assert failure.name(by_message_id=True) == SNS_ID
    [record] = failure.event["Records"]
    assert json.loads(record.pop("body")) == SENT_BY_SNS
    assert len(record.pop("md5OfBody")) == 32
    assert record == {
        "messageId": "m-1",
        "receiptHandle": "r",
        "attributes": system,
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": EVENT_QUEUE,
        "awsRegion": "us-east-1",
    }


def test_what_was_sent_along_comes_as_lambda_writes_it() -> None:
    attributes = {**texts(word="grün"), "raw": {"BinaryValue": b"\x01\x02", "DataType": "Binary.x"}}
    failure = event_failure("x", source_arn=EVENT_QUEUE, attributes=attributes)
    lists: dict[str, Any] = {"stringListValues": [], "binaryListValues": []}
    assert failure.event["Records"][0]["messageAttributes"] == {
        "word": {"stringValue": "grün", **lists, "dataType": "String"},
        "raw": {"binaryValue": "AQI=", **lists, "dataType": "Binary.x"},
    }


@pytest.mark.parametrize(
    "body", ["no JSON", "[1]", '{"Type": "Notification"}', '{"MessageId": "x"}', "[" * 100_000]
)
def test_the_event_queue_may_have_had_anything(body: str) -> None:
    failure = event_failure(body, source_arn=EVENT_QUEUE)
    assert failure.names == ["m-1"]
    assert failure.event["Records"][0]["body"] == body


def step_failure(**changes: Any) -> StepFailure:
    failure = parse(received(report(**changes)))
    assert isinstance(failure, StepFailure)
    return failure


def test_a_report_of_a_step() -> None:
    failure = step_failure()
    assert (failure.redrive, failure.redrive_count) == ("safe", 0)
    assert failure.execution_arn == execution_arn()
    assert failure.names == [REQUEST_ID]
    assert (failure.error, first_line(failure.cause)) == ("TableUnavailable", "the table is away")


def test_a_report_without_the_event_is_as_good() -> None:
    body = report(event_is_in="the execution's input", redrive="may_repeat", redrive_count=3)
    del body["event"]
    failure = parse(received(body))
    assert isinstance(failure, StepFailure)
    assert (failure.redrive, failure.redrive_count) == ("may_repeat", 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"redrive": None},
        {"redrive": 7},
        {"redrive_count": None},
        {"redrive_count": "0"},
        {"redrive_count": True},
        {"redrive_count": -1},
    ],
    ids=str,
)
def test_a_report_that_does_not_say_what_a_redrive_does(changes: dict[str, Any]) -> None:
    assert step_failure(**changes).redrive is None


def without(body: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in keys}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "hello",
        '{"half": ',
        "[" * 100_000,
        "null",
        "7",
        '"text"',
        "[1, 2]",
        "{}",
        "x" * 1_000_000,
        json.dumps({"x": "y" * 500_000}),
        {"requestContext": REQUEST_ID, "requestPayload": {}},
        without(lambda_record(), "requestPayload"),
        lambda_record(context={"requestId": None}),
        lambda_record(context={"requestId": 7}),
        lambda_record(context={"requestId": ""}),
        lambda_record(context={"condition": "Success"}),
        lambda_record(context={"condition": None}),
        without(report(), "execution_name"),
        without(report(), "execution_arn"),
        report(execution_name=["a"]),
        report(execution_arn="arn:aws:states:us-east-1:123456789012:execution:m:another"),
        report(execution_arn=REQUEST_ID),
        without(SENT_BY_SNS, "MessageId"),
        without(SENT_BY_SNS, "TopicArn"),
        without(SENT_BY_SNS, "Message"),
        {**SENT_BY_SNS, "MessageId": {}},
        {**SENT_BY_SNS, "Type": "SubscriptionConfirmation"},
        EVENT,
    ],
    ids=lambda body: str(body)[:40],
)
def test_anything_else_is_not_understood(body: object) -> None:
    failure = parse(received(body))
    assert isinstance(failure, NotUnderstood)
    assert failure.names == []
    assert failure.error


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        ("one\ntwo", "one"),
        ("\n\n  later  \n", "later"),
        ('{"errorMessage": "said", "errorType": "T"}', "said"),
        ('{"errorMessage": 7}', '{"errorMessage": 7}'),
        ("[1]", "[1]"),
        ("\x1b[31mred\x07 \u202etxt", "\ufffd[31mred\ufffd \ufffdtxt"),
        ("x" * 1000, "x" * (LONGEST_LINE - 1) + "…"),
    ],
)
def test_of_a_cause_the_first_line_is_shown(text: str, line: str) -> None:
    assert first_line(text) == line
