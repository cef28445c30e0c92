"""What the Step Functions API answers, where moto's answers differ from AWS's or take too long.

Moto serialises an answer by walking through botocore's model of it; these are JSON already.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from moto.core.exceptions import AWSError
from moto.stepfunctions.exceptions import ValidationException
from moto.stepfunctions.responses import StepFunctionResponse

from startonce.local.states.executions import described
from startonce.local.states.step_functions import checks_names

LARGEST_PAGE = 1000
_DEFAULT_PAGE = 100
# Not PENDING_REDRIVE, which only the children of a Map Run have.
_STATUSES = ("RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")

Answer = tuple[int, dict[str, str], str]


class StateMachineTypeNotSupported(AWSError):
    """The call is for STANDARD state machines alone."""

    TYPE = "StateMachineTypeNotSupported"
    STATUS = 400


class InvalidToken(AWSError):
    """The nextToken is not one that was given."""

    TYPE = "InvalidToken"
    STATUS = 400


def mend_answers() -> None:
    """Put the answers below in the place of moto's."""
    for answer in (
        start_execution,
        start_sync_execution,
        describe_execution,
        redrive_execution,
        list_executions,
        get_execution_history,
        stop_execution,
    ):
        setattr(StepFunctionResponse, answer.__name__, answer)


def start_execution(request: Any) -> Answer:
    """https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html"""
    execution = request.stepfunction_backend.start_execution(
        _required(request, "stateMachineArn"),
        request._get_param("name"),
        request._get_param("input"),
    )
    return _answer({"executionArn": execution.execution_arn, "startDate": execution.start_date})


def start_sync_execution(request: Any) -> Answer:
    """https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartSyncExecution.html"""
    arn = _required(request, "stateMachineArn")
    backend = request.stepfunction_backend
    if checks_names(backend.describe_state_machine(arn)):
        raise _type_not_supported(arn)
    execution = backend.start_execution(
        arn, request._get_param("name"), request._get_param("input")
    )
    execution.ended.wait()
    answer = described(execution)
    milliseconds = (execution.stop_date - execution.start_date).total_seconds() * 1000
    # Billed in steps of 100 ms and 64 MB.
    answer["billingDetails"] = {
        "billedDurationInMilliseconds": math.ceil(milliseconds / 100) * 100,
        "billedMemoryUsedInMB": 64,
    }
    return _answer(answer)


def describe_execution(request: Any) -> Answer:
    """https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html"""
    return _answer(_execution(request).described())


def redrive_execution(request: Any) -> Answer:
    """https://docs.aws.amazon.com/step-functions/latest/apireference/API_RedriveExecution.html"""
    date = request.stepfunction_backend.redrive_execution(
        _required(request, "executionArn"), request._get_param("clientToken")
    )
    return _answer({"redriveDate": date})


def list_executions(request: Any) -> Answer:
    """https://docs.aws.amazon.com/step-functions/latest/apireference/API_ListExecutions.html"""
    arn = _required(request, "stateMachineArn")
    machine = request.stepfunction_backend.describe_state_machine(arn)
    if not checks_names(machine):
        raise _type_not_supported(arn)
    executions = machine.executions
    is_wanted = _filter(request)
    size = min(request._get_int_param("maxResults") or _DEFAULT_PAGE, LARGEST_PAGE)
    # The newest first; a token is the position of the next one, which newer ones do not move.
    position = _position(request, len(executions)) - 1
    page: list[dict[str, Any]] = []
    while position >= 0 and len(page) < size:
        execution = executions[position]
        if is_wanted(execution):
            page.append(_listed(execution, arn))
        position -= 1
    answer: dict[str, Any] = {"executions": page}
    if position >= 0:
        answer["nextToken"] = str(position + 1)
    return _answer(answer)


def get_execution_history(request: Any) -> Answer:
    """https://docs.aws.amazon.com/step-functions/latest/apireference/API_GetExecutionHistory.html"""
    events = _execution(request).to_history_output()["events"]
    if request._get_param("reverseOrder"):
        events = events[::-1]
    size = min(request._get_int_param("maxResults") or _DEFAULT_PAGE, LARGEST_PAGE)
    start = _position(request, 0)
    page = [_event(one) for one in events[start : start + size]]
    if request._get_param("includeExecutionData") is False:
        page = [_without_data(one) for one in page]
    answer: dict[str, Any] = {"events": page}
    if start + size < len(events):
        answer["nextToken"] = str(start + size)
    return _answer(answer)


def stop_execution(request: Any) -> Answer:
    """https://docs.aws.amazon.com/step-functions/latest/apireference/API_StopExecution.html"""
    execution = _execution(request)
    execution.stop(datetime.now(UTC), request._get_param("error"), request._get_param("cause"))
    return _answer({"stopDate": execution.stop_date})


def _filter(request: Any) -> Callable[[Any], bool]:
    """Which executions to list: those that AWS still has, with the wanted status and redrives."""
    status = _one_of(request, "statusFilter", _STATUSES)
    redriven = _one_of(request, "redriveFilter", ("REDRIVEN", "NOT_REDRIVEN"))

    def is_wanted(execution: Any) -> bool:
        return (
            not execution.is_gone
            and status in (None, execution.status)
            and redriven in (None, "REDRIVEN" if execution.is_redriven else "NOT_REDRIVEN")
        )

    return is_wanted


def _one_of(request: Any, name: str, allowed: Sequence[str]) -> str | None:
    value: str | None = request._get_param(name)
    if value is None or value in allowed:
        return value
    raise ValidationException(
        f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: "
        f"Member must satisfy enum value set: [{', '.join(allowed)}]"
    )


def _type_not_supported(arn: str) -> StateMachineTypeNotSupported:
    return StateMachineTypeNotSupported(
        f"This operation is not supported by this type of state machine: '{arn}'"
    )


def _execution(request: Any) -> Any:
    return request.stepfunction_backend.describe_execution(_required(request, "executionArn"))


def _required(request: Any, name: str) -> str:
    value = request._get_param(name)
    if not isinstance(value, str):
        raise ValidationException(
            f"1 validation error detected: Value null at '{name}' failed to satisfy constraint: "
            "Member must not be null"
        )
    return value


def _position(request: Any, default: int) -> int:
    token = request._get_param("nextToken")
    if token is None:
        return default
    if not str(token).isdecimal():
        raise InvalidToken("Invalid Token: 'Invalid token'")
    return int(token)


def _listed(execution: Any, machine_arn: str) -> dict[str, Any]:
    listed = {
        "executionArn": execution.execution_arn,
        "stateMachineArn": machine_arn,
        "name": execution.name,
        "status": execution.status,
        "startDate": execution.start_date,
        **execution.listed_redrives(),
    }
    if execution.stop_date is not None:
        listed["stopDate"] = execution.stop_date
    return listed


def _event(event: dict[str, Any]) -> dict[str, Any]:
    """The interpreter writes timestamps as text; the API has seconds."""
    timestamp = event["timestamp"]
    if isinstance(timestamp, str):
        timestamp = datetime.fromisoformat(timestamp)
    return {**event, "timestamp": timestamp}


def _without_data(event: dict[str, Any]) -> dict[str, Any]:
    return {
        key: {name: text for name, text in value.items() if name not in ("input", "output")}
        if isinstance(value, dict)
        else value
        for key, value in event.items()
    }


def _answer(data: dict[str, Any]) -> Answer:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=_plain)
    return 200, {"Content-Type": "application/x-amz-json-1.0"}, text


def _plain(value: Any) -> Any:
    return round(value.timestamp(), 3) if isinstance(value, datetime) else str(value)
