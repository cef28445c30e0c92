"""Step Functions: starting, stopping, errors, retries, the context object, history."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.conformance.account import Account, Execution, Machine, only, task
from tests.conformance.sources import STEP_FUNCTIONS, STEP_FUNCTIONS_API, documented, recorded

START = f"{STEP_FUNCTIONS_API}/API_StartExecution.html"
ERRORS = f"{STEP_FUNCTIONS}/concepts-error-handling.html"
CONTEXT = f"{STEP_FUNCTIONS}/input-output-contextobject.html"
HISTORY = f"{STEP_FUNCTIONS_API}/API_GetExecutionHistory.html"
HISTORY_EVENT = f"{STEP_FUNCTIONS_API}/API_HistoryEvent.html"
QUOTAS = f"{STEP_FUNCTIONS}/service-quotas.html"
CONNECT_LAMBDA = f"{STEP_FUNCTIONS}/connect-lambda.html"
pytestmark = documented(START)

Refusal = Callable[[Callable[[], object]], ClientError]
PASS = only({"Type": "Pass"})
WAITING = only({"Type": "Wait", "Seconds": 6_000})
FAILING = "def handler(event, context): say(tried=event); raise ValueError('always')"
FINE = "def handler(event, context): return event"


def code_of(error: ClientError) -> tuple[str, int]:
    return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]


def test_the_answer_has_arn_and_start(account: Account) -> None:
    machine = account.machine(PASS)
    execution = machine.start(name="one")
    assert execution.arn == machine.arn.replace(":stateMachine:", ":execution:") + ":one"
    assert abs(execution.answer["startDate"].timestamp() - time.time()) < 60


def test_without_a_name_the_service_makes_one(account: Account) -> None:
    machine = account.machine(PASS)
    names = {machine.start().arn.rpartition(":")[2] for _ in range(2)}
    assert len(names) == 2
    for name in names:
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", name)


def test_the_same_name_and_input_while_it_runs_is_the_same_execution(account: Account) -> None:
    machine = account.machine(WAITING)
    first, second = machine.start({"a": 1}, "one"), machine.start({"a": 1}, "one")
    assert first.arn == second.arn
    assert first.answer["startDate"] == second.answer["startDate"]
    assert len(machine.executions()) == 1


def test_the_same_name_with_another_input_is_refused(account: Account, refusal: Refusal) -> None:
    machine = account.machine(WAITING)
    execution = machine.start({"a": 1}, "one")
    error = refusal(lambda: machine.start({"a": 2}, "one"))
    assert code_of(error) == ("ExecutionAlreadyExists", 400)
    expected = f"Execution Already Exists: '{execution.arn}'"
    assert error.response["Error"]["Message"] == expected


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(PASS, id="succeeded"),
        pytest.param({"StartAt": "F", "States": {"F": {"Type": "Fail"}}}, id="failed"),
    ],
)
def test_the_same_name_and_input_after_it_closed_is_refused(
    account: Account, refusal: Refusal, end: dict[str, Any]
) -> None:
    machine = account.machine(end)
    machine.start({"a": 1}, "one").wait()
    error = refusal(lambda: machine.start({"a": 1}, "one"))
    assert code_of(error) == ("ExecutionAlreadyExists", 400)


def test_the_same_name_after_it_was_stopped_is_refused(account: Account, refusal: Refusal) -> None:
    machine = account.machine(WAITING)
    execution = machine.start({"a": 1}, "one")
    account.client("stepfunctions").stop_execution(executionArn=execution.arn)
    execution.wait()
    error = refusal(lambda: machine.start({"a": 1}, "one"))
    assert code_of(error) == ("ExecutionAlreadyExists", 400)


def test_one_name_at_the_same_moment_starts_one_execution(account: Account) -> None:
    machine = account.machine(WAITING)
    with ThreadPoolExecutor(8) as threads:
        started = list(threads.map(lambda _: machine.start({"a": 1}, "one"), range(8)))
    assert len({one.arn for one in started}) == 1
    assert len({one.answer["startDate"] for one in started}) == 1
    assert len(machine.executions()) == 1


def test_the_same_name_in_another_state_machine_is_free(account: Account) -> None:
    first, second = account.machine(PASS), account.machine(PASS)
    assert first.start(name="one").arn != second.start(name="one").arn


BAD_CHARACTERS = ' \t\n<>{}[]?*"#%\\^|~`$&,;:/\x00\x1f\x7f\x9f'


def test_a_name_with_a_character_that_is_not_allowed_is_refused(
    account: Account, refusal: Refusal
) -> None:
    machine = account.machine(PASS)
    for character in BAD_CHARACTERS:
        error = refusal(lambda character=character: machine.start(name=f"a{character}b"))  # type: ignore[misc]
        assert code_of(error) == ("InvalidName", 400), character
        assert error.response["Error"]["Message"].startswith("Invalid Name: ")


def test_a_name_has_at_most_80_characters(account: Account, refusal: Refusal) -> None:
    machine = account.machine(PASS)
    assert machine.start(name="x" * 80).arn.endswith(":" + "x" * 80)
    error = refusal(lambda: machine.start(name="x" * 81))
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_other_characters_are_allowed_in_a_name(account: Account) -> None:
    name = "Az09-_.!'()+=@"
    assert account.machine(PASS).start(name=name).wait()["name"] == name


def start_with(machine: Machine, text: str) -> object:
    client = machine.account.client("stepfunctions")
    return client.start_execution(stateMachineArn=machine.arn, input=text)


def test_an_input_that_is_no_json_is_refused(account: Account, refusal: Refusal) -> None:
    machine = account.machine(PASS)
    for text in ("{no", "", "{'a': 1}"):
        error = refusal(lambda text=text: start_with(machine, text))  # type: ignore[misc]
        assert code_of(error) == ("InvalidExecutionInput", 400)


@documented(QUOTAS)
def test_an_input_s_limit_counts_bytes(account: Account, refusal: Refusal) -> None:
    machine = account.machine(PASS)
    fits = json.dumps("ä" * 131_071, ensure_ascii=False)
    assert len(fits.encode()) == 262_144
    start_with(machine, fits)
    error = refusal(lambda: start_with(machine, fits[:-1] + 'a"'))
    # AWS checks the length before it looks at the JSON.
    assert code_of(error)[0] in ("InvalidExecutionInput", "ValidationException")


@documented(f"{STEP_FUNCTIONS_API}/API_DescribeExecution.html")
def test_an_execution_is_described(account: Account) -> None:
    machine = account.machine(PASS)
    execution = machine.start({"a": "ä"}, "one")
    found = execution.wait()
    assert found["executionArn"] == execution.arn
    assert (found["stateMachineArn"], found["name"]) == (machine.arn, "one")
    assert (found["status"], json.loads(found["input"])) == ("SUCCEEDED", {"a": "ä"})
    assert json.loads(found["output"]) == {"a": "ä"}
    assert found["inputDetails"] == found["outputDetails"] == {"included": True}
    assert found["startDate"] <= found["stopDate"]
    assert "error" not in found
    assert found["redriveStatus"] == "NOT_REDRIVABLE"


@documented(f"{STEP_FUNCTIONS_API}/API_DescribeExecution.html")
def test_without_an_input_it_is_an_empty_object(account: Account) -> None:
    client, machine = account.client("stepfunctions"), account.machine(PASS)
    answer = client.start_execution(stateMachineArn=machine.arn)
    found = Execution(account, answer["executionArn"], answer).wait()
    assert (found["input"], found["output"]) == ("{}", "{}")


@documented(f"{STEP_FUNCTIONS_API}/API_ListExecutions.html")
def test_executions_are_listed_newest_first(account: Account) -> None:
    machine = account.machine(PASS)
    for name in ("one", "two", "three"):
        machine.start(name=name).wait()
    assert [one["name"] for one in machine.executions()] == ["three", "two", "one"]
    assert [one["name"] for one in machine.executions(maxResults=1)] == ["three"]


@documented(f"{STEP_FUNCTIONS_API}/API_ListExecutions.html")
def test_executions_are_listed_by_status(account: Account) -> None:
    machine = account.machine(WAITING)
    running, stopped = machine.start(name="running"), machine.start(name="stopped")
    account.client("stepfunctions").stop_execution(executionArn=stopped.arn)
    stopped.wait()
    by_status = {
        status: [one["executionArn"] for one in machine.executions(statusFilter=status)]
        for status in ("RUNNING", "ABORTED", "SUCCEEDED")
    }
    assert by_status == {"RUNNING": [running.arn], "ABORTED": [stopped.arn], "SUCCEEDED": []}


# Stopping


@documented(f"{STEP_FUNCTIONS_API}/API_StopExecution.html")
def test_a_stopped_execution_is_aborted(account: Account) -> None:
    execution = account.machine(WAITING).start()
    answer = account.client("stepfunctions").stop_execution(
        executionArn=execution.arn, error="Tired", cause="of waiting"
    )
    found = execution.wait()
    assert (found["status"], found["error"], found["cause"]) == ("ABORTED", "Tired", "of waiting")
    assert abs((found["stopDate"] - answer["stopDate"]).total_seconds()) < 5


@documented(HISTORY_EVENT)
def test_a_stop_is_the_last_event_of_the_history(account: Account) -> None:
    execution = account.machine(WAITING).start()
    account.wait_for(lambda: execution.events("WaitStateEntered"))
    account.client("stepfunctions").stop_execution(
        executionArn=execution.arn, error="Tired", cause="of waiting"
    )
    execution.wait()
    events = execution.history()
    assert [event["type"] for event in events] == [
        "ExecutionStarted",
        "WaitStateEntered",
        "ExecutionAborted",
    ]
    expected = {"error": "Tired", "cause": "of waiting"}
    assert events[-1]["executionAbortedEventDetails"] == expected


@documented(f"{STEP_FUNCTIONS_API}/API_StopExecution.html")
def test_a_stop_keeps_later_states_from_running(account: Account) -> None:
    function = account.function("def handler(event, context): say(ran=event)")
    definition = {
        "StartAt": "First",
        "States": {
            "First": {"Type": "Wait", "Seconds": 60, "Next": "Second"},
            "Second": task(function, End=True),
        },
    }
    execution = account.machine(definition).start("stopped")
    account.client("stepfunctions").stop_execution(executionArn=execution.arn)
    account.machine(definition).run("ran", clock=120)
    assert function.wait_for_said() == [{"ran": "ran"}]


# EXPRESS


@documented(f"{STEP_FUNCTIONS}/choosing-workflow-type.html")
def test_express_does_not_look_at_names(account: Account) -> None:
    machine = account.machine(PASS, kind="EXPRESS")
    first, second = machine.start({"a": 1}, "one"), machine.start({"a": 1}, "one")
    assert first.arn != second.arn
    for execution in (first, second):
        assert ":express:" in execution.arn
        assert ":one:" in execution.arn


@documented(f"{STEP_FUNCTIONS_API}/API_StartSyncExecution.html")
def test_express_can_answer_at_once(account: Account) -> None:
    function = account.function("def handler(event, context): return {'got': event}")
    machine = account.machine(only(task(function)), kind="EXPRESS")
    answer = sync(account, machine, '{"a": 1}')
    assert (answer["status"], json.loads(answer["output"])) == ("SUCCEEDED", {"got": {"a": 1}})
    assert answer["billingDetails"]["billedMemoryUsedInMB"] > 0


@documented(f"{STEP_FUNCTIONS_API}/API_StartSyncExecution.html")
def test_express_answers_with_a_failure_too(account: Account) -> None:
    machine = account.machine(only(task(account.function(FAILING))), kind="EXPRESS")
    answer = sync(account, machine, "{}")
    assert (answer["status"], answer["error"]) == ("FAILED", "ValueError")
    assert json.loads(answer["cause"])["errorMessage"] == "always"


def sync(account: Account, machine: Machine, text: str) -> dict[str, Any]:
    # boto3 puts "sync-" before the host's name, which an address cannot have.
    client = account.client("stepfunctions")
    if not account.target.is_aws:
        client = boto3.client(
            "stepfunctions",
            endpoint_url=client.meta.endpoint_url,
            region_name=client.meta.region_name,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(inject_host_prefix=False),
        )
    found: dict[str, Any] = client.start_sync_execution(stateMachineArn=machine.arn, input=text)
    return found


@documented(f"{STEP_FUNCTIONS_API}/API_StartSyncExecution.html")
def test_standard_cannot_answer_at_once(account: Account, refusal: Refusal) -> None:
    error = refusal(lambda: sync(account, account.machine(PASS), "{}"))
    assert code_of(error) == ("StateMachineTypeNotSupported", 400)


@documented(f"{STEP_FUNCTIONS_API}/API_ListExecutions.html")
def test_express_executions_are_not_listed(account: Account, refusal: Refusal) -> None:
    machine = account.machine(PASS, kind="EXPRESS")
    error = refusal(machine.executions)
    assert code_of(error) == ("StateMachineTypeNotSupported", 400)


# Errors of tasks


@documented(CONNECT_LAMBDA)
def test_a_task_s_result_is_the_function_s(account: Account) -> None:
    function = account.function("def handler(event, context): return {'got': event}")
    assert account.machine(only(task(function))).run({"a": "ä"}).output == {"got": {"a": "ä"}}


@documented(ERRORS)
def test_an_exception_s_name_is_the_error_s(account: Account) -> None:
    source = "class OutOfTea(Exception): pass\ndef handler(event, context): raise OutOfTea('now')"
    error, cause = account.machine(only(task(account.function(source)))).run().failure()
    assert error == "OutOfTea"
    assert cause is not None
    found = json.loads(cause)
    assert set(found) == {"errorMessage", "errorType", "requestId", "stackTrace"}
    assert (found["errorMessage"], found["errorType"]) == ("now", "OutOfTea")


@recorded("errors of a Lambda task and their causes")
@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        pytest.param(
            "time.sleep(30)",
            "Sandbox.Timedout",
            "Error: Task timed out after 1.00 seconds",
            id="time-out",
        ),
        pytest.param(
            "os._exit(3)",
            "Runtime.ExitError",
            "Error: Runtime exited with error: exit status 3",
            id="exit",
        ),
        pytest.param(
            "b'1' * (400 << 20); time.sleep(30)",
            "Runtime.ExitError",
            "Error: Runtime exited with error: signal: killed",
            id="memory",
        ),
    ],
)
def test_the_end_of_the_process_has_a_name(
    account: Account, code: str, error: str, message: str
) -> None:
    function = account.function(f"def handler(event, context): {code}", Timeout=1)
    got, cause = account.machine(only(task(function))).run().failure()
    assert got == error
    assert cause is not None
    found = json.loads(cause)
    assert found["errorType"] == error
    assert re.fullmatch(rf"RequestId: [0-9a-f-]{{36}} {re.escape(message)}", found["errorMessage"])


@documented(f"{STEP_FUNCTIONS}/bp-lambda-serviceexception.html")
def test_a_throttled_task_has_lambda_s_error(account: Account) -> None:
    function = account.function(FINE)
    function.reserve(0)
    error, cause = account.machine(only(task(function))).run().failure()
    assert error == "Lambda.TooManyRequestsException"
    assert cause is not None
    assert "Rate Exceeded." in cause


@documented("https://github.com/codetheweb/serverless-step-functions-local/issues/3")
def test_a_function_that_is_missing_has_lambda_s_error(account: Account) -> None:
    function = account.function(FINE)
    function.arn += "-nobody"
    error, cause = account.machine(only(task(function))).run().failure()
    assert error == "Lambda.ResourceNotFoundException"
    assert cause is not None
    assert f"Function not found: {function.arn}" in cause
    assert "Status Code: 404" in cause


SLOW = "def handler(event, context): time.sleep(3); say(done=1)"


@documented(ERRORS)
def test_a_task_past_its_time_fails_with_states_timeout(account: Account) -> None:
    machine = account.machine(only(task(account.function(SLOW), TimeoutSeconds=1)))
    error, cause = machine.run(clock=60).failure()
    assert error == "States.Timeout"
    assert not cause


@recorded("a task that timed out while its function ran")
def test_a_function_runs_on_when_its_task_timed_out(account: Account) -> None:
    function = account.function(SLOW)
    execution = account.machine(only(task(function, TimeoutSeconds=1))).run(clock=60)
    assert function.said() == []
    assert execution.events("LambdaFunctionTimedOut")
    assert function.wait_for_said() == [{"done": 1}]


@documented(f"{STEP_FUNCTIONS}/statemachine-structure.html")
def test_an_execution_past_its_time_is_timed_out(account: Account) -> None:
    execution = account.machine({**WAITING, "TimeoutSeconds": 2}).start()
    assert execution.wait(clock=60)["status"] == "TIMED_OUT"
    assert execution.history()[-1]["type"] == "ExecutionTimedOut"


@documented(QUOTAS)
def test_an_answer_over_256_kib_is_data_limit_exceeded(account: Account) -> None:
    function = account.function("def handler(event, context): return 'x' * event")
    machine = account.machine(only(task(function)))
    assert len(machine.run(262_142).output) == 262_142
    error, _ = machine.run(262_143).failure()
    assert error == "States.DataLimitExceeded"


@documented(f"{STEP_FUNCTIONS}/concepts-error-handling.html")
def test_what_parameters_make_of_a_task_s_input_has_at_most_256_kib(account: Account) -> None:
    function = account.function("def handler(event, context): return len(event['text'])")
    room = 262_144 - len(json.dumps({"text": ""}))
    fits = account.machine(only(task(function, Parameters={"text.$": "$.text"})))
    assert fits.run({"text": "x" * room}).output == room
    longer = account.machine(only(task(function, Parameters={"a_name.$": "$.text"})))
    error, _ = longer.run({"text": "x" * room}).failure()
    assert error == "States.DataLimitExceeded"


@documented(f"{STEP_FUNCTIONS}/state-fail.html")
def test_a_fail_state_gives_error_and_cause(account: Account) -> None:
    fail = {"Type": "Fail", "ErrorPath": "$.error", "CausePath": "$.cause"}
    machine = account.machine({"StartAt": "F", "States": {"F": fail}})
    assert machine.run({"error": "E", "cause": "C"}).failure() == ("E", "C")


# Catch and Retry


def caught(account: Account, state: dict[str, Any], *names: str, **more: Any) -> Execution:
    """Run a state that catches these names, by the state that they name."""
    catch = [{"ErrorEquals": [name], "Next": "Caught", **more} for name in names]
    definition = {
        "StartAt": "Task",
        "States": {
            "Task": {**state, "Catch": catch, "End": True},
            "Caught": {"Type": "Pass", "End": True},
        },
    }
    return account.machine(definition).run({"a": 1}, clock=60)


def assert_caught(execution: Execution, error: str, is_caught: bool) -> None:
    if is_caught:
        assert execution.output["Error"] == error
    else:
        assert execution.failure()[0] == error


@documented(ERRORS)
def test_a_catch_hands_on_error_and_cause(account: Account) -> None:
    execution = caught(account, task(account.function(FAILING)), "ValueError", ResultPath="$.e")
    output = execution.output
    assert output["a"] == 1
    assert output["e"]["Error"] == "ValueError"
    assert json.loads(output["e"]["Cause"])["errorMessage"] == "always"
    assert set(output["e"]) == {"Error", "Cause"}


@documented(ERRORS)
@pytest.mark.parametrize(
    ("name", "is_caught"),
    [
        pytest.param("ValueError", True, id="ValueError"),
        pytest.param("States.TaskFailed", True, id="States.TaskFailed"),
        pytest.param("States.ALL", True, id="States.ALL"),
        pytest.param("Exception", False, id="base class"),
        pytest.param("States.Timeout", False, id="States.Timeout"),
    ],
)
def test_what_catches_an_exception(account: Account, name: str, is_caught: bool) -> None:
    execution = caught(account, task(account.function(FAILING)), name)
    assert_caught(execution, "ValueError", is_caught)


@documented(ERRORS)
@pytest.mark.parametrize(
    ("name", "is_caught"),
    [
        pytest.param("States.Timeout", True, id="States.Timeout"),
        pytest.param("States.ALL", True, id="States.ALL"),
        pytest.param("States.TaskFailed", False, id="States.TaskFailed"),
    ],
)
def test_what_catches_a_task_past_its_time(account: Account, name: str, is_caught: bool) -> None:
    execution = caught(account, task(account.function(SLOW), TimeoutSeconds=1), name)
    assert_caught(execution, "States.Timeout", is_caught)


@documented(ERRORS)
@pytest.mark.parametrize(
    ("name", "is_caught"),
    [
        pytest.param("States.DataLimitExceeded", True, id="by name"),
        pytest.param("States.ALL", False, id="States.ALL"),
        pytest.param("States.TaskFailed", False, id="States.TaskFailed"),
    ],
)
def test_what_catches_too_much_data(account: Account, name: str, is_caught: bool) -> None:
    function = account.function("def handler(event, context): return 'x' * 300_000")
    execution = caught(account, task(function), name)
    assert_caught(execution, "States.DataLimitExceeded", is_caught)


@documented(ERRORS)
def test_states_all_does_not_catch_states_runtime(account: Account) -> None:
    state = task(account.function(FINE), Parameters={"x.$": "$.nobody"})
    execution = caught(account, state, "States.ALL")
    assert execution.failure()[0] == "States.Runtime"


@documented(ERRORS)
def test_the_first_catcher_that_matches_is_taken(account: Account) -> None:
    definition = {
        "StartAt": "Task",
        "States": {
            "Task": task(
                account.function(FAILING),
                Catch=[
                    {"ErrorEquals": ["KeyError"], "Next": "One"},
                    {"ErrorEquals": ["TypeError", "ValueError"], "Next": "Two"},
                    {"ErrorEquals": ["States.ALL"], "Next": "Three"},
                ],
                End=True,
            ),
            **{
                name: {"Type": "Pass", "Result": name, "End": True}
                for name in ("One", "Two", "Three")
            },
        },
    }
    assert account.machine(definition).run().output == "Two"


def retried(account: Account, source: str, *retriers: dict[str, Any]) -> Execution:
    function = account.function(source)
    state = task(function, Parameters={"retry_count.$": "$$.State.RetryCount"})
    retry = [{"IntervalSeconds": 1, "BackoffRate": 1, **one} for one in retriers]
    return account.machine(only({**state, "Retry": retry})).run(clock=60)


def attempts(execution: Execution) -> int:
    return len(execution.events("LambdaFunctionScheduled"))


@documented(CONTEXT)
def test_the_retry_count_is_in_the_context_object(account: Account) -> None:
    execution = retried(
        account,
        "def handler(event, context):\n"
        "    if event['retry_count'] < 2: raise ValueError(event['retry_count'])\n"
        "    return event",
        {"ErrorEquals": ["ValueError"]},
    )
    assert execution.output == {"retry_count": 2}
    causes = [
        json.loads(event["lambdaFunctionFailedEventDetails"]["cause"])["errorMessage"]
        for event in execution.events("LambdaFunctionFailed")
    ]
    assert causes == ["0", "1"]


@documented(ERRORS)
def test_a_retrier_tries_three_more_times_unless_told_otherwise(account: Account) -> None:
    execution = retried(account, FAILING, {"ErrorEquals": ["States.ALL"]})
    assert execution.failure()[0] == "ValueError"
    assert attempts(execution) == 4


@documented(ERRORS)
def test_zero_attempts_mean_no_retry(account: Account) -> None:
    execution = retried(
        account,
        FAILING,
        {"ErrorEquals": ["ValueError"], "MaxAttempts": 0},
        {"ErrorEquals": ["States.ALL"]},
    )
    assert execution.failure()[0] == "ValueError"
    assert attempts(execution) == 1


@documented(ERRORS)
def test_each_retrier_counts_for_itself(account: Account) -> None:
    source = (
        "def handler(event, context):\n"
        "    raise (ValueError if event['retry_count'] % 2 == 0 else KeyError)('x')"
    )
    execution = retried(
        account,
        source,
        {"ErrorEquals": ["ValueError"], "MaxAttempts": 2},
        {"ErrorEquals": ["KeyError"], "MaxAttempts": 1},
    )
    # ValueError (1), KeyError (1), ValueError (2), KeyError: its one retry is used up.
    assert execution.failure()[0] == "KeyError"
    assert attempts(execution) == 4


@documented(ERRORS)
def test_an_error_that_no_retrier_names_is_not_retried(account: Account) -> None:
    execution = retried(account, FAILING, {"ErrorEquals": ["KeyError", "States.Timeout"]})
    assert attempts(execution) == 1


@documented(ERRORS)
def test_when_retries_are_used_up_the_catch_is_looked_at(account: Account) -> None:
    state = task(
        account.function(FAILING),
        Retry=[{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 1}],
    )
    execution = caught(account, state, "ValueError")
    assert execution.output["Error"] == "ValueError"
    assert attempts(execution) == 2


def pauses(account: Account, execution: Execution) -> list[float]:
    """AWS's seconds between a failed attempt and the next."""
    failed = [event["timestamp"] for event in execution.events("LambdaFunctionFailed")]
    scheduled = [event["timestamp"] for event in execution.events("LambdaFunctionScheduled")]
    speed = account.target.speed
    return [
        (after - before).total_seconds() * speed
        for before, after in zip(failed, scheduled[1:], strict=False)
    ]


