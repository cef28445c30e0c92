"""A worker process: AWS's runtime client for Python, in a process group of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Mapping

import psutil

from startonce.local.functions.forked_worker import WorkerTemplate, can_fork
from startonce.local.reaper import kill_with_descendants

_PIPE_SIZE = 1 << 20
_MB = 1 << 20


class Worker:
    """A started process and the pipe that it prints and logs to.

    Args:
        template: makes quick copies of itself; None starts every process anew.

    Attributes:
        output: the pipe's reading end; see :mod:`startonce.local.functions.log_reader`.
    """

    def __init__(
        self,
        handler: str,
        task_root: str,
        environment: Mapping[str, str],
        template: WorkerTemplate | None,
    ) -> None:
        self.output, output_end = _pipe()
        try:
            forks = template is not None and can_fork(task_root, environment)
            start = template.start if template is not None and forks else _started
            self._process = start(handler, task_root, environment, output_end)
        finally:
            os.close(output_end)
        try:
            self._ps: psutil.Process | None = psutil.Process(self._process.pid)
        except psutil.NoSuchProcess:
            self._ps = None
        self._closed = False

    @property
    def exit_code(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def is_alive(self) -> bool:
        """Whether it runs; it may have ended though nobody has reaped it yet."""
        if self._ps is None or self.exit_code is not None:
            return False
        try:
            return bool(self._ps.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False

    def resident_memory(self) -> int:
        """Resident memory in MB, rounded up; 0 when the process has ended."""
        if self._ps is None:
            return 0
        try:
            return -(-int(self._ps.memory_info().rss) // _MB)
        except psutil.Error:
            return 0

    def kill(self) -> None:
        """End the process and all that it started, at once. Any thread may call it."""
        if self._ps is not None and self.exit_code is None:
            kill_with_descendants(self._ps)
            # What it started and then left behind is still of its group.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Kill it, and close the pipes: nobody may be reading them any more."""
        if not self._closed:
            self._closed = True
            self.kill()
            os.close(self.output)


def _started(
    handler: str, task_root: str, environment: Mapping[str, str], output: int
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "awslambdaric", handler],
        cwd=task_root,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def _pipe() -> tuple[int, int]:
    """A pipe that is read without blocking and holds much, so that printing does not wait."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    return read_end, write_end
