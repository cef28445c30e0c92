"""Faults on purpose: the next attempts of a function fail as asked, and its code is not touched."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass

AMBIGUOUS = ("exception", "timeout", "memory", "exit", "service-error")
"""Kinds that can come before the handler ran, or after it did."""

KINDS = (*AMBIGUOUS, "throttle", "duplicate")


@dataclass(frozen=True)
class Fault:
    """How one attempt is to fail.

    Attributes:
        kind: ``exception`` (the handler seems to raise InjectedFault), ``timeout``, ``memory``
            (killed for its memory), ``exit`` (the process exits with status 1), ``service-error``
            (Lambda answers with its own 500), ``throttle`` (429: the handler does not run),
            ``duplicate`` (an asynchronous event is delivered twice at the same moment).
        after: True lets the handler run to its end first and then throws its answer away: the
            ambiguous case, in which everything was done and nobody heard of it.

    Raises:
        ValueError: no such kind, or it cannot come after the handler.
    """

    kind: str
    after: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no fault {self.kind!r}: one of {', '.join(KINDS)}")
        if self.after and self.kind not in AMBIGUOUS:
            raise ValueError(f"{self.kind} cannot come after the handler ran")

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


class Faults:
    """The faults that are still to come, for each function in the order they were asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Fault]] = {}

    def add(self, function: str, fault: Fault, times: int = 1) -> None:
        """Make the next ``times`` attempts of a function fail.

        Args:
            function: its name, or the last part of it: ``invoker`` is ``startonce-dev-invoker``.

        Raises:
            ValueError: ``times`` is less than 1.
        """
        if times < 1:
            raise ValueError(f"a fault comes at least once, not {times} times")
        with self._lock:
            self._waiting.setdefault(function, []).extend([fault] * times)

    def take(self, function_name: str) -> Fault | None:
        """The fault for the attempt that begins now, if there is one."""
        return self._take(function_name, is_duplicate=False)

    def take_duplicate(self, function_name: str) -> bool:
        """Whether the event that comes now is to be delivered twice."""
        return self._take(function_name, is_duplicate=True) is not None

    def _take(self, function_name: str, is_duplicate: bool) -> Fault | None:
        with self._lock:
            for asked_for, waiting in self._waiting.items():
                if function_name != asked_for and not function_name.endswith(f"-{asked_for}"):
                    continue
                for index, fault in enumerate(waiting):
                    if (fault.kind == "duplicate") == is_duplicate:
                        return waiting.pop(index)
        return None


def parse(text: str) -> tuple[str, Fault, int]:
    """Read ``FUNCTION:KIND[-after][:N]``, such as ``invoker:exception-after:2``.

    Returns the function, the fault and how often it comes.

    Raises:
        ValueError: it is not of that form.
    """
    function, *rest = text.split(":")
    if not function or not 1 <= len(rest) <= 2:
        raise ValueError(f"{text!r} is not FUNCTION:KIND[-after][:N]")
    kind = rest[0].removesuffix("-after")
    times = rest[1] if len(rest) == 2 else "1"
    if not times.isdecimal() or int(times) < 1:
        raise ValueError(f"{text!r}: N must be a whole number from 1, not {times!r}")
    return function, Fault(kind, after=rest[0].endswith("-after")), int(times)
