"""What the user can mend is told in one line, and the exit code tells how it went."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from startonce.aws import Aws
from tests.conftest import CloudProcess


def redrive(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "startonce", "redrive", *arguments],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AWS_EC2_METADATA_DISABLED": "true",
            **environment,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def one_line(done: subprocess.CompletedProcess[str], code: int = 1) -> str:
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--all", "x"], "not both"),
        (["--discard"], "--discard wants IDs"),
        (["--discard", "--all"], "--discard wants IDs"),
        (["--discard", "--may-repeat", "x"], "not both"),
        (["--may-repeat"], "wants --all or IDs"),
        (["--stage", "a", "--stack-name", "b"], "not both"),
        ([""], "an ID is empty"),
        (["--endpoint", "localhost:4566"], "is no URL"),
        (["--endpoint", "http://"], "is no URL"),
        (["--endpoint", "http://127.0.0.1:99999"], "is no URL"),
        (["--nonsense"], "No such option"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_wrong_use(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = redrive(tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_no_credentials(tmp_path: Path) -> None:
    line = one_line(redrive(tmp_path, "--region", "us-east-1"))
    assert line.startswith("Error: Unable to locate credentials: log in")


def test_no_region(tmp_path: Path) -> None:
    line = one_line(redrive(tmp_path))
    assert line == "Error: You must specify a region. Give it as --region, or set AWS_REGION."


def test_a_profile_that_is_not_there(tmp_path: Path) -> None:
    line = one_line(redrive(tmp_path, AWS_PROFILE="nobody", AWS_REGION="us-east-1"))
    assert line == "Error: The config profile (nobody) could not be found"


def test_nothing_listens_there(tmp_path: Path) -> None:
    line = one_line(redrive(tmp_path, AWS_ENDPOINT_URL="http://127.0.0.1:9"))
    assert "http://127.0.0.1:9" in line
    assert "nothing answers there" in line


class _Shop(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>a shop<br></html>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def shop() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Shop)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_something_else_listens_there(tmp_path: Path, shop: str) -> None:
    line = one_line(redrive(tmp_path, "--endpoint", shop))
    assert line == "Error: what answers there is not AWS: look at --endpoint"


def test_no_such_stack(tmp_path: Path, cloud: CloudProcess) -> None:
    for options in (["--stage", "nowhere"], ["--stack-name", "startonce-nowhere"]):
        line = one_line(redrive(tmp_path, "--endpoint", cloud.endpoint, *options))
        assert "no stack startonce-nowhere" in line


def test_throttling_is_waited_out() -> None:
    aws = Aws("http://127.0.0.1:9")
    retries = aws.client("stepfunctions", patient=True).meta.config.retries
    assert (retries["mode"], retries["total_max_attempts"]) == ("adaptive", 12)
    assert aws.client("stepfunctions").meta.config.retries["mode"] == "standard"
