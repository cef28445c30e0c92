"""Asynchronous events: how often they are tried, when, and what records that one is given up."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.conformance.account import Account, Function, Queue, new_name
from tests.conformance.sources import LAMBDA, LAMBDA_API, documented, recorded

ERRORS = f"{LAMBDA}/invocation-async-error-handling.html"
RECORDS = f"{LAMBDA}/invocation-async-retain-records.html"
SETTINGS = f"{LAMBDA}/invocation-async-configuring.html"
pytestmark = documented(ERRORS)

SAY = "    say(id=context.aws_request_id, at=time.time(), event=event)\n"
FAILING = f"def handler(event, context):\n{SAY}    raise ValueError('always')"
FINE = f"def handler(event, context):\n{SAY}    return 'fine'"
RETRIES = 180
"""Seconds that both pauses take together."""


def failure_queue(account: Account, function: Function, **settings: Any) -> Queue:
    queue = account.queue()
    function.asynchronous(
        DestinationConfig={"OnFailure": {"Destination": queue.arn}},
        **{"MaximumRetryAttempts": 0, **settings},
    )
    return queue


@documented(f"{LAMBDA_API}/API_Invoke.html")
def test_an_event_is_accepted_with_202_and_an_empty_payload(account: Account) -> None:
    answer = account.function(FINE).invoke(InvocationType="Event")
    assert answer.fields["StatusCode"] == 202
    assert answer.body == b""
    assert answer.error is None
    assert "ExecutedVersion" not in answer.fields


@documented(f"{LAMBDA}/invocation-async.html")
def test_the_event_is_handed_over_under_the_answer_s_request_id(account: Account) -> None:
    function = account.function(FINE)
    request_id = function.send({"a": "ä"})
    [said] = function.wait_for_said()
    assert (said["id"], said["event"]) == (request_id, {"a": "ä"})


@recorded("request ID of every attempt of an event")
def test_a_failing_event_is_tried_three_times_under_one_request_id(account: Account) -> None:
    function = account.function(FAILING)
    queue = failure_queue(account, function, MaximumRetryAttempts=2)
    request_id = function.send()
    record = queue.one(clock=RETRIES)
    said = function.wait_for_said(3)
    assert [one["id"] for one in said] == [request_id] * 3
    assert record["requestContext"]["approximateInvokeCount"] == 3


@documented(ERRORS)
def test_the_second_attempt_comes_after_a_minute_and_the_third_after_two(
    account: Account,
) -> None:
    function = account.function(FAILING)
    function.send()
    first, second, third = (one["at"] for one in function.wait_for_said(3, clock=RETRIES))
    pauses = [(second - first) * account.target.speed, (third - second) * account.target.speed]
    assert 50 < pauses[0] < 110
    assert 110 < pauses[1] < 200


def test_an_event_that_succeeds_is_not_tried_again(account: Account) -> None:
    function = account.function(
        f"TRIES = []\ndef handler(event, context):\n    TRIES.append(1)\n{SAY}"
        "    if len(TRIES) == 1: raise ValueError('once')"
    )
    queue = account.queue()
    function.asynchronous(DestinationConfig={"OnSuccess": {"Destination": queue.arn}})
    function.send()
    assert queue.one(clock=60)["requestContext"]["approximateInvokeCount"] == 2
    assert len(function.wait_for_said(2)) == 2


@documented(SETTINGS)
@pytest.mark.parametrize("retries", [0, 1])
def test_the_number_of_retries_can_be_set(account: Account, retries: int) -> None:
    function = account.function(FAILING)
    queue = failure_queue(account, function, MaximumRetryAttempts=retries)
    function.send()
    record = queue.one(clock=60 * retries)
    assert record["requestContext"]["approximateInvokeCount"] == retries + 1
    assert len(function.wait_for_said(retries + 1)) == retries + 1


@pytest.mark.parametrize(
    ("code", "error"),
    [
        pytest.param("time.sleep(30)", "Sandbox.Timedout", id="time-out"),
        pytest.param("os._exit(1)", "Runtime.ExitError", id="exit"),
        pytest.param("b'1' * (400 << 20); time.sleep(30)", "Runtime.ExitError", id="memory"),
    ],
)
def test_every_function_error_is_tried_again(account: Account, code: str, error: str) -> None:
    function = account.function(f"def handler(event, context):\n{SAY}    {code}", Timeout=1)
    queue = failure_queue(account, function, MaximumRetryAttempts=1)
    request_id = function.send()
    record = queue.one(clock=60)
    assert [one["id"] for one in function.wait_for_said(2)] == [request_id] * 2
    assert record["responsePayload"]["errorType"] == error
    assert record["responseContext"]["functionError"] == "Unhandled"


@documented(f"{LAMBDA_API}/API_UpdateFunctionCode.html")
def test_a_retry_runs_the_code_of_its_own_time(account: Account) -> None:
    function = account.function(FAILING)
    function.send()
    function.wait_for_said()
    function.update_code(f"def handler(event, context):\n{SAY}    say(mended=True)")
    said = function.wait_for_said(3, clock=60)
    assert said[-1] == {"mended": True}
    assert said[0]["id"] == said[1]["id"]


@documented(RECORDS)
def test_the_on_failure_record_of_an_exception(account: Account) -> None:
    function = account.function(FAILING)
    queue = failure_queue(account, function)
    request_id = function.send({"a": "ä"})
    record = queue.one()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record.pop("timestamp"))
    payload = record.pop("responsePayload")
    assert record == {
        "version": "1.0",
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"{function.arn}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"a": "ä"},
        "responseContext": {
            "statusCode": 200,
            "executedVersion": "$LATEST",
            "functionError": "Unhandled",
        },
    }
    assert set(payload) == {"errorMessage", "errorType", "requestId", "stackTrace"}
    assert (payload["errorType"], payload["requestId"]) == ("ValueError", request_id)


@documented(RECORDS)
def test_the_on_failure_record_of_a_time_out(account: Account) -> None:
    function = account.function("def handler(event, context): time.sleep(30)", Timeout=1)
    queue = failure_queue(account, function)
    request_id = function.send()
    assert queue.one()["responsePayload"] == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {request_id} Error: Task timed out after 1.00 seconds",
    }


@documented(RECORDS)
def test_the_on_success_record(account: Account) -> None:
    function, queue = account.function(FINE), account.queue()
    function.asynchronous(DestinationConfig={"OnSuccess": {"Destination": queue.arn}})
    request_id = function.send({"a": 1})
    record = queue.one()
    del record["timestamp"]
    assert record == {
        "version": "1.0",
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"{function.arn}:$LATEST",
            "condition": "Success",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"a": 1},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST"},
        "responsePayload": "fine",
    }


@documented(RECORDS)
def test_synchronous_invocations_have_no_destination(account: Account) -> None:
    function = account.function(FAILING)
    queue = failure_queue(account, function)
    function.invoke("synchronous")
    function.send("asynchronous")
    assert queue.one()["requestPayload"] == "asynchronous"


@documented(RECORDS)
def test_a_topic_can_be_the_destination(account: Account) -> None:
    function, topic, queue = account.function(FAILING), account.topic(), account.queue()
    topic.to_queue(queue)
    function.asynchronous(
        MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": topic.arn}}
    )
    request_id = function.send({"a": 1})
    record = json.loads(queue.one()["Message"])
    assert record["requestContext"]["requestId"] == request_id
    assert record["requestPayload"] == {"a": 1}


@documented(RECORDS)
@pytest.mark.parametrize("kind", ["OnFailure", "OnSuccess"])
def test_a_function_can_be_the_destination(account: Account, kind: str) -> None:
    function = account.function(FAILING if kind == "OnFailure" else FINE)
    other = account.function("def handler(event, context): say(**event)")
    function.asynchronous(
        MaximumRetryAttempts=0, DestinationConfig={kind: {"Destination": other.arn}}
    )
    request_id = function.send({"a": 1})
    [record] = other.wait_for_said()
    assert record["requestContext"]["requestId"] == request_id
    assert record["requestPayload"] == {"a": 1}
    assert ("functionError" in record["responseContext"]) == (kind == "OnFailure")


@recorded("message of a dead-letter queue")
def test_the_dead_letter_queue_gets_the_event_itself(account: Account) -> None:
    queue = account.queue()
    function = account.function(FAILING, DeadLetterConfig={"TargetArn": queue.arn})
    function.asynchronous(MaximumRetryAttempts=0)
    request_id = function.send({"a": "ä"})
    [message] = queue.wait_for()
    assert json.loads(message["Body"]) == {"a": "ä"}
    attributes = {
        name: (attribute["DataType"], attribute["StringValue"])
        for name, attribute in message["MessageAttributes"].items()
    }
    assert attributes == {
        "RequestID": ("String", request_id),
        "ErrorCode": ("Number", "200"),
        "ErrorMessage": ("String", "always"),
    }


@documented(RECORDS)
def test_a_topic_can_take_the_dead_letters(account: Account) -> None:
    topic, queue = account.topic(), account.queue()
    topic.to_queue(queue)
    function = account.function(FAILING, DeadLetterConfig={"TargetArn": topic.arn})
    function.asynchronous(MaximumRetryAttempts=0)
    request_id = function.send({"a": 1})
    notification = queue.one()
    assert json.loads(notification["Message"]) == {"a": 1}
    attributes = notification["MessageAttributes"]
    assert attributes["RequestID"] == {"Type": "String", "Value": request_id}
    assert attributes["ErrorMessage"]["Value"] == "always"


@documented(RECORDS)
def test_destination_and_dead_letter_queue_both_get_theirs(account: Account) -> None:
    dead_letters = account.queue()
    function = account.function(FAILING, DeadLetterConfig={"TargetArn": dead_letters.arn})
    failures = failure_queue(account, function)
    function.send({"a": 1})
    assert failures.one()["requestPayload"] == {"a": 1}
    assert dead_letters.one() == {"a": 1}


BUSY = (
    "def handler(event, context):\n"
    "    say(id=context.aws_request_id, event=event)\n"
    "    time.sleep(event)"
)


@documented(ERRORS)
def test_a_throttled_event_waits_for_room(account: Account) -> None:
    function = account.function(BUSY)
    function.reserve(1)
    function.send(3)
    function.wait_for_said()
    waiting = function.send(0)
    said = function.wait_for_said(2, clock=30)
    assert said[1] == {"id": waiting, "event": 0}


@documented(ERRORS)
def test_throttles_are_no_attempts(account: Account) -> None:
    function, queue = account.function(BUSY), account.queue()
    function.asynchronous(
        MaximumRetryAttempts=0, DestinationConfig={"OnSuccess": {"Destination": queue.arn}}
    )
    function.reserve(1)
    function.send(2)
    function.wait_for_said()
    waiting = function.send(0)
    queue.wait_for(2, clock=30)
    records = {record["requestContext"]["requestId"]: record for record in bodies(queue)}
    assert records[waiting]["requestContext"]["approximateInvokeCount"] == 1


def bodies(queue: Queue) -> list[Any]:
    return [json.loads(message["Body"]) for message in queue.received]


@documented(SETTINGS)
def test_an_event_that_is_too_old_is_given_up(account: Account) -> None:
    # It fails, and its second retry would come after more than a minute.
    function = account.function(FAILING)
    queue = failure_queue(account, function, MaximumRetryAttempts=2, MaximumEventAgeInSeconds=100)
    request_id = function.send({"a": 1})
    record = queue.one(clock=RETRIES)
    assert record["requestContext"]["condition"] == "EventAgeExceeded"
    assert record["requestContext"]["requestId"] == request_id
    assert record["requestPayload"] == {"a": 1}
    assert len(function.wait_for_said(2)) == 2


@documented(RECORDS)
def test_with_no_concurrency_an_event_goes_to_the_destination_at_once(
    account: Account,
) -> None:
    function = account.function(FINE)
    queue = failure_queue(account, function, MaximumRetryAttempts=2)
    function.reserve(0)
    request_id = function.send({"a": 1})
    record = queue.one(clock=30)
    assert record["requestContext"]["requestId"] == request_id
    assert record["requestPayload"] == {"a": 1}
    assert function.said() == []


@documented(f"{LAMBDA}/configuration-concurrency.html")
def test_events_of_a_function_with_one_environment_all_run(account: Account) -> None:
    function = account.function(BUSY)
    function.reserve(1)
    sent = {function.send(0) for _ in range(5)}
    assert {one["id"] for one in function.wait_for_said(5, clock=60)} == sent


@documented(f"{LAMBDA_API}/API_PutFunctionEventInvokeConfig.html")
def test_the_settings_are_kept_changed_and_removed(account: Account) -> None:
    function, queue, client = account.function(FINE), account.queue(), account.client("lambda")
    destinations = {"OnFailure": {"Destination": queue.arn}}
    function.asynchronous(MaximumRetryAttempts=1, DestinationConfig=destinations)
    named = {"FunctionName": function.name}
    client.update_function_event_invoke_config(**named, MaximumEventAgeInSeconds=600)
    found = client.get_function_event_invoke_config(**named)
    assert found["FunctionArn"] == f"{function.arn}:$LATEST"
    assert (found["MaximumRetryAttempts"], found["MaximumEventAgeInSeconds"]) == (1, 600)
    assert found["DestinationConfig"]["OnFailure"] == destinations["OnFailure"]
    client.delete_function_event_invoke_config(**named)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function_event_invoke_config(**named)


@documented(
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/"
    "aws-resource-lambda-eventinvokeconfig.html"
)
def test_a_template_can_set_destination_and_dead_letter_queue(account: Account) -> None:
    failures, dead_letters = account.queue(), account.queue()
    resources = {
        "Function": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Runtime": "python3.13",
                "Handler": "index.handler",
                "Role": account.default_role,
                "Code": {"ZipFile": "def handler(event, context): raise ValueError('always')"},
                "DeadLetterConfig": {"TargetArn": dead_letters.arn},
            },
        },
        "Settings": {
            "Type": "AWS::Lambda::EventInvokeConfig",
            "Properties": {
                "FunctionName": {"Ref": "Function"},
                "Qualifier": "$LATEST",
                "MaximumRetryAttempts": 0,
                "DestinationConfig": {"OnFailure": {"Destination": failures.arn}},
            },
        },
    }
    name = create_stack(account, resources)
    account.client("lambda").invoke(
        FunctionName=name, Payload=json.dumps({"a": 1}), InvocationType="Event"
    )
    assert failures.one()["requestPayload"] == {"a": 1}
    assert dead_letters.one() == {"a": 1}


def create_stack(account: Account, resources: dict[str, Any]) -> str:
    """Makes the stack; the function's name."""
    client, name = account.client("cloudformation"), new_name("stack")
    template = {"Resources": resources, "Outputs": {"Name": {"Value": {"Ref": "Function"}}}}
    client.create_stack(StackName=name, TemplateBody=json.dumps(template))
    account.defer(lambda: client.delete_stack(StackName=name))

    def look() -> dict[str, Any] | None:
        stack: dict[str, Any] = client.describe_stacks(StackName=name)["Stacks"][0]
        assert "ROLLBACK" not in stack["StackStatus"], stack
        return stack if stack["StackStatus"] == "CREATE_COMPLETE" else None

    stack = account.wait_for(look, what="the stack")
    return str(stack["Outputs"][0]["OutputValue"])
