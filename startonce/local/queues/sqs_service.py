"""SQS's API on our queues: what is checked before a message is taken in, and sizes in bytes.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from moto.core.base_backend import BackendDict
from moto.sqs import urls as sqs_urls
from moto.sqs.exceptions import (
    BatchRequestTooLong,
    InvalidParameterValue,
    MissingParameter,
    SQSException,
)
from moto.sqs.models import MAXIMUM_MESSAGE_DELAY, Message, Queue, SQSBackend

from startonce.local.queues.sqs_queue import LocalMessage, LocalQueue

LARGEST_MESSAGE = 1_048_576
"""Bytes in UTF-8, of the body and the message attributes together."""

_LONGEST_VISIBILITY = 43_200
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class LocalSqsBackend(SQSBackend):
    """One region's queues."""

    @property
    def _url_module(self) -> Any:
        return sqs_urls

    def queue(self, name: str) -> LocalQueue:
        """Raises QueueDoesNotExist."""
        queue = self.get_queue(name)
        assert isinstance(queue, LocalQueue)
        return queue

    def delete_queue(self, queue_name: str) -> None:
        """Delete it with all its messages."""
        self.queue(queue_name).end()
        super().delete_queue(queue_name)

    def send_message(
        self,
        queue_name: str,
        message_body: str,
        message_attributes: dict[str, Any] | None = None,
        delay_seconds: int | None = None,
        deduplication_id: str | None = None,
        group_id: str | None = None,
        system_attributes: dict[str, Any] | None = None,
        validate_group_id: bool = True,
    ) -> Message:
        """Take a message in.

        Raises:
            SQSException: with AWS's code for what is wrong with it.
        """
        queue = self.queue(queue_name)
        _check_size(queue, message_body, message_attributes)
        delay = int(queue.delay_seconds if delay_seconds is None else delay_seconds)  # type: ignore[attr-defined]
        self._validate_message(
            queue, message_body, int(delay_seconds or 0), deduplication_id, group_id
        )
        if not 0 <= delay <= MAXIMUM_MESSAGE_DELAY:
            raise InvalidParameterValue(
                f"Value {delay} for parameter DelaySeconds is invalid. "
                "Reason: DelaySeconds must be >= 0 and <= 900."
            )
        message = LocalMessage(str(uuid.uuid4()), message_body, system_attributes)
        message.message_attributes = message_attributes or {}
        message.group_id = group_id
        message.deduplication_id = deduplication_id
        if deduplication_id is None and queue.content_based_deduplication:  # type: ignore[attr-defined]
            message.deduplication_id = hashlib.sha256(message_body.encode()).hexdigest()
        return queue.send(message, delay)

    def send_message_batch(
        self, queue_name: str, entries: dict[str, dict[str, Any]]
    ) -> tuple[list[Message], list[dict[str, Any]]]:
        """Take up to ten messages in.

        Raises:
            BatchRequestTooLong: together they are more than a single one may be.
        """
        size = sum(
            _size(entry["MessageBody"], entry.get("MessageAttributes"))
            for entry in entries.values()
        )
        if size > LARGEST_MESSAGE:
            raise BatchRequestTooLong(size)
        return super().send_message_batch(queue_name, entries)

    def receive_message(
        self,
        queue_name: str,
        count: int,
        wait_seconds_timeout: int,
        visibility_timeout: int,
        message_attribute_names: list[str] | None = None,
    ) -> list[Message]:
        """Give out messages, with the attributes that were asked for."""
        received = self.queue(queue_name).receive(count, wait_seconds_timeout, visibility_timeout)
        for message in received:
            message.message_attributes = _chosen(
                message.message_attributes, message_attribute_names or []
            )
        return list(received)

    def delete_message_batch(
        self, queue_name: str, receipts: list[dict[str, Any]]
    ) -> tuple[list[str], list[dict[str, Any]]]:
        """Delete up to ten messages; each can fail for itself."""
        queue = self.queue(queue_name)
        done, failed = [], []
        for receipt in receipts:
            try:
                queue.delete_message(receipt["ReceiptHandle"])
            except SQSException as error:
                failed.append(_failure(receipt["Id"], error))
            else:
                done.append(receipt["Id"])
        return done, failed

    def change_message_visibility(
        self, queue_name: str, receipt_handle: str, visibility_timeout: int
    ) -> None:
        """Let a message in flight be visible at another time."""
        self.queue(queue_name).change_visibility(receipt_handle, int(visibility_timeout))

    def change_message_visibility_batch(
        self, queue_name: str, entries: list[dict[str, Any]]
    ) -> tuple[list[str], list[dict[str, Any]]]:
        """The same for up to ten messages; each can fail for itself."""
        done, failed = [], []
        for entry in entries:
            try:
                hidden = int(entry["VisibilityTimeout"])
                if not 0 <= hidden <= _LONGEST_VISIBILITY:
                    raise InvalidParameterValue("Visibility timeout invalid")
                self.change_message_visibility(queue_name, entry["ReceiptHandle"], hidden)
            except SQSException as error:
                failed.append(_failure(entry["Id"], error))
            else:
                done.append(entry["Id"])
        return done, failed

    def purge_queue(self, queue_name: str) -> None:
        """Delete every message of a queue."""
        self.queue(queue_name).purge()


