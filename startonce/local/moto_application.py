"""Moto's WSGI application, with a short way for the services that are called for every event.

Moto finds the service of a request among three hundred patterns, and then takes it through Flask.
A service with a single path needs neither.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from moto.dynamodb.responses import DynamoHandler
from moto.moto_server.werkzeug_app import (
    BackendRequest,
    DomainDispatcherApplication,
    create_backend_app,
)
from moto.sns.responses import SNSResponse
from moto.stepfunctions.responses import StepFunctionResponse
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response

from startonce.local.error_response import error_response
from startonce.local.iam.requested_action import protocol, signature

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_log = logging.getLogger(__name__)

_SERVICE = re.compile(r"Credential=[^/]+/\d+/[^/]+/(?P<service>[a-z-]+)/")

_SHORT_WAYS: dict[str, Callable[..., Any]] = {
    "sns": SNSResponse.dispatch,
    "states": StepFunctionResponse.dispatch,
    "dynamodb": DynamoHandler.dispatch,
}


class MotoApplication:
    """Every service of moto."""

    def __init__(self) -> None:
        self._others = DomainDispatcherApplication(_quiet_app)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer by the short way, or moto's own."""
        dispatch = _short_way(environ)
        try:
            if dispatch is None:
                return self._others(environ, start_response)  # type: ignore[no-any-return]
            request = BackendRequest(environ)
            status, headers, content = dispatch(request, request.raw_url, dict(request.headers))
            response = Response(content, status, headers)
        except NotImplementedError as error:
            response = _error(environ, 501, "NotImplemented", f"NotImplemented: {error}")
        except NotFound:
            what = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
            message = f"NotImplemented: the local cloud has no {what}"
            response = _error(environ, 501, "NotImplemented", message)
        except Exception as error:
            _log.exception("%s failed", environ["PATH_INFO"])
            message = f"the local cloud failed: {error}"
            response = _error(environ, 500, "InternalFailure", message)
        return response(environ, start_response)


def _error(environ: WSGIEnvironment, status: int, code: str, message: str) -> Response:
    signed = signature(environ)
    kind = "json" if signed is None else protocol(environ, signed)
    return error_response(kind, status, code, message)


def _short_way(environ: WSGIEnvironment) -> Callable[..., Any] | None:
    if environ["PATH_INFO"] != "/" or environ["REQUEST_METHOD"] != "POST":
        return None
    signed = _SERVICE.search(environ.get("HTTP_AUTHORIZATION", ""))
    if signed is None or environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDBStreams"):
        return None
    return _SHORT_WAYS.get(signed["service"])


def _quiet_app(service: Any) -> Any:
    if service is None:
        raise NotImplementedError("the local cloud has no such service")
    app = create_backend_app(service)
    # Flask's help for developers costs time, and is for moto's own.
    app.debug = False
    # Our own answer says what is not implemented; Flask's only that something failed.
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.config["TRAP_HTTP_EXCEPTIONS"] = True
    return app
