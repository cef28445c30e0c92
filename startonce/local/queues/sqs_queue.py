"""SQS's queues: moto's API around them, the messages in a store of our own, all waits on the clock.

Moto looks through every message for each send, receive and delete, and remembers every message and
receipt handle for ever: the two thousandth message must cost what the hundredth did.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from moto.core.utils import unix_time_millis
from moto.sqs.exceptions import InvalidParameterValue, ReceiptHandleIsInvalid
from moto.sqs.models import Message, Queue, SQSBackend

from startonce.local.clock import Clock
from startonce.local.queues.message_store import Entry, MessageStore, State

LONGEST_HIDDEN = 43_200
"""Seconds that a message may be in flight."""

_DEDUPLICATION = 300
_SECRET = os.urandom(16)
_ATTRIBUTES = (
    "DelaySeconds",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "ReceiveMessageWaitTimeSeconds",
    "RedrivePolicy",
    "VisibilityTimeout",
)


@dataclass(frozen=True)
class Surroundings:
    """What queues need of the local cloud.

    Attributes:
        endpoint: the URL with which the queues' own begin.
        on_ready: told a queue's ARN when it may have a message to give out. Must not block.
        backend_of: account and region to backend.
    """

    clock: Clock
    endpoint: str
    on_ready: Callable[[str], None]
    backend_of: Callable[[str, str], SQSBackend]


class LocalMessage(Message):
    """A message with what moto's does not know."""

    source_arn: str | None = None
    """The queue from which it came here as a dead letter."""

    sent_at: float = 0.0
    """On the clock: its age counts from there."""

    received_at: float = 0.0
    """On the clock, the last time."""

    held: bool = False
    """A function is at work on it: see :meth:`LocalQueue.receive`."""

    def __new__(cls, *args: Any, **kwargs: Any) -> LocalMessage:
        """Moto's own would keep every message for ever, to count them on its dashboard."""
        return object.__new__(cls)

    def received_copy(self) -> LocalMessage:
        """As a consumer gets it: what happens to the message later does not show in it."""
        return copy.copy(self)


@dataclass(frozen=True)
class _Receipt:
    """What a receipt handle stands for.

    Attributes:
        count: which time the message was received; only the last one counts.
    """

    key: str
    count: int

    @staticmethod
    def handle(queue_arn: str, key: str, count: int) -> str:
        text = f"{key} {count}"
        return base64.b64encode(_signature(queue_arn, text) + text.encode()).decode()

    @classmethod
    def parse(cls, queue_arn: str, handle: str) -> _Receipt:
        """Raises ReceiptHandleIsInvalid for what this queue never gave out."""
        try:
            raw = base64.b64decode(handle, validate=True)
            signature, text = raw[:32], raw[32:].decode()
        except ValueError:
            raise ReceiptHandleIsInvalid from None
        if not hmac.compare_digest(signature, _signature(queue_arn, text)):
            raise ReceiptHandleIsInvalid
        key, count = text.rsplit(" ", 1)
        return cls(key, int(count))


def _signature(queue_arn: str, text: str) -> bytes:
    return hmac.digest(_SECRET, f"{queue_arn} {text}".encode(), hashlib.sha256)


