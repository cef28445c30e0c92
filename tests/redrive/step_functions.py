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
        histories: event types by ARN; ExecutionRedriven events count from 1.
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
            events: list[dict[str, Any]] = []
            for kind in self.histories.get(executionArn, []):
                redrives = sum(one["type"] == "ExecutionRedriven" for one in events)
                details = {"executionRedrivenEventDetails": {"redriveCount": redrives + 1}}
                events.append({"type": kind, **(details if kind == "ExecutionRedriven" else {})})
            return [{"events": [one]} for one in reversed(events)]

        return SimpleNamespace(paginate=paginate)


def failed(count: int = 0, **changes: Any) -> dict[str, Any]:
    return {"status": "FAILED", "redriveCount": count, "redriveStatus": "REDRIVABLE", **changes}


FIRST_RUN = ["ExecutionStarted", "LambdaFunctionScheduled", "TaskScheduled", "ExecutionFailed"]


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

    def __init__(self, machines: Machines, bucket: Bucket) -> None:
        self._clients: dict[str, Any] = {"stepfunctions": machines, "s3": bucket}
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
