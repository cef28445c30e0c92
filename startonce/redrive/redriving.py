"""Decides what is to be done with a failure, and does it. Anybody may do the same at any time."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from botocore.exceptions import ClientError, ParamValidationError

from startonce.aws import Aws
from startonce.redrive.failure_messages import (
    IS_NAME,
    EventFailure,
    Failure,
    Kind,
    NotUnderstood,
    StepFailure,
    first_line,
)
from startonce.redrive.target import Target
from startonce.trace import read_steps

PATIENCE = 15.0
"""Seconds that a redriven execution may take to begin a step."""

_LOOK_EVERY = 0.3
# As in handlers/invoker.py: a redrive makes the input that an attempt would have made.
_LARGEST_INPUT = 262_144 - 1_024
_POINTER = "software.amazon.payloadoffloading.PayloadS3Pointer"
# Of the answer's Date, which has whole seconds.
_CLOCK_TOLERANCE = timedelta(seconds=2)
_ENDED_BADLY = ("FAILED", "TIMED_OUT", "ABORTED")
_UNHEARD = (
    "its execution ended without a message in the failure queue: see docs/operating.md, "
    "and redrive it by hand"
)
_OF_ONE_MESSAGE = {
    "ExecutionLimitExceeded",
    "InvalidArn",
    "InvalidExecutionInput",
    "InvalidName",
    "ServiceUnavailable",
    "InternalFailure",
    "InternalServerError",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "ValidationException",
}
"""Error codes that say nothing of the messages that come next. Others stop the whole."""


class Outcome(Enum):
    """What became of a message; the value is what people read."""

    REDRIVEN = "redriven"
    STARTED_BEFORE = "already started"
    REDRIVEN_BEFORE = "already redriven"
    LEFT_ALONE = "left alone"
    DISCARDED = "discarded"
    FAILED = "failed"


@dataclass(frozen=True)
class Result:
    """What became of a message, or would.

    Attributes:
        reason: the same for all messages of which the same is to be said.
        detail: of this message only.
    """

    outcome: Outcome
    reason: str
    detail: str = ""

    @property
    def may_leave(self) -> bool:
        """Whether the event is taken care of, and the message may leave the queue."""
        return self.outcome in (
            Outcome.REDRIVEN,
            Outcome.STARTED_BEFORE,
            Outcome.REDRIVEN_BEFORE,
        )


class Redriver:
    """Any thread may use it.

    Args:
        may_repeat: redrive also where a step may do for a second time what cannot be taken back.
        patience: seconds to wait for a redriven execution to begin a step.
    """

    def __init__(
        self, aws: Aws, target: Target, may_repeat: bool = False, patience: float = PATIENCE
    ) -> None:
        self._machines = aws.client("stepfunctions", patient=True)
        self._s3 = aws.client("s3")
        self._target = target
        self._may_repeat = may_repeat
        self._patience = patience
        self._hurry = threading.Event()

    def hurry(self) -> None:
        """Wait for nothing any more: the command is to end."""
        self._hurry.set()

    def tries(self, failure: StepFailure) -> str | None:
        """Which step failed at which try; None if it cannot be told."""
        try:
            steps = read_steps(self._machines, failure.execution_arn)
        except ClientError:
            return None
        failed = [one for one in steps if one.error is not None and one.error == failure.error]
        if not failed:
            return None
        tries = failed[-1].tries
        return f"{tries} {'try' if tries == 1 else 'tries'} of {failed[-1].name}"

    def expect(self, failure: Failure) -> Result:
        """What a redrive would do, as far as the message itself tells."""
        if isinstance(failure, EventFailure):
            unless = "" if failure.attempts == 0 else ", unless an attempt has"
            return self._why_not_start(failure) or Result(
                Outcome.REDRIVEN, f"starts its execution{unless}"
            )
        if isinstance(failure, StepFailure):
            return (
                self._why_never(failure)
                or self._why_not_repeat(failure)
                or Result(Outcome.REDRIVEN, "runs its steps again")
            )
        return _not_understood(failure)

    def foresee(self, failure: Failure) -> Result:
        """What a redrive would do now; changes nothing."""
        return self._guarded(failure, dry_run=True)

    def redrive(self, failure: Failure) -> Result:
        """Send it on its way again.

        Raises:
            ClientError: that concerns every message, such as a missing permission.
            BotoCoreError: AWS cannot be reached.
        """
        return self._guarded(failure, dry_run=False)

    def _guarded(self, failure: Failure, dry_run: bool) -> Result:
        try:
            if isinstance(failure, EventFailure):
                return self._start(failure, dry_run)
            if isinstance(failure, StepFailure):
                return self._redrive(failure, dry_run)
        except ClientError as error:
            if _code(error) not in _OF_ONE_MESSAGE:
                raise
            return Result(Outcome.FAILED, _code(error), error.response["Error"]["Message"])
        except ParamValidationError as error:
            return Result(Outcome.FAILED, "AWS would refuse it", first_line(str(error)))
        return _not_understood(failure)

    # Events that may have no execution

    def _start(self, failure: EventFailure, dry_run: bool) -> Result:
        refused = self._why_not_start(failure)
        if refused is not None:
            return refused
        name = failure.name(self._target.by_message_id)
        # Also under the other name: the parameter may have been another one when it was tried.
        others = [one for one in failure.names if one != name]
        for known in [*others, name] if dry_run else others:
            described = self._described(self._target.execution_arn(known))
            if described is not None:
                return self._started_before(known, described)
        if dry_run:
            return Result(Outcome.REDRIVEN, "would start its execution", name)
        text = self._input(failure.event, name)
        return text if isinstance(text, Result) else self._started(name, text)

    def _why_not_start(self, failure: EventFailure) -> Result | None:
        if failure.source is not None and not self._is_ours(failure.kind, failure.source):
            return Result(Outcome.LEFT_ALONE, "not of this service", f"it is of {failure.source}")
        if not all(IS_NAME(name) for name in failure.names):
            return Result(Outcome.LEFT_ALONE, "no execution can have its name")
        size = len(to_input(failure.event))
        if size > _LARGEST_INPUT and self._target.large_events_bucket is None:
            needed = "deploy with --param largeEvents=bucket"
            return Result(Outcome.LEFT_ALONE, f"too large: {needed}", f"it has {size} bytes")
        return None

    def _is_ours(self, kind: Kind, source: str) -> bool:
        if kind is Kind.GIVEN_UP:
            # arn:aws:lambda:us-east-1:123456789012:function:NAME:$LATEST
            return source.split(":")[6:7] == [f"{self._target.stack_name}-invoker"]
        if kind is Kind.UNBUFFERED:
            # Only SQS can say that a queue gave it up, and this is the queue that it was given to.
            # The stack need not have the other one: it may be a copy's own, or gone by now.
            return True
        return source == self._target.topic_arn

    def _input(self, event: Any, name: str) -> str | Result:
        """The execution's input, which may be a pointer to what is put into the bucket now."""
        data, bucket = to_input(event), self._target.large_events_bucket
        if len(data) <= _LARGEST_INPUT:
            return data.decode()
        try:
            self._s3.put_object(Bucket=bucket, Key=name, Body=data)
        except ClientError as error:
            # No reason to stop: the other messages need no bucket.
            message = error.response["Error"]["Message"]
            return Result(Outcome.FAILED, f"the bucket said {_code(error)}", message)
        return json.dumps([_POINTER, {"s3BucketName": bucket, "s3Key": name}])

    def _started(self, name: str, text: str) -> Result:
        try:
            answer = self._machines.start_execution(
                stateMachineArn=self._target.state_machine_arn, name=name, input=text
            )
        except self._machines.exceptions.ExecutionAlreadyExists:
            described = self._described(self._target.execution_arn(name))
            if described is None:
                reason = "its execution is there, and not to be seen yet: try again later"
                return Result(Outcome.LEFT_ALONE, reason, name)
            return self._started_before(name, described)
        # While the first execution runs, AWS answers 200 to its name and input, with its start.
        if answer["startDate"] < _date_of(answer) - _CLOCK_TOLERANCE:
            return Result(Outcome.STARTED_BEFORE, "its execution is there", name)
        return Result(Outcome.REDRIVEN, "its execution is started", name)

    def _started_before(self, name: str, described: dict[str, Any]) -> Result:
        """The event's execution is there: it speaks for itself, unless it ended unheard."""
        status, arn = described["status"], self._target.execution_arn(name)
        told = status not in _ENDED_BADLY or (status == "FAILED" and self._has_reported(arn))
        if told:
            return Result(Outcome.STARTED_BEFORE, "its execution is there", name)
        refused = _why_not_redrivable(described)
        if refused is not None:
            detail = f"{status}, and cannot be redriven: {refused.detail}"
        else:
            detail = f"{status}: aws stepfunctions redrive-execution --execution-arn {arn}"
        return Result(Outcome.LEFT_ALONE, _UNHEARD, detail)

    def _has_reported(self, arn: str) -> bool:
        """Whether the last step that failed has a message in the failure queue.

        The report comes after the step. So where the last task is a step, or a report that failed,
        there is none: not of this failure, even if there was one of a failure before a redrive.
        """
        for event in self._history_backwards(arn):
            if event["type"] == "TaskSucceeded":
                return _is_of_report(event)
            if event["type"].endswith("Scheduled") and not _is_of_report(event):
                return False
        return False

    # Executions that failed

    def _redrive(self, failure: StepFailure, dry_run: bool) -> Result:
        refused = self._why_never(failure)
        if refused is not None:
            return refused
        described = self._settled(failure)
        if described is None:
            return _gone(failure)
        if described["redriveCount"] > failure.redrive_count:
            return self._confirmed(failure, Outcome.REDRIVEN_BEFORE, described)
        if described["status"] == "SUCCEEDED":
            return Result(Outcome.REDRIVEN_BEFORE, "it has succeeded", failure.execution_name)
        if described["status"] not in _ENDED_BADLY:
            return Result(Outcome.LEFT_ALONE, "its execution is still running: try again later")
        refused = self._why_not_repeat(failure) or _why_not_redrivable(described)
        if refused is not None:
            return refused
        if dry_run:
            name = failure.execution_name
            return Result(Outcome.REDRIVEN, "would run its steps again", name)
        return self._redriven(failure)

    def _why_never(self, failure: StepFailure) -> Result | None:
        ours = self._target.execution_arn(failure.execution_name)
        if failure.execution_arn != ours:
            return Result(Outcome.LEFT_ALONE, "not of this service", failure.execution_arn)
        match failure.redrive:
            case "safe" | "may_repeat":
                return None
            case "useless":
                reason = "useless, the event itself is wrong: --discard deletes its message"
                return Result(Outcome.LEFT_ALONE, reason, failure.execution_name)
            case None:
                reason = "its state machine is an older one, which has no redrive"
            case other:
                reason = f"unknown redrive {first_line(other)!r}: this startonce is too old"
        return Result(Outcome.LEFT_ALONE, reason, failure.execution_name)

    def _why_not_repeat(self, failure: StepFailure) -> Result | None:
        if failure.redrive != "may_repeat" or self._may_repeat:
            return None
        reason = "its step may have done its work, and would do it again: see --may-repeat"
        return Result(Outcome.LEFT_ALONE, reason, failure.execution_name)

    def _settled(self, failure: StepFailure) -> dict[str, Any] | None:
        """The execution. It writes its message just before it ends, and is given time for that."""
        described = None
        for _ in self._looks():
            described = self._described(failure.execution_arn)
            running = described is not None and described["status"] == "RUNNING"
            if not running or (described or {})["redriveCount"] > failure.redrive_count:
                break
        return described

    def _redriven(self, failure: StepFailure) -> Result:
        try:
            self._machines.redrive_execution(
                executionArn=failure.execution_arn, clientToken=_token(failure)
            )
        except self._machines.exceptions.ExecutionDoesNotExist:
            return _gone(failure)
        except self._machines.exceptions.ExecutionNotRedrivable as error:
            # Perhaps because somebody else was faster.
            described = self._described(failure.execution_arn) or {"redriveCount": 0}
            if described["redriveCount"] > failure.redrive_count:
                return self._confirmed(failure, Outcome.REDRIVEN_BEFORE, described)
            message = error.response["Error"]["Message"]
            return Result(Outcome.LEFT_ALONE, "cannot be redriven (any more)", message)
        return self._confirmed(failure, Outcome.REDRIVEN, {})

    def _confirmed(
        self, failure: StepFailure, outcome: Outcome, described: dict[str, Any]
    ) -> Result:
        """The outcome, if the redrive led to a step; some lead nowhere."""
        for _ in self._looks():
            ended = described.get("status") in _ENDED_BADLY
            if described.get("status") == "SUCCEEDED" or self._ran_a_step(failure):
                return Result(outcome, "its steps run again", failure.execution_name)
            # It had ended when it was looked at, and the history is of later: there is no more.
            if ended and described.get("redriveCount", 0) > failure.redrive_count:
                error = described.get("error", described["status"])
                reason = "was redriven, which ran no step"
                return Result(Outcome.LEFT_ALONE, reason, f"it ended with {error}")
            described = self._described(failure.execution_arn) or {}
        return Result(Outcome.LEFT_ALONE, "is redriven, and runs no step yet: look again later")

    def _ran_a_step(self, failure: StepFailure) -> bool:
        """Whether the history since the redrive after this failure has a task."""
        scheduled = False
        for event in self._history_backwards(failure.execution_arn):
            if event["type"] == "ExecutionRedriven":
                count = event.get("executionRedrivenEventDetails", {}).get("redriveCount", 0)
                if count <= failure.redrive_count:
                    return False
                if scheduled:
                    return True
            scheduled = scheduled or event["type"].endswith("Scheduled")
        return False

    def _history_backwards(self, arn: str) -> Iterator[dict[str, Any]]:
        pages = self._machines.get_paginator("get_execution_history").paginate(
            executionArn=arn, reverseOrder=True, includeExecutionData=False
        )
        for page in pages:
            yield from page["events"]

    def _described(self, arn: str) -> dict[str, Any] | None:
        try:
            described: dict[str, Any] = self._machines.describe_execution(executionArn=arn)
        except self._machines.exceptions.ExecutionDoesNotExist:
            return None
        return {"redriveCount": 0, **described}

    def _looks(self) -> Iterator[None]:
        """Look, and look again until the patience is at its end."""
        deadline = time.monotonic() + self._patience
        yield
        while time.monotonic() < deadline and not self._hurry.wait(_LOOK_EVERY):
            yield


