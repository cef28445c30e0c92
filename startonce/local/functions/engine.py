"""The Lambda service's engine: runs functions, each in environments of its own.

It knows nothing of moto or HTTP: functions come to it from
:mod:`startonce.local.functions.lambda_service`.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from startonce.local.faults import Fault, Faults
from startonce.local.functions.code_store import CodeStore
from startonce.local.functions.environment_pool import EnvironmentPool, PoolClosedError
from startonce.local.functions.execution_environment import ExecutionEnvironment
from startonce.local.functions.forked_worker import WorkerTemplate, is_supported
from startonce.local.functions.function_log import LogSink
from startonce.local.functions.function_spec import FunctionSpec
from startonce.local.functions.invocation import Invocation, Outcome
from startonce.local.reaper import Reaper


class ThrottledError(Exception):
    """The function is at its reserved concurrency, so it did not run."""


class ServiceError(Exception):
    """A fault of the service itself: the function may have run or not, and its answer is lost."""


class StoppedError(Exception):
    """The function was deleted, or the local cloud stops: the attempt has no outcome."""


class Functions:
    """Runs functions in worker processes.

    Args:
        endpoint: URL of the local cloud, for the handlers' own calls.
        sink: where the functions' log lines go.
        credentials_of: the AWS_* variables for a role's ARN and a function's name.
        environments: how many environments a function may have at a time; by default one for each
            core, and never less than two.
    """

    def __init__(
        self,
        endpoint: str,
        sink: LogSink,
        credentials_of: Callable[[str, str], dict[str, str]],
        environments: int | None = None,
    ) -> None:
        self.faults = Faults()
        self._endpoint = endpoint
        self._sink = sink
        self._credentials_of = credentials_of
        self._limit = environments or max(2, os.cpu_count() or 1)
        self._folder = tempfile.mkdtemp(prefix="startonce-")
        self._reaper = Reaper(self._folder)
        self._template = WorkerTemplate(self._folder) if is_supported() else None
        self._code = CodeStore(Path(self._folder))
        self._lock = threading.Lock()
        self._pools: dict[str, EnvironmentPool] = {}

    @property
    def limit(self) -> int:
        """How many environments a function may have at a time."""
        return self._limit

    def invoke(
        self, spec: FunctionSpec, invocation: Invocation, reserved_concurrency: int | None = None
    ) -> Outcome:
        """Run one attempt and wait for its outcome.

        Raises:
            ThrottledError: ``reserved_concurrency`` events are being handled already.
            ServiceError: a fault on purpose.
            StoppedError: the function was deleted meanwhile, or the local cloud stops.
        """
        pool = self._pool(spec)
        if reserved_concurrency is not None and pool.concurrency >= reserved_concurrency:
            raise ThrottledError
        fault = self.faults.take(spec.name)
        if fault is not None and fault.kind == "throttle":
            raise ThrottledError
        if fault == Fault("service-error"):
            raise ServiceError
        try:
            environment = pool.acquire(spec)
        except PoolClosedError:
            raise StoppedError from None
        try:
            outcome = environment.invoke(invocation, fault)
        finally:
            pool.release(environment)
        if fault is not None and fault.kind == "service-error":
            raise ServiceError
        return outcome

    def forget(self, arn: str) -> None:
        """The function with this ARN was deleted: end its environments, the busy ones when they are
        done.
        """
        with self._lock:
            pools = [self._pools.pop(key) for key in list(self._pools) if _is_of(key, arn)]
        for pool in pools:
            pool.close(kill_busy=False)

    def close(self) -> None:
        """End every environment and remove the folder."""
        with self._lock:
            pools = list(self._pools.values())
            self._pools.clear()
        for pool in pools:
            pool.close(kill_busy=True)
        if self._template is not None:
            self._template.close()
        self._reaper.close()

    def _pool(self, spec: FunctionSpec) -> EnvironmentPool:
        key = f"{spec.arn}:{spec.version}"
        with self._lock:
            if key not in self._pools:
                self._pools[key] = EnvironmentPool(self._limit, self._start_environment)
            return self._pools[key]

    def _start_environment(self, spec: FunctionSpec) -> ExecutionEnvironment:
        return ExecutionEnvironment(
            spec=spec,
            task_root=self._code.task_root(spec),
            endpoint=self._endpoint,
            credentials=self._credentials_of(spec.role, spec.name),
            sink=self._sink,
            template=self._template,
        )


def _is_of(pool_key: str, arn: str) -> bool:
    return pool_key.rpartition(":")[0] == arn
