"""What Lambda writes to CloudWatch Logs about an attempt, in both of its formats.

https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from startonce.local.aws_text import time_text
from startonce.local.functions.function_spec import FunctionSpec

_TAIL = 4096

Status = Literal["success", "error", "timeout"]


class LogSink(Protocol):
    """Where log events go: CloudWatch Logs."""

    def put(self, spec: FunctionSpec, stream: str, events: Sequence[tuple[int, str]]) -> None:
        """Append ``(milliseconds since the epoch, message)`` pairs to a stream of the function's
        log group.
        """


@dataclass(frozen=True)
class Measurements:
    """What the REPORT line says.

    Attributes:
        duration: milliseconds.
        init_duration: milliseconds of a cold start, None on a warm one.
        max_memory: MB.
    """

    duration: float
    init_duration: float | None
    max_memory: int


class FunctionLog:
    """The log stream of one execution environment."""

    def __init__(self, spec: FunctionSpec, stream: str, sink: LogSink) -> None:
        self._spec = spec
        self._stream = stream
        self._sink = sink
        self._tail: list[str] = []
        self._unsent: list[tuple[int, str]] = []

    def start(self, request_id: str) -> None:
        """An attempt begins: forget the tail of the one before."""
        self._tail = []
        if self._is_json:
            self._platform("platform.start", {"requestId": request_id, "version": self._version})
        else:
            self.write([f"START RequestId: {request_id} Version: {self._version}"])

    def end(self, request_id: str, status: Status, error: str, measured: Measurements) -> None:
        """An attempt is over; ``error`` is the platform's own message, where there is one."""
        if self._is_json:
            self._platform("platform.report", self._report_record(request_id, status, measured))
            self.send()
            return
        if error and status == "timeout":
            moment = time_text()
            self.write([f"{moment} {request_id} {error}", ""])
        self.write([f"END RequestId: {request_id}", self._report_line(request_id, measured)])
        if error and status == "error":
            self.write([f"RequestId: {request_id} {error}"])
        self.send()

    def write(self, lines: Sequence[str]) -> None:
        """Append lines as they are; they can be read once they are sent."""
        now = int(time.time() * 1000)
        self._tail.extend(lines)
        self._unsent.extend((now, line) for line in lines)

    def send(self) -> None:
        """Hand over what was written: at the end of an attempt, and now and then before."""
        if self._unsent:
            self._sink.put(self._spec, self._stream, self._unsent)
            self._unsent = []

    def tail(self) -> bytes:
        """The last 4 KB of this attempt's lines."""
        return "\n".join([*self._tail, ""]).encode()[-_TAIL:]

    @property
    def _is_json(self) -> bool:
        return self._spec.log_format == "JSON"

    @property
    def _version(self) -> str:
        return self._spec.version

    def _platform(self, kind: str, record: dict[str, object]) -> None:
        # START and REPORT are of level INFO.
        if self._spec.system_log_level == "WARN":
            return
        moment = time_text()
        self.write([json.dumps({"time": moment, "type": kind, "record": record})])

    def _report_line(self, request_id: str, measured: Measurements) -> str:
        fields = [
            f"REPORT RequestId: {request_id}",
            f"Duration: {measured.duration:.2f} ms",
            f"Billed Duration: {math.ceil(self._billed(measured))} ms",
            f"Memory Size: {self._spec.memory_size} MB",
            f"Max Memory Used: {measured.max_memory} MB",
        ]
        if measured.init_duration is not None:
            fields.append(f"Init Duration: {measured.init_duration:.2f} ms")
        return "\t".join([*fields, ""])

    def _report_record(
        self, request_id: str, status: Status, measured: Measurements
    ) -> dict[str, object]:
        metrics: dict[str, object] = {
            "durationMs": round(measured.duration, 3),
            "billedDurationMs": math.ceil(self._billed(measured)),
            "memorySizeMB": self._spec.memory_size,
            "maxMemoryUsedMB": measured.max_memory,
        }
        if measured.init_duration is not None:
            metrics["initDurationMs"] = round(measured.init_duration, 3)
        return {"requestId": request_id, "metrics": metrics, "status": status}

    @staticmethod
    def _billed(measured: Measurements) -> float:
        """Since August 2025 a cold start is billed too.

        https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase/
        """
        return measured.duration + (measured.init_duration or 0)
