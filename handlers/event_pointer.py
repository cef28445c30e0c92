"""Get the event for a step: the execution's input, or what it points to.

An execution's input has at most 262,144 bytes. The invoker puts a larger event into a bucket, and
the input is a pointer to it, in the form of AWS's extended client libraries for SQS and SNS:
``["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": …, "s3Key": …}]``.
https://github.com/awslabs/payload-offloading-java-common-lib-for-aws

A step calls ``resolve(event)`` first. Its role needs s3:GetObject on the bucket's objects.
"""

import functools
import json
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

POINTER = "software.amazon.payloadoffloading.PayloadS3Pointer"
# S3 answers 403, and not 404, to a role that may read but not list, where there is no object. A
# role that may not read at all gets the same, and no other try will mend that either.
# https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
GONE = {"NoSuchKey", "NoSuchBucket", "AccessDenied"}
# Worst case: 2 attempts x (0.5 s connect + 1 s read) + at most 1 s between them = 4 s. A step's
# time-out must leave room for it.
CONFIG = Config(
    connect_timeout=0.5, read_timeout=1, retries={"mode": "legacy", "total_max_attempts": 2}
)
# Once per environment, with the first large event: most environments never see one.
S3 = functools.cache(lambda: boto3.client("s3", config=CONFIG))


class EventUnavailable(Exception):
    """S3 did not give the event, and may give it to another try: for a Retry."""


class EventGone(Exception):
    """The event is not in the bucket (any more), or the role may not read it: not for a Retry."""


def resolve(event: Any) -> Any:
    """Return ``event`` itself, or the event that it points to.

    Raises EventUnavailable, EventGone.
    """
    pointer = read_pointer(event)
    return event if pointer is None else json.loads(read_object(*pointer))


def read_pointer(event: Any) -> tuple[str, str] | None:
    match event:
        case [str(kind), {"s3BucketName": str(bucket), "s3Key": str(key)}] if kind == POINTER:
            return bucket, key
    return None


def read_object(bucket: str, key: str) -> bytes:
    try:
        data: bytes = S3().get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        kind = EventGone if error.response["Error"]["Code"] in GONE else EventUnavailable
        raise kind(f"s3://{bucket}/{key}: {error}") from error
    except BotoCoreError as error:
        raise EventUnavailable(f"s3://{bucket}/{key}: {error}") from error
    return data
