"""An asynchronous event is tried as often as its function's settings say, under one request ID."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from startonce.aws import Aws
from tests.conftest import CloudProcess, wait_for
from tests.local.conftest import Function, MakeFunction

FAILING = "def handler(event, context): print('tried'); raise ValueError('always')"


def tries(function: Function) -> int:
    return function.log_lines().count("tried")


def request_ids(function: Function) -> set[str]:
    return {line.split()[2] for line in function.log_lines() if line.startswith("START ")}


def test_a_failing_event_is_tried_three_times_under_one_request_id(
    make_function: MakeFunction,
) -> None:
    function = make_function(FAILING)
    answer = function.invoke(InvocationType="Event")
    assert answer["StatusCode"] == 202
    assert answer["Payload"] is None
    wait_for(lambda: tries(function) == 3)
    assert request_ids(function) == {answer["ResponseMetadata"]["RequestId"]}


def test_an_event_that_succeeds_is_not_tried_again(
    cloud: CloudProcess, make_function: MakeFunction
) -> None:
    function = make_function("def handler(event, context): print('tried')")
    cloud.add_fault(function.name, "exception", after=True)
    function.invoke(InvocationType="Event")
    wait_for(lambda: tries(function) == 2)
    other = make_function("def handler(event, context): print('tried')")
    other.invoke(InvocationType="Event")
    wait_for(lambda: tries(other) == 1)
    assert tries(function) == 2


def test_the_on_failure_destination_gets_the_record(
    aws: Aws, make_function: MakeFunction, queue: Callable[[], Any]
) -> None:
    function, failures = make_function(FAILING), queue()
    aws.client("lambda").put_function_event_invoke_config(
        FunctionName=function.name,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": failures.arn}},
    )
    answer = function.invoke({"a": "ä"}, InvocationType="Event")
    [message] = wait_for(failures.messages)
    record = json.loads(message["Body"])
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert record["version"] == "1.0"
    assert record["requestContext"] == {
        "requestId": request_id,
        "functionArn": f"{function.arn}:$LATEST",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 1,
    }
    assert record["requestPayload"] == {"a": "ä"}
    assert record["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    assert record["responsePayload"]["errorMessage"] == "always"
    assert record["responsePayload"]["requestId"] == request_id


def test_the_dead_letter_queue_gets_the_event_itself(
    make_function: MakeFunction, queue: Callable[[], Any]
) -> None:
    dead_letters = queue()
    function = make_function(FAILING, DeadLetterConfig={"TargetArn": dead_letters.arn})
    answer = function.invoke({"a": 1}, InvocationType="Event")
    [message] = wait_for(dead_letters.messages)
    assert json.loads(message["Body"]) == {"a": 1}
    attributes = message["MessageAttributes"]
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert attributes["RequestID"]["StringValue"] == request_id
    assert (attributes["ErrorCode"]["DataType"], attributes["ErrorCode"]["StringValue"]) == (
        "Number",
        "200",
    )
    assert attributes["ErrorMessage"]["StringValue"] == "always"


def test_a_throttled_event_waits_for_room(aws: Aws, make_function: MakeFunction) -> None:
    function = make_function("def handler(event, context): print('tried')")
    client = aws.client("lambda")
    client.put_function_concurrency(FunctionName=function.name, ReservedConcurrentExecutions=0)
    function.invoke(InvocationType="Event")
    assert tries(function) == 0
    client.delete_function_concurrency(FunctionName=function.name)
    wait_for(lambda: tries(function) == 1)


@pytest.mark.parametrize("kind", ["exception", "timeout", "memory", "exit"])
@pytest.mark.parametrize("after", [False, True])
def test_a_fault_fails_one_attempt_and_the_next_one_runs(
    cloud: CloudProcess, make_function: MakeFunction, kind: str, after: bool
) -> None:
    function = make_function("def handler(event, context): print('tried')", Timeout=1)
    cloud.add_fault(function.name, kind, after)
    function.invoke(InvocationType="Event")
    wait_for(lambda: tries(function) == (2 if after else 1))
    assert len(request_ids(function)) == 1
