import json
import logging
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

MESSAGE = {
    "user_id": "u-1",
    "operation": "login",
    "occurred_at": "2025-01-31T09:30:00Z",
    "details": {"ip": "::1", "amount": 1.10, "Grüße": [None, True]},
}
ANSWER = {"user_id": "u-1", "operation": "login", "occurred_at": "2025-01-31T09:30:00Z"}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Any:
    table = boto3.resource("dynamodb").create_table(
        TableName="operations",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "execution_name", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "execution_name", "KeyType": "HASH"}],
    )
    monkeypatch.setenv("CF_OperationsTable", "operations")
    return table


@pytest.fixture
def record(load: Any) -> ModuleType:
    module: ModuleType = load("record_operation")
    return module


def step(message: Any, name: str = "e-1", retry_count: int = 0) -> dict[str, Any]:
    text = message if isinstance(message, str) else json.dumps(message)
    event = {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": text}}]}
    return {"execution_name": name, "retry_count": retry_count, "event": event}


def items(table: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.scan()["Items"]
    return found


def test_writes_the_operation_under_the_execution_name(record: ModuleType, table: Any) -> None:
    assert record.handler(step(MESSAGE), None) == ANSWER
    [item] = items(table)
    assert item == {
        "execution_name": "e-1",
        **ANSWER,
        "details": '{"ip":"::1","amount":1.1,"Grüße":[null,true]}',
    }


def test_running_twice_leaves_one_record_and_gives_the_same_answer(
    record: ModuleType, table: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert record.handler(step(MESSAGE), None) == record.handler(step(MESSAGE, retry_count=1), None)
    assert len(items(table)) == 1
    lines = [line.__dict__ for line in caplog.records if line.name == "record_operation"]
    assert [line["outcome"] for line in lines] == ["recorded", "already_recorded"]
    assert [line["retry_count"] for line in lines] == [0, 1]


def test_a_second_message_does_not_overwrite_the_first(record: ModuleType, table: Any) -> None:
    record.handler(step(MESSAGE), None)
    record.handler(step({**MESSAGE, "operation": "logout"}), None)
    assert [item["operation"] for item in items(table)] == ["login"]


def test_each_execution_has_its_own_record(record: ModuleType, table: Any) -> None:
    record.handler(step(MESSAGE, "e-1"), None)
    record.handler(step(MESSAGE, "e-2"), None)
    assert {item["execution_name"] for item in items(table)} == {"e-1", "e-2"}


@pytest.mark.parametrize("details", [None, 0, "text", [], {"n": 1e300}, {"big": 10**60}, "\ud800"])
def test_details_are_any_json(record: ModuleType, table: Any, details: Any) -> None:
    record.handler(step({**MESSAGE, "details": details}), None)
    assert json.loads(items(table)[0]["details"]) == details


def test_details_may_be_absent(record: ModuleType, table: Any) -> None:
    record.handler(step(ANSWER), None)
    assert items(table)[0]["details"] == "null"


def test_the_answer_leaves_the_details_out(record: ModuleType, table: Any) -> None:
    assert "details" not in record.handler(step(MESSAGE), None)


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        "text",
        7,
        {},
        {"Records": []},
        {"Records": None},
        {"Records": [{}, {}]},
        {"Records": [{"Sns": None}]},
        {"Records": [{"s3": {}}]},
        {"Records": ["text"]},
    ],
)
def test_an_event_that_is_no_sns_message_is_invalid(
    record: ModuleType, table: Any, event: Any
) -> None:
    with pytest.raises(record.InvalidOperation, match="SNS message"):
        record.handler({"execution_name": "e-1", "retry_count": 0, "event": event}, None)
    assert items(table) == []


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ("not json", "is not JSON"),
        ("", "is not JSON"),
        ("[1, 2]", "must be an object, not list"),
        ('"text"', "must be an object, not str"),
        ("[" * 100_000, "is not JSON"),
        ('{"details": NaN}', "NaN is not a JSON value"),
        ('{"details": 1' + "0" * 5000 + "}", "is not JSON"),
        ({}, "user_id must be a string"),
        ({**MESSAGE, "user_id": ""}, "user_id must be a string"),
        ({**MESSAGE, "user_id": "  "}, "user_id must be a string"),
        ({**MESSAGE, "user_id": 7}, "user_id must be a string"),
        ({**MESSAGE, "user_id": "\ud800"}, "user_id has half a surrogate pair"),
        ({**MESSAGE, "operation": None}, "operation must be a string"),
        ({**MESSAGE, "operation": ["login"]}, "operation must be a string"),
        ({**MESSAGE, "occurred_at": None}, "occurred_at must be a string"),
        ({**MESSAGE, "occurred_at": "yesterday"}, "occurred_at must be an ISO 8601 time"),
        ({**MESSAGE, "occurred_at": "2025-01-31"}, "occurred_at must be an ISO 8601 time"),
        ({**MESSAGE, "occurred_at": "2025-01-31T09:30:00"}, "with a zone"),
        ({**MESSAGE, "occurred_at": "2025-01-31 09:30:00Z"}, "must be an ISO 8601 time"),
        ({**MESSAGE, "occurred_at": "2025-02-30T09:30:00Z"}, "must be an ISO 8601 time"),
        (json.dumps(ANSWER)[:-1] + ', "details": 1e999}', "past the range of float"),
    ],
)
def test_a_message_that_is_no_operation_is_invalid_and_says_why(
    record: ModuleType, table: Any, message: Any, complaint: str
) -> None:
    with pytest.raises(record.InvalidOperation) as error:
        record.handler(step(message), None)
    assert complaint in str(error.value)
    assert str(error.value).startswith("Records[0].Sns.Message")
    assert items(table) == []


