"""From starting the emulator's process to the end of the first execution."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

from benchmarks.emulators import Emulator, running
from benchmarks.measure import Figure
from benchmarks.service import Service


def first_execution(emulator: Emulator, runs: int) -> Sequence[Figure]:
    """The whole way with its parts: to listen, to deploy with ``sls``, to run one message."""
    whole, listening, deploying, message = zip(*(_once(emulator) for _ in range(runs)), strict=True)
    return [
        Figure("idle to first execution", median(whole), "s"),
        Figure("  until it listens", median(listening), "s"),
        Figure("  sls deploy", median(deploying), "s"),
        Figure("  first message", median(message), "s"),
    ]


def _once(emulator: Emulator) -> tuple[float, float, float, float]:
    with running(emulator) as up:
        listens = time.monotonic() - up.started_at
        service = Service(up)
        deployed = time.monotonic() - up.started_at
        message = service.send(1)
        return deployed + message, listens, deployed - listens, message
