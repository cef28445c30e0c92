"""Executions of a state machine: found by name at once, however many there are."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from typing import Any

from moto.stepfunctions.parser.api import (
    ExecutionAbortedEventDetails,
    ExecutionStartedEventDetails,
    ExecutionStatus,
    HistoryEventExecutionDataDetails,
    HistoryEventType,
)
from moto.stepfunctions.parser.asl.eval.evaluation_details import EvaluationDetails
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails
from moto.stepfunctions.parser.backend.execution import Execution
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker

from startonce.local.aws_text import time_text
from startonce.local.states.interpreter import parsed

_WITH_STATE = ('"Map"', '"Parallel"')


class Executions(list[Any]):
    """A list, because moto wants one, that also finds by name and by ARN."""

    def __init__(self) -> None:
        super().__init__()
        self._by_name: dict[str, Any] = {}
        self._by_arn: dict[str, Any] = {}

    def append(self, execution: Any) -> None:
        """Add a new one."""
        super().append(execution)
        self._by_name[execution.name] = execution
        self._by_arn[execution.execution_arn] = execution

    def named(self, name: str) -> Any | None:
        """The execution of this name."""
        return self._by_name.get(name)

    def with_arn(self, arn: str) -> Any | None:
        """The execution of this ARN."""
        return self._by_arn.get(arn)


class LocalExecution(Execution):  # type: ignore[misc]
    """An execution whose history begins with its input as it was given."""

    exec_status: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ended = threading.Event()

    def get_start_execution_details(self) -> Any:
        """With the start as the context object writes it."""
        details = super().get_start_execution_details()
        details.start_time = time_text(self.start_date)
        return details

    def _get_start_execution_worker(self) -> ExecutionWorker:
        worker = LocalExecutionWorker(
            evaluation_details=_evaluation_details(self),
            exec_comm=self._get_start_execution_worker_comm(),
            cloud_watch_logging_session=self._cloud_watch_logging_session,
            activity_store=self._activity_store,
        )
        worker.execution_input = self.execution_input
        return worker

    def stop(self, stop_date: datetime, error: str | None = None, cause: str | None = None) -> None:
        """End it now; a function that one of its tasks called runs on, and nobody hears of it."""
        if self.exec_status != ExecutionStatus.RUNNING:
            return
        env = self.exec_worker.env
        env.set_stop(stop_date=stop_date, cause=cause, error=error)
        self.exec_status = ExecutionStatus.ABORTED
        self.stop_date, self.error, self.cause = stop_date, error, cause
        env.event_history_context.source_event_id = 0
        details = {name: text for name, text in (("error", error), ("cause", cause)) if text}
        env.event_manager.add_event(
            context=env.event_history_context,
            event_type=HistoryEventType.ExecutionAborted,
            event_details=EventDetails(
                executionAbortedEventDetails=ExecutionAbortedEventDetails(**details)
            ),
        )
        env.event_manager.add_event = _ignore

    def _get_start_execution_worker_comm(self) -> Any:
        communication = super()._get_start_execution_worker_comm()
        ended = communication.terminated

        def terminated() -> None:
            if self.exec_status == ExecutionStatus.RUNNING:
                ended()
            self.ended.set()

        communication.terminated = terminated
        return communication


class LocalExecutionWorker(ExecutionWorker):  # type: ignore[misc]
    """Runs the program; parses a definition once for all its executions."""

    execution_input: str

    def _get_evaluation_entrypoint(self) -> Any:
        definition = self._evaluation_details.state_machine_details.definition
        # The programs of Map and Parallel keep what belongs to one execution.
        if any(word in definition for word in _WITH_STATE):
            return parsed.__wrapped__(definition)
        return parsed(definition)

    def _execution_logic(self) -> None:
        program = self._get_evaluation_entrypoint()
        self.env.event_manager.add_event(
            context=self.env.event_history_context,
            event_type=HistoryEventType.ExecutionStarted,
            event_details=EventDetails(
                executionStartedEventDetails=ExecutionStartedEventDetails(
                    input=self.execution_input,
                    inputDetails=HistoryEventExecutionDataDetails(truncated=False),
                    roleArn=self._evaluation_details.aws_execution_details.role_arn,
                )
            ),
            update_source_event_id=False,
        )
        program.eval(self.env)
        self._execution_communication.terminated()

    def start(self) -> None:
        """Run on a thread of its own."""
        # Made here, so that an execution can be described and stopped as soon as it is there.
        self.env = self._get_evaluation_environment()
        super().start()


def described(execution: Any) -> dict[str, Any]:
    """What DescribeExecution answers.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html
    """
    answer: dict[str, Any] = {
        "executionArn": execution.execution_arn,
        "stateMachineArn": execution.state_machine_arn,
        "name": execution.name,
        "status": execution.status,
        "startDate": execution.start_date,
        "input": execution.execution_input,
        "inputDetails": {"included": True},
        "redriveCount": 0,
        "redriveStatus": "NOT_REDRIVABLE",
        "redriveStatusReason": "The local cloud cannot redrive executions",
    }
    if execution.stop_date is not None:
        answer["stopDate"] = execution.stop_date
    if execution.status == "SUCCEEDED":
        answer["output"] = json.dumps(
            execution.output, ensure_ascii=False, separators=(",", ":"), default=str
        )
        answer["outputDetails"] = {"included": True}
    for name in ("error", "cause"):
        if getattr(execution, name) is not None:
            answer[name] = getattr(execution, name)
    return answer


def _ignore(*_: Any, **__: Any) -> None:
    """Take no more history events."""


def _evaluation_details(execution: Any) -> Any:
    return EvaluationDetails(
        aws_execution_details=execution._get_start_aws_execution_details(),
        execution_details=execution.get_start_execution_details(),
        state_machine_details=execution.get_start_state_machine_details(),
    )
