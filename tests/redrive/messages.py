"""Messages of every kind, as they stand in the failure queue."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from startonce.redrive.failure_messages import Received
from startonce.redrive.target import Target

ACCOUNT = "123456789012"
MACHINE = f"arn:aws:states:us-east-1:{ACCOUNT}:stateMachine:OperationLog-x"
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:events"
INVOKER = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:startonce-dev-invoker:$LATEST"
EVENT_QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:event-queue"
SUBSCRIPTION = f"{TOPIC}:c0ffee"
REQUEST_ID = "11111111-2222-3333-4444-555555555555"
SNS_ID = "99999999-8888-7777-6666-555555555555"

TARGET = Target(
    stack_name="startonce-dev",
    topic_arn=TOPIC,
    failure_queue_url=f"https://sqs.us-east-1.amazonaws.com/{ACCOUNT}/failures",
    state_machine_arn=MACHINE,
    by_message_id=False,
)

EVENT: dict[str, Any] = {"Records": [{"EventSource": "aws:sns", "Sns": {"MessageId": SNS_ID}}]}

SENT_BY_SNS: dict[str, Any] = {
    "Type": "Notification",
    "MessageId": SNS_ID,
    "TopicArn": TOPIC,
    "Message": '{"user_id": "ada"}',
    "Timestamp": "2026-11-23T10:00:00.000Z",
    "SignatureVersion": "1",
    "Signature": "c2lnbmVk",
    "SigningCertURL": "https://sns.us-east-1.amazonaws.com/x.pem",
    "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/"
    f"?Action=Unsubscribe&SubscriptionArn={SUBSCRIPTION}",
}


def execution_arn(name: str = REQUEST_ID) -> str:
    return TARGET.execution_arn(name)


def received(body: object, **changes: Any) -> Received:
    text = body if isinstance(body, str) else json.dumps(body)
    sent_at = datetime(2026, 11, 23, 10, tzinfo=UTC)
    return Received(
        **{"message_id": "m-1", "receipt_handle": "r", "sent_at": sent_at}
        | changes
        | {"body": text}
    )


def texts(**values: str) -> dict[str, dict[str, Any]]:
    """Message attributes, as SQS gives them."""
    return {name: {"StringValue": value, "DataType": "String"} for name, value in values.items()}


def lambda_record(**changes: Any) -> dict[str, Any]:
    context = {
        "requestId": REQUEST_ID,
        "functionArn": INVOKER,
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 3,
    }
    return {
        "version": "1.0",
        "timestamp": "2026-11-23T10:00:00.000Z",
        "requestContext": context | changes.pop("context", {}),
        "requestPayload": EVENT,
        "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
        "responsePayload": {"errorType": "ClientError", "errorMessage": "throttled\nagain"},
        **changes,
    }


def report(**changes: Any) -> dict[str, Any]:
    """What ReportFailure writes."""
    return {
        "execution_name": REQUEST_ID,
        "execution_arn": execution_arn(),
        "redrive": "safe",
        "redrive_count": 0,
        "error": "TableUnavailable",
        "cause": json.dumps({"errorMessage": "the table is away", "errorType": "TableUnavailable"}),
        "event": EVENT,
        **changes,
    }
