"""``python -m tests.conformance.table``: run the suite against each emulator, write the table.

Exit codes: 0 the local cloud behaves as AWS but for its known gaps, 1 it does not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import click
from rich.console import Console

from benchmarks.emulators import MINISTACK_1_5_33, REPOSITORY, Emulator, Running, running
from tests.conformance.known_gaps import KNOWN_GAPS, NOT_COVERED

COMMAND = "make conformance-table"
TABLE = REPOSITORY / "docs" / "conformance.md"
REPORTS = REPOSITORY / ".make" / "conformance"
"""The last report of each contender, for a table that renews one of them only."""
SPEED = 60
PATIENCE = 8
"""Seconds; an emulator that does not show a behaviour is waited for this long each time."""
LONGEST_RUN = 3_000
_WRONG = {"missing": "not as on AWS", "mended": "no gap any more"}
_SIGNS = {"shown": "yes", "missing": "no", "gap": "gap", "mended": "yes"}


@dataclass(frozen=True)
class Contender:
    """What the suite runs against.

    Attributes:
        emulator: None for the local cloud, which the suite starts itself.
    """

    name: str
    emulator: Emulator | None = None
    configuration: str | None = None
    workers: int = 2


CONTENDERS = (
    Contender("startonce"),
    Contender(
        "moto 5.2.5",
        Emulator(
            "moto",
            (
                str(Path(sys.executable).parent / "moto_server"),
                "-H",
                "127.0.0.1",
                "-p",
                "{port}",
            ),
            {"MOTO_PORT": "{port}"},
        ),
        # Without Docker its Lambda answers with a constant.
        configuration=json.dumps(
            {"stepfunctions": {"execute_state_machine": True}, "lambda": {"use_docker": False}}
        ),
        workers=6,
    ),
    Contender(
        "ministack 1.5.33",
        Emulator(
            MINISTACK_1_5_33.name,
            MINISTACK_1_5_33.command,
            # Its own ways to make waits shorter: 1 s and 2 s between attempts are its default.
            {**MINISTACK_1_5_33.variables, "SFN_WAIT_SCALE": str(1 / SPEED)},
        ),
        workers=6,
    ),
)


@dataclass(frozen=True)
class Behaviour:
    """A test, as people read it.

    Attributes:
        area: its file.
        key: as in ``KNOWN_GAPS``.
    """

    key: str
    area: str = field(compare=False)
    text: str = field(compare=False)
    source: str = field(compare=False)


Results = dict[Behaviour, str]
"""``shown``, ``missing``, ``gap``, or ``mended``: a known gap that is none any more."""


@click.command()
@click.option("--write", default=TABLE, type=click.Path(path_type=Path), show_default=True)
@click.option(
    "--only", multiple=True, help="Run this contender only; of the others take the last reports."
)
def main(write: Path, only: Sequence[str]) -> None:
    """Run the suite against startonce, moto and ministack, and write the table."""
    console = Console(highlight=False)
    results: dict[str, Results] = {}
    for contender in CONTENDERS:
        report = REPORTS / f"{contender.name}.xml"
        if not only or contender.name.startswith(tuple(only)):
            with console.status(contender.name):
                _run(contender, report)
        if not report.exists():
            continue
        results[contender.name] = dict(_read(report))
        console.print(f"{contender.name}: {_count(results[contender.name])}")
    write.write_text("\n".join(_document(results)) + "\n")
    ours = results.get("startonce", {})
    wrong = [(one.key, result) for one, result in ours.items() if result in _WRONG]
    for key, result in wrong:
        console.print(f"[red]{_WRONG[result]}:[/] {key}", soft_wrap=True)
    sys.exit(1 if wrong else 0)


def _run(contender: Contender, report: Path) -> None:
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    environment = {**os.environ, "CONFORMANCE_ENDPOINT": "", "CONFORMANCE_SPEED": ""}
    with ExitStack() as stack:
        if contender.emulator is not None:
            up = stack.enter_context(running(contender.emulator))
            _configure(up, contender.configuration)
            environment |= {
                "CONFORMANCE_ENDPOINT": up.endpoint,
                "CONFORMANCE_SPEED": str(SPEED),
                "CONFORMANCE_PATIENCE": str(PATIENCE),
            }
        command = [sys.executable, "-m", "pytest", "tests/conformance", "-q", "--tb=no"]
        subprocess.run(
            [*command, "-n", str(contender.workers), f"--junitxml={report}"],
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.DEVNULL,
            timeout=LONGEST_RUN,
            check=False,
        )


def _configure(up: Running, configuration: str | None) -> None:
    if configuration is None:
        return
    request = urllib.request.Request(
        f"{up.endpoint}/moto-api/config", data=configuration.encode(), method="POST"
    )
    urllib.request.urlopen(request, timeout=30).close()


def _read(report: Path) -> Iterator[tuple[Behaviour, str]]:
    for case in ElementTree.parse(report).iter("testcase"):
        area = case.attrib["classname"].rpartition(".test_")[2]
        name = case.attrib["name"]
        properties = {one.attrib["name"]: one.attrib["value"] for one in case.iter("property")}
        behaviour = Behaviour(
            f"test_{area}.py::{name}", area, _sentence(name), properties.get("source", "")
        )
        yield behaviour, _result(case)


def _result(case: ElementTree.Element) -> str:
    failure = case.find("failure")
    if failure is not None and "XPASS(strict)" in failure.attrib.get("message", ""):
        return "mended"
    if failure is not None or case.find("error") is not None:
        return "missing"
    return "gap" if case.find("skipped") is not None else "shown"


def _sentence(name: str) -> str:
    """``test_the_answer_s_size[small]``: ``the answer's size: small``."""
    words, _, parameter = name.removeprefix("test_").rstrip("]").partition("[")
    sentence = words.replace("_s_", "'s ").replace("_", " ")
    return f"{sentence}: {parameter}" if parameter else sentence


