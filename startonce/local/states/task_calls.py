"""What a state machine's tasks call: functions in this process, other services over HTTP."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.awslambda.exceptions import UnknownFunctionException
from moto.core.models import DEFAULT_ACCOUNT_ID

from startonce.local.faults import Faults
from startonce.local.functions.engine import ServiceError, StoppedError, ThrottledError
from startonce.local.functions.lambda_service import (
    LambdaService,
    LocalLambdaBackend,
    new_invocation,
)

_LONGEST_RUN = 930
"""Seconds: a function's longest time-out and some."""

_READ_TIMEOUT = 60
"""Seconds: as boto3 has it."""

Authorize = Callable[[str, str, str], None]
"""``(role ARN, action, resource ARN)``; raises ClientError when the role may not."""


class TaskCalls:
    """The calls of all executions.

    Args:
        variables_of: a role's credentials, as AWS_* environment variables.
        authorize: whether a role may do something.
        faults: of API calls; those are struck by the server that the call goes to.
    """

    def __init__(
        self,
        service: LambdaService,
        endpoint: str,
        variables_of: Callable[[str], dict[str, str]],
        authorize: Authorize,
        faults: Faults,
    ) -> None:
        self._service = service
        self._endpoint = endpoint
        self._variables_of = variables_of
        self._authorize = authorize
        self._faults = faults
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str, str], Any] = {}

    def client(self, service: str, region: str, role: str) -> Any:
        """A boto3 client that signs as ``role``; made once, because making one is slow."""
        key = (service, region, role)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._new_client(*key)
            return self._clients[key]

    def invoke(self, name: str, qualifier: str | None, payload: bytes, role: str) -> dict[str, Any]:
        """Run a function and wait, as boto3's ``invoke`` does, but with the payload read.

        Raises:
            ClientError: as Lambda's API refuses.
            BotoCoreError: a fault on purpose: there was no answer.
        """
        if self._faults.are_waiting_for("lambda.Invoke"):
            return self._invoke_over_http(name, qualifier, payload, role)
        backend = LocalLambdaBackend.of(DEFAULT_ACCOUNT_ID, _region_of(name))
        assert isinstance(backend, LocalLambdaBackend)
        try:
            function = backend.find(name, qualifier)
        except UnknownFunctionException as error:
            raise _client_error(404, "ResourceNotFoundException", error.message) from None
        self._authorize(role, "lambda:InvokeFunction", function.plain_arn)
        invocation = new_invocation(
            name if name.startswith("arn:") else function.plain_arn, payload
        )
        try:
            outcome = self._service.invoke(function, invocation)
        except ThrottledError:
            raise _client_error(429, "TooManyRequestsException", "Rate Exceeded.") from None
        except ServiceError:
            message = "An error occurred and the request cannot be processed."
            raise _client_error(500, "ServiceException", message) from None
        except StoppedError:
            message = f"Function not found: {function.plain_arn}"
            raise _client_error(404, "ResourceNotFoundException", message) from None
        answer: dict[str, Any] = {
            "StatusCode": 200,
            "ExecutedVersion": str(function.version),
            "Payload": outcome.payload,
            "SdkHttpMetadata": {"HttpStatusCode": 200},
            "SdkResponseMetadata": {"RequestId": invocation.request_id},
        }
        if outcome.function_error:
            answer["FunctionError"] = outcome.function_error
        return answer

    def _invoke_over_http(
        self, name: str, qualifier: str | None, payload: bytes, role: str
    ) -> dict[str, Any]:
        named = {"FunctionName": name, **({"Qualifier": qualifier} if qualifier else {})}
        client = self.client("lambda", _region_of(name), role)
        answer: dict[str, Any] = client.invoke(Payload=payload, **named)
        return {**answer, "Payload": answer["Payload"].read()}

    def _new_client(self, service: str, region: str, role: str) -> Any:
        variables = self._variables_of(role)
        return boto3.Session().client(
            service,
            region_name=region,
            endpoint_url=self._endpoint,
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=variables.get("AWS_SESSION_TOKEN"),
            # Retry is the state machine's own business.
            config=Config(
                parameter_validation=False,
                retries={"total_max_attempts": 1},
                read_timeout=_LONGEST_RUN if service == "lambda" else _READ_TIMEOUT,
            ),
        )


def _region_of(function: str) -> str:
    return function.split(":")[3] if function.startswith("arn:") else "us-east-1"


def _client_error(status: int, code: str, message: str) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": str(uuid.uuid4())},
        },
        "Invoke",
    )
