"""Where the redriven events go, by the outputs of a stack: this service's, or a copy's."""

from __future__ import annotations

from dataclasses import dataclass

from startonce.aws import Aws
from startonce.stack import StackNotFoundError, execution_arn, stack_outputs


@dataclass(frozen=True)
class Target:
    """The parts of a stack that a redrive needs.

    Attributes:
        by_message_id: whether executions are named by SNS's message ID, and not by the request ID.
        large_events_bucket: None if the service has none.
    """

    stack_name: str
    topic_arn: str
    failure_queue_url: str
    state_machine_arn: str
    by_message_id: bool
    large_events_bucket: str | None = None

    def execution_arn(self, name: str) -> str:
        """The ARN of the execution of this name."""
        return execution_arn(self.state_machine_arn, name)


def find_target(aws: Aws, stack_name: str) -> Target:
    """The stack of this name.

    Raises:
        StackNotFoundError: it is not there, or has not the outputs of ``resources/outputs.yml``.
    """
    outputs = stack_outputs(aws, stack_name)
    machines = [value for value in outputs.values() if ":stateMachine:" in value]
    if len(machines) != 1:
        raise StackNotFoundError(
            f"stack {stack_name} has {len(machines)} state machines among its outputs, not one"
        )
    try:
        return Target(
            stack_name=stack_name,
            topic_arn=outputs["EventTopicArn"],
            failure_queue_url=outputs["FailureQueueUrl"],
            state_machine_arn=machines[0],
            by_message_id=outputs.get("ExecutionNameSource") == "messageId",
            large_events_bucket=outputs.get("LargeEventsBucketName") or None,
        )
    except KeyError as missing:
        raise StackNotFoundError(f"stack {stack_name} has no output {missing}") from None
