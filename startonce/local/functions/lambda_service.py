"""The Lambda service put into moto: moto keeps the functions, our engine runs them."""

from __future__ import annotations

import base64
import copy
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import boto3
from botocore.config import Config
from moto.awslambda import urls as lambda_urls
from moto.awslambda.exceptions import (
    FunctionAlreadyExists,
    InvalidParameterValueException,
    InvalidRoleFormat,
    LambdaClientError,
    UnknownFunctionException,
)
from moto.awslambda.models import LambdaBackend, LambdaFunction
from moto.core.exceptions import JsonRESTError
from moto.logs.models import logs_backends

from startonce.local.functions.asynchronous_queue import (
    AsynchronousQueue,
    AsynchronousSettings,
    MessageAttributes,
)
from startonce.local.functions.engine import Functions
from startonce.local.functions.function_checks import check_code, check_configuration
from startonce.local.functions.function_spec import FunctionSpec
from startonce.local.functions.invocation import Invocation, Outcome
from startonce.local.iam.credentials import Credentials
from startonce.local.iam.permissions import AccessDeniedError, Permissions
from startonce.local.iam.policy import Access, NotEvaluatedError

_CONFIGURATION = ("LoggingConfig", "DeadLetterConfig", "TracingConfig", "EphemeralStorage")
_NOT_IMPLEMENTED = ("Layers", "ImageConfig", "FileSystemConfigs", "SnapStart")
_LOG_DEFAULTS = {"LogFormat": "Text", "ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO"}


# A partial ARN, such as 123456789012:function:name, which moto does not know.
_ACCOUNT_AND_KIND = re.compile(r"^\d{12}:function:")

CODE_PATH = "/_startonce/code"


class NotImplementedLocally(JsonRESTError):
    """A request for something that the local cloud cannot do: refused, never ignored."""

    code = 501

    def __init__(self, what: str) -> None:
        super().__init__("NotImplemented", f"NotImplemented: the local cloud has no {what}")


class ResourceConflict(LambdaClientError):
    """What is there already, or is still needed, is in the way."""

    code = 409

    def __init__(self, message: str) -> None:
        super().__init__("ResourceConflictException", message)


class LambdaService:
    """What every region's Lambda shares: the engine and the queue of asynchronous events."""

    def __init__(
        self,
        functions: Functions,
        asynchronous: AsynchronousQueue,
        endpoint: str,
        credentials: Credentials,
        permissions: Permissions,
    ) -> None:
        self._credentials = credentials
        self._permissions = permissions
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str, str, str], Any] = {}
        self._functions = functions
        self._asynchronous = asynchronous
        self._endpoint = endpoint

    def invoke(self, function: LocalFunction, invocation: Invocation) -> Outcome:
        """Run one attempt and wait.

        Raises:
            ThrottledError, ServiceError, StoppedError: see :meth:`Functions.invoke`.
        """
        concurrency = function.reserved_concurrency
        limit = None if concurrency is None else int(concurrency)
        return self._functions.invoke(function.spec(), invocation, limit)

    def submit(self, function: LocalFunction, invocation: Invocation) -> None:
        """Accept an asynchronous event."""
        queued = _QueuedFunction(self, function)
        self._asynchronous.submit(queued, invocation)
        if self._functions.faults.take_duplicate(str(function.function_name)):
            self._asynchronous.submit(queued, invocation)

    def code_location(self, region: str, name: str, version: str) -> str:
        """The URL of a function's zip."""
        return f"{self._endpoint}{CODE_PATH}/{region}/{name}/{version}"

    def forget(self, function: LocalFunction) -> None:
        """The function was deleted."""
        self._functions.forget(function.plain_arn)

    def client(self, name: str, region: str, function: LocalFunction) -> Any:
        """A boto3 client of the local cloud that signs as the function's role; made once, because
        making one is slow.
        """
        key = (name, region, function.role, str(function.function_name))
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._new_client(*key)
            return self._clients[key]

    def check_role(self, role_arn: str, function_arn: str) -> None:
        """Raises InvalidParameterValueException for a role that Lambda cannot assume, and
        InvalidRoleFormat.
        """
        if not re.match(InvalidRoleFormat.pattern, role_arn):
            raise InvalidRoleFormat(role_arn)
        try:
            trusted = self._permissions.is_trusted(role_arn, "lambda.amazonaws.com", function_arn)
        except NotEvaluatedError as error:
            raise NotImplementedLocally(f"evaluation of {error}") from None
        if not trusted:
            raise InvalidParameterValueException(
                "The role defined for the function cannot be assumed by Lambda."
            )

    def check_right(self, role_arn: str, function_name: str, action: str, resource: str) -> None:
        """Raises InvalidParameterValueException where the role does not allow what Lambda will do
        with it, such as ``sqs:SendMessage`` to a dead-letter queue.
        """
        session = self._credentials.session_for(role_arn, function_name)
        try:
            access = Access(action, resource)
            self._permissions.check_session(session, access, resource.split(":")[3])
        except AccessDeniedError:
            service, _, operation = action.partition(":")
            raise InvalidParameterValueException(
                f"The provided execution role does not have permissions to call {operation} on "
                + service.upper()
            ) from None
        except NotEvaluatedError as error:
            raise NotImplementedLocally(f"evaluation of {error}") from None

    def queue_url(self, arn: str) -> str:
        """The URL of the queue with this ARN."""
        account, name = arn.split(":")[4:]
        return f"{self._endpoint}/{account}/{name}"

    def _new_client(self, name: str, region: str, role_arn: str, function_name: str) -> Any:
        variables = self._credentials.for_role(role_arn, function_name)
        return boto3.Session().client(
            name,
            region_name=region,
            endpoint_url=self._endpoint,
            aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=variables["AWS_SESSION_TOKEN"],
            # A record that is refused is lost: the SDK must not try again behind our back.
            config=Config(retries={"total_max_attempts": 1}),
        )


