"""Faults on purpose of API calls: the service's own refusal, no answer, or a lost one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from startonce.local.faults import Fault, Faults
from startonce.local.hanging import Hanging
from startonce.local.http_server import Disconnected
from startonce.local.iam.credentials import Credentials
from startonce.local.iam.requested_action import Signature, protocol, requested_operation, signature
from startonce.local.service_errors import failed, throttled

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class ApiFaults:
    """WSGI middleware: strikes the calls that are signed by a role, and never a person's.

    Args:
        others: the application that does the calls.
    """

    def __init__(
        self, others: WSGIApplication, faults: Faults, credentials: Credentials, hanging: Hanging
    ) -> None:
        self._others = others
        self._faults = faults
        self._credentials = credentials
        self._hanging = hanging

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Pass the request on, or let it fail.

        Raises:
            Disconnected: there is to be no answer.
        """
        signed = self._role_signature(environ) if self._faults.are_waiting else None
        fault = self._fault(environ, signed) if signed else None
        if signed is None or fault is None:
            return self._others(environ, start_response)
        kind = protocol(environ, signed)
        if fault.after:
            self._do(environ)
        if fault.kind == "hang":
            self._hanging.wait(environ["werkzeug.socket"])
        if fault.kind in ("hang", "disconnect"):
            raise Disconnected
        answer = throttled if fault.kind == "throttle" else failed
        return answer(signed.service, kind)(environ, start_response)

    def _role_signature(self, environ: WSGIEnvironment) -> Signature | None:
        signed = signature(environ)
        if signed is None or self._credentials.session_of(signed.access_key_id) is None:
            return None
        return signed

    def _fault(self, environ: WSGIEnvironment, signed: Signature) -> Fault | None:
        operation = requested_operation(environ, signed)
        return self._faults.take_call(f"{signed.service}.{operation}") if operation else None

    def _do(self, environ: WSGIEnvironment) -> None:
        """Do the call, and throw its answer away."""
        chunks = self._others(environ, lambda status, headers, exc_info=None: _ignore)
        try:
            for _ in chunks:
                pass
        finally:
            if hasattr(chunks, "close"):
                chunks.close()


def _ignore(data: bytes) -> None:
    """WSGI's ``write``."""
