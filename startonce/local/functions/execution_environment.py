"""An execution environment: one worker process that handles one event at a time.

It lives as long as nothing goes wrong: after a time-out, an exit or a kill it is spent, and the
next invocation needs a new one (a cold start), as on AWS:
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html
"""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import awslambdaric

from startonce.local.faults import Fault
from startonce.local.functions.forked_worker import WorkerTemplate
from startonce.local.functions.function_log import FunctionLog, LogSink, Measurements, Status
from startonce.local.functions.function_spec import FunctionSpec
from startonce.local.functions.invocation import Invocation, Outcome
from startonce.local.functions.log_reader import LogReader
from startonce.local.functions.runtime_api import Answer, NextInvocation, RuntimeApi
from startonce.local.functions.worker import Worker

INIT_LIMIT = 10.0
"""Seconds that the initialisation may take before Lambda starts it again."""

_LOOK_EVERY = 0.02
_LARGEST_RESPONSE = 6_291_556


class ExecutionEnvironment:
    """A worker for ``spec``; cold until its first invocation.

    Args:
        task_root: the folder with the function's unpacked code.
        endpoint: URL of the local cloud, for the handler's own calls.
        credentials: the variables with which the handler signs its calls.
        template: see :class:`Worker`.
    """

    def __init__(
        self,
        spec: FunctionSpec,
        task_root: str,
        endpoint: str,
        credentials: dict[str, str],
        sink: LogSink,
        template: WorkerTemplate | None = None,
    ) -> None:
        self.spec = spec
        self.spent = False
        self._task_root = task_root
        self._endpoint = endpoint
        self._credentials = credentials
        self._template = template
        self._stream = _stream_name(spec.version)
        self._log = FunctionLog(spec, self._stream, sink)
        self._max_memory = 0
        self._start_worker()
        self._is_cold = True

    def invoke(self, invocation: Invocation, fault: Fault | None = None) -> Outcome:
        """Run the handler for one event and wait for its end, at most the function's timeout.

        ``fault`` makes this attempt fail on purpose.
        """
        init_duration, failure = self._initialise()
        self._log.start(invocation.request_id)
        started = time.monotonic()
        ending = failure or self._run(invocation, fault)
        duration = (time.monotonic() - started) * 1000
        self._collect_output(last=True)
        self._look_at_memory()
        if ending.spends:
            self.close()
        if ending.max_memory is not None:
            self._max_memory = ending.max_memory
        measured = Measurements(
            min(duration, self.spec.timeout * 1000.0), init_duration, self._max_memory
        )
        self._log.end(invocation.request_id, ending.status, ending.platform_message, measured)
        return Outcome(
            payload=ending.payload(invocation.request_id),
            function_error=None if ending.status == "success" else "Unhandled",
            log_tail=self._log.tail(),
        )

    def is_alive(self) -> bool:
        """Whether the worker is still there."""
        return self._worker.is_alive()

    def kill(self) -> None:
        """End the worker under the event that it is handling. Any thread may call it."""
        self._worker.kill()

    def close(self) -> None:
        """End the worker with all that it started and free the port; no event may be with it."""
        self.spent = True
        self._worker.close()
        self._api.close()

    def _start_worker(self) -> None:
        self._api = RuntimeApi()
        variables = self._environment_variables()
        self._worker = Worker(self.spec.handler, self._task_root, variables, self._template)
        self._output = LogReader(self._worker.output)
        self._started = time.monotonic()

    def _initialise(self) -> tuple[float | None, _Ending | None]:
        """Wait for a cold worker; returns its milliseconds and how it failed, if it did."""
        if not self._is_cold:
            return None, None
        self._is_cold = False
        answer = self._wait(self._started + INIT_LIMIT)
        if answer is None and self._worker.exit_code is None:
            # As on AWS: started again, now on the function's own time.
            self.close()
            self.spent = False
            self._start_worker()
            answer = self._wait(self._started + self.spec.timeout)
        duration = (time.monotonic() - self._started) * 1000
        if answer is not None and answer.kind == "ready":
            return duration, None
        if answer is not None:
            return duration, _Ending("error", answer.payload, spends=True)
        return duration, self._ending_without_answer()

    def _run(self, invocation: Invocation, fault: Fault | None) -> _Ending:
        deadline = time.monotonic() + self.spec.timeout
        if fault is not None and not fault.after:
            return self._injected(fault, deadline)
        self._api.send(
            NextInvocation(
                request_id=invocation.request_id,
                event=invocation.event,
                function_arn=invocation.function_arn,
                deadline=int((time.time() + self.spec.timeout) * 1000),
                trace_id=invocation.trace_id,
                client_context=invocation.client_context,
            )
        )
        answer = self._wait(deadline)
        if answer is not None and fault is not None and fault.kind != "service-error":
            return self._injected(fault, deadline)
        if answer is None:
            return self._ending_without_answer()
        return _ending_of(answer)

    def _wait(self, deadline: float) -> Answer | None:
        """The worker's answer; None when its time is up, it ended, or it took too much memory."""
        while True:
            answer = self._api.receive(min(_LOOK_EVERY, deadline - time.monotonic()))
            if answer is not None:
                return answer
            self._collect_output()
            self._log.send()
            if self._look_at_memory() > self.spec.memory_size or self._worker.exit_code is not None:
                # The answer may have come between the last look and the exit.
                return self._api.receive(0)
            if time.monotonic() >= deadline:
                return None

    def _ending_without_answer(self) -> _Ending:
        if self._max_memory > self.spec.memory_size:
            return _Ending.exit(-signal.SIGKILL, max_memory=self.spec.memory_size)
        exit_code = self._worker.exit_code
        return _Ending.timeout(self.spec.timeout) if exit_code is None else _Ending.exit(exit_code)

    def _injected(self, fault: Fault, deadline: float) -> _Ending:
        """The end that ``fault`` asks for; an answer of the handler is thrown away."""
        match fault.kind:
            case "timeout":
                time.sleep(max(deadline - time.monotonic(), 0))
                return _Ending.timeout(self.spec.timeout)
            case "memory":
                return _Ending.exit(-signal.SIGKILL, max_memory=self.spec.memory_size)
            case "exit":
                return _Ending.exit(1)
            case _:
                self._log.write([fault.log_line()])
                return _Ending("error", fault.payload())

    def _collect_output(self, last: bool = False) -> None:
        self._log.write(self._output.flush() if last else self._output.read())

    def _look_at_memory(self) -> int:
        resident = self._worker.resident_memory()
        self._max_memory = max(self._max_memory, resident)
        return resident

    def _environment_variables(self) -> dict[str, str]:
        """The ones of AWS, the function's own, and the way to the local cloud.

        https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
        """
        spec = self.spec
        variables = {
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{spec.runtime}",
            "AWS_DEFAULT_REGION": spec.region,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(spec.memory_size),
            "AWS_LAMBDA_FUNCTION_NAME": spec.name,
            "AWS_LAMBDA_FUNCTION_VERSION": spec.version,
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": spec.log_group,
            "AWS_LAMBDA_LOG_STREAM_NAME": self._stream,
            "AWS_LAMBDA_RUNTIME_API": self._api.address,
            "AWS_REGION": spec.region,
            "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
            "LAMBDA_RUNTIME_DIR": str(Path(awslambdaric.__file__).parent.parent),
            "LAMBDA_TASK_ROOT": self._task_root,
            "LANG": "en_US.UTF-8",
            "PATH": os.environ.get("PATH", os.defpath),
            "TZ": ":UTC",
            "_HANDLER": spec.handler,
            # The runtime client's records go where prints go, so that their order is kept.
            "_LAMBDA_TELEMETRY_LOG_FD": "1",
        }
        if spec.log_format == "JSON":
            variables["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
            variables["AWS_LAMBDA_LOG_LEVEL"] = spec.application_log_level
        # A handler must not find its developer's own account.
        private = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        way_back = {"AWS_ENDPOINT_URL": self._endpoint}
        return {**dict(spec.variables), **variables, **self._credentials, **private, **way_back}


class _Ending:
    """How an attempt ended, before it is told to anybody."""

    def __init__(
        self,
        status: Status,
        payload: bytes | None = None,
        error_type: str = "",
        message: str = "",
        max_memory: int | None = None,
        spends: bool = False,
    ) -> None:
        self.status = status
        self.spends = spends
        self.platform_message = message
        self.max_memory = max_memory
        self._payload = payload
        self._error_type = error_type

    @classmethod
    def timeout(cls, seconds: int) -> _Ending:
        message = f"Task timed out after {seconds:.2f} seconds"
        return cls("timeout", error_type="Sandbox.Timedout", message=message, spends=True)

    @classmethod
    def exit(cls, code: int, max_memory: int | None = None) -> _Ending:
        """The process ended by itself, or by a signal (a negative code)."""
        if code == 0:
            message = "Runtime exited without providing a reason"
        elif code > 0:
            message = f"Runtime exited with error: exit status {code}"
        else:
            message = f"Runtime exited with error: signal: {_signal_name(-code)}"
        return cls(
            "error",
            error_type="Runtime.ExitError",
            message=f"Error: {message}",
            max_memory=max_memory,
            spends=True,
        )

    def payload(self, request_id: str) -> bytes:
        """JSON for the caller, in the forms that AWS has for each end."""
        if self._payload is not None:
            return self._payload
        message = self.platform_message
        if not message.startswith("Error: "):
            message = f"Error: {message}"
        described = {
            "errorType": self._error_type,
            "errorMessage": f"RequestId: {request_id} {message}",
        }
        return json.dumps(described).encode()


def _ending_of(answer: Answer) -> _Ending:
    if answer.kind != "response":
        return _Ending("error", answer.payload)
    if len(answer.payload) > _LARGEST_RESPONSE:
        described = {
            "errorType": "Function.ResponseSizeTooLarge",
            "errorMessage": (
                "Response payload size exceeded maximum allowed payload size "
                f"({_LARGEST_RESPONSE} bytes)."
            ),
        }
        return _Ending("error", json.dumps(described).encode())
    return _Ending("success", answer.payload)


def _stream_name(version: str) -> str:
    return f"{datetime.now(UTC):%Y/%m/%d}/[{version}]{uuid.uuid4().hex}"


def _signal_name(number: int) -> str:
    """As the runtime says it: ``killed``, ``segmentation fault``."""
    description = signal.strsignal(number)
    return description.lower() if description else str(number)