@documented(ERRORS)
def test_the_pauses_grow_up_to_the_longest(account: Account) -> None:
    execution = retried(
        account,
        FAILING,
        {
            "ErrorEquals": ["States.ALL"],
            "IntervalSeconds": 10,
            "BackoffRate": 3,
            "MaxAttempts": 3,
            "MaxDelaySeconds": 40,
        },
    )
    first, second, third = pauses(account, execution)
    # A loaded machine may be late; at 60 times the speed 0.25 s of lateness are 15 s.
    assert 9 <= first < 25
    assert 29 <= second < 45
    assert 39 <= third < 60


@documented(ERRORS)
def test_full_jitter_makes_pauses_shorter(account: Account) -> None:
    execution = retried(
        account,
        FAILING,
        {"ErrorEquals": ["States.ALL"], "IntervalSeconds": 20, "JitterStrategy": "FULL"},
    )
    assert attempts(execution) == 4
    assert sum(pauses(account, execution)) < 59


# The context object


@documented(CONTEXT)
def test_the_context_object_names_execution_state_and_machine(account: Account) -> None:
    machine = account.machine(only({"Type": "Pass", "Parameters": {"context.$": "$$"}}))
    execution = machine.start({"a": 1}, "one")
    execution.wait()
    context = execution.output["context"]
    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(moment, context["Execution"].pop("StartTime"))
    assert re.fullmatch(moment, context["State"].pop("EnteredTime"))
    assert context["Execution"].pop("RedriveCount", 0) == 0
    assert context["Execution"] == {
        "Id": execution.arn,
        "Input": {"a": 1},
        "Name": "one",
        "RoleArn": account.default_role,
    }
    assert context["State"] == {"Name": "Only"}
    assert context["StateMachine"] == {"Id": machine.arn, "Name": machine.arn.split(":")[-1]}


