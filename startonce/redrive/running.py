"""Takes the messages out of the failure queue and has them redriven, a few at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

from botocore.exceptions import ClientError

from startonce.redrive.failure_messages import (
    EventFailure,
    Failure,
    Received,
    StepFailure,
    parse,
)
from startonce.redrive.failure_queue import FailureQueue
from startonce.redrive.redriving import Outcome, Redriver, Result

_WORKERS = 8
_HOLD_EVERY = 60
"""Seconds after which messages that are still at work are hidden for another while."""
_MOST_TRIES_LOOKED_UP = 100
_STALE_HANDLE = {"ReceiptHandleIsInvalid", "InvalidParameterValue"}

_FAILED_AGAIN = Result(Outcome.LEFT_ALONE, "has failed again: its cause is not mended yet")

Show = Callable[[Failure, Result], None]


class Asked:
    """Which messages are meant.

    Args:
        ids: of messages, executions, requests or SNS messages; empty for all.
    """

    def __init__(self, ids: Collection[str]) -> None:
        self._ids = frozenset(ids)
        self._missing = set(ids)

    def wants(self, failure: Failure) -> bool:
        """Whether this is one of them."""
        own = {failure.message.message_id, *failure.names}
        self._missing -= own
        return not self._ids or bool(self._ids & own)

    @property
    def missing(self) -> list[str]:
        """The IDs of which no message has been seen."""
        return sorted(self._missing)


@dataclass
class Tally:
    """How many messages came to which end, and why."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[tuple[Outcome, str]] = field(default_factory=Counter)

    def add(self, result: Result) -> None:
        """Count one more."""
        self.outcomes[result.outcome] += 1
        self.reasons[result.outcome, result.reason] += 1

    @property
    def is_all_done(self) -> bool:
        """Whether nothing is left that was looked at."""
        return not self.outcomes[Outcome.LEFT_ALONE] and not self.outcomes[Outcome.FAILED]


@dataclass(frozen=True)
class Listed:
    """A message as it is listed.

    Attributes:
        failure: without the event and the body, which may be large.
        expected: what a redrive would do.
        tries: of the step that failed, if they were looked up.
    """

    failure: Failure
    expected: Result
    tries: str | None = None


def list_failures(queue: FailureQueue, redriver: Redriver) -> Iterator[Listed]:
    """The messages in no order; each is in the queue again at the end."""
    with queue:
        for batch in queue.batches():
            for failure in map(parse, batch):
                yield Listed(_light(failure), redriver.expect(failure))


def with_tries(listed: list[Listed], redriver: Redriver) -> list[Listed]:
    """The same, with the tries of the steps: a call for each, so not where there are many."""
    if sum(isinstance(one.failure, StepFailure) for one in listed) > _MOST_TRIES_LOOKED_UP:
        return listed

    def looked_up(one: Listed) -> Listed:
        if isinstance(one.failure, StepFailure):
            return replace(one, tries=redriver.tries(one.failure))
        return one

    with ThreadPoolExecutor(_WORKERS) as pool:
        return list(pool.map(looked_up, listed))


def redrive_all(
    queue: FailureQueue, redriver: Redriver, asked: Asked, dry_run: bool, show: Show
) -> None:
    """Redrive those that are asked for; ``show`` is told of each when it is done.

    Raises:
        ClientError, BotoCoreError: what concerns every message. Those that are done by then are
            shown and deleted, and the others are in the queue again.
    """
    run = _Run(queue, redriver, dry_run, show)
    # The queue is the inner one: it gives its messages back before the threads are waited for.
    with ThreadPoolExecutor(_WORKERS) as pool, queue:
        try:
            for batch in queue.batches():
                run.handle(pool, [one for one in map(parse, batch) if asked.wants(one)])
        except BaseException:
            redriver.hurry()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def discard_messages(queue: FailureQueue, asked: Asked, dry_run: bool, show: Show) -> None:
    """Delete the messages that are asked for; ``show`` is told of each before."""
    with queue:
        for batch in queue.batches():
            for failure in filter(asked.wants, map(parse, batch)):
                would = "would be deleted" if dry_run else "is deleted"
                show(failure, Result(Outcome.DISCARDED, f"its message {would}"))
                if not dry_run:
                    queue.delete(failure.message)


class _Run:
    def __init__(self, queue: FailureQueue, redriver: Redriver, dry_run: bool, show: Show) -> None:
        self._queue = queue
        self._work = redriver.foresee if dry_run else redriver.redrive
        self._dry_run = dry_run
        self._show = show
        self._redriven: dict[str, int] = {}

    def handle(self, pool: ThreadPoolExecutor, failures: list[Failure]) -> None:
        """Redrive them at the same time; delete what is done, here, on the one thread."""
        again = [one for one in failures if self._failed_again(one)]
        for failure in again:
            self._show(failure, _FAILED_AGAIN)
        at_work = {pool.submit(self._work, one): one for one in failures if one not in again}
        wrong: BaseException | None = None
        while at_work:
            done, _ = wait(at_work, timeout=_HOLD_EVERY, return_when=FIRST_COMPLETED)
            if not done:
                self._queue.hold([one.message for one in at_work.values()])
            for future in done:
                wrong = self._settle(at_work.pop(future), future) or wrong
        if wrong is not None:
            raise wrong

    def _settle(self, failure: Failure, future: Future[Result]) -> BaseException | None:
        error = future.exception()
        if error is None:
            if future.result().outcome is Outcome.REDRIVEN:
                self._redriven |= {name: _redrives(failure) for name in failure.names}
            self._show(failure, self._left_the_queue(failure.message, future.result()))
        return error

    def _failed_again(self, failure: Failure) -> bool:
        """Whether this run's own redrive led to it. Without this, what is not mended would go
        round and round.
        """
        if isinstance(failure, StepFailure) and failure.redrive == "useless":
            return False  # no redrive of this one anyway, and that says more
        before = (self._redriven.get(name) for name in failure.names)
        return any(one is not None and one < _redrives(failure) for one in before)

    def _left_the_queue(self, message: Received, result: Result) -> Result:
        if not result.may_leave or self._dry_run:
            return result
        try:
            self._queue.delete(message)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _STALE_HANDLE:
                raise
            reason = f"{result.outcome.value}, but its message is still there: run this again"
            return Result(Outcome.FAILED, reason, result.detail)
        return result


def _redrives(failure: Failure) -> int:
    """How often the execution had been redriven; -1 before it was even started."""
    return failure.redrive_count if isinstance(failure, StepFailure) else -1


def _light(failure: Failure) -> Failure:
    message = replace(failure.message, body="")
    if isinstance(failure, EventFailure):
        return replace(failure, message=message, event=None)
    return replace(failure, message=message)