def _count(results: Results) -> str:
    return f"{sum(_SIGNS[result] == 'yes' for result in results.values())} of {len(results)}"


def _document(results: Mapping[str, Results]) -> Iterator[str]:
    first = next(iter(results.values()))
    yield from (
        "# What behaves as on AWS",
        "",
        f"Written by `{COMMAND}`; not edited by hand. Each line is a test in `tests/conformance/`,",
        "which uses AWS's public APIs alone and names the page, or the recorded response, that it",
        "stands for. `make conformance ENDPOINT=aws` runs the same tests in your own AWS account.",
        "Moto runs without Docker and with its interpreter of state machines, ministack with its",
        "own settings for shorter waits. A run on AWS itself is not part of the table.",
        "",
        f"| | {' | '.join(results)} |",
        f"| --- | {' | '.join('---:' for _ in results)} |",
        f"| **behaviours shown** | {' | '.join(_count(one) for one in results.values())} |",
    )
    for area, behaviours in groupby(sorted(first, key=lambda one: one.area), lambda one: one.area):
        yield from _area(area, list(behaviours), results)
    yield from _gaps(first)
    yield from ("", "## What no test shows", "", *(f"- {text}" for text in NOT_COVERED))


def _area(
    area: str, behaviours: Sequence[Behaviour], results: Mapping[str, Results]
) -> Iterator[str]:
    yield from ("", f"## {area.replace('_', ' ').capitalize()}", "")
    yield f"| behaviour | {' | '.join(results)} |"
    yield f"| --- | {' | '.join('---' for _ in results)} |"
    counts = (
        _count({one: result for one, result in all_of.items() if one.area == area})
        for all_of in results.values()
    )
    yield f"| **all** | {' | '.join(counts)} |"
    for one in behaviours:
        signs = " | ".join(_SIGNS[all_of.get(one, "missing")] for all_of in results.values())
        yield f"| {_linked(one)} | {signs} |"


def _linked(behaviour: Behaviour) -> str:
    text = behaviour.text.replace("|", "\\|")
    if behaviour.source.startswith("https://"):
        return f"[{text}]({behaviour.source})"
    return f"{text} ({behaviour.source})"


def _gaps(behaviours: Results) -> Iterator[str]:
    texts = {behaviour.key: behaviour.text for behaviour in behaviours}
    yield from ("", "## Known gaps of startonce", "")
    if not KNOWN_GAPS:
        yield "None that a test shows."
    for key, reason in KNOWN_GAPS.items():
        yield f"- {texts.get(key, key)}: {reason}"


if __name__ == "__main__":
    main()
