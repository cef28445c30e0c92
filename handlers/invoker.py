"""Start one Step Functions execution for an event, however often Lambda runs this for it.

The execution's name is the request ID: Lambda runs an asynchronous event up to three times, and
again even after it succeeded, each time with the same request ID. Step Functions takes a name once
in 90 days, so a second attempt cannot start a second execution. With EXECUTION_NAME=messageId it is
SNS's message ID, which SNS's own duplicates share; an event without one goes by its request ID.

Only STANDARD state machines check the name: an EXPRESS one starts an execution each time.
https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
"""

import functools
import json
import logging
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config

LOGGER = logging.getLogger(__name__)

# serverless-resources-env sets CF_<logical ID> to the physical ID: the state machine's ARN, and the
# name of the bucket for large events, which is not set where there is none.
VARIABLE = "CF_OperationLog"
BUCKET_VARIABLE = "CF_LargeEventsBucket"
MAX_INPUT_BYTES = 262_144 - 1_024  # a task's input has the limit too, and holds more than the event
POINTER = "software.amazon.payloadoffloading.PayloadS3Pointer"
# Room for two clocks that disagree. It must stay well under the 60 s that Lambda waits before the
# first retry, or an execution that an earlier attempt started would look like this attempt's.
CLOCK_TOLERANCE = timedelta(seconds=1)
# Worst case: 2 attempts x (0.5 s connect + 0.75 s read) + at most 1 s between = 3.5 s of the 5 s,
# and 1.25 s for S3 (made with the first large event). "legacy": "standard" may wait up to 5 s more.
CONFIG = Config(
    connect_timeout=0.5, read_timeout=0.75, retries={"mode": "legacy", "total_max_attempts": 2}
)
ONCE = CONFIG.merge(Config(retries={"mode": "legacy", "total_max_attempts": 1}))
CLIENT = boto3.client("stepfunctions", config=CONFIG)
S3 = functools.cache(lambda: boto3.client("s3", config=ONCE))


class MissingVariable(Exception):
    """The state machine's ARN is not in the environment (yet)."""


class EventTooLarge(Exception):
    """An execution's input cannot hold the event, and there is no bucket for it."""


class NoSuchStateMachine(Exception):
    """The variable names a state machine that does not exist."""


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Start the execution for ``event``, any JSON value: ``{"executionArn", "started": bool}``.

    ``started`` is false where an earlier attempt for the same event started the execution.
    Raises MissingVariable, EventTooLarge, NoSuchStateMachine or botocore's error, so that Lambda
    tries again and hands the event to the failure queue in the end.
    """
    request_id, message_id = context.aws_request_id, sns_message_id(event)
    name = (os.environ.get("EXECUTION_NAME") == "messageId" and message_id) or request_id
    line = {"request_id": request_id, "message_id": message_id, "execution_arn": None}
    try:
        state_machine = state_machine_arn()
        line["execution_arn"] = state_machine.replace(":stateMachine:", ":execution:") + f":{name}"
        started = start(state_machine, name, to_input(event, name))
        line["outcome"] = "started" if started else "already_started"
    except Exception as error:
        line |= {"outcome": "failed", "error": type(error).__name__}
        raise
    finally:
        LOGGER.log(logging.ERROR if "error" in line else logging.INFO, "attempt", extra=line)
    return {"executionArn": line["execution_arn"], "started": started}


def state_machine_arn() -> str:
    if arn := os.environ.get(VARIABLE):
        return arn
    raise MissingVariable(
        f"{VARIABLE} is not set: a deployment may be between the update of the stack and the step "
        "in which serverless-resources-env sets it, or env-resources does not list the resource"
    )


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


def sns_message_id(event: Any) -> str | None:
    try:
        message_id = event["Records"][0]["Sns"]["MessageId"]
    except (TypeError, KeyError, IndexError):
        return None
    return message_id if isinstance(message_id, str) else None
