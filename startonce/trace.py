"""What became of one message: its attempts, its execution, each step, and the end it met.

Everything is read through AWS's own APIs, so it works on AWS and on the local cloud alike.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from startonce.aws import Aws
from startonce.stack import Stack


@dataclass(frozen=True)
class Attempt:
    """One run of the invoker.

    Attributes:
        outcome: what the invoker logged: ``started``, ``already_started``, ``failed``; None when
            it did not get so far.
        status: Lambda's own word: ``success``, ``error`` or ``timeout``; None while it runs.
        duration: milliseconds; None while it runs.
    """

    request_id: str
    outcome: str | None = None
    status: str | None = None
    duration: float | None = None


@dataclass
class Step:
    """One state of the execution.

    Attributes:
        tries: how often it was run.
        seconds: from entering it to leaving it; None while it runs.
        error: the error of its last try, if that failed.
    """

    name: str
    entered: datetime
    tries: int = 0
    seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Execution:
    """The execution that the message started.

    Attributes:
        status: ``RUNNING``, ``SUCCEEDED``, ``FAILED``, ``TIMED_OUT`` or ``ABORTED``.
    """

    name: str
    status: str
    error: str | None
    cause: str | None
    steps: Sequence[Step]


@dataclass(frozen=True)
class Trace:
    """All of it. ``executions`` has more than one entry only if the promise is broken."""

    message_id: str
    attempts: Sequence[Attempt] = field(default_factory=list)
    executions: Sequence[Execution] = field(default_factory=list)
    records: int = 0


def trace_message(
    aws: Aws, stack: Stack, message_id: str, names: Collection[str] | None = None
) -> Trace:
    """Follow the message with this SNS message ID.

    Args:
        names: of its executions, where they are known better than by the invoker's request IDs.
    """
    attempts = _attempts(aws, stack, message_id)
    if names is None:
        names = {attempt.request_id for attempt in attempts}
    executions = [
        one for name in sorted(names) if (one := _execution(aws, stack, name)) is not None
    ]
    records = sum(_has_record(aws, stack, name) for name in names)
    return Trace(message_id, attempts, executions, records)


def _attempts(aws: Aws, stack: Stack, message_id: str) -> list[Attempt]:
    """The invoker's runs with the request IDs that it logged for the message, in their order."""
    lines = list(_log_lines(aws, stack.invoker_log_group))
    ours = {line["request_id"] for line in lines if line.get("message_id") == message_id}
    attempts: list[Attempt] = []
    running: dict[str, Attempt] = {}
    for line in lines:
        record = line.get("record", {})
        request_id = str(record.get("requestId") or line.get("request_id"))
        if request_id not in ours:
            continue
        if line.get("type") == "platform.start":
            running[request_id] = Attempt(request_id)
        elif "outcome" in line:
            running[request_id] = Attempt(request_id, outcome=line["outcome"])
        elif line.get("type") == "platform.report":
            begun = running.pop(request_id, Attempt(request_id))
            duration = record["metrics"]["durationMs"]
            attempts.append(Attempt(request_id, begun.outcome, record["status"], duration))
    return [*attempts, *running.values()]


def _log_lines(aws: Aws, group: str) -> Iterator[dict[str, Any]]:
    pages = aws.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
    events = [event for page in pages for event in page["events"]]
    # Python's sort keeps the order of events of the same millisecond.
    for event in sorted(events, key=lambda event: int(event["timestamp"])):
        try:
            line = json.loads(event["message"])
        except ValueError:
            continue
        if isinstance(line, dict):
            yield line


def _execution(aws: Aws, stack: Stack, name: str) -> Execution | None:
    client = aws.client("stepfunctions")
    arn = stack.execution_arn(name)
    try:
        described = client.describe_execution(executionArn=arn)
    except ClientError as error:
        if error.response["Error"]["Code"] == "ExecutionDoesNotExist":
            return None
        raise
    return Execution(
        name=name,
        status=described["status"],
        error=described.get("error"),
        cause=described.get("cause"),
        steps=read_steps(client, arn),
    )


def read_steps(client: Any, execution_arn: str) -> list[Step]:
    """The steps of an execution so far; ``client`` is boto3's for Step Functions."""
    pages = client.get_paginator("get_execution_history").paginate(executionArn=execution_arn)
    return _steps([event for page in pages for event in page["events"]])


def _steps(history: Sequence[dict[str, Any]]) -> list[Step]:
    steps: list[Step] = []
    for event in history:
        kind = event["type"]
        if kind.endswith("StateEntered"):
            steps.append(Step(event["stateEnteredEventDetails"]["name"], event["timestamp"]))
        elif not steps:
            continue
        elif kind.endswith("Scheduled"):
            steps[-1].tries += 1
            steps[-1].error = None
        elif kind.endswith(("Failed", "TimedOut")) and not kind.startswith("Execution"):
            steps[-1].error = _error_of(event)
        elif kind.endswith("StateExited"):
            steps[-1].seconds = (event["timestamp"] - steps[-1].entered).total_seconds()
    return steps


def _error_of(event: dict[str, Any]) -> str:
    details: dict[str, Any] = next(
        (value for key, value in event.items() if key.endswith("Details")), {}
    )
    return str(details.get("error", event["type"]))


def _has_record(aws: Aws, stack: Stack, name: str) -> bool:
    key = {"execution_name": {"S": name}}
    answer = aws.client("dynamodb").get_item(
        TableName=stack.table_name, Key=key, ConsistentRead=True
    )
    return "Item" in answer
