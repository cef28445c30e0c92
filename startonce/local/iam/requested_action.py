"""What a request asks for: read from its signature, target, form or path, as each of AWS's
protocols has it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

import botocore.session
from botocore.exceptions import UnknownServiceError

from startonce.local.iam import s3_actions, s3_operations
from startonce.local.iam.policy import Access, NotEvaluatedError
from startonce.local.iam.resource_arns import Call, Resolve, accesses

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_SCOPE = re.compile(
    r"Credential=(?P<key>[^/,\s]+)/\d+/(?P<region>[^/,\s]*)/(?P<service>[^/,\s]+)/aws4_request"
)
_PREFIXES = {"monitoring": "cloudwatch", "email": "ses", "tagging": "tag"}
"""Services whose actions are not named as their signatures are."""

_ACTIONS = {
    ("lambda", "Invoke"): "InvokeFunction",
    ("lambda", "InvokeWithResponseStream"): "InvokeFunction",
    ("sns", "PublishBatch"): "Publish",
    ("sqs", "ChangeMessageVisibilityBatch"): "ChangeMessageVisibility",
    ("sqs", "DeleteMessageBatch"): "DeleteMessage",
    ("sqs", "SendMessageBatch"): "SendMessage",
}
"""Operations that are not their own actions."""


@dataclass(frozen=True)
class Signature:
    """Who signed a request, for what."""

    access_key_id: str
    region: str
    service: str


def signature(environ: WSGIEnvironment) -> Signature | None:
    """The signature in the header, or in the query string of a presigned URL."""
    found = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    if found is None and "X-Amz-Credential=" in environ.get("QUERY_STRING", ""):
        query = dict(parse_qsl(environ["QUERY_STRING"]))
        found = _SCOPE.search(f"Credential={query['X-Amz-Credential']}")
    if found is None:
        return None
    return Signature(found["key"], found["region"], found["service"].lower())


def protocol(environ: WSGIEnvironment, signed: Signature) -> str:
    """In which of AWS's protocols the request is, and so its answer."""
    if environ.get("HTTP_SMITHY_PROTOCOL") == "rpc-v2-cbor":
        return "cbor"
    if "HTTP_X_AMZ_TARGET" in environ:
        return "json"
    if signed.service == "s3":
        return "rest-xml"
    form = environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded")
    return "query" if form or "Action=" in environ.get("QUERY_STRING", "") else "rest-json"


def requested(
    environ: WSGIEnvironment, signed: Signature, partition: str, account: str, resolve: Resolve
) -> Sequence[Access]:
    """What the request needs permission for. Its body is still there to be read afterwards.

    Raises:
        NotEvaluatedError: we do not know.
    """
    kind = protocol(environ, signed)
    if kind == "rest-xml":
        return _from_s3(environ, partition)
    operation, parameters = _READERS[kind](environ, signed.service)
    service = _PREFIXES.get(signed.service, signed.service)
    action = _ACTIONS.get((service, operation), operation)
    call = Call(service, action, parameters, partition, signed.region, account, resolve)
    try:
        return accesses(call)
    except (KeyError, TypeError, AttributeError, ValueError):
        # Malformed parameters: the service itself has the better words for that.
        return accesses(replace(call, parameters={}))


def requested_operation(environ: WSGIEnvironment, signed: Signature) -> str | None:
    """The operation by the name that the SDKs have for it; None if we do not know. The request's
    body is still there to be read afterwards.
    """
    kind = protocol(environ, signed)
    if kind == "rest-xml":
        query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
        path = environ.get("PATH_INFO", "")
        return s3_operations.operation(environ["REQUEST_METHOD"], path, query, _headers(environ))
    try:
        return _READERS[kind](environ, signed.service)[0]
    except NotEvaluatedError:
        return None


def _headers(environ: WSGIEnvironment) -> dict[str, str]:
    """With names in lower case."""
    return {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }


def _from_json(environ: WSGIEnvironment, service: str) -> tuple[str, Mapping[str, Any]]:
    operation = environ["HTTP_X_AMZ_TARGET"].rpartition(".")[2]
    return operation, _json_object(_body(environ))


def _from_form(environ: WSGIEnvironment, service: str) -> tuple[str, Mapping[str, Any]]:
    text = environ.get("QUERY_STRING", "") + "&" + _body(environ).decode(errors="replace")
    form = dict(parse_qsl(text))
    return form.get("Action", ""), form


def _from_cbor(environ: WSGIEnvironment, service: str) -> tuple[str, Mapping[str, Any]]:
    return environ.get("PATH_INFO", "").rstrip("/").rpartition("/")[2], {}


def _from_rest(environ: WSGIEnvironment, service: str) -> tuple[str, Mapping[str, Any]]:
    path = str(environ.get("REQUEST_URI") or environ.get("PATH_INFO", "")).partition("?")[0]
    query = environ.get("QUERY_STRING", "")
    found = _rest_operation(service, environ["REQUEST_METHOD"], path, query)
    if found is None:
        raise NotEvaluatedError(f"the action of {environ['REQUEST_METHOD']} {path} of {service}")
    operation, parameters = found
    if operation.startswith("Create"):  # what is made is named in the body
        parameters = {**_json_object(_body(environ)), **parameters}
    return operation, parameters


_READERS = {"json": _from_json, "query": _from_form, "cbor": _from_cbor, "rest-json": _from_rest}


@lru_cache(maxsize=4096)
def _rest_operation(
    service: str, method: str, path: str, query: str
) -> tuple[str, Mapping[str, str]] | None:
    """The operation with the most fixed parts in its URI, and what stands in the others."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    for operation, verb, pattern, fixed in _rest_operations(service):
        match = pattern.match(path)
        if verb == method and match and fixed.items() <= given.items():
            return operation, {**given, **{k: unquote(v) for k, v in match.groupdict().items()}}
    return None


@lru_cache(maxsize=64)
def _rest_operations(
    service: str,
) -> list[tuple[str, str, re.Pattern[str], Mapping[str, str]]]:
    try:
        model = botocore.session.get_session().get_service_model(service)
    except UnknownServiceError:
        return []
    operations = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        path, _, query = http["requestUri"].partition("?")
        fixed = dict(parse_qsl(query, keep_blank_values=True))
        operations.append((name, http["method"], _path_pattern(path), fixed))
    # Fixed parts first: ".../event-invoke-config/list" is no configuration named "list".
    return sorted(operations, key=lambda one: (-len(one[3]), one[2].pattern.count("(?P<")))


def _path_pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)(\+?)\}", path.rstrip("/"))
    pattern = re.escape(parts[0])
    for name, greedy, fixed in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        pattern += f"(?P<{name}>{'.+' if greedy else '[^/]+'})" + re.escape(fixed)
    return re.compile(pattern + r"/?\Z")


def _from_s3(environ: WSGIEnvironment, partition: str) -> Sequence[Access]:
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    method = environ["REQUEST_METHOD"]
    path = environ.get("PATH_INFO", "").encode("latin-1").decode(errors="replace")
    source = environ.get("HTTP_X_AMZ_COPY_SOURCE")
    headers = {"x-amz-copy-source": source} if source else {}
    body = _body(environ) if method == "POST" and "delete" in query else b""
    found = s3_actions.accesses(method, path, query, headers, body, partition)
    if found is None:
        raise NotEvaluatedError(f"the action of {method} {path} of s3")
    return found


def _body(environ: WSGIEnvironment) -> bytes:
    """Read it and put it back."""
    length = environ.get("CONTENT_LENGTH")
    if length:
        body = environ["wsgi.input"].read(int(length))
    elif environ.get("wsgi.input_terminated"):
        body = environ["wsgi.input"].read()
    else:
        return b""
    environ["wsgi.input"] = io.BytesIO(body)
    return bytes(body)


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
