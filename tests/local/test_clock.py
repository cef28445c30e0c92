"""The clock can be put forward: what was to come meanwhile comes at once."""

from __future__ import annotations

import json
import math
import threading
import time
import urllib.error
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from startonce.aws import Aws
from startonce.local.clock import Clock
from tests.conftest import CloudProcess, start_cloud, wait_for
from tests.local.conftest import Function, Queue, make_role, zipped

HOUR = 3_600.0


@pytest.fixture
def clock() -> Iterator[Clock]:
    made = Clock()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def slow() -> Iterator[CloudProcess]:
    """A local cloud whose waits are as long as AWS's."""
    running = start_cloud()
    yield running
    assert running.stop() == 0


def test_what_was_due_meanwhile_comes_in_its_order(clock: Clock) -> None:
    called: list[int] = []
    for seconds in (300, 100, 200, 7_200):
        clock.call_later(seconds, lambda seconds=seconds: called.append(seconds))  # type: ignore[misc]
    clock.advance(HOUR)
    wait_for(lambda: len(called) == 3)
    assert called == [100, 200, 300]
    clock.advance(HOUR)
    wait_for(lambda: called[-1] == 7_200)


def test_every_sleeper_wakes_and_the_others_sleep_on(clock: Clock) -> None:
    with ThreadPoolExecutor(20) as threads:
        short = [threads.submit(clock.sleep, 60) for _ in range(19)]
        long = threads.submit(clock.sleep, 2 * HOUR)
        wait_for(lambda: len(clock._pauses) == 20)
        clock.advance(HOUR)
        for one in short:
            one.result(timeout=10)
        assert not long.done()
        clock.advance(HOUR)
        long.result(timeout=10)


def test_a_pause_ends_with_its_event(clock: Clock) -> None:
    event = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        pausing = threads.submit(clock.pause, HOUR, event)
        wait_for(lambda: clock._pauses)
        event.set()
        pausing.result(timeout=10)


def test_no_sleeper_is_missed_however_often_the_clock_is_put_forward(clock: Clock) -> None:
    with ThreadPoolExecutor(8) as threads:
        sleeping = [threads.submit(clock.sleep, 10 * one) for one in range(200)]
        while not all(one.done() for one in sleeping):
            clock.advance(50)


@pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan])
def test_it_goes_forward_only(clock: Clock, seconds: float) -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        clock.advance(seconds)


