"""The figures of a run, as a table."""

from __future__ import annotations

from rich.table import Table

from tests.load.run import Figures

_ROWS = (
    ("executions", "executions"),
    ("  succeeded", "succeeded"),
    ("  failed", "failed"),
    ("records", "records"),
    ("notifications", "notifications"),
    ("messages in the failure queue", "waiting"),
    ("events lost", "lost"),
    ("events with something twice", "twice"),
)


def table(figures: Figures) -> Table:
    shown = Table("", "with faults", "after a redrive", title=f"{figures.first.events} events")
    for column in shown.columns[1:]:
        column.justify = "right"
    for name, field in _ROWS:
        shown.add_row(
            name, str(getattr(figures.first, field)), str(getattr(figures.redriven, field))
        )
    shown.add_section()
    shown.add_row("attempts of the invoker", str(figures.attempts))
    shown.add_row("faults that struck", str(sum(figures.faults.values())))
    for kind, count in sorted(figures.faults.items()):
        shown.add_row(f"  {kind}", str(count))
    shown.add_row("seconds", f"{figures.seconds:.0f}")
    return shown
