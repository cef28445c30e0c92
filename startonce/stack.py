"""The deployed service, found by its stack's outputs."""

from __future__ import annotations

from dataclasses import dataclass

from botocore.exceptions import ClientError

from startonce.aws import Aws

SERVICE = "startonce"


class StackNotFoundError(Exception):
    """The service is not deployed there."""


@dataclass(frozen=True)
class Stack:
    """Where the parts of a deployed service are.

    Attributes:
        large_events_bucket: None where the parameter ``largeEvents`` is ``off``.
        execution_name_source: the parameter ``executionName``: ``requestId`` or ``messageId``.
    """

    name: str
    topic_arn: str
    state_machine_arn: str
    failure_queue_url: str
    table_name: str
    notification_topic_arn: str
    large_events_bucket: str | None = None
    execution_name_source: str = "requestId"

    @property
    def invoker(self) -> str:
        """The invoker's function name."""
        return f"{self.name}-invoker"

    @property
    def invoker_log_group(self) -> str:
        """Where the invoker logs."""
        return f"/aws/lambda/{self.invoker}"


def find_stack(aws: Aws, stage: str) -> Stack:
    """The service as deployed to ``stage``.

    Raises:
        StackNotFoundError: no such stack, or not this service's.
    """
    name = f"{SERVICE}-{stage}"
    try:
        described = aws.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
    except ClientError as error:
        raise StackNotFoundError(f"no stack {name}: {error.response['Error']['Message']}") from None
    outputs = {one["OutputKey"]: one["OutputValue"] for one in described.get("Outputs", [])}
    try:
        return Stack(
            name=name,
            topic_arn=outputs["EventTopicArn"],
            state_machine_arn=outputs["OperationLogArn"],
            failure_queue_url=outputs["FailureQueueUrl"],
            table_name=outputs["OperationsTableName"],
            notification_topic_arn=outputs["NotificationTopicArn"],
            large_events_bucket=outputs.get("LargeEventsBucketName"),
            execution_name_source=outputs["ExecutionNameSource"],
        )
    except KeyError as missing:
        raise StackNotFoundError(f"stack {name} has no output {missing}") from None
