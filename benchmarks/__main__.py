"""``python -m benchmarks``: run, print the table, write it, and say by the exit code how it was."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from benchmarks.burst import MESSAGES, burst
from benchmarks.emulators import MINISTACK, MINISTACK_1_5_33, STARTONCE, Emulator, running
from benchmarks.first_execution import first_execution
from benchmarks.growth import LATE, growth
from benchmarks.measure import Figure
from benchmarks.overhead import overhead
from benchmarks.report import Report
from benchmarks.service import Service

KINDS = ("first", "burst", "overhead", "growth")


@click.command()
@click.option("--only-startonce", is_flag=True, help="Leave the other emulator out.")
@click.option("--only", type=click.Choice(KINDS), multiple=True, help="Run only these kinds.")
@click.option("--quick", is_flag=True, help="A few messages: whether the benchmarks work at all.")
@click.option("--write", type=click.Path(path_type=Path), help="Write the table to this file.")
def main(only_startonce: bool, only: Sequence[str], quick: bool, write: Path | None) -> None:
    """Measure the deployed service in the local cloud, and beside ministack 1.5.33.

    Exit codes: 0 every target is met, 1 one is missed, 2 wrong use.
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    emulators = [STARTONCE] if only_startonce else [STARTONCE, MINISTACK_1_5_33]
    if not only_startonce and not MINISTACK.exists():
        raise click.UsageError("ministack is not installed: run `make bench`")
    figures: dict[str, list[Figure]] = {emulator.name: [] for emulator in emulators}
    for kind in only or KINDS:
        # Side by side, so that what else the machine does strikes both alike.
        for emulator in emulators:
            with console.status(f"{kind}: {emulator.name}"):
                figures[emulator.name] += _measure(kind, emulator, quick)
    report = Report(figures, quick)
    console.print(report.table())
    if write is not None:
        write.write_text(report.markdown())
    if not quick and report.missed():
        console.print(f"[bold red]Missed:[/] {', '.join(report.missed())}")
        sys.exit(1)


def _measure(kind: str, emulator: Emulator, quick: bool) -> Sequence[Figure]:
    if kind == "first":
        return first_execution(emulator, runs=1 if quick else 3)
    if kind == "burst":
        return burst(emulator, runs=1 if quick else 3, messages=3 if quick else MESSAGES)
    with running(emulator) as up:
        if kind == "overhead":
            return overhead(up, runs=5 if quick else 300)
        return growth(Service(up), late=220 if quick else LATE)


if __name__ == "__main__":
    main()
