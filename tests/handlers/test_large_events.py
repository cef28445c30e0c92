"""An event of any size comes to its steps as it was sent, byte for byte."""

import json
from types import ModuleType
from typing import Any

import pytest

LIMIT = 262_144 - 1_024
KIB = 1024
NEAR = range(LIMIT - 64, LIMIT + 65)
FAR = range(200 * KIB, 400 * KIB, 997)
# Each with the bytes that it takes in compact JSON.
LETTERS = {
    "ascii": ("a", 1),
    "two bytes": ("é", 2),
    "three bytes": ("語", 3),
    "four bytes": ("🎉", 4),
    "quote": ('"', 2),
    "line end": ("\n", 2),
    "control": ("\x01", 6),
    "half a surrogate pair": ("\ud800", 6),
}


def event_of(size: int, letter: str, width: int) -> dict[str, Any]:
    """An SNS event that has ``size`` bytes in compact JSON."""
    event = {"Records": [{"Sns": {"MessageId": "m-1", "Message": ""}}]}
    room = size - len(json.dumps(event, separators=(",", ":")))
    event["Records"][0]["Sns"]["Message"] = letter * (room // width) + "a" * (room % width)
    return event


def sqs_batch_of(size: int, letter: str, width: int) -> dict[str, Any]:
    record = {"messageId": "m-1", "eventSource": "aws:sqs", "eventSourceARN": "q", "body": ""}
    event = {"Records": [record]}
    room = size - len(json.dumps(event, separators=(",", ":")))
    record["body"] = letter * (room // width) + "a" * (room % width)
    return event


def inputs_of(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What goes to StartExecution; the executions themselves are not needed here."""
    sent: list[dict[str, Any]] = []
    answer = module.CLIENT.start_execution

    def start_execution(**arguments: Any) -> Any:
        sent.append(arguments)
        return answer(**{**arguments, "name": f"e-{len(sent)}", "input": "{}"})

    monkeypatch.setattr(module.CLIENT, "start_execution", start_execution)
    return sent


@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize("handler", ["invoker", "batch_invoker"])
def test_each_size_comes_through(
    load: Any,
    bucket: Any,
    state_machine: str,
    context: Any,
    monkeypatch: pytest.MonkeyPatch,
    handler: str,
    letter: str,
) -> None:
    module, pointers = load(handler), load("event_pointer")
    sent = inputs_of(module, monkeypatch)
    build = event_of if handler == "invoker" else sqs_batch_of
    for size in [*NEAR, *FAR]:
        event = build(size, *LETTERS[letter])
        answer = module.handler(event, context)
        assert answer.get("batchItemFailures", []) == []
        text, name = sent[-1]["input"], sent[-1]["name"]
        assert len(text.encode()) <= LIMIT
        given = json.loads(text)
        if size <= LIMIT:
            assert len(text.encode()) == size
            assert given == event
        else:
            assert given[1] == {"s3BucketName": bucket.name, "s3Key": name}
            assert bucket.Object(name).content_length == size
        assert pointers.resolve(given) == event


def test_the_input_is_just_what_aws_s_own_client_sends(
    load: Any, bucket: Any, state_machine: str, stepfunctions: Any, context: Any
) -> None:
    arn = load("invoker").handler(event_of(LIMIT + 1, "a", 1), context)["executionArn"]
    assert json.loads(stepfunctions.describe_execution(executionArn=arn)["input"]) == [
        "software.amazon.payloadoffloading.PayloadS3Pointer",
        {"s3BucketName": bucket.name, "s3Key": context.aws_request_id},
    ]


def test_an_event_of_lambda_s_own_limit_comes_through(
    load: Any, bucket: Any, state_machine: str, stepfunctions: Any, context: Any
) -> None:
    event = event_of(1_048_576, "語", 3)
    arn = load("invoker").handler(event, context)["executionArn"]
    given = json.loads(stepfunctions.describe_execution(executionArn=arn)["input"])
    assert load("event_pointer").resolve(given) == event


@pytest.mark.parametrize("size", [LIMIT + 1, 400 * KIB])
def test_without_a_bucket_one_byte_more_is_too_large(
    load: Any, state_machine: str, context: Any, size: int
) -> None:
    invoker = load("invoker")
    with pytest.raises(invoker.EventTooLarge, match=f"{size} bytes"):
        invoker.handler(event_of(size, "a", 1), context)
