"""What a test makes in the account under test, and that it is gone afterwards."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.conformance.target import Target

PRELUDE = """
import json, os, sys, time


def say(**said):
    print("SAID " + json.dumps(said))


"""
"""Before each handler's source: ``say`` is what :meth:`Function.said` reads."""


def zipped(source: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        # With rights that Lambda's own user can read.
        entry = zipfile.ZipInfo("app.py")
        entry.external_attr = 0o644 << 16
        archive.writestr(entry, source)
    return buffer.getvalue()


class Account:
    """One test's resources.

    Args:
        role: that may do everything, for tests that are not about permissions.
    """

    def __init__(self, target: Target, role: str) -> None:
        self.target = target
        self.default_role = role
        self._undo: list[Callable[[], object]] = []

    def client(self, service: str, retries: bool = True) -> Any:
        return self.target.client(service, retries)

    def wait_for(self, look: Callable[[], Any], clock: float = 0, what: str = "") -> Any:
        return self.target.wait_for(look, clock, what)

    def defer(self, undo: Callable[[], object]) -> None:
        """Call it when the test is over, the last one first."""
        self._undo.append(undo)

    def close(self) -> None:
        while self._undo:
            with contextlib.suppress(ClientError, BotoCoreError):
                self._undo.pop()()

    def function(self, source: str, role: str | None = None, **configuration: Any) -> Function:
        """A function from its handler's source, ready to be invoked."""
        client, name, code = self.client("lambda"), new_name("f"), zipped(PRELUDE + source)
        wanted = {
            "Runtime": "python3.13",
            "Handler": "app.handler",
            "Timeout": 10,
            "Role": role or self.default_role,
            "Code": {"ZipFile": code},
            **configuration,
        }
        arn = self._when_the_role_is_known(
            lambda: client.create_function(FunctionName=name, **wanted)["FunctionArn"]
        )
        self.defer(lambda: self._delete_function(name))
        function = Function(self, name, arn, code)
        function.wait_until_ready()
        return function

    def queue(self, **attributes: str) -> Queue:
        fifo = attributes.get("FifoQueue") == "true"
        client = self.client("sqs")
        name = new_name("q") + (".fifo" if fifo else "")
        url = client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        self.defer(lambda: client.delete_queue(QueueUrl=url))
        described = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return Queue(self, url, described["Attributes"]["QueueArn"])

    def topic(self, **attributes: str) -> Topic:
        fifo = attributes.get("FifoTopic") == "true"
        client = self.client("sns")
        name = new_name("t") + (".fifo" if fifo else "")
        arn = client.create_topic(Name=name, Attributes=attributes)["TopicArn"]
        self.defer(lambda: client.delete_topic(TopicArn=arn))
        return Topic(self, arn)

    def machine(
        self, definition: dict[str, Any], role: str | None = None, kind: str = "STANDARD"
    ) -> Machine:
        client = self.client("stepfunctions")
        arn = self._when_the_role_is_known(
            lambda: client.create_state_machine(
                name=new_name("m"),
                definition=json.dumps(definition),
                roleArn=role or self.default_role,
                type=kind,
            )["stateMachineArn"]
        )
        self.defer(lambda: client.delete_state_machine(stateMachineArn=arn))
        return Machine(self, arn)

    def role(self, *statements: dict[str, Any]) -> str:
        """A role that functions and state machines may assume, with these rights and the one to
        write logs.
        """
        client, name = self.client("iam"), new_name("r")
        arn = client.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
        self.defer(lambda: client.delete_role(RoleName=name))
        document = policy(allow("logs:*", "*"), *statements)
        client.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=document)
        self.defer(lambda: client.delete_role_policy(RoleName=name, PolicyName="own"))
        return str(arn)

    def _delete_function(self, name: str) -> None:
        self.client("lambda").delete_function(FunctionName=name)
        if self.target.is_aws:
            self.client("logs").delete_log_group(logGroupName=f"/aws/lambda/{name}")

    def _when_the_role_is_known(self, create: Callable[[], str]) -> str:
        """On AWS a new role takes some seconds until every service knows it."""

        def attempt() -> str | None:
            try:
                return create()
            except ClientError as error:
                if "assume" in str(error) and self.target.is_aws:
                    return None
                raise

        return str(self.wait_for(attempt, what="a role that can be assumed"))