@documented(CONTEXT)
def test_the_start_time_is_the_execution_s(account: Account) -> None:
    state = {"Type": "Pass", "Parameters": {"at.$": "$$.Execution.StartTime"}}
    execution = account.machine(only(state)).run()
    at = datetime.fromisoformat(execution.output["at"])
    assert abs((at - execution.describe()["startDate"]).total_seconds()) < 0.01


# History


def types(execution: Execution) -> list[str]:
    return [event["type"] for event in execution.history(maxResults=1000)]


@documented(HISTORY)
def test_the_history_of_a_pass(account: Account) -> None:
    execution = account.machine(PASS).run({"a": 1})
    events = execution.history()
    assert types(execution) == [
        "ExecutionStarted",
        "PassStateEntered",
        "PassStateExited",
        "ExecutionSucceeded",
    ]
    assert events[0]["executionStartedEventDetails"] == {
        "input": '{"a": 1}',
        "inputDetails": {"truncated": False},
        "roleArn": account.default_role,
    }
    assert events[1]["stateEnteredEventDetails"]["name"] == "Only"
    assert json.loads(events[2]["stateExitedEventDetails"]["output"]) == {"a": 1}
    assert json.loads(events[3]["executionSucceededEventDetails"]["output"]) == {"a": 1}


@documented(HISTORY_EVENT)
def test_events_are_numbered_from_one_and_name_the_one_before(account: Account) -> None:
    events = account.machine(only(task(account.function(FINE)))).run().history()
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    # The first state's event names 0, as the first event does.
    before = [event["previousEventId"] for event in events]
    assert before == [0, 0, *range(2, len(events))]


