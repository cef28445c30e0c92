"""StartExecution checks names and inputs as on AWS."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from startonce.aws import Aws
from tests.conftest import wait_for

WAIT = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 600, "End": True}}}
PASS = {"StartAt": "Pass", "States": {"Pass": {"Type": "Pass", "End": True}}}


def machine(aws: Aws, role: str, definition: object) -> str:
    answer = aws.client("stepfunctions").create_state_machine(
        name=f"m-{uuid.uuid4().hex[:12]}", definition=json.dumps(definition), roleArn=role
    )
    return str(answer["stateMachineArn"])


def start(aws: Aws, arn: str, name: str, text: str = "{}") -> dict[str, object]:
    answer: dict[str, object] = aws.client("stepfunctions").start_execution(
        stateMachineArn=arn, name=name, input=text
    )
    return answer


def test_the_same_name_and_input_while_it_runs_is_the_same_execution(aws: Aws, role: str) -> None:
    arn = machine(aws, role, WAIT)
    first, second = start(aws, arn, "one"), start(aws, arn, "one")
    assert first["executionArn"] == second["executionArn"]
    assert first["startDate"] == second["startDate"]


def test_the_same_name_with_another_input_is_refused(aws: Aws, role: str) -> None:
    arn = machine(aws, role, WAIT)
    started = start(aws, arn, "one")
    with pytest.raises(ClientError, match="ExecutionAlreadyExists") as caught:
        start(aws, arn, "one", '{"a": 1}')
    expected = f"Execution Already Exists: '{started['executionArn']}'"
    assert caught.value.response["Error"]["Message"] == expected


def test_the_same_name_after_it_closed_is_refused(aws: Aws, role: str) -> None:
    arn = machine(aws, role, PASS)
    execution = start(aws, arn, "one")["executionArn"]
    client = aws.client("stepfunctions")
    wait_for(lambda: client.describe_execution(executionArn=execution)["status"] == "SUCCEEDED")
    with pytest.raises(ClientError, match="ExecutionAlreadyExists"):
        start(aws, arn, "one")


def test_one_name_at_the_same_moment_starts_one_execution(aws: Aws, role: str) -> None:
    arn = machine(aws, role, WAIT)
    aws.client("stepfunctions")
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: start(aws, arn, "one"), range(8)))
    assert len({str(answer["startDate"]) for answer in answers}) == 1
    executions = aws.client("stepfunctions").list_executions(stateMachineArn=arn)["executions"]
    assert len(executions) == 1


@pytest.mark.parametrize("name", ["with space", "a/b", "a:b", "a#b", "x" * 81])
def test_a_name_that_aws_refuses_is_refused(aws: Aws, role: str, name: str) -> None:
    arn = machine(aws, role, PASS)
    with pytest.raises(ClientError, match="InvalidName"):
        start(aws, arn, name)


def test_the_input_s_limit_counts_bytes(aws: Aws, role: str) -> None:
    arn = machine(aws, role, PASS)
    fits = json.dumps("ä" * 131_071, ensure_ascii=False)
    assert len(fits.encode()) == 262_144
    start(aws, arn, "fits", fits)
    with pytest.raises(ClientError, match="InvalidExecutionInput"):
        start(aws, arn, "too-large", fits[:-1] + 'a"')


def test_an_input_that_is_no_json_is_refused(aws: Aws, role: str) -> None:
    arn = machine(aws, role, PASS)
    with pytest.raises(ClientError, match="InvalidExecutionInput"):
        start(aws, arn, "one", "{no")


def test_waits_pass_on_the_cloud_s_clock(aws: Aws, role: str) -> None:
    wait = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 60, "End": True}}}
    execution = start(aws, machine(aws, role, wait), "one")["executionArn"]
    client = aws.client("stepfunctions")
    wait_for(
        lambda: client.describe_execution(executionArn=execution)["status"] == "SUCCEEDED",
        seconds=20,
    )
