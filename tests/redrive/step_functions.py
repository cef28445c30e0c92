"""Step Functions as far as a redrive sees it, with a history that a test can choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

from startonce.aws import Aws
from startonce.redrive.redriving import Redriver
from startonce.redrive.target import Target
from tests.redrive.messages import TARGET

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class ExecutionAlreadyExists(ClientError):
    pass


class ExecutionDoesNotExist(ClientError):
    pass


class ExecutionNotRedrivable(ClientError):
    pass


def error(kind: type[ClientError] = ClientError, code: str = "", message: str = "") -> ClientError:
    return kind({"Error": {"Code": code or kind.__name__, "Message": message}}, "AnAction")


@dataclass
class Machines:
    """A client.

    Attributes:
        executions: what DescribeExecution answers, by ARN.
        histories: event types by ARN; ExecutionRedriven events count from 1, and a task of another
            service than Lambda has its action behind the type: ``TaskSucceeded:sendMessage``.
        on_redrive: called with the ARN; by default a redriven execution begins a step.
        starts: name and input of each.
        start_date: what StartExecution answers.
    """

    executions: dict[str, dict[str, Any]] = field(default_factory=dict)
    histories: dict[str, list[str]] = field(default_factory=dict)
    on_redrive: Callable[[str], None] | None = None
    starts: list[tuple[str, str]] = field(default_factory=list)
    redrives: list[tuple[str, str]] = field(default_factory=list)
    start_date: datetime = NOW
    start_error: ClientError | None = None

    exceptions = SimpleNamespace(
        ExecutionAlreadyExists=ExecutionAlreadyExists,
        ExecutionDoesNotExist=ExecutionDoesNotExist,
        ExecutionNotRedrivable=ExecutionNotRedrivable,
    )

    def start_execution(self, stateMachineArn: str, name: str, input: str) -> Any:  # noqa: A002, N803
        assert stateMachineArn == TARGET.state_machine_arn
        self.starts.append((name, input))
        if self.start_error is not None:
            raise self.start_error
        date = NOW.strftime("%a, %d %b %Y %H:%M:%S GMT")
        return {
            "startDate": self.start_date,
            "ResponseMetadata": {"HTTPHeaders": {"date": date}},
        }

    def describe_execution(self, executionArn: str) -> dict[str, Any]:  # noqa: N803
        if executionArn not in self.executions:
            raise error(ExecutionDoesNotExist)
        return self.executions[executionArn]

    def redrive_execution(self, executionArn: str, clientToken: str) -> None:  # noqa: N803
        self.redrives.append((executionArn, clientToken))
        if self.on_redrive is not None:
            self.on_redrive(executionArn)
            return
        self.executions[executionArn] = failed(count=1) | {"status": "RUNNING"}
        self.histories[executionArn] += ["ExecutionRedriven", "LambdaFunctionScheduled"]

    def get_paginator(self, operation: str) -> Any:
        assert operation == "get_execution_history"

        def paginate(executionArn: str, reverseOrder: bool, **_: Any) -> Any:  # noqa: N803
            assert reverseOrder
            events = _events(self.histories.get(executionArn, []))
            return [{"events": [one]} for one in reversed(events)]

        return SimpleNamespace(paginate=paginate)


def _events(history: list[str]) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    redrives = 0
    for kind, _, action in (one.partition(":") for one in history):
        event: dict[str, Any] = {"type": kind}
        if kind == "ExecutionRedriven":
            redrives += 1
            event["executionRedrivenEventDetails"] = {"redriveCount": redrives}
        if action:
            event[f"{kind[0].lower()}{kind[1:]}EventDetails"] = {"resource": action}
        events.append(event)
    return events


def failed(count: int = 0, **changes: Any) -> dict[str, Any]:
    return {"status": "FAILED", "redriveCount": count, "redriveStatus": "REDRIVABLE", **changes}


A_STEP_FAILED = ["ExecutionStarted", "LambdaFunctionScheduled", "LambdaFunctionFailed"]
REPORTED = ["TaskScheduled:sendMessage", "TaskSucceeded:sendMessage", "ExecutionFailed"]
NOT_REPORTED = ["TaskScheduled:sendMessage", "TaskFailed:sendMessage", "ExecutionFailed"]
FIRST_RUN = [*A_STEP_FAILED, *REPORTED]


@dataclass
class Bucket:
    """S3."""

    objects: dict[str, bytes] = field(default_factory=dict)
    refuses: ClientError | None = None

    def put_object(self, Bucket: str, Key: str, Body: bytes) -> None:  # noqa: N803
        if self.refuses is not None:
            raise self.refuses
        self.objects[f"{Bucket}/{Key}"] = Body


class FakeAws(Aws):
    """Gives out the one and the other."""

    def __init__(self, machines: Machines, bucket: Bucket, sqs: Any = None) -> None:
        self._clients: dict[str, Any] = {"stepfunctions": machines, "s3": bucket, "sqs": sqs}
        self.client = lambda service, patient=False: self._clients[service]


def redriver(
    machines: Machines,
    bucket: Bucket | None = None,
    target: Target = TARGET,
    may_repeat: bool = False,
) -> Redriver:
    aws = FakeAws(machines, bucket or Bucket())
    return Redriver(aws, target, may_repeat, patience=0.5)


LONG_AGO = NOW - timedelta(minutes=5)