@documented(HISTORY_EVENT)
def test_events_have_rising_times(account: Account) -> None:
    execution = account.machine(only(task(account.function(FINE)))).run()
    moments = [event["timestamp"] for event in execution.history()]
    assert moments == sorted(moments)
    described = execution.describe()
    assert abs((moments[0] - described["startDate"]).total_seconds()) < 0.1
    assert abs((moments[-1] - described["stopDate"]).total_seconds()) < 0.1


@documented(HISTORY)
def test_the_history_of_a_lambda_task(account: Account) -> None:
    function = account.function(FINE)
    execution = account.machine(only(task(function, TimeoutSeconds=30))).run({"a": 1})
    assert types(execution) == [
        "ExecutionStarted",
        "TaskStateEntered",
        "LambdaFunctionScheduled",
        "LambdaFunctionStarted",
        "LambdaFunctionSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ]
    [scheduled] = execution.events("LambdaFunctionScheduled")
    details = scheduled["lambdaFunctionScheduledEventDetails"]
    assert (details["resource"], details["timeoutInSeconds"]) == (function.arn, 30)
    assert json.loads(details["input"]) == {"a": 1}
    [succeeded] = execution.events("LambdaFunctionSucceeded")
    output = succeeded["lambdaFunctionSucceededEventDetails"]["output"]
    assert json.loads(output) == {"a": 1}


@documented(HISTORY)
def test_the_history_of_a_retry(account: Account) -> None:
    execution = retried(account, FAILING, {"ErrorEquals": ["States.ALL"], "MaxAttempts": 1})
    attempt = ["LambdaFunctionScheduled", "LambdaFunctionStarted", "LambdaFunctionFailed"]
    assert types(execution) == [
        "ExecutionStarted",
        "TaskStateEntered",
        *attempt,
        *attempt,
        "ExecutionFailed",
    ]
    for event in execution.events("LambdaFunctionFailed"):
        details = event["lambdaFunctionFailedEventDetails"]
        assert details["error"] == "ValueError"
        assert json.loads(details["cause"])["errorMessage"] == "always"
    [failed] = execution.events("ExecutionFailed")
    assert failed["executionFailedEventDetails"]["error"] == "ValueError"


@documented(HISTORY)
def test_the_history_of_a_task_past_its_time(account: Account) -> None:
    machine = account.machine(only(task(account.function(SLOW), TimeoutSeconds=1)))
    execution = machine.run(clock=60)
    assert types(execution) == [
        "ExecutionStarted",
        "TaskStateEntered",
        "LambdaFunctionScheduled",
        "LambdaFunctionStarted",
        "LambdaFunctionTimedOut",
        "ExecutionFailed",
    ]
    [event] = execution.events("LambdaFunctionTimedOut")
    assert event["lambdaFunctionTimedOutEventDetails"]["error"] == "States.Timeout"


@documented(HISTORY)
def test_the_history_can_be_read_from_its_end(account: Account) -> None:
    execution = account.machine(PASS).run()
    backwards = execution.history(reverseOrder=True)
    assert [event["id"] for event in backwards] == [4, 3, 2, 1]


@documented(HISTORY)
def test_the_history_comes_in_pages(account: Account) -> None:
    execution = account.machine(PASS).run()
    client = account.client("stepfunctions")
    first = client.get_execution_history(executionArn=execution.arn, maxResults=3)
    assert len(first["events"]) == 3
    rest = client.get_execution_history(
        executionArn=execution.arn, maxResults=3, nextToken=first["nextToken"]
    )
    assert [event["id"] for event in rest["events"]] == [4]
    assert "nextToken" not in rest


@documented(HISTORY)
def test_the_history_can_be_read_without_its_data(account: Account) -> None:
    execution = account.machine(PASS).run({"a": 1})
    started, *_ = execution.history(includeExecutionData=False)
    assert "input" not in started["executionStartedEventDetails"]


# Integrations


@documented(CONNECT_LAMBDA)
def test_lambda_invoke_wraps_the_answer(account: Account) -> None:
    function = account.function("def handler(event, context): return {'got': event}")
    state = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": function.arn, "Payload.$": "$"},
    }
    execution = account.machine(only(state)).run({"a": 1})
    output = execution.output
    assert output["Payload"] == {"got": {"a": 1}}
    assert (output["StatusCode"], output["ExecutedVersion"]) == (200, "$LATEST")
    assert types(execution)[2:5] == ["TaskScheduled", "TaskStarted", "TaskSucceeded"]


