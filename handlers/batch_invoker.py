"""Start one Step Functions execution for each record of a batch from SQS, Kinesis or DynamoDB.

Lambda polls these sources, and hands a batch again until it is done: each attempt has another
request ID and perhaps another batch. So the execution's name is what the record itself is called:

- SQS: the message ID. With EXECUTION_NAME=messageId, and where the body is what SNS sent to the
  queue, it is SNS's message ID, which SNS's own duplicates share: for SQS they are two messages.
- Kinesis: the event ID, "shardId-000000000006:4959…"; names have no colons, so "_" is put there.
- DynamoDB: the event ID.

Step Functions takes a name once in 90 days, if the state machine is STANDARD. A stream keeps
records for longer than that only if you tell it to (Kinesis, up to a year).
https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html

The input is ``{"Records": [record]}``: what a batch of one would be.

The event source mapping needs ReportBatchItemFailures: the answer names the records that failed,
and only those come again. https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html

Where the source keeps an order, so do the starts: after the first failure of a FIFO queue's group,
or of a batch from a stream, nothing later of it is started, and all of it is reported. (Lambda goes
back to the lowest sequence number.)

``state_machine_arn``, ``to_input`` and ``start`` are invoker.py's, word for word, with what they
use; a test compares them. They stand in both files, so that each can be copied alone: a module that
both import would be one more file to copy, and one that a copy of the other does not need.
"""

import functools
import hashlib
import json
import logging
import os
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import boto3
from botocore.config import Config

LOGGER = logging.getLogger(__name__)

# serverless-resources-env sets CF_<logical ID> to the physical ID: the state machine's ARN, and the
# name of the bucket for large events, which is not set where there is none.
VARIABLE = "CF_OperationLog"
BUCKET_VARIABLE = "CF_LargeEventsBucket"
MAX_INPUT_BYTES = 262_144 - 1_024  # a task's input has the limit too, and holds more than the event
MAX_NAME_LENGTH = 80
POINTER = "software.amazon.payloadoffloading.PayloadS3Pointer"
# Room for two clocks that disagree. A stream's batch may come again sooner, and then a record whose
# execution runs looks like one that this attempt started: a wrong word in the log, and no more.
CLOCK_TOLERANCE = timedelta(seconds=1)
# Worst case: 2 services x (2 attempts x (0.5 s connect + 1 s read) + at most 1 s between) = 8 s for
# a record. "legacy", because "standard" obeys a server's x-amz-retry-after, up to another 5 s.
CONFIG = Config(
    connect_timeout=0.5, read_timeout=1, retries={"mode": "legacy", "total_max_attempts": 2}
)
# What must be left to begin with a record: the worst case, and making the client for S3. A batch of
# ten takes half a second as a rule; where it does not, what is left over is tried again.
MILLISECONDS_FOR_A_RECORD = 10_000
# Once per environment: this one at its start, S3's with the first large event, if one ever comes.
CLIENT = boto3.client("stepfunctions", config=CONFIG)
S3 = functools.cache(lambda: boto3.client("s3", config=CONFIG))


class MissingVariable(Exception):
    """The state machine's ARN is not in the environment (yet)."""


class UnknownSource(Exception):
    """The event is no batch of SQS, Kinesis or DynamoDB."""


class EventTooLarge(Exception):
    """An execution's input cannot hold the event, and there is no bucket for it."""


class NoSuchStateMachine(Exception):
    """The variable names a state machine that does not exist."""


class EarlierRecordFailed(Exception):
    """A record that must be started before this one was not."""


class OutOfTime(Exception):
    """The function would be stopped before it knew whether the record's execution has started."""


class Item(NamedTuple):
    """A record.

    ``record_id`` is its identifier in the answer, and ``order`` what it keeps an order in, if any.
    """

    record: dict[str, Any]
    name: str
    record_id: str
    order: str | None = None
    message_id: str | None = None


def handler(event: Any, context: Any) -> dict[str, list[dict[str, str]]]:
    """Start the records' executions: ``{"batchItemFailures": [{"itemIdentifier": str}]}``.

    Raises MissingVariable or UnknownSource, for the batch as a whole. Whatever stops one record is
    in the log, and the record in the answer.
    """
    state_machine = state_machine_arn()
    failed: list[str] = []
    stopped: set[str] = set()
    for item in read_batch(event):
        if not attempt(state_machine, item, stopped, context):
            failed.append(item.record_id)
            stopped |= {item.order} if item.order is not None else set()
    return {"batchItemFailures": [{"itemIdentifier": record_id} for record_id in failed]}


