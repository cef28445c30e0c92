"""Faults on purpose: the next attempts of a function fail as asked, and its code is not touched."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import Literal, get_args

FaultKind = Literal["exception", "timeout", "memory", "exit"]


@dataclass(frozen=True)
class Fault:
    """How one attempt is to fail.

    Attributes:
        kind: ``exception`` (the handler seems to raise InjectedFault), ``timeout``, ``memory``
            (killed for its memory), ``exit`` (the process exits with status 1).
        after: True lets the handler run to its end first and then throws its answer away: the
            ambiguous case, in which everything was done and nobody heard of it.
    """

    kind: FaultKind
    after: bool = False

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

    def add(self, function_name: str, fault: Fault, times: int = 1) -> None:
        """Make the next ``times`` attempts of the function fail.

        Raises:
            ValueError: no such kind of fault.
        """
        if fault.kind not in get_args(FaultKind):
            raise ValueError(f"no fault {fault.kind!r}: one of {', '.join(get_args(FaultKind))}")
        with self._lock:
            self._waiting.setdefault(function_name, []).extend([fault] * times)

    def take(self, function_name: str) -> Fault | None:
        """The fault for the attempt that begins now, if there is one."""
        with self._lock:
            waiting = self._waiting.get(function_name)
            return waiting.pop(0) if waiting else None
