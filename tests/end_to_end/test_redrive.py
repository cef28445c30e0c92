"""`startonce redrive`, typed by somebody on call: each way into the failure queue, and back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from startonce.aws import Aws
from startonce.redrive.failure_messages import Received, StepFailure, parse
from startonce.redrive.failure_queue import HIDDEN, FailureQueue
from startonce.redrive.redriving import Outcome, Redriver
from startonce.redrive.running import Asked, list_failures, redrive_all, with_tries
from startonce.redrive.target import find_target
from tests.conftest import REPOSITORY, SPEED, CloudProcess, policy, start_cloud, wait_for
from tests.docs.markdown import tables
from tests.service import Service, deploy_service, operation

COMMAND = [sys.executable, "-m", "startonce", "redrive"]


@dataclass
class OnCall:
    """A service of its own, for `--all` takes everything that is in the failure queue."""

    service: Service
    notified: Counter[str] = field(default_factory=Counter)

    @property
    def cloud(self) -> CloudProcess:
        return self.service.cloud

    def client(self, name: str) -> Any:
        return self.service.aws.client(name)

    def options(self) -> list[str]:
        return ["--stage", "local", "--endpoint", self.cloud.endpoint]

    def start(self, *arguments: str, program: list[str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*(program or COMMAND), *self.options(), *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "COLUMNS": "100"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def type(self, *arguments: str, code: int = 0, program: list[str] | None = None) -> str:
        """What the command says; it must exit with ``code``."""
        process = self.start(*arguments, program=program)
        said, errors = process.communicate(timeout=90)
        assert process.returncode == code, said + errors
        assert "Traceback" not in errors
        return said + errors

    def counts(self) -> tuple[int, int]:
        """Messages that wait, and that are hidden."""
        found = self.client("sqs").get_queue_attributes(
            QueueUrl=self.service.stack.failure_queue_url, AttributeNames=["All"]
        )["Attributes"]
        return (
            int(found["ApproximateNumberOfMessages"]),
            int(found["ApproximateNumberOfMessagesNotVisible"]),
        )

    def wait_for_failures(self, number: int) -> None:
        wait_for(lambda: sum(self.counts()) == number, what=f"{number} failures")

    def messages(self) -> list[Received]:
        """They stay where they are."""
        queue = FailureQueue(self.client("sqs"), self.service.stack.failure_queue_url)
        with queue:
            return [message for batch in queue.batches() for message in batch]

    def send(self, *bodies: object) -> None:
        sqs, url = self.client("sqs"), self.service.stack.failure_queue_url
        for start in range(0, len(bodies), 10):
            entries = [
                {"Id": str(number), "MessageBody": one if isinstance(one, str) else json.dumps(one)}
                for number, one in enumerate(bodies[start : start + 10])
            ]
            assert not sqs.send_message_batch(QueueUrl=url, Entries=entries).get("Failed")

    def executions(self) -> dict[str, str]:
        """Status by name."""
        pages = (
            self.client("stepfunctions")
            .get_paginator("list_executions")
            .paginate(stateMachineArn=self.service.stack.state_machine_arn)
        )
        return {one["name"]: one["status"] for page in pages for one in page["executions"]}

    def arn(self, name: str) -> str:
        return self.service.stack.execution_arn(name)

    def history(self, name: str) -> list[str]:
        events = self.client("stepfunctions").get_execution_history(executionArn=self.arn(name))
        return [one["type"] for one in events["events"]]

    def has_record(self, name: str) -> bool:
        answer = self.client("dynamodb").get_item(
            TableName=self.service.stack.table_name, Key={"execution_name": {"S": name}}
        )
        return "Item" in answer

    def figures(self, name: str) -> tuple[int, bool, int]:
        """How often it is redriven, whether it is recorded, how often it was notified."""
        wait_for(lambda: self.executions().get(name) == "SUCCEEDED", what=f"success of {name}")
        redriven = self.history(name).count("ExecutionRedriven")
        wait_for(lambda: self.notifications()[name], what="a notification")
        return redriven, self.has_record(name), self.notifications()[name]

    def notifications(self) -> Counter[str]:
        """How many there have been so far, by execution name."""
        sqs, url = self.client("sqs"), self.service.notifications_url
        while batch := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            self.notified += Counter(json.loads(one["Body"])["execution_name"] for one in batch)
            for one in batch:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=one["ReceiptHandle"])
        return self.notified


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = start_cloud("--speed", str(SPEED))
    yield deploy_service(running, tmp_path_factory.mktemp("service"))
    running.stop()


@pytest.fixture
def on_call(service: Service) -> Iterator[OnCall]:
    here = OnCall(service)
    yield here
    service.cloud.clear_faults()
    sqs, url = here.client("sqs"), service.stack.failure_queue_url
    service.cloud.advance(HIDDEN)
    queue = FailureQueue(sqs, url)
    for message in (one for batch in queue.batches() for one in batch):
        queue.delete(message)
    wait_for(lambda: here.counts() == (0, 0), what="an empty failure queue")


# Each returns the execution's name.


def given_up(on_call: OnCall, after: bool = False, message: object = None) -> str:
    before = len(on_call.messages())
    on_call.cloud.add_fault(on_call.service.stack.invoker, "exception", after=after, times=3)
    on_call.service.publish(message or operation())
    on_call.wait_for_failures(before + 1)
    return next(
        json.loads(one.body)["requestContext"]["requestId"]
        for one in on_call.messages()
        if "requestContext" in one.body
    )


def started_unheard(on_call: OnCall) -> str:
    name = given_up(on_call, after=True)
    assert name in on_call.executions()
    return name


def undelivered(on_call: OnCall) -> str:
    functions, invoker = on_call.client("lambda"), on_call.service.stack.invoker
    [statement] = json.loads(functions.get_policy(FunctionName=invoker)["Policy"])["Statement"]
    functions.remove_permission(FunctionName=invoker, StatementId=statement["Sid"])
    name = on_call.service.publish(operation())
    on_call.wait_for_failures(1)
    functions.add_permission(
        FunctionName=invoker,
        StatementId=statement["Sid"],
        Action="lambda:InvokeFunction",
        Principal="sns.amazonaws.com",
        SourceArn=on_call.service.stack.topic_arn,
    )
    return name


def step_failed(on_call: OnCall, step: str = "recordOperation", kind: str = "exception") -> str:
    function = f"{on_call.service.stack.name}-{step}"
    before, failures = set(on_call.executions()), len(on_call.messages())
    on_call.cloud.add_fault(function, kind, after=kind == "exit")
    on_call.service.publish(operation())
    on_call.wait_for_failures(failures + 1)
    [name] = set(on_call.executions()) - before
    wait_for(lambda: on_call.executions()[name] == "FAILED", what="its end")
    return name


def maybe_notified(on_call: OnCall) -> str:
    return step_failed(on_call, "notifyUser", "exit")


def malformed(on_call: OnCall) -> str:
    before = set(on_call.executions())
    on_call.service.publish({"user_id": "alan"})
    on_call.wait_for_failures(1)
    [name] = set(on_call.executions()) - before
    return name


WAYS: list[Callable[[OnCall], str]] = [given_up, started_unheard, undelivered, step_failed]
way = pytest.mark.parametrize("fail", WAYS, ids=[one.__name__ for one in WAYS])


@way
def test_each_failure_is_redriven_once(on_call: OnCall, fail: Callable[[OnCall], str]) -> None:
    name = fail(on_call)
    said = on_call.type("--all")
    before = "already started" if fail is started_unheard else "redriven"
    assert said.splitlines()[0].startswith(before)
    assert name in said.splitlines()[0]
    assert on_call.figures(name) == (int(fail is step_failed), True, 1)
    assert on_call.counts() == (0, 0)
    assert on_call.type("--all").startswith("0 redriven, 0 already started, 0 left alone")


def test_what_somebody_else_is_reading_is_not_nothing(on_call: OnCall) -> None:
    name = given_up(on_call)
    sqs, url = on_call.client("sqs"), on_call.service.stack.failure_queue_url
    # For as long as can be: the clock runs fast, and the machine may be slow.
    [message] = sqs.receive_message(QueueUrl=url, VisibilityTimeout=43_200)["Messages"]
    for arguments in (["--all"], ["--dry-run"]):
        said = on_call.type(*arguments, code=1)
        assert "About 1 more were being read when this began" in said
    assert "somebody else is reading it just now" in on_call.type(name, code=1)
    sqs.change_message_visibility(
        QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
    )
    assert "1 redriven" in on_call.type("--all")
    assert on_call.figures(name) == (0, True, 1)


def test_an_execution_that_was_stopped_keeps_lambda_s_record(on_call: OnCall) -> None:
    functions, machines = on_call.client("lambda"), on_call.client("stepfunctions")
    step = f"{on_call.service.stack.name}-recordOperation"
    functions.put_function_concurrency(FunctionName=step, ReservedConcurrentExecutions=0)
    name = started_unheard(on_call)
    machines.stop_execution(executionArn=on_call.arn(name))
    wait_for(lambda: on_call.executions()[name] == "ABORTED", what="its end")
    functions.delete_function_concurrency(FunctionName=step)
    for arguments in (["--dry-run"], ["--all"]):
        said = on_call.type(*arguments, code=1)
        assert f"aws stepfunctions redrive-execution --execution-arn {on_call.arn(name)}" in said
        assert on_call.counts() == (1, 0)
    machines.redrive_execution(executionArn=on_call.arn(name))
    assert on_call.type("--all").startswith("already started")
    assert on_call.figures(name) == (1, True, 1)
    assert on_call.counts() == (0, 0)


def test_an_execution_that_failed_has_a_message_of_its_own(on_call: OnCall) -> None:
    # Wrong, and of an attempt that nobody heard of: so it comes by both ways.
    on_call.cloud.add_fault(on_call.service.stack.invoker, "exception", after=True, times=3)
    on_call.service.publish({"user_id": "alan"})
    on_call.wait_for_failures(2)
    said = on_call.type("--all", code=1)
    assert "0 redriven, 1 already started, 1 left alone, 0 failed" in said
    assert [type(parse(one)) for one in on_call.messages()] == [StepFailure]


def test_an_event_named_by_an_id_is_redriven_and_others_are_not(on_call: OnCall) -> None:
    given_up(on_call)
    other = step_failed(on_call)
    [record] = [one for one in on_call.messages() if "requestContext" in one.body]
    context = json.loads(record.body)
    for given in (
        record.message_id,
        context["requestContext"]["requestId"],
        context["requestPayload"]["Records"][0]["Sns"]["MessageId"],
        other,
    ):
        assert "1 redriven" in on_call.type("--dry-run", given)
    assert "no message in the failure queue has this ID" in on_call.type("nobody", code=1)
    on_call.type(record.message_id)
    assert on_call.counts() == (1, 0)
    on_call.type(other)
    assert on_call.counts() == (0, 0)


def test_listing_tells_all_and_leaves_all_where_it_is(on_call: OnCall) -> None:
    name = given_up(on_call)
    failed = maybe_notified(on_call)
    said = on_call.type()
    first, second = said.split("2. ", 1)
    assert "Lambda gave up on the invoker" in first
    assert "a step failed for good" in second
    for line, text in (
        ("request ID   " + name, first),
        ("error        InjectedFault: made to fail before the handler ran", first),
        ("attempts     3", first),
        ("redrive      starts its execution, unless an attempt has", first),
        ("execution    " + failed, second),
        ("error        Runtime.ExitError: ", second),
        ("attempts     1 try of NotifyUser", second),
        ("redrive      left alone: its step may have done its work", second),
        ("2 in all. 1 can be redriven with --all; 1 cannot", second),
    ):
        assert line in text, said
    assert on_call.counts() == (2, 0)


def test_a_dry_run_changes_nothing(on_call: OnCall) -> None:
    started = started_unheard(on_call)
    name = step_failed(on_call)
    before = on_call.executions()
    said = on_call.type("--dry-run")
    assert f"already started   {started}" in said
    assert f"would redrive     {name}" in said
    assert on_call.type("--all", "--dry-run").splitlines()[-1] in said
    assert on_call.executions() == before
    assert on_call.counts() == (2, 0)


def test_what_may_repeat_is_redriven_only_where_that_is_allowed(on_call: OnCall) -> None:
    name = maybe_notified(on_call)
    for arguments in (["--all"], [name]):
        assert "would do it again: see --may-repeat" in on_call.type(*arguments, code=1)
        assert on_call.executions()[name] == "FAILED"
    assert on_call.counts() == (1, 0)
    on_call.type("--all", "--may-repeat")
    assert on_call.figures(name) == (1, True, 2)
    assert on_call.counts() == (0, 0)


def test_a_message_that_is_no_operation_is_discarded_by_a_person(on_call: OnCall) -> None:
    name = malformed(on_call)
    assert "the event itself is wrong: --discard" in on_call.type("--all", "--may-repeat", code=1)
    assert on_call.history(name).count("ExecutionRedriven") == 0
    assert "would be deleted" in on_call.type("--discard", "--dry-run", name)
    assert on_call.counts() == (1, 0)
    assert "InvalidOperation" in on_call.type("--discard", name)
    assert on_call.counts() == (0, 0)
    on_call.type("--discard", name, code=1)


def test_a_step_that_fails_again_is_not_redriven_again_and_again(on_call: OnCall) -> None:
    name = step_failed(on_call)
    function = f"{on_call.service.stack.name}-recordOperation"
    on_call.cloud.add_fault(function, "exception", times=100)
    # The new message may come while the command still looks, or later.
    done = on_call.start("--all")
    done.wait(timeout=60)
    wait_for(lambda: on_call.counts() == (1, 0), what="the next failure")
    assert on_call.history(name).count("ExecutionRedriven") == 1
    on_call.cloud.clear_faults()
    on_call.type("--all")
    assert on_call.figures(name) == (2, True, 1)
    assert on_call.counts() == (0, 0)


def test_a_redrive_by_somebody_else_is_not_repeated(on_call: OnCall) -> None:
    name = step_failed(on_call)
    on_call.client("stepfunctions").redrive_execution(executionArn=on_call.arn(name))
    wait_for(lambda: on_call.executions()[name] == "SUCCEEDED", what="its success")
    assert f"already redriven  {name}" in on_call.type("--all")
    assert on_call.figures(name) == (1, True, 1)
    assert on_call.counts() == (0, 0)


def test_a_large_event_goes_through_the_bucket(on_call: OnCall) -> None:
    name = given_up(on_call, message=operation(details="x" * 261_900))
    on_call.type("--all")
    assert on_call.figures(name)[1:] == (True, 1)
    text = on_call.client("stepfunctions").describe_execution(executionArn=on_call.arn(name))
    _, pointer = json.loads(text["input"])
    stored = on_call.client("s3").get_object(Bucket=pointer["s3BucketName"], Key=name)
    assert len(stored["Body"].read()) > 262_144


KILLED_BEFORE_THE_DELETE = """
import os, signal
from startonce.redrive.failure_queue import FailureQueue
FailureQueue.delete = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from startonce.cli import main
main(["redrive", *__import__("sys").argv[1:]])
"""


@way
def test_killed_between_the_redrive_and_the_delete_it_is_run_again(
    on_call: OnCall, fail: Callable[[OnCall], str]
) -> None:
    name = fail(on_call)
    program = [sys.executable, "-c", KILLED_BEFORE_THE_DELETE]
    on_call.type("--all", code=-signal.SIGKILL, program=program)
    assert on_call.counts() == (0, 1)
    on_call.cloud.advance(HIDDEN)
    assert on_call.type("--all").startswith("already ")
    assert on_call.figures(name) == (int(fail is step_failed), True, 1)
    assert on_call.counts() == (0, 0)


WAITING = """
import sys
from startonce.redrive.redriving import Redriver
def redrive(self, failure):
    print("at work", flush=True)
    self._hurry.wait(60)
