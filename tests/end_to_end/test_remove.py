"""`sls remove` leaves nothing of the service."""

from __future__ import annotations

from pathlib import Path

from startonce.aws import Aws
from startonce.deploy import deploy, remove
from tests.conftest import start_cloud
from tests.service_copy import copy_service


def what_is_there(aws: Aws) -> dict[str, list[object]]:
    iam = aws.client("iam").list_roles()["Roles"]
    return {
        "stacks": aws.client("cloudformation").describe_stacks()["Stacks"],
        "functions": aws.client("lambda").list_functions()["Functions"],
        "machines": aws.client("stepfunctions").list_state_machines()["stateMachines"],
        "topics": aws.client("sns").list_topics()["Topics"],
        "subscriptions": aws.client("sns").list_subscriptions()["Subscriptions"],
        "queues": aws.client("sqs").list_queues().get("QueueUrls", []),
        "tables": aws.client("dynamodb").list_tables()["TableNames"],
        "buckets": aws.client("s3").list_buckets()["Buckets"],
        "log groups": aws.client("logs").describe_log_groups()["logGroups"],
        "alarms": aws.client("cloudwatch").describe_alarms()["MetricAlarms"],
        "roles": [role["RoleName"] for role in iam if "startonce" in role["RoleName"]],
    }


def test_remove_leaves_nothing(tmp_path: Path) -> None:
    cloud = start_cloud()
    try:
        service = copy_service(tmp_path)
        deploy(service, cloud.endpoint)
        deployed = what_is_there(cloud.aws)
        assert [kind for kind, found in deployed.items() if not found] == []
        remove(service, cloud.endpoint)
        left = what_is_there(cloud.aws)
        assert {kind: found for kind, found in left.items() if found} == {}
    finally:
        cloud.stop()