class LocalQueue(Queue):
    """A queue whose waits pass on the clock. Any thread may use it."""

    cloud: ClassVar[Surroundings]

    def __init__(self, name: str, region: str, account_id: str, **attributes: Any) -> None:
        super().__init__(name, region, account_id, **attributes)
        self._store: MessageStore[LocalMessage] = MessageStore(ordered=self.fifo_queue)
        self._sequence = 0
        self._duplicates: dict[tuple[str, str], tuple[float, LocalMessage]] = {}
        self._ended = False
        self._put_forward = self.cloud.clock.put_forward

    @property
    def physical_resource_id(self) -> str:
        """What ``Ref`` gives: a URL that works here."""
        return f"{self.cloud.endpoint}/{self.account_id}/{self.name}"

    @property
    def messages(self) -> list[Message]:
        """Those that can be received now."""
        with self._messages_lock:
            self._settle()
            return [entry.message for entry in self._store if entry.state is State.READY]

    @property
    def approximate_number_of_messages(self) -> int:
        """Those that can be received now."""
        return self._count(State.READY)

    @property
    def approximate_number_of_messages_delayed(self) -> int:
        """Those that were sent with a delay that has not passed."""
        return self._count(State.DELAYED)

    @property
    def approximate_number_of_messages_not_visible(self) -> int:
        """Those that were received and neither deleted nor visible again."""
        return self._count(State.IN_FLIGHT)

    def send(self, message: LocalMessage, delay: float) -> LocalMessage:
        """Take a message in.

        Returns:
            It, or the one that it repeats, which a FIFO queue keeps in its stead.
        """
        now = self.cloud.clock.now()
        with self._messages_lock:
            if self.fifo_queue:
                repeated = self._repeated(message, now)
                if repeated is not None:
                    return repeated
                self._sequence += 1
                message.sequence_number = f"{18_800_000_000_000_000_000 + self._sequence * 256:020}"
            message.sent_timestamp = int(unix_time_millis())  # type: ignore[assignment]
            message.sent_at = now
            self._add(message, until=now + delay if delay else None)
        self._tell()
        return message

    def receive(
        self,
        count: int,
        wait: float,
        hidden: float,
        fits: Callable[[LocalMessage], bool] = lambda _: True,
        held: bool = False,
    ) -> list[LocalMessage]:
        """Give out messages; wait for the first one.

        Args:
            wait: seconds, on the clock.
            hidden: seconds for which they stay hidden from others, on the clock.
            fits: asked for each message in turn; the first that does not fit stays.
            held: a function works on them, in real time. On AWS a function cannot outlast the
                visibility timeout, so with a fast clock the timeout passes in real time until
                :meth:`let_go`.
        """
        deadline = self.cloud.clock.now() + wait
        while True:
            with self._messages_lock:
                taken, dead, refused = self._take(count, hidden, fits, held)
            # Not under our lock: two queues can be each other's dead-letter queue.
            for queue, message in dead:
                queue.bury(message, self.queue_arn)
            if taken or refused or self._ended:
                return taken
            with self._messages_lock:
                now = self.cloud.clock.now()
                if now >= deadline:
                    return []
                self._settle()
                if self._store.first() is None and not self._ended:
                    until = min(deadline, self._store.next_ready() or deadline)
                    self._messages_lock.wait(max(until - now, 0) / self.cloud.clock.speed + 0.001)

    def next_ready(self) -> float | None:
        """When, on the clock, a hidden message becomes visible; None if none is hidden."""
        with self._messages_lock:
            return self._store.next_ready()

    def source_of(self, receipt_handle: str) -> str | None:
        """The queue from which a message that was received came here as a dead letter."""
        with self._messages_lock:
            entry = self._store.get(_Receipt.parse(self.queue_arn, receipt_handle).key)
            return entry.message.source_arn if entry is not None else None

    def delete_message(self, receipt_handle: str) -> None:
        """Delete it, if nobody received it after the handle was given out: else nothing happens,
        and nobody is told.

        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html

        Raises:
            ReceiptHandleIsInvalid: no handle of this queue.
            InvalidParameterValue: a FIFO queue's message became visible again meanwhile.
        """
        receipt = _Receipt.parse(self.queue_arn, receipt_handle)
        with self._messages_lock:
            self._settle()
            entry = self._store.get(receipt.key)
            if entry is None:
                return
            current = entry.message.approximate_receive_count == receipt.count
            if self.fifo_queue and not (current and entry.state is State.IN_FLIGHT):
                raise InvalidParameterValue(
                    f"Value {receipt_handle} for parameter ReceiptHandle is invalid. "
                    "Reason: The receipt handle has expired."
                )
            if current:
                self._store.remove(entry)
        if self.fifo_queue:
            self._tell()

    def change_visibility(self, receipt_handle: str, hidden: float) -> None:
        """Let a message in flight be visible ``hidden`` seconds from now.

        Raises:
            ReceiptHandleIsInvalid: no handle of this queue.
            InvalidParameterValue: the message is not in flight, or would be for too long.
        """
        with self._messages_lock:
            entry = self._in_flight(receipt_handle)
            now = self.cloud.clock.now()
            if now + hidden - entry.message.received_at > LONGEST_HIDDEN:
                raise InvalidParameterValue(
                    f"Value {hidden} for parameter VisibilityTimeout is invalid. Reason: Total "
                    "VisibilityTimeout for the message is beyond the limit [43200 seconds]"
                )
            entry.message.held = False
            self._store.hide(entry, now + hidden)
        self._tell()

    def let_go(self, receipt_handle: str, hidden: float) -> None:
        """A held message's function failed: the message is visible ``hidden`` seconds after it was
        received, unless the function itself chose a time for it or deleted it.
        """
        with self._messages_lock:
            try:
                entry = self._in_flight(receipt_handle)
            except InvalidParameterValue:
                return
            if entry.message.held:
                entry.message.held = False
                self._store.hide(entry, entry.message.received_at + hidden)
        self._tell()

    def purge(self) -> None:
        """Delete every message."""
        with self._messages_lock:
            self._store = MessageStore(ordered=self.fifo_queue)

    def end(self) -> None:
        """Let those who wait for messages go home without."""
        with self._messages_lock:
            self._ended = True
            self._messages_lock.notify_all()

    def look_again(self) -> None:
        """Let those who wait for messages look at the clock."""
        with self._messages_lock:
            self._messages_lock.notify_all()

    def bury(self, message: LocalMessage, source_arn: str) -> None:
        """Take a dead letter in; in a FIFO queue its age counts anew.

        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/setting-up-dead-letter-queue-retention.html
        """
        message.source_arn = source_arn
        with self._messages_lock:
            if self.fifo_queue:
                message.sent_at = self.cloud.clock.now()
            self._add(message, until=None)
        self._tell()

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> Queue:
        """Every attribute that can be changed, not just two of them."""
        properties = cloudformation_json["Properties"]
        changed = {name: properties[name] for name in _ATTRIBUTES if name in properties}
        if original_resource.redrive_policy and "RedrivePolicy" not in properties:
            changed["RedrivePolicy"] = {}
        original_resource._set_attributes(changed)
        return original_resource  # type: ignore[no-any-return]

    def _set_attributes(self, attributes: dict[str, Any], now: float | None = None) -> None:
        """Leave the policy alone where it is not named: moto drops it."""
        if "Policy" not in attributes:
            attributes = {**attributes, "Policy": self.policy}
        super()._set_attributes(attributes, now)

    def _count(self, state: State) -> int:
        with self._messages_lock:
            self._settle()
            return self._store.count(state)

    def _settle(self) -> None:
        self._keep_held()
        retention = float(self.message_retention_period)  # type: ignore[attr-defined]
        self._store.settle(self.cloud.clock.now(), retention)

    def _keep_held(self) -> None:
        """The code that works on held messages did not run any faster when the clock was put
        forward: they stay hidden from others for as long as before.
        """
        jump = self.cloud.clock.put_forward - self._put_forward
        if jump:
            self._put_forward += jump
            held = [entry for entry in self._store if entry.message.held]
            self._store.postpone(held, jump)

    def _tell(self) -> None:
        with self._messages_lock:
            self._messages_lock.notify_all()
        self.cloud.on_ready(self.queue_arn)

    def _add(self, message: LocalMessage, until: float | None) -> None:
        self._store.add(message.id, message, message.sent_at, message.group_id or "", until)

    def _repeated(self, message: LocalMessage, now: float) -> LocalMessage | None:
        """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html"""
        while self._duplicates:
            key, (until, _) = next(iter(self._duplicates.items()))
            if until > now:
                break
            del self._duplicates[key]
        by_group = self.deduplication_scope == "messageGroup"  # type: ignore[attr-defined]
        key = (message.group_id or "" if by_group else "", message.deduplication_id or "")
        _, earlier = self._duplicates.setdefault(key, (now + _DEDUPLICATION, message))
        return None if earlier is message else earlier

    def _take(
        self, count: int, hidden: float, fits: Callable[[LocalMessage], bool], held: bool
    ) -> tuple[list[LocalMessage], list[tuple[LocalQueue, LocalMessage]], bool]:
        """Messages to give out; those that were received too often, each with its new queue; and
        whether one did not fit.
        """
        taken: list[LocalMessage] = []
        dead: list[tuple[LocalQueue, LocalMessage]] = []
        refused = False
        lane = None
        self._settle()
        now = self.cloud.clock.now()
        while len(taken) < count and (entry := self._store.first(lane)) is not None:
            grave = self._grave_of(entry.message)
            if grave is not None:
                self._store.remove(entry)
                dead.append((grave, entry.message))
                continue
            if not fits(entry.message):
                refused = True
                break
            lane = entry.lane
            taken.append(self._give_out(entry, now, hidden, held))
        for message in taken if not hidden else []:
            # Visible at once; not earlier, or this call would give it out again and again.
            entry = self._store.get(message.id)
            if entry is not None:
                self._store.hide(entry, now)
        self._settle()
        return taken, dead, refused

    def _give_out(
        self, entry: Entry[LocalMessage], now: float, hidden: float, held: bool
    ) -> LocalMessage:
        message = entry.message
        message.approximate_receive_count += 1
        if message.approximate_first_receive_timestamp is None:
            message.approximate_first_receive_timestamp = int(unix_time_millis())
        message.received_at = now
        message.held = held
        message.receipt_handle = _Receipt.handle(
            self.queue_arn, message.id, message.approximate_receive_count
        )
        in_real_time = max(self.cloud.clock.speed, 1.0) if held else 1.0
        self._store.take(entry, now + max(hidden, 1.0) * in_real_time)
        return message.received_copy()

    def _grave_of(self, message: LocalMessage) -> LocalQueue | None:
        """The dead-letter queue for a message that was received too often."""
        policy = self.redrive_policy
        if not policy or message.approximate_receive_count < policy["maxReceiveCount"]:
            return None
        _, _, _, region, account, name = policy["deadLetterTargetArn"].split(":")
        queue = self.cloud.backend_of(account, region).queues.get(name)
        return queue if isinstance(queue, LocalQueue) else None

    def _in_flight(self, receipt_handle: str) -> Entry[LocalMessage]:
        receipt = _Receipt.parse(self.queue_arn, receipt_handle)
        self._settle()
        entry = self._store.get(receipt.key)
        if (
            entry is None
            or entry.state is not State.IN_FLIGHT
            or entry.message.approximate_receive_count != receipt.count
        ):
            raise InvalidParameterValue(
                f"Value {receipt_handle} for parameter ReceiptHandle is invalid. Reason: Message "
                "does not exist or is not available for visibility timeout change."
            )
        return entry