class LocalFunction(LambdaFunction):
    """A function with the configuration that moto leaves out."""

    service: ClassVar[LambdaService]
    published = 0
    """The number of the last version."""

    def __init__(
        self, account_id: str, spec: dict[str, Any], region: str, version: str | int = "$LATEST"
    ) -> None:
        _refuse_what_is_missing(spec)
        check_configuration(spec)
        self.further_configuration = {key: spec[key] for key in _CONFIGURATION if key in spec}
        super().__init__(account_id, spec, region, version)
        check_code(self.code_bytes)

    @property
    def plain_arn(self) -> str:
        """The ARN without a version."""
        return f"arn:{self.partition}:lambda:{self.region}:{self.account_id}:function:" + str(
            self.function_name
        )

    @property
    def logging_config(self) -> dict[str, str]:
        """``LoggingConfig`` with AWS's defaults."""
        given = dict(self.further_configuration.get("LoggingConfig") or {})
        given.setdefault("LogGroup", self.logs_group_name)
        given.setdefault("LogFormat", "Text")
        if given["LogFormat"] == "Text":
            return {key: given[key] for key in ("LogFormat", "LogGroup")}
        return {**_LOG_DEFAULTS, **given}

    def spec(self) -> FunctionSpec:
        """What the engine needs, as it is now."""
        logging = {**_LOG_DEFAULTS, **self.logging_config}
        return FunctionSpec(
            name=self.function_name,
            arn=self.plain_arn,
            version=str(self.version),
            handler=str(self.handler),
            runtime=str(self.run_time),
            role=self.role,
            timeout=int(self.timeout),
            memory_size=int(self.memory_size),
            variables=tuple(sorted(self.environment_vars.items())),
            code_sha256=self.code_digest,
            log_group=logging["LogGroup"],
            log_format=logging["LogFormat"],
            application_log_level=logging["ApplicationLogLevel"],
            system_log_level=logging["SystemLogLevel"],
            region=self.region,
            account=self.account_id,
            code=self.code_bytes,
        )

    def settings(self) -> AsynchronousSettings:
        """The asynchronous settings, as they are now."""
        config = self.event_invoke_config[-1].config if self.event_invoke_config else {}
        destinations = config.get("DestinationConfig") or {}
        dead_letter = self.further_configuration.get("DeadLetterConfig") or {}
        defaults = AsynchronousSettings()
        return AsynchronousSettings(
            maximum_retry_attempts=int(
                config.get("MaximumRetryAttempts", defaults.maximum_retry_attempts)
            ),
            maximum_event_age=int(
                config.get("MaximumEventAgeInSeconds", defaults.maximum_event_age)
            ),
            on_success=(destinations.get("OnSuccess") or {}).get("Destination"),
            on_failure=(destinations.get("OnFailure") or {}).get("Destination"),
            dead_letter=dead_letter.get("TargetArn"),
        )

    def get_configuration(self, on_create: bool = False) -> dict[str, Any]:
        """As moto has it, with the rest."""
        configuration: dict[str, Any] = super().get_configuration(on_create)
        configuration.update(self.further_configuration)
        configuration["LoggingConfig"] = self.logging_config
        return configuration

    def check_dead_letter_right(self, role_arn: str, configuration: dict[str, Any]) -> None:
        """Raises InvalidParameterValueException: the role may not send to the dead-letter queue."""
        target = (configuration.get("DeadLetterConfig") or {}).get("TargetArn")
        if target:
            action = "sqs:SendMessage" if target.split(":")[2] == "sqs" else "sns:Publish"
            self.service.check_right(role_arn, str(self.function_name), action, target)

    def get_code(self) -> dict[str, Any]:
        """Where the code can be fetched: on AWS a signed URL, here one of our own."""
        answer: dict[str, Any] = super().get_code()
        location = self.service.code_location(self.region, self.function_name, str(self.version))
        answer["Code"] = {"RepositoryType": "S3", "Location": location}
        return answer

    def update_configuration(self, config_updates: dict[str, Any]) -> dict[str, Any]:
        """Take every property that the function was made with."""
        _refuse_what_is_missing(config_updates)
        check_configuration(config_updates)
        if "Role" in config_updates:
            self.service.check_role(config_updates["Role"], self.plain_arn)
        updates = {key: config_updates[key] for key in _CONFIGURATION if key in config_updates}
        self.check_dead_letter_right(
            config_updates.get("Role", self.role), {**self.further_configuration, **updates}
        )
        self.further_configuration.update(updates)
        return super().update_configuration(config_updates)

    def _set_function_code(self, updated_spec: dict[str, Any]) -> None:
        """Raises InvalidParameterValueException: S3 does not have it."""
        try:
            super()._set_function_code(updated_spec)
        except ValueError as error:
            # Moto's answer would be that the server failed.
            raise InvalidParameterValueException(str(error.args[-1])) from None

    def update_function_code(self, updated_spec: dict[str, Any]) -> dict[str, Any]:
        """Take other code, or keep the present one if the other is none.

        Raises:
            InvalidParameterValueException: it is no zip, or nobody can find it.
        """
        self.code = dict(self.code)
        before = dict(vars(self), code=dict(self.code))
        try:
            configuration = super().update_function_code(updated_spec)
            check_code(self.code_bytes)
        except Exception:
            vars(self).update(before)
            raise
        return configuration

    def invoke(self, body: str, request_headers: Any, response_headers: Any) -> str | bytes:
        """Take an event from one of moto's own event sources: always asynchronous."""
        self.service.submit(self, new_invocation(self.plain_arn, (body or "{}").encode()))
        return b""

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> LambdaFunction:
        """``AWS::Lambda::Function``."""
        backend = LocalLambdaBackend.of(account_id, region_name)
        return backend.create_function(_spec_from_properties(resource_name, cloudformation_json))

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> LambdaFunction:
        """Code and configuration; what the template does not name keeps its value."""
        spec = _spec_from_properties(new_resource_name, cloudformation_json)
        original_resource.update_configuration(spec)
        original_resource.update_function_code(spec["Code"])
        return original_resource  # type: ignore[no-any-return]


