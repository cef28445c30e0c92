"""Asks the template process for workers, and hears from it how they ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from startonce.local.functions import worker_template

_PRELOADED = {"boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3"}


class WorkerTemplate:
    """The server's end of the socket; see :mod:`startonce.local.functions.worker_template`.

    Args:
        folder: where the code of all functions is, by which the reaper knows its processes.
    """

    def __init__(self, folder: str) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            # No user's variable may be in it: Python reads some at its start only.
            environment = {"LAMBDA_TASK_ROOT": folder, "LANG": "en_US.UTF-8", "TZ": ":UTC"}
            self._process = subprocess.Popen(
                [sys.executable, worker_template.__file__, str(other.fileno())],
                env=environment,
                pass_fds=(other.fileno(),),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._lock = threading.Lock()

    def start(
        self,
        handler: str,
        task_root: str,
        environment: Mapping[str, str],
        output: int,
    ) -> ForkedProcess:
        """A new worker that prints to ``output``."""
        request = {"handler": handler, "task_root": task_root, "environment": dict(environment)}
        status, status_end = os.pipe()
        try:
            with self._lock:
                data = json.dumps(request).encode()
                socket.send_fds(self._socket, [data], [output, status_end])
        finally:
            os.close(status_end)
        return ForkedProcess(status)

    def close(self) -> None:
        """End the template; its workers live on."""
        self._socket.close()
        self._process.wait()


class ForkedProcess:
    """A worker that another process is the parent of, with as much of Popen as is needed."""

    def __init__(self, status: int) -> None:
        self._status = os.fdopen(status, "rb", buffering=0)
        self._rest = b""
        self._exit_code: int | None = None
        self._lock = threading.Lock()
        self.pid = int(self._line(wait=True) or 0)

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._read_exit_code(wait=False)

    def wait(self) -> int | None:
        """Wait for the exit code."""
        return self._read_exit_code(wait=True)

    def _read_exit_code(self, wait: bool) -> int | None:
        with self._lock:
            if self._exit_code is None:
                line = self._line(wait)
                if line is not None:
                    # Nothing is said where the template itself was killed.
                    self._exit_code = int(line) if line else -9
                    self._status.close()
            return self._exit_code

    def _line(self, wait: bool) -> bytes | None:
        """The next line without its end; empty at the end of all, None when there is none yet."""
        os.set_blocking(self._status.fileno(), wait)
        while b"\n" not in self._rest:
            chunk = self._status.read(64)
            if chunk is None:
                return None
            if not chunk:
                return b""
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        return line


def can_fork(task_root: str, variables: Mapping[str, str]) -> bool:
    """Whether a function may begin as a copy: not if it brings its own version of what the copy has
    loaded, or changes how Python starts.
    """
    if any(name.startswith(("PYTHON", "LD_", "AWS_DATA_PATH")) for name in variables):
        return False
    own = {path.name.removesuffix(".py") for path in Path(task_root).iterdir()}
    return not own & _PRELOADED


def is_supported() -> bool:
    """Whether this system forks safely and passes descriptors in datagrams."""
    return sys.platform == "linux"
