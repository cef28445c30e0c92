"""A small process that cleans up after the local cloud, even when that one is killed.

A server that got SIGKILL cannot end its workers or remove its folder. So a second process, started
with it and in a session of its own, waits on a pipe that only the server holds open. When the pipe
closes, for whatever reason, it ends every process that runs code from the folder, removes the
folder, and exits.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil


class Reaper:
    """The server's end of the pipe.

    Args:
        folder: where the code of all functions is; workers have it in LAMBDA_TASK_ROOT.
    """

    def __init__(self, folder: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, folder],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def close(self) -> None:
        """Clean up now and wait until it is done."""
        self._process.communicate()


def kill_with_descendants(process: psutil.Process) -> None:
    """Kill a process and all that it started, also what left its group; it may have ended."""
    with contextlib.suppress(psutil.Error):
        for one in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.Error):
                one.kill()


def _running_from(folder: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("LAMBDA_TASK_ROOT", "").startswith(folder):
                yield process


def _main(folder: str) -> None:
    # A terminal's Ctrl-C or a service manager's SIGTERM is for the server: its end closes the pipe.
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_IGN)
    sys.stdin.read()
    for process in _running_from(folder):
        kill_with_descendants(process)
    shutil.rmtree(Path(folder), ignore_errors=True)


if __name__ == "__main__":
    _main(sys.argv[1])
