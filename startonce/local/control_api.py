"""The local cloud's own doors, beside AWS's: faults on purpose, the clock, and functions' zips.

``POST /_startonce/faults`` with ``TARGET:KIND[-after][:N|:P%]``, as ``startonce up --fault`` takes
it. ``DELETE`` forgets those that are still to come; ``GET`` answers how many have struck.
``POST /_startonce/clock`` with a number of seconds puts the clock forward.
``GET /_startonce/code/REGION/FUNCTION/VERSION`` is what GetFunction's ``Code.Location`` names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from moto.awslambda.exceptions import UnknownFunctionException
from moto.core.models import DEFAULT_ACCOUNT_ID
from werkzeug.wrappers import Request, Response

from startonce.local.clock import Clock
from startonce.local.faults import Faults, parse
from startonce.local.functions.lambda_service import CODE_PATH, LocalLambdaBackend

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

FAULTS_PATH = "/_startonce/faults"
CLOCK_PATH = "/_startonce/clock"


class ControlApi:
    """WSGI middleware in front of everything else.

    Args:
        others: the application for every other request.
    """

    def __init__(self, others: WSGIApplication, faults: Faults, clock: Clock) -> None:
        self._others = others
        self._faults = faults
        self._clock = clock

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer what is ours, or pass the request on."""
        path = environ.get("PATH_INFO", "")
        if path == FAULTS_PATH:
            response = self._answer_faults(Request(environ))
        elif path == CLOCK_PATH:
            response = self._answer_clock(Request(environ))
        elif path.startswith(f"{CODE_PATH}/"):
            response = _code(path.removeprefix(f"{CODE_PATH}/"))
        else:
            return self._others(environ, start_response)
        return response(environ, start_response)

    def _answer_faults(self, request: Request) -> Response:
        if request.method == "GET":
            report = json.dumps(self._faults.report())
            return Response(f"{report}\n", content_type="application/json")
        if request.method == "DELETE":
            self._faults.clear()
        elif request.method == "POST":
            try:
                self._faults.add(*parse(request.get_data(as_text=True).strip()))
            except ValueError as error:
                return Response(f"{error}\n", status=400)
        else:
            return Response("GET, POST or DELETE is needed\n", status=405)
        return Response(status=204)

    def _answer_clock(self, request: Request) -> Response:
        if request.method != "POST":
            return Response("POST is needed\n", status=405)
        text = request.get_data(as_text=True).strip()
        try:
            self._clock.advance(float(text))
        except ValueError:
            return Response(f"a positive number of seconds is needed, not {text!r}\n", status=400)
        return Response(status=204)


def _code(path: str) -> Response:
    match path.split("/"):
        case [region, name, version]:
            backend = LocalLambdaBackend.of(DEFAULT_ACCOUNT_ID, region)
        case _:
            return Response("REGION/FUNCTION/VERSION is needed\n", status=400)
    try:
        function = backend.get_function(name, version)
    except UnknownFunctionException as error:
        return Response(f"{error.message}\n", status=404)
    return Response(function.code_bytes, content_type="application/zip")
