"""Where the events of a run are, counted by what the service left behind and not by what it says.

Events are told apart by the ``user_id`` of their messages (:func:`tests.service.operation`), which
is in the execution's input, the record, the notification and the failure queue alike.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.service import Service, all_messages

POINTER = "software.amazon.payloadoffloading.PayloadS3Pointer"
_USER = re.compile(r"user-[0-9a-f]{8}")


@dataclass
class Outcome:
    """What became of one event.

    Attributes:
        executions: status by execution name.
        failures: bodies of its messages in the failure queue.
    """

    executions: dict[str, str] = field(default_factory=dict)
    records: int = 0
    notifications: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)

    @property
    def figures(self) -> tuple[int, int, int]:
        """How many executions, records and notifications."""
        return len(self.executions), self.records, self.notifications

    @property
    def places(self) -> int:
        """In how many places the event is: an execution that succeeded and did all its work, one
        that failed and is reported, or the failure queue alone.

        Lambda's record of an event that was started all the same is no place of its own: its
        redrive finds the execution.
        """
        statuses = set(self.executions.values())
        reported = any("execution_arn" in body for body in self.failures)
        return sum(
            (
                statuses == {"SUCCEEDED"} and self.figures == (1, 1, 1),
                statuses == {"FAILED"} and reported,
                not statuses and len(self.failures) > 0,
            )
        )

    @property
    def waits_for_a_person(self) -> bool:
        """Whether a redrive leaves it alone unless it is told more."""
        words = {body.get("redrive") for body in self.failures}
        return bool(words) and words <= {"useless", "may_repeat"}

    @property
    def is_running(self) -> bool:
        return "RUNNING" in self.executions.values()


class Ledger:
    """Reads everything at each look; what cannot change is read once."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._users: dict[str, str] = {}
        self._notified: dict[str, str] = {}

    def look(self) -> dict[str, Outcome]:
        """By user."""
        found: dict[str, Outcome] = defaultdict(Outcome)
        for name, status in self._executions():
            found[self._users[name]].executions[name] = status
        for user, count in Counter(self._records()).items():
            found[user].records = count
        for user, count in Counter(self._notifications()).items():
            found[user].notifications = count
        for user, body in self._failures():
            found[user].failures.append(body)
        return found

    def _executions(self) -> Iterable[tuple[str, str]]:
        client = self._service.aws.client("stepfunctions")
        pages = client.get_paginator("list_executions").paginate(
            stateMachineArn=self._service.stack.state_machine_arn
        )
        for execution in (one for page in pages for one in page["executions"]):
            self._user_of(execution["executionArn"])
            yield execution["name"], execution["status"]

    def _user_of(self, execution_arn: str) -> str:
        name = execution_arn.rpartition(":")[2]
        if name not in self._users:
            client = self._service.aws.client("stepfunctions")
            text = client.describe_execution(executionArn=execution_arn)["input"]
            self._users[name] = _user_in(self._resolved(text))
        return self._users[name]

    def _resolved(self, text: str) -> str:
        if POINTER not in text:
            return text
        _, where = json.loads(text)
        answer = self._service.aws.client("s3").get_object(
            Bucket=where["s3BucketName"], Key=where["s3Key"]
        )
        return str(answer["Body"].read().decode())

    def _records(self) -> Iterable[str]:
        pages = (
            self._service.aws.client("dynamodb")
            .get_paginator("scan")
            .paginate(TableName=self._service.stack.table_name, ProjectionExpression="user_id")
        )
        return (_user_in(item["user_id"]["S"]) for page in pages for item in page["Items"])

    def _notifications(self) -> Iterable[str]:
        client, url = self._service.aws.client("sqs"), self._service.notifications_url
        while batch := client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in batch:
                self._notified[message["MessageId"]] = _user_in(message["Body"])
            client.delete_message_batch(
                QueueUrl=url,
                Entries=[
                    {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]}
                    for index, message in enumerate(batch)
                ],
            )
        return self._notified.values()

    def _failures(self) -> Iterable[tuple[str, dict[str, Any]]]:
        for message in all_messages(self._service.aws, self._service.stack.failure_queue_url):
            body = json.loads(message["Body"])
            user = _USER.search(message["Body"])
            yield (user[0] if user else self._user_of(body["execution_arn"])), body


def _user_in(text: str) -> str:
    found = _USER.search(text)
    return found[0] if found else "nobody"
