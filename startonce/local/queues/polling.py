"""Lambda's pollers: they read queues for functions, as event source mappings say.

A poller has nothing to do until its queue has a message: the queue tells when one arrived, and the
clock when a hidden one is visible again.

https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
"""

from __future__ import annotations

import base64
import json
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from startonce.local.clock import Clock
from startonce.local.events.event_pattern import matches
from startonce.local.functions.engine import ServiceError, StoppedError, ThrottledError
from startonce.local.functions.invocation import Outcome
from startonce.local.queues.sqs_queue import LocalMessage, LocalQueue

LARGEST_EVENT = 6_291_456

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_NOBODY_PAUSE = 20.0
_ENVELOPE = len('{"Records": []}')
_RECEIPT_HANDLE = 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mapping:
    """What a poller does; made anew for each change.

    Attributes:
        window: seconds, on the clock, to wait for more messages after the first.
        partial_responses: the function's answer names the messages that failed.
        maximum_concurrency: batches at a time; None for no limit.
        filters: patterns, one of which a record must match; empty for none.
    """

    key: str
    queue_arn: str
    function_arn: str
    batch_size: int = 10
    window: int = 0
    enabled: bool = True
    partial_responses: bool = False
    maximum_concurrency: int | None = None
    filters: tuple[dict[str, Any], ...] = ()


class Surroundings(Protocol):
    """Queues and functions by ARN."""

    def queue(self, arn: str) -> LocalQueue | None:
        """None if there is none."""

    def may_poll(self, function_arn: str, queue_arn: str) -> bool:
        """Whether there is such a function, whose role may read the queue."""

    def invoke(self, function_arn: str, event: bytes) -> Outcome:
        """Run one attempt under a new request ID.

        Raises:
            ThrottledError, ServiceError, StoppedError, LookupError (the function is gone).
        """


class QueuePolling:
    """Every mapping's poller.

    Args:
        workers: how many batches of one mapping are handled at a time.
    """

    def __init__(self, clock: Clock, surroundings: Surroundings, workers: int) -> None:
        self._clock = clock
        self._surroundings = surroundings
        self._workers = workers
        self._lock = threading.Lock()
        self._pollers: dict[str, _Poller] = {}

    def put(self, mapping: Mapping) -> None:
        """Begin to poll, or go on in another way; batches under way end as they began."""
        with self._lock:
            poller = self._pollers.get(mapping.key)
            if poller is None:
                poller = _Poller(self._clock, self._surroundings, self._workers, mapping)
                self._pollers[mapping.key] = poller
            else:
                poller.mapping = mapping
        poller.wake()

    def remove(self, key: str) -> None:
        """Poll no more; batches under way come to their end."""
        with self._lock:
            poller = self._pollers.pop(key, None)
        if poller is not None:
            poller.stop()

    def wake(self, queue_arn: str) -> None:
        """The queue may have a message."""
        with self._lock:
            woken = [one for one in self._pollers.values() if one.mapping.queue_arn == queue_arn]
        for poller in woken:
            poller.wake()

    def stop(self) -> None:
        """Begin no further batch."""
        with self._lock:
            pollers = list(self._pollers.values())
        for poller in pollers:
            poller.stop()

    def join(self) -> None:
        """Wait for the batches that are still under way."""
        for poller in list(self._pollers.values()):
            poller.join()


