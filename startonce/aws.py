"""boto3 clients for AWS and for the local cloud alike: the endpoint makes the difference."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

LOCAL_REGION = "us-east-1"

# https://boto3.amazonaws.com/v1/documentation/api/latest/guide/retries.html
_STANDARD = Config(retries={"mode": "standard"})
# "adaptive" sends more slowly once it was throttled. Up to 20 s between two attempts.
_PATIENT = Config(
    connect_timeout=5,
    read_timeout=20,
    retries={"mode": "adaptive", "total_max_attempts": 12},
)


class Aws:
    """Clients of one account and region, each made once.

    Args:
        endpoint: URL of the local cloud; None for AWS, with the caller's own credentials.
        region: None for the caller's own.
    """

    def __init__(self, endpoint: str | None = None, region: str | None = None) -> None:
        self.endpoint = endpoint
        self.client = cache(self._client)
        if endpoint is None:
            self._session = boto3.Session(region_name=region)
        else:
            self._session = boto3.Session(
                aws_access_key_id="local",
                aws_secret_access_key="local",
                region_name=region or LOCAL_REGION,
            )

    def _client(self, service: str, patient: bool = False) -> Any:
        """With ``patient``, throttling is waited out for a minute or two."""
        return self._session.client(
            service,
            endpoint_url=self.endpoint,
            config=_PATIENT if patient else _STANDARD,
        )
