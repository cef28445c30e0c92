"""An AWS error in the form of each of AWS's protocols."""

from __future__ import annotations

import json
import uuid
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response

_XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


def error_response(kind: str, status: int, code: str, message: str) -> Response:
    """An error as the protocol ``kind`` writes it: ``json``, ``rest-json``, ``rest-xml``, ``query``
    or ``cbor``.

    https://smithy.io/2.0/aws/protocols/
    """
    request_id = str(uuid.uuid4())
    headers = {"x-amzn-RequestId": request_id, "x-amz-request-id": request_id}
    if kind == "rest-xml":
        body = _XML_DECLARATION + _element(
            "Error",
            f"<Code>{code}</Code><Message>{escape(message)}</Message>"
            f"<RequestId>{request_id}</RequestId><HostId>{request_id}</HostId>",
        )
        return Response(body, status, headers, content_type="application/xml")
    if kind == "query":
        blamed = "Sender" if status < 500 else "Receiver"
        error = f"<Type>{blamed}</Type><Code>{code}</Code><Message>{escape(message)}</Message>"
        body = _element(
            "ErrorResponse", _element("Error", error) + f"<RequestId>{request_id}</RequestId>"
        )
        return Response(body, status, headers, content_type="text/xml")
    if kind == "cbor":
        headers["smithy-protocol"] = "rpc-v2-cbor"
        cbor = _cbor_map({"__type": code, "message": message})
        return Response(cbor, status, headers, content_type="application/cbor")
    headers["x-amzn-ErrorType"] = code
    content_type = "application/json" if kind == "rest-json" else "application/x-amz-json-1.0"
    # Some services write "message", some "Message"; every SDK takes either.
    body = json.dumps({"__type": code, "Message": message, "message": message})
    return Response(body, status, headers, content_type=content_type)


def _element(name: str, content: str) -> str:
    return f"<{name}>{content}</{name}>"


def _cbor_map(texts: dict[str, str]) -> bytes:
    """A map of fewer than 24 texts to texts, each shorter than 64 KiB."""
    encoded = bytes([0xA0 | len(texts)])
    for item in texts.items():
        for text in item:
            value = text.encode()
            encoded += b"\x79" + len(value).to_bytes(2, "big") + value
    return encoded
