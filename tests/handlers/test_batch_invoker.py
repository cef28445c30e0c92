import ast
import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError

LIMIT = 262_144 - 1_024
# As Lambda's documentation shows it.
SHARD = "shardId-000000000006"
SEQUENCE = "49590338271490256608559692538361571095921575989136588898"
STREAM = "arn:aws:kinesis:eu-central-1:123456789012:stream/orders"
TABLE = "arn:aws:dynamodb:eu-central-1:123456789012:table/orders/stream/2024-06-10T19:26:16.525"
QUEUE = "arn:aws:sqs:eu-central-1:123456789012:orders"


@pytest.fixture
def batch(load: Any) -> ModuleType:
    module: ModuleType = load("batch_invoker")
    return module


def message(name: str, body: str = "hello", group: str | None = None) -> dict[str, Any]:
    fifo = {"MessageGroupId": group} if group else {}
    return {
        "messageId": name,
        "receiptHandle": f"handle-{name}",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1", **fifo},
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": QUEUE + (".fifo" if group else ""),
        "awsRegion": "eu-central-1",
    }


def notification(message_id: Any = "m-1") -> str:
    return json.dumps({"Type": "Notification", "MessageId": message_id, "Message": "secret text"})


def kinesis(sequence: str = SEQUENCE, shard: str = SHARD) -> dict[str, Any]:
    return {
        "kinesis": {"partitionKey": "1", "sequenceNumber": sequence, "data": "c2VjcmV0"},
        "eventSource": "aws:kinesis",
        "eventID": f"{shard}:{sequence}",
        "eventName": "aws:kinesis:record",
        "eventSourceARN": STREAM,
    }


def dynamodb(event_id: str, sequence: str) -> dict[str, Any]:
    return {
        "eventID": event_id,
        "eventName": "INSERT",
        "eventSource": "aws:dynamodb",
        "dynamodb": {"Keys": {"id": {"S": "1"}}, "SequenceNumber": sequence},
        "eventSourceARN": TABLE,
    }


def event(*records: dict[str, Any]) -> dict[str, Any]:
    return {"Records": list(records)}


def failed(answer: dict[str, Any]) -> list[str]:
    assert list(answer) == ["batchItemFailures"]
    assert all(list(one) == ["itemIdentifier"] for one in answer["batchItemFailures"])
    return [one["itemIdentifier"] for one in answer["batchItemFailures"]]


def inputs(stepfunctions: Any, machine: str) -> dict[str, Any]:
    """The inputs of the executions that there are, by name."""
    listed = stepfunctions.list_executions(stateMachineArn=machine)["executions"]
    described = [stepfunctions.describe_execution(executionArn=e["executionArn"]) for e in listed]
    return {one["name"]: json.loads(one["input"]) for one in described}


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.__dict__ for record in caplog.records if record.name == "batch_invoker"]