@documented(CONNECT_LAMBDA)
def test_lambda_invoke_has_the_function_s_errors(account: Account) -> None:
    state = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": account.function(FAILING).arn},
    }
    execution = account.machine(only(state)).run()
    error, cause = execution.failure()
    assert error == "ValueError"
    assert cause is not None
    assert json.loads(cause)["errorMessage"] == "always"


@documented(f"{STEP_FUNCTIONS}/connect-sqs.html")
def test_a_state_can_send_a_message(account: Account) -> None:
    queue = account.queue()
    state = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage",
        "Parameters": {"QueueUrl": queue.url, "MessageBody": {"name.$": "$$.Execution.Name"}},
    }
    execution = account.machine(only(state)).run()
    assert queue.one() == {"name": execution.arn.rpartition(":")[2]}
    [message] = queue.received
    assert execution.output["MessageId"] == message["MessageId"]


@documented(f"{STEP_FUNCTIONS}/connect-sqs.html")
def test_a_queue_that_is_missing_fails_the_task(account: Account) -> None:
    queue = account.queue()
    state = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage",
        "Parameters": {"QueueUrl": queue.url + "-nobody", "MessageBody": "hello"},
    }
    error, _ = account.machine(only(state)).run().failure()
    assert error is not None
    assert error.startswith("SQS.")