def end_waits(backends: BackendDict[SQSBackend]) -> None:
    """Let everybody who waits for a message go: the local cloud stops."""
    for queue in _queues(backends):
        queue.end()


def look_again(backends: BackendDict[SQSBackend]) -> None:
    """Let everybody who waits for a message look at the clock: it was put forward."""
    for queue in _queues(backends):
        queue.look_again()


def _queues(backends: BackendDict[SQSBackend]) -> Iterator[LocalQueue]:
    for regions in list(backends.values()):
        for backend in list(regions.values()):
            for queue in list(backend.queues.values()):
                if isinstance(queue, LocalQueue):
                    yield queue


def _check_size(queue: Queue, body: str, attributes: dict[str, Any] | None) -> None:
    if not body:
        raise MissingParameter("MessageBody")
    limit = int(queue.maximum_message_size)  # type: ignore[attr-defined]
    if _size(body, attributes) > limit:
        raise InvalidParameterValue(
            f"One or more parameters are invalid. Reason: Message must be shorter than {limit} "
            "bytes."
        )
    if found := _FORBIDDEN.search(body):
        raise SQSException(
            "InvalidMessageContents",
            f"Invalid binary character '#x{ord(found[0]):X}' was found in the message body, the "
            "set of allowed characters is #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | "
            "#x10000 to #x10FFFF",
        )


def _size(body: str, attributes: dict[str, Any] | None) -> int:
    return len(body.encode(errors="surrogatepass")) + sum(
        len(name.encode()) + sum(_length(value[part]) for part in _PARTS if value.get(part))
        for name, value in (attributes or {}).items()
    )


_PARTS = ("DataType", "StringValue", "BinaryValue")


def _length(value: str | bytes) -> int:
    return len(value if isinstance(value, bytes) else value.encode(errors="surrogatepass"))


def _chosen(attributes: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Those with one of the names, or with a prefix that is written ``prefix.*``."""
    wanted = set(names)
    prefixes = tuple(name[:-2] for name in wanted if name.endswith(".*"))
    if "All" in wanted:
        return attributes
    return {
        name: value
        for name, value in attributes.items()
        if name in wanted or name.startswith(prefixes)
    }


def _failure(key: str, error: SQSException) -> dict[str, Any]:
    return {"Id": key, "SenderFault": True, "Code": error.code, "Message": error.message}


def answer_receive(receive: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Moto's answer to ReceiveMessage, with DeadLetterQueueSourceArn, which it leaves out.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
    """

    def answer(request: Any) -> Any:
        answered = receive(request)
        parameters = ("MessageSystemAttributeNames", "AttributeNames")
        asked = {name for one in parameters for name in request._get_param(one, [])}
        if asked & {"All", "DeadLetterQueueSourceArn"}:
            queue = request.sqs_backend.queue(request._get_queue_name())
            for message in answered.result.get("Messages", ()):
                source = queue.source_of(message["ReceiptHandle"])
                if source is not None:
                    message.setdefault("Attributes", {})["DeadLetterQueueSourceArn"] = source
        return answered

    return answer
