"""SNS hands messages to functions, and to a dead-letter queue when there is no function.

https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html
https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html
"""

from __future__ import annotations

import base64
import json
import logging
import os
from typing import Any, ClassVar

from moto.awslambda.exceptions import UnknownFunctionException
from moto.sqs.models import sqs_backends

from startonce.local.aws_text import time_text
from startonce.local.events.sns_topics import JsonNotification
from startonce.local.faults import Faults
from startonce.local.functions.lambda_service import LocalLambdaBackend, new_invocation
from startonce.local.iam.permissions import AccessDeniedError, Permissions
from startonce.local.iam.policy import Access, NotEvaluatedError

_log = logging.getLogger(__name__)


class LocalSubscription(JsonNotification):
    """A subscription that delivers as on AWS: to functions, and to queues that let it."""

    permissions: ClassVar[Permissions]
    faults: ClassVar[Faults]

    def publish(
        self,
        message: str,
        message_id: str,
        subject: str | None = None,
        message_attributes: dict[str, Any] | None = None,
        group_id: str | None = None,
        deduplication_id: str | None = None,
        message_structure: str | None = None,
    ) -> None:
        """Deliver one message, if the filter policy lets it pass."""
        matcher = self._filter_policy_matcher
        if matcher is not None and not matcher.matches(message_attributes, message):
            return
        needed = {"lambda": "lambda:InvokeFunction", "sqs": "sqs:SendMessage"}.get(self.protocol)
        refused = self._refused(needed, self.endpoint) if needed else None
        if refused:
            self._give_up(message, message_id, subject, message_attributes, refused)
            return
        if self.protocol != "lambda":
            super().publish(
                message,
                message_id,
                subject,
                message_attributes,
                group_id,
                deduplication_id,
                message_structure,
            )
            return
        if message_structure == "json":
            message = self._parse_message_structure(message, self.protocol)
        self._deliver_to_function(message, message_id, subject, message_attributes)

    def _deliver_to_function(
        self, message: str, message_id: str, subject: str | None, attributes: dict[str, Any] | None
    ) -> None:
        region = self.endpoint.split(":")[3]
        backend = LocalLambdaBackend.of(self.account_id, region)
        assert isinstance(backend, LocalLambdaBackend)
        try:
            function = backend.find(self.endpoint)
        except UnknownFunctionException as error:
            self._give_up(message, message_id, subject, attributes, str(error))
            return
        event = self._event(message, message_id, subject, attributes)
        body = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        backend.service.submit(
            function, new_invocation(self.endpoint, body.encode(errors="surrogatepass"))
        )

    def _refused(self, action: str, resource: str) -> str | None:
        """Why the resource's own policy does not let the topic do this.

        https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html
        """
        try:
            access = Access(action, resource)
            self.permissions.check_service("sns.amazonaws.com", self.topic.arn, access)
        except AccessDeniedError as error:
            return str(error)
        except NotEvaluatedError as error:
            return f"NotImplemented: the local cloud does not evaluate {error}"
        return None

    def _event(
        self, message: str, message_id: str, subject: str | None, attributes: dict[str, Any] | None
    ) -> dict[str, Any]:
        region = self.topic.sns_backend.region_name
        host = f"https://sns.{region}.amazonaws.com"
        return {
            "Records": [
                {
                    "EventSource": "aws:sns",
                    "EventVersion": "1.0",
                    "EventSubscriptionArn": self.arn,
                    "Sns": {
                        "Type": "Notification",
                        "MessageId": message_id,
                        "TopicArn": self.topic.arn,
                        "Subject": subject,
                        "Message": message,
                        "Timestamp": time_text(),
                        "SignatureVersion": "1",
                        # Of the right form only: its certificate would be at amazonaws.com.
                        "Signature": base64.b64encode(os.urandom(256)).decode(),
                        "SigningCertUrl": f"{host}/SimpleNotificationService-local.pem",
                        "UnsubscribeUrl": f"{host}/?Action=Unsubscribe&SubscriptionArn={self.arn}",
                        "MessageAttributes": _attributes(attributes),
                    },
                }
            ]
        }

    def _give_up(
        self,
        message: str,
        message_id: str,
        subject: str | None,
        attributes: dict[str, Any] | None,
        reason: str,
    ) -> None:
        """What is not there, or not allowed, is a client-side error: SNS does not try again."""
        policy = json.loads(self.attributes.get("RedrivePolicy") or "{}")
        target = policy.get("deadLetterTargetArn")
        if not target:
            _log.error("message %s is lost: %s, and no redrive policy", message_id, reason)
            return
        refused = self._refused("sqs:SendMessage", target)
        if refused:
            _log.error("message %s is lost: %s, and then: %s", message_id, reason, refused)
            return
        body: dict[str, Any] = {
            "Type": "Notification",
            "MessageId": message_id,
            "TopicArn": self.topic.arn,
            "Message": message,
            "Timestamp": time_text(),
            "SignatureVersion": "1",
        }
        if subject:
            body["Subject"] = subject
        if attributes:
            body["MessageAttributes"] = _attributes(attributes)
        fault = self.faults.take_call("sqs.SendMessage")
        if fault is not None:
            _log.error("message %s is lost: %s, and then: %s of SQS", message_id, reason, fault)
            if not fault.after:
                return
        _, _, _, region, account, queue = target.split(":")
        sqs_backends[account][region].send_message(queue, json.dumps(body, ensure_ascii=False))


def _attributes(attributes: dict[str, Any] | None) -> dict[str, Any]:
    return {
        name: {
            "Type": attribute["Type"],
            "Value": _text(attribute["Value"]),
        }
        for name, attribute in (attributes or {}).items()
    }


def _text(value: object) -> str:
    """Binary values are in Base64, numbers in digits."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
