"""docs/operating.md: each situation is made to happen, and what the page says is typed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from startonce.deploy import STAGE, deploy
from startonce.stack import Stack, find_stack
from tests.conftest import CloudProcess, start_cloud, wait_for
from tests.docs.markdown import blocks, commands
from tests.docs.terminal import BIN, Terminal, on_local
from tests.service_copy import copy_service

SCENARIOS = {
    "Operating",
    "Redrive",
    "Before you type",
    "What rings",
    "Take a message from the failure queue",
    "A step failed for good",
    "Nothing was recorded",
    "Recorded, and not notified",
    "Lambda gave up on the invoker",
    "SNS could not deliver",
    "An execution ended without a message in the failure queue",
    "An event is lost",
    "What became of an event",
}
"""The sections with commands that are tried here."""

COMMANDS = commands("docs/operating.md")
[BEFORE] = map(on_local, COMMANDS["Before you type"])
TAKE, DELETE = COMMANDS["Take a message from the failure queue"]
[LOOK] = map(on_local, COMMANDS["Operating"])
LIST, REDRIVE = COMMANDS["Redrive"]
_, BY_HAND, HOW_FAR = COMMANDS["A step failed for good"]
GOOD = {"user_id": "ada", "operation": "signed_in", "occurred_at": "2026-11-23T10:00:00Z"}


@dataclass
class OnCall:
    """The service in trouble, and the terminal of the person on call."""

    cloud: CloudProcess
    stack: Stack
    terminal: Terminal
    before: str

    def client(self, service: str) -> Any:
        return self.cloud.aws.client(service)

    def type(self, *scripts: str, ok: bool = True) -> str:
        return self.terminal.run(self.before, *scripts, ok=ok)

    def publish(self, message: object = GOOD) -> str:
        answer = self.client("sns").publish(
            TopicArn=self.stack.topic_arn, Message=json.dumps(message)
        )
        (self.terminal.folder / "publish.json").write_text(json.dumps(answer))
        return str(answer["MessageId"])

    def wait_for_failure(self) -> None:
        wait_for(lambda: self.failures() == 1, what="a message in the failure queue")

    def failures(self) -> int:
        """All of them, also those that somebody is reading."""
        attributes = self.client("sqs").get_queue_attributes(
            QueueUrl=self.stack.failure_queue_url, AttributeNames=["All"]
        )["Attributes"]
        return int(attributes["ApproximateNumberOfMessages"]) + int(
            attributes["ApproximateNumberOfMessagesNotVisible"]
        )

    def empty_failure_queue(self) -> None:
        """Delete what was taken and what was not; a queue can be purged once a minute only."""
        sqs, url = self.client("sqs"), self.stack.failure_queue_url
        taken = self.terminal.folder / "message.json"
        messages = json.loads(taken.read_text())["Messages"] if taken.exists() else []
        messages += sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        for message in messages:
            # Those that were redriven are gone, and their handles are of no use.
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        assert self.failures() == 0

    def executions(self) -> dict[str, str]:
        """Status by name."""
        listed = self.client("stepfunctions").list_executions(
            stateMachineArn=self.stack.state_machine_arn
        )["executions"]
        return {one["name"]: one["status"] for one in listed}

    def records(self) -> set[str]:
        items = self.client("dynamodb").scan(TableName=self.stack.table_name)["Items"]
        return {item["execution_name"]["S"] for item in items}

    def wait_for_success(self, name: str) -> None:
        wait_for(lambda: self.executions()[name] == "SUCCEEDED", what=f"the success of {name}")
        assert name in self.records()

    def name(self) -> str:
        """The execution's name in the failure message that was taken."""
        return str(
            json.loads((self.terminal.folder / "failure.json").read_text())["execution_name"]
        )


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    running = start_cloud("--speed", "120")
    deploy(copy_service(tmp_path_factory.mktemp("service")), running.endpoint)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def before(deployed: CloudProcess, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A terminal in which "Before you type" was typed: what it left there, for all tests."""
    terminal = Terminal(tmp_path_factory.mktemp("before"), deployed.endpoint)
    names = " ".join(re.findall(r"(?m)^([A-Z_]+)=", BEFORE))
    return terminal.run(BEFORE, f"declare -f; declare -p {names}")


@pytest.fixture
def on_call(deployed: CloudProcess, before: str, tmp_path: Path) -> Iterator[OnCall]:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(BIN)
    stack = find_stack(deployed.aws, STAGE)
    here = OnCall(deployed, stack, Terminal(tmp_path, deployed.endpoint), before)
    yield here
    here.empty_failure_queue()


def test_what_rings(on_call: OnCall) -> None:
    cloudwatch = on_call.client("cloudwatch")
    [name] = [
        one["AlarmName"]
        for one in cloudwatch.describe_alarms()["MetricAlarms"]
        if "ExecutionsFailed" in one["AlarmName"]
    ]
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")
    on_call.publish({"user_id": "alan"})
    on_call.wait_for_failure()
    *_, alarm, counts = on_call.type(*COMMANDS["What rings"]).strip().splitlines()
    assert alarm.startswith(f"{name}\tAn execution failed")
    assert counts == "1\t0"
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="a test")


def test_a_message_is_taken_and_deleted(on_call: OnCall) -> None:
    on_call.publish({"user_id": "alan"})
    on_call.wait_for_failure()
    assert '"execution_name"' in on_call.type(TAKE)
    assert on_call.failures() == 1
    on_call.type(DELETE)
    assert on_call.failures() == 0


def test_the_first_thing_to_type_needs_nothing_before_it(on_call: OnCall) -> None:
    assert "No message waits" in on_call.terminal.run(LOOK)
    on_call.publish({"user_id": "alan"})
    on_call.wait_for_failure()
    said = on_call.terminal.run(LOOK)
    assert said == on_call.type(LIST)
    assert "InvalidOperation: Records[0].Sns.Message.operation must be a string" in said


def test_the_samples_are_what_is_said(on_call: OnCall) -> None:
    listing, redriven = (one.text for one in blocks("docs/operating.md") if one.language == "text")
    on_call.cloud.add_fault(f"{on_call.stack.name}-recordOperation", "exception")
    on_call.publish()
    on_call.wait_for_failure()
    assert shape(on_call.type(LIST)) <= shape(listing)
    assert shape(on_call.type(REDRIVE)) <= shape(redriven)


def shape(said: str) -> set[str]:
    """What stays the same, line by line: no IDs, times, numbers, errors, tries."""
    lines = (re.sub(r"[0-9a-f-]{36}|[0-9][0-9:-]* UTC", "…", line) for line in said.splitlines())
    lines = (re.sub(r"((error|attempts) +).*", r"\1", line) for line in lines)
    return {re.sub(r"\d+|; .* cannot, or not.*|\.$", "…", line).rstrip("…") for line in lines}


def test_a_step_failed_for_good(on_call: OnCall) -> None:
    on_call.publish({"user_id": "alan"})
    on_call.wait_for_failure()
    redrive, *_ = COMMANDS["A step failed for good"]
    said = on_call.type(redrive, ok=False)
    assert "useless, the event itself is wrong" in said
    assert on_call.failures() == 1
    said = on_call.type(TAKE, HOW_FAR)
    assert '"Item"' not in said
    assert "published" not in said


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_step_that_failed_is_redriven_under_its_name(on_call: OnCall, by_hand: bool) -> None:
    on_call.cloud.add_fault(f"{on_call.stack.name}-recordOperation", "exception")
    on_call.publish()
    on_call.wait_for_failure()
    redrive, *_ = COMMANDS["A step failed for good"]
    listed = re.search(r"execution +(\S+)", on_call.type(LIST))
    assert listed is not None
    name = listed[1]
    wait_for(lambda: on_call.executions()[name] == "FAILED", what="its end")
    before = on_call.executions()
    said = on_call.type(*([TAKE, BY_HAND, DELETE] if by_hand else [redrive]))
    on_call.wait_for_success(name)
    assert set(on_call.executions()) == set(before)
    assert on_call.failures() == 0
    assert ("redriveDate" in said) is by_hand


def test_what_was_done_already_shows(on_call: OnCall) -> None:
    # It publishes, and then nobody hears of it.
    on_call.cloud.add_fault(f"{on_call.stack.name}-notifyUser", "exit", after=True)
    on_call.publish()
    on_call.wait_for_failure()
    assert "see --may-repeat" in on_call.type(LIST)
    said = on_call.type(TAKE, HOW_FAR)
    assert '"Item"' in said
    assert '"outcome": "published"' in said


def test_what_was_not_recorded_is_started_under_another_name_once(on_call: OnCall) -> None:
    on_call.cloud.add_fault(f"{on_call.stack.name}-recordOperation", "exception")
    on_call.publish()
    on_call.wait_for_failure()
    [redrive] = COMMANDS["Nothing was recorded"]
    said = on_call.type(TAKE, HOW_FAR, redrive)
    assert '"Item"' not in said
    name = f"{on_call.name()}-redrive-1"
    on_call.wait_for_success(name)
    before = on_call.executions()
    assert "ExecutionAlreadyExists" in on_call.type(HOW_FAR, redrive, ok=False)
    assert on_call.executions() == before
    assert on_call.name() not in on_call.records()


def test_what_was_recorded_is_notified_by_hand(on_call: OnCall) -> None:
    on_call.cloud.add_fault(f"{on_call.stack.name}-notifyUser", "exception")
    on_call.publish()
    on_call.wait_for_failure()
    [notify] = COMMANDS["Recorded, and not notified"]
    said = on_call.type(TAKE, HOW_FAR, notify)
    assert '"Item"' in said
    assert '"message_id"' in said.splitlines()[-1]
    # Now the log says so, and the page's table says that all is done.
    assert '"outcome": "published"' in on_call.type(HOW_FAR)


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("after", [False, True], ids=["never started", "started unheard"])
def test_lambda_gave_up_on_the_invoker(on_call: OnCall, after: bool, by_hand: bool) -> None:
    on_call.cloud.add_fault(on_call.stack.invoker, "exception", after=after, times=3)
    before = set(on_call.executions())
    on_call.publish()
    on_call.wait_for_failure()
    redrive, hand = COMMANDS["Lambda gave up on the invoker"]
    assert "InjectedFault" in on_call.type(LIST)
    assert bool(set(on_call.executions()) - before) is after
    typed = [TAKE, hand] if by_hand else [redrive]
    said = on_call.type(*typed, ok=not (by_hand and after))
    assert ("\nRetriesExhausted\n" in said) is by_hand
    [name] = set(on_call.executions()) - before
    on_call.wait_for_success(name)
    if after:
        assert ("ExecutionAlreadyExists" if by_hand else "1 already started") in said
    assert on_call.failures() == int(by_hand)


def test_an_event_that_was_given_up_is_in_the_log(on_call: OnCall) -> None:
    functions, invoker = on_call.client("lambda"), on_call.stack.invoker
    variables = functions.get_function_configuration(FunctionName=invoker)["Environment"]
    functions.update_function_configuration(FunctionName=invoker, Environment={"Variables": {}})
    message_id = on_call.publish()
    on_call.wait_for_failure()
    functions.update_function_configuration(FunctionName=invoker, Environment=variables)
    said = on_call.type(*COMMANDS["An event is lost"])
    assert message_id in said
    assert '"error": "MissingVariable"' in said
    assert "error        MissingVariable: " in on_call.type(LIST)


@pytest.mark.parametrize("by_hand", [False, True])
def test_sns_could_not_deliver(on_call: OnCall, by_hand: bool) -> None:
    functions, invoker = on_call.client("lambda"), on_call.stack.invoker
    policy = json.loads(functions.get_policy(FunctionName=invoker)["Policy"])
    for statement in policy["Statement"]:
        functions.remove_permission(FunctionName=invoker, StatementId=statement["Sid"])
    name = on_call.publish()
    on_call.wait_for_failure()
    redrive, permit, hand = COMMANDS["SNS could not deliver"]
    assert name not in on_call.executions()
    if by_hand:
        assert '"TopicArn"' in on_call.type(TAKE, hand)
    else:
        assert "1 redriven" in on_call.type(redrive)
    on_call.wait_for_success(name)
    if by_hand:
        assert "ExecutionAlreadyExists" in on_call.type(hand, ok=False)

    on_call.type(permit)
    before = set(on_call.executions())
    on_call.publish()
    wait_for(lambda: set(on_call.executions()) - before, what="an execution as ever")
    [later] = set(on_call.executions()) - before
    on_call.wait_for_success(later)


def test_an_execution_that_was_stopped(on_call: OnCall) -> None:
    functions, machines = on_call.client("lambda"), on_call.client("stepfunctions")
    function = f"{on_call.stack.name}-recordOperation"
    before = set(on_call.executions())
    functions.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
    on_call.publish()
    wait_for(lambda: set(on_call.executions()) - before, what="an execution")
    [name] = set(on_call.executions()) - before
    arn = f"{on_call.stack.state_machine_arn.replace(':stateMachine:', ':execution:')}:{name}"
    machines.stop_execution(executionArn=arn)
    wait_for(lambda: on_call.executions()[name] == "ABORTED", what="its end")
    functions.delete_function_concurrency(FunctionName=function)

    find, redrive = COMMANDS["An execution ended without a message in the failure queue"]
    assert name in on_call.type(find, redrive)
    on_call.wait_for_success(name)


def test_what_became_of_an_event(on_call: OnCall) -> None:
    before = set(on_call.executions())
    on_call.publish()
    wait_for(lambda: set(on_call.executions()) - before, what="an execution")
    [name] = set(on_call.executions()) - before
    on_call.wait_for_success(name)
    said = on_call.type(*COMMANDS["What became of an event"])
    assert '"outcome": "started"' in said
    assert "TaskStateEntered\tNotifyUser" in said
    assert "ExecutionSucceeded" in said
