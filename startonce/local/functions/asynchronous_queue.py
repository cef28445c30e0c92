"""Lambda's queue of asynchronous events: what is tried when, and what is given up.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from startonce.local.aws_text import time_text
from startonce.local.clock import Clock
from startonce.local.functions.engine import ServiceError, StoppedError, ThrottledError
from startonce.local.functions.invocation import Invocation, Outcome

PAUSES = (60.0, 120.0)
"""Seconds before the second and the third attempt."""

_FIRST_THROTTLE_PAUSE = 1.0
_LONGEST_THROTTLE_PAUSE = 300.0

MessageAttributes = dict[str, tuple[str, str]]
"""``name: (type, value)``."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AsynchronousSettings:
    """How a function's asynchronous events are treated.

    Attributes:
        maximum_event_age: seconds.
        on_success, on_failure: destination ARNs.
        dead_letter: the ARN of a queue or topic.
    """

    maximum_retry_attempts: int = 2
    maximum_event_age: int = 21_600
    on_success: str | None = None
    on_failure: str | None = None
    dead_letter: str | None = None


class AsynchronousFunction(Protocol):
    """A function, seen from the queue; looked up anew for each attempt."""

    @property
    def key(self) -> str:
        """The function's ARN without a qualifier."""

    @property
    def qualified_arn(self) -> str:
        """With the version: ``…:$LATEST``."""

    def settings(self) -> AsynchronousSettings:
        """As they are now."""

    def is_stopped(self) -> bool:
        """Whether its reserved concurrency is zero: then its events are given up untried."""

    def attempt(self, invocation: Invocation) -> Outcome:
        """Run one attempt.

        Raises:
            ThrottledError, ServiceError, StoppedError, LookupError (the function is gone).
        """

    def deliver(self, target: str, body: str, attributes: MessageAttributes) -> None:
        """Send a record to a destination or dead-letter queue, by the function's own role."""


@dataclass
class _Event:
    function: AsynchronousFunction
    invocation: Invocation
    accepted_at: float
    attempts: int = 0
    throttled: int = 0
    outcome: Outcome | None = None


class AsynchronousQueue:
    """Takes events, tries each as often as its function's settings say, and records what was given
    up.

    Args:
        workers: how many events of one function are tried at a time; the others keep their order.
    """

    def __init__(self, clock: Clock, workers: int) -> None:
        self._clock = clock
        self._workers = workers
        self._lock = threading.Lock()
        self._executors: dict[str, ThreadPoolExecutor] = {}
        self._stopped = False

    def submit(self, function: AsynchronousFunction, invocation: Invocation) -> None:
        """Accept an event; its first attempt follows as soon as an environment is free."""
        self._try(_Event(function, invocation, accepted_at=self._clock.now()))

    def stop(self) -> None:
        """Start no further attempt."""
        with self._lock:
            self._stopped = True
            executors = list(self._executors.values())
        for executor in executors:
            executor.shutdown(wait=False, cancel_futures=True)

    def join(self) -> None:
        """Wait for the attempts that still run."""
        for executor in self._executors.values():
            executor.shutdown(wait=True)

    def _try(self, event: _Event) -> None:
        with self._lock:
            if self._stopped:
                return
            executor = self._executors.get(event.function.key)
            if executor is None:
                executor = ThreadPoolExecutor(self._workers, thread_name_prefix="asynchronous")
                self._executors[event.function.key] = executor
            executor.submit(self._guarded, event)

    def _guarded(self, event: _Event) -> None:
        try:
            self._attempt(event)
        except Exception:
            _log.exception("event %s is lost", event.invocation.request_id)

    def _attempt(self, event: _Event) -> None:
        if self._seconds_left(event) <= 0:
            self._give_up(event, "EventAgeExceeded")
            return
        if event.function.is_stopped():
            self._give_up(event, "RetriesExhausted")
            return
        try:
            event.outcome = event.function.attempt(event.invocation)
        except (ThrottledError, ServiceError):
            pause = min(_FIRST_THROTTLE_PAUSE * 2**event.throttled, _LONGEST_THROTTLE_PAUSE)
            event.throttled += 1
            self._try_later(event, pause)
            return
        except StoppedError:
            return
        except LookupError:
            _log.warning("event %s dropped: its function is gone", event.invocation.request_id)
            return
        event.attempts += 1
        event.throttled = 0
        if event.outcome.function_error is None:
            self._succeed(event)
        elif event.attempts > event.function.settings().maximum_retry_attempts:
            self._give_up(event, "RetriesExhausted")
        else:
            self._try_later(event, PAUSES[event.attempts - 1])

    def _try_later(self, event: _Event, pause: float) -> None:
        """Try again after ``pause`` seconds; an event that gets too old before is given up then."""
        pause = min(pause, max(self._seconds_left(event), 0))
        self._clock.call_later(pause, lambda: self._try(event))

    def _seconds_left(self, event: _Event) -> float:
        age = self._clock.now() - event.accepted_at
        return event.function.settings().maximum_event_age - age

    def _succeed(self, event: _Event) -> None:
        target = event.function.settings().on_success
        if target:
            self._deliver(event, target, _record(event, "Success"), {})

    def _give_up(self, event: _Event, condition: str) -> None:
        settings = event.function.settings()
        if settings.on_failure:
            self._deliver(event, settings.on_failure, _record(event, condition), {})
        if settings.dead_letter:
            body = event.invocation.event.decode()
            self._deliver(event, settings.dead_letter, body, _dead_letter_attributes(event))

    def _deliver(
        self, event: _Event, target: str, body: str, attributes: MessageAttributes
    ) -> None:
        try:
            event.function.deliver(target, body, attributes)
        except Exception as error:
            # On AWS too nothing but a metric tells: DestinationDeliveryFailures, DeadLetterErrors.
            _log.error(
                "event %s of %s is lost: %s did not take its record: %s",
                event.invocation.request_id,
                event.function.key,
                target,
                error,
            )


def _record(event: _Event, condition: str) -> str:
    """The invocation record that destinations get.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    moment = time_text()
    record: dict[str, object] = {
        "version": "1.0",
        "timestamp": moment,
        "requestContext": {
            "requestId": event.invocation.request_id,
            "functionArn": event.function.qualified_arn,
            "condition": condition,
            "approximateInvokeCount": event.attempts,
        },
        "requestPayload": json.loads(event.invocation.event),
    }
    if event.outcome is not None:
        response: dict[str, object] = {"statusCode": 200, "executedVersion": "$LATEST"}
        if event.outcome.function_error:
            response["functionError"] = event.outcome.function_error
        record["responseContext"] = response
        record["responsePayload"] = json.loads(event.outcome.payload or b"null")
    return json.dumps(record, ensure_ascii=False)


def _dead_letter_attributes(event: _Event) -> MessageAttributes:
    """https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html"""
    message = event.outcome.error_message if event.outcome else "The event is too old."
    return {
        "RequestID": ("String", event.invocation.request_id),
        "ErrorCode": ("Number", "200"),
        "ErrorMessage": ("String", message[:1024] or "Unknown"),
    }
