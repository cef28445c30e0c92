"""S3 tells functions what became of objects.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

from moto.awslambda.exceptions import UnknownFunctionException
from moto.s3.exceptions import BucketNotEmpty
from moto.s3.models import FakeBucket, s3_backends
from moto.utilities.utils import get_partition

from startonce.local.aws_text import time_text
from startonce.local.functions.lambda_service import LocalLambdaBackend, new_invocation
from startonce.local.iam.permissions import AccessDeniedError, Permissions
from startonce.local.iam.policy import Access, NotEvaluatedError

_PRINCIPAL = "local"
_KINDS = {
    "LambdaConfigurations": ("CloudFunctionConfiguration", "Function", "CloudFunction"),
    "QueueConfigurations": ("QueueConfiguration", "Queue", "Queue"),
    "TopicConfigurations": ("TopicConfiguration", "Topic", "Topic"),
}

_order = itertools.count(1)
_log = logging.getLogger(__name__)


class BucketResource(FakeBucket):
    """A bucket from a template, with the notifications that moto leaves out."""

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> FakeBucket:
        """``AWS::S3::Bucket``."""
        bucket = super().create_from_cloudformation_json(
            resource_name, cloudformation_json, account_id, region_name, **kwargs
        )
        _set_notifications(bucket, cloudformation_json)
        return bucket

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
    ) -> FakeBucket:
        """The notifications are what the template says now."""
        bucket = super().update_from_cloudformation_json(
            original_resource, new_resource_name, cloudformation_json, account_id, region_name
        )
        _set_notifications(bucket, cloudformation_json)
        return bucket

    @classmethod
    def delete_from_cloudformation_json(
        cls, resource_name: str, cloudformation_json: Any, account_id: str, region_name: str
    ) -> None:
        """Raises BucketNotEmpty, where moto leaves the bucket there and says nothing."""
        backend = s3_backends[account_id][get_partition(region_name)]
        if backend.delete_bucket(resource_name) is None:
            raise BucketNotEmpty(resource_name)


def describe(event_name: str, bucket: Any, key: Any, notification_id: str) -> dict[str, Any]:
    """The event, with the parts that moto leaves out."""
    thing: dict[str, Any] = {"key": quote_plus(key.name, safe="/")}
    if not event_name.startswith("s3:ObjectRemoved"):
        thing |= {"size": key.size, "eTag": key.etag.replace('"', "")}
    if bucket.versioning_status == "Enabled":
        thing["versionId"] = key.version_id
    thing["sequencer"] = f"{next(_order):018X}"
    moment = time_text()
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": bucket.region_name,
        "eventTime": moment,
        "eventName": event_name.removeprefix("s3:"),
        "userIdentity": {"principalId": _PRINCIPAL},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {
            "x-amz-request-id": os.urandom(8).hex().upper(),
            "x-amz-id-2": base64.b64encode(os.urandom(57)).decode(),
        },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": notification_id,
            "bucket": {
                "name": bucket.name,
                "ownerIdentity": {"principalId": _PRINCIPAL},
                "arn": bucket.arn,
            },
            "object": thing,
        },
    }
    return {"Records": [record]}


def deliver_by(permissions: Permissions) -> Callable[[str, Any, str, str], None]:
    """Makes what hands an event to a function, if the function's policy lets the bucket."""

    def deliver(account_id: str, event: Any, function_arn: str, region: str) -> None:
        backend = LocalLambdaBackend.of(account_id, region)
        assert isinstance(backend, LocalLambdaBackend)
        source = event["Records"][0]["s3"]["bucket"]["arn"]
        try:
            function = backend.find(function_arn)
            access = Access("lambda:InvokeFunction", function_arn)
            permissions.check_service("s3.amazonaws.com", source, access)
        except (UnknownFunctionException, AccessDeniedError, NotEvaluatedError) as error:
            # On AWS too nobody is told.
            _log.error("an event of %s for %s is lost: %s", source, function_arn, error)
            return
        body = json.dumps(event, ensure_ascii=False).encode()
        backend.service.submit(function, new_invocation(function_arn, body))

    return deliver


def _set_notifications(bucket: FakeBucket, resource: dict[str, Any]) -> None:
    given = resource.get("Properties", {}).get("NotificationConfiguration")
    if not given:
        bucket.set_notification_configuration(None)
        return
    configuration: dict[str, Any] = {
        theirs: [_notification(one, target, their_target) for one in given.get(ours, [])]
        for ours, (theirs, target, their_target) in _KINDS.items()
    }
    bridge = given.get("EventBridgeConfiguration")
    if bridge and str(bridge.get("EventBridgeEnabled", True)).lower() == "true":
        configuration["EventBridgeConfiguration"] = {}
    bucket.set_notification_configuration(configuration)


def _notification(given: dict[str, Any], target: str, their_target: str) -> dict[str, Any]:
    notification: dict[str, Any] = {their_target: given[target], "Event": [given["Event"]]}
    rules = given.get("Filter", {}).get("S3Key", {}).get("Rules")
    if rules:
        notification["Filter"] = {
            "S3Key": {
                "FilterRule": [
                    {"Name": rule["Name"].lower(), "Value": rule["Value"]} for rule in rules
                ]
            }
        }
    return notification