@documented(f"{STEP_FUNCTIONS}/connect-sns.html")
def test_a_state_can_publish(account: Account) -> None:
    topic, queue = account.topic(), account.queue()
    topic.to_queue(queue)
    state = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sns:publish",
        "Parameters": {"TopicArn": topic.arn, "Message.$": "$.text"},
    }
    execution = account.machine(only(state)).run({"text": "hello"})
    assert queue.one()["Message"] == "hello"
    assert execution.output["MessageId"]


# The language, as far as the service goes


@documented(f"{STEP_FUNCTIONS}/input-output-resultpath.html")
def test_a_result_path_puts_the_result_beside_the_input(account: Account) -> None:
    function = account.function("def handler(event, context): return 'result'")
    machine = account.machine(only(task(function, ResultPath="$.result")))
    assert machine.run({"a": 1}).output == {"a": 1, "result": "result"}


@documented(f"{STEP_FUNCTIONS}/input-output-resultpath.html")
def test_a_result_path_of_null_throws_the_result_away(account: Account) -> None:
    function = account.function("def handler(event, context): return 'result'")
    machine = account.machine(only(task(function, ResultPath=None)))
    assert machine.run({"a": 1}).output == {"a": 1}


@documented(f"{STEP_FUNCTIONS}/state-wait.html")
def test_a_wait_waits(account: Account) -> None:
    execution = account.machine(only({"Type": "Wait", "SecondsPath": "$.s"})).run(
        {"s": 6}, clock=10
    )
    entered, exited = (
        execution.events(kind)[0]["timestamp"] for kind in ("WaitStateEntered", "WaitStateExited")
    )
    assert (exited - entered).total_seconds() * account.target.speed >= 5.5