Redriver.redrive = redrive
from startonce.cli import main
main(["redrive", *sys.argv[1:]])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_on_a_signal_the_messages_are_given_back(on_call: OnCall, number: int) -> None:
    on_call.send(*("anything" for _ in range(25)))
    process = on_call.start("--all", program=[sys.executable, "-c", WAITING])
    assert process.stdout is not None
    assert process.stdout.readline().startswith("at work")
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number, errors
    assert "Traceback" not in errors
    assert on_call.counts() == (25, 0)


def record_of(on_call: OnCall) -> dict[str, Any]:
    """A real record of Lambda's, which is out of the queue again."""
    name = given_up(on_call)
    [body] = [one.body for one in on_call.messages() if "requestContext" in one.body]
    on_call.type("--discard", name)
    record: dict[str, Any] = json.loads(body)
    return record


def copies(record: dict[str, Any], number: int) -> dict[str, dict[str, Any]]:
    """As many other events, by their request IDs."""
    made = {}
    for _ in range(number):
        copy = json.loads(json.dumps(record))
        name = copy["requestContext"]["requestId"] = str(uuid.uuid4())
        copy["requestPayload"]["Records"][0]["Sns"]["MessageId"] = str(uuid.uuid4())
        made[name] = copy
    return made


def test_many_messages_at_once(on_call: OnCall) -> None:
    events = copies(record_of(on_call), 60)
    on_call.send(*events.values())
    assert "60 in all. 60 can be redriven" in on_call.type()
    assert on_call.counts() == (60, 0)
    assert "60 redriven, 0 already started, 0 left alone, 0 failed" in on_call.type("--all")
    assert on_call.counts() == (0, 0)
    assert set(events) <= set(on_call.executions())
    for name in events:
        assert on_call.figures(name) == (0, True, 1)


