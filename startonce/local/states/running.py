"""Runs executions, each on a thread of its own, and no more at a time than functions can serve.

Here a function has a few environments, and on AWS hundreds. What waits for one waits in its task's
time: too many executions at once, and their tasks would time out without having run.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_log = logging.getLogger(__name__)

MOST = 200
"""Executions at a time. Others wait their turn."""


class Running:
    """The executions of one local cloud."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._count = 0
        self._waiting: deque[Callable[[], None]] = deque()
        self._here = threading.local()

    def start(self, work: Callable[[], None]) -> None:
        """Run ``work`` as soon as there is room, in the order in which it came."""
        self._when_there_is_room(lambda: self._begin(work))

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leave one's room to others meanwhile: an execution that waits needs none."""
        if not getattr(self._here, "has_room", False):  # a branch, which is not counted by itself
            yield
            return
        self._leave()
        try:
            yield
        finally:
            turn = threading.Event()
            self._when_there_is_room(turn.set, before_others=True)
            turn.wait()

    def stop(self) -> None:
        """Forget what waits."""
        with self._lock:
            self._waiting.clear()

    def _when_there_is_room(self, go_on: Callable[[], None], before_others: bool = False) -> None:
        with self._lock:
            if self._count >= self._most:
                add = self._waiting.appendleft if before_others else self._waiting.append
                add(go_on)
                return
            self._count += 1
        go_on()

    def _begin(self, work: Callable[[], None]) -> None:
        threading.Thread(target=self._run, args=(work,), name="execution", daemon=True).start()

    def _run(self, work: Callable[[], None]) -> None:
        self._here.has_room = True
        try:
            work()
        except Exception:
            _log.exception("an execution failed in the local cloud itself")
        finally:
            self._leave()

    def _leave(self) -> None:
        """Pass the room on to who waits first."""
        with self._lock:
            if not self._waiting:
                self._count -= 1
                return
            go_on = self._waiting.popleft()
        go_on()
