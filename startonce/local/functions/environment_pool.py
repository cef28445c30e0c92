"""The execution environments of one function: few, reused, one event at a time.

On AWS a burst gets as many environments as it has events; here it would get as many processes. So
there is a limit, and events wait in their order. But a function that calls itself, or one that all
callers of another wait for, must not wait for ever: where nothing has moved for a while, one more
environment is started.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from startonce.local.functions.execution_environment import ExecutionEnvironment
from startonce.local.functions.function_spec import FunctionSpec

PATIENCE = 1.0
"""Seconds without any movement after which an event gets an environment past the limit."""

LARGEST = 50
"""How many environments a function may have even so."""


class PoolClosedError(Exception):
    """The function was deleted, or the local cloud stops."""


class EnvironmentPool:
    """About ``limit`` environments at a time; who comes first is served first.

    Args:
        start: makes a cold environment.
    """

    def __init__(self, limit: int, start: Callable[[FunctionSpec], ExecutionEnvironment]) -> None:
        self._limit = limit
        self._start = start
        self._changed = threading.Condition()
        self._idle: list[ExecutionEnvironment] = []
        self._busy: set[ExecutionEnvironment] = set()
        self._starting = 0
        self._waiting: deque[object] = deque()
        self._closed = False
        self._moved_at = time.monotonic()

    @property
    def concurrency(self) -> int:
        """How many events are being handled, or wait for an environment."""
        with self._changed:
            return len(self._busy) + self._starting + len(self._waiting)

    def acquire(self, spec: FunctionSpec) -> ExecutionEnvironment:
        """A warm environment for ``spec``, or a cold one; waits while all are busy.

        Raises:
            PoolClosedError: the pool was closed meanwhile.
        """
        with self._changed:
            ticket = object()
            self._waiting.append(ticket)
            while not (self._closed or self._is_turn_of(ticket)):
                self._changed.wait(PATIENCE)
            self._waiting.remove(ticket)
            self._moved_at = time.monotonic()
            if self._closed:
                raise PoolClosedError
            useless = self._take_outdated(spec)
            environment = self._take_warm(useless)
            if environment is None:
                self._starting += 1
            else:
                self._busy.add(environment)
            self._changed.notify_all()
        for one in useless:
            one.close()
        return environment or self._start_one(spec)

    def release(self, environment: ExecutionEnvironment) -> None:
        """Give an environment back; a spent one is forgotten."""
        with self._changed:
            self._busy.discard(environment)
            self._moved_at = time.monotonic()
            keep = not environment.spent and not self._closed
            if keep:
                self._idle.append(environment)
            self._changed.notify_all()
        if not keep:
            environment.close()

    def close(self, kill_busy: bool) -> None:
        """End the idle environments, and the busy ones now or when their event is done."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
            self._changed.notify_all()
        for environment in idle:
            environment.close()
        for environment in busy if kill_busy else []:
            environment.kill()

    def _is_turn_of(self, ticket: object) -> bool:
        if self._waiting[0] is not ticket:
            return False
        occupied = len(self._busy) + self._starting
        is_stuck = time.monotonic() - self._moved_at >= PATIENCE
        return occupied < self._limit or (is_stuck and occupied < LARGEST)

    def _take_outdated(self, spec: FunctionSpec) -> list[ExecutionEnvironment]:
        """Remove idle environments of another code or configuration: they are never used again."""
        outdated = [idle for idle in self._idle if idle.spec != spec]
        self._idle = [idle for idle in self._idle if idle.spec == spec]
        return outdated

    def _take_warm(self, useless: list[ExecutionEnvironment]) -> ExecutionEnvironment | None:
        """An idle environment; those whose worker was killed meanwhile join the useless ones."""
        while self._idle:
            environment = self._idle.pop()
            if environment.is_alive():
                return environment
            useless.append(environment)
        return None

    def _start_one(self, spec: FunctionSpec) -> ExecutionEnvironment:
        environment = None
        try:
            environment = self._start(spec)
        finally:
            with self._changed:
                self._starting -= 1
                if environment is not None:
                    self._busy.add(environment)
                self._changed.notify_all()
        return environment