def test_two_people_at_the_same_time(on_call: OnCall) -> None:
    failed = {step_failed(on_call) for _ in range(2)}
    on_call.send(*(events := copies(record_of(on_call), 20)).values())
    both = [on_call.start("--all") for _ in range(2)]
    said = [process.communicate(timeout=90)[0] for process in both]
    # Who came later cannot know what became of the messages that the other was reading.
    late = ["being read when this began" in one for one in said]
    assert [process.returncode for process in both] == late, said
    assert on_call.counts() == (0, 0)
    for name in events:
        assert on_call.figures(name) == (0, True, 1)
    for name in failed:
        assert on_call.figures(name) == (1, True, 1)


@pytest.mark.parametrize("fail", [given_up, step_failed])
def test_two_people_with_the_same_message(on_call: OnCall, fail: Callable[[OnCall], str]) -> None:
    name, [failure] = fail(on_call), map(parse, on_call.messages())
    target = find_target(on_call.service.aws, on_call.service.stack.name)
    redrivers = [Redriver(on_call.service.aws, target) for _ in range(4)]
    barrier = threading.Barrier(len(redrivers))

    def at_once(redriver: Redriver) -> Outcome:
        barrier.wait()
        return redriver.redrive(failure).outcome

    with ThreadPoolExecutor(len(redrivers)) as pool:
        outcomes = list(pool.map(at_once, redrivers))
    done = {Outcome.REDRIVEN, Outcome.STARTED_BEFORE, Outcome.REDRIVEN_BEFORE}
    assert set(outcomes) <= done
    assert on_call.figures(name) == (int(isinstance(failure, StepFailure)), True, 1)


