"""What a message costs, and how much memory the emulator holds, after many messages.

Histories are kept, as on AWS, so they may grow with the messages. They are set aside by their size
as JSON, which is less than what they take in memory: the comparison is hard on the emulator.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import median

from benchmarks.measure import Figure
from benchmarks.service import Service

EARLY, MIDDLE, LATE = 100, 200, 2_000
_WINDOW = 20
_AT_ONCE = 20


def growth(service: Service, late: int = LATE) -> Sequence[Figure]:
    """Figures of an emulator that is new and has the service deployed."""
    counter = _Counter(service)
    early = counter.cost_at(EARLY)
    counter.send_until(MIDDLE)
    memory_before = service.emulator.resident_memory()
    late_cost = counter.cost_at(late)
    memory_after = service.emulator.resident_memory()
    history = _size_of_a_history(service)
    held = memory_after - history * late
    held_before = memory_before - history * MIDDLE
    return [
        Figure("growth: message 2,000 to message 100", late_cost / early, "x"),
        Figure("  message 100", early * 1000, "ms"),
        Figure(f"  message {late:,}", late_cost * 1000, "ms"),
        Figure("memory: after 2,000 to after 200 messages", held / held_before, "x"),
        Figure("  after 200 messages", memory_before / 1e6, "MB"),
        Figure(f"  after {late:,} messages", memory_after / 1e6, "MB"),
        Figure(f"  of which {late:,} histories as JSON", history * late / 1e6, "MB"),
    ]


class _Counter:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._sent = 0

    def send_until(self, total: int) -> None:
        while self._sent < total:
            count = min(_AT_ONCE, total - self._sent)
            self._service.send(count)
            self._sent += count

    def cost_at(self, number: int) -> float:
        """The median seconds of single messages around the ``number``-th, which is the last."""
        self.send_until(number - _WINDOW)
        costs = [self._service.send(1) for _ in range(_WINDOW)]
        self._sent += _WINDOW
        return median(costs)


def _size_of_a_history(service: Service) -> int:
    return len(json.dumps(service.a_history(), default=str))
