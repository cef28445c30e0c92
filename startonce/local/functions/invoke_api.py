"""The Lambda API's ``Invoke``, answered before moto sees it.

https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote

from moto.awslambda.exceptions import UnknownFunctionException
from moto.core.models import DEFAULT_ACCOUNT_ID
from werkzeug.wrappers import Request, Response

from startonce.local.functions.engine import ServiceError, StoppedError, ThrottledError
from startonce.local.functions.lambda_service import (
    LambdaService,
    LocalFunction,
    LocalLambdaBackend,
    new_invocation,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LARGEST_SYNCHRONOUS_EVENT = 6_291_456
LARGEST_ASYNCHRONOUS_EVENT = 1_048_576

_PATH = re.compile(r"^/2015-03-31/functions/(?P<name>[^/]+)/invocations/?$")
_REGION = re.compile(r"Credential=[^/]+/\d+/(?P<region>[a-z0-9-]+)/")


class InvokeApi:
    """WSGI middleware in front of moto.

    Args:
        others: the application for every other request.
    """

    def __init__(self, others: WSGIApplication, service: LambdaService) -> None:
        self._others = others
        self._service = service

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer an invocation, or pass the request on."""
        path = _PATH.match(environ.get("PATH_INFO", ""))
        if path is None or environ["REQUEST_METHOD"] != "POST":
            return self._others(environ, start_response)
        try:
            response = self._invoke(Request(environ), unquote(path["name"]))
        except _Refused as refused:
            response = refused.response()
        return response(environ, start_response)

    def _invoke(self, request: Request, name: str) -> Response:
        function = _find(request, name)
        kind = request.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        body = _valid_event(request.get_data(), kind)
        arn = _arn_as_invoked(function, name, _qualifier(request))
        invocation = new_invocation(arn, body, _client_context(request))
        headers = {"x-amzn-RequestId": invocation.request_id}
        if kind == "DryRun":
            return Response(status=204, headers=headers)
        if kind == "Event":
            self._service.submit(function, invocation)
            return Response(status=202, headers=headers)
        try:
            outcome = self._service.invoke(function, invocation)
        except ThrottledError:
            raise _Refused(
                429,
                "TooManyRequestsException",
                "Rate Exceeded.",
                {"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "Type": "User"},
            ) from None
        except ServiceError:
            raise _Refused(
                500,
                "ServiceException",
                "An error occurred and the request cannot be processed.",
                {"Type": "Service"},
            ) from None
        except StoppedError:
            raise _unknown(function.plain_arn) from None
        headers["X-Amz-Executed-Version"] = str(function.version)
        if outcome.function_error:
            headers["X-Amz-Function-Error"] = outcome.function_error
        if request.headers.get("X-Amz-Log-Type") == "Tail":
            headers["X-Amz-Log-Result"] = base64.b64encode(outcome.log_tail).decode()
        return Response(outcome.payload, 200, headers, content_type="application/json")


@dataclass
class _Refused(Exception):
    status: int
    kind: str
    message: str
    more: dict[str, str] = field(default_factory=dict)

    def response(self) -> Response:
        body = json.dumps({**self.more, "message": self.message})
        return Response(
            body,
            self.status,
            {"x-amzn-ErrorType": self.kind},
            content_type="application/json",
        )


def _find(request: Request, name: str) -> LocalFunction:
    signed = _REGION.search(request.headers.get("Authorization", ""))
    region = name.split(":")[3] if name.startswith("arn:") else signed and signed["region"]
    backend = LocalLambdaBackend.of(DEFAULT_ACCOUNT_ID, region or "us-east-1")
    assert isinstance(backend, LocalLambdaBackend)
    try:
        return backend.find(name, _qualifier(request))
    except UnknownFunctionException as error:
        raise _Refused(404, "ResourceNotFoundException", error.message, {"Type": "User"}) from None


def _qualifier(request: Request) -> str | None:
    return parse_qs(request.query_string.decode()).get("Qualifier", [None])[0]


def _client_context(request: Request) -> str:
    """JSON in one line, because it travels on in a header."""
    encoded = request.headers.get("X-Amz-Client-Context", "")
    try:
        return json.dumps(json.loads(base64.b64decode(encoded))) if encoded else ""
    except ValueError:
        raise _Refused(
            400,
            "InvalidRequestContentException",
            "Client context must be JSON in Base64",
        ) from None


def _arn_as_invoked(function: LocalFunction, name: str, qualifier: str | None) -> str:
    """The function's ARN with the version or alias that the caller named, if any."""
    in_name = name.split(":function:")[-1].partition(":")[2]
    named = qualifier or in_name
    return f"{function.plain_arn}:{named}" if named else function.plain_arn


def _unknown(arn: str) -> _Refused:
    return _Refused(
        404, "ResourceNotFoundException", f"Function not found: {arn}", {"Type": "User"}
    )


def _valid_event(body: bytes, kind: str) -> bytes:
    limit = LARGEST_ASYNCHRONOUS_EVENT if kind == "Event" else LARGEST_SYNCHRONOUS_EVENT
    if kind not in ("RequestResponse", "Event", "DryRun"):
        raise _Refused(400, "InvalidParameterValueException", f"Unknown invocation type {kind}.")
    if len(body) > limit:
        raise _Refused(
            413,
            "RequestTooLargeException",
            f"{len(body)} byte payload is too large for the {kind} invocation type "
            f"(limit {limit} bytes)",
            {"Type": "User"},
        )
    try:
        json.loads(body or b"{}")
    except ValueError as error:
        raise _Refused(
            400,
            "InvalidRequestContentException",
            f"Could not parse request body into json: {error}",
            {"Type": "User"},
        ) from None
    return body or b"{}"
