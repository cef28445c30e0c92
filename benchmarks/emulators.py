"""Starts an emulator in a process of its own, as its user does, and ends it again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from startonce.aws import Aws

REPOSITORY = Path(__file__).parent.parent
MINISTACK = REPOSITORY / ".make" / "ministack" / "bin" / "ministack"
PATIENCE = 60.0
"""Seconds that an emulator may take to listen."""


class EmulatorError(Exception):
    """An emulator did not start."""


@dataclass(frozen=True)
class Emulator:
    """How to start one; ``{port}`` stands for its port."""

    name: str
    command: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)


STARTONCE = Emulator("startonce", (sys.executable, "-m", "startonce", "up", "--port", "{port}"))
MINISTACK_1_5_33 = Emulator(
    "ministack",
    (str(MINISTACK),),
    {"GATEWAY_PORT": "{port}", "BIND_HOST": "127.0.0.1", "LAMBDA_EXECUTOR": "local"},
)


@dataclass(frozen=True)
class Running:
    """An emulator that listens.

    Attributes:
        started_at: when its process was started, on the clock of :func:`time.monotonic`.
    """

    emulator: Emulator
    process: psutil.Process
    endpoint: str
    started_at: float

    @property
    def aws(self) -> Aws:
        """Clients for it."""
        return Aws(self.endpoint)

    def resident_memory(self) -> int:
        """Bytes of the emulator's own process, without the functions' workers."""
        return int(self.process.memory_info().rss)


@contextmanager
def running(emulator: Emulator) -> Iterator[Running]:
    """The emulator, empty, for as long as the ``with`` block lasts.

    Raises:
        EmulatorError: it did not start.
    """
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        log = Path(folder) / "log"
        started_at = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [part.format(port=port) for part in emulator.command],
                cwd=REPOSITORY,
                env=_environment(emulator, port, folder),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait_until_it_listens(process, port, log)
            yield Running(
                emulator, psutil.Process(process.pid), f"http://127.0.0.1:{port}", started_at
            )
        finally:
            _end(process)


def _environment(emulator: Emulator, port: int, folder: str) -> dict[str, str]:
    own = {name: value.format(port=port) for name, value in emulator.variables.items()}
    return {**os.environ, "TMPDIR": folder, **own}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.01)
        else:
            return
    raise EmulatorError(f"{process.args!r} does not listen on {port}:\n{log.read_text()[-2000:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    workers = psutil.Process(process.pid).children(recursive=True) if _lives(process) else []
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for worker in workers:
        if worker.is_running():
            worker.kill()


def _lives(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None
