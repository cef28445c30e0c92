"""Reads what a worker logs: plain output by the line, the runtime client's records by the frame."""

from __future__ import annotations

import os

_HEADER = 16
_READ_SIZE = 1 << 16
# Enough for one look, so that a handler that never stops printing cannot keep its reader for ever.
_READS_AT_ONCE = 64
# CloudWatch Logs takes no larger event.
_LONGEST_LINE = 256 * 1024


class LineReader:
    """Lines from a non-blocking pipe; the last one may lack its end for a while."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""

    def read(self) -> list[str]:
        """The lines that have come since the last call."""
        *lines, self._rest = (self._rest + read_available(self._descriptor)).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        return [line.decode(errors="replace") for line in lines]

    def flush(self) -> list[str]:
        """Like :meth:`read`, with a last line that has no end."""
        lines = self.read()
        if self._rest:
            lines.append(self._rest.decode(errors="replace"))
            self._rest = b""
        return lines


class FrameReader:
    """Records from a non-blocking pipe in the runtime client's framing.

    A frame is four bytes of type, four of length, eight of time, then the message; see
    ``FramedTelemetryLogSink`` in awslambdaric.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""

    def read(self) -> list[str]:
        """The whole records that have come since the last call."""
        self._rest += read_available(self._descriptor)
        records = []
        while len(self._rest) >= _HEADER:
            end = _HEADER + int.from_bytes(self._rest[4:8], "big")
            if len(self._rest) < end:
                break
            records.append(self._rest[_HEADER:end].decode(errors="replace").rstrip("\n"))
            self._rest = self._rest[end:]
        return records


def read_available(descriptor: int) -> bytes:
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