class LocalLambdaBackend(LambdaBackend):
    """One region's functions."""

    service: ClassVar[LambdaService]
    of: ClassVar[Callable[[str, str], LambdaBackend]]

    @property
    def _url_module(self) -> Any:
        return lambda_urls

    def create_function(self, spec: dict[str, Any]) -> LambdaFunction:
        """Make a function.

        Raises:
            FunctionAlreadyExists, NotImplementedLocally, InvalidParameterValueException.
        """
        name = spec["FunctionName"]
        if name in self._lambdas._functions:
            raise FunctionAlreadyExists(name)
        function = LocalFunction(self.account_id, spec, self.region_name)  # type: ignore[abstract]
        self.service.check_role(function.role, function.plain_arn)
        function.check_dead_letter_right(function.role, function.further_configuration)
        self._lambdas.put_function(function)
        if spec.get("Publish"):
            self.publish_version(name)
        return function

    def delete_function(self, function_name: str, qualifier: str | None = None) -> None:
        """Delete it, or one version; what runs may end, what is warm is ended.

        Raises:
            ResourceConflict: an alias leads to the version.
        """
        function = self.find(function_name, qualifier)
        if qualifier is not None:
            self._refuse_to_leave_aliases(function)
        super().delete_function(function_name, qualifier)
        if qualifier is None:
            self.service.forget(function)

    def publish_version(self, function_name: str, description: str = "") -> LambdaFunction:
        """Publish the present code and configuration, unless that is the last version already.

        A number is given once, also when its version is deleted.
        """
        latest = self.find(function_name)
        versions = self._lambdas._functions[latest.function_name]["versions"]
        if versions and not latest.code_or_config_updated:
            return versions[-1]  # type: ignore[no-any-return]
        latest.code_or_config_updated = False
        latest.published += 1
        version = copy.copy(latest)
        version.set_version(latest.published)
        version.description = description or latest.description
        versions.append(version)
        self._lambdas._arns[version.function_arn] = version
        return version

    def _refuse_to_leave_aliases(self, version: LocalFunction) -> None:
        aliases = [
            alias.name
            for alias in self.list_aliases(str(version.function_name))
            if alias.function_version == str(version.version)
        ]
        if aliases:
            raise ResourceConflict(
                "Unable to delete version because the following aliases reference it: "
                f"[{', '.join(sorted(aliases))}]"
            )

    def add_permission(self, function_name: str, qualifier: str, raw: str) -> dict[str, Any]:
        """Add a statement to a function's policy.

        https://docs.aws.amazon.com/lambda/latest/api/API_AddPermission.html

        Raises:
            ResourceConflict: there is one with this ID.
        """
        name = json.loads(raw).get("StatementId")
        statements = self.find(function_name, qualifier).policy.statements
        if any(one.get("Sid") == name for one in statements):
            raise ResourceConflict(
                f"The statement id ({name}) provided already exists. Please provide a new "
                "statement id, or remove the existing statement."
            )
        return super().add_permission(function_name, qualifier, raw)

    def update_function_code(
        self, function_name: str, qualifier: str, body: dict[str, Any]
    ) -> dict[str, Any] | None:
        """The next invocation runs the new code."""
        function = self.find(function_name, qualifier)
        configuration = function.update_function_code(body)
        if body.get("Publish"):
            return self.publish_version(function_name).get_configuration()
        return configuration

    def put_function_event_invoke_config(
        self, function_name: str, config: dict[str, Any]
    ) -> dict[str, Any]:
        """Replace the asynchronous settings."""
        function = self.find(function_name)
        function.event_invoke_config.clear()
        super().put_function_event_invoke_config(function_name, config)
        [settings] = function.event_invoke_config
        settings.arn = f"{function.plain_arn}:$LATEST"
        return settings.response()

    def update_function_event_invoke_config(
        self, function_name: str, config: dict[str, Any]
    ) -> dict[str, Any]:
        """Change the asynchronous settings that ``config`` names."""
        present = self.find(function_name).event_invoke_config
        merged = {**(present[-1].config if present else {}), **config}
        return self.put_function_event_invoke_config(function_name, merged)

    def find(self, name_or_arn: str, qualifier: str | None = None) -> LocalFunction:
        """The function with this name, partial ARN or ARN.

        Raises:
            UnknownFunctionException: there is none.
        """
        function = self.get_function(_ACCOUNT_AND_KIND.sub("", name_or_arn), qualifier)
        assert isinstance(function, LocalFunction)
        return function