class _Poller:
    """One mapping at work. One of its threads gathers a batch, the others handle theirs."""

    def __init__(
        self, clock: Clock, surroundings: Surroundings, workers: int, mapping: Mapping
    ) -> None:
        self.mapping = mapping
        self._clock = clock
        self._surroundings = surroundings
        self._workers = workers
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="poller")
        self._lock = threading.Lock()
        self._running = 0
        self._gathering = False
        self._woken = False
        self._stopped = False
        self._wakes_at: float | None = None

    def wake(self) -> None:
        """There may be something to do."""
        with self._lock:
            self._woken = True
            limit = min(self._workers, self.mapping.maximum_concurrency or self._workers)
            busy = self._gathering or self._running >= limit
            if busy or self._stopped or not self.mapping.enabled:
                return
            self._woken = False
            self._gathering = True
            self._running += 1
            self._executor.submit(self._run)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
        self._executor.shutdown(wait=False, cancel_futures=True)

    def join(self) -> None:
        self._executor.shutdown(wait=True)

    def _run(self) -> None:
        batch = None
        try:
            batch = self._gather()
        except Exception:
            _log.exception("poller of %s", self.mapping.queue_arn)
        with self._lock:
            self._gathering = False
        if batch is None:
            self._end()
            self._wake_in_time()
        else:
            self.wake()
            self._handle(batch, throttled=0)

    def _end(self) -> None:
        """A batch came to its end, or there was none."""
        with self._lock:
            self._running -= 1
            woken = self._woken
        if woken:
            self.wake()

    def _gather(self) -> _Batch | None:
        """The next batch; None if there is no message, or nobody to take it."""
        mapping = self.mapping
        queue = self._surroundings.queue(mapping.queue_arn)
        if queue is None:
            return None
        if not self._surroundings.may_poll(mapping.function_arn, mapping.queue_arn):
            self._wake_at(self._clock.now() + _NOBODY_PAUSE)
            return None
        hidden = float(queue.visibility_timeout)  # type: ignore[attr-defined]
        room = _Room(mapping)
        messages = queue.receive(mapping.batch_size, 0, hidden, room.take, held=True)
        until = self._clock.now() + mapping.window
        while messages and len(messages) < mapping.batch_size and not room.full:
            left = until - self._clock.now()
            if left <= 0 or self._stopped:
                break
            missing = mapping.batch_size - len(messages)
            more = queue.receive(missing, left, hidden, room.take, held=True)
            if not more:
                break
            messages += more
        if not messages:
            return None
        return self._filtered(_Batch(mapping, queue, messages, hidden))

    def _filtered(self, batch: _Batch) -> _Batch:
        """Messages that no filter lets through are deleted, as on AWS."""
        if batch.mapping.filters:
            passing = [passes(batch.mapping, one) for one in batch.messages]
            batch.delete(
                [one for one, passed in zip(batch.messages, passing, strict=True) if not passed]
            )
            batch.messages = [
                one for one, passed in zip(batch.messages, passing, strict=True) if passed
            ]
        return batch

    def _handle(self, batch: _Batch, throttled: int) -> None:
        try:
            waits = self._try(batch, throttled)
        except Exception:
            waits = False
            _log.exception("batch of %s", batch.mapping.queue_arn)
            batch.let_go(batch.messages)
        if not waits:
            with self._lock:
                self._woken = True
            self._end()

    def _try(self, batch: _Batch, throttled: int) -> bool:
        """Returns whether the batch is tried again while its messages are hidden."""
        if not batch.messages:
            return False
        try:
            outcome = self._surroundings.invoke(batch.mapping.function_arn, batch.event())
        except (ThrottledError, ServiceError):
            return self._try_later(batch, throttled)
        except (StoppedError, LookupError):
            batch.let_go(batch.messages)
            return False
        failed = _failed(outcome, batch)
        batch.delete([one for one in batch.messages if one.id not in failed])
        batch.let_go([one for one in batch.messages if one.id in failed])
        return False

    def _try_later(self, batch: _Batch, throttled: int) -> bool:
        """The function did not run: again after a pause, until the messages return to the queue.

        https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
        """
        pause = min(_FIRST_PAUSE * 2**throttled, _LONGEST_PAUSE)
        visible_at = batch.messages[0].received_at + batch.hidden
        if self._clock.now() + pause >= visible_at:
            batch.let_go(batch.messages)
            return False
        self._clock.call_later(pause, lambda: self._again(batch, throttled + 1))
        return True

    def _again(self, batch: _Batch, throttled: int) -> None:
        with self._lock:
            if not self._stopped:
                self._executor.submit(self._handle, batch, throttled)
                return
        batch.let_go(batch.messages)

    def _wake_in_time(self) -> None:
        """Come back when a message that is hidden now is visible."""
        queue = self._surroundings.queue(self.mapping.queue_arn)
        next_ready = queue.next_ready() if queue is not None else None
        if next_ready is not None:
            self._wake_at(next_ready)

    def _wake_at(self, moment: float) -> None:
        with self._lock:
            now = self._clock.now()
            if self._wakes_at is not None and now < self._wakes_at <= moment:
                return
            self._wakes_at = moment
        self._clock.call_later(max(moment - now, 0), self.wake)


