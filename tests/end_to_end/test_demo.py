"""`startonce demo` shows three stories and says by its exit code whether they came out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.service_copy import copy_service


def run_demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "startonce", "demo", *options],
        cwd=folder,
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_demo_comes_out_as_promised(tmp_path: Path) -> None:
    done = run_demo(copy_service(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        "1. a good message",
        "2. the invoker's first attempt fails after it started the execution",
        "started the execution, then failed",
        "found the execution already started",
        "recorded once, user notified once",
        "3. a malformed message",
        "in the failure queue: InvalidOperation",
    ):
        assert line in done.stdout


def test_the_demo_fails_where_the_promise_is_broken(tmp_path: Path) -> None:
    service = copy_service(tmp_path)
    invoker = service / "handlers" / "invoker.py"
    source = invoker.read_text()
    broken = source.replace(
        "start(state_machine, name,", "start(state_machine, os.urandom(8).hex(),"
    )
    assert broken != source
    invoker.write_text(broken)
    done = run_demo(service)
    assert done.returncode == 1
    assert "executions: 2 instead of 1" in done.stdout
    assert "Not as promised" in done.stdout


def test_outside_a_service_the_demo_says_so_in_one_line(tmp_path: Path) -> None:
    done = run_demo(tmp_path)
    assert done.returncode == 1
    assert "no serverless.yml" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_deployment_that_fails_shows_what_the_framework_said(tmp_path: Path) -> None:
    service = copy_service(tmp_path)
    (service / "serverless.yml").write_text("service: [")
    done = run_demo(service)
    assert done.returncode == 1
    assert "sls deploy" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_handler_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    service = copy_service(tmp_path)
    invoker = service / "handlers" / "invoker.py"
    invoker.write_text("import no_such_module\n" + invoker.read_text())
    done = run_demo(service, "--speed", "600")
    assert done.returncode == 1
    assert "No module named 'no_such_module'" in done.stdout
    assert "2. " not in done.stdout