@dataclass
class Function:
    account: Account
    name: str
    arn: str
    code: bytes

    @property
    def code_hash(self) -> str:
        return base64.b64encode(hashlib.sha256(self.code).digest()).decode()

    def invoke(self, event: Any = None, name: str = "", **options: Any) -> Answer:
        """``name`` is for other ways to name the function. Nothing is retried."""
        answer = self.account.client("lambda", False).invoke(
            FunctionName=name or self.name, Payload=json.dumps(event), **options
        )
        return Answer(answer, answer["Payload"].read())

    def send(self, event: Any = None, **options: Any) -> str:
        """Invoke asynchronously; the request ID."""
        return self.invoke(event, InvocationType="Event", **options).request_id

    def configuration(self, **options: Any) -> dict[str, Any]:
        client = self.account.client("lambda")
        found: dict[str, Any] = client.get_function_configuration(FunctionName=self.name, **options)
        return found

    def update_code(self, source: str) -> None:
        self.code = zipped(PRELUDE + source)
        client = self.account.client("lambda")
        client.update_function_code(FunctionName=self.name, ZipFile=self.code)
        self.wait_until_ready()

    def update_configuration(self, **configuration: Any) -> None:
        client = self.account.client("lambda")
        client.update_function_configuration(FunctionName=self.name, **configuration)
        self.wait_until_ready()

    def reserve(self, concurrency: int) -> None:
        self.account.client("lambda").put_function_concurrency(
            FunctionName=self.name, ReservedConcurrentExecutions=concurrency
        )

    def asynchronous(self, **configuration: Any) -> None:
        """Settings of asynchronous invocation."""
        self.account.client("lambda").put_function_event_invoke_config(
            FunctionName=self.name, **configuration
        )

    def allow(self, topic_arn: str) -> None:
        """Let a topic invoke it."""
        self.account.client("lambda").add_permission(
            FunctionName=self.name,
            StatementId=new_name("s"),
            Action="lambda:InvokeFunction",
            Principal="sns.amazonaws.com",
            SourceArn=topic_arn,
        )

    def log_events(self) -> list[dict[str, Any]]:
        client = self.account.client("logs")
        try:
            pages = client.get_paginator("filter_log_events").paginate(
                logGroupName=f"/aws/lambda/{self.name}"
            )
            return [event for page in pages for event in page["events"]]
        except client.exceptions.ResourceNotFoundException:
            return []

    def log_lines(self) -> list[str]:
        return [event["message"].rstrip("\n") for event in self.log_events()]

    def said(self) -> list[dict[str, Any]]:
        lines = self.log_lines()
        return [json.loads(line[5:]) for line in lines if line.startswith("SAID ")]

    def wait_for_said(self, count: int = 1, clock: float = 0) -> list[dict[str, Any]]:
        """What its handler said, when it has said ``count`` things or more."""

        def look() -> list[dict[str, Any]] | None:
            said = self.said()
            return said if len(said) >= count else None

        what = f"line {count} of the handler"
        found: list[dict[str, Any]] = self.account.wait_for(look, clock, what)
        return found

    def wait_until_ready(self) -> None:
        def look() -> bool:
            found = self.configuration()
            states = (found.get("State", "Active"), found.get("LastUpdateStatus", "Successful"))
            return states == ("Active", "Successful")

        self.account.wait_for(look, what=f"{self.name} to be active")


@dataclass
class Answer:
    """An answer of ``Invoke``."""

    fields: dict[str, Any]
    body: bytes

    @property
    def payload(self) -> Any:
        return json.loads(self.body)

    @property
    def request_id(self) -> str:
        return str(self.fields["ResponseMetadata"]["RequestId"])

    @property
    def log(self) -> str:
        return base64.b64decode(self.fields["LogResult"]).decode()

    @property
    def error(self) -> str | None:
        return self.fields.get("FunctionError")


@dataclass
class Queue:
    account: Account
    url: str
    arn: str
    received: list[dict[str, Any]] = field(default_factory=list)

    def send(self, body: str, **options: Any) -> str:
        """The message ID."""
        client = self.account.client("sqs")
        answer = client.send_message(QueueUrl=self.url, MessageBody=body, **options)
        return str(answer["MessageId"])

    def messages(self) -> list[dict[str, Any]]:
        """All that it ever held, each taken out when it is first seen."""
        client = self.account.client("sqs")
        while batch := client.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        ).get("Messages"):
            for message in batch:
                client.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
            self.received += batch
        return self.received

    def wait_for(self, count: int = 1, clock: float = 0) -> list[dict[str, Any]]:
        """Its messages, when there are ``count`` or more."""

        def look() -> list[dict[str, Any]] | None:
            messages = self.messages()
            return messages if len(messages) >= count else None

        found: list[dict[str, Any]] = self.account.wait_for(look, clock, f"message {count}")
        return found

    def one(self, clock: float = 0) -> Any:
        """The JSON in the one message that comes."""
        [message] = self.wait_for(1, clock)
        return json.loads(message["Body"])

    def set(self, **attributes: str) -> None:
        client = self.account.client("sqs")
        client.set_queue_attributes(QueueUrl=self.url, Attributes=attributes)

    def let_topics_send(self, condition: dict[str, Any] | None = None) -> None:
        statement: dict[str, Any] = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": self.arn,
        }
        if condition:
            statement["Condition"] = condition
        self.set(Policy=policy(statement))


