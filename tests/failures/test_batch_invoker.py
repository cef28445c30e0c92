"""docs/failures.md, "The batch invoker": the buffered way, SNS to SQS to executions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from startonce.deploy import DeployError, deploy
from tests.conftest import start_cloud, wait_for
from tests.failures.conftest import SPEED
from tests.failures.matrix import Row, shows
from tests.failures.trouble import Event, Trouble
from tests.service import deploy_service

VISIBILITY = 180
"""Seconds until SQS gives a message again."""


def buffered_trouble(folder: Any, *options: str) -> Iterator[Trouble]:
    cloud = start_cloud("--speed", SPEED)
    trouble = Trouble(deploy_service(cloud, folder, "--param=delivery=buffered", *options))
    yield trouble
    trouble.check_that_faults_struck()
    assert cloud.stop() == 0


@pytest.fixture(scope="module")
def deployed_buffered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trouble]:
    yield from buffered_trouble(tmp_path_factory.mktemp("service"))


@pytest.fixture
def buffered(deployed_buffered: Trouble) -> Iterator[Trouble]:
    yield deployed_buffered
    deployed_buffered.mend()
    deployed_buffered.empty_failure_queue()
    deployed_buffered.check_that_faults_struck()


@pytest.fixture
def by_message_id(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trouble]:
    option = "--param=executionName=messageId"
    yield from buffered_trouble(tmp_path_factory.mktemp("service"), option)


def records(trouble: Trouble, event: Event) -> list[dict[str, Any]]:
    """The batch invoker's lines about an event."""
    group = f"/aws/lambda/{trouble.function('batchInvoker')}"
    pages = trouble.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
    texts = [one["message"] for page in pages for one in page["events"]]
    return [json.loads(text) for text in texts if event.message_id in text]


def outcomes(trouble: Trouble, event: Event) -> list[str]:
    return [line["outcome"] for line in records(trouble, event)]


@shows("buffered: exception before anything is started")
def test_an_exception_before(buffered: Trouble, row: Row) -> None:
    buffered.fail("batchInvoker:exception")
    event = buffered.publish()
    buffered.end(event, row, attempts=None)
    assert outcomes(buffered, event) == ["started"]


@shows("buffered: exception after the executions were started")
def test_an_exception_after(buffered: Trouble, row: Row) -> None:
    buffered.fail("batchInvoker:exception-after")
    event = buffered.publish()
    wait_for(lambda: outcomes(buffered, event) == ["started", "already_started"])
    buffered.end(event, row, attempts=None)


@shows("buffered: Step Functions throttles")
def test_step_functions_throttles(buffered: Trouble, row: Row) -> None:
    # Four calls: two records, with two attempts of the SDK each.
    buffered.fail("states.StartExecution:throttle:4")
    events = [buffered.publish() for _ in range(5)]
    for event in events:
        buffered.end(event, row, attempts=None)
    lines = [line for event in events for line in records(buffered, event)]
    assert {line.get("error") for line in lines} == {None, "ClientError"}
    assert [line["outcome"] for line in lines].count("started") == 5


@shows("buffered: ten attempts fail")
def test_ten_attempts_fail(buffered: Trouble, row: Row) -> None:
    buffered.fail("batchInvoker:exception:100%")
    event = buffered.publish()
    wait_for_failure(buffered, event)
    buffered.mend()
    buffered.end(event, row, attempts=None)
    assert buffered.failure(event)["MessageId"] == event.message_id
    buffered.put_right(event, row)


@shows("buffered: ten attempts fail after the executions were started")
def test_ten_attempts_fail_after(buffered: Trouble, row: Row) -> None:
    buffered.fail("batchInvoker:exception-after:100%")
    event = buffered.publish()
    wait_for_failure(buffered, event)
    buffered.mend()
    buffered.end(event, row, attempts=None)
    buffered.put_right(event, row)


def wait_for_failure(trouble: Trouble, event: Event) -> None:
    def look() -> bool:
        trouble.cloud.advance(VISIBILITY)
        return bool(trouble.outcome(event).failures)

    wait_for(look)


@shows("buffered: SNS sends a message twice, named by message ID")
def test_sns_sends_a_message_twice(by_message_id: Trouble, row: Row) -> None:
    event = by_message_id.publish()
    wait_for(lambda: by_message_id.outcome(event).executions)
    [line] = records(by_message_id, event)
    client = by_message_id.client("stepfunctions")
    text = client.describe_execution(executionArn=line["execution_arn"])["input"]
    [record] = json.loads(text)["Records"]
    stack = by_message_id.client("cloudformation").describe_stacks(
        StackName=by_message_id.service.stack.name
    )["Stacks"][0]
    [url] = [one["OutputValue"] for one in stack["Outputs"] if one["OutputKey"] == "EventQueueUrl"]
    by_message_id.client("sqs").send_message(QueueUrl=url, MessageBody=record["body"])
    wait_for(lambda: outcomes(by_message_id, event) == ["started", "already_started"])
    by_message_id.end(event, row, attempts=None)
    assert set(by_message_id.outcome(event).executions) == {event.message_id}


@shows("buffered: back to direct while messages wait, by way of draining")
def test_back_to_direct_by_way_of_draining(tmp_path: Path, row: Row) -> None:
    for trouble in buffered_trouble(tmp_path):
        trouble.fail("batchInvoker:throttle:100%")
        waiting = trouble.publish()
        with pytest.raises(DeployError, match=r"1 messages are in EventQueue.*delivery=draining"):
            deploy(tmp_path, trouble.cloud.endpoint)  # a parameter forgotten
        deploy(tmp_path, trouble.cloud.endpoint, "--param=delivery=draining")
        direct = trouble.publish()
        trouble.end(direct, row)
        assert trouble.outcome(waiting).figures == (0, 0, 0)
        trouble.mend()
        trouble.cloud.advance(VISIBILITY)
        trouble.end(waiting, row, attempts=None)
        deploy(tmp_path, trouble.cloud.endpoint)
        trouble.end(trouble.publish(), row)


def test_a_burst_comes_through_with_one_execution_each(buffered: Trouble) -> None:
    events = [buffered.publish() for _ in range(60)]

    def figures() -> set[tuple[int, int, int]]:
        found = buffered.ledger.look()
        return {found[event.user].figures for event in events}

    wait_for(lambda: figures() == {(1, 1, 1)}, seconds=60)