def test_a_message_that_is_no_string_is_invalid(record: ModuleType, table: Any) -> None:
    event = {"Records": [{"Sns": {"Message": {"user_id": "u-1"}}}]}
    with pytest.raises(record.InvalidOperation, match="must be a string, not dict"):
        record.handler({"execution_name": "e-1", "retry_count": 0, "event": event}, None)


def test_the_error_does_not_repeat_the_message(record: ModuleType, table: Any) -> None:
    with pytest.raises(record.InvalidOperation) as error:
        record.handler(step({**MESSAGE, "occurred_at": "secret"}), None)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "time", ["2025-01-31T09:30:00+02:00", "2025-01-31T09:30:00.123456Z", "20250131T093000Z"]
)
def test_any_iso_8601_time_with_a_zone_is_kept_as_it_came(
    record: ModuleType, table: Any, time: str
) -> None:
    assert record.handler(step({**MESSAGE, "occurred_at": time}), None)["occurred_at"] == time


def test_a_missing_variable_is_an_error_that_names_it_and_why(
    record: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CF_OperationsTable", raising=False)
    with pytest.raises(record.MissingVariable, match=r"CF_OperationsTable.*deployment.*stack"):
        record.handler(step(MESSAGE), None)


def test_a_missing_table_is_unavailable(record: ModuleType, table: Any) -> None:
    table.delete()
    with pytest.raises(record.TableUnavailable, match="operations"):
        record.handler(step(MESSAGE), None)


@pytest.mark.parametrize(
    "failure",
    [
        ClientError({"Error": {"Code": "ThrottlingException", "Message": "no"}}, "PutItem"),
        ReadTimeoutError(endpoint_url="dynamodb"),
    ],
)
def test_any_failure_of_the_call_is_unavailable(
    record: ModuleType, table: Any, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise failure

    monkeypatch.setattr(record.CLIENT, "put_item", fail)
    with pytest.raises(record.TableUnavailable):
        record.handler(step(MESSAGE), None)


def queued(message: Any) -> dict[str, Any]:
    """The step as it is where SNS sent to a queue, from which the execution was started."""
    sent = {"Type": "Notification", "MessageId": "m-1", "Message": json.dumps(message)}
    record = {"eventSource": "aws:sqs", "messageId": "s-1", "body": json.dumps(sent)}
    return {"execution_name": "e-1", "retry_count": 0, "event": {"Records": [record]}}


def test_a_message_that_came_by_a_queue_is_recorded_as_any(record: ModuleType, table: Any) -> None:
    assert record.handler(queued(MESSAGE), None) == ANSWER
    assert len(items(table)) == 1


@pytest.mark.parametrize("body", ["", "no json", "7", "[]", "{}", "null", None, 7, "[" * 100_000])
def test_a_body_that_sns_did_not_send_is_invalid(record: ModuleType, table: Any, body: Any) -> None:
    step = queued(MESSAGE)
    step["event"]["Records"][0]["body"] = body
    with pytest.raises(record.InvalidOperation, match="SNS message"):
        record.handler(step, None)


def test_a_large_event_is_read_from_where_the_input_points(
    record: ModuleType, table: Any, bucket: Any
) -> None:
    event = step(MESSAGE)["event"]
    bucket.put_object(Key="e-1", Body=json.dumps(event).encode())
    kind = "software.amazon.payloadoffloading.PayloadS3Pointer"
    pointer = [kind, {"s3BucketName": bucket.name, "s3Key": "e-1"}]
    assert record.handler({**step(MESSAGE), "event": pointer}, None) == ANSWER
    bucket.Object("e-1").delete()
    with pytest.raises(Exception, match="NoSuchKey") as error:
        record.handler({**step(MESSAGE), "event": pointer}, None)
    assert type(error.value).__name__ == "EventGone"


def test_an_sdk_retry_after_a_lost_answer_gives_the_same_answer(
    record: ModuleType, table: Any
) -> None:
    calls = []

    def lose_first_answer(**_: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            table.put_item(Item={"execution_name": "e-1", **ANSWER})
            raise ReadTimeoutError(endpoint_url="dynamodb")

    record.CLIENT.meta.events.register("before-send", lose_first_answer)
    assert record.handler(step(MESSAGE), None) == ANSWER
    assert (len(calls), len(items(table))) == (2, 1)


def test_the_line_does_not_hold_the_message(
    record: ModuleType, table: Any, caplog: pytest.LogCaptureFixture
) -> None:
    record.handler(step({**MESSAGE, "user_id": "secret"}), None)
    [line] = [line for line in caplog.records if line.name == "record_operation"]
    assert line.levelno == logging.INFO
    assert "secret" not in str(line.__dict__)


def test_all_sdk_attempts_fit_into_the_function_timeout(
    record: ModuleType, worst_case_seconds: Callable[[Any], float]
) -> None:
    assert record.CLIENT.meta.config.retries["mode"] == "legacy"
    s3 = sys.modules["handlers.event_pointer"].S3()
    assert worst_case_seconds(record.CLIENT) + worst_case_seconds(s3) <= 11
