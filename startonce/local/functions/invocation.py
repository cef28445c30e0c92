"""One attempt of a function for an event: what goes in and what comes out."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Invocation:
    """An event on its way to a function.

    Attributes:
        function_arn: as the caller named it, so perhaps with a version or an alias.
        request_id: the same over all attempts of an asynchronous event.
        event: JSON.
        trace_id: of X-Ray, as the header ``X-Amzn-Trace-Id`` has it.
        client_context: JSON from the caller, or nothing.
    """

    function_arn: str
    request_id: str
    event: bytes
    trace_id: str
    client_context: str = ""


@dataclass(frozen=True)
class Outcome:
    """What an attempt came to.

    Attributes:
        payload: JSON: the handler's answer, or the error's description.
        function_error: ``Unhandled`` when the function failed, else None.
        log_tail: the last 4 KB of what the attempt logged.
    """

    payload: bytes
    function_error: str | None
    log_tail: bytes

    @property
    def error_message(self) -> str:
        """The ``errorMessage`` of a failed attempt; empty when there is none."""
        try:
            described = json.loads(self.payload)
        except ValueError:
            return ""
        return str(described.get("errorMessage", "")) if isinstance(described, dict) else ""
