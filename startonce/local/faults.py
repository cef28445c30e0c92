"""Faults on purpose: attempts of functions and calls of APIs fail as asked, in code as it is."""

from __future__ import annotations

import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from startonce.local.api_actions import check_action

AMBIGUOUS = ("exception", "timeout", "memory", "exit", "service-error")
"""Kinds for functions that can come before the handler ran, or after it did."""

KINDS = (*AMBIGUOUS, "throttle", "duplicate")
"""All kinds for functions."""

API_AMBIGUOUS = ("service-error", "hang", "disconnect")
"""Kinds for API actions that can come before the call was done, or after."""

API_KINDS = (*API_AMBIGUOUS, "throttle")
"""All kinds for API actions."""

FORM = "TARGET:KIND[-after][:N|:P%]"

_TEXT = re.compile(r"(?P<target>[^:]+):(?P<kind>[^:]+?)(?P<after>-after)?(?::(?P<often>[^:]*))?")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)%")


@dataclass(frozen=True)
class Fault:
    """How one attempt of a function, or one call of an API action, is to fail.

    Attributes:
        kind: for functions ``exception`` (the handler seems to raise InjectedFault), ``timeout``,
            ``memory`` (killed for its memory), ``exit`` (the process exits with status 1),
            ``service-error`` (Lambda answers with its own 500), ``throttle`` (429: the handler does
            not run), ``duplicate`` (an asynchronous event is delivered twice at the same moment);
            for API actions ``throttle`` and ``service-error`` (the service's own), ``hang`` (no
            answer), ``disconnect`` (the connection is closed instead of an answer).
        after: True lets the handler run, or the call be done, and then throws the answer away: the
            ambiguous case, in which everything was done and nobody heard of it.

    Raises:
        ValueError: no such kind, or it cannot come after.
    """

    kind: str
    after: bool = False

    def __post_init__(self) -> None:
        kinds = dict.fromkeys((*KINDS, *API_KINDS))
        if self.kind not in kinds:
            raise ValueError(f"no fault {self.kind!r}: one of {', '.join(kinds)}")
        if self.after and self.kind not in (*AMBIGUOUS, *API_AMBIGUOUS):
            raise ValueError(f"{self.kind} cannot come after")

    def __str__(self) -> str:
        return f"{self.kind}-after" if self.after else self.kind

    @property
    def message(self) -> str:
        """What a person reads of it."""
        return f"made to fail {'after' if self.after else 'before'} the handler ran"

    def log_line(self) -> str:
        """What the function seems to have logged."""
        return f"[ERROR] InjectedFault: {self.message}"

    def payload(self) -> bytes:
        """What the function seems to have raised."""
        described = {
            "errorMessage": self.message,
            "errorType": "InjectedFault",
            "stackTrace": [],
        }
        return json.dumps(described).encode()


@dataclass(frozen=True)
class Rate:
    """How many of a hundred attempts or calls fail.

    Raises:
        ValueError: ``percent`` is not more than 0, or is more than 100.
    """

    percent: float

    def __post_init__(self) -> None:
        if not 0 < self.percent <= 100:
            raise ValueError(f"a rate is more than 0% and at most 100%, not {self.percent:g}%")


@dataclass
class _Plan:
    """What is still to come for one target."""

    counted: list[Fault] = field(default_factory=list)
    rates: dict[Fault, float] = field(default_factory=dict)


_Wanted = Callable[[Fault], bool]
_Found = tuple[str, Fault] | None


