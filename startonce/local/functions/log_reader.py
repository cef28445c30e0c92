"""Reads what a worker logs, in the order in which it was written.

What a handler prints, and the records of the runtime client, come through one pipe: text by the
line, records by the frame. A frame is four bytes of type, four of length, eight of time, then the
message; see ``FramedTelemetryLogSink`` in awslambdaric. Its type begins with bytes that are no text
in UTF-8.
"""

from __future__ import annotations

import os

_FRAME = b"\xa5\x5a\x00"
_HEADER = 16
_READ_SIZE = 1 << 16
# Enough for one look, so that a handler that never stops printing cannot keep its reader for ever.
_READS_AT_ONCE = 64
# CloudWatch Logs takes no larger event.
_LONGEST_LINE = 256 * 1024


class LogReader:
    """Lines and records from a non-blocking pipe.

    Args:
        descriptor: the pipe's reading end.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""

    def read(self) -> list[str]:
        """What has come since the last call, but for a line or a record that is not whole yet."""
        self._rest += _read_available(self._descriptor)
        return self._taken(last=False)

    def flush(self) -> list[str]:
        """Like :meth:`read`, with a last line that has no end."""
        self._rest += _read_available(self._descriptor)
        return self._taken(last=True)

    def _taken(self, last: bool) -> list[str]:
        taken: list[str] = []
        while (start := self._rest.find(_FRAME)) >= 0:
            taken += _lines(self._rest[:start])
            self._rest = self._rest[start:]
            end = _HEADER + int.from_bytes(self._rest[4:8], "big")
            if len(self._rest) < max(end, _HEADER):
                return taken
            taken.append(_text(self._rest[_HEADER:end]).rstrip("\n"))
            self._rest = self._rest[end:]
        whole = len(self._rest)
        if not last and whole <= _LONGEST_LINE:
            whole = self._rest.rfind(b"\n") + 1
        taken += _lines(self._rest[:whole])
        self._rest = self._rest[whole:]
        return taken


def _lines(data: bytes) -> list[str]:
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [_text(line) for line in lines]


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _read_available(descriptor: int) -> bytes:
    """What a non-blocking descriptor holds now."""
    chunks = []
    for _ in range(_READS_AT_ONCE):
        try:
            chunk = os.read(descriptor, _READ_SIZE)
        except BlockingIOError:
            break
        if not chunk:
            break
        chunks.append(chunk)
    return b"".join(chunks)
