"""The short form of `make load`, and that it would see a loss."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, start_cloud, wait_for
from tests.docs.markdown import blocks, commands
from tests.ledger import Ledger
from tests.load.fault_mix import MIX
from tests.load.run import Figures, count
from tests.service import Service, deploy_service, operation

DOCUMENT = "docs/failures.md"
SCENARIOS = {"By thousands"}
"""The sections with commands that are tried here."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    cloud = start_cloud("--speed", "600")
    yield deploy_service(cloud, tmp_path)
    assert cloud.stop() == 0


def test_make_load_in_short_loses_nothing_and_prints_what_the_page_shows() -> None:
    [command] = commands(DOCUMENT)["By thousands"]
    [shown] = [block.text for block in blocks(DOCUMENT) if block.language == "text"]
    assert command == "make load EVENTS=5000\n"
    done = subprocess.run(
        ["bash", "-c", command.replace("5000", "300")],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert figures(done.stdout)["events lost"] == ["0", "0"]
    assert figures(done.stdout)["events with something twice"] == ["0", "0"]
    # After the redrive each event has its execution and its record.
    assert figures(done.stdout)["executions"][1] == figures(done.stdout)["records"][1] == "300"
    assert int(figures(done.stdout)["faults that struck"][0]) > 150
    # Kinds that are rare need not strike among so few.
    assert set(figures(done.stdout)) <= set(figures(shown))
    assert len(figures(done.stdout)) > len(figures(shown)) - 3


def figures(text: str) -> dict[str, list[str]]:
    """The columns of the printed table, by its first."""
    rows = [line.split("│")[1:-1] for line in text.splitlines() if line.startswith("│")]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}


def test_the_mix_is_30_percent_of_each_function() -> None:
    assert {function: round(sum(kinds.values()), 6) for function, kinds in MIX.items()} == {
        "invoker": 30,
        "recordOperation": 30,
        "notifyUser": 30,
    }


def test_a_lost_event_is_seen(service: Service) -> None:
    # Lambda gives up, and its record is not taken: the one way in which an event is lost.
    service.cloud.add_faults("invoker:exception:3", "sqs.SendMessage:service-error")
    message = operation()
    service.publish(message)
    wait_for(lambda: service.cloud.struck().get("sqs.SendMessage:service-error"))
    counted = count(Ledger(service).look(), [str(message["user_id"])])
    assert counted.lost == 1
    assert Figures(3, {}, 0, counted, counted).broken_promises[0] == "an event is lost"