class Faults:
    """The faults that are still to come, and how many have struck. Any thread may use it.

    A target is a function's name, or the last part of it (``invoker`` for
    ``startonce-dev-invoker``), or an API action such as ``states.StartExecution``.

    Args:
        draw: a random number from 0 to less than 1.
    """

    def __init__(self, draw: Callable[[], float] = random.random) -> None:
        self._lock = threading.Lock()
        self._draw = draw
        self._plans: dict[str, _Plan] = {}
        self._struck: Counter[str] = Counter()

    @property
    def are_waiting(self) -> bool:
        """Whether anything at all is still to come. Costs next to nothing."""
        return bool(self._plans)

    def add(self, target: str, fault: Fault, often: int | Rate = 1) -> None:
        """Make a target fail.

        Args:
            often: its next so many attempts or calls; or the part of all that come from now on.
                Rates of one target add up. A counted fault comes before a rate.

        Raises:
            ValueError: the kind is not one for this target, there is no such API action, ``often``
                is less than 1, or the target's rates come to more than 100%.
        """
        _check_target(target, fault)
        with self._lock:
            plan = self._plans.get(target, _Plan())
            if isinstance(often, Rate):
                total = sum(plan.rates.values()) + often.percent
                if total > 100:
                    raise ValueError(f"the rates of {target} come to {total:g}%: 100% is the most")
                plan.rates[fault] = plan.rates.get(fault, 0) + often.percent
            elif often < 1:
                raise ValueError(f"a fault comes at least once, not {often} times")
            else:
                plan.counted.extend([fault] * often)
            self._plans[target] = plan

    def clear(self) -> None:
        """Forget all that is still to come."""
        with self._lock:
            self._plans.clear()

    def report(self) -> dict[str, dict[str, float]]:
        """How many have ``struck``, how many are ``waiting``, and the ``rates`` in percent: each by
        ``TARGET:KIND[-after]`` as it was asked for.
        """
        with self._lock:
            plans = self._plans.items()
            waiting = Counter(f"{target}:{fault}" for target, one in plans for fault in one.counted)
            rates = {
                f"{target}:{fault}": percent
                for target, one in plans
                for fault, percent in one.rates.items()
            }
            return {"struck": dict(self._struck), "waiting": dict(waiting), "rates": rates}

    def take(self, function_name: str) -> Fault | None:
        """The fault for the attempt that begins now, if there is one."""
        return self._take(_targets_of(function_name), lambda fault: fault.kind != "duplicate")

    def take_duplicate(self, function_name: str) -> bool:
        """Whether the event that comes now is to be delivered twice."""
        found = self._take(_targets_of(function_name), lambda fault: fault.kind == "duplicate")
        return found is not None

    def take_call(self, action: str) -> Fault | None:
        """The fault for the call of an API action that comes now, if there is one."""
        return self._take(lambda target: target == action, lambda fault: True)

    def are_waiting_for(self, action: str) -> bool:
        """Whether any is still to come for this API action."""
        return action in self._plans

    def _take(self, is_meant: Callable[[str], bool], wanted: _Wanted) -> Fault | None:
        if not self._plans:
            return None
        with self._lock:
            meant = [(name, plan) for name, plan in self._plans.items() if is_meant(name)]
            found = self._counted(meant, wanted) or self._by_rate(meant, wanted)
            if found is None:
                return None
            target, fault = found
            self._struck[f"{target}:{fault}"] += 1
            return fault

    def _counted(self, meant: Iterable[tuple[str, _Plan]], wanted: _Wanted) -> _Found:
        for target, plan in meant:
            for index, fault in enumerate(plan.counted):
                if wanted(fault):
                    del plan.counted[index]
                    if not plan.counted and not plan.rates:
                        del self._plans[target]
                    return target, fault
        return None

    def _by_rate(self, meant: Iterable[tuple[str, _Plan]], wanted: _Wanted) -> _Found:
        """One draw for all rates, so that one attempt has one fault at most."""
        left = self._draw() * 100
        for target, plan in meant:
            for fault, percent in plan.rates.items():
                if wanted(fault):
                    left -= percent
                    if left < 0:
                        return target, fault
        return None


def parse(text: str) -> tuple[str, Fault, int | Rate]:
    """Read ``TARGET:KIND[-after][:N|:P%]``, such as ``invoker:exception-after:2`` or
    ``states.StartExecution:throttle:30%``.

    Returns the target, the fault and how often it comes.

    Raises:
        ValueError: it is not of that form, or the kind is not one for this target.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not {FORM}")
    fault = Fault(found["kind"], after=found["after"] is not None)
    _check_target(found["target"], fault)
    return found["target"], fault, _often(text, "1" if found["often"] is None else found["often"])


def _often(text: str, often: str) -> int | Rate:
    if percent := _PERCENT.fullmatch(often):
        return Rate(float(percent[1]))
    if not often.isdecimal() or int(often) < 1:
        raise ValueError(f"{text!r}: N must be a whole number from 1, or P%, not {often!r}")
    return int(often)


def _check_target(target: str, fault: Fault) -> None:
    """Raises ValueError: there is no such API action, or it cannot have this fault."""
    is_action = "." in target  # no function's name has one
    kinds, what = (API_KINDS, "an API action") if is_action else (KINDS, "a function")
    if fault.kind not in kinds:
        raise ValueError(f"no fault {fault.kind!r} of {what}: one of {', '.join(kinds)}")
    if is_action:
        check_action(target)


def _targets_of(function_name: str) -> Callable[[str], bool]:
    return lambda target: function_name == target or function_name.endswith(f"-{target}")
