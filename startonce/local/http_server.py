"""The HTTP server in front of moto: threads and connections that stay open.

werkzeug's own handler closes each connection after one request and waits for the client to do the
same. With it, most of the time of a short call went into connections.
"""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

HOST = "127.0.0.1"
DEFAULT_PORT = 4566


class PortTakenError(Exception):
    """Somebody else listens on the port."""


class Disconnected(ConnectionError):
    """Raised by an application: the connection is to be closed without an answer.

    werkzeug's handler does so for every ConnectionError, and says nothing.
    """


def bind(port: int) -> socket.socket:
    """A listening socket of the loopback address; connections wait in it until they are served.

    Args:
        port: 0 for a free one.

    Raises:
        PortTakenError: the port is not free.
    """
    try:
        return socket.create_server((HOST, port), backlog=1024)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise PortTakenError(f"port {port} of {HOST} is taken: {reason}") from error


def endpoint_of(listening: socket.socket) -> str:
    """The URL of what listens there."""
    return f"http://{HOST}:{listening.getsockname()[1]}"


def serve(
    listening: socket.socket, application: WSGIApplication, base: type[WSGIRequestHandler]
) -> BaseWSGIServer:
    """A server of ``application`` on a socket of :func:`bind`, which it takes over.

    Args:
        base: reads a request's headers.
    """
    handler = type("Handler", (_KeepAlive, base), {})
    with listening:  # werkzeug listens on a duplicate
        return make_server(
            HOST,
            listening.getsockname()[1],
            application,
            threaded=True,
            request_handler=handler,
            fd=listening.fileno(),
        )


class _KeepAlive(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body leave in one segment: in two, the peer's delayed acknowledgement costs 40 ms.
    wbufsize = -1
    disable_nagle_algorithm = True

    def run_wsgi(self) -> None:
        """Answer one request and leave the connection open."""
        environ = self.make_environ()
        # Read to its end: what is left of a body would be taken for the next request.
        body = environ["wsgi.input"].read(_length(environ))
        environ["wsgi.input"] = io.BytesIO(body)
        environ["wsgi.input_terminated"] = True
        answer = _Answer()
        chunks = self.server.app(environ, answer.start)
        try:
            content = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        self._send(answer, content)

    def handle_expect_100(self) -> bool:
        """Say at once that the body may come: the client waits for it."""
        self.send_response_only(HTTPStatus.CONTINUE)
        self.end_headers()
        self.wfile.flush()
        return True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: the terminal is for what people ask for."""

    def _send(self, answer: _Answer, content: bytes) -> None:
        code, _, reason = answer.status.partition(" ")
        self.send_response_only(int(code), reason)
        names = set()
        for name, value in answer.headers:
            names.add(name.lower())
            self.send_header(name, value)
        if "date" not in names:
            self.send_header("Date", self.date_time_string())
        is_bodiless = int(code) in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
        if "content-length" not in names and not is_bodiless:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and not is_bodiless:
            self.wfile.write(content)
        self.wfile.flush()


class _Answer:
    """What a WSGI application says before its body."""

    def __init__(self) -> None:
        self.status = "500 Internal Server Error"
        self.headers: Iterable[tuple[str, str]] = ()

    def start(self, status: str, headers: Iterable[tuple[str, str]], exc_info: Any = None) -> Any:
        """WSGI's ``start_response``."""
        self.status, self.headers = status, headers
        return self._refuse_to_write

    @staticmethod
    def _refuse_to_write(data: bytes) -> None:
        raise NotImplementedError("no application here writes so")


def _length(environ: dict[str, Any]) -> int:
    """How much to read; all of it where the body's end is marked otherwise."""
    if environ.get("wsgi.input_terminated"):
        return -1
    return int(environ.get("CONTENT_LENGTH") or 0)
