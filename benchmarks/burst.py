"""50 messages published at once, until all their executions ended; and one message alone."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.emulators import Emulator, running
from benchmarks.measure import Figure
from benchmarks.service import Service

MESSAGES = 50
_AGAIN = 3
_SINGLE = 25


def burst(
    emulator: Emulator,
    runs: int,
    messages: int = MESSAGES,
    again: int = _AGAIN,
    single: int = _SINGLE,
) -> Sequence[Figure]:
    """The first burst that an emulator sees, in ``runs`` emulators, and further ones; then single
    messages, when all functions are warm.
    """
    first: list[float] = []
    further: list[float] = []
    alone: list[float] = []
    for _ in range(runs):
        with running(emulator) as up:
            service = Service(up)
            first.append(service.send(messages))
            further += [service.send(messages) for _ in range(again)]
            alone += [service.send(1) for _ in range(single)]
    return [
        Figure("burst", median(first), "s"),
        Figure("  burst again", median(further), "s"),
        Figure("warm message", median(alone) * 1000, "ms"),
    ]
