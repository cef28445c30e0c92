import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

LIMIT = 262_144 - 1_024


@pytest.fixture
def invoker(load: Any) -> ModuleType:
    module: ModuleType = load("invoker")
    return module


def sns_event(message: str = "hello", message_id: Any = "m-1") -> dict[str, Any]:
    return {
        "Records": [
            {"EventSource": "aws:sns", "Sns": {"MessageId": message_id, "Message": message}}
        ]
    }


def lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "invoker"]


def field(record: logging.LogRecord, name: str) -> Any:
    return record.__dict__[name]


def later(invoker: ModuleType, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Later":
            moment = datetime.now(tz) + timedelta(seconds=seconds)
            return cls.fromtimestamp(moment.timestamp(), tz)

    monkeypatch.setattr(invoker, "datetime", Later)


def test_starts_an_execution_named_by_the_request_id(
    invoker: ModuleType, state_machine: str, stepfunctions: Any, context: Any
) -> None:
    answer = invoker.handler(sns_event(), context)
    [execution] = stepfunctions.list_executions(stateMachineArn=state_machine)["executions"]
    assert answer == {"executionArn": execution["executionArn"], "started": True}
    assert execution["name"] == context.aws_request_id


def test_gives_the_event_untouched_as_compact_utf8(
    invoker: ModuleType, state_machine: str, stepfunctions: Any, context: Any
) -> None:
    event = {"text": "Grüße 🎉 \u2028", "numbers": [1, 2.5, 10**20], "none": None}
    arn = invoker.handler(event, context)["executionArn"]
    text = stepfunctions.describe_execution(executionArn=arn)["input"]
    assert text == '{"text":"Grüße 🎉 \u2028","numbers":[1,2.5,100000000000000000000],"none":null}'


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        "text",
        7,
        True,
        {},
        {"Records": None},
        {"Records": "abc"},
        {"Records": {"0": 1}},
        {"Records": [[]]},
        {"Records": [{"Sns": "text"}]},
        {"Records": [{"s3": {"bucket": {"name": "b"}}}]},
        {"detail-type": "Object Created", "detail": {}},
        sns_event(message_id={"not": "a string"}),
    ],
)
def test_takes_any_event(
    invoker: ModuleType,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    event: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    arn = invoker.handler(event, context)["executionArn"]
    assert json.loads(stepfunctions.describe_execution(executionArn=arn)["input"]) == event
    assert [field(line, "message_id") for line in lines(caplog)] == [None]


def test_writes_half_a_surrogate_pair_in_its_backslash_form(invoker: ModuleType) -> None:
    event = {"text": "ü \ud800 🎉"}
    text = invoker.to_input(event, "e-1")
    assert text == '{"text":"ü \\ud800 🎉"}'
    assert json.loads(text) == event


@pytest.mark.parametrize("letter", ["a", "é", "🎉"])
def test_accepts_an_event_of_exactly_the_limit(
    invoker: ModuleType, state_machine: str, context: Any, letter: str
) -> None:
    room = LIMIT - 2  # two quotes
    width = len(letter.encode())
    event = letter * (room // width) + "a" * (room % width)
    assert len(invoker.to_input(event, "e-1").encode()) == LIMIT
    assert invoker.handler(event, context)["started"]


@pytest.mark.parametrize("letter", ["a", "é", "🎉"])
def test_refuses_one_byte_more_with_the_sizes_where_there_is_no_bucket(
    invoker: ModuleType, state_machine: str, context: Any, letter: str
) -> None:
    room = LIMIT - 1
    width = len(letter.encode())
    event = letter * (room // width) + "a" * (room % width)
    with pytest.raises(invoker.EventTooLarge, match="261121 bytes, the limit is 261120") as error:
        invoker.handler(event, context)
    assert "largeEvents=bucket" in str(error.value)


def test_a_name_by_message_id_survives_a_second_delivery_by_sns(
    invoker: ModuleType,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("EXECUTION_NAME", "messageId")
    first = invoker.handler(sns_event(), context)
    request_ids = [context.aws_request_id, "another-request"]
    context.aws_request_id = request_ids[1]
    again = sns_event()
    again["Records"][0]["Sns"]["Signature"] = "another"
    refuse_another_input(invoker, monkeypatch)
    second = invoker.handler(again, context)
    assert second == {"executionArn": first["executionArn"], "started": False}
    [execution] = stepfunctions.list_executions(stateMachineArn=state_machine)["executions"]
    assert execution["name"] == "m-1"
    assert [field(line, "request_id") for line in lines(caplog)] == request_ids
    assert {field(line, "execution_arn") for line in lines(caplog)} == {first["executionArn"]}


def refuse_another_input(invoker: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """As AWS does while the first execution runs; moto takes it for the same one."""

    def refuse(**_: Any) -> None:
        raise invoker.CLIENT.exceptions.ExecutionAlreadyExists(
            {"Error": {"Code": "ExecutionAlreadyExists", "Message": "no"}}, "StartExecution"
        )

    monkeypatch.setattr(invoker.CLIENT, "start_execution", refuse)


@pytest.mark.parametrize("event", [{}, None, {"Records": [{"s3": {}}]}, sns_event(message_id="")])
def test_an_event_without_a_message_id_is_named_by_its_request_id(
    invoker: ModuleType,
    state_machine: str,
    context: Any,
    event: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EXECUTION_NAME", "messageId")
    assert invoker.handler(event, context)["executionArn"].endswith(f":{context.aws_request_id}")


def test_a_message_id_is_no_name_unless_the_variable_says_so(
    invoker: ModuleType, state_machine: str, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXECUTION_NAME", "requestId")
    answer = invoker.handler(sns_event(), context)
    assert answer["executionArn"].endswith(f":{context.aws_request_id}")


def test_an_event_that_s3_does_not_take_is_not_started(
    invoker: ModuleType,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    bucket: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bucket.delete()
    with pytest.raises(ClientError, match="NoSuchBucket"):
        invoker.handler("a" * LIMIT, context)
    assert stepfunctions.list_executions(stateMachineArn=state_machine)["executions"] == []
    [line] = lines(caplog)
    assert (field(line, "outcome"), field(line, "error")) == ("failed", "NoSuchBucket")


def test_an_event_that_is_not_large_makes_no_client_for_s3(
    invoker: ModuleType, state_machine: str, context: Any, bucket: Any
) -> None:
    invoker.handler(sns_event(), context)
    assert invoker.S3.cache_info().currsize == 0
    for _ in range(2):
        invoker.handler("a" * LIMIT, context)
    assert (invoker.S3.cache_info().misses, invoker.S3.cache_info().hits) == (1, 1)


def test_a_second_attempt_with_a_large_event_gives_the_same_input(
    invoker: ModuleType, state_machine: str, stepfunctions: Any, context: Any, bucket: Any
) -> None:
    first = invoker.handler("a" * LIMIT, context)
    assert invoker.handler("a" * LIMIT, context)["executionArn"] == first["executionArn"]
    [name] = [stored.key for stored in bucket.objects.all()]
    assert name == context.aws_request_id


def test_a_retry_while_the_execution_runs_did_not_start_it(
    invoker: ModuleType,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = invoker.handler(sns_event(), context)
    later(invoker, monkeypatch, 60)
    second = invoker.handler(sns_event(), context)
    assert second == {"executionArn": first["executionArn"], "started": False}
    assert len(stepfunctions.list_executions(stateMachineArn=state_machine)["executions"]) == 1


def test_a_retry_after_the_execution_ended_is_a_success(
    invoker: ModuleType, state_machine: str, stepfunctions: Any, context: Any
) -> None:
    first = invoker.handler(sns_event(), context)
    stepfunctions.stop_execution(executionArn=first["executionArn"])
    second = invoker.handler(sns_event(), context)
    assert second == {"executionArn": first["executionArn"], "started": False}
    assert len(stepfunctions.list_executions(stateMachineArn=state_machine)["executions"]) == 1


def test_small_differences_of_the_clocks_do_not_matter(
    invoker: ModuleType, state_machine: str, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    later(invoker, monkeypatch, 0.5)
    assert invoker.handler(sns_event(), context)["started"]


def test_the_clock_tolerance_is_well_under_the_first_retry(invoker: ModuleType) -> None:
    assert invoker.CLOCK_TOLERANCE <= timedelta(seconds=6)


def test_an_sdk_retry_after_a_lost_answer_still_counts_as_started(
    invoker: ModuleType, state_machine: str, stepfunctions: Any, context: Any
) -> None:
    calls = []

    def lose_first_answer(**_: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            # The service has the request, and its answer never comes.
            stepfunctions.start_execution(
                stateMachineArn=state_machine,
                name=context.aws_request_id,
                input=invoker.to_input(sns_event(), "e-1"),
            )
            raise ReadTimeoutError(endpoint_url="states")

    invoker.CLIENT.meta.events.register("before-send", lose_first_answer)
    assert invoker.handler(sns_event(), context)["started"]
    assert len(calls) == 2
    assert len(stepfunctions.list_executions(stateMachineArn=state_machine)["executions"]) == 1


def test_a_missing_variable_is_an_error_that_names_it_and_why(
    invoker: ModuleType, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CF_OperationLog", raising=False)
    with pytest.raises(invoker.MissingVariable, match=r"CF_OperationLog.*deployment.*stack"):
        invoker.handler(sns_event(), context)


def test_a_missing_state_machine_is_an_error_that_names_it(
    invoker: ModuleType, state_machine: str, stepfunctions: Any, context: Any
) -> None:
    stepfunctions.delete_state_machine(stateMachineArn=state_machine)
    with pytest.raises(invoker.NoSuchStateMachine, match=state_machine):
        invoker.handler(sns_event(), context)


@pytest.mark.parametrize("code", ["ThrottlingException", "AccessDeniedException", "InvalidName"])
def test_any_other_error_is_raised(
    invoker: ModuleType,
    state_machine: str,
    context: Any,
    code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**_: Any) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "no"}}, "StartExecution")

    monkeypatch.setattr(invoker.CLIENT, "start_execution", fail)
    with pytest.raises(ClientError, match=code):
        invoker.handler(sns_event(), context)


def test_writes_one_line_for_an_attempt_that_started(
    invoker: ModuleType, state_machine: str, context: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answer = invoker.handler(sns_event("secret text"), context)
    [line] = lines(caplog)
    assert line.levelno == logging.INFO
    assert field(line, "request_id") == context.aws_request_id
    assert field(line, "execution_arn") == answer["executionArn"]
    assert field(line, "outcome") == "started"
    assert field(line, "message_id") == "m-1"
    assert "secret" not in str(line.__dict__)


def test_writes_one_line_for_an_attempt_that_found_the_execution(
    invoker: ModuleType,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = invoker.handler(sns_event(), context)
    stepfunctions.stop_execution(executionArn=first["executionArn"])
    invoker.handler(sns_event(), context)
    assert [field(line, "outcome") for line in lines(caplog)] == ["started", "already_started"]


def test_writes_one_line_for_an_attempt_that_failed(
    invoker: ModuleType,
    state_machine: str,
    stepfunctions: Any,
    context: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stepfunctions.delete_state_machine(stateMachineArn=state_machine)
    with pytest.raises(invoker.NoSuchStateMachine):
        invoker.handler(sns_event("secret text"), context)
    [line] = lines(caplog)
    assert line.levelno == logging.ERROR
    assert field(line, "outcome") == "failed"
    assert field(line, "error") == "NoSuchStateMachine"
    assert field(line, "execution_arn").endswith(
        f":execution:operation-log:{context.aws_request_id}"
    )
    assert "secret" not in str(line.__dict__)


def test_all_sdk_attempts_fit_into_the_function_timeout(
    invoker: ModuleType, worst_case_seconds: Callable[[Any], float]
) -> None:
    clients = [invoker.CLIENT, invoker.S3()]
    # "standard" and "adaptive" obey x-amz-retry-after, so their pauses have no such bound.
    assert {client.meta.config.retries["mode"] for client in clients} == {"legacy"}
    assert sum(worst_case_seconds(client) for client in clients) <= 4.75


def test_the_file_stays_short_enough_to_copy(invoker: ModuleType) -> None:
    assert invoker.__file__ is not None
    assert len(Path(invoker.__file__).read_text().splitlines()) < 120
