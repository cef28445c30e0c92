"""Publish a notification of a recorded operation to a topic.

Nobody can take a notification back, so nothing here tries twice: not the state machine (but where
the function did not run), and not the SDK. What could not be published ends in the failure queue.
https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
"""

import json
import logging
import os
from typing import Any

import boto3
from botocore.config import Config

LOGGER = logging.getLogger(__name__)

# serverless-resources-env sets CF_<logical ID> to the physical ID, here the topic's ARN.
VARIABLE = "CF_NotificationTopic"
# One attempt: where SNS took the message and its answer was lost, a retry of the SDK would publish
# it again. 2 s connect + 5 s read = 7 s of the function's 10 s.
CONFIG = Config(
    connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 1}
)
CLIENT = boto3.client("sns", config=CONFIG)


class MissingVariable(Exception):
    """The topic's ARN is not in the environment (yet)."""


def handler(step: dict[str, Any], context: Any) -> dict[str, str]:
    """Publish the operation as JSON, and return ``{"message_id": str}``.

    ``step`` is ``{"execution_name": str, "retry_count": int, "operation": {"user_id",
    "operation", "occurred_at"}}``. The message has the attribute ``execution_name``: SNS itself
    delivers at least once, and a subscriber can tell a duplicate by it.
    Raises MissingVariable or botocore's error.
    """
    name = step["execution_name"]
    answer = CLIENT.publish(
        TopicArn=topic_arn(),
        Message=json.dumps({"execution_name": name, **step["operation"]}, ensure_ascii=False),
        MessageAttributes={"execution_name": {"DataType": "String", "StringValue": name}},
    )
    LOGGER.info(
        "step",
        extra={
            "execution_name": name,
            "retry_count": step["retry_count"],
            "outcome": "published",
            "message_id": answer["MessageId"],
        },
    )
    return {"message_id": answer["MessageId"]}


def topic_arn() -> str:
    if arn := os.environ.get(VARIABLE):
        return arn
    raise MissingVariable(
        f"{VARIABLE} is not set: a deployment may be between the update of the stack and the step "
        "in which serverless-resources-env sets it, or env-resources does not list the resource"
    )
