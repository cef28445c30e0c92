"""The short form of `make load`, and that it would see a loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import start_cloud, wait_for
from tests.ledger import Ledger
from tests.load.fault_mix import MIX
from tests.load.run import count, run
from tests.service import Service, deploy_service, operation

EVENTS = 300


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    cloud = start_cloud("--speed", "600")
    yield deploy_service(cloud, tmp_path)
    assert cloud.stop() == 0


def test_a_fault_on_30_percent_of_the_attempts_loses_nothing(service: Service) -> None:
    figures = run(service, EVENTS, percent=30, progress=lambda ended: None)
    assert (figures.first.lost, figures.first.twice) == (0, 0)
    assert (figures.redriven.lost, figures.redriven.twice) == (0, 0)
    # Each event has its execution now, and its record.
    assert figures.redriven.executions == EVENTS
    assert figures.redriven.records == EVENTS
    # Faults did strike: the run shows something.
    assert set(figures.faults) > {"invoker:exception-after", "notifyUser:throttle"}
    assert sum(figures.faults.values()) > EVENTS * 0.5


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
    assert (counted.lost, counted.is_as_promised) == (1, False)
