"""Handlers as Lambda loads them: each file alone, its client made while it is imported."""

import importlib.util
import json
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

HANDLERS = Path(__file__).parents[2] / "handlers"
# botocore's exponential backoff: below 1 s before the second attempt, doubled before each further.
FIRST_BACKOFF = 1.0


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A mocked account, and an environment as Lambda gives it."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN", "EXECUTION_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("CF_OperationLog", "CF_LargeEventsBucket", "CF_OperationsTable"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        yield


@pytest.fixture
def load(aws: None) -> Callable[[str], ModuleType]:
    """Import a handler file afresh, by its name without the ending."""

    # The one that a handler imports: its client is made once, too.
    sys.modules.pop("handlers.event_pointer", None)

    def load_file(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, HANDLERS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load_file


@pytest.fixture
def context() -> Any:
    return SimpleNamespace(
        aws_request_id=str(uuid.uuid4()), get_remaining_time_in_millis=lambda: 30_000
    )


@pytest.fixture
def bucket(aws: None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The bucket for large events, as the handlers are told of it."""
    made = boto3.resource("s3").create_bucket(
        Bucket="large-events",
        CreateBucketConfiguration={"LocationConstraint": "eu-central-1"},
    )
    monkeypatch.setenv("CF_LargeEventsBucket", made.name)
    return made


@pytest.fixture
def stepfunctions() -> Any:
    return boto3.client("stepfunctions")


@pytest.fixture
def state_machine(stepfunctions: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    wait = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 600, "End": True}}}
    arn: str = stepfunctions.create_state_machine(
        name="operation-log",
        definition=json.dumps(wait),
        roleArn="arn:aws:iam::123456789012:role/operation-log",
    )["stateMachineArn"]
    monkeypatch.setenv("CF_OperationLog", arn)
    return arn


@pytest.fixture(autouse=True)
def info_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


@pytest.fixture
def worst_case_seconds() -> Callable[[Any], float]:
    """Seconds of all attempts of a client and of the pauses between, if each attempt times out."""

    def compute(client: Any) -> float:
        config = client.meta.config
        attempts = config.retries["total_max_attempts"]
        pauses = sum(FIRST_BACKOFF * 2**i for i in range(attempts - 1))
        return float(attempts * (config.connect_timeout + config.read_timeout) + pauses)

    return compute