@pytest.mark.parametrize("text", ["", "0", "-5", "soon", "inf", "nan"])
def test_what_is_no_number_of_seconds_is_refused_in_one_line(slow: CloudProcess, text: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        slow._ask("POST", "/_startonce/clock", text)
    assert caught.value.code == 400
    assert caught.value.read().decode() == f"a positive number of seconds is needed, not {text!r}\n"


def role_of(aws: Aws) -> str:
    return make_role(aws, {"Effect": "Allow", "Action": "*", "Resource": "*"})


def make(aws: Aws, source: str, **configuration: Any) -> Function:
    name = f"f-{uuid.uuid4().hex[:12]}"
    aws.client("lambda").create_function(
        FunctionName=name,
        Role=role_of(aws),
        Runtime="python3.13",
        Handler="app.handler",
        Code={"ZipFile": zipped(app=source)},
        **configuration,
    )
    return Function(aws, name)


def test_the_next_attempt_comes_at_once(slow: CloudProcess) -> None:
    function = make(slow.aws, "def handler(event, context): print('tried'); raise ValueError")

    def tries() -> int:
        return function.log_lines().count("tried")

    function.invoke(InvocationType="Event")
    wait_for(lambda: ended(function) == 1)
    slow.advance(60)
    wait_for(lambda: ended(function) == 2)
    slow.advance(120)
    wait_for(lambda: ended(function) == 3)
    assert tries() == 3


def ended(function: Function) -> int:
    return sum(line.startswith("REPORT ") for line in function.log_lines())


def test_an_event_that_is_too_old_is_given_up(slow: CloudProcess) -> None:
    function = make(slow.aws, "def handler(event, context): pass")
    queue = Queue(slow.aws)
    slow.aws.client("lambda").put_function_event_invoke_config(
        FunctionName=function.name,
        DestinationConfig={"OnFailure": {"Destination": queue.arn}},
    )
    slow.add_fault(function.name, "throttle", times=100)
    function.invoke(InvocationType="Event")
    wait_for(lambda: slow.struck().get(f"{function.name}:throttle"))
    slow.advance(6 * HOUR)
    [message] = wait_for(queue.messages)
    assert json.loads(message["Body"])["requestContext"]["condition"] == "EventAgeExceeded"


def status(aws: Aws, execution: str) -> str:
    return str(aws.client("stepfunctions").describe_execution(executionArn=execution)["status"])


def start(aws: Aws, **states: Any) -> str:
    client = aws.client("stepfunctions")
    machine = client.create_state_machine(
        name=f"m-{uuid.uuid4().hex[:12]}",
        definition=json.dumps({"StartAt": next(iter(states)), "States": states}),
        roleArn=role_of(aws),
    )["stateMachineArn"]
    return str(client.start_execution(stateMachineArn=machine)["executionArn"])


def entered(aws: Aws, execution: str, kind: str) -> int:
    client = aws.client("stepfunctions")
    events = client.get_execution_history(executionArn=execution)["events"]
    return sum(event["type"] == kind for event in events)


def test_wait_states_end(slow: CloudProcess) -> None:
    aws = slow.aws
    wait = {"Type": "Wait", "Seconds": 600}
    execution = start(aws, A={**wait, "Next": "B"}, B={**wait, "End": True})
    wait_for(lambda: entered(aws, execution, "WaitStateEntered") == 1)
    advance_until(slow, 600, lambda: entered(aws, execution, "WaitStateEntered") == 2)
    advance_until(slow, 600, lambda: status(aws, execution) == "SUCCEEDED")


def advance_until(cloud: CloudProcess, seconds: float, look: Callable[[], bool]) -> None:
    """More than once, where a pause that was announced has not begun yet."""

    def looked() -> bool:
        cloud.advance(seconds)
        return look()

    wait_for(looked)


def test_pauses_between_the_tries_of_a_step_end(slow: CloudProcess) -> None:
    aws = slow.aws
    function = make(aws, "def handler(event, context): raise ValueError")
    retry = {"ErrorEquals": ["ValueError"], "IntervalSeconds": 600, "MaxAttempts": 1}
    task = {"Type": "Task", "Resource": function.arn, "Retry": [retry], "End": True}
    execution = start(aws, A=task)
    wait_for(lambda: ended(function) == 1)
    advance_until(slow, 600, lambda: status(aws, execution) == "FAILED")
    assert ended(function) == 2


def test_hidden_and_delayed_messages_become_visible(slow: CloudProcess) -> None:
    client, queue = slow.aws.client("sqs"), Queue(slow.aws)
    client.send_message(QueueUrl=queue.url, MessageBody="hidden")
    client.receive_message(QueueUrl=queue.url, VisibilityTimeout=600)
    client.send_message(QueueUrl=queue.url, MessageBody="delayed", DelaySeconds=600)
    assert queue.messages() == []
    slow.advance(600)
    assert {message["Body"] for message in queue.messages()} == {"hidden", "delayed"}


def test_who_waits_for_a_message_gets_it_at_once(slow: CloudProcess) -> None:
    client, queue = slow.aws.client("sqs"), Queue(slow.aws)
    client.send_message(QueueUrl=queue.url, MessageBody="delayed", DelaySeconds=18)
    with ThreadPoolExecutor(1) as threads:
        began = time.monotonic()
        waiting = threads.submit(client.receive_message, QueueUrl=queue.url, WaitTimeSeconds=20)
        slow.advance(18)
        assert waiting.result(timeout=15)["Messages"][0]["Body"] == "delayed"
        assert time.monotonic() - began < 15


def test_a_mapping_takes_a_delayed_message_at_once(slow: CloudProcess) -> None:
    function, queue = make(slow.aws, "def handler(event, context): pass"), Queue(slow.aws)
    slow.aws.client("lambda").create_event_source_mapping(
        FunctionName=function.name, EventSourceArn=queue.arn
    )
    slow.aws.client("sqs").send_message(QueueUrl=queue.url, MessageBody="x", DelaySeconds=900)
    slow.advance(900)
    wait_for(lambda: ended(function) == 1)


def test_a_message_that_a_function_works_on_is_not_given_to_another(slow: CloudProcess) -> None:
    function = make(
        slow.aws,
        "import time\ndef handler(event, context): print('began', flush=True); time.sleep(3)",
        Timeout=20,
    )
    queue = Queue(slow.aws)
    slow.aws.client("lambda").create_event_source_mapping(
        FunctionName=function.name, EventSourceArn=queue.arn
    )
    slow.aws.client("sqs").send_message(QueueUrl=queue.url, MessageBody="x")
    wait_for(lambda: "began" in function.log_lines())
    slow.advance(HOUR)
    wait_for(lambda: ended(function) == 1)
    slow.advance(HOUR)
    assert queue.messages() == []
    assert function.log_lines().count("began") == 1


def test_the_time_outs_of_running_code_stay_real(slow: CloudProcess) -> None:
    function = make(
        slow.aws,
        "import time\ndef handler(event, context): print('began', flush=True); time.sleep(1)",
        Timeout=20,
    )
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(function.invoke)
        wait_for(lambda: "began" in function.log_lines())
        slow.advance(HOUR)
        assert "FunctionError" not in running.result(timeout=30)
