"""docs/local-cloud.md: its commands, as written."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest

from startonce.aws import Aws
from startonce.cli import up
from startonce.deploy import STAGE
from startonce.local.faults import AMBIGUOUS, API_AMBIGUOUS, API_KINDS, KINDS
from startonce.local.http_server import DEFAULT_PORT
from startonce.stack import find_stack
from tests.conftest import wait_for
from tests.docs.markdown import commands, tables
from tests.docs.terminal import Terminal, clone

SCENARIOS = {"Start it", "Use it", "Make a function fail", "The clock"}
"""The sections with commands that are tried here."""

COMMANDS = commands("docs/local-cloud.md")
UP, DEMO = (block.strip() for block in COMMANDS["Start it"])
UP_WITH_FAULT, MORE_FAULTS = (block.strip() for block in COMMANDS["Make a function fail"])
[FORWARD] = (block.strip() for block in COMMANDS["The clock"])
HERE = f"http://127.0.0.1:{DEFAULT_PORT}"


@contextmanager
def started(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Type the page's longest command, which is the first and a fault.

    Yields the endpoint, and the commands that it says to try.
    """
    process = subprocess.Popen(
        shlex.split(UP_WITH_FAULT),
        cwd=folder,
        env=Terminal(folder, HERE).environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        endpoint = next(found[0] for x in lines if (found := re.search(r"http://[\w.:]+\d", x)))
        to_try = [line.strip() for line in lines_until_logs(lines)]
        yield endpoint, to_try
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
    assert process.returncode in (0, 128 + signal.SIGINT)


def lines_until_logs(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line
        if "aws logs" in line:
            return


def failures(aws: Aws) -> list[dict[str, Any]]:
    url = find_stack(aws, STAGE).failure_queue_url
    answer = aws.client("sqs").receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0
    )
    return [json.loads(message["Body"]) for message in answer.get("Messages", [])]


def given_up(aws: Aws) -> dict[str, Any] | None:
    return next((one for one in failures(aws) if "requestContext" in one), None)


def test_it_is_started_used_and_stopped(tmp_path: Path) -> None:
    with started(clone(tmp_path)) as (endpoint, to_try):
        terminal = Terminal(tmp_path, endpoint)
        assert "AWS_ENDPOINT_URL=" in terminal.run(*to_try[:-1], "env")
        # The message that it says to publish meets the three faults.
        failure = wait_for(lambda: given_up(Aws(endpoint)), what="three failed attempts")
        assert failure is not None
        assert failure["requestContext"]["approximateInvokeCount"] == 3
        assert failure["responsePayload"]["errorType"] == "InjectedFault"
        faults = terminal.run(MORE_FAULTS.replace(HERE, endpoint))
        assert '"struck": {"invoker:exception-after": 3}' in faults
        assert '"waiting": {"states.StartExecution:disconnect-after": 2}' in faults
        assert '"rates": {"invoker:exception": 30' in faults
        left = terminal.run(
            f"curl -s {endpoint}/_startonce/faults", FORWARD.replace(HERE, endpoint)
        )
        assert left.startswith('{"struck": {"invoker:exception-after": 3}, "waiting": {}, "rates"')
        assert "needed" not in left
        use, remove = COMMANDS["Use it"]
        assert HERE in use
        before = use.replace(HERE, endpoint).splitlines()
        said = terminal.run(*before)
        assert '"startonce-local-invoker"' in said
        assert '"CF_OperationLog"' in said
        assert "stateMachine:startonce-local-OperationLog-" in said
        terminal.run(remove)


def test_the_longest_command_is_the_first_and_a_fault() -> None:
    assert UP_WITH_FAULT.startswith(f"{UP} --fault ")


def test_the_table_of_options_is_that_of_the_command() -> None:
    named = [row[0].split()[0] for row in tables("docs/local-cloud.md")[0]]
    assert named == [param.opts[0] for param in up.params if isinstance(param, click.Option)]


def test_the_tables_of_faults_are_those_of_the_code() -> None:
    of_functions, of_calls = (
        {row[0]: row[2] == "yes" for row in table} for table in tables("docs/local-cloud.md")[1:3]
    )
    assert of_functions == {kind: kind in AMBIGUOUS for kind in KINDS}
    assert of_calls == {kind: kind in API_AMBIGUOUS for kind in API_KINDS}


@pytest.mark.parametrize(
    ("target", "expected"), [("run", DEMO), ("up", ".venv/bin/startonce up --deploy")]
)
def test_make_runs_the_commands_of_the_page(target: str, expected: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", target],
        cwd=clone(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{expected}\n"
    assert UP.startswith(expected) or DEMO == expected
