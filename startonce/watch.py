"""Runs changed handlers without a new deployment: `startonce up --watch`.

Only files that are in a deployed zip already are watched; a new file, and all that is not code,
needs `sls deploy`.
"""

from __future__ import annotations

import io
import threading
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import watchfiles

from startonce.aws import Aws


def watch_handlers(
    service: Path, aws: Aws, say: Callable[[str], None], stop: threading.Event
) -> None:
    """Update the deployed functions whenever one of their files changes, until ``stop`` is set."""
    for changes in watchfiles.watch(
        *_watched(service), stop_event=stop, debounce=100, step=20, rust_timeout=200
    ):
        paths = {Path(path) for _, path in changes}
        for name in update_functions(service, paths, aws):
            say(f"{name} runs the changed code")


def _watched(service: Path) -> list[Path]:
    """All but what is large and never deployed: hidden folders and the framework itself."""
    return [
        path
        for path in service.iterdir()
        if not path.name.startswith(".") and path.name != "node_modules"
    ]


def update_functions(service: Path, changed: set[Path], aws: Aws) -> list[str]:
    """Give each function whose zip has a changed file its new content; returns their names."""
    names = {str(path.relative_to(service)) for path in changed if path.is_relative_to(service)}
    client = aws.client("lambda")
    updated = []
    for page in client.get_paginator("list_functions").paginate():
        for function in page["Functions"]:
            code = _deployed_code(client, function["FunctionName"])
            with zipfile.ZipFile(io.BytesIO(code)) as deployed:
                touched = names.intersection(deployed.namelist())
                if touched:
                    new = _with_files(deployed, service, touched)
                    client.update_function_code(FunctionName=function["FunctionName"], ZipFile=new)
                    updated.append(str(function["FunctionName"]))
    return updated


def _deployed_code(client: Any, name: str) -> bytes:
    location = client.get_function(FunctionName=name)["Code"]["Location"]
    with urllib.request.urlopen(location, timeout=10) as answer:
        return bytes(answer.read())


def _with_files(deployed: zipfile.ZipFile, service: Path, touched: set[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in deployed.namelist():
            path = service / name
            content = path.read_bytes() if name in touched and path.exists() else None
            new.writestr(name, deployed.read(name) if content is None else content)
    return buffer.getvalue()
