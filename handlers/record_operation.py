"""Write one user operation to DynamoDB: once, however often the step runs for its execution.

The key is the execution's name and the write is conditional, so the state machine may try again
after any failure, also where nobody knows whether the write happened.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.ConditionExpressions.html
"""

import json
import logging
import os
from datetime import datetime
from typing import Any, NoReturn

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from handlers.event_pointer import resolve

LOGGER = logging.getLogger(__name__)

# serverless-resources-env sets CF_<logical ID> to the physical ID, here the table's name.
VARIABLE = "CF_OperationsTable"
MESSAGE = "Records[0].Sns.Message"
# Worst case: 2 attempts x (1 s connect + 2 s read) + at most 1 s between them = 7 s, and before it
# the 4 s of event_pointer: 11 s of the 15 s.
CONFIG = Config(
    connect_timeout=1, read_timeout=2, retries={"mode": "legacy", "total_max_attempts": 2}
)
CLIENT = boto3.client("dynamodb", config=CONFIG)


class InvalidOperation(Exception):
    """The message is no user operation, and no other try will make it one."""


class MissingVariable(Exception):
    """The table's name is not in the environment (yet)."""


class TableUnavailable(Exception):
    """The write failed, or its answer was lost; another try is safe."""


def handler(step: dict[str, Any], context: Any) -> dict[str, str]:
    """Record the operation in the SNS message of ``step["event"]``, or of what that points to.

    ``step`` is ``{"execution_name": str, "retry_count": int, "event": <any JSON>}``.
    Returns ``{"user_id", "operation", "occurred_at"}``, the same on each try. ``details`` stays
    out: the event already carries it, and twice could pass the 262,144 bytes of a state's data.
    Raises InvalidOperation, MissingVariable, TableUnavailable, EventUnavailable, EventGone.
    """
    message = read_message(resolve(step["event"]))
    operation = read_operation(message)
    details = read_details(message)
    recorded = put(
        table_name(), {"execution_name": step["execution_name"], **operation, "details": details}
    )
    LOGGER.info(
        "step",
        extra={
            "execution_name": step["execution_name"],
            "retry_count": step["retry_count"],
            "outcome": "recorded" if recorded else "already_recorded",
        },
    )
    return operation


def read_message(event: Any) -> dict[str, Any]:
    try:
        [record] = event["Records"]
        # By way of a queue, what SNS sent is the message's body, as text.
        text = (json.loads(record["body"]) if "body" in record else record["Sns"])["Message"]
    except (TypeError, KeyError, ValueError, RecursionError) as error:
        raise InvalidOperation("the event is not one SNS message in Records[0].Sns") from error
    if not isinstance(text, str):
        raise InvalidOperation(f"{MESSAGE} must be a string, not {type(text).__name__}")
    try:
        message = json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidOperation(f"{MESSAGE} is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise InvalidOperation(f"{MESSAGE} must be an object, not {type(message).__name__}")
    return message


def refuse_constant(name: str) -> NoReturn:
    # Python reads NaN and Infinity, which JSON does not have and nobody else could read back.
    raise ValueError(f"{name} is not a JSON value")


def read_operation(message: dict[str, Any]) -> dict[str, str]:
    return {
        "user_id": read_text(message, "user_id"),
        "operation": read_text(message, "operation"),
        "occurred_at": read_time(message, "occurred_at"),
    }


def read_text(message: dict[str, Any], field: str) -> str:
    value = message.get(field)
    # The errors name the field, not its value: they end in logs, and the value is the user's.
    if not isinstance(value, str) or not value.strip():
        raise InvalidOperation(f"{MESSAGE}.{field} must be a string that is not empty")
    if not is_unicode(value):
        raise InvalidOperation(f"{MESSAGE}.{field} has half a surrogate pair, which is no text")
    return value


def is_unicode(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def read_time(message: dict[str, Any], field: str) -> str:
    value = read_text(message, field)
    try:
        # fromisoformat takes any letter between date and time; ISO 8601 has only the T.
        zone = datetime.fromisoformat(value).tzinfo if "T" in value else None
    except ValueError:
        zone = None
    if zone is None:
        raise InvalidOperation(
            f"{MESSAGE}.{field} must be an ISO 8601 time with a zone, like 2025-01-31T09:30:00Z"
        )
    return value


def read_details(message: dict[str, Any]) -> str:
    """Return ``details`` as compact JSON text.

    Text, because DynamoDB's own types would change it: numbers have at most 38 digits and
    Python's floats are refused.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html
    """
    try:
        text = json.dumps(
            message.get("details"), ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
    except ValueError as error:
        raise InvalidOperation(f"{MESSAGE}.details has a number past the range of float") from error
    # The backslash form of a lone surrogate (\ud800) is the same string in JSON, and is UTF-8.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def table_name() -> str:
    if name := os.environ.get(VARIABLE):
        return name
    raise MissingVariable(
        f"{VARIABLE} is not set: a deployment may be between the update of the stack and the step "
        "in which serverless-resources-env sets it, or env-resources does not list the resource"
    )


def put(table: str, record: dict[str, str]) -> bool:
    """Write the record unless its execution has one; tell whether this call wrote it."""
    try:
        CLIENT.put_item(
            TableName=table,
            Item={name: {"S": value} for name, value in record.items()},
            ConditionExpression="attribute_not_exists(execution_name)",
        )
    except CLIENT.exceptions.ConditionalCheckFailedException:
        return False
    except (BotoCoreError, ClientError) as error:
        raise TableUnavailable(f"{table}: {error}") from error
    return True
