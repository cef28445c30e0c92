"""The local cloud's own door, beside AWS's: faults on purpose, from any process.

``POST /_startonce/faults`` with ``{"function": name, "kind": kind, "after": bool, "times": N}``.
AWS has nothing like it, so its path cannot meet one of AWS's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from werkzeug.wrappers import Request, Response

from startonce.local.faults import Fault, Faults

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

FAULTS_PATH = "/_startonce/faults"


class ControlApi:
    """WSGI middleware in front of everything else.

    Args:
        others: the application for every other request.
    """

    def __init__(self, others: WSGIApplication, faults: Faults) -> None:
        self._others = others
        self._faults = faults

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Take faults, or pass the request on."""
        if environ.get("PATH_INFO") != FAULTS_PATH:
            return self._others(environ, start_response)
        try:
            asked = json.loads(Request(environ).get_data())
            fault = Fault(asked["kind"], bool(asked.get("after", False)))
            self._faults.add(asked["function"], fault, int(asked.get("times", 1)))
            response = Response(status=204)
        except (ValueError, KeyError, TypeError) as error:
            response = Response(f"no such fault: {error}\n", status=400)
        return response(environ, start_response)
