"""A small process that cleans up after the local cloud, even when that one is killed.

A server that got SIGKILL cannot end its workers or remove its folder. So a second process, started
with it and in a session of its own, reads from a pipe that only the server holds open: each line
names a process group to end or a folder to remove, and when the pipe closes, for whatever reason,
it does so and exits.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from typing import IO


class Reaper:
    """The server's end of the pipe."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
            bufsize=1,
        )
        self._lock = threading.Lock()

    def remove_folder(self, path: str) -> None:
        """Remove ``path`` with everything in it at the end."""
        self._tell(f"folder {path}")

    def watch_group(self, group: int) -> None:
        """Kill the process group ``group`` at the end."""
        self._tell(f"group {group}")

    def forget_group(self, group: int) -> None:
        """The group has ended: its number may soon belong to somebody else."""
        self._tell(f"forget {group}")

    def close(self) -> None:
        """Clean up now and wait until it is done."""
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        self._process.wait()

    @property
    def _pipe(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _tell(self, line: str) -> None:
        with self._lock:
            self._pipe.write(line + "\n")


def kill_group(group: int) -> None:
    """Kill every process of ``group``; it may have ended already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _main() -> None:
    # A terminal's Ctrl-C or a service manager's SIGTERM is for the server: its end closes the pipe.
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, signal.SIG_IGN)
    groups: set[int] = set()
    folders: list[str] = []
    for line in sys.stdin:
        word, _, value = line.rstrip("\n").partition(" ")
        if word == "group":
            groups.add(int(value))
        elif word == "forget":
            groups.discard(int(value))
        elif word == "folder":
            folders.append(value)
    for group in groups:
        kill_group(group)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _main()