@documented(f"{STEP_FUNCTIONS}/state-choice.html")
def test_a_choice_takes_the_branch_that_matches(account: Account) -> None:
    definition = {
        "StartAt": "Choice",
        "States": {
            "Choice": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.n", "NumericGreaterThan": 1, "Next": "Many"}],
                "Default": "Few",
            },
            "Many": {"Type": "Pass", "Result": "many", "End": True},
            "Few": {"Type": "Pass", "Result": "few", "End": True},
        },
    }
    machine = account.machine(definition)
    assert [machine.run({"n": n}).output for n in (1, 2)] == ["few", "many"]


@documented(f"{STEP_FUNCTIONS}/state-map.html")
def test_a_map_runs_each_item(account: Account) -> None:
    function = account.function("def handler(event, context): return event + 1")
    state = {"Type": "Map", "ItemProcessor": only(task(function))}
    assert account.machine(only(state)).run([1, 2, 3]).output == [2, 3, 4]


@documented(f"{STEP_FUNCTIONS}/state-parallel.html")
def test_a_branch_that_fails_fails_the_parallel_state(account: Account) -> None:
    branches = [only({"Type": "Pass"}), only(task(account.function(FAILING)))]
    execution = caught(account, {"Type": "Parallel", "Branches": branches}, "ValueError")
    assert execution.output["Error"] == "ValueError"


