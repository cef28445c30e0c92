"""The local cloud's server: starts, stops, and puts our services into moto's.

This is the one module that knows how moto is extended. Moto keeps its state in module globals, so
there is one local cloud in a process at a time.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
import threading
from types import TracebackType

import moto.awslambda.models
import moto.cloudformation.models
import moto.events.models
import moto.iam.models
import moto.s3.models
import moto.s3.notifications
import moto.sns.models
import moto.sqs.models
import moto.stepfunctions.models
from moto.awslambda.responses import LambdaResponse
from moto.core.base_backend import BackendDict
from moto.iam.access_control import PermissionResult
from moto.moto_server.werkzeug_app import MotoRequestHandler
from moto.sqs.responses import SQSResponse

from startonce.local.api_faults import ApiFaults
from startonce.local.clock import Clock
from startonce.local.control_api import ControlApi
from startonce.local.events import s3_notifications
from startonce.local.events.event_rules import LocalEventsBackend, LocalRule
from startonce.local.events.sns_delivery import LocalSubscription
from startonce.local.events.sns_topics import LocalSnsBackend, LocalTopic
from startonce.local.faults import Faults
from startonce.local.functions.asynchronous_queue import AsynchronousQueue
from startonce.local.functions.engine import Functions
from startonce.local.functions.invoke_api import InvokeApi
from startonce.local.functions.lambda_service import (
    CloudWatchLogs,
    LambdaService,
    LocalFunction,
    LocalLambdaBackend,
)
from startonce.local.hanging import Hanging
from startonce.local.http_server import DEFAULT_PORT, bind, endpoint_of, serve
from startonce.local.iam.authorization import Authorization, task_authorizer
from startonce.local.iam.credentials import Credentials
from startonce.local.iam.permissions import Permissions
from startonce.local.iam.roles import LocalIamBackend
from startonce.local.moto_application import MotoApplication
from startonce.local.queues.event_source_mapping import (
    MappedFunctions,
    MappingLambdaBackend,
    answer_create,
)
from startonce.local.queues.polling import QueuePolling
from startonce.local.queues.sqs_queue import LocalQueue, Surroundings
from startonce.local.queues.sqs_service import (
    LocalSqsBackend,
    answer_receive,
    end_waits,
    look_again,
)
from startonce.local.states import interpreter
from startonce.local.states.running import Running
from startonce.local.states.step_functions import (
    LocalStateMachine,
    LocalStepFunctionsBackend,
)
from startonce.local.states.step_functions_api import mend_answers
from startonce.local.states.task_calls import TaskCalls
from startonce.local.templates.cloudformation import LocalCloudFormationBackend, install_types
from startonce.local.templates.stacks import LocalStack
from startonce.local.templates.template_values import mend_values

_RECEIVE_MESSAGE = SQSResponse.receive_message


class LocalCloud:
    """AWS on 127.0.0.1, for as long as the ``with`` block lasts.

    Args:
        port: 0 for a free one.
        listening: a socket of :func:`startonce.local.http_server.bind`, instead of a port.
        speed: how many times faster than the wall the waits are; see :class:`Clock`.
        environments: how many execution environments a function may have at a time.
        iam: False lets every role do everything.

    Attributes:
        endpoint: the URL for AWS_ENDPOINT_URL, once it is entered.

    Raises:
        PortTakenError: when entered, if the port is not free.
    """

    def __init__(
        self,
        port: int = DEFAULT_PORT,
        speed: float = 1.0,
        environments: int | None = None,
        iam: bool = True,
        listening: socket.socket | None = None,
    ) -> None:
        self._port = port
        self._listening = listening
        self._speed = speed
        self._environments = environments
        self._iam = iam
        self.endpoint = ""

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
        return int(self.endpoint.rpartition(":")[2])

    @property
    def faults(self) -> Faults:
        """Faults on purpose, of functions and of API calls."""
        return self._functions.faults

    def start(self) -> None:
        """Listen, with every service empty.

        Raises:
            PortTakenError: the port is not free.
        """
        listening = self._listening or bind(self._port)
        self.endpoint = endpoint_of(listening)
        _calm_garbage_collector()
        self._clock = Clock(self._speed)
        credentials, permissions = Credentials(), Permissions(self._iam)
        self._functions = Functions(
            self.endpoint, CloudWatchLogs(), credentials.for_role, self._environments
        )
        self._asynchronous = AsynchronousQueue(self._clock, self._functions.limit)
        service = LambdaService(
            self._functions, self._asynchronous, self.endpoint, credentials, permissions
        )
        may = task_authorizer(credentials, permissions)
        tasks = TaskCalls(service, self.endpoint, credentials.for_role, may, self.faults)
        LocalSubscription.permissions, LocalSubscription.faults = permissions, self.faults
        LocalStepFunctionsBackend.is_trusted = staticmethod(permissions.is_trusted)
        self._executions = Running()
        LocalStepFunctionsBackend.clock = self._clock
        LocalStepFunctionsBackend.running = self._executions
        _extend_moto(service, tasks, self._clock, self._executions, self.port)
        mapped = MappedFunctions(credentials, permissions)
        self._polling = QueuePolling(self._clock, mapped, self._functions.limit)
        MappingLambdaBackend.polling, MappingLambdaBackend.mapped = self._polling, mapped
        _extend_queues(self._clock, self._polling, self.endpoint)
        _extend_event_sources(permissions)
        self._hanging = Hanging()
        calls = ApiFaults(
            InvokeApi(MotoApplication(), service), self.faults, credentials, self._hanging
        )
        allowed = Authorization(calls, credentials, permissions)
        application = ControlApi(allowed, self.faults, self._clock)
        self._server = serve(listening, application, MotoRequestHandler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="server"
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, end every worker, forget everything."""
        self._asynchronous.stop()
        self._polling.stop()
        self._executions.stop()
        self._clock.stop()
        end_waits(moto.sqs.models.sqs_backends)
        self._hanging.end()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._functions.close()
        self._asynchronous.join()
        self._polling.join()
        BackendDict.reset()


