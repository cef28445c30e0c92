"""A process that has loaded what nearly every handler loads, and becomes a worker by forking.

Loading boto3 is most of a cold start. This process loads it once, and each worker begins as a copy:
still a process of its own, running AWS's runtime client, killed without harm to any other. It is
a program of its own, started by :mod:`startonce.local.functions.forked_worker`, because a process
with threads cannot be forked safely.

Over the socket comes one datagram for each worker: JSON with ``handler``, ``task_root`` and
``environment``, and two descriptors: where to print, and where this process writes the worker's
process ID and, when it has ended, its exit status (a line each).
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
from typing import Any

LARGEST_REQUEST = 1 << 17


def main(descriptor: int) -> dict[str, Any] | None:
    """Serve until the socket closes; returns only in a worker, with what it is to run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _preload()
    server = socket.socket(fileno=descriptor)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    statuses: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if wake_read in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake_read, 4096)
                _report_ended(statuses)
            if server in ready:
                data, descriptors, _, _ = socket.recv_fds(server, LARGEST_REQUEST, 2)
                if not data:
                    return None
                request = _fork(data, descriptors, statuses)
                if request is not None:
                    return request


def _preload() -> None:
    import http.client  # noqa: F401
    import logging.config  # noqa: F401

    import boto3  # noqa: F401
    import botocore.endpoint
    import botocore.httpsession
    import botocore.parsers
    import botocore.retries.standard
    import botocore.retryhandler
    import botocore.signers  # noqa: F401

    # Copies share the memory of what never changes.
    gc.collect()
    gc.freeze()


def _fork(data: bytes, descriptors: list[int], statuses: dict[int, int]) -> dict[str, Any] | None:
    """None in this process; the request in the new worker."""
    output, status = descriptors
    pid = os.fork()
    if pid:
        os.close(output)
        statuses[pid] = status
        os.write(status, f"{pid}\n".encode())
        return None
    request: dict[str, Any] = json.loads(data)
    _become_worker(request, output)
    return request


def _become_worker(request: dict[str, Any], output: int) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    for signal_number in (signal.SIGCHLD, signal.SIGINT):
        signal.signal(signal_number, signal.SIG_DFL)
    # Low numbers first, so that all above them can be closed: they are other workers'.
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["task_root"])
    sys.path[0] = request["task_root"]
    sys.argv = ["awslambdaric", request["handler"]]


def _report_ended(statuses: dict[int, int]) -> None:
    while True:
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None:
            return
        # What it started goes with it; until waitpid() the group's number is nobody else's.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(ended.si_pid, signal.SIGKILL)
        _, status = os.waitpid(ended.si_pid, 0)
        descriptor = statuses.pop(ended.si_pid)
        with contextlib.suppress(BrokenPipeError):
            os.write(descriptor, f"{os.waitstatus_to_exitcode(status)}\n".encode())
        os.close(descriptor)


if __name__ == "__main__":
    if main(int(sys.argv[1])) is not None:
        from awslambdaric.__main__ import main as run_runtime_client

        run_runtime_client(sys.argv)
