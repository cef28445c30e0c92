"""One clock for every wait of the local cloud.

With ``speed`` 60 a wait of 60 seconds takes one second. Only waits are scaled (pauses between
attempts, the age of events): the time-outs of running code stay real, because the code does not
run any faster. The clock can be put forward: then what was to come meanwhile comes at once.
"""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable

_PULSE = 0.001


class Clock:
    """A clock that runs ``speed`` times faster than the wall, and calls back when it is time.

    Args:
        speed: how many seconds pass here while one passes on the wall; more than 0.

    Attributes:
        put_forward: seconds by which it was put forward, in all.

    Raises:
        ValueError: ``speed`` is not more than 0.
    """

    def __init__(self, speed: float = 1.0) -> None:
        if speed <= 0:
            raise ValueError(f"speed must be more than 0, not {speed}")
        self.speed = speed
        self.put_forward = 0.0
        self._started_at = time.monotonic()
        self._changed = threading.Condition()
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._pauses: dict[object, threading.Event] = {}
        self._listeners: list[Callable[[], None]] = []
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="clock", daemon=True)
        self._thread.start()

    def now(self) -> float:
        """Seconds on this clock since it was made."""
        return (time.monotonic() - self._started_at) * self.speed + self.put_forward

    def advance(self, seconds: float) -> None:
        """Put the clock forward: what is due by then is due now, in its order.

        Raises:
            ValueError: ``seconds`` is not more than 0, or without an end.
        """
        if not 0 < seconds < math.inf:
            raise ValueError(f"the clock is put forward by more than 0 seconds, not {seconds:g}")
        with self._changed:
            self.put_forward += seconds
            self._changed.notify()
            pausing = dict(self._pauses)
            listeners = list(self._listeners)
        for listener in listeners:
            listener()
        self._end_pauses(pausing)

    def on_advance(self, call: Callable[[], None]) -> None:
        """Call ``call`` each time when the clock was put forward. For those who wait by themselves;
        it must not block.
        """
        with self._changed:
            self._listeners.append(call)

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call ``call`` on the clock's own thread when ``seconds`` have passed on this clock.

        ``call`` must not block: it hands its work on.
        """
        with self._changed:
            heapq.heappush(self._calls, (self.now() + seconds, next(self._order), call))
            self._changed.notify()

    def sleep(self, seconds: float) -> None:
        """Wait for ``seconds`` of this clock."""
        end = self.now() + seconds
        while self.now() < end:
            self.pause(end, threading.Event())

    def pause(self, end: float, event: threading.Event) -> None:
        """Wait until it is ``end`` on this clock, or less if ``event`` is set before.

        Look at the clock again afterwards: when it is put forward, that sets the event for a
        moment.
        """
        key = object()
        with self._changed:
            self._pauses[key] = event
            left = end - self.now()
        try:
            event.wait(max(left, 0) / self.speed)
        finally:
            with self._changed:
                del self._pauses[key]

    def stop(self) -> None:
        """Forget every call that is still to come."""
        with self._changed:
            self._stopped = True
            self._calls.clear()
            self._changed.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _end_pauses(self, pausing: dict[object, threading.Event]) -> None:
        # Who is about to wait misses a pulse: so they go on until all have noticed.
        while pausing:
            for event in pausing.values():
                event.set()
                event.clear()
            time.sleep(_PULSE)
            pausing = {key: event for key, event in pausing.items() if key in self._pauses}

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
