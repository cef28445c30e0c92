"""`startonce up --watch` runs changed handlers without a new deployment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from startonce.aws import Aws
from startonce.deploy import deploy
from tests.conftest import wait_for
from tests.service_copy import copy_service


def test_a_changed_handler_runs_at_the_next_invocation(tmp_path: Path) -> None:
    service = copy_service(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "startonce", "up", "--port", "0", "--watch"],
        cwd=service,
        env={**os.environ, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None
        deploy(service, found[0])
        client = Aws(found[0]).client("lambda")

        def answer() -> object:
            payload = client.invoke(FunctionName="startonce-local-notifyUser")["Payload"]
            return json.load(payload)

        assert answer() != "changed"
        (service / "handlers" / "notify_user.py").write_text("def handler(*_): return 'changed'")
        wait_for(lambda: answer() == "changed", what="the changed handler")
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0
