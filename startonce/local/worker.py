"""A worker process: AWS's runtime client for Python, in a process group of its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping

import psutil

from startonce.local.reaper import Reaper, kill_group

_PIPE_SIZE = 1 << 20
_MB = 1 << 20


class Worker:
    """A started process and the two pipes that it logs to.

    Attributes:
        output: a file descriptor with what the handler printed.
        telemetry: a file descriptor with the log records of the runtime client, framed.
    """

    def __init__(
        self, handler: str, task_root: str, environment: Mapping[str, str], reaper: Reaper
    ) -> None:
        self._reaper = reaper
        self.output, output_end = _pipe()
        self.telemetry, telemetry_end = _pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "awslambdaric", handler],
                cwd=task_root,
                env={**environment, "_LAMBDA_TELEMETRY_LOG_FD": str(telemetry_end)},
                stdin=subprocess.DEVNULL,
                stdout=output_end,
                stderr=output_end,
                pass_fds=(telemetry_end,),
                start_new_session=True,
            )
        finally:
            os.close(output_end)
            os.close(telemetry_end)
        self._reaper.watch_group(self._process.pid)
        self._memory = psutil.Process(self._process.pid)
        self._closed = False

    @property
    def exit_code(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def resident_memory(self) -> int:
        """Resident memory in MB, rounded up; 0 when the process has ended."""
        try:
            return -(-int(self._memory.memory_info().rss) // _MB)
        except psutil.Error:
            return 0

    def kill(self) -> None:
        """End the process and all that it started, at once. Any thread may call it."""
        for process in self._descendants():
            with contextlib.suppress(psutil.Error):
                process.kill()
        kill_group(self._process.pid)
        self._process.wait()
        self._reaper.forget_group(self._process.pid)

    def close(self) -> None:
        """Kill it, and close the pipes: nobody may be reading them any more."""
        if not self._closed:
            self._closed = True
            self.kill()
            os.close(self.output)
            os.close(self.telemetry)

    def _descendants(self) -> list[psutil.Process]:
        """Also those that left the process group."""
        try:
            return list(self._memory.children(recursive=True))
        except psutil.Error:
            return []


def _pipe() -> tuple[int, int]:
    """A pipe that is read without blocking and holds much, so that printing does not wait."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    return read_end, write_end
