"""The rows of docs/failures.md, and the mark that a test shows one of them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.docs.markdown import tables

DOCUMENT = "docs/failures.md"
Figures = tuple[int, ...]
"""Executions, records, notifications."""


@dataclass(frozen=True)
class Row:
    """A way to fail, as the page has it.

    Attributes:
        place: where the event is when nothing moves any more.
        action: what the person on call types.
        then: the figures after that; None where the page has none.
    """

    title: str
    seen: str
    figures: Figures
    place: str
    action: str
    then: Figures | None

    @property
    def is_in_failure_queue(self) -> bool:
        return self.place.endswith("failure queue")


def _row(cells: list[str]) -> Row:
    title, seen, figures, place, action, then = cells
    return Row(title, seen, _figures(figures), place, action, _figures(then) if then else None)


def _figures(text: str) -> Figures:
    return tuple(int(figure) for figure in text.split(","))


ROWS = {cells[0]: _row(cells) for table in tables(DOCUMENT) for cells in table}
SHOWN: list[str] = []


def shows(title: str) -> pytest.MarkDecorator:
    """The test makes this row happen; its fixture ``row`` is the row."""
    SHOWN.append(title)
    return pytest.mark.row(title)
