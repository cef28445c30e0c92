"""Start one Step Functions execution for an event, however often Lambda runs this for it.

Why the execution's name is the request ID: Lambda runs an asynchronous event up to three times,
each time with the same request ID, and can deliver it again even after it succeeded. Step
Functions accepts a name once in 90 days. So a second attempt cannot start a second execution.

Why STANDARD and not EXPRESS: only STANDARD state machines check the name; an EXPRESS one starts
another execution each time, and the whole protection is gone without any error.
https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
"""

import json
import logging
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
from botocore.config import Config

LOGGER = logging.getLogger(__name__)

# serverless-resources-env sets CF_<logical ID> to the physical ID, here the state machine's ARN.
VARIABLE = "CF_OperationLog"
# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
MAX_INPUT_BYTES = 262_144
# Room for two clocks that disagree. It must stay well under the 60 s that Lambda waits before the
# first retry, or an execution that an earlier attempt started would look like this attempt's.
CLOCK_TOLERANCE = timedelta(seconds=1)
# Worst case: 2 attempts x (0.5 s connect + 1 s read) + at most 1 s between them = 4 s of the 5 s.
# "legacy", because "standard" obeys a server's x-amz-retry-after, which may add another 5 s.
CONFIG = Config(
    connect_timeout=0.5, read_timeout=1, retries={"mode": "legacy", "total_max_attempts": 2}
)
# Once per environment, outside the handler: the initialization's time is not the attempt's.
CLIENT = boto3.client("stepfunctions", config=CONFIG)


class MissingVariable(Exception):
    """The state machine's ARN is not in the environment (yet)."""


class EventTooLarge(Exception):
    """The event is more than an execution's input can hold."""


class NoSuchStateMachine(Exception):
    """The variable names a state machine that does not exist."""


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Start the execution named ``context.aws_request_id`` with the event as its input.

    ``event`` is any JSON value. Returns ``{"executionArn": str, "started": bool}``; ``started`` is
    false where an earlier attempt for the same event started the execution.
    Raises MissingVariable, EventTooLarge, NoSuchStateMachine or botocore's error, so that Lambda
    tries again and hands the event to the failure queue in the end.
    """
    line: dict[str, Any] = {"request_id": context.aws_request_id, "execution_arn": None}
    line |= {"message_id": sns_message_id(event), "outcome": "failed"}
    try:
        state_machine = state_machine_arn()
        line["execution_arn"] = execution_arn(state_machine, context.aws_request_id)
        started = start(state_machine, context.aws_request_id, to_input(event))
        line["outcome"] = "started" if started else "already_started"
    except Exception as error:
        line["error"] = type(error).__name__
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


def execution_arn(state_machine: str, name: str) -> str:
    head, _, machine_name = state_machine.rpartition(":stateMachine:")
    return f"{head}:execution:{machine_name}:{name}"


def to_input(event: Any) -> str:
    """Return the event as compact UTF-8 JSON; raises EventTooLarge past 262,144 bytes."""
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate has no UTF-8 form; its backslash form (\ud800) is the same string in JSON.
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > MAX_INPUT_BYTES:
        raise EventTooLarge(f"the event has {len(data)} bytes, the limit is {MAX_INPUT_BYTES}")
    return data.decode("utf-8")


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