def test_what_is_not_this_service_s_is_left_alone(on_call: OnCall) -> None:
    [record] = copies(record_of(on_call), 1).values()
    other_function = json.loads(json.dumps(record))
    other_function["requestContext"]["functionArn"] = (
        "arn:aws:lambda:us-east-1:123456789012:function:another:$LATEST"
    )
    before = set(on_call.executions())
    foreign: list[object] = [
        "no JSON",
        [1, 2],
        {"execution_name": "it", "redrive": "safe"},
        {"execution_name": "it", "execution_arn": f"{on_call.arn('it')[:-3]}-not:it"},
        {"Type": "Notification", "MessageId": "m", "TopicArn": "arn:another", "Message": "{}"},
        other_function,
    ]
    on_call.send(*foreign)
    said = on_call.type("--all", "--may-repeat", code=1)
    assert "6 left alone" in said
    assert set(on_call.executions()) == before
    assert on_call.counts() == (6, 0)


def test_a_role_that_may_not_stops_at_the_first_message(on_call: OnCall) -> None:
    on_call.send(*copies(record_of(on_call), 30).values())
    program = [sys.executable, "-c", REFUSED]
    said = on_call.type("--all", code=1, program=program)
    assert said.splitlines()[-1] == (
        "Error: AWS refused StartExecution: AccessDeniedException: not you"
    )
    assert on_call.counts() == (30, 0)


