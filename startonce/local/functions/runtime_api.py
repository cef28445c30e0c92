"""The Runtime API: where a worker's runtime client fetches events and leaves answers.

Each execution environment has an endpoint of its own, because the runtime client knows its server
by host and port alone. The protocol is AWS's:
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

_PREFIX = "/2018-06-01/runtime"


@dataclass(frozen=True)
class NextInvocation:
    """What the runtime client needs for one event.

    Attributes:
        deadline: milliseconds since the epoch at which the function's time is up.
    """

    request_id: str
    event: bytes
    function_arn: str
    deadline: int
    trace_id: str
    client_context: str


@dataclass(frozen=True)
class Answer:
    """What the runtime client said.

    ``ready``: it asked for its first event, so its initialisation is over. ``response`` and
    ``error``: what the handler returned or raised. ``init_error``: it could not load the handler.
    """

    kind: Literal["ready", "response", "error", "init_error"]
    payload: bytes = b""


class RuntimeApi:
    """The endpoint of one execution environment, on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[NextInvocation | None] = queue.SimpleQueue()
        self._current: str | None = None
        self._asked_before = False
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, name="runtime-api", daemon=True).start()

    @property
    def address(self) -> str:
        """``host:port``, as AWS_LAMBDA_RUNTIME_API has it."""
        return f"127.0.0.1:{self._server.server_port}"

    def send(self, event: NextInvocation) -> None:
        """Hand the worker its next event."""
        self._current = event.request_id
        self._events.put(event)

    def receive(self, seconds: float) -> Answer | None:
        """The worker's next answer, or None when there is none for ``seconds``."""
        try:
            return self._answers.get(timeout=max(seconds, 0))
        except queue.Empty:
            return None

    def close(self) -> None:
        """Free the port; a worker that still waits for an event is told nothing more."""
        self._events.put(None)
        # shutdown() waits for the server's next poll: nobody else has to.
        threading.Thread(target=self._shut_down, name="runtime-api-close", daemon=True).start()

    def _shut_down(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def next_event(self) -> NextInvocation | None:
        """Block until there is an event; None when the environment is closed."""
        if not self._asked_before:
            self._asked_before = True
            self._answers.put(Answer("ready"))
        return self._events.get()

    def answered(self, request_id: str, answer: Answer) -> bool:
        """Take the answer to the current event; False when it answers another one."""
        if request_id != self._current:
            return False
        self._current = None
        self._answers.put(answer)
        return True

    def failed_to_start(self, payload: bytes) -> None:
        """Take the report that the handler could not be loaded."""
        self._answers.put(Answer("init_error", payload))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, api: RuntimeApi) -> None:
        self.api = api
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    # Headers and body leave in one segment: in two, the peer's delayed acknowledgement costs 40 ms.
    wbufsize = -1
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Serve the worker's requests; one that was killed leaves its connection in the middle."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        if self.path != f"{_PREFIX}/invocation/next":
            self._reply(404, b"")
            return
        event = self.server.api.next_event()
        if event is None:
            self.close_connection = True
            return
        headers = {
            "Lambda-Runtime-Aws-Request-Id": event.request_id,
            "Lambda-Runtime-Deadline-Ms": str(event.deadline),
            "Lambda-Runtime-Invoked-Function-Arn": event.function_arn,
            "Lambda-Runtime-Trace-Id": event.trace_id,
        }
        if event.client_context:
            headers["Lambda-Runtime-Client-Context"] = event.client_context
        self._reply(200, event.event, headers)

    def do_POST(self) -> None:
        body = self._body()
        if self.path == f"{_PREFIX}/init/error":
            self.server.api.failed_to_start(body)
            self._reply(202, b'{"status":"OK"}')
            return
        match self.path.removeprefix(f"{_PREFIX}/invocation/").split("/"):
            case [request_id, "response"]:
                known = self.server.api.answered(request_id, Answer("response", body))
            case [request_id, "error"]:
                known = self.server.api.answered(request_id, Answer("error", body))
            case _:
                self._reply(404, b"")
                return
        if known:
            self._reply(202, b'{"status":"OK"}')
        else:
            message = {"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"}
            self._reply(400, json.dumps(message).encode())

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._chunks()
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing: the server's terminal is for what people ask for."""
