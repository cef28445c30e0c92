"""Which executions can be redriven, and which requests to do so are one and the same.

https://docs.aws.amazon.com/step-functions/latest/dg/redrive-executions.html
https://docs.aws.amazon.com/step-functions/latest/apireference/API_RedriveExecution.html
"""

from __future__ import annotations

import json
import re
from collections import deque
from datetime import datetime
from typing import Any

from moto.core.exceptions import AWSError
from moto.stepfunctions.exceptions import ValidationException

from startonce.local.clock import Clock
from startonce.local.states.history import Step

_DAY = 24 * 60 * 60
PERIOD = 14 * _DAY
"""Seconds after its end in which an execution can be redriven."""
_LONGEST = 365 * _DAY
_MOST_EVENTS = 24_999
_TOKENS = 10
_TOKEN_LIFE = 15 * 60
_LONGEST_TOKEN = 64


class ExecutionNotRedrivable(AWSError):
    """The execution runs, has succeeded, or is too old or too long."""

    TYPE = "ExecutionNotRedrivable"
    STATUS = 400


class NotImplementedLocally(AWSError):
    """The local cloud cannot restore the execution, so it does not redrive it."""

    TYPE = "NotImplemented"
    STATUS = 501

    def __init__(self, what: str) -> None:
        super().__init__(f"NotImplemented: the local cloud has no redrive of {what}")


def why_not(status: str, events: int, age: float, closed_for: float) -> str | None:
    """Why an execution cannot be redriven, as DescribeExecution words it; None if it can be.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html

    Args:
        age: seconds since it started.
        closed_for: seconds since it ended.
    """
    if status in ("RUNNING", "SUCCEEDED"):
        return f"Execution is {status} and cannot be redriven"
    if events >= _MOST_EVENTS:
        return "Execution history event limit exceeded"
    if age > _LONGEST:
        return "Execution has exceeded the max execution time"
    if closed_for > PERIOD:
        return "Execution redrivable period exceeded"
    return None


def check_restorable(definition: str, step: Step) -> None:
    """Check that a run can begin in the middle of a definition.

    Raises:
        NotImplementedLocally: the step has branches or iterations, of which only some would have
            to run again; or there are variables, whose values are gone.
    """
    states = json.loads(definition)["States"]
    kind = states[step.name]["Type"]
    if kind in ("Map", "Parallel"):
        raise NotImplementedLocally(f"an unsuccessful {kind} state: '{step.name}'")
    assigning = [name for name, state in states.items() if _assigns(state)]
    if assigning:
        raise NotImplementedLocally(f"executions with Assign: '{assigning[0]}'")


def _assigns(state: dict[str, Any]) -> bool:
    places = (state, *state.get("Choices", ()), *state.get("Catch", ()))
    return any("Assign" in place for place in places)


def check_token(token: str) -> None:
    """Check a client token.

    Raises:
        ValidationException: it is too long, or has characters other than printable ASCII.
    """
    if len(token) > _LONGEST_TOKEN:
        constraint = f"Member must have length less than or equal to {_LONGEST_TOKEN}"
    elif not re.fullmatch("[!-~]+", token):
        constraint = "Member must satisfy regular expression pattern: [!-~]+"
    else:
        return
    raise ValidationException(
        f"1 validation error detected: Value '{token}' at 'clientToken' failed to satisfy "
        f"constraint: {constraint}"
    )


class Tokens:
    """The client tokens of an execution's last ten redrives, each for 15 minutes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._used: deque[tuple[str, float, datetime]] = deque(maxlen=_TOKENS)

    def keep(self, token: str, date: datetime) -> None:
        """Remember the redrive that a token stands for."""
        self._used.append((token, self._clock.now(), date))

    def date_of(self, token: str | None) -> datetime | None:
        """When the redrive with this token was; None if there was none."""
        now = self._clock.now()
        for used, at, date in self._used:
            if used == token and now - at <= _TOKEN_LIFE:
                return date
        return None
