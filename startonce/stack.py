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
    """

    name: str
    topic_arn: str
    state_machine_arn: str
    failure_queue_url: str
    table_name: str
    notification_topic_arn: str
    large_events_bucket: str | None = None

    @property
    def invoker(self) -> str:
        """The invoker's function name."""
        return f"{self.name}-invoker"

    def execution_arn(self, name: str) -> str:
        """The ARN of the execution of this name."""
        return execution_arn(self.state_machine_arn, name)

    @property
    def invoker_log_group(self) -> str:
        """Where the invoker logs."""
        return f"/aws/lambda/{self.invoker}"


def execution_arn(state_machine_arn: str, name: str) -> str:
    """The ARN of a STANDARD state machine's execution of this name."""
    return state_machine_arn.replace(":stateMachine:", ":execution:") + f":{name}"


def find_stack(aws: Aws, stage: str) -> Stack:
    """The service as deployed to ``stage``.

    Raises:
        StackNotFoundError: no such stack, or not this service's.
    """
    name = f"{SERVICE}-{stage}"
    outputs = stack_outputs(aws, name)
    try:
        return Stack(
            name=name,
            topic_arn=outputs["EventTopicArn"],
            state_machine_arn=outputs["OperationLogArn"],
            failure_queue_url=outputs["FailureQueueUrl"],
            table_name=outputs["OperationsTableName"],
            notification_topic_arn=outputs["NotificationTopicArn"],
            large_events_bucket=outputs.get("LargeEventsBucketName"),
        )
    except KeyError as missing:
        raise StackNotFoundError(f"stack {name} has no output {missing}") from None


def stack_outputs(aws: Aws, name: str) -> dict[str, str]:
    """The values of a stack's outputs, by their keys.

    Raises:
        StackNotFoundError: no such stack.
        ClientError: any other refusal, such as a missing permission.
    """
    client = aws.client("cloudformation")
    try:
        answer = client.describe_stacks(StackName=name)
    except ClientError as error:
        # CloudFormation's word for a stack that is not there.
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        message = error.response["Error"]["Message"]
        where = f"in {client.meta.region_name} at {client.meta.endpoint_url}"
        raise StackNotFoundError(f"no stack {name} {where}: {message}") from None
    [stack] = answer["Stacks"]
    return {one["OutputKey"]: one["OutputValue"] for one in stack.get("Outputs", [])}
