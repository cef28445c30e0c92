"""SNS's topics: sizes in bytes, every subscriber served, nothing kept after a message is delivered.

https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
from typing import Any

from moto.moto_api._internal import mock_random
from moto.sns import urls as sns_urls
from moto.sns.exceptions import InvalidParameterValue, SNSInvalidParameter
from moto.sns.models import SNSBackend, Subscription, Topic

from startonce.local.aws_text import is_true, time_text

LARGEST_MESSAGE = 262_144
"""Bytes in UTF-8, of the message and its attributes together."""

PROTOCOLS = frozenset(
    {"application", "email", "email-json", "firehose", "http", "https", "lambda", "sms", "sqs"}
)

_log = logging.getLogger(__name__)


class LocalTopic(Topic):
    """A topic that does not remember what was published: moto keeps every message for ever."""

    def publish(
        self,
        message: str,
        subject: str | None = None,
        message_attributes: dict[str, Any] | None = None,
        group_id: str | None = None,
        deduplication_id: str | None = None,
        message_structure: str | None = None,
    ) -> str:
        """Hand a message to every subscriber; one that cannot take it is no concern of the others,
        nor of the publisher.

        Raises:
            InvalidParameterValue: ``message_structure`` is ``json`` and the message is not.
        """
        if message_structure == "json":
            _check_structure(message)
        if deduplication_id is None and is_true(self.content_based_deduplication):
            # A queue need not make IDs of contents itself: it gets the topic's.
            # https://docs.aws.amazon.com/sns/latest/dg/fifo-message-dedup.html
            deduplication_id = hashlib.sha256(message.encode(errors="surrogatepass")).hexdigest()
        message_id = str(mock_random.uuid4())
        for subscription in self.sns_backend._get_topic_subscriptions(self):
            try:
                subscription.publish(
                    message,
                    message_id,
                    subject=subject,
                    message_attributes=message_attributes,
                    group_id=group_id,
                    deduplication_id=deduplication_id,
                    message_structure=message_structure,
                )
            except Exception as error:
                _log.error("message %s is not delivered: %s: %s", message_id, subscription, error)
        return message_id


class LocalSnsBackend(SNSBackend):
    """One region's topics."""

    @property
    def _url_module(self) -> Any:
        return sns_urls

    def publish(self, message: str, *args: Any, **kwargs: Any) -> str:
        """Publish one message.

        Raises:
            InvalidParameterValue: it is empty or too long.
        """
        if not message:
            raise InvalidParameterValue("Invalid parameter: Empty message")
        if _size(message, kwargs.get("message_attributes")) > LARGEST_MESSAGE:
            raise InvalidParameterValue("Invalid parameter: Message too long")
        return super().publish(message, *args, **kwargs)

    def subscribe(self, topic_arn: str, endpoint: str, protocol: str) -> Subscription:
        """Subscribe an endpoint to a topic.

        https://docs.aws.amazon.com/sns/latest/api/API_Subscribe.html

        Raises:
            SNSInvalidParameter: there is no such protocol, or the endpoint does not suit it.
            TopicNotFound: there is no such topic.
        """
        if protocol not in PROTOCOLS:
            raise SNSInvalidParameter(
                f"Invalid parameter: Amazon SNS does not support this protocol string: {protocol}"
            )
        return super().subscribe(topic_arn, endpoint, protocol)


class JsonNotification(Subscription):
    """What a queue gets of a message, unless the subscription is for the raw one.

    https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html
    """

    def get_post_data(
        self,
        message: str,
        message_id: str,
        subject: str | None,
        message_attributes: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The signature is of the right form only: moto makes, and keeps, a certificate for each
        message, and no consumer could fetch it from amazonaws.com.
        """
        host = f"https://sns.{self.topic.sns_backend.region_name}.amazonaws.com"
        moment = time_text()
        notification: dict[str, Any] = {
            "Type": "Notification",
            "MessageId": message_id,
            "TopicArn": self.topic.arn,
            "Message": message,
            "Timestamp": moment,
            "SignatureVersion": "1",
            "Signature": base64.b64encode(os.urandom(256)).decode(),
            "SigningCertURL": f"{host}/SimpleNotificationService-local.pem",
            "UnsubscribeURL": f"{host}/?Action=Unsubscribe&SubscriptionArn={self.arn}",
        }
        if subject:
            notification["Subject"] = subject
        if message_attributes:
            notification["MessageAttributes"] = {
                name: {"Type": value["Type"], "Value": _text(value["Value"])}
                for name, value in message_attributes.items()
            }
        return notification


def _check_structure(message: str) -> None:
    try:
        structured = json.loads(message)
    except ValueError:
        structured = None
    if not isinstance(structured, dict):
        raise InvalidParameterValue(
            "Invalid parameter: Message Structure - JSON message body failed to parse"
        )
    if not isinstance(structured.get("default"), str):
        raise InvalidParameterValue(
            "Invalid parameter: Message Structure - No default entry in JSON message body"
        )


def _size(message: str, attributes: dict[str, Any] | None) -> int:
    size = len(message.encode(errors="surrogatepass"))
    for name, value in (attributes or {}).items():
        content = value["Value"]
        raw = content if isinstance(content, bytes) else str(content).encode()
        size += len(name.encode()) + len(value["Type"].encode()) + len(raw)
    return size


def _text(value: object) -> str:
    """Binary values are in Base64, numbers in digits."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