def refuse(batch: ModuleType, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let StartExecution fail for these names."""
    start = batch.CLIENT.start_execution

    def start_execution(**arguments: Any) -> Any:
        if arguments["name"] in names:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "StartExecution")
        return start(**arguments)

    monkeypatch.setattr(batch.CLIENT, "start_execution", start_execution)


@pytest.mark.parametrize(
    ("records", "names"),
    [
        ([message("s-1"), message("s-2")], ["s-1", "s-2"]),
        ([kinesis()], [f"{SHARD}_{SEQUENCE}"]),
        ([dynamodb("c4ca4238a0b9", "111"), dynamodb("c81e728d9d4c", "222")], None),
    ],
)
def test_each_record_starts_one_execution_with_its_own_name(
    batch: ModuleType,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    records: list[dict[str, Any]],
    names: list[str] | None,
) -> None:
    assert failed(batch.handler(event(*records), context)) == []
    names = names or [record["eventID"] for record in records]
    assert inputs(stepfunctions, state_machine) == {
        name: event(record) for name, record in zip(names, records, strict=True)
    }


def test_a_batch_that_comes_again_starts_nothing(
    batch: ModuleType,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    batch.handler(event(message("s-1")), context)
    for one in stepfunctions.list_executions(stateMachineArn=state_machine)["executions"]:
        stepfunctions.stop_execution(executionArn=one["executionArn"])
    context.aws_request_id = "another-request"
    assert failed(batch.handler(event(message("s-0"), message("s-1")), context)) == []
    assert set(inputs(stepfunctions, state_machine)) == {"s-0", "s-1"}
    assert [line["outcome"] for line in lines(caplog)] == ["started", "started", "already_started"]


@pytest.mark.parametrize(
    ("source", "body", "name"),
    [
        ("messageId", notification(), "m-1"),
        ("messageId", "no json", "s-1"),
        ("messageId", "7", "s-1"),
        ("messageId", "[]", "s-1"),
        ("messageId", "{}", "s-1"),
        ("messageId", '{"MessageId": "m-1"}', "s-1"),
        ("messageId", "[" * 100_000, "s-1"),
        ("messageId", notification(7), "s-1"),
        ("messageId", notification(""), "s-1"),
        ("requestId", notification(), "s-1"),
        (None, notification(), "s-1"),
    ],
)
def test_a_message_of_sns_is_named_by_sns_where_that_is_asked_for(
    batch: ModuleType,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
    source: str | None,
    body: str,
    name: str,
) -> None:
    if source:
        monkeypatch.setenv("EXECUTION_NAME", source)
    batch.handler(event(message("s-1", body)), context)
    assert list(inputs(stepfunctions, state_machine)) == [name]


def test_sns_s_own_duplicate_in_one_batch_starts_one_execution(
    batch: ModuleType,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXECUTION_NAME", "messageId")
    batch.handler(event(message("s-1", notification())), context)
    [execution] = stepfunctions.list_executions(stateMachineArn=state_machine)["executions"]
    stepfunctions.stop_execution(executionArn=execution["executionArn"])
    assert failed(batch.handler(event(message("s-2", notification())), context)) == []
    assert list(inputs(stepfunctions, state_machine)) == ["m-1"]


def test_names_are_legal_and_each_record_has_another(batch: ModuleType) -> None:
    ids = [
        f"{SHARD}:{SEQUENCE}",
        f"{SHARD}:{SEQUENCE[:-1]}9",
        f"shardId-000000000007:{SEQUENCE}",
        f"{SHARD}:{'9' * 129}",
        f"{SHARD}:{'9' * 128}8",
        "c4ca4238a0b923820dcc509a6f75849b",
    ]
    names = [batch.to_name(one) for one in ids]
    assert len(set(names)) == len(ids)
    assert names == [batch.to_name(one) for one in ids]
    for name in names:
        assert 1 <= len(name) <= 80
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzI0123456789-_")


def test_of_a_standard_queue_only_what_failed_is_reported(
    batch: ModuleType,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    refuse(batch, monkeypatch, "s-2")
    fair = {"MessageGroupId": "tenant"}  # groups of a standard queue keep no order
    records = [message(f"s-{n}") for n in range(1, 5)]
    for record in records:
        record["attributes"] |= fair
    assert failed(batch.handler(event(*records), context)) == ["s-2"]
    assert set(inputs(stepfunctions, state_machine)) == {"s-1", "s-3", "s-4"}
    assert [line["outcome"] for line in lines(caplog)].count("failed") == 1


def test_a_fifo_group_ends_at_its_first_failure_and_the_others_go_on(
    batch: ModuleType,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    refuse(batch, monkeypatch, "a-2")
    order = ["a-1", "b-1", "a-2", "a-3", "b-2", "a-4", "c-1"]
    records = [message(name, group=name[0]) for name in order]
    assert failed(batch.handler(event(*records), context)) == ["a-2", "a-3", "a-4"]
    assert set(inputs(stepfunctions, state_machine)) == {"a-1", "b-1", "b-2", "c-1"}
    errors = {line["record_id"]: line.get("error") for line in lines(caplog)}
    assert (errors["a-2"], errors["a-3"]) == ("ClientError", "EarlierRecordFailed")


@pytest.mark.parametrize(
    "records",
    [
        [kinesis(str(number)) for number in range(101, 106)],
        [dynamodb(f"e{number}", str(number)) for number in range(101, 106)],
    ],
    ids=["kinesis", "dynamodb"],
)
def test_a_stream_ends_at_its_first_failure(
    batch: ModuleType,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
    records: list[dict[str, Any]],
) -> None:
    refuse(batch, monkeypatch, batch.to_name(records[2]["eventID"]))
    # Lambda goes on at the lowest of these.
    assert failed(batch.handler(event(*records), context)) == ["103", "104", "105"]
    assert set(inputs(stepfunctions, state_machine)) == {
        batch.to_name(record["eventID"]) for record in records[:2]
    }


@pytest.mark.parametrize("group", [None, "a"])
def test_what_no_time_is_left_for_is_reported_in_time(
    batch: ModuleType,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    group: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    left = iter([30_000, 10_000, 9_999, 9_000])
    context.get_remaining_time_in_millis = lambda: next(left)
    records = [message(f"s-{n}", group=group) for n in range(1, 5)]
    assert failed(batch.handler(event(*records), context)) == ["s-3", "s-4"]
    assert set(inputs(stepfunctions, state_machine)) == {"s-1", "s-2"}
    last = "EarlierRecordFailed" if group else "OutOfTime"
    assert [line.get("error") for line in lines(caplog)] == [None, None, "OutOfTime", last]


def test_what_is_left_for_a_record_is_enough_for_it(
    batch: ModuleType, worst_case_seconds: Callable[[Any], float]
) -> None:
    clients = [batch.CLIENT, batch.S3()]
    assert {client.meta.config.retries["mode"] for client in clients} == {"legacy"}
    worst = sum(worst_case_seconds(client) for client in clients)
    assert worst <= batch.MILLISECONDS_FOR_A_RECORD / 1000 - 2


def test_a_large_record_goes_by_the_bucket(
    batch: ModuleType,
    load: Any,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    bucket: Any,
) -> None:
    small, large = message("s-1"), message("s-2", "語" * LIMIT)
    assert failed(batch.handler(event(small, large), context)) == []
    found = inputs(stepfunctions, state_machine)
    assert found["s-1"] == event(small)
    assert load("event_pointer").resolve(found["s-2"]) == event(large)


def test_without_a_bucket_a_large_record_fails_alone(
    batch: ModuleType,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    large = message("s-1", "a" * LIMIT)
    assert failed(batch.handler(event(large, message("s-2")), context)) == ["s-1"]
    assert set(inputs(stepfunctions, state_machine)) == {"s-2"}
    assert lines(caplog)[0]["error"] == "EventTooLarge"


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        "text",
        {},
        {"Records": None},
        {"Records": [None]},
        {"Records": [{}]},
        {"Records": [{"eventSource": "aws:s3", "s3": {}}]},
        {"Records": [{"EventSource": "aws:sns", "Sns": {"MessageId": "m-1"}}]},
        {"Records": [{"eventSource": "aws:kinesis"}]},
        event(message("s-1"), {"eventSource": "aws:sqs"}),
    ],
)
def test_another_source_is_refused_before_anything_starts(
    batch: ModuleType, state_machine: str, stepfunctions: Any, context: Any, given: Any
) -> None:
    with pytest.raises(batch.UnknownSource, match="SQS, Kinesis or DynamoDB"):
        batch.handler(given, context)
    assert inputs(stepfunctions, state_machine) == {}


def test_a_missing_variable_is_an_error_of_the_whole_batch(batch: ModuleType, context: Any) -> None:
    with pytest.raises(batch.MissingVariable, match=r"CF_OperationLog.*deployment.*stack"):
        batch.handler(event(message("s-1")), context)


def test_a_missing_state_machine_fails_each_record(
    batch: ModuleType,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stepfunctions.delete_state_machine(stateMachineArn=state_machine)
    answer = batch.handler(event(message("s-1"), message("s-2")), context)
    assert failed(answer) == ["s-1", "s-2"]
    assert {line["error"] for line in lines(caplog)} == {"NoSuchStateMachine"}
    # To Lambda the batch has succeeded, so only the log says why.
    assert all(state_machine in line["reason"] for line in lines(caplog))


def test_writes_one_line_a_record_and_no_payload(
    batch: ModuleType,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    refuse(batch, monkeypatch, "s-2")
    batch.handler(event(message("s-1", notification()), message("s-2", "secret")), context)
    first, second = lines(caplog)
    [execution] = stepfunctions.list_executions(stateMachineArn=state_machine)["executions"]
    assert first["execution_arn"] == execution["executionArn"]
    assert (first["levelno"], second["levelno"]) == (logging.INFO, logging.ERROR)
    assert (first["message_id"], second["message_id"]) == ("m-1", None)
    assert {line["request_id"] for line in (first, second)} == {context.aws_request_id}
    assert [line["record_id"] for line in (first, second)] == ["s-1", "s-2"]
    assert "secret" not in str([first, second])


def test_what_both_invokers_have_is_the_same_in_both(batch: ModuleType, load: Any) -> None:
    def functions(module: ModuleType) -> dict[str, str]:
        assert module.__file__ is not None
        tree = ast.parse(Path(module.__file__).read_text())
        return {n.name: ast.unparse(n) for n in tree.body if isinstance(n, ast.FunctionDef)}

    invoker = load("invoker")
    mine, its = functions(batch), functions(invoker)
    for name in ("state_machine_arn", "to_input", "start"):
        assert mine[name] == its[name]
    constants = ("VARIABLE", "BUCKET_VARIABLE", "MAX_INPUT_BYTES", "POINTER", "CLOCK_TOLERANCE")
    for name in constants:
        assert getattr(batch, name) == getattr(invoker, name)
