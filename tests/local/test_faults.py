"""Faults on purpose: an attempt fails as it is told to, and the next one runs."""

from __future__ import annotations

import urllib.error

import pytest
from click.testing import CliRunner

from startonce.aws import Aws
from startonce.cli import main
from startonce.local.faults import Fault, Faults, Rate
from tests.conftest import CloudProcess, wait_for
from tests.local.conftest import Function, MakeFunction


def tries(function: Function) -> int:
    return function.log_lines().count("tried")


def request_ids(function: Function) -> set[str]:
    return {line.split()[2] for line in function.log_lines() if line.startswith("START ")}


@pytest.mark.parametrize("kind", ["exception", "timeout", "memory", "exit"])
@pytest.mark.parametrize("after", [False, True])
def test_a_fault_fails_one_attempt_and_the_next_one_runs(
    cloud: CloudProcess, make_function: MakeFunction, kind: str, after: bool
) -> None:
    function = make_function("def handler(event, context): print('tried')", Timeout=1)
    cloud.add_fault(function.name, kind, after)
    function.invoke(InvocationType="Event")
    wait_for(lambda: tries(function) == (2 if after else 1))
    assert len(request_ids(function)) == 1


def test_an_event_that_succeeded_is_not_tried_again(
    cloud: CloudProcess, make_function: MakeFunction
) -> None:
    function = make_function("def handler(event, context): print('tried')")
    cloud.add_fault(function.name, "exception", after=True)
    function.invoke(InvocationType="Event")
    wait_for(lambda: tries(function) == 2)
    other = make_function("def handler(event, context): print('tried')")
    other.invoke(InvocationType="Event")
    wait_for(lambda: tries(other) == 1)
    assert tries(function) == 2


def test_an_attempt_that_is_throttled_anyway_leaves_the_fault_for_the_next_one(
    cloud: CloudProcess, make_function: MakeFunction, aws: Aws
) -> None:
    function = make_function("def handler(event, context): return 'ran'")
    client = aws.client("lambda")
    client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=0)
    cloud.add_fault(function.name, "exception")
    with pytest.raises(client.exceptions.TooManyRequestsException):
        function.invoke()
    client.delete_function_concurrency(FunctionName=function.name)
    assert function.invoke()["Payload"]["errorType"] == "InjectedFault"
    assert function.invoke()["Payload"] == "ran"


def test_what_struck_is_counted_as_it_was_asked_for(
    cloud: CloudProcess, make_function: MakeFunction
) -> None:
    function = make_function("def handler(event, context): return 'ran'")
    cloud.add_faults(f"{function.name}:exception-after:2", f"{function.name}:exit")
    for _ in range(4):
        function.invoke()
    struck = cloud.struck()
    assert struck[f"{function.name}:exception-after"] == 2
    assert struck[f"{function.name}:exit"] == 1


def test_a_rate_lasts_until_the_faults_are_cleared(
    cloud: CloudProcess, make_function: MakeFunction
) -> None:
    function = make_function("def handler(event, context): return 'ran'")
    cloud.add_faults(f"{function.name}:exception:100%")
    answers = [function.invoke() for _ in range(5)]
    assert {answer["Payload"]["errorType"] for answer in answers} == {"InjectedFault"}
    cloud.add_faults(f"{function.name}:exit:3")
    assert function.invoke()["Payload"]["errorType"] == "Runtime.ExitError"
    cloud.clear_faults()
    assert function.invoke()["Payload"] == "ran"
    assert cloud.struck()[f"{function.name}:exception"] == 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("invoker", "is not TARGET:KIND[-after][:N|:P%]"),
        ("invoker:", "is not TARGET:KIND[-after][:N|:P%]"),
        ("invoker:flood", "no fault 'flood': one of exception, timeout"),
        ("invoker:hang", "no fault 'hang' of a function: one of exception"),
        ("states.StartExecution:memory", "no fault 'memory' of an API action: one of service-err"),
        ("states.StartExecution:throttle-after", "throttle cannot come after"),
        ("states.StartExecutions:throttle", "'states' has no action 'StartExecutions'"),
        ("stepfunctions.StartExecution:throttle", "write 'states.StartExecution'"),
        ("nosuch.Thing:throttle", "no AWS service signs as 'nosuch'"),
        ("invoker:exception:0", "N must be a whole number from 1, or P%, not '0'"),
        ("invoker:exception:many", "N must be a whole number from 1, or P%, not 'many'"),
        ("invoker:exception:0%", "a rate is more than 0% and at most 100%"),
        ("invoker:exception:101%", "a rate is more than 0% and at most 100%"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(cloud: CloudProcess, text: str, said: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        cloud.add_faults(text)
    answer = caught.value.read().decode()
    assert caught.value.code == 400
    assert said in answer
    assert answer.count("\n") == 1


def test_rates_of_one_target_add_up_to_100_percent_at_most() -> None:
    faults = Faults()
    faults.add("f", Fault("exception"), Rate(60))
    with pytest.raises(ValueError, match="the rates of f come to 110%"):
        faults.add("f", Fault("timeout"), Rate(50))
    faults.add("g", Fault("timeout"), Rate(50))
    assert faults.report()["rates"] == {"f:exception": 60, "g:timeout": 50}


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [(0, "exception"), (0.09, "exception"), (0.1, "timeout"), (0.29, "timeout"), (0.3, None)],
)
def test_one_draw_is_for_all_rates_of_a_target(drawn: float, expected: str | None) -> None:
    faults = Faults(draw=lambda: drawn)
    faults.add("f", Fault("exception"), Rate(10))
    faults.add("f", Fault("timeout"), Rate(20))
    found = faults.take("service-f")
    assert (found and found.kind) == expected


def test_counted_faults_come_before_rates_and_go_when_they_have_struck() -> None:
    faults = Faults(draw=lambda: 0.99)
    faults.add("f", Fault("exception"), Rate(50))
    faults.add("f", Fault("exit"), 2)
    assert faults.report()["waiting"] == {"f:exit": 2}
    assert [faults.take("f") for _ in range(3)] == [Fault("exit"), Fault("exit"), None]
    assert faults.report() == {"struck": {"f:exit": 2}, "waiting": {}, "rates": {"f:exception": 50}}
    assert faults.are_waiting
    faults.clear()
    assert not faults.are_waiting


def test_nothing_waits_any_more_when_the_last_counted_fault_has_struck() -> None:
    faults = Faults()
    faults.add("states.StartExecution", Fault("throttle"))
    assert faults.take("StartExecution") is None
    assert faults.take_call("states.StartExecution") == Fault("throttle")
    assert not faults.are_waiting


def test_rates_that_come_to_more_than_100_percent_are_wrong_use_of_up() -> None:
    asked = ["--fault", "f:exception:60%", "--fault", "f:exit:50%"]
    done = CliRunner().invoke(main, ["up", "--port", "0", *asked])
    assert done.exit_code == 2
    assert "the rates of f come to 110%" in done.output
