"""One clock for every wait of the local cloud.

With ``speed`` 60 a wait of 60 seconds takes one second. Only waits are scaled (pauses between
attempts, the age of events): the time-outs of running code stay real, because the code does not
run any faster.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable


class Clock:
    """A clock that runs ``speed`` times faster than the wall, and calls back when it is time.

    Args:
        speed: how many seconds pass here while one passes on the wall; more than 0.

    Raises:
        ValueError: ``speed`` is not more than 0.
    """

    def __init__(self, speed: float = 1.0) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be more than 0, not {speed}")
        self.speed = speed
        self._started_at = time.monotonic()
        self._changed = threading.Condition()
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)
        self._thread.start()

    def now(self) -> float:
        """Seconds on this clock since it was made."""
        return (time.monotonic() - self._started_at) * self.speed

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call ``call`` on the clock's own thread when ``seconds`` have passed on this clock.

        ``call`` must not block: it hands its work on.
        """
        with self._changed:
            heapq.heappush(self._calls, (self.now() + seconds, next(self._order), call))
            self._changed.notify()

    def sleep(self, seconds: float, until: threading.Event | None = None) -> None:
        """Wait for ``seconds`` of this clock, or less if ``until`` is set before."""
        (until or threading.Event()).wait(seconds / self.speed)

    def stop(self) -> None:
        """Forget every call that is still to come."""
        with self._changed:
            self._stopped = True
            self._calls.clear()
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while (call := self._next_due()) is not None:
            call()

    def _next_due(self) -> Callable[[], None] | None:
        with self._changed:
            while not self._stopped:
                if not self._calls:
                    self._changed.wait()
                    continue
                wait = (self._calls[0][0] - self.now()) / self.speed
                if wait <= 0:
                    return heapq.heappop(self._calls)[2]
                self._changed.wait(wait)
            return None
