"""The command ``startonce redrive``."""

from __future__ import annotations

import sys
from itertools import count
from urllib.parse import urlsplit

import click
from rich.console import Console

from startonce.aws import Aws
from startonce.endings import end_on_signals, errors_in_one_line
from startonce.redrive.failure_messages import Failure
from startonce.redrive.failure_queue import FailureQueue
from startonce.redrive.redriving import Redriver, Result
from startonce.redrive.report import Report
from startonce.redrive.running import (
    Asked,
    Tally,
    discard_messages,
    list_failures,
    redrive_all,
    with_tries,
)
from startonce.redrive.target import Target, find_target
from startonce.stack import SERVICE

_console = Console(highlight=False)


def _checked_endpoint(
    context: click.Context, option: click.Parameter, endpoint: str | None
) -> str | None:
    if endpoint is None:
        return None
    try:
        parts = urlsplit(endpoint)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise click.BadParameter(f"{endpoint!r} is no URL", context, option)
    return endpoint


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="Redrive all that can be.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing.")
@click.option(
    "--may-repeat",
    is_flag=True,
    help="Redrive also where a step may do again what cannot be taken back: notify a user.",
)
@click.option("--discard", is_flag=True, help="Delete the messages with these IDs for good.")
@click.option("--stage", help=f"Of the stack {SERVICE}-STAGE.  [default: dev]")
@click.option("--stack-name", help="Of a service that startonce was copied into.")
@click.option(
    "--endpoint",
    envvar="AWS_ENDPOINT_URL",
    show_envvar=True,
    callback=_checked_endpoint,
    help="Of the local cloud. Without it: AWS, with your own credentials.",
)
@click.option("--region", envvar=["AWS_REGION", "AWS_DEFAULT_REGION"], help="Without it: your own.")
def redrive(
    ids: tuple[str, ...],
    everything: bool,
    dry_run: bool,
    may_repeat: bool,
    discard: bool,
    stage: str | None,
    stack_name: str | None,
    endpoint: str | None,
    region: str | None,
) -> None:
    """Send what is in the failure queue on its way again.

    Without --all and IDs it lists the messages. An ID is that of the message, the execution's name,
    the request ID or SNS's message ID.

    An event whose execution has started is never started again, and a message leaves the queue only
    when its redrive is known to have begun. So this can be interrupted, run again, and run by two
    people at once.

    Exit codes: 0 all that was asked for is done, and with --all nothing is left; 1 something is
    left that needs a person, or that somebody else was reading, or an error; 2 wrong use; 128 + N a
    signal N came.
    """
    _check(ids, everything, dry_run, may_repeat, discard, stage, stack_name)
    end_on_signals()
    with errors_in_one_line():
        aws = Aws(endpoint, region)
        target = find_target(aws, stack_name or f"{SERVICE}-{stage or 'dev'}")
        session = _Session(aws, target, may_repeat)
        if discard:
            is_done = session.discard(ids, dry_run)
        elif ids or everything or dry_run:
            is_done = session.redrive(ids, dry_run)
        else:
            is_done = session.show()
    sys.exit(0 if is_done else 1)


class _Session:
    """One run of the command; each method tells whether all that was asked for is done."""

    def __init__(self, aws: Aws, target: Target, may_repeat: bool) -> None:
        self._target = target
        self._queue = FailureQueue(aws.client("sqs"), target.failure_queue_url)
        self._redriver = Redriver(aws, target, may_repeat)
        self._report = Report(_console)
        self._tally = Tally()

    def show(self) -> bool:
        waiting, being_read = self._queue.counts()
        listed = []
        with _console.status("Reading the failure queue") as status:
            for one in list_failures(self._queue, self._redriver):
                listed.append(one)
                status.update(f"Reading the failure queue: {len(listed)} of about {waiting}")
            listed = with_tries(listed, self._redriver)
        listed.sort(key=lambda one: one.failure.message.sent_at)
        more = self._queue.may_hold_more
        self._report.listing(self._target.stack_name, listed, being_read, more)
        return True

    def redrive(self, ids: tuple[str, ...], dry_run: bool) -> bool:
        asked = Asked(ids)
        # Only now: AWS counts with up to a minute's delay, and then this run's own too.
        waiting, being_read = self._queue.counts()
        with _console.status("Redriving") as status:

            def show(failure: Failure, result: Result) -> None:
                self._tally.add(result)
                self._report.done(failure, result, dry_run)
                number = self._tally.outcomes.total()
                status.update(f"Redriving: {number} of about {len(ids) or waiting}")

            try:
                redrive_all(self._queue, self._redriver, asked, dry_run, show)
            except BaseException:
                self._report.summary(self._tally, [], dry_run)
                self._report.ended_early()
                raise
        self._report.summary(self._tally, asked.missing, dry_run)
        saw_all = bool(ids) or self._saw_all(being_read)
        return self._tally.is_all_done and not asked.missing and saw_all

    def _saw_all(self, being_read: int) -> bool:
        self._report.unseen(being_read, self._queue.may_hold_more)
        return not being_read and not self._queue.may_hold_more

    def discard(self, ids: tuple[str, ...], dry_run: bool) -> bool:
        asked, numbers = Asked(ids), count(1)

        def show(failure: Failure, result: Result) -> None:
            self._report.discarded(next(numbers), failure, result)
            self._tally.add(result)

        discard_messages(self._queue, asked, dry_run, show)
        self._report.summary(self._tally, asked.missing, dry_run)
        return not asked.missing


def _check(
    ids: tuple[str, ...],
    everything: bool,
    dry_run: bool,
    may_repeat: bool,
    discard: bool,
    stage: str | None,
    stack_name: str | None,
) -> None:
    if everything and ids:
        raise click.UsageError("--all or IDs, not both")
    if discard and (everything or not ids):
        raise click.UsageError("--discard wants IDs, and never --all")
    if discard and may_repeat:
        raise click.UsageError("--discard or --may-repeat, not both")
    if may_repeat and not (ids or everything or dry_run):
        raise click.UsageError("--may-repeat wants --all or IDs")
    if stage is not None and stack_name is not None:
        raise click.UsageError("--stage or --stack-name, not both")
    if any(not one.strip() for one in ids):
        raise click.UsageError("an ID is empty")
