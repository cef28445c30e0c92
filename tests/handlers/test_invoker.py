import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

DEFINITION = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 600, "End": True}}}
LIMIT = 262_144


@pytest.fixture
def stepfunctions() -> Any:
    return boto3.client("stepfunctions")


@pytest.fixture
def state_machine(stepfunctions: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    arn: str = stepfunctions.create_state_machine(
        name="operation-log",
        definition=json.dumps(DEFINITION),
        roleArn="arn:aws:iam::123456789012:role/operation-log",
    )["stateMachineArn"]
    monkeypatch.setenv("CF_OperationLog", arn)
    return arn


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
    text = invoker.to_input(event)
    assert text == '{"text":"ü \\ud800 🎉"}'
    assert json.loads(text) == event


@pytest.mark.parametrize("letter", ["a", "é", "🎉"])
def test_accepts_an_event_of_exactly_the_limit(
    invoker: ModuleType, state_machine: str, context: Any, letter: str
) -> None:
    room = LIMIT - 2  # two quotes
    width = len(letter.encode())
    event = letter * (room // width) + "a" * (room % width)
    assert len(invoker.to_input(event).encode()) == LIMIT
    assert invoker.handler(event, context)["started"]


@pytest.mark.parametrize("letter", ["a", "é", "🎉"])
def test_refuses_one_byte_more_with_the_sizes(
    invoker: ModuleType, state_machine: str, context: Any, letter: str
) -> None:
    room = LIMIT - 1
    width = len(letter.encode())
    event = letter * (room // width) + "a" * (room % width)
    with pytest.raises(invoker.EventTooLarge, match="262145 bytes, the limit is 262144"):
        invoker.handler(event, context)


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
                input=invoker.to_input(sns_event()),
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
    # "standard" and "adaptive" obey x-amz-retry-after, so their pauses have no such bound.
    assert invoker.CLIENT.meta.config.retries["mode"] == "legacy"
    assert worst_case_seconds(invoker.CLIENT) <= 4.5


def test_the_file_stays_short_enough_to_copy(invoker: ModuleType) -> None:
    assert invoker.__file__ is not None
    assert len(Path(invoker.__file__).read_text().splitlines()) < 120
