"""Faults on purpose: an attempt fails as it is told to, and the next one runs."""

from __future__ import annotations

import pytest

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
