"""Step Functions: redriving an execution that did not succeed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conformance.account import Account, Execution, Function, Machine, allow, only, task
from tests.conformance.sources import STEP_FUNCTIONS, STEP_FUNCTIONS_API, documented

REDRIVE = f"{STEP_FUNCTIONS_API}/API_RedriveExecution.html"
PAGE = f"{STEP_FUNCTIONS}/redrive-executions.html"
DESCRIBE = f"{STEP_FUNCTIONS_API}/API_DescribeExecution.html"
LIST = f"{STEP_FUNCTIONS_API}/API_ListExecutions.html"
START = f"{STEP_FUNCTIONS_API}/API_StartExecution.html"
CONTEXT = f"{STEP_FUNCTIONS}/input-output-contextobject.html"
CHOICE = f"{STEP_FUNCTIONS}/state-choice.html"
pytestmark = documented(PAGE)

Refusal = Callable[[Callable[[], object]], ClientError]
FAIL = {"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "E", "Cause": "c"}}}
UNTIL_REDRIVEN = """
def handler(event, context):
    say(got=event)
    if event["redrives"] < event.get("enough", 1):
        raise ValueError("not yet")
    return event
"""
"""A handler that fails until its execution has been redriven often enough."""


def until_redriven(function: Function, **fields: Any) -> dict[str, Any]:
    parameters = {"redrives.$": "$$.Execution.RedriveCount", "input.$": "$"}
    return task(function, Parameters=parameters, **fields)


def redriven_more_than(count: int, following: str) -> dict[str, Any]:
    return {
        "Variable": "$$.Execution.RedriveCount",
        "NumericGreaterThan": count,
        "Next": following,
    }


RUNS_WHEN_REDRIVEN = {
    "StartAt": "Redriven?",
    "States": {
        "Redriven?": {"Type": "Choice", "Choices": [redriven_more_than(0, "Waiting")]},
        "Waiting": {"Type": "Wait", "Seconds": 6_000, "End": True},
    },
}
"""Fails at once; redriven, it runs until it is stopped."""


def code_of(error: ClientError) -> tuple[str, int]:
    return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]


def redrive(execution: Execution, **options: str) -> datetime:
    client = execution.account.client("stepfunctions")
    date: datetime = client.redrive_execution(executionArn=execution.arn, **options)["redriveDate"]
    return date


def stop(execution: Execution, **options: str) -> None:
    client = execution.account.client("stepfunctions")
    client.stop_execution(executionArn=execution.arn, **options)


def redriven(execution: Execution, clock: float = 0) -> dict[str, Any]:
    """Redrive it once; its description when it is over again."""
    count = execution.describe()["redriveCount"]
    redrive(execution)

    def look() -> dict[str, Any] | None:
        found = execution.describe()
        is_over = found["redriveCount"] == count + 1 and found["status"] != "RUNNING"
        return found if is_over else None

    over: dict[str, Any] = execution.account.wait_for(look, clock, "the end of the redrive")
    return over


def wait_for_event(execution: Execution, kind: str, count: int = 1) -> None:
    execution.account.wait_for(lambda: len(execution.events(kind)) >= count, what=f"{kind} {count}")


def types(execution: Execution) -> list[str]:
    return [event["type"] for event in execution.history(maxResults=1000)]


def after_redrive(execution: Execution) -> list[str]:
    """The types of the events after the last redrive."""
    kinds = types(execution)
    last = len(kinds) - kinds[::-1].index("ExecutionRedriven")
    return kinds[last:]


def two_steps(second: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "StartAt": "First",
        "States": {
            "First": {"Type": "Pass", "Result": "from the first", "Next": "Second"},
            "Second": {**second, "End": True},
        },
    }


def test_it_goes_on_at_the_step_that_failed_with_that_step_s_input(account: Account) -> None:
    function = account.function(UNTIL_REDRIVEN)
    execution = account.machine(two_steps(until_redriven(function))).run({"a": 1})
    assert execution.failure()[0] == "ValueError"
    assert redriven(execution)["status"] == "SUCCEEDED"
    assert execution.output == {"redrives": 1, "input": "from the first"}
    [first] = execution.events("PassStateEntered")
    assert first["stateEnteredEventDetails"]["name"] == "First"
    assert [said["got"]["redrives"] for said in function.wait_for_said(2)] == [0, 1]


def test_the_history_goes_on(account: Account) -> None:
    function = account.function(UNTIL_REDRIVEN)
    execution = account.machine(only(until_redriven(function))).run()
    before = execution.history()
    redriven(execution)
    events = execution.history()
    assert events[: len(before)] == before
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert all(event["previousEventId"] < event["id"] for event in events)
    marker = events[len(before)]
    assert marker["type"] == "ExecutionRedriven"
    assert marker["executionRedrivenEventDetails"] == {"redriveCount": 1}
    assert after_redrive(execution)[-1] == "ExecutionSucceeded"
    assert len(execution.events("ExecutionStarted")) == 1


@documented(DESCRIBE)
def test_an_execution_that_failed_is_redrivable(account: Account) -> None:
    described = account.machine(FAIL).run().describe()
    assert described["redriveStatus"] == "REDRIVABLE"
    assert described["redriveCount"] == 0
    assert "redriveDate" not in described
    assert "redriveStatusReason" not in described


@documented(DESCRIBE)
def test_a_redriven_execution_runs_again(account: Account) -> None:
    execution = account.machine(RUNS_WHEN_REDRIVEN).run({"a": 1})
    before = execution.describe()
    date = redrive(execution)
    account.wait_for(lambda: execution.describe()["status"] == "RUNNING", what="the redrive")
    after = execution.describe()
    for name in ("executionArn", "stateMachineArn", "name", "startDate", "input"):
        assert after[name] == before[name]
    assert not {"stopDate", "error", "cause", "output"} & after.keys()
    assert (after["redriveCount"], after["redriveDate"]) == (1, date)
    assert before["stopDate"] <= date
    assert after["redriveStatus"] == "NOT_REDRIVABLE"
    # With or without a full stop.
    assert after["redriveStatusReason"].startswith("Execution is RUNNING and cannot be redriven")


@documented(DESCRIBE)
def test_an_execution_that_succeeded_says_why_it_is_not_redrivable(account: Account) -> None:
    described = account.machine(only({"Type": "Pass"})).run().describe()
    assert described["redriveStatus"] == "NOT_REDRIVABLE"
    reason = "Execution is SUCCEEDED and cannot be redriven"
    assert described["redriveStatusReason"].startswith(reason)


@documented(CONTEXT)
def test_the_context_object_has_the_redrive(account: Account) -> None:
    function = account.function(
        "def handler(event, context):\n"
        "    say(got=event)\n"
        "    if not event['RedriveCount']: raise ValueError('not yet')"
    )
    state = task(function, InputPath="$$.Execution")
    execution = account.machine(only(state)).run()
    date = redriven(execution)["redriveDate"]
    first, second = (said["got"] for said in function.wait_for_said(2))
    assert (first["RedriveCount"], second["RedriveCount"]) == (0, 1)
    assert "RedriveTime" not in first
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", second["RedriveTime"])
    assert abs((datetime.fromisoformat(second["RedriveTime"]) - date).total_seconds()) < 1
    assert first["StartTime"] == second["StartTime"]


@documented(CHOICE)
def test_a_choice_that_matches_nothing_and_has_no_default_fails(account: Account) -> None:
    execution = account.machine(RUNS_WHEN_REDRIVEN).run()
    error, cause = execution.failure()
    # The first is in AWS's documentation, the second in reports of what AWS does.
    assert error in ("States.NoChoiceMatched", "States.Runtime")
    assert cause == (
        "An error occurred while executing the state 'Redriven?' (entered at the event id #2). "
        "Failed to transition out of the state. The state does not point to a next state."
    )
    assert types(execution) == ["ExecutionStarted", "ChoiceStateEntered", "ExecutionFailed"]


AGAIN_FROM_THE_TASK = {
    "Again?": {
        "Type": "Choice",
        "Choices": [
            {
                "Variable": "$$.Execution.RedriveCount",
                "NumericGreaterThanPath": "$.redrive_count",
                "Next": "With the input again",
            }
        ],
    },
    "With the input again": {"Type": "Pass", "InputPath": "$$.Execution.Input", "Next": "Task"},
}


@documented(CHOICE)
def test_a_redrive_can_lead_back_to_an_earlier_task(account: Account) -> None:
    function = account.function(UNTIL_REDRIVEN.replace('"enough", 1', '"enough", 2'))
    work = task(
        function,
        Parameters={"redrives.$": "$$.Execution.RedriveCount", "a.$": "$.a"},
        Catch=[{"ErrorEquals": ["States.ALL"], "Next": "Report"}],
    )
    report = {
        "Type": "Pass",
        "Parameters": {"redrive_count.$": "$$.Execution.RedriveCount"},
        "Next": "Again?",
    }
    states = {"Task": {**work, "End": True}, "Report": report, **AGAIN_FROM_THE_TASK}
    execution = account.machine({"StartAt": "Task", "States": states}).run({"a": 1})
    assert redriven(execution)["status"] == "FAILED"
    assert redriven(execution)["status"] == "SUCCEEDED"
    assert execution.output == {"redrives": 2, "a": 1}
    said = [one["got"] for one in function.wait_for_said(3)]
    assert said == [{"redrives": number, "a": 1} for number in range(3)]
    counts = [
        event["executionRedrivenEventDetails"]["redriveCount"]
        for event in execution.events("ExecutionRedriven")
    ]
    assert counts == [1, 2]


def test_a_task_s_retries_begin_anew(account: Account) -> None:
    function = account.function("def handler(event, context): say(got=event); raise ValueError")
    state = task(
        function,
        Parameters={"tried.$": "$$.State.RetryCount"},
        Retry=[{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 1}],
    )
    execution = account.machine(only(state)).run(clock=30)
    assert redriven(execution, clock=30)["status"] == "FAILED"
    assert [said["got"]["tried"] for said in function.wait_for_said(4)] == [0, 1, 0, 1]


def test_a_fail_state_fails_again(account: Account) -> None:
    execution = account.machine(FAIL).run()
    found = redriven(execution)
    assert (found["status"], found["error"], found["cause"]) == ("FAILED", "E", "c")
    assert found["redriveStatus"] == "REDRIVABLE"
    assert len(execution.events("FailStateEntered")) == 2


def test_a_stopped_execution_goes_on(account: Account) -> None:
    # The attempt that nobody waits for any more ends while the new one runs.
    function = account.function(
        "def handler(event, context):\n"
        "    time.sleep(4 if event['redrives'] else 2)\n"
        "    say(got=event)\n"
        "    return event['redrives']"
    )
    execution = account.machine(only(until_redriven(function))).start()
    wait_for_event(execution, "LambdaFunctionStarted")
    stop(execution, error="E", cause="c")
    assert execution.wait()["redriveStatus"] == "REDRIVABLE"
    redrive(execution)
    function.wait_for_said(1)
    found = execution.describe()
    # Where logs are slow to be read, the new attempt has ended, too.
    assert (found["status"], "stopDate" in found) in (("RUNNING", False), ("SUCCEEDED", True))
    execution.wait(clock=60)
    assert execution.output == 1
    assert len(execution.events("LambdaFunctionSucceeded")) == 1
    kinds = types(execution)
    assert kinds.index("ExecutionAborted") + 1 == kinds.index("ExecutionRedriven")


def test_an_execution_past_its_time_has_the_whole_time_again(account: Account) -> None:
    function = account.function(
        "def handler(event, context):\n"
        "    time.sleep(1 if event['redrives'] else 4)\n"
        "    return event['redrives']"
    )
    definition = only(until_redriven(function), TimeoutSeconds=2)
    execution = account.machine(definition).run(clock=60)
    described = execution.describe()
    assert (described["status"], described["redriveStatus"]) == ("TIMED_OUT", "REDRIVABLE")
    assert types(execution)[-1] == "ExecutionTimedOut"
    assert redriven(execution, clock=60)["status"] == "SUCCEEDED"
    assert execution.output == 1


def test_a_wait_until_a_time_that_has_passed_is_over(account: Account) -> None:
    definition = {
        "StartAt": "Wait",
        "States": {
            "Wait": {"Type": "Wait", "TimestampPath": "$.until", "Next": "Redriven?"},
            "Redriven?": {"Type": "Choice", "Choices": [redriven_more_than(0, "Done")]},
            "Done": {"Type": "Succeed"},
        },
    }
    until = datetime.now(UTC) + timedelta(seconds=4)
    execution = account.machine(definition).start({"until": f"{until:%Y-%m-%dT%H:%M:%SZ}"})
    stop(execution)
    execution.wait()
    account.wait_for(lambda: datetime.now(UTC) > until, clock=10 * account.target.speed)
    assert redriven(execution)["status"] == "SUCCEEDED"


def branch(name: str) -> dict[str, Any]:
    return {"StartAt": name, "States": {name: {"Type": "Pass", "Result": name, "End": True}}}


def test_what_a_parallel_state_did_is_not_done_again(account: Account) -> None:
    function = account.function(UNTIL_REDRIVEN)
    branches = [branch("A"), branch("B")]
    definition = {
        "StartAt": "Parallel",
        "States": {
            "Parallel": {"Type": "Parallel", "Branches": branches, "Next": "Task"},
            "Task": {**until_redriven(function), "End": True},
        },
    }
    execution = account.machine(definition).run()
    assert redriven(execution)["status"] == "SUCCEEDED"
    assert execution.output == {"redrives": 1, "input": ["A", "B"]}
    assert len(execution.events("ParallelStateEntered")) == 1


def test_it_keeps_the_definition_that_it_started_with(account: Account) -> None:
    client = account.client("stepfunctions")
    machine = account.machine(only(until_redriven(account.function(UNTIL_REDRIVEN))))
    execution = machine.run("old")
    newer = only({"Type": "Pass", "Result": "new"})
    client.update_state_machine(stateMachineArn=machine.arn, definition=json.dumps(newer))
    account.wait_for(lambda: machine.run().output == "new", what="the new definition")
    assert redriven(execution)["status"] == "SUCCEEDED"
    assert execution.output == {"redrives": 1, "input": "old"}


def test_a_redriven_execution_can_be_stopped(account: Account) -> None:
    execution = account.machine(RUNS_WHEN_REDRIVEN).run()
    redrive(execution)
    wait_for_event(execution, "WaitStateEntered")
    stop(execution, error="E", cause="c")
    found = execution.wait()
    assert (found["status"], found["error"], found["cause"]) == ("ABORTED", "E", "c")
    assert found["redriveDate"] <= found["stopDate"]
    assert after_redrive(execution)[-1] == "ExecutionAborted"
    assert (found["redriveCount"], found["redriveStatus"]) == (1, "REDRIVABLE")


@pytest.mark.parametrize(
    "definition",
    [
        pytest.param(only({"Type": "Wait", "Seconds": 6_000}), id="running"),
        pytest.param(only({"Type": "Pass"}), id="succeeded"),
    ],
)
@documented(REDRIVE)
def test_an_execution_is_refused(
    account: Account, refusal: Refusal, definition: dict[str, Any]
) -> None:
    execution = account.machine(definition).start()
    if definition["States"]["Only"]["Type"] == "Pass":
        execution.wait()
    error = refusal(lambda: redrive(execution))
    assert code_of(error) == ("ExecutionNotRedrivable", 400)
    assert execution.describe()["redriveCount"] == 0


@documented(REDRIVE)
def test_an_execution_that_is_not_there_is_refused(account: Account, refusal: Refusal) -> None:
    execution = account.machine(FAIL).run()
    execution.arn += "-nobody"
    assert code_of(refusal(lambda: redrive(execution))) == ("ExecutionDoesNotExist", 400)


@documented(REDRIVE)
def test_an_arn_that_is_none_is_refused(account: Account, refusal: Refusal) -> None:
    execution = Execution(account, "nobody", {})
    assert code_of(refusal(lambda: redrive(execution))) == ("InvalidArn", 400)


@pytest.mark.parametrize("token", ["x" * 65, "two words", "ä"])
@documented(REDRIVE)
def test_a_client_token_that_is_none_is_refused(
    account: Account, refusal: Refusal, token: str
) -> None:
    execution = account.machine(FAIL).run()
    error = refusal(lambda: redrive(execution, clientToken=token))
    assert code_of(error) == ("ValidationException", 400)
    assert execution.describe()["redriveCount"] == 0


@documented(REDRIVE)
def test_one_client_token_is_one_redrive(account: Account) -> None:
    execution = account.machine(RUNS_WHEN_REDRIVEN).run()
    date = redrive(execution, clientToken="one")
    assert redrive(execution, clientToken="one") == date
    stop(execution)
    account.wait_for(lambda: execution.describe()["status"] == "ABORTED", what="the stop")
    assert redrive(execution, clientToken="one") == date
    found = execution.describe()
    assert (found["status"], found["redriveCount"]) == ("ABORTED", 1)
    assert redrive(execution, clientToken="two") > date
    account.wait_for(lambda: execution.describe()["redriveCount"] == 2, what="the second redrive")


@documented(REDRIVE)
def test_of_two_redrives_at_the_same_moment_one_wins(account: Account) -> None:
    execution = account.machine(RUNS_WHEN_REDRIVEN).run()

    def attempt(_: int) -> str:
        try:
            redrive(execution)
        except ClientError as error:
            return code_of(error)[0]
        return "redriven"

    with ThreadPoolExecutor(4) as threads:
        answers = sorted(threads.map(attempt, range(4)))
    assert answers == ["ExecutionNotRedrivable"] * 3 + ["redriven"]
    wait_for_event(execution, "WaitStateEntered")
    assert len(execution.events("ExecutionRedriven")) == 1


def running_again(machine: Machine) -> Execution:
    execution = machine.start({"a": 1}, "one")
    execution.wait()
    redrive(execution)
    wait_for_event(execution, "WaitStateEntered")
    return execution


@documented(START)
def test_its_name_and_input_start_it_no_second_time(account: Account) -> None:
    machine = account.machine(RUNS_WHEN_REDRIVEN)
    execution = running_again(machine)
    answer = machine.start({"a": 1}, "one").answer
    assert answer["executionArn"] == execution.arn
    assert answer["startDate"] == execution.answer["startDate"]
    assert len(machine.executions()) == 1


@pytest.mark.parametrize("is_stopped", [False, True], ids=["another input", "closed again"])
@documented(START)
def test_its_name_is_taken(account: Account, refusal: Refusal, is_stopped: bool) -> None:
    machine = account.machine(RUNS_WHEN_REDRIVEN)
    execution = running_again(machine)
    if is_stopped:
        stop(execution)
        execution.wait()
    event = {"a": 1 if is_stopped else 2}
    error = refusal(lambda: machine.start(event, "one"))
    assert code_of(error) == ("ExecutionAlreadyExists", 400)


@documented(LIST)
def test_redriven_executions_are_listed_apart(account: Account) -> None:
    machine = account.machine(FAIL)
    plain, again = machine.run(), machine.run()
    redriven(again)

    def listed(wanted: str) -> list[tuple[str, int, bool]]:
        return [
            (one["executionArn"], one["redriveCount"], "redriveDate" in one)
            for one in machine.executions(redriveFilter=wanted)
        ]

    account.wait_for(
        lambda: listed("REDRIVEN") == [(again.arn, 1, True)], what="the redriven execution"
    )
    assert listed("NOT_REDRIVEN") == [(plain.arn, 0, False)]
    assert len(machine.executions()) == 2


@documented(LIST)
def test_pending_redrives_are_those_of_a_map_run(account: Account, refusal: Refusal) -> None:
    machine = account.machine(FAIL)
    error = refusal(lambda: machine.executions(statusFilter="PENDING_REDRIVE"))
    assert code_of(error) == ("ValidationException", 400)


CALLER = """
import boto3
from botocore.exceptions import ClientError


def handler(event, context):
    try:
        boto3.client("stepfunctions").redrive_execution(executionArn=event)
    except ClientError as error:
        return error.response["Error"]["Message"]
    return "done"
"""


def test_who_may_redrive_an_execution_may_redrive_that_one(account: Account) -> None:
    mine, other = account.machine(FAIL), account.machine(FAIL)
    executions = mine.arn.replace(":stateMachine:", ":execution:") + ":*"
    role = account.role(allow("states:RedriveExecution", executions))
    function = account.function(CALLER, role=role, MemorySize=256, Timeout=30)
    execution, untouched = mine.run(), other.run()
    account.wait_for(lambda: function.invoke(execution.arn).payload == "done", what="leave")
    said = function.invoke(untouched.arn).payload
    wanted = f"not authorized to perform: states:RedriveExecution on resource: {untouched.arn}"
    assert wanted in said
    assert untouched.describe()["redriveCount"] == 0
