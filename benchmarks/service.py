"""The deployed service, seen from outside: publish messages, wait until their executions ended."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.emulators import Running
from startonce.deploy import STAGE, deploy
from startonce.stack import find_stack
from tests.service_copy import copy_service

MESSAGE = json.dumps(
    {"user_id": "ada", "operation": "signed_in", "occurred_at": "2026-11-23T10:00:00Z"}
)
LOOK_EVERY = 0.02
PATIENCE = 120.0
_PUBLISHERS = 10


class NotEndedError(Exception):
    """Executions that should have succeeded did not."""


class Service:
    """This repository's service, deployed with the real ``sls deploy`` into a running emulator.

    Args:
        emulator: which must be empty.
    """

    def __init__(self, emulator: Running) -> None:
        self.emulator = emulator
        with tempfile.TemporaryDirectory(prefix="bench-service-") as folder:
            deploy(copy_service(Path(folder)), emulator.endpoint)
        aws = emulator.aws
        self.stack = find_stack(aws, STAGE)
        self._sns = aws.client("sns")
        self._step_functions = aws.client("stepfunctions")
        self._threads = ThreadPoolExecutor(_PUBLISHERS)

    def send(self, messages: int) -> float:
        """Publish them at once; seconds from then until the last of their executions ended.

        Raises:
            NotEndedError: an execution failed, or did not end.
        """
        began = time.time()
        list(self._threads.map(self._publish, range(messages)))
        executions = self._wait_for_the_end(messages, began)
        failed = [one["status"] for one in executions if one["status"] != "SUCCEEDED"]
        if failed:
            raise NotEndedError(f"{len(failed)} of {messages} executions ended as {set(failed)}")
        return max(_seconds(one["stopDate"]) for one in executions) - began

    def a_history(self) -> list[dict[str, Any]]:
        """The history of the newest execution."""
        arn = self._newest(1)[0]["executionArn"]
        answer = self._step_functions.get_execution_history(executionArn=arn, maxResults=1000)
        events: list[dict[str, Any]] = answer["events"]
        return events

    def _publish(self, _: int) -> None:
        self._sns.publish(TopicArn=self.stack.topic_arn, Message=MESSAGE)

    def _wait_for_the_end(self, messages: int, began: float) -> Sequence[dict[str, Any]]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            newest = self._newest(messages)
            ours = [one for one in newest if _seconds(one["startDate"]) >= began - 0.001]
            if len(ours) == messages and all(one["status"] != "RUNNING" for one in ours):
                return ours
            time.sleep(LOOK_EVERY)
        raise NotEndedError(f"{messages} executions did not end within {PATIENCE:.0f} s")

    def _newest(self, count: int) -> list[dict[str, Any]]:
        """AWS and both emulators list the newest first, so what is old costs nothing here."""
        answer = self._step_functions.list_executions(
            stateMachineArn=self.stack.state_machine_arn, maxResults=count
        )
        executions: list[dict[str, Any]] = answer["executions"]
        return executions


def _seconds(moment: datetime) -> float:
    return moment.timestamp()
