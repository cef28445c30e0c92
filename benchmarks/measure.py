"""What a benchmark hands back, and the target that it is held to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import ge, le


@dataclass(frozen=True)
class Figure:
    """One number of one emulator.

    Attributes:
        name: the row in the table.
        unit: ``s``, ``ms``, ``MB`` or ``x``.
    """

    name: str
    value: float
    unit: str


@dataclass(frozen=True)
class Target:
    """A row of the table that must be good enough.

    Attributes:
        row: the figure's name.
        factor: for ``beside``, how many times less startonce's figure must be than the other
            emulator's; otherwise the most that startonce's own figure may be.
        beside: whether the other emulator is the measure.
    """

    row: str
    factor: float
    beside: bool

    def text(self) -> str:
        """For people."""
        return f"at least {self.factor:g} x" if self.beside else f"at most {self.factor:g}"

    def is_met(self, ours: float, theirs: float | None) -> bool | None:
        """None where there is nothing to compare with."""
        compare: Callable[[float, float], bool] = ge if self.beside else le
        if not self.beside:
            return compare(ours, self.factor)
        return None if theirs is None else compare(theirs / ours, self.factor)


TARGETS = (
    Target("burst", 4, beside=True),
    Target("warm message", 2, beside=True),
    Target("idle to first execution", 1, beside=True),
    Target("growth: message 2,000 to message 100", 1.2, beside=False),
    Target("memory: after 2,000 to after 200 messages", 1.5, beside=False),
    Target("Runtime API overhead", 3, beside=False),
)
"""In the order of the table."""
