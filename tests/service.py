"""The service, deployed into a local cloud, with a queue that hears its notifications."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from startonce.aws import Aws
from startonce.deploy import STAGE, deploy
from startonce.stack import Stack, find_stack
from startonce.trace import Attempt, Trace, trace_message
from tests.conftest import CloudProcess, let_topic_send, wait_for
from tests.service_copy import copy_service


@dataclass
class Service:
    """The deployed service."""

    cloud: CloudProcess
    aws: Aws
    stack: Stack
    notifications_url: str

    def publish(self, message: object) -> str:
        """The message ID."""
        text = message if isinstance(message, str) else json.dumps(message, ensure_ascii=False)
        answer = self.aws.client("sns").publish(TopicArn=self.stack.topic_arn, Message=text)
        return str(answer["MessageId"])

    def trace(self, message_id: str, names: Collection[str] | None = None) -> Trace:
        return trace_message(self.aws, self.stack, message_id, names)

    def attempts(self, message_id: str) -> Sequence[Attempt]:
        return trace_message(self.aws, self.stack, message_id, names=()).attempts

    def startonce(
        self, command: str, *options: str, code: int | None = 0, seconds: float = 60
    ) -> str:
        """Run ``startonce COMMAND`` for it; with ``code`` None, 0 and 1 are both right."""
        done = subprocess.run(
            [sys.executable, "-m", "startonce", command, "--stage", STAGE, *options],
            env={**os.environ, "AWS_ENDPOINT_URL": self.cloud.endpoint},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode in ((0, 1) if code is None else (code,)), done.stdout
        return done.stdout

    def end(self, message_id: str, attempts: int = 1) -> Trace:
        """The trace, when all attempts and executions are over."""

        def look() -> Trace | None:
            trace = self.trace(message_id)
            over = (
                len(trace.attempts) >= attempts
                and all(attempt.status for attempt in trace.attempts)
                and trace.executions
                and all(execution.status != "RUNNING" for execution in trace.executions)
            )
            return trace if over else None

        found = wait_for(look, what=f"the end of message {message_id}")
        assert found is not None
        return found

    def notifications(self, execution_name: str) -> int:
        return len(self._messages(self.notifications_url, execution_name))

    def failures(self, execution_name: str) -> list[dict[str, Any]]:
        return self._messages(self.stack.failure_queue_url, execution_name)

    def _messages(self, url: str, execution_name: str) -> list[dict[str, Any]]:
        bodies = [json.loads(message["Body"]) for message in all_messages(self.aws, url)]
        return [body for body in bodies if body.get("execution_name") == execution_name]


def operation(**changes: object) -> dict[str, object]:
    """A message of a user of its own."""
    return {
        "user_id": f"user-{uuid.uuid4().hex[:8]}",
        "operation": "signed_in",
        "occurred_at": "2026-11-23T10:00:00Z",
        **changes,
    }


def all_messages(aws: Aws, url: str) -> list[dict[str, Any]]:
    """Every message of a queue, which keeps them."""
    client = aws.client("sqs")
    seen: dict[str, dict[str, Any]] = {}
    # The longest time that SQS hides a message: the clock of a local cloud may run very fast.
    while batch := client.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=43_200
    ).get("Messages"):
        seen |= {message["MessageId"]: message for message in batch}
    for message in seen.values():
        client.change_message_visibility(
            QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
        )
    return list(seen.values())


def deploy_service(cloud: CloudProcess, folder: Path, *options: str) -> Service:
    """The real `sls deploy` of a copy in ``folder``; ``options`` go to it."""
    deploy(copy_service(folder), cloud.endpoint, *options)
    aws = cloud.aws
    stack = find_stack(aws, STAGE)
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName=f"notifications-{uuid.uuid4().hex[:8]}")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    let_topic_send(aws, url, attributes["QueueArn"], stack.notification_topic_arn)
    aws.client("sns").subscribe(
        TopicArn=stack.notification_topic_arn,
        Protocol="sqs",
        Endpoint=attributes["QueueArn"],
        Attributes={"RawMessageDelivery": "true"},
    )
    return Service(cloud, aws, stack, url)
