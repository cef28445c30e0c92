"""Mends moto's States-language interpreter where AWS behaves otherwise, or where it grows or drags.

Each function here is one mending, applied once by the server.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from types import ModuleType, SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError
from botocore.session import Session
from moto.stepfunctions.parser import quotas, utils
from moto.stepfunctions.parser.api import (
    ExecutionFailedEventDetails,
    HistoryEventType,
    LambdaFunctionFailedEventDetails,
)
from moto.stepfunctions.parser.asl.component.common.error_name.custom_error_name import (
    CustomErrorName,
)
from moto.stepfunctions.parser.asl.component.common.error_name.error_equals_decl import (
    ErrorEqualsDecl,
)
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (
    FailureEvent,
    FailureEventException,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import (
    StatesErrorName,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import (
    StatesErrorNameType,
)
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl
from moto.stepfunctions.parser.asl.component.state import state
from moto.stepfunctions.parser.asl.component.state.choice.state_choice import StateChoice
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (
    state_task_service_lambda,
    state_task_service_sqs,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service import (  # noqa: E501
    StateTaskService,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.state_task_lambda import (
    StateTaskLambda,
)
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import (
    WaitFunction,
)
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.asl.utils import json_path
from moto.stepfunctions.parser.asl.utils.boto_client import boto_client_for
from moto.stepfunctions.parser.asl.utils.encoding import _DateTimeEncoder, to_json_str

from startonce.local.aws_text import time_text
from startonce.local.clock import Clock
from startonce.local.states.running import Running

InvokeFunction = Callable[[str, str | None, bytes, str], dict[str, Any]]
"""``(function, qualifier, payload, role ARN)`` to what boto3's ``invoke`` returns, with the payload
read; raises ClientError.
"""

_INTERPRETER = "moto.stepfunctions.parser"


def mend(
    clock: Clock,
    running: Running,
    client_of: Callable[[str, str, str], Any],
    invoke: InvokeFunction,
) -> None:
    """Apply all.

    Args:
        client_of: ``(service, region, role ARN)`` to a boto3 client with the role's credentials.
    """
    put_on_clock(clock, running)
    call_services_with(client_of)
    call_functions_with(invoke)
    name_errors_of_services()
    match_errors_as_aws()
    name_the_error_of_a_choice_without_match()
    count_the_payload_alone()
    limit_what_tasks_are_given()
    write_json_as_aws()
    write_times_as_aws()
    json_path.parse = cache(json_path.parse)


def put_on_clock(clock: Clock, running: Running) -> None:
    """Make the interpreter's pauses (Retry, Wait) pass on ``clock``, and take nobody's room."""

    def sleep(seconds: float) -> None:
        with running.pause():
            clock.sleep(seconds)

    retrier_decl.time = SimpleNamespace(sleep=sleep)

    def wait(_: Any, env: Any, wait_seconds: float) -> None:
        end = clock.now() + wait_seconds
        with running.pause():
            while env.is_running() and clock.now() < end:
                clock.pause(end, env.program_state_event)

    WaitFunction._wait_interval = wait


def call_services_with(client_of: Callable[[str, str, str], Any]) -> None:
    """Make tasks call other services as the state machine's role; moto makes a client each time."""

    def client_for(region: str, service: str, state_credentials: Any = None) -> Any:
        role = state_credentials.role_arn if state_credentials else ""
        return client_of(service, region, role)

    _replace(boto_client_for, client_for)


def call_functions_with(invoke: InvokeFunction) -> None:
    """Make tasks call functions in this process, without a request to our own server."""

    def call(parameters: dict[str, Any], region: str, state_credentials: Any) -> dict[str, Any]:
        answer = invoke(
            parameters["FunctionName"],
            parameters.get("Qualifier"),
            parameters.get("Payload") or b"{}",
            state_credentials.role_arn if state_credentials else "",
        )
        payload = answer["Payload"].decode(errors="replace")
        try:
            return {**answer, "Payload": json.loads(payload)}
        except ValueError:
            return {**answer, "Payload": payload}

    lambda_eval_utils._invoke_lambda_function = call


def name_errors_of_services() -> None:
    """Make the errors of the services themselves bear the names that Retry and Catch know:
    ``Lambda.TooManyRequestsException`` and the like. Those that are not in the API's model, such as
    AccessDeniedException, have the name of the SDK's general exception.
    """
    state_task_service_sqs._ERROR_NAME_CLIENT = "SQS.SqsException"
    modelled = {
        shape.name
        for shape in Session().get_service_model("lambda").operation_model("Invoke").error_shapes
    }
    original = StateTaskLambda._from_error

    def from_error(task: Any, env: Any, ex: Exception) -> Any:
        if isinstance(ex, json_path.NoSuchJsonPathError):
            return _failure(env, StatesErrorName(StatesErrorNameType.StatesRuntime), str(ex))
        if not isinstance(ex, ClientError):
            return original(task, env, ex)
        integration = state_task_service_lambda.StateTaskServiceLambda
        error, cause = integration._error_cause_from_client_error(ex)
        if ex.response["Error"]["Code"] not in modelled:
            error = "Lambda.AWSLambdaException"
        return _failure(env, CustomErrorName(error), cause)

    StateTaskLambda._from_error = from_error