class _QueuedFunction:
    """A function as the asynchronous queue sees it."""

    def __init__(self, service: LambdaService, function: LocalFunction) -> None:
        self._service = service
        self._account = function.account_id
        self._region = function.region
        self._function = function
        self.key = function.plain_arn
        self.qualified_arn = f"{function.plain_arn}:{function.version}"

    def settings(self) -> AsynchronousSettings:
        return self._function.settings()

    def is_stopped(self) -> bool:
        return str(self._function.reserved_concurrency) == "0"

    def attempt(self, invocation: Invocation) -> Outcome:
        return self._service.invoke(self._current(), invocation)

    def deliver(self, target: str, body: str, attributes: MessageAttributes) -> None:
        message_attributes = {
            name: {"DataType": kind, "StringValue": value}
            for name, (kind, value) in attributes.items()
        }
        _, _, kind, region, _, _ = target.split(":", 5)
        client = self._service.client(kind, region, self._function)
        if kind == "sqs":
            client.send_message(
                QueueUrl=self._service.queue_url(target),
                MessageBody=body,
                MessageAttributes=message_attributes,
            )
        elif kind == "sns":
            client.publish(TopicArn=target, Message=body, MessageAttributes=message_attributes)
        elif kind == "lambda":
            client.invoke(FunctionName=target, InvocationType="Event", Payload=body.encode())
        else:
            raise NotImplementedLocally(f"destination of type {kind}")

    def _current(self) -> LocalFunction:
        backend = LocalLambdaBackend.of(self._account, self._region)
        assert isinstance(backend, LocalLambdaBackend)
        try:
            return backend.find(self.qualified_arn)
        except UnknownFunctionException as error:
            raise LookupError(self.key) from error


