"""docs/failures.md, "SNS delivers a message twice": two events with two request IDs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import start_cloud, wait_for
from tests.failures.conftest import SPEED
from tests.failures.matrix import Row, shows
from tests.failures.trouble import Trouble
from tests.service import deploy_service


@pytest.fixture
def by_message_id(tmp_path: Path) -> Iterator[Trouble]:
    cloud = start_cloud("--speed", SPEED)
    folder = tmp_path / "service"
    folder.mkdir()
    yield Trouble(deploy_service(cloud, folder, "--param=executionName=messageId"))
    assert cloud.stop() == 0


@shows("SNS delivers twice, named by request ID (the default)")
def test_named_by_request_id(trouble: Trouble, row: Row) -> None:
    event = trouble.publish()
    wait_for(lambda: trouble.outcome(event).executions)
    trouble.deliver_again(event)
    trace = trouble.end(event, row, attempts=2)
    assert [attempt.outcome for attempt in trace.attempts] == ["started", "started"]
    assert len({attempt.request_id for attempt in trace.attempts}) == 2


@shows("SNS delivers twice, named by message ID")
def test_named_by_message_id(by_message_id: Trouble, row: Row) -> None:
    event = by_message_id.publish()
    wait_for(lambda: by_message_id.outcome(event).executions)
    by_message_id.deliver_again(event)
    trace = by_message_id.end(event, row, attempts=2)
    assert [attempt.outcome for attempt in trace.attempts] == ["started", "already_started"]
    assert len({attempt.request_id for attempt in trace.attempts}) == 2
    assert set(by_message_id.outcome(event).executions) == {event.message_id}


def test_by_message_id_a_redrive_knows_the_name(by_message_id: Trouble) -> None:
    """The record in the failure queue has a request ID that names nothing there."""
    by_message_id.fail("invoker:exception-after:3")
    event = by_message_id.publish()
    wait_for(lambda: by_message_id.outcome(event).failures)
    by_message_id.service.startonce("redrive", "--all")
    outcome = by_message_id.outcome(event)
    assert (set(outcome.executions), outcome.failures) == ({event.message_id}, [])
