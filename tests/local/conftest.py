from __future__ import annotations

import io
import json
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from startonce.aws import Aws
from tests.conftest import policy


@dataclass
class Function:
    """A function made for one test."""

    aws: Aws
    name: str

    @property
    def arn(self) -> str:
        configuration = self.aws.client("lambda").get_function_configuration(FunctionName=self.name)
        return str(configuration["FunctionArn"])

    def invoke(self, event: Any = None, **options: Any) -> dict[str, Any]:
        answer = self.aws.client("lambda").invoke(
            FunctionName=self.name, Payload=json.dumps(event), **options
        )
        body = answer["Payload"].read()
        return {**answer, "Payload": json.loads(body) if body else None}

    def log_lines(self) -> list[str]:
        group = f"/aws/lambda/{self.name}"
        client = self.aws.client("logs")
        groups = client.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        if not groups:
            return []
        pages = client.get_paginator("filter_log_events").paginate(logGroupName=group)
        return [event["message"] for page in pages for event in page["events"]]


MakeFunction = Callable[..., Function]


def zipped(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{name}.py", text)
    return buffer.getvalue()


TRUST = policy(
    {
        "Effect": "Allow",
        "Principal": {"Service": ["lambda.amazonaws.com", "states.amazonaws.com"]},
        "Action": "sts:AssumeRole",
    }
)


def make_role(aws: Aws, *statements: dict[str, object]) -> str:
    """The ARN of a new role that functions and state machines may assume."""
    name = f"r-{uuid.uuid4().hex[:12]}"
    client = aws.client("iam")
    arn = client.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    if statements:
        client.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy(*statements))
    return str(arn)


@pytest.fixture(scope="session")
def role(aws: Aws) -> str:
    """For tests that are not about permissions."""
    return make_role(aws, {"Effect": "Allow", "Action": "*", "Resource": "*"})


@pytest.fixture
def make_function(aws: Aws, role: str) -> MakeFunction:
    """A function from its source, with AWS's defaults but for what is given."""

    def make(source: str, **configuration: Any) -> Function:
        name = f"f-{uuid.uuid4().hex[:12]}"
        settings = {
            "Role": role,
            "Runtime": "python3.13",
            "Handler": "app.handler",
            "Timeout": 10,
        }
        aws.client("lambda").create_function(
            FunctionName=name,
            Code={"ZipFile": zipped(app=source)},
            **{**settings, **configuration},
        )
        return Function(aws, name)

    return make


@pytest.fixture
def queue(aws: Aws) -> Callable[[], Any]:
    """A new SQS queue; ``.url``, ``.arn`` and ``.messages()``."""
    return lambda: Queue(aws)


class Queue:
    def __init__(self, aws: Aws) -> None:
        self._client = aws.client("sqs")
        self.url = self._client.create_queue(QueueName=f"q-{uuid.uuid4().hex[:12]}")["QueueUrl"]
        attributes = self._client.get_queue_attributes(
            QueueUrl=self.url, AttributeNames=["QueueArn"]
        )
        self.arn = attributes["Attributes"]["QueueArn"]

    def messages(self) -> list[dict[str, Any]]:
        answer = self._client.receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=0,
            MessageAttributeNames=["All"],
        )
        return list(answer.get("Messages", []))