class CloudWatchLogs:
    """Where functions log: moto's CloudWatch Logs."""

    def put(self, spec: FunctionSpec, stream: str, events: Sequence[tuple[int, str]]) -> None:
        """Append events; group and stream are made where they are missing, as on AWS."""
        backend = logs_backends[spec.account][spec.region]
        backend.ensure_log_group(spec.log_group)
        if stream not in backend.groups[spec.log_group].streams:
            backend.create_log_stream(spec.log_group, stream)
        backend.put_log_events(
            spec.log_group,
            stream,
            [{"timestamp": moment, "message": message} for moment, message in events],
        )


def new_invocation(function_arn: str, event: bytes, client_context: str = "") -> Invocation:
    """An invocation for ``event`` with a request ID and a trace ID of its own."""
    trace = f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0"
    return Invocation(function_arn, str(uuid.uuid4()), event, trace, client_context)


def _refuse_what_is_missing(properties: dict[str, Any]) -> None:
    for name in _NOT_IMPLEMENTED:
        if properties.get(name):
            raise NotImplementedLocally(f"{name} for functions")
    if properties.get("PackageType", "Zip") != "Zip":
        raise NotImplementedLocally("functions from container images")
    runtime = properties.get("Runtime")
    if runtime and not str(runtime).startswith("python3"):
        raise NotImplementedLocally(f"runtime {runtime}: functions run on Python 3 alone")


def _spec_from_properties(name: str, resource: dict[str, Any]) -> dict[str, Any]:
    """CloudFormation's properties as the Lambda API has them."""
    properties = dict(resource["Properties"])
    properties["FunctionName"] = name
    properties["Tags"] = {tag["Key"]: tag["Value"] for tag in properties.get("Tags", [])}
    for number in ("Timeout", "MemorySize", "ReservedConcurrentExecutions"):
        if number in properties:
            properties[number] = int(properties[number])
    code = dict(properties["Code"])
    if "ZipFile" in code:
        source = LambdaFunction._create_zipfile_from_plaintext_code(code["ZipFile"])
        code["ZipFile"] = base64.b64encode(source)
    properties["Code"] = code
    return properties
