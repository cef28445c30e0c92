"""Which faults the attempts meet."""

from __future__ import annotations

from collections.abc import Iterator

MIX: dict[str, dict[str, float]] = {
    "invoker": {
        "exception": 6,
        "exception-after": 6,
        "throttle": 6,
        "exit-after": 4,
        "memory": 3.8,
        "service-error-after": 4,
        "timeout-after": 0.2,  # few: each takes the function's five seconds, at every speed
    },
    "recordOperation": {
        "exit": 6,
        "exit-after": 6,
        "throttle": 8,
        "memory-after": 4,
        "service-error-after": 4,
        "exception": 2,
    },
    "notifyUser": {
        "throttle": 18,
        "exception": 4,
        "exit-after": 4,
        "service-error-after": 4,
    },
}
"""Percent of a function's attempts, 30 in all for each function."""


def rates(percent: float) -> Iterator[str]:
    """The mix with ``percent`` of each function's attempts in all, as ``--fault`` takes it."""
    for function, kinds in MIX.items():
        whole = sum(kinds.values())
        for kind, share in kinds.items():
            yield f"{function}:{kind}:{share * percent / whole:.4f}%"