def match_errors_as_aws() -> None:
    """Keep ``States.ALL`` away from what only its own name matches.

    https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
    """
    original = ErrorEqualsDecl._eval_body
    terminal = {"States.DataLimitExceeded", "States.Runtime"}

    def eval_body(declared: Any, env: Any) -> None:
        if env.stack[-1].error_name in terminal:
            env.stack.append(env.stack.pop() in declared.error_names)
        else:
            original(declared, env)

    ErrorEqualsDecl._eval_body = eval_body


def name_the_error_of_a_choice_without_match() -> None:
    """Make a Choice without Default that no rule matches fail under its own name.

    https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
    """
    original = StateChoice._eval_state

    def eval_state(choice: Any, env: Any) -> None:
        try:
            original(choice, env)
        except RuntimeError as error:
            if choice.default_state is None and str(error.args[0]).startswith("No branching"):
                raise FailureEventException(_no_choice_matched(choice.name, env)) from None
            raise

    StateChoice._eval_state = eval_state


def _no_choice_matched(name: str, env: Any) -> Any:
    error = StatesErrorName(StatesErrorNameType.StatesNoChoiceMatched)
    cause = (
        f"An error occurred while executing the state '{name}' (entered at the event id "
        f"#{env.event_history_context.source_event_id}). Failed to transition out of the state. "
        "The state does not point to a next state."
    )
    details = ExecutionFailedEventDetails(error=error.error_name, cause=cause)
    return FailureEvent(
        env=env,
        error_name=error,
        event_type=HistoryEventType.ExecutionFailed,
        event_details=EventDetails(executionFailedEventDetails=details),
    )


def count_the_payload_alone() -> None:
    """Make the limit of a task's result count the function's answer, not what is around it."""
    original = StateTaskLambda._verify_size_quota

    def verify(task: Any, env: Any, value: Any) -> None:
        payload = value["Payload"] if isinstance(value, dict) and "Payload" in value else value
        original(task, env, payload)

    StateTaskLambda._verify_size_quota = verify

    def is_within_size_quota(value: Any) -> bool:
        return bool(len(quotas.to_json_str(value).encode()) <= quotas.MAX_STATE_SIZE_UTF8_BYTES)

    _replace(quotas.is_within_size_quota, is_within_size_quota)


def limit_what_tasks_are_given() -> None:
    """Count what ``Parameters`` make of a task's input too.

    https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
    """

    def limit(kind: Any, key: str | None) -> None:
        original = kind._eval_parameters

        def eval_parameters(task: Any, env: Any) -> Any:
            parameters = original(task, env)
            task._verify_size_quota(env, parameters[key] if key else parameters)
            return parameters

        kind._eval_parameters = eval_parameters

    limit(StateTaskLambda, "Payload")
    limit(StateTaskService, None)


def _failure(env: Any, name: Any, cause: str) -> Any:
    return FailureEvent(
        env=env,
        error_name=name,
        event_type=HistoryEventType.LambdaFunctionFailed,
        event_details=EventDetails(
            lambdaFunctionFailedEventDetails=LambdaFunctionFailedEventDetails(
                error=name.error_name, cause=cause
            )
        ),
    )


def write_json_as_aws() -> None:
    """Make histories, sizes and payloads compact JSON in UTF-8: moto escapes and adds spaces, so it
    counts more bytes than AWS does.
    """

    def compact(obj: Any, separators: tuple[str, str] | None = None) -> str:
        return json.dumps(
            obj, cls=_DateTimeEncoder, ensure_ascii=False, separators=separators or (",", ":")
        )

    _replace(to_json_str, compact)


def write_times_as_aws() -> None:
    """Make the context object's times end in milliseconds and Z."""
    original = state.StateData

    def state_data(EnteredTime: str, **others: Any) -> Any:  # noqa: N803
        return original(EnteredTime=time_text(datetime.fromisoformat(EnteredTime)), **others)

    state.StateData = state_data


@cache
def parsed(definition: str) -> Any:
    """The program of a definition; parsing takes longer than most executions."""
    return AmazonStateLanguageParser.parse(definition)[0]


def forget_threads() -> None:
    """Drop moto's list of every thread that it ever started."""
    utils.TMP_THREADS.clear()


def _replace(original: Any, replacement: Any) -> None:
    """Put ``replacement`` wherever the interpreter imported ``original`` by name."""
    for module in _modules():
        for name, value in list(vars(module).items()):
            if value is original:
                setattr(module, name, replacement)


def _modules() -> Iterator[ModuleType]:
    for name, module in list(sys.modules.items()):
        if name.startswith(_INTERPRETER):
            yield module
