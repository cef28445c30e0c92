"""Handlers as Lambda loads them: each file alone, its client made while it is imported."""

import importlib.util
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from moto import mock_aws

HANDLERS = Path(__file__).parents[2] / "handlers"
# botocore's exponential backoff: below 1 s before the second attempt, doubled before each further.
FIRST_BACKOFF = 1.0


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A mocked account, and an environment as Lambda gives it."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        yield


@pytest.fixture
def load(aws: None) -> Callable[[str], ModuleType]:
    """Import a handler file afresh, by its name without the ending."""

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
    return SimpleNamespace(aws_request_id=str(uuid.uuid4()))


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
