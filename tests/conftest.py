"""A local cloud in a process of its own, as a user starts it: moto's state is one for a process,
and the handlers' tests need it for themselves.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import pytest

from startonce.aws import Aws
from startonce.local.control_api import CLOCK_PATH, FAULTS_PATH

REPOSITORY = Path(__file__).parent.parent
SPEED = 60
T = TypeVar("T")


@dataclass
class CloudProcess:
    """A running ``startonce up``."""

    process: subprocess.Popen[str]
    endpoint: str

    @property
    def aws(self) -> Aws:
        return Aws(self.endpoint)

    def add_fault(self, function: str, kind: str, after: bool = False, times: int = 1) -> None:
        self.add_faults(f"{function}:{kind}{'-after' if after else ''}:{times}")

    def add_faults(self, *texts: str) -> None:
        """As ``--fault`` has them, such as ``states.StartExecution:throttle:30%``."""
        for text in texts:
            self._ask("POST", FAULTS_PATH, text)

    def clear_faults(self) -> None:
        self._ask("DELETE", FAULTS_PATH)

    def struck(self) -> dict[str, int]:
        """How many faults have struck so far, by ``TARGET:KIND[-after]``."""
        return dict(json.loads(self._ask("GET", FAULTS_PATH))["struck"])

    def advance(self, seconds: float) -> None:
        """Put the clock forward."""
        self._ask("POST", CLOCK_PATH, str(seconds))

    def _ask(self, method: str, path: str, body: str = "") -> str:
        request = urllib.request.Request(self.endpoint + path, body.encode(), method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


def start_cloud(*options: str, errors: IO[str] | None = None) -> CloudProcess:
    process = subprocess.Popen(
        [sys.executable, "-m", "startonce", "up", "--port", "0", *options],
        cwd=REPOSITORY,
        env={**os.environ, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )
    assert process.stdout is not None
    return CloudProcess(process, _endpoint(process.stdout))


def _endpoint(output: IO[str]) -> str:
    for line in output:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return found[0]
    raise AssertionError("the local cloud did not say where it listens")


@pytest.fixture(scope="session")
def cloud() -> Iterator[CloudProcess]:
    running = start_cloud("--speed", str(SPEED))
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="session")
def aws(cloud: CloudProcess) -> Aws:
    return cloud.aws


def policy(*statements: dict[str, object]) -> str:
    """A policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def let_topic_send(aws: Aws, queue_url: str, queue_arn: str, topic_arn: str) -> None:
    """Give a queue the policy that a subscription of it, or its redrive policy, needs."""
    statement: dict[str, object] = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    }
    aws.client("sqs").set_queue_attributes(
        QueueUrl=queue_url, Attributes={"Policy": policy(statement)}
    )


def wait_for(look: Callable[[], T], seconds: float = 30, what: str = "the condition") -> T:
    """The first true answer of ``look``."""
    deadline = time.monotonic() + seconds
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {seconds} s; last: {answer!r}")
        time.sleep(0.05)
