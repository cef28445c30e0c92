"""Three messages through the deployed service, and whether each met the end that was promised."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from startonce.aws import Aws
from startonce.local.faults import Fault
from startonce.stack import Stack
from startonce.trace import Trace, trace_message

if TYPE_CHECKING:
    from startonce.local.server import LocalCloud

LOOK_EVERY = 0.1
PATIENCE = 30.0
"""Seconds that a message may take."""


@dataclass(frozen=True)
class Promise:
    """How a message is to end.

    Attributes:
        error: with which the execution fails, or None.
    """

    attempts: int
    records: int
    notifications: int
    failures: int
    error: str | None = None


@dataclass(frozen=True)
class Scenario:
    """A message to publish.

    Attributes:
        fault: how the invoker's first attempt is made to fail, or None.
    """

    title: str
    message: str
    promise: Promise
    fault: Fault | None = None


@dataclass
class Story:
    """A scenario and what became of it.

    Attributes:
        seconds: from publishing to the end.
        notifications: how many were published for it.
        failures: the messages in the failure queue that are about its execution.
        given_up: why Lambda gave up on the invoker, if it did.
    """

    scenario: Scenario
    trace: Trace
    seconds: float
    notifications: int
    failures: Sequence[dict[str, Any]] = field(default_factory=list)
    given_up: str | None = None

    @property
    def broken_promises(self) -> list[str]:
        """What came out otherwise; empty when all is as promised."""
        promise = self.scenario.promise
        executions = self.trace.executions
        error = executions[0].error if executions else None
        return [
            f"{what}: {found} instead of {expected}"
            for what, found, expected in (
                ("attempts", len(self.trace.attempts), promise.attempts),
                ("request IDs", len({one.request_id for one in self.trace.attempts}), 1),
                ("executions", len(executions), 1),
                ("error", error, promise.error),
                ("records", self.trace.records, promise.records),
                ("notifications", self.notifications, promise.notifications),
                ("messages in the failure queue", len(self.failures), promise.failures),
            )
            if found != expected
        ]


def scenarios() -> list[Scenario]:
    """A good message, one whose invoker fails after it has done its work, a malformed one."""
    return [
        Scenario(
            "a good message",
            _operation("ada", "signed_in"),
            Promise(attempts=1, records=1, notifications=1, failures=0),
        ),
        Scenario(
            "the invoker's first attempt fails after it started the execution",
            _operation("grace", "changed_password"),
            Promise(attempts=2, records=1, notifications=1, failures=0),
            fault=Fault("exception", after=True),
        ),
        Scenario(
            "a malformed message",
            json.dumps({"user_id": "alan"}),
            Promise(attempts=1, records=0, notifications=0, failures=1, error="InvalidOperation"),
        ),
    ]


class Demo:
    """Plays scenarios on a stack that is deployed into the local cloud."""

    def __init__(self, cloud: LocalCloud, aws: Aws, stack: Stack) -> None:
        self._cloud = cloud
        self._aws = aws
        self._stack = stack
        self._executions = _Executions(aws, stack.state_machine_arn)
        self._notifications = _Inbox(aws, _subscribed_queue(aws, stack.notification_topic_arn))
        self._failures = _Inbox(aws, stack.failure_queue_url)

    def play(self, scenario: Scenario, progress: Callable[[Story], None]) -> Story:
        """Publish the message and wait for its end; ``progress`` is called at every look."""
        if scenario.fault is not None:
            self._cloud.faults.add(self._stack.invoker, scenario.fault)
        began = time.monotonic()
        answer = self._aws.client("sns").publish(
            TopicArn=self._stack.topic_arn, Message=scenario.message
        )
        while True:
            story = self._look(scenario, answer["MessageId"], time.monotonic() - began)
            progress(story)
            if _is_over(story) or story.seconds > PATIENCE:
                return story
            time.sleep(LOOK_EVERY)

    def _look(self, scenario: Scenario, message_id: str, seconds: float) -> Story:
        names = self._executions(message_id)
        trace = trace_message(self._aws, self._stack, message_id, names)
        return Story(
            scenario,
            trace,
            seconds,
            notifications=sum(one.get("execution_name") in names for one in self._notifications()),
            failures=[one for one in self._failures() if one.get("execution_name") in names],
            given_up=_why_given_up(self._failures(), message_id),
        )


class _Executions:
    """Which executions a message started, by what is in their inputs and not by their names: a
    demonstration must not take for granted what it is to show.
    """

    def __init__(self, aws: Aws, state_machine_arn: str) -> None:
        self._client = aws.client("stepfunctions")
        self._state_machine_arn = state_machine_arn
        self._inputs: dict[str, str] = {}

    def __call__(self, message_id: str) -> set[str]:
        pages = self._client.get_paginator("list_executions").paginate(
            stateMachineArn=self._state_machine_arn
        )
        for execution in (one for page in pages for one in page["executions"]):
            if execution["name"] not in self._inputs:
                arn = execution["executionArn"]
                described = self._client.describe_execution(executionArn=arn)
                self._inputs[execution["name"]] = described["input"]
        return {name for name, text in self._inputs.items() if message_id in text}


class _Inbox:
    """All JSON messages that a queue has had, in the order they were seen."""

    def __init__(self, aws: Aws, url: str) -> None:
        self._aws = aws
        self._url = url
        self._seen: dict[str, dict[str, Any]] = {}

    def __call__(self) -> list[dict[str, Any]]:
        # Left in the queue: the failure queue is not ours to empty.
        answer = self._aws.client("sqs").receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=10, VisibilityTimeout=0
        )
        for message in answer.get("Messages", []):
            body = json.loads(message["Body"])
            self._seen[message["MessageId"]] = body if isinstance(body, dict) else {}
        return list(self._seen.values())


def _why_given_up(failures: Sequence[dict[str, Any]], message_id: str) -> str | None:
    """The error in the record of Lambda's destination for this message, if there is one."""
    for failure in failures:
        if "requestContext" in failure and message_id in json.dumps(failure["requestPayload"]):
            payload = failure.get("responsePayload") or {}
            return f"{payload.get('errorType')}: {payload.get('errorMessage')}"
    return None


def _subscribed_queue(aws: Aws, topic_arn: str) -> str:
    """A queue that gets what is published to the topic, each message as it is."""
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName="startonce-demo-notifications")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    queue_arn = attributes["Attributes"]["QueueArn"]
    topic_may_send = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [topic_may_send]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    aws.client("sns").subscribe(
        TopicArn=topic_arn,
        Protocol="sqs",
        Endpoint=queue_arn,
        Attributes={"RawMessageDelivery": "true"},
    )
    return str(url)


def _operation(user_id: str, operation: str) -> str:
    return json.dumps(
        {"user_id": user_id, "operation": operation, "occurred_at": "2026-11-23T10:00:00Z"}
    )


def _is_over(story: Story) -> bool:
    """Nothing is running, and as many attempts were made as are due, or as ever will be."""
    trace = story.trace
    return story.given_up is not None or (
        len(trace.attempts) >= story.scenario.promise.attempts
        and all(attempt.status for attempt in trace.attempts)
        and len(trace.executions) > 0
        and all(execution.status != "RUNNING" for execution in trace.executions)
    )