class AsRole(Aws):
    """With the credentials of a role."""

    def __init__(self, endpoint: str, credentials: dict[str, str]) -> None:
        super().__init__(endpoint)
        self._session = boto3.Session(
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials["SessionToken"],
            region_name="us-east-1",
        )


def as_the_page_allows(on_call: OnCall) -> Aws:
    """The permissions that docs/operating.md names, and no others."""
    stack = on_call.service.stack
    account = stack.topic_arn.split(":")[4]
    bucket = find_target(on_call.service.aws, stack.name).large_events_bucket
    queue = stack.failure_queue_url.rsplit("/", 1)[-1]
    resources = {
        "the stack": f"arn:aws:cloudformation:us-east-1:{account}:stack/{stack.name}/*",
        "the failure queue": f"arn:aws:sqs:us-east-1:{account}:{queue}",
        "the state machine": stack.state_machine_arn,
        "EXECUTIONS": on_call.arn("*"),
        "the bucket's objects": f"arn:aws:s3:::{bucket}/*",
    }
    [table] = [one for one in tables("docs/operating.md") if one[0][0] == SMALLEST]
    statements: list[dict[str, object]] = [
        {"Effect": "Allow", "Action": action, "Resource": resources[on]} for action, on, _ in table
    ]
    iam, name = on_call.client("iam"), f"on-call-{uuid.uuid4().hex[:8]}"
    trust = {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(trust))["Role"]
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy(*statements))
    answer = on_call.client("sts").assume_role(RoleArn=role["Arn"], RoleSessionName="ada")
    return AsRole(on_call.cloud.endpoint, answer["Credentials"])


