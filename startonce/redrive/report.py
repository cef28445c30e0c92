"""What people read: one block for each message, one line for each redrive, and a summary."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.text import Text

from startonce.redrive.failure_messages import EventFailure, Failure, StepFailure, first_line
from startonce.redrive.redriving import Outcome, Result
from startonce.redrive.running import Listed, Tally

_COLOURS = {
    Outcome.REDRIVEN: "green",
    Outcome.STARTED_BEFORE: "green",
    Outcome.REDRIVEN_BEFORE: "green",
    Outcome.LEFT_ALONE: "yellow",
    Outcome.DISCARDED: "magenta",
    Outcome.FAILED: "red",
}
_LABEL = 13


class Report:
    """Writes to a console; on a terminal with colours, and with a line that tells the progress."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def listing(
        self, stack_name: str, listed: list[Listed], being_read: int, may_hold_more: bool
    ) -> None:
        """All messages, the oldest first, and what can be done."""
        if not listed:
            self.say(f"No message waits in the failure queue of {stack_name}.")
        for number, one in enumerate(listed, start=1):
            self._block(number, one)
        if listed:
            self._what_to_do(listed, may_hold_more)
        if being_read:
            self.say(f"About {being_read} more are being read by somebody else just now.", "yellow")
        self._incomplete(may_hold_more)

    def done(self, failure: Failure, result: Result, dry_run: bool) -> None:
        """One message of a redrive, in a line."""
        would = dry_run and result.outcome is Outcome.REDRIVEN
        label = "would redrive" if would else result.outcome.value
        detail = f": {first_line(result.detail)}" if _adds(result, failure) else ""
        name = (failure.names or [failure.message.message_id])[0]
        self._print(
            Text.assemble(
                (f"{label:18}", _COLOURS[result.outcome]),
                f"{first_line(name)}  {result.reason}{detail}",
            )
        )

    def discarded(self, number: int, failure: Failure, result: Result) -> None:
        """One message that is about to be deleted."""
        self._block(number, Listed(failure, result))

    def summary(self, tally: Tally, missing: list[str], dry_run: bool) -> None:
        """What came to which end, and why; and the IDs that no message has."""
        for unknown in missing:
            self.say(
                f"{first_line(unknown)}: no message in the failure queue has this ID, or somebody "
                "else is reading it just now",
                "red",
            )
        head = "If this were no dry run: " if dry_run else ""
        self.say(head + ", ".join(_counted(tally)), "bold")
        for (outcome, reason), number in tally.reasons.most_common():
            if outcome in (Outcome.LEFT_ALONE, Outcome.FAILED):
                self.say(f"  {number} {outcome.value}: {reason}")

    def ended_early(self) -> None:
        """What the numbers of a run that was interrupted do not say."""
        self.say(
            "Ended early: a few more may have begun, and others were not looked at: run it again."
        )

    def unseen(self, being_read: int, may_hold_more: bool) -> None:
        """What may be in the queue besides what was redriven."""
        if being_read:
            self.say(
                f"About {being_read} more were being read when this began, by somebody else or by "
                "a run that had just ended: run it again in five minutes",
                "yellow",
            )
        self._incomplete(may_hold_more)

    def say(self, line: str, style: str = "") -> None:
        """A line."""
        self._print(Text(line, style))

    def _block(self, number: int, one: Listed) -> None:
        head = f"{one.failure.message.sent_at:%Y-%m-%d %H:%M:%S} UTC  {one.failure.kind.value}"
        self._print(Text(f"{number}. {head}", "bold"))
        for label, value in _rows(one):
            self._print(Text.assemble((f"   {label:{_LABEL}}", "dim"), value))

    def _incomplete(self, may_hold_more: bool) -> None:
        if may_hold_more:
            self.say(
                "There may be more: SQS gives no further messages while about 120,000 are being "
                "read. Run it again when these are done",
                "yellow",
            )

    def _what_to_do(self, listed: list[Listed], may_hold_more: bool) -> None:
        ready = sum(one.expected.may_leave for one in listed)
        rest = len(listed) - ready
        number = f"{len(listed)} {'so far' if may_hold_more else 'in all'}"
        self.say(
            f"\n{number}. {ready} can be redriven with --all"
            + (f"; {rest} cannot, or not without more: see above." if rest else "."),
            "bold",
        )

    def _print(self, renderable: RenderableType) -> None:
        self._console.print(renderable, soft_wrap=True)


def _rows(one: Listed) -> Iterator[tuple[str, str | Text]]:
    failure, expected = one.failure, one.expected
    yield "message", failure.message.message_id
    if isinstance(failure, EventFailure):
        if failure.delivery_id is not None:
            is_sqs = failure.delivery_id == failure.message.message_id
            if not is_sqs:
                yield "request ID", first_line(failure.delivery_id)
        if failure.sns_message_id is not None:
            yield "SNS message", first_line(failure.sns_message_id)
    if isinstance(failure, StepFailure):
        yield "execution", first_line(failure.execution_name)
    cause = first_line(failure.cause)
    yield "error", Text(f"{first_line(failure.error)}{': ' if cause else ''}{cause}", "red")
    if isinstance(failure, EventFailure) and failure.attempts is not None:
        yield "attempts", str(failure.attempts)
    if one.tries is not None:
        yield "attempts", one.tries
    detail = f" ({first_line(expected.detail)})" if _adds(expected, failure) else ""
    verb = "" if expected.may_leave else f"{expected.outcome.value}: "
    yield "redrive", Text(f"{verb}{expected.reason}{detail}", _COLOURS[expected.outcome])


def _adds(result: Result, failure: Failure) -> bool:
    return result.detail not in ("", failure.error, *failure.names)


def _counted(tally: Tally) -> Iterator[str]:
    always = (Outcome.REDRIVEN, Outcome.STARTED_BEFORE, Outcome.LEFT_ALONE, Outcome.FAILED)
    for outcome in Outcome:
        count = tally.outcomes[outcome]
        if count or outcome in always:
            yield f"{count} {outcome.value}"
