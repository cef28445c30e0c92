"""What Step Functions checks of a definition before it takes it.

https://states-language.net/spec.html
https://docs.aws.amazon.com/step-functions/latest/apireference/API_ValidateStateMachineDefinitionDiagnostic.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from moto.core.exceptions import AWSError

_TYPES = {"Task", "Pass", "Choice", "Wait", "Succeed", "Fail", "Parallel", "Map"}
_ENDS = {"Succeed", "Fail"}
_WAITS = ("Seconds", "SecondsPath", "Timestamp", "TimestampPath")
_REQUIRED = {"Task": ("Resource",), "Choice": ("Choices",), "Parallel": ("Branches",)}

_SCHEMA = "SCHEMA_VALIDATION_FAILED"
_TARGET = "MISSING_TRANSITION_TARGET"


class InvalidDefinition(AWSError):
    """The definition cannot run."""

    TYPE = "InvalidDefinition"
    STATUS = 400

    def __init__(self, *problems: str) -> None:
        super().__init__(f"Invalid State Machine Definition: '{', '.join(problems)}'")


def check_definition(text: str) -> None:
    """Check what a definition must have, and that each transition leads to a state.

    The expressions in it are left to the interpreter.

    Raises:
        InvalidDefinition: it cannot run; the message has all that is wrong.
    """
    try:
        definition = json.loads(text)
    except ValueError as error:
        raise InvalidDefinition(f"INVALID_JSON_DESCRIPTION: {error}") from None
    problems = list(_machine(definition, ""))
    if problems:
        raise InvalidDefinition(*problems)


def _machine(machine: Any, at: str) -> Iterator[str]:
    """The problems of a machine, or of a branch or an iterator, which have the same form."""
    if not isinstance(machine, dict):
        yield f"{_SCHEMA}: The value must be an object at {at or '/'}"
        return
    yield from _missing(machine, ("StartAt", "States"), at or "/")
    states = machine.get("States")
    if not isinstance(states, dict):
        if states is not None:
            yield f"{_SCHEMA}: The value for the field 'States' must be an object at {at}/States"
        return
    if not states:
        yield f"{_SCHEMA}: The field 'States' must have at least one state at {at}/States"
    for name, state in states.items():
        yield from _state(state, f"{at}/States/{name}")
    yield from _transitions(machine, states, at)


def _state(state: Any, at: str) -> Iterator[str]:
    if not isinstance(state, dict):
        yield f"{_SCHEMA}: The value must be an object at {at}"
        return
    kind = state.get("Type")
    if kind not in _TYPES:
        yield f"{_SCHEMA}: The value for the field 'Type' must be one of {sorted(_TYPES)} at {at}"
        return
    yield from _missing(state, _REQUIRED.get(kind, ()), at)
    yield from _way_out(kind, state, at)
    if kind == "Task" and not str(state.get("Resource", "arn:")).startswith("arn:"):
        yield f"{_SCHEMA}: Value is not a valid resource ARN at {at}/Resource"
    if kind == "Wait" and sum(name in state for name in _WAITS) != 1:
        yield f"{_SCHEMA}: Exactly one of {list(_WAITS)} is required at {at}"
    if kind == "Map":
        iterator = "ItemProcessor" if "ItemProcessor" in state else "Iterator"
        if iterator in state:
            yield from _machine(state[iterator], f"{at}/{iterator}")
        else:
            yield f"{_SCHEMA}: One of these fields is required: [ItemProcessor, Iterator] at {at}"
    for number, branch in enumerate(_list(state.get("Branches"))):
        yield from _machine(branch, f"{at}/Branches[{number}]")


def _way_out(kind: str, state: dict[str, Any], at: str) -> Iterator[str]:
    if kind in _ENDS or kind == "Choice":
        for name in ("Next", "End"):
            if name in state:
                yield f"{_SCHEMA}: The field '{name}' is not supported in a {kind} state at {at}"
    elif "Next" in state and state.get("End"):
        yield f"{_SCHEMA}: Only one of these fields is allowed: [Next, End] at {at}"
    elif "Next" not in state and not state.get("End"):
        yield f"{_SCHEMA}: One of these fields is required: [Next, End] at {at}"


def _missing(holder: dict[str, Any], names: tuple[str, ...], at: str) -> Iterator[str]:
    missing = [name for name in names if name not in holder]
    if missing:
        yield f"{_SCHEMA}: These fields are required: [{', '.join(missing)}] at {at}"


def _transitions(machine: dict[str, Any], states: dict[str, Any], at: str) -> Iterator[str]:
    """Targets that do not exist, and states that nothing leads to."""
    reached = set()
    for target, place in _targets(machine, states, at):
        reached.add(target)
        if target not in states:
            yield f"{_TARGET}: Missing 'Next' target: {target} at {place}"
    for name in states:
        if name not in reached and "StartAt" in machine:
            yield f'{_TARGET}: State "{name}" is not reachable. at {at}/States/{name}'


def _targets(machine: dict[str, Any], states: dict[str, Any], at: str) -> Iterator[tuple[str, str]]:
    """The state that each transition leads to, and where the transition is."""
    if "StartAt" in machine:
        yield str(machine["StartAt"]), f"{at}/StartAt"
    for name, state in states.items():
        if not isinstance(state, dict):
            continue
        place = f"{at}/States/{name}"
        for field in ("Next", "Default"):
            if field in state:
                yield str(state[field]), f"{place}/{field}"
        for field in ("Choices", "Catch"):
            for number, one in enumerate(_list(state.get(field))):
                if isinstance(one, dict) and "Next" in one:
                    yield str(one["Next"]), f"{place}/{field}[{number}]/Next"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