def to_input(event: Any) -> bytes:
    """The event as the invoker writes it, in UTF-8."""
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def _token(failure: StepFailure) -> str:
    """The same for everybody who redrives after this failure, so that Step Functions does it once.

    It remembers a token for 15 minutes; after that, the execution's count of redrives tells.
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_RedriveExecution.html
    """
    text = f"{failure.execution_arn} {failure.redrive_count}"
    return hashlib.sha256(text.encode()).hexdigest()


def _why_not_redrivable(described: dict[str, Any]) -> Result | None:
    if described.get("redriveStatus", "REDRIVABLE") == "REDRIVABLE":
        return None
    why = described.get("redriveStatusReason", "")
    return Result(Outcome.LEFT_ALONE, "cannot be redriven (any more)", why)


def _is_of_report(event: dict[str, Any]) -> bool:
    """Whether a task's event is of one that sends a message to a queue, as ReportFailure does."""
    details = event.get("taskSucceededEventDetails") or event.get("taskScheduledEventDetails") or {}
    return details.get("resource") == "sendMessage"


def _gone(failure: StepFailure) -> Result:
    reason = "its execution is gone: Step Functions keeps one for 90 days"
    return Result(Outcome.LEFT_ALONE, reason, failure.execution_name)


def _not_understood(failure: Failure) -> Result:
    detail = failure.error if isinstance(failure, NotUnderstood) else ""
    return Result(Outcome.LEFT_ALONE, Kind.NOT_UNDERSTOOD.value, detail)


def _date_of(answer: dict[str, Any]) -> datetime:
    """The service's own clock: the caller's may be minutes off."""
    try:
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    except (KeyError, ValueError):
        return datetime.now(UTC)


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])
