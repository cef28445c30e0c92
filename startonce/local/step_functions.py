"""Step Functions: moto's interpreter, and around it what it leaves open.

https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
"""

from __future__ import annotations

import json
import re
import threading
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError
from moto.stepfunctions import urls as stepfunctions_urls
from moto.stepfunctions.exceptions import InvalidExecutionInput, InvalidName
from moto.stepfunctions.models import StateMachine, stepfunctions_backends
from moto.stepfunctions.parser.api import HistoryEventType, LambdaFunctionFailedEventDetails
from moto.stepfunctions.parser.asl.component.common.error_name.custom_error_name import (
    CustomErrorName,
)
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import FailureEvent
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (
    state_task_service_lambda,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.state_task_lambda import (
    StateTaskLambda,
)
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import (
    WaitFunction,
)
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails
from moto.stepfunctions.parser.models import StepFunctionsParserBackend
from moto.stepfunctions.utils import cfn_to_api_tags

from startonce.local.clock import Clock

LARGEST_INPUT = 262_144
"""Bytes in UTF-8."""

_NAME = re.compile(r"[^\s<>{}\[\]?*\"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f]{1,80}")


class LocalStateMachine(StateMachine):
    """A state machine from a template, with the properties that moto leaves out."""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        """``Arn`` too."""
        return attr == "Arn" or super().has_cfn_attr(attr)

    def get_cfn_attribute(self, attribute_name: str) -> Any:
        """``Arn`` too."""
        return self.arn if attribute_name == "Arn" else super().get_cfn_attribute(attribute_name)

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> StateMachine:
        """``AWS::StepFunctions::StateMachine``."""
        properties = cloudformation_json["Properties"]
        return stepfunctions_backends[account_id][region_name].create_state_machine(
            properties.get("StateMachineName", resource_name),
            _definition(properties),
            properties["RoleArn"],
            tags=cfn_to_api_tags(properties.get("Tags", [])),
            loggingConfiguration=_logging(properties),
            tracingConfiguration=_tracing(properties),
            sm_type=properties.get("StateMachineType"),
        )

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> StateMachine:
        """Executions that run keep the definition that they started with."""
        properties = cloudformation_json["Properties"]
        backend = stepfunctions_backends[account_id][region_name]
        return backend.update_state_machine(
            original_resource.arn,
            definition=_definition(properties),
            role_arn=properties["RoleArn"],
            logging_configuration=_logging(properties),
            tracing_configuration=_tracing(properties),
        )

    def delete(self, account_id: str, region_name: str) -> None:
        """Remove it."""
        stepfunctions_backends[account_id][region_name].delete_state_machine(self.arn)


class LocalStepFunctionsBackend(StepFunctionsParserBackend):  # type: ignore[misc]
    """Checks what AWS checks before an execution starts."""

    # Two calls with one name at the same moment must not start two executions.
    _starting = threading.Lock()

    @property
    def _url_module(self) -> Any:
        return stepfunctions_urls

    def start_execution(
        self,
        state_machine_arn: str,
        name: str | None = None,
        execution_input: str | None = None,
        trace_header: str | None = None,
    ) -> Any:
        """Start it, or find the one that runs with the same name and input.

        Raises:
            InvalidName, InvalidExecutionInput, ExecutionAlreadyExists, StateMachineDoesNotExist.
        """
        if name is not None:
            _check_name(name)
        _check_input(execution_input or "{}")
        with self._starting:
            return super().start_execution(state_machine_arn, name, execution_input, trace_header)


def put_on_clock(clock: Clock) -> None:
    """Make the interpreter's pauses (Retry, Wait) pass on ``clock``."""
    retrier_decl.time = SimpleNamespace(sleep=clock.sleep)

    def wait(_: Any, env: Any, wait_seconds: float) -> None:
        end = clock.now() + wait_seconds
        while env.is_running() and (left := end - clock.now()) > 0:
            clock.sleep(left, until=env.program_state_event)

    WaitFunction._wait_interval = wait


def name_errors_of_lambda() -> None:
    """Make the errors of the Lambda service itself bear the names that Retry and Catch know:
    ``Lambda.TooManyRequestsException`` and the like, as they do in the service integration.
    """
    original = StateTaskLambda._from_error

    def from_error(task: Any, env: Any, ex: Exception) -> Any:
        if not isinstance(ex, ClientError):
            return original(task, env, ex)
        integration = state_task_service_lambda.StateTaskServiceLambda
        error, cause = integration._error_cause_from_client_error(ex)
        return FailureEvent(
            env=env,
            error_name=CustomErrorName(error),
            event_type=HistoryEventType.LambdaFunctionFailed,
            event_details=EventDetails(
                lambdaFunctionFailedEventDetails=LambdaFunctionFailedEventDetails(
                    error=error, cause=cause
                )
            ),
        )

    StateTaskLambda._from_error = from_error


def _definition(properties: dict[str, Any]) -> str:
    text = properties.get("DefinitionString") or json.dumps(properties.get("Definition", {}))
    for name, value in (properties.get("DefinitionSubstitutions") or {}).items():
        text = text.replace("${" + name + "}", str(value))
    return str(text)


def _logging(properties: dict[str, Any]) -> dict[str, Any] | None:
    given = properties.get("LoggingConfiguration")
    if not given:
        return None
    destinations = [
        {"cloudWatchLogsLogGroup": {"logGroupArn": one["CloudWatchLogsLogGroup"]["LogGroupArn"]}}
        for one in given.get("Destinations", [])
    ]
    return {
        "level": given.get("Level", "OFF"),
        "includeExecutionData": _is_true(given.get("IncludeExecutionData")),
        "destinations": destinations,
    }


def _tracing(properties: dict[str, Any]) -> dict[str, Any] | None:
    given = properties.get("TracingConfiguration")
    return {"enabled": _is_true(given.get("Enabled"))} if given else None


def _is_true(value: object) -> bool:
    return str(value).lower() == "true"


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidName(f"Invalid Name: '{name}'")


def _check_input(text: str) -> None:
    size = len(text.encode(errors="surrogatepass"))
    if size > LARGEST_INPUT:
        raise InvalidExecutionInput(
            f"Invalid State Machine Execution Input: {size} bytes are more than {LARGEST_INPUT}"
        )
    try:
        json.loads(text)
    except ValueError as error:
        raise InvalidExecutionInput(f"Invalid State Machine Execution Input: '{error}'") from None
