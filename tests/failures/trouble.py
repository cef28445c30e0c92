"""The service in trouble, and the person on call."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil

from startonce.trace import Trace
from tests.conftest import CloudProcess, wait_for
from tests.failures.matrix import Figures, Row
from tests.ledger import Ledger, Outcome
from tests.service import Service, all_messages, operation


@dataclass(frozen=True)
class Event:
    """A published message, told apart by its user."""

    user: str
    message_id: str
    message: str = ""


@dataclass
class Trouble:
    """A deployed service whose failures are compared with rows."""

    service: Service
    ended: dict[str, Figures] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.service)
        self._due: Counter[str] = Counter(self.cloud.struck())

    @property
    def cloud(self) -> CloudProcess:
        return self.service.cloud

    def client(self, name: str) -> Any:
        return self.service.aws.client(name)

    def function(self, name: str) -> str:
        return f"{self.service.stack.name}-{name}"

    def fail(self, fault: str) -> None:
        """Make attempts or calls fail, as ``--fault`` has it."""
        target, kind, *often = fault.split(":")
        self._due[f"{target}:{kind}"] += 1 if "%" in fault else int(*often or [1])
        self.cloud.add_faults(fault)

    def mend(self) -> None:
        self.cloud.clear_faults()

    def check_that_faults_struck(self) -> None:
        """A row whose fault never came shows nothing."""
        struck = self.cloud.struck()
        missing = {fault: n for fault, n in self._due.items() if struck.get(fault, 0) < n}
        self._due = Counter(struck)
        assert not missing, f"never struck: {missing}; struck: {struck}"

    def publish(self, **changes: object) -> Event:
        message = operation(**changes)
        message_id = self.service.publish(message)
        return Event(str(message["user_id"]), message_id, json.dumps(message))

    def deliver(self, event: Any) -> None:
        """Hand an event to the invoker, as SNS does."""
        self.client("lambda").invoke(
            FunctionName=self.function("invoker"),
            InvocationType="Event",
            Payload=json.dumps(event, ensure_ascii=False).encode(),
        )

    def deliver_again(self, event: Event) -> None:
        """SNS's own duplicate: the same message in an envelope of its own, an event of its own."""
        sns = {"MessageId": event.message_id, "Message": event.message}
        self.deliver({"Records": [{"EventSource": "aws:sns", "Sns": sns}]})

    def outcome(self, event: Event) -> Outcome:
        return self.ledger.look().get(event.user, Outcome())

    def trace(self, event: Event) -> Trace:
        names = self.outcome(event).executions
        return self.service.trace(event.message_id, names)

    def end(self, event: Event, row: Row, attempts: int | None = 1) -> Trace:
        """Wait until the figures are the row's, and the event is where the row says.

        Args:
            attempts: of the invoker; nothing more comes when all of them are over. None where
                there is none, or where its log does not know.
        """

        def look() -> bool:
            outcome = self.outcome(event)
            over = not outcome.is_running and outcome.figures == row.figures
            queued = bool(outcome.failures) is row.is_in_failure_queue
            return over and queued and self._attempts_over(event, attempts)

        self._wait_for(event, look, row.title, seconds=45)
        self.ended[event.user] = row.figures
        return self.trace(event)

    def put_right(self, event: Event, row: Row) -> None:
        """Type what the row says, and see that its promise comes true."""
        if row.then is None:
            return
        self.redrive(event, row)

        def look() -> bool:
            outcome = self.outcome(event)
            over = not outcome.is_running and outcome.figures == row.then
            return over and not outcome.failures

        self._wait_for(event, look, f"{row.title}, then {row.action}")
        self.ended[event.user] = row.then

    def redrive(self, event: Event, row: Row) -> None:
        if "--discard" in row.action:
            self.service.startonce("redrive", "--discard", self._failure_id(event))
        elif "RedriveExecution" in row.action:
            arn = self.execution_arn(event)
            self.client("stepfunctions").redrive_execution(executionArn=arn)
        elif "--may-repeat" in row.action:
            [name] = self.outcome(event).executions
            self.service.startonce("redrive", "--may-repeat", name)
        else:
            self.service.startonce("redrive", "--all")

    def redrive_all(self) -> None:
        """All that can be redriven; what waits for a person is left, by exit code 1."""
        self.service.startonce("redrive", "--all", code=None)

    def failure(self, event: Event) -> dict[str, Any]:
        """Its one message in the failure queue."""
        [body] = self.outcome(event).failures
        return body

    def timeout(self, function: str) -> int:
        """Seconds; the task that calls the function waits as long."""
        client, name = self.client("lambda"), self.function(function)
        return int(client.get_function_configuration(FunctionName=name)["Timeout"])

    @contextmanager
    def configured(self, function: str, **changes: Any) -> Iterator[None]:
        """A function with another configuration for a while."""
        client, name = self.client("lambda"), self.function(function)
        before = client.get_function_configuration(FunctionName=name)
        client.update_function_configuration(FunctionName=name, **changes)
        try:
            yield
        finally:
            kept = {key: before[key] for key in changes}
            client.update_function_configuration(FunctionName=name, **kept)

    def execution_arn(self, event: Event) -> str:
        [name] = self.outcome(event).executions
        return self.service.stack.execution_arn(name)

    def history(self, event: Event) -> list[dict[str, Any]]:
        client = self.client("stepfunctions")
        pages = client.get_paginator("get_execution_history").paginate(
            executionArn=self.execution_arn(event)
        )
        return [one for page in pages for one in page["events"]]

    def kill_workers(self) -> int:
        """SIGKILL for each worker there is; returns how many."""
        workers = [
            process
            for process in psutil.Process(self.cloud.process.pid).children(recursive=True)
            if any("worker_template" in word for word in process.parent().cmdline())
        ]
        for worker in workers:
            worker.kill()
        psutil.wait_procs(workers, timeout=10)
        return len(workers)

    def check_that_nothing_more_happened(self) -> None:
        """Let all that could still come come, and compare once more."""
        self.cloud.clear_faults()
        self.cloud.advance(7 * 3600)
        wait_for(lambda: not any(one.is_running for one in self.ledger.look().values()))
        found = self.ledger.look()
        assert {user: found[user].figures for user in self.ended} == self.ended

    def empty_failure_queue(self) -> None:
        sqs, url = self.client("sqs"), self.service.stack.failure_queue_url
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def _wait_for(
        self, event: Event, look: Callable[[], bool], what: str, seconds: float = 30
    ) -> None:
        """With what became of the event, where it did not come true."""
        try:
            wait_for(look, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.outcome(event)}") from None

    def _attempts_over(self, event: Event, attempts: int | None) -> bool:
        if attempts is None:
            return True
        reports = [one.status for one in self.service.attempts(event.message_id)]
        return len(reports) == attempts and all(reports)

    def _failure_id(self, event: Event) -> str:
        """The ID of its message in the failure queue."""
        names = self.outcome(event).executions
        [found] = [
            message["MessageId"]
            for message in all_messages(self.service.aws, self.service.stack.failure_queue_url)
            if json.loads(message["Body"]).get("execution_name") in names
        ]
        return str(found)