@dataclass
class _Batch:
    """Messages on their way to the function.

    Attributes:
        hidden: the queue's visibility timeout when they were received.
    """

    mapping: Mapping
    queue: LocalQueue
    messages: list[LocalMessage]
    hidden: float

    def event(self) -> bytes:
        records = [record(self.mapping, message) for message in self.messages]
        return json.dumps({"Records": records}, ensure_ascii=False).encode()

    def delete(self, messages: Sequence[LocalMessage]) -> None:
        for message in messages:
            try:
                self.queue.delete_message(str(message.receipt_handle))
            except Exception as error:
                _log.debug("message %s is not deleted: %s", message.id, error)

    def let_go(self, messages: Sequence[LocalMessage]) -> None:
        for message in messages:
            self.queue.let_go(str(message.receipt_handle), self.hidden)


class _Room:
    """How much of an event's largest size is left."""

    def __init__(self, mapping: Mapping) -> None:
        self.full = False
        self._mapping = mapping
        self._left = LARGEST_EVENT - _ENVELOPE

    def take(self, message: LocalMessage) -> bool:
        """Whether the message goes in as well; its receipt handle is still to come."""
        text = json.dumps(record(self._mapping, message), ensure_ascii=False)
        size = len(text.encode()) + _RECEIPT_HANDLE
        self.full = size > self._left
        self._left -= size
        return not self.full


def record(mapping: Mapping, message: LocalMessage) -> dict[str, Any]:
    """A message as a function sees it.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event
    """
    attributes: dict[str, Any] = {
        "ApproximateReceiveCount": str(message.approximate_receive_count),
        "AWSTraceHeader": message.system_attributes.get("AWSTraceHeader", {}).get("StringValue"),
        "SentTimestamp": str(message.sent_timestamp),
        "SequenceNumber": message.sequence_number,
        "MessageGroupId": message.group_id,
        "SenderId": message.sender_id,
        "MessageDeduplicationId": message.deduplication_id,
        "ApproximateFirstReceiveTimestamp": str(message.approximate_first_receive_timestamp),
        "DeadLetterQueueSourceArn": message.source_arn,
    }
    described: dict[str, Any] = {
        "messageId": message.id,
        "receiptHandle": message.receipt_handle,
        "body": message.body,
        "attributes": {name: value for name, value in attributes.items() if value is not None},
        "messageAttributes": {
            name: _attribute(value) for name, value in message.message_attributes.items()
        },
    }
    if message.message_attributes:
        described["md5OfMessageAttributes"] = message.attribute_md5
    return {
        **described,
        "md5OfBody": message.body_md5,
        "eventSource": "aws:sqs",
        "eventSourceARN": mapping.queue_arn,
        "awsRegion": mapping.queue_arn.split(":")[3],
    }


def passes(mapping: Mapping, message: LocalMessage) -> bool:
    """Whether one of the mapping's filters lets the message through.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs-filtering.html
    """
    seen = record(mapping, message)
    try:
        parsed = json.loads(message.body)
    except ValueError:
        parsed = None
    is_json = isinstance(parsed, dict | list)
    if is_json:
        seen["body"] = parsed
    return any(
        matches(pattern, seen)
        for pattern in mapping.filters
        # A pattern for fields of the body lets no body through that has none.
        if is_json or not isinstance(pattern.get("body"), dict)
    )


def _attribute(value: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {}
    binary = value.get("BinaryValue")
    if binary is not None:
        raw = binary if isinstance(binary, bytes) else str(binary).encode()
        described["binaryValue"] = base64.b64encode(raw).decode()
    else:
        described["stringValue"] = value.get("StringValue")
    return {
        **described,
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": value["DataType"],
    }


def _failed(outcome: Outcome, batch: _Batch) -> set[str]:
    """The IDs of the messages that the function did not handle."""
    everything = {message.id for message in batch.messages}
    if outcome.function_error is not None:
        return everything
    if not batch.mapping.partial_responses:
        return set()
    reported = reported_failures(outcome.payload)
    return everything if reported is None or not reported <= everything else reported


def reported_failures(answer: bytes) -> set[str] | None:
    """The messages that a function's answer names; None if it cannot be read: then all failed.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#sqs-batchfailurereporting-conditions
    """
    try:
        parsed = json.loads(answer or b"null")
    except ValueError:
        return None
    if parsed is None or parsed == "":
        return set()
    if not isinstance(parsed, dict):
        return None
    failures = parsed.get("batchItemFailures")
    if failures is None:
        return set()
    if not isinstance(failures, list):
        return None
    names = [one.get("itemIdentifier") if isinstance(one, dict) else None for one in failures]
    if not all(isinstance(name, str) and name for name in names):
        return None
    return {str(name) for name in names}
