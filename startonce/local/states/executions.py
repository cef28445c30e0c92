"""Executions of a state machine: found by name at once, however many there are."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from moto.stepfunctions.parser.api import (
    ExecutionAbortedEventDetails,
    ExecutionStartedEventDetails,
    ExecutionStatus,
    ExecutionTimedOutEventDetails,
    HistoryEventExecutionDataDetails,
    HistoryEventType,
)
from moto.stepfunctions.parser.asl.component.eval_component import EvalComponent
from moto.stepfunctions.parser.asl.eval.evaluation_details import EvaluationDetails
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails
from moto.stepfunctions.parser.backend.execution import Execution
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker

from startonce.local.aws_text import time_text
from startonce.local.clock import Clock
from startonce.local.states.history import History, Step
from startonce.local.states.interpreter import parsed
from startonce.local.states.redrive import (
    ExecutionNotRedrivable,
    Tokens,
    check_restorable,
    why_not,
)
from startonce.local.states.running import Running

RETENTION = 90 * 24 * 60 * 60
"""Seconds after its end for which AWS keeps an execution, and its name.

https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
"""

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
        return _still_there(self._by_name.get(name))

    def with_arn(self, arn: str) -> Any | None:
        """The execution of this ARN."""
        return _still_there(self._by_arn.get(arn))


@dataclass(frozen=True)
class Run:
    """One run of an execution, from its start or from a redrive to its end.

    Attributes:
        first: where it begins.
        earlier: the events of the runs before.
        number: how often the execution has been redriven.
        date: of the redrive; None for the first run.
    """

    first: Step
    earlier: Sequence[Any] = ()
    number: int = 0
    date: datetime | None = None


class LocalExecution(Execution):  # type: ignore[misc]
    """An execution that can be redriven, whose history begins with its input as it was given."""

    exec_status: Any
    exec_worker: Any
    stop_date: Any

    def __init__(self, *args: Any, clock: Clock, running: Running, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._running = running
        self.ended = threading.Event()
        definition = self.state_machine.definition
        self.run = Run(Step(json.loads(definition)["StartAt"], self.input_data))
        self._clock = clock
        self._started_at = clock.now()
        self._ended_at: float | None = None
        self._tokens = Tokens(clock)
        # Guards what StopExecution, RedriveExecution and the end of a run change.
        self._changing = threading.RLock()

    @property
    def is_gone(self) -> bool:
        """Whether it ended so long ago that AWS has forgotten it, and its name is free again."""
        return self._ended_at is not None and self._clock.now() - self._ended_at > RETENTION

    @property
    def is_redriven(self) -> bool:
        """Whether it has ever been redriven."""
        return self.run.number > 0

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
        worker.prepare(self.run, self.execution_input, self._running)
        return worker

    def stop(self, stop_date: datetime, error: str | None = None, cause: str | None = None) -> None:
        """End it now; a function that one of its tasks called runs on, and nobody hears of it."""
        details = {name: text for name, text in (("error", error), ("cause", cause)) if text}
        with self._changing:
            if self.exec_status != ExecutionStatus.RUNNING:
                return
            env = self.exec_worker.env
            env.event_history_context.source_event_id = 0
            stopped = env.event_manager.end(
                HistoryEventType.ExecutionAborted,
                EventDetails(executionAbortedEventDetails=ExecutionAbortedEventDetails(**details)),
            )
            if stopped:
                env.set_stop(stop_date=stop_date, cause=cause, error=error)
                self.exec_status = ExecutionStatus.ABORTED
                self.stop_date, self.error, self.cause = stop_date, error, cause
                self._ended_at = self._clock.now()
            ended = self.ended
        if not stopped:
            ended.wait()

    def redrive(self, token: str | None) -> datetime:
        """Go on at the unsuccessful state, with its input, and say when that was.

        Args:
            token: the request with a token that was used already is the same request.

        Raises:
            ExecutionNotRedrivable, NotImplementedLocally.
        """
        with self._changing:
            before = self._tokens.date_of(token)
            if before is not None:
                return before
            reason = self._why_not_redrivable()
            if reason is not None:
                raise ExecutionNotRedrivable(reason)
            history = self.exec_worker.env.event_manager
            check_restorable(self.state_machine.definition, history.unsuccessful)
            date = datetime.now(UTC)
            self.run = Run(history.unsuccessful, history.events, self.run.number + 1, date)
            if token is not None:
                self._tokens.keep(token, date)
            self._go_on()
            return date

    def _go_on(self) -> None:
        self.stop_date = self.error = self.cause = self._ended_at = None
        self.ended = threading.Event()
        self.exec_worker = self._get_start_execution_worker()
        self.exec_status = ExecutionStatus.RUNNING
        self.exec_worker.start()

    def described(self) -> dict[str, Any]:
        """What DescribeExecution answers.

        https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html
        """
        with self._changing:
            answer = {**described(self), **self.listed_redrives(), "redriveStatus": "REDRIVABLE"}
            reason = self._why_not_redrivable()
            if reason is not None:
                answer |= {"redriveStatus": "NOT_REDRIVABLE", "redriveStatusReason": reason}
            return answer

    def listed_redrives(self) -> dict[str, Any]:
        """What ListExecutions says of its redrives."""
        date = {} if self.run.date is None else {"redriveDate": self.run.date}
        return {"redriveCount": self.run.number, **date}

    def _why_not_redrivable(self) -> str | None:
        now = self._clock.now()
        closed_for = 0 if self._ended_at is None else now - self._ended_at
        events = len(self.exec_worker.env.event_manager)
        return why_not(self.status, events, now - self._started_at, closed_for)

    def _get_start_execution_worker_comm(self) -> Any:
        communication = super()._get_start_execution_worker_comm()
        reflect = communication.terminated
        run = self.run

        def terminated() -> None:
            with self._changing:
                # A run that was stopped ends when its function does: maybe after a redrive.
                if self.run is not run:
                    return
                if self.exec_status == ExecutionStatus.RUNNING:
                    reflect()
                    self._ended_at = self._clock.now()
                self.ended.set()

        communication.terminated = terminated
        return communication


class LocalExecutionWorker(ExecutionWorker):  # type: ignore[misc]
    """Runs the program from where the run begins; parses a definition once for all executions."""

    _run: Run
    _input: str
    _running: Running

    def prepare(self, run: Run, execution_input: str, running: Running) -> None:
        """Make all that is described and stopped before the worker's thread is there."""
        self._run, self._input, self._running = run, execution_input, running
        self.env = self._get_evaluation_environment()
        context = self.env.states.context_object.context_object_data["Execution"]
        context["RedriveCount"] = run.number
        if run.date is not None:
            context["RedriveTime"] = time_text(run.date)
        self.env.states.reset(run.first.input)
        self.env.next_state_name = run.first.name
        self.env.event_manager = History(self.env, run.first, run.earlier)
        self._add_first_event()

    def _add_first_event(self) -> None:
        add, context = self.env.event_manager.add_event, self.env.event_history_context
        if self._run.number:
            redriven = {"redriveCount": self._run.number}
            details = EventDetails(executionRedrivenEventDetails=redriven)
            add(context, HistoryEventType.ExecutionRedriven, details)
            return
        started = ExecutionStartedEventDetails(
            input=self._input,
            inputDetails=HistoryEventExecutionDataDetails(truncated=False),
            roleArn=self._evaluation_details.aws_execution_details.role_arn,
        )
        details = EventDetails(executionStartedEventDetails=started)
        add(context, HistoryEventType.ExecutionStarted, details, update_source_event_id=False)

    def _get_evaluation_entrypoint(self) -> Any:
        definition = self._evaluation_details.state_machine_details.definition
        # The programs of Map and Parallel keep what belongs to one execution.
        if any(word in definition for word in _WITH_STATE):
            return parsed.__wrapped__(definition)
        return parsed(definition)

    def start(self) -> None:
        """Run when there is room."""
        self._running.start(self._execution_logic)

    def _execution_logic(self) -> None:
        # Stopped while it waited for its turn.
        if self.env.is_running():
            self._evaluate(self._get_evaluation_entrypoint())
        self._execution_communication.terminated()

    def _evaluate(self, program: Any) -> None:
        # Not the program's own eval, which always begins at StartAt.
        limit = program.timeout_seconds
        if limit is None:
            EvalComponent.eval(program, self.env)
            return
        running = threading.Thread(target=EvalComponent.eval, args=(program, self.env), daemon=True)
        running.start()
        running.join(limit.timeout_seconds)
        if running.is_alive():
            self._time_out(running)

    def _time_out(self, running: threading.Thread) -> None:
        details = EventDetails(executionTimedOutEventDetails=ExecutionTimedOutEventDetails())
        if self.env.event_manager.end(HistoryEventType.ExecutionTimedOut, details):
            self.env.set_timed_out()
        else:
            running.join()


def described(execution: Any) -> dict[str, Any]:
    """What every description of an execution says, whatever its type."""
    answer: dict[str, Any] = {
        "executionArn": execution.execution_arn,
        "stateMachineArn": execution.state_machine_arn,
        "name": execution.name,
        "status": execution.status,
        "startDate": execution.start_date,
        "input": execution.execution_input,
        "inputDetails": {"included": True},
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


def _still_there(execution: Any | None) -> Any | None:
    return None if execution is None or execution.is_gone else execution


def _evaluation_details(execution: Any) -> Any:
    return EvaluationDetails(
        aws_execution_details=execution._get_start_aws_execution_details(),
        execution_details=execution.get_start_execution_details(),
        state_machine_details=execution.get_start_state_machine_details(),
    )