# Updates


@documented(f"{STEP_FUNCTIONS_API}/API_UpdateStateMachine.html")
def test_an_update_leaves_running_executions_alone(account: Account) -> None:
    definition: dict[str, Any] = {
        "StartAt": "First",
        "States": {
            "First": {"Type": "Wait", "Seconds": 60, "Next": "Second"},
            "Second": {"Type": "Pass", "Result": "old", "End": True},
        },
    }
    client, machine = account.client("stepfunctions"), account.machine(definition)
    running = machine.start()
    newer = only({"Type": "Pass", "Result": "new"})
    client.update_state_machine(stateMachineArn=machine.arn, definition=json.dumps(newer))
    account.wait_for(lambda: machine.run().output == "new", what="the new definition")
    running.wait(clock=60)
    assert running.output == "old"


@documented(f"{STEP_FUNCTIONS_API}/API_DescribeStateMachine.html")
def test_a_state_machine_is_described(account: Account) -> None:
    machine = account.machine(PASS)
    found = account.client("stepfunctions").describe_state_machine(stateMachineArn=machine.arn)
    assert (found["status"], found["type"]) == ("ACTIVE", "STANDARD")
    assert json.loads(found["definition"]) == PASS
    assert found["roleArn"] == account.default_role
    assert found["loggingConfiguration"] == {"level": "OFF", "includeExecutionData": False}
    assert found["tracingConfiguration"] == {"enabled": False}
