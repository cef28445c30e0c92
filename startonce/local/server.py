"""The local cloud's server: starts, stops, and puts our services into moto's.

This is the one module that knows how moto is extended. Moto keeps its state in module globals, so
there is one local cloud in a process at a time.
"""

from __future__ import annotations

import logging
import os
import threading
from types import TracebackType

import moto.awslambda.models
import moto.cloudformation.models
import moto.s3.models
import moto.sns.models
import moto.stepfunctions.models
from moto.core.base_backend import BackendDict
from moto.iam.access_control import PermissionResult
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import BaseWSGIServer, make_server

from startonce.local.asynchronous_queue import AsynchronousQueue
from startonce.local.clock import Clock
from startonce.local.cloudformation import (
    LocalCloudFormationBackend,
    install_types,
    mend_sub,
)
from startonce.local.control_api import ControlApi
from startonce.local.faults import Faults
from startonce.local.functions import Functions
from startonce.local.invoke_api import InvokeApi
from startonce.local.lambda_service import (
    CloudWatchLogs,
    LambdaService,
    LocalFunction,
    LocalLambdaBackend,
)
from startonce.local.sns_delivery import LocalSubscription
from startonce.local.step_functions import (
    LocalStateMachine,
    LocalStepFunctionsBackend,
    name_errors_of_lambda,
    put_on_clock,
)

DEFAULT_PORT = 4566
HOST = "127.0.0.1"


class PortTakenError(Exception):
    """Somebody else listens on the port."""


class LocalCloud:
    """AWS on 127.0.0.1, for as long as the ``with`` block lasts.

    Args:
        port: 0 for a free one.
        speed: how many times faster than the wall the waits are; see :class:`Clock`.
        environments: how many execution environments a function may have at a time.

    Raises:
        PortTakenError: when entered, if the port is not free.
    """

    def __init__(
        self, port: int = DEFAULT_PORT, speed: float = 1.0, environments: int | None = None
    ) -> None:
        self._port = port
        self._speed = speed
        self._environments = environments

    def __enter__(self) -> LocalCloud:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_port)

    @property
    def endpoint(self) -> str:
        """The URL for AWS_ENDPOINT_URL."""
        return f"http://{HOST}:{self.port}"

    @property
    def faults(self) -> Faults:
        """Faults on purpose, for functions by name."""
        return self._functions.faults

    def start(self) -> None:
        """Listen, with every service empty.

        Raises:
            PortTakenError: the port is not free.
        """
        self._server = _listen(self._port)
        self._clock = Clock(self._speed)
        self._functions = Functions(self.endpoint, CloudWatchLogs(), self._environments)
        self._asynchronous = AsynchronousQueue(self._clock, self._functions.limit)
        service = LambdaService(self._functions, self._asynchronous, self.endpoint)
        _extend_moto(service, self._clock, self.port)
        others = DomainDispatcherApplication(create_backend_app)
        self._server.app = ControlApi(InvokeApi(others, service), self.faults)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="server"
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, end every worker, forget everything."""
        self._asynchronous.stop()
        self._clock.stop()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._functions.close()
        self._asynchronous.join()
        BackendDict.reset()


def _listen(port: int) -> BaseWSGIServer:
    try:
        server = make_server(
            HOST, port, _starting, threaded=True, request_handler=_QuietRequestHandler
        )
    except OSError as error:
        raise PortTakenError(f"port {port} of {HOST} is taken: {error.strerror}") from error
    except SystemExit:
        # werkzeug prints its own advice and exits where the port is taken.
        raise PortTakenError(f"port {port} of {HOST} is taken") from None
    return server


def _starting(environ: object, start_response: object) -> list[bytes]:
    raise AssertionError("no request is taken before the services are in place")


class _QuietRequestHandler(MotoRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: the terminal is for what people ask for."""


def _extend_moto(service: LambdaService, clock: Clock, port: int) -> None:
    # The States-language interpreter calls other services through this port.
    os.environ["MOTO_PORT"] = str(port)
    functions = moto.awslambda.models.lambda_backends
    functions.backend = LocalLambdaBackend
    LocalLambdaBackend.of = staticmethod(lambda account, region: functions[account][region])
    LocalLambdaBackend.service = service
    LocalFunction.service = service
    moto.sns.models.Subscription = LocalSubscription  # type: ignore[misc]
    moto.cloudformation.models.cloudformation_backends.backend = LocalCloudFormationBackend
    moto.stepfunctions.models.stepfunctions_backends.backend = LocalStepFunctionsBackend
    moto.stepfunctions.models.StateMachine = LocalStateMachine  # type: ignore[misc]
    # Moto reads a Deny with a condition, such as "only over TLS", as a Deny of everything.
    moto.s3.models.FakeBucket.get_permission = (  # type: ignore[method-assign]
        lambda *_: PermissionResult.NEUTRAL
    )
    # A failed execution is nothing that the server's terminal has to tell, in moto's own terms.
    logging.getLogger("moto").setLevel(logging.CRITICAL)
    put_on_clock(clock)
    name_errors_of_lambda()
    install_types()
    mend_sub()