@dataclass
class Topic:
    account: Account
    arn: str

    def publish(self, message: str, **options: Any) -> str:
        """The message ID."""
        client = self.account.client("sns")
        return str(client.publish(TopicArn=self.arn, Message=message, **options)["MessageId"])

    def to_function(self, function: Function, **attributes: str) -> str:
        """Subscribe a function, with the permission that it takes; the subscription's ARN."""
        function.allow(self.arn)
        return self.subscribe("lambda", function.arn, **attributes)

    def to_queue(self, queue: Queue, **attributes: str) -> str:
        """Subscribe a queue, with the permission that it takes; the subscription's ARN."""
        queue.let_topics_send()
        return self.subscribe("sqs", queue.arn, **attributes)

    def subscribe(self, protocol: str, endpoint: str, **attributes: str) -> str:
        answer = self.account.client("sns").subscribe(
            TopicArn=self.arn,
            Protocol=protocol,
            Endpoint=endpoint,
            Attributes=attributes,
            ReturnSubscriptionArn=True,
        )
        return str(answer["SubscriptionArn"])


@dataclass
class Machine:
    account: Account
    arn: str

    def start(self, event: Any = None, name: str | None = None) -> Execution:
        """With ``name`` None the service makes one."""
        named = {} if name is None else {"name": name}
        client = self.account.client("stepfunctions")
        answer = client.start_execution(
            stateMachineArn=self.arn, input=json.dumps({} if event is None else event), **named
        )
        arn = answer["executionArn"]
        self.account.defer(lambda: client.stop_execution(executionArn=arn))
        return Execution(self.account, arn, answer)

    def run(self, event: Any = None, clock: float = 0) -> Execution:
        """Start it and wait for its end."""
        execution = self.start(event)
        execution.wait(clock)
        return execution

    def executions(self, **options: Any) -> list[dict[str, Any]]:
        client = self.account.client("stepfunctions")
        answer = client.list_executions(stateMachineArn=self.arn, **options)
        found: list[dict[str, Any]] = answer["executions"]
        return found


@dataclass
class Execution:
    account: Account
    arn: str
    answer: dict[str, Any]

    def describe(self) -> dict[str, Any]:
        client = self.account.client("stepfunctions")
        found: dict[str, Any] = client.describe_execution(executionArn=self.arn)
        return found

    def wait(self, clock: float = 0) -> dict[str, Any]:
        """Its description when it is over."""

        def look() -> dict[str, Any] | None:
            described = self.describe()
            return None if described["status"] == "RUNNING" else described

        over: dict[str, Any] = self.account.wait_for(look, clock, "the end of the execution")
        return over

    @property
    def output(self) -> Any:
        described = self.describe()
        assert described["status"] == "SUCCEEDED", described
        return json.loads(described["output"])

    def failure(self) -> tuple[str | None, str | None]:
        """Error and cause."""
        described = self.describe()
        assert described["status"] == "FAILED", described
        return described.get("error"), described.get("cause")

    def history(self, **options: Any) -> list[dict[str, Any]]:
        client = self.account.client("stepfunctions")
        answer = client.get_execution_history(executionArn=self.arn, **options)
        found: list[dict[str, Any]] = answer["events"]
        return found

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.history(maxResults=1000) if event["type"] == kind]


def only(state: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A definition of one state, ``Only``."""
    return {"StartAt": "Only", "States": {"Only": {"End": True, **state}}, **fields}


def task(function: Function, **fields: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": function.arn, **fields}


def allow(actions: Any, resources: Any, effect: str = "Allow", **more: Any) -> dict[str, Any]:
    """A statement of a policy."""
    return {"Effect": effect, "Action": actions, "Resource": resources, **more}


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def new_name(kind: str) -> str:
    return f"conformance-{kind}-{uuid.uuid4().hex[:12]}"


TRUST = policy(
    {
        "Effect": "Allow",
        "Principal": {"Service": ["lambda.amazonaws.com", "states.amazonaws.com"]},
        "Action": "sts:AssumeRole",
    }
)