def _calm_garbage_collector() -> None:
    """Leave moto's and botocore's hundreds of thousands of lasting objects alone: looking through
    them again and again took a quarter of the server's time.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _extend_moto(
    service: LambdaService, tasks: TaskCalls, clock: Clock, running: Running, port: int
) -> None:
    # The States-language interpreter calls other services through this port.
    os.environ["MOTO_PORT"] = str(port)
    functions = moto.awslambda.models.lambda_backends
    functions.backend = MappingLambdaBackend
    LocalLambdaBackend.of = staticmethod(lambda account, region: functions[account][region])
    LocalLambdaBackend.service = service
    LocalFunction.service = service
    moto.iam.models.iam_backends.backend = LocalIamBackend
    moto.sns.models.Subscription = LocalSubscription  # type: ignore[misc]
    moto.cloudformation.models.cloudformation_backends.backend = LocalCloudFormationBackend
    moto.cloudformation.models.Stack = LocalStack  # type: ignore[misc]
    moto.stepfunctions.models.stepfunctions_backends.backend = LocalStepFunctionsBackend
    moto.stepfunctions.models.StateMachine = LocalStateMachine  # type: ignore[misc]
    # Moto reads a Deny with a condition, such as "only over TLS", as a Deny of everything.
    moto.s3.models.FakeBucket.get_permission = (  # type: ignore[method-assign]
        lambda *_: PermissionResult.NEUTRAL
    )
    # A failed execution is nothing that the server's terminal has to tell, in moto's own terms.
    logging.getLogger("moto").setLevel(logging.CRITICAL)
    interpreter.mend(clock, running, tasks.client, tasks.invoke)
    mend_answers()
    install_types()
    mend_values()


def _extend_queues(clock: Clock, polling: QueuePolling, endpoint: str) -> None:
    queues = moto.sqs.models.sqs_backends
    queues.backend = LocalSqsBackend
    moto.sqs.models.Queue = LocalQueue  # type: ignore[misc]
    answer = answer_receive(_RECEIVE_MESSAGE)
    SQSResponse.receive_message = answer  # type: ignore[method-assign,assignment]
    clock.on_advance(lambda: look_again(queues))
    LocalQueue.cloud = Surroundings(
        clock, endpoint, polling.wake, lambda account, region: queues[account][region]
    )
    LambdaResponse.create_event_source_mapping = (  # type: ignore[method-assign]
        answer_create  # type: ignore[assignment]
    )


def _extend_event_sources(permissions: Permissions) -> None:
    moto.sns.models.sns_backends.backend = LocalSnsBackend
    moto.sns.models.Topic = LocalTopic  # type: ignore[misc]
    moto.events.models.events_backends.backend = LocalEventsBackend
    moto.events.models.Rule = LocalRule  # type: ignore[misc]
    LocalRule.permissions = permissions
    moto.s3.notifications._get_s3_event = s3_notifications.describe
    deliver = s3_notifications.deliver_by(permissions)
    moto.s3.notifications._invoke_awslambda = deliver  # type: ignore[assignment]
