"""In front of every API: refuses what the caller's role does not allow.

Whoever signs with a key that this cloud did not give out is an administrator.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from moto.utilities.utils import get_partition
from werkzeug.wrappers import Response

from startonce.local.error_response import error_response
from startonce.local.iam.credentials import Credentials, Session
from startonce.local.iam.permissions import AccessDeniedError, Permissions, resolve
from startonce.local.iam.policy import Access, NotEvaluatedError
from startonce.local.iam.requested_action import Signature, protocol, requested, signature

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_DENIED_IN_JSON = 400
_DENIED = 403
_NOT_IMPLEMENTED = 501


class Authorization:
    """WSGI middleware.

    Args:
        others: the application for what is allowed.
    """

    def __init__(
        self, others: WSGIApplication, credentials: Credentials, permissions: Permissions
    ) -> None:
        self._others = others
        self._credentials = credentials
        self._permissions = permissions

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Refuse the request, or pass it on."""
        signed = signature(environ) if self._permissions.enforced else None
        session = self._credentials.session_of(signed.access_key_id) if signed else None
        if signed is None or session is None:
            return self._others(environ, start_response)
        response = self._refusal(environ, signed, session)
        if response is None:
            return self._others(environ, start_response)
        return response(environ, start_response)

    def _refusal(
        self, environ: WSGIEnvironment, signed: Signature, session: Session
    ) -> Response | None:
        names = resolve(signed.region, session.account)
        partition = get_partition(signed.region)
        kind = protocol(environ, signed)
        try:
            for access in requested(environ, signed, partition, session.account, names):
                self._permissions.check_session(session, access, signed.region)
        except AccessDeniedError as error:
            return _access_denied(kind, signed.service, str(error))
        except NotEvaluatedError as error:
            message = f"NotImplemented: the local cloud does not evaluate {error}"
            return error_response(kind, _NOT_IMPLEMENTED, "NotImplemented", message)
        return None


def task_authorizer(
    credentials: Credentials, permissions: Permissions
) -> Callable[[str, str, str], None]:
    """The same check for calls of Lambda that do not come over HTTP: ``(role ARN, action, resource
    ARN)``; raises ClientError as boto3 would.
    """

    def check(role_arn: str, action: str, resource: str) -> None:
        session = credentials.session_for(role_arn)
        try:
            permissions.check_session(session, Access(action, resource), resource.split(":")[3])
        except AccessDeniedError as error:
            raise _client_error(_DENIED, "AccessDeniedException", str(error)) from None
        except NotEvaluatedError as error:
            message = f"NotImplemented: the local cloud does not evaluate {error}"
            raise _client_error(_NOT_IMPLEMENTED, "NotImplemented", message) from None

    return check


def _client_error(status: int, code: str, message: str) -> ClientError:
    request_id = str(uuid.uuid4())
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": request_id},
        },
        "Invoke",
    )


def _access_denied(kind: str, service: str, message: str) -> Response:
    if service == "sqs" and kind == "json":
        # SQS has kept the names and the status of the query protocol that it had before.
        response = error_response(kind, _DENIED, "AccessDeniedException", message)
        response.headers["x-amzn-query-error"] = "AccessDenied;Sender"
        return response
    if kind in ("json", "cbor"):
        return error_response(kind, _DENIED_IN_JSON, "AccessDeniedException", message)
    if kind == "rest-json":
        return error_response(kind, _DENIED, "AccessDeniedException", message)
    code = "AuthorizationError" if service == "sns" else "AccessDenied"
    return error_response(kind, _DENIED, code, message)
