"""The packaged state machine, run by an interpreter, with steps that always fail."""

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

EVENTS: list[Any] = [{"Records": []}, [1, 2], "text", None, 7]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws(config={"stepfunctions": {"execute_state_machine": True}}):
        yield


def run(definition: dict[str, Any], event: Any) -> dict[str, Any]:
    """Run the definition to its end and return the execution's description."""
    client = boto3.client("stepfunctions")
    machine = client.create_state_machine(
        name="m", definition=json.dumps(definition), roleArn="arn:aws:iam::123456789012:role/r"
    )["stateMachineArn"]
    arn = client.start_execution(stateMachineArn=machine, name="e-1", input=json.dumps(event))
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        execution: dict[str, Any] = client.describe_execution(executionArn=arn["executionArn"])
        if execution["status"] != "RUNNING":
            return execution
        time.sleep(0.02)
    raise AssertionError("the execution does not end")


@pytest.mark.parametrize("event", EVENTS)
def test_a_step_that_fails_for_good_puts_the_event_into_the_failure_queue(
    package: Any, aws: None, event: Any
) -> None:
    queue = boto3.resource("sqs").create_queue(QueueName="failures")
    # No function is there, which is an error that no retrier names.
    definition = json.loads(
        json.dumps(package.state_machine()).replace("<FailureQueue>", queue.url)
    )
    execution = run(definition, event)
    [message] = queue.receive_messages()
    body = json.loads(message.body)
    assert body["execution_name"] == "e-1"
    assert body["execution_arn"] == execution["executionArn"]
    assert body["event"] == event
    assert execution["status"] == "FAILED"
    assert (body["error"], body["cause"]) == (execution["error"], execution["cause"])


def test_a_report_that_cannot_hold_the_event_is_sent_without_it(package: Any, aws: None) -> None:
    queue = boto3.resource("sqs").create_queue(QueueName="failures")
    definition = json.loads(
        json.dumps(package.state_machine()).replace("<FailureQueue>", queue.url)
    )
    # What is left of ReportFailure is that it fails, at once.
    broken = definition["States"]["ReportFailure"]
    broken["Parameters"]["QueueUrl"] = f"{queue.url}-none"
    broken["Retry"] = []
    execution = run(definition, {"Records": []})
    [message] = queue.receive_messages()
    body = json.loads(message.body)
    assert "event" not in body
    assert "input" in body["event_is_in"]
    assert execution["status"] == "FAILED"
    assert (body["error"], body["cause"]) == (execution["error"], execution["cause"])
