"""The endpoint under test, and how patient one has to be with it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import boto3
from botocore.config import Config

T = TypeVar("T")
AWS = "aws"
_LOOK_EVERY = 0.05


@dataclass(frozen=True)
class Settings:
    """What the caller asks for, by environment variables.

    Attributes:
        endpoint: a URL, ``aws``, or None for a local cloud of the suite's own.
        speed: how many times faster than the wall the endpoint's clock runs.
        patience: seconds that something may take that waits for no clock.
    """

    endpoint: str | None
    speed: float
    patience: float

    @property
    def timeout(self) -> float:
        """Seconds that one test may take."""
        return 4 * self.patience + 600 / self.speed


def settings() -> Settings:
    endpoint = os.environ.get("CONFORMANCE_ENDPOINT") or None
    default_patience = "90" if endpoint == AWS else "15"
    return Settings(
        endpoint=endpoint,
        speed=float(os.environ.get("CONFORMANCE_SPEED") or ("60" if endpoint is None else "1")),
        patience=float(os.environ.get("CONFORMANCE_PATIENCE") or default_patience),
    )


class Target:
    """Clients of the endpoint, each made once, and waits that suit its clock."""

    def __init__(self, endpoint: str, speed: float, patience: float) -> None:
        self.speed = speed
        self.patience = patience
        self.is_aws = endpoint == AWS
        self._endpoint = None if self.is_aws else endpoint
        self._session = boto3.Session() if self.is_aws else _local_session()
        self.client = cache(self._client)

    @property
    def region(self) -> str:
        return str(self._session.region_name)

    def wait_for(self, look: Callable[[], T], clock: float = 0, what: str = "") -> T:
        """The first true answer of ``look``; ``clock`` is how many of AWS's seconds it waits."""
        deadline = time.monotonic() + self.patience + 2 * clock / self.speed
        while True:
            answer = look()
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise AssertionError(f"{what or 'what was waited for'} did not come: {answer!r}")
            time.sleep(1 if self.is_aws else _LOOK_EVERY)

    def _client(self, service: str, retries: bool = True) -> Any:
        config = Config(
            read_timeout=120,
            max_pool_connections=40,
            retries={"mode": "standard", "total_max_attempts": 5 if retries else 1},
        )
        return self._session.client(service, endpoint_url=self._endpoint, config=config)


def _local_session() -> boto3.Session:
    return boto3.Session(
        aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )
