"""``python -m tests.load``, which is ``make load``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.conftest import start_cloud
from tests.load.report import table
from tests.load.run import Figures, run
from tests.service import deploy_service


@click.command()
@click.option("--events", default=5000, show_default=True, type=click.IntRange(1))
@click.option("--faulty", default=30.0, show_default=True, help="Percent of the attempts.")
@click.option("--speed", default=60.0, show_default=True, help="Of the local cloud's clock.")
def main(events: int, faulty: float, speed: float) -> None:
    """Publish messages to the deployed service, make attempts fail, count where each event is.

    Exit codes: 0 none is lost and nothing is there twice, 1 otherwise, 2 wrong use.
    """
    console = Console(highlight=False)
    figures = _measured(console, events, faulty, speed)
    console.print(table(figures))
    if figures.broken_promises:
        console.print(f"[bold red]Not as promised:[/] {'; '.join(figures.broken_promises)}.")
        sys.exit(1)
    console.print("[bold green]As promised:[/] 0 lost, 0 twice.")


def _measured(console: Console, events: int, faulty: float, speed: float) -> Figures:
    columns = (TextColumn("events at an end"), BarColumn(), MofNCompleteColumn())
    cloud = start_cloud("--speed", str(speed))
    try:
        with tempfile.TemporaryDirectory() as folder:
            service = deploy_service(cloud, Path(folder))
        with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
            task = progress.add_task("", total=events)
            return run(
                service, events, faulty, lambda ended: progress.update(task, completed=ended)
            )
    finally:
        cloud.stop()


if __name__ == "__main__":
    main()
