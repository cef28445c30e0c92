"""docs/failures.md, "Deployments, processes, people": what happens around the running service."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from startonce.deploy import deploy
from tests.conftest import start_cloud, wait_for
from tests.failures.matrix import Row, shows
from tests.failures.trouble import Event, Trouble
from tests.service import deploy_service

# Between the update of the stack and the step that sets the variables lie seconds. They are real,
# so the pauses between attempts must not be much shorter than they are.
SPEED = "20"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "service"
    made.mkdir()
    return made


@pytest.fixture
def slow_trouble(folder: Path) -> Iterator[Trouble]:
    cloud = start_cloud("--speed", SPEED)
    yield Trouble(deploy_service(cloud, folder))
    assert cloud.stop() == 0


def redeploy(trouble: Trouble, folder: Path, file: str, old: str, new: str) -> None:
    path = folder / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    deploy(folder, trouble.cloud.endpoint)


@contextmanager
def flowing(trouble: Trouble) -> Iterator[list[Event]]:
    """Messages are published all the while."""
    events: list[Event] = []
    stop = threading.Event()

    def publish() -> None:
        while not stop.wait(0.1):
            events.append(trouble.publish())

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        yield events
    finally:
        stop.set()
        publisher.join()


@shows("a redeployment while messages flow")
def test_a_redeployment(slow_trouble: Trouble, folder: Path, row: Row) -> None:
    with flowing(slow_trouble) as events:
        redeploy(slow_trouble, folder, "handlers/invoker.py", '"attempt"', '"the attempt"')
        redeploy(slow_trouble, folder, "serverless.yml", "memorySize: 256", "memorySize: 320")
    assert len(events) > 20

    def figures() -> set[tuple[int, int, int]]:
        found = slow_trouble.ledger.look()
        return {found[event.user].figures for event in events}

    wait_for(lambda: figures() == {row.figures}, seconds=60)
    found = slow_trouble.ledger.look()
    assert not any(found[event.user].failures for event in events)


@shows("the definition changes under a running execution")
def test_the_definition_changes(slow_trouble: Trouble, folder: Path, row: Row) -> None:
    slow_trouble.fail("recordOperation:throttle:100%")
    event = slow_trouble.publish()
    wait_for(lambda: slow_trouble.outcome(event).is_running)
    redeploy(
        slow_trouble,
        folder,
        "statemachines/operation_log.yml",
        "      Next: NotifyUser\n",
        "      Next: Between\n    Between:\n      Type: Pass\n      Next: NotifyUser\n",
    )
    slow_trouble.mend()
    slow_trouble.end(event, row)
    later = slow_trouble.publish()
    slow_trouble.end(later, row)
    assert "Between" not in states(slow_trouble, event)
    assert "Between" in states(slow_trouble, later)


def states(trouble: Trouble, event: Event) -> list[str]:
    return [
        one["stateEnteredEventDetails"]["name"]
        for one in trouble.history(event)
        if "stateEnteredEventDetails" in one
    ]


@shows("SIGKILL of the workers that wait")
def test_workers_that_wait_are_killed(trouble: Trouble, row: Row) -> None:
    trouble.end(trouble.publish(), row)
    assert trouble.kill_workers() >= 3
    trouble.end(trouble.publish(), row)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(
            "states.StartExecution", marks=shows("SIGKILL of the invoker's worker while it works")
        ),
        pytest.param(
            "dynamodb.PutItem",
            marks=shows("SIGKILL of RecordOperation's worker while it works"),
        ),
        pytest.param("sns.Publish", marks=shows("SIGKILL of NotifyUser's worker while it works")),
    ],
)
def test_a_worker_is_killed(trouble: Trouble, row: Row, call: str) -> None:
    before = trouble.cloud.struck().get(f"{call}:hang", 0)
    trouble.fail(f"{call}:hang")  # so that it works for a while
    event = trouble.publish()
    wait_for(lambda: trouble.cloud.struck().get(f"{call}:hang", 0) > before)
    assert trouble.kill_workers() >= 1
    trouble.end(event, row, attempts=None)
    trouble.put_right(event, row)


@shows("somebody stops the execution")
def test_somebody_stops_the_execution(trouble: Trouble, row: Row) -> None:
    trouble.fail("recordOperation:throttle:100%")
    event = trouble.publish()
    wait_for(lambda: trouble.outcome(event).is_running)
    arn = trouble.execution_arn(event)
    trouble.client("stepfunctions").stop_execution(executionArn=arn)
    trouble.mend()
    trouble.end(event, row)
    assert set(trouble.outcome(event).executions.values()) == {"ABORTED"}
    trouble.put_right(event, row)
