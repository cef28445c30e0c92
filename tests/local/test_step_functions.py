"""State machines wait on the local cloud's clock. What AWS does: tests/conformance."""

from __future__ import annotations

import json
import uuid

from startonce.aws import Aws
from tests.conftest import wait_for


def test_waits_pass_on_the_cloud_s_clock(aws: Aws, role: str) -> None:
    wait = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 60, "End": True}}}
    client = aws.client("stepfunctions")
    machine = client.create_state_machine(
        name=f"m-{uuid.uuid4().hex[:12]}", definition=json.dumps(wait), roleArn=role
    )["stateMachineArn"]
    execution = client.start_execution(stateMachineArn=machine)["executionArn"]
    wait_for(
        lambda: client.describe_execution(executionArn=execution)["status"] == "SUCCEEDED",
        seconds=20,
    )
