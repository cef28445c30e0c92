"""The figures side by side: a table for the terminal and one for the documentation."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from benchmarks.measure import TARGETS, Figure, Target

COMMAND = "make bench"


@dataclass(frozen=True)
class _Row:
    name: str
    ours: Figure
    theirs: Figure | None
    target: Target | None

    @property
    def is_met(self) -> bool | None:
        """None where nothing is asked."""
        if self.target is None:
            return None
        return self.target.is_met(self.ours.value, self.theirs.value if self.theirs else None)

    def cells(self) -> tuple[str, str, str, str, str, str]:
        """Name, startonce, the other, how many times less, the target, whether it is met."""
        verdict = {None: "", True: "met", False: "missed"}[self.is_met]
        return (
            self.name,
            _text(self.ours),
            _text(self.theirs),
            self._ratio(),
            self.target.text() if self.target else "",
            verdict,
        )

    def _ratio(self) -> str:
        if self.theirs is None or self.ours.unit in ("x", "MB") or self.ours.value <= 0:
            return ""
        return f"{self.theirs.value / self.ours.value:.1f} x"


class Report:
    """All figures of a run.

    Args:
        figures: by the emulator's name, startonce first.
        quick: the run was too short to mean anything.
    """

    def __init__(self, figures: Mapping[str, Sequence[Figure]], quick: bool = False) -> None:
        ours, *others = figures.values()
        self._others = list(figures)[1:]
        self._quick = quick
        theirs = {figure.name: figure for figure in others[0]} if others else {}
        targets = {target.row: target for target in TARGETS}
        self._rows = [
            _Row(figure.name, figure, theirs.get(figure.name), targets.get(figure.name))
            for figure in ours
        ]

    def missed(self) -> list[str]:
        """The rows whose target is missed."""
        return [row.name for row in self._rows if row.is_met is False]

    def table(self) -> Table:
        """For the terminal."""
        table = Table(title="too short to mean anything" if self._quick else None)
        for number, title in enumerate(self._titles()):
            table.add_column(title, justify="right" if 1 <= number <= 3 else "left")
        for row in self._rows:
            style = {None: "", True: "green", False: "red"}[row.is_met]
            table.add_row(*row.cells(), style=style)
        return table

    def markdown(self) -> str:
        """For the documentation."""
        return "\n".join(self._markdown_lines()) + "\n"

    def _markdown_lines(self) -> Iterator[str]:
        yield from (
            "# How fast it is",
            "",
            f"Written by `{COMMAND}`; not edited by hand. Both emulators run this repository's",
            "service, deployed with the real `sls deploy --stage local`, one after the other on a",
            f"machine with {os.cpu_count()} cores. Each figure is a median.",
            "",
            f"| {' | '.join(self._titles())} |",
            "| --- | ---: | ---: | ---: | --- | --- |",
        )
        for row in self._rows:
            # What stands under another row is set in by a character that Markdown keeps.
            cells = [cell.replace("  ", "&ensp;") for cell in row.cells()]
            yield f"| {' | '.join(cells)} |"
        yield from ("", *NOTES)

    def _titles(self) -> tuple[str, ...]:
        other = f"{self._others[0]} 1.5.33" if self._others else "-"
        return ("what", "startonce", other, "faster", "target", "")


NOTES = (
    "- **burst**: 50 messages published at once into a new emulator, until all their executions",
    "  ended; then the same again, into warm functions.",
    "- **warm message**: publishing one message to the end of its execution.",
    "- **idle to first execution**: starting the emulator's process, deploying, one message.",
    "- **growth**: single messages around number 100 and around number 2,000 of one process.",
    "- **memory**: resident memory of the emulator's own process, less its executions' histories,",
    "  which are kept as on AWS, counted by their size as JSON.",
    "- **Runtime API overhead**: an empty handler's invocation, less a dry run, less the processor",
    "  time of the handler's process.",
)


def _text(figure: Figure | None) -> str:
    if figure is None:
        return ""
    digits = {"s": 2, "ms": 1, "MB": 0, "x": 2}[figure.unit]
    return f"{figure.value:,.{digits}f} {figure.unit}"
