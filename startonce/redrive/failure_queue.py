"""The failure queue: receives its messages, holds them, and gives back what was not deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from types import TracebackType
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from startonce.redrive.failure_messages import Received

HIDDEN = 300
"""Seconds for which nobody else gets a message that was received. After a SIGKILL, so long."""

_WAIT = 2
"""Seconds of a long poll: one that waits asks every server of SQS, a short poll only some.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html
"""
_EMPTY_POLLS = 2
_ABOUT_ALL_THAT_CAN_BE_HIDDEN = 100_000
"""Of about 120,000: then SQS gives no more, and tells why to a short poll only.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html
"""
_LARGEST_BATCH = 10


class FailureQueue:
    """Holds what it received until it is deleted or given back, which leaving the context does.

    Not for more than one thread.

    Args:
        client: boto3's for SQS.

    Attributes:
        may_hold_more: whether :meth:`batches` ended early, because SQS hides only so many.
    """

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url
        self._seen: set[str] = set()
        self._deleted: set[str] = set()
        self._held: dict[str, str] = {}
        self._was_refused = False
        self.may_hold_more = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The messages come back by themselves after HIDDEN; what went wrong before says more.
        with suppress(ClientError, BotoCoreError):
            self.give_back()

    def counts(self) -> tuple[int, int]:
        """How many messages wait, and how many somebody is reading: about, and of a moment ago."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=names)
        waiting, being_read = (int(answer["Attributes"][name]) for name in names)
        return waiting, being_read

    def batches(self) -> Iterator[list[Received]]:
        """Each message once, up to ten at a time.

        SQS gives a message again when it has been hidden for long enough, or now and then for no
        reason, and an empty answer does not say that the queue is empty. So this ends after a few
        of those, or when all that was seen came round again and nothing new among it.
        """
        empty_polls = repeated = 0
        while empty_polls < _EMPTY_POLLS and repeated <= len(self._seen):
            received = self._receive()
            empty_polls = 0 if received else empty_polls + 1
            new = [one for one in received if one.message_id not in self._seen]
            repeated = 0 if new else repeated + len(received)
            for one in received:
                self._held[one.message_id] = one.receipt_handle
                if one.message_id in self._deleted:
                    self.delete(one)
            if new:
                self._seen |= {one.message_id for one in new}
                yield new
        self.may_hold_more = self._was_refused or len(self._held) >= _ABOUT_ALL_THAT_CAN_BE_HIDDEN

    def delete(self, message: Received) -> None:
        """Delete it, with the handle that it was last received with."""
        handle = self._held.pop(message.message_id, message.receipt_handle)
        self._client.delete_message(QueueUrl=self._url, ReceiptHandle=handle)
        self._deleted.add(message.message_id)

    def hold(self, messages: Collection[Received]) -> None:
        """Hide messages for another while."""
        handles = {one.message_id: self._held.get(one.message_id) for one in messages}
        self._hide({key: handle for key, handle in handles.items() if handle}, HIDDEN)

    def give_back(self) -> None:
        """Let others have at once all that was not deleted."""
        held, self._held = self._held, {}
        self._hide(held, 0)

    def _hide(self, handles: dict[str, str], seconds: int) -> None:
        left = iter(handles.values())
        while batch := list(islice(left, _LARGEST_BATCH)):
            # An entry that fails is of a message that is visible again anyway.
            self._client.change_message_visibility_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": handle, "VisibilityTimeout": seconds}
                    for number, handle in enumerate(batch)
                ],
            )

    def _receive(self) -> list[Received]:
        try:
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_LARGEST_BATCH,
                VisibilityTimeout=HIDDEN,
                WaitTimeSeconds=_WAIT,
                MessageAttributeNames=["All"],
                MessageSystemAttributeNames=["All"],
            )
        except ClientError as error:
            # What is held must be dealt with before there are more.
            if error.response["Error"]["Code"].endswith("OverLimit"):
                self._was_refused = True
                return []
            raise
        messages = [_received(one) for one in answer.get("Messages", [])]
        self._was_refused = self._was_refused and not messages
        return messages


def _received(message: dict[str, Any]) -> Received:
    system = message.get("Attributes", {})
    return Received(
        message_id=message["MessageId"],
        receipt_handle=message["ReceiptHandle"],
        body=message["Body"],
        sent_at=datetime.fromtimestamp(int(system.get("SentTimestamp", 0)) / 1000, UTC),
        source_arn=system.get("DeadLetterQueueSourceArn"),
        attributes=message.get("MessageAttributes", {}),
        system=system,
    )