def attempt(state_machine: str, item: Item, stopped: set[str], context: Any) -> bool:
    """Start the record's execution; tell whether there is one. Writes one line."""
    line = {"request_id": context.aws_request_id, "record_id": item.record_id}
    arn = f"{state_machine.replace(':stateMachine:', ':execution:')}:{item.name}"
    line |= {"message_id": item.message_id, "execution_arn": arn}
    try:
        if item.order in stopped:
            raise EarlierRecordFailed
        if context.get_remaining_time_in_millis() < MILLISECONDS_FOR_A_RECORD:
            raise OutOfTime
        started = start(state_machine, item.name, to_input({"Records": [item.record]}, item.name))
        line["outcome"] = "started" if started else "already_started"
    except Exception as error:
        # Nothing else says why: to Lambda the batch has succeeded.
        line |= {"outcome": "failed", "error": type(error).__name__, "reason": str(error)}
    LOGGER.log(logging.ERROR if "error" in line else logging.INFO, "record", extra=line)
    return "error" not in line


def state_machine_arn() -> str:
    if arn := os.environ.get(VARIABLE):
        return arn
    raise MissingVariable(
        f"{VARIABLE} is not set: a deployment may be between the update of the stack and the step "
        "in which serverless-resources-env sets it, or env-resources does not list the resource"
    )


def read_batch(event: Any) -> list[Item]:
    try:
        return [read_record(record) for record in event["Records"]]
    except (TypeError, KeyError) as error:
        raise UnknownSource("the event is no batch of SQS, Kinesis or DynamoDB") from error


def read_record(record: dict[str, Any]) -> Item:
    match record["eventSource"]:
        case "aws:sqs":
            return read_message(record)
        case "aws:kinesis":
            number = record["kinesis"]["sequenceNumber"]
        case "aws:dynamodb":
            number = record["dynamodb"]["SequenceNumber"]
        case source:
            raise UnknownSource(f"{source} is not SQS, Kinesis or DynamoDB")
    # A batch of a stream is of one shard, which has one order.
    return Item(record, to_name(record["eventID"]), number, order=record["eventSourceARN"])


def read_message(record: dict[str, Any]) -> Item:
    message_id = sns_message_id(record)
    by_message = message_id if os.environ.get("EXECUTION_NAME") == "messageId" else None
    name = to_name(by_message or record["messageId"])
    return Item(record, name, record["messageId"], fifo_group(record), message_id)


def sns_message_id(record: dict[str, Any]) -> str | None:
    """Return SNS's message ID, if it was SNS that sent the message to the queue."""
    try:
        sent = json.loads(record["body"])
        message_id = sent["MessageId"] if sent["Type"] == "Notification" else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return message_id if isinstance(message_id, str) else None


def fifo_group(record: dict[str, Any]) -> str | None:
    # A standard queue's messages can have a group too, which is for fairness, and keeps no order.
    fifo = record["eventSourceARN"].endswith(".fifo")
    return record["attributes"]["MessageGroupId"] if fifo else None


def to_name(record_id: str) -> str:
    """Return the execution's name: another one for each ID, as the IDs have no "_" themselves."""
    name = record_id.replace(":", "_")
    # Kinesis' sequence numbers have 56 digits, and may have 129.
    return name if len(name) <= MAX_NAME_LENGTH else hashlib.sha256(name.encode()).hexdigest()


def to_input(event: Any, name: str) -> str:
    """Return the event as compact JSON; past the limit, a pointer as AWS's SQS client writes it."""
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate has no UTF-8 form; its backslash form (\ud800) is the same string in JSON.
    data = text.encode("utf-8", "backslashreplace")
    if len(data) <= MAX_INPUT_BYTES:
        return data.decode()
    if not (bucket := os.environ.get(BUCKET_VARIABLE)):
        problem = f"the event has {len(data)} bytes, the limit is {MAX_INPUT_BYTES}"
        raise EventTooLarge(f"{problem}: the parameter largeEvents=bucket makes room in S3")
    S3().put_object(Bucket=bucket, Key=name, Body=data)
    return json.dumps([POINTER, {"s3BucketName": bucket, "s3Key": name}])


def start(state_machine: str, name: str, text: str) -> bool:
    """Start the execution; tell whether it was this attempt that started it."""
    began = datetime.now(UTC)
    try:
        answer = CLIENT.start_execution(stateMachineArn=state_machine, name=name, input=text)
    except CLIENT.exceptions.ExecutionAlreadyExists:
        return False
    except CLIENT.exceptions.StateMachineDoesNotExist as error:
        raise NoSuchStateMachine(f"{VARIABLE} is {state_machine}: no such machine") from error
    # While the first execution runs, AWS answers 200 to its name and input, with its start date.
    return bool(answer["startDate"] >= began - CLOCK_TOLERANCE)
