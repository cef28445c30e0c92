"""What an invocation of an empty handler costs over the handler's process's own time.

Seen from outside, so that no emulator marks its own paper: the way of an invocation that runs,
less the way of one that is only checked (``DryRun``), less the processor time that the handler's
process says it used.
"""

from __future__ import annotations

import io
import json
import time
import uuid
import zipfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median
from typing import Any

from benchmarks.emulators import Running
from benchmarks.measure import Figure

_SOURCE = """
import time


def handler(event, context):
    return time.process_time()
"""


def overhead(emulator: Running, runs: int) -> Sequence[Figure]:
    """Medians of ``runs`` warm invocations."""
    client = emulator.aws.client("lambda")
    name = _create_function(emulator)
    used = [_answer(client, name)]
    dry, whole = [], []
    for _ in range(runs):
        dry.append(_timed(lambda: client.invoke(FunctionName=name, InvocationType="DryRun")))
        whole.append(_timed(lambda: used.append(_answer(client, name))))
    own = median(after - before for before, after in pairwise(used))
    cost = median(whole) - median(dry) - own
    return [
        Figure("Runtime API overhead", cost * 1000, "ms"),
        Figure("  an empty handler's invocation", median(whole) * 1000, "ms"),
        Figure("  a dry run", median(dry) * 1000, "ms"),
        Figure("  the process's own time", own * 1000, "ms"),
    ]


def _answer(client: Any, name: str) -> float:
    return float(json.loads(client.invoke(FunctionName=name)["Payload"].read()))


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _create_function(emulator: Running) -> str:
    name = f"empty-{uuid.uuid4().hex[:8]}"
    aws = emulator.aws
    role = aws.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=_TRUST)["Role"]
    aws.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.13",
        Handler="app.handler",
        Role=role["Arn"],
        Code={"ZipFile": _zipped()},
        MemorySize=256,
        Timeout=10,
    )
    return name


def _zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("app.py", _SOURCE)
    return buffer.getvalue()


_TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "lambda.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
)
