"""Publishes, waits until nothing moves any more, redrives, and counts each time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests.ledger import Ledger, Outcome
from tests.load.fault_mix import rates
from tests.service import Service, operation

PUBLISHERS = 8
LOOK_EVERY = 1.0
LONGER_THAN_ANY_RETRY = 7 * 3600
"""Seconds: Lambda gives an event up after six hours."""


@dataclass(frozen=True)
class Count:
    """Where the events are.

    Attributes:
        waiting: messages in the failure queue.
        for_a_person: events that a redrive leaves alone.
        lost: events that are in none of the places of :class:`tests.ledger.Outcome`.
        twice: events with more than one execution, record or notification.
    """

    events: int
    executions: int
    succeeded: int
    failed: int
    records: int
    notifications: int
    waiting: int
    for_a_person: int
    lost: int
    twice: int


@dataclass(frozen=True)
class Figures:
    """What a run came to.

    Attributes:
        attempts: of the invoker.
        faults: how many struck, by ``FUNCTION:KIND``.
        seconds: until nothing moved any more.
    """

    attempts: int
    faults: dict[str, int]
    seconds: float
    first: Count
    redriven: Count

    @property
    def broken_promises(self) -> list[str]:
        """What came out otherwise; empty when all is as promised."""
        after = self.redriven
        return [
            what
            for what, is_so in (
                ("an event is lost", self.first.lost or after.lost),
                ("something is there twice", self.first.twice or after.twice),
                ("an event has no execution after the redrive", after.executions != after.events),
                ("an event has no record after the redrive", after.records != after.events),
                ("the redrive left what it could redrive", after.waiting != after.for_a_person),
            )
            if is_so
        ]


def run(service: Service, events: int, percent: float, progress: Callable[[int], None]) -> Figures:
    """Publish ``events`` messages with faults on ``percent`` of the attempts, then redrive.

    ``progress`` is told how many events are at an end.
    """
    began = time.monotonic()
    service.cloud.add_faults(*rates(percent))
    users = _publish(service, events)
    ledger = Ledger(service)
    _wait_until_settled(ledger, users, progress)
    service.cloud.clear_faults()
    # What could still be delivered again is due now.
    service.cloud.advance(LONGER_THAN_ANY_RETRY)
    first = count(_wait_until_settled(ledger, users, progress), users)
    seconds = time.monotonic() - began
    faults = service.cloud.struck()
    # 1: some may have notified already, and wait for a person.
    service.startonce("redrive", "--all", code=None, seconds=600)
    redriven = count(_wait_until_settled(ledger, users, progress), users)
    return Figures(_attempts(service), faults, seconds, first, redriven)


def _publish(service: Service, events: int) -> list[str]:
    messages = [operation() for _ in range(events)]
    with ThreadPoolExecutor(PUBLISHERS) as publishers:
        list(publishers.map(service.publish, messages))
    return [str(message["user_id"]) for message in messages]


def _wait_until_settled(
    ledger: Ledger, users: Sequence[str], progress: Callable[[int], None]
) -> dict[str, Outcome]:
    """The same picture twice, in which nothing runs and every event is somewhere.

    An event that is nowhere for two minutes is lost, and there is nothing to wait for.
    """
    before: Any = None
    last_change = time.monotonic()
    while True:
        found = ledger.look()
        ended = [user for user in users if user in found and not found[user].is_running]
        progress(len(ended))
        if found == before and len(ended) == len(users):
            return found
        if found != before:
            last_change = time.monotonic()
        if time.monotonic() - last_change > 120:
            return found
        before = found
        time.sleep(LOOK_EVERY)


def count(found: dict[str, Outcome], users: Sequence[str]) -> Count:
    outcomes = [found.get(user, Outcome()) for user in users]
    ends = [status for outcome in outcomes for status in outcome.executions.values()]
    return Count(
        events=len(users),
        executions=len(ends),
        succeeded=ends.count("SUCCEEDED"),
        failed=ends.count("FAILED"),
        records=sum(outcome.records for outcome in outcomes),
        notifications=sum(outcome.notifications for outcome in outcomes),
        waiting=sum(len(outcome.failures) for outcome in outcomes),
        for_a_person=sum(outcome.waits_for_a_person for outcome in outcomes),
        lost=sum(outcome.places == 0 for outcome in outcomes),
        twice=sum(max(outcome.figures) > 1 for outcome in outcomes),
    )


def _attempts(service: Service) -> int:
    pages = (
        service.aws.client("logs")
        .get_paginator("filter_log_events")
        .paginate(logGroupName=service.stack.invoker_log_group, filterPattern='"platform.report"')
    )
    return sum(len(page["events"]) for page in pages)