SMALLEST = "cloudformation:DescribeStacks"


def test_the_permissions_that_the_page_names_are_enough(on_call: OnCall) -> None:
    names = [given_up(on_call, message=operation(details="x" * 261_900)), step_failed(on_call)]
    # The local cloud does not evaluate the resource of DescribeStacks.
    target = find_target(on_call.service.aws, on_call.service.stack.name)
    aws = as_the_page_allows(on_call)

    def queue() -> FailureQueue:
        return FailureQueue(aws.client("sqs"), target.failure_queue_url)

    assert queue().counts() == (2, 0)
    redriver = Redriver(aws, target)
    listed = with_tries(list(list_failures(queue(), redriver)), redriver)
    assert [one.tries for one in listed if isinstance(one.failure, StepFailure)] == [
        "1 try of RecordOperation"
    ]
    outcomes: list[Outcome] = []
    for dry_run in (True, False):
        redrive_all(
            queue(), redriver, Asked([]), dry_run, lambda _, result: outcomes.append(result.outcome)
        )
    assert outcomes == [Outcome.REDRIVEN] * 4
    assert on_call.counts() == (0, 0)
    for name in names:
        assert on_call.figures(name)[1:] == (True, 1)
    with pytest.raises(ClientError, match="not authorized"):
        aws.client("sqs").send_message(QueueUrl=target.failure_queue_url, MessageBody="x")


REFUSED = """
import sys
from botocore.exceptions import ClientError
from startonce.redrive.redriving import Redriver
def refuse(self, name, text):
    said = {"Code": "AccessDeniedException", "Message": "not you"}
    raise ClientError({"Error": said}, "StartExecution")
Redriver._started = refuse
from startonce.cli import main
main(["redrive", *sys.argv[1:]])
"""


def test_what_the_event_queue_gave_up_is_redriven_once(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    running = start_cloud("--speed", "600")
    try:
        folder = tmp_path_factory.mktemp("service")
        on_call = OnCall(deploy_service(running, folder, "--param=delivery=buffered"))
        function = f"{on_call.service.stack.name}-batchInvoker"
        on_call.cloud.add_fault(function, "exception", times=10)
        on_call.service.publish(operation())
        on_call.wait_for_failures(1)
        [message] = on_call.messages()
        assert "the event queue gave up" in on_call.type()
        assert "1 redriven" in on_call.type("--all")
        assert on_call.figures(message.message_id) == (0, True, 1)
        assert on_call.counts() == (0, 0)
    finally:
        running.stop()
