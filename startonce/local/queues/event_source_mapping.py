"""Lambda's API for event source mappings, in front of the pollers. Sources are SQS queues.

https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-parameters.html
"""

from __future__ import annotations

import json
import time
from typing import Any, ClassVar

from moto.awslambda.exceptions import (
    GenericResourcNotFound,
    InvalidParameterValueException,
    LambdaClientError,
    UnknownFunctionException,
)
from moto.awslambda.models import EventSourceMapping
from moto.awslambda.responses import LambdaResponse
from moto.sqs.exceptions import QueueDoesNotExist

from startonce.local.events.event_pattern import PatternError, UnknownOperatorError, check
from startonce.local.functions.invocation import Outcome
from startonce.local.functions.lambda_service import (
    LocalFunction,
    LocalLambdaBackend,
    NotImplementedLocally,
    new_invocation,
)
from startonce.local.iam.credentials import Credentials
from startonce.local.iam.permissions import AccessDeniedError, Permissions
from startonce.local.iam.policy import Access, NotEvaluatedError
from startonce.local.queues.polling import Mapping, QueuePolling
from startonce.local.queues.sqs_queue import LocalQueue

_SUPPORTED = {
    "BatchSize",
    "Enabled",
    "EventSourceArn",
    "FilterCriteria",
    "FunctionName",
    "FunctionResponseTypes",
    "MaximumBatchingWindowInSeconds",
    "ScalingConfig",
    "Tags",
}
_OF_STREAMS = ("StartingPosition", "StartingPositionTimestamp")
# What moto and its response class add to what was asked for.
_NOT_ASKED_FOR = {"AccountId", "FunctionArn", "RegionName", "UUID"}
_WITHOUT_WINDOW = 10
_POLLER_ACTIONS = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
_RESPONSE_TYPE = "ReportBatchItemFailures"
_RANGES = {"BatchSize": (1, 10_000), "MaximumBatchingWindowInSeconds": (0, 300)}


class _Conflict(LambdaClientError):
    code = 409

    def __init__(self, message: str) -> None:
        super().__init__("ResourceConflictException", message)


class _Invalid(LambdaClientError):
    """A value that is outside of what the API's model allows."""

    def __init__(self, name: str, value: object, constraint: str) -> None:
        name = name[0].lower() + name[1:]
        super().__init__(
            "ValidationException",
            f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy "
            f"constraint: {constraint}",
        )


class LocalEventSourceMapping(EventSourceMapping):
    """A mapping from a queue to a function."""

    passing_state: str | None = None
    """What the answer to a change says; the next look shows what came of it."""

    def get_configuration(self) -> dict[str, Any]:
        """As AWS shows it."""
        configuration: dict[str, Any] = {
            "UUID": self.uuid,
            "BatchSize": self.batch_size,
            "MaximumBatchingWindowInSeconds": self.max_batch_window or 0,
            "EventSourceArn": self.event_source_arn,
            "EventSourceMappingArn": self.arn,
            "FunctionArn": self.function_arn,
            "FunctionResponseTypes": self.function_response_types or [],
            "LastModified": self.last_modified,
            "State": self.passing_state or ("Enabled" if self.enabled else "Disabled"),
            "StateTransitionReason": "USER_INITIATED",
        }
        self.passing_state = None
        for name, value in (
            ("FilterCriteria", self.filter_criteria),
            ("ScalingConfig", self.scaling_config),
        ):
            if value:
                configuration[name] = value
        return configuration

    def for_poller(self) -> Mapping:
        """What its poller does."""
        filters = (self.filter_criteria or {}).get("Filters") or []
        return Mapping(
            key=self.uuid,
            queue_arn=self.event_source_arn,
            function_arn=self.function_arn,
            batch_size=self.batch_size,
            window=self.max_batch_window or 0,
            enabled=self.enabled,
            partial_responses=_RESPONSE_TYPE in (self.function_response_types or []),
            maximum_concurrency=(self.scaling_config or {}).get("MaximumConcurrency"),
            filters=tuple(json.loads(one["Pattern"]) for one in filters),
        )

    def delete(self, account_id: str, region_name: str) -> None:
        """For CloudFormation: it may be gone already."""
        backend = MappingLambdaBackend.of(account_id, region_name)
        if self.uuid in backend._event_source_mappings:
            backend.delete_event_source_mapping(self.uuid)

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        """The attributes for ``Fn::GetAtt``."""
        return attr in ("Id", "EventSourceMappingArn")

    def get_cfn_attribute(self, attribute_name: str) -> Any:
        """The attributes for ``Fn::GetAtt``."""
        return self.uuid if attribute_name == "Id" else self.arn

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> EventSourceMapping:
        """``AWS::Lambda::EventSourceMapping``."""
        backend = MappingLambdaBackend.of(account_id, region_name)
        return _come_to_rest(
            backend.create_event_source_mapping(_from_template(cloudformation_json))
        )

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> EventSourceMapping:
        """Another queue is another mapping; what the template leaves out gets its default again."""
        backend = MappingLambdaBackend.of(account_id, region_name)
        spec = _from_template(cloudformation_json)
        if spec.get("EventSourceArn") != original_resource.event_source_arn:
            made = backend.create_event_source_mapping(spec)
            original_resource.delete(account_id, region_name)
            return _come_to_rest(made)
        defaults = {
            "BatchSize": 10,
            "Enabled": True,
            "FilterCriteria": {},
            "FunctionResponseTypes": [],
            "MaximumBatchingWindowInSeconds": 0,
            "ScalingConfig": {},
        }
        updated = backend.update_event_source_mapping(original_resource.uuid, {**defaults, **spec})
        assert updated is not None
        return _come_to_rest(updated)


class MappingLambdaBackend(LocalLambdaBackend):
    """One region's functions, with their event source mappings."""

    polling: ClassVar[QueuePolling]
    mapped: ClassVar[MappedFunctions]

    def create_event_source_mapping(self, spec: dict[str, Any]) -> EventSourceMapping:
        """Begin to poll a queue for a function.

        Raises:
            NotImplementedLocally: another source than SQS, or a property that nobody implements.
            InvalidParameterValueException: AWS would not take it either.
            LambdaClientError: ``ResourceConflictException``: the two are mapped already.
        """
        _check_names(spec)
        _check_values(spec)
        function = self.find(spec["FunctionName"])
        arn = spec["EventSourceArn"]
        self._check_queue(arn, function)
        mapped_arn = _mapped_arn(function, spec["FunctionName"])
        for other in self._event_source_mappings.values():
            if (other.event_source_arn, other.function_arn) == (arn, mapped_arn):
                raise _Conflict(
                    f'An event source mapping with SQS arn (" {arn} ") and function '
                    f'(" {function.function_name} ") already exists. Please update or delete the '
                    f"existing mapping with UUID {other.uuid}"
                )
        mapping = LocalEventSourceMapping(  # type: ignore[abstract]
            {
                **spec,
                "RegionName": self.region_name,
                "AccountId": self.account_id,
                "FunctionArn": mapped_arn,
            }
        )
        _check_together(mapping)
        mapping.last_modified = time.time()
        mapping.passing_state = "Creating" if mapping.enabled else None
        self._event_source_mappings[mapping.uuid] = mapping
        self.polling.put(mapping.for_poller())
        return mapping

    def get_event_source_mapping(self, uuid: str) -> EventSourceMapping:
        """Raises GenericResourcNotFound."""
        mapping = self._event_source_mappings.get(uuid)
        if mapping is None:
            raise GenericResourcNotFound
        return mapping

    def update_event_source_mapping(
        self, uuid: str, spec: dict[str, Any]
    ) -> EventSourceMapping | None:
        """Change what ``spec`` names.

        Raises:
            NotImplementedLocally, InvalidParameterValueException: as for a new one.
            GenericResourcNotFound: there is no such mapping.
        """
        mapping = self.get_event_source_mapping(uuid)
        assert isinstance(mapping, LocalEventSourceMapping)
        _check_names({"EventSourceArn": mapping.event_source_arn, **spec}, needed=())
        _check_values(spec)
        function = self.find(spec.get("FunctionName") or mapping.function_arn)
        self._check_queue(mapping.event_source_arn, function)
        changed = LocalEventSourceMapping(  # type: ignore[abstract]
            {
                "RegionName": self.region_name,
                "AccountId": self.account_id,
                "FunctionName": mapping.function_name,
                "EventSourceArn": mapping.event_source_arn,
                "FunctionArn": mapping.function_arn,
                "BatchSize": mapping.batch_size,
                "Enabled": mapping.enabled,
                "FilterCriteria": mapping.filter_criteria,
                "FunctionResponseTypes": mapping.function_response_types,
                "MaximumBatchingWindowInSeconds": mapping.max_batch_window,
                "ScalingConfig": mapping.scaling_config,
                "Tags": mapping.tags,
                **{name: value for name, value in spec.items() if name not in _NOT_ASKED_FOR},
            }
        )
        _check_together(changed)
        if spec.get("FunctionName"):
            changed.function_arn = _mapped_arn(function, spec["FunctionName"])
        changed.uuid, changed.arn = mapping.uuid, mapping.arn
        changed.last_modified = time.time()
        changed.passing_state = _passing_state(mapping.enabled, changed.enabled)
        self._event_source_mappings[uuid] = changed
        self.polling.put(changed.for_poller())
        return changed

    def delete_event_source_mapping(self, uuid: str) -> EventSourceMapping | None:
        """Poll no more. Raises GenericResourcNotFound."""
        mapping = self.get_event_source_mapping(uuid)
        self.polling.remove(uuid)
        del self._event_source_mappings[uuid]
        return mapping

    def list_event_source_mappings(
        self, event_source_arn: str, function_name: str
    ) -> list[EventSourceMapping]:
        """All, or those of a queue, of a function (by name or ARN), or of both."""
        name = (function_name or "").partition(":function:")[2] or function_name
        return [
            mapping
            for mapping in self._event_source_mappings.values()
            if event_source_arn in (None, "", mapping.event_source_arn)
            and (not name or mapping.function_arn.partition(":function:")[2] == name)
        ]

    def _check_queue(self, arn: str, function: LocalFunction) -> None:
        queue = find_queue(arn)
        if queue is None:
            raise InvalidParameterValueException(
                "Error occurred while ReceiveMessage. SQS Error Code: "
                "AWS.SimpleQueueService.NonExistentQueue. SQS Error Message: "
                "The specified queue does not exist."
            )
        action = self.mapped.refused(function, arn)
        if action is not None:
            raise InvalidParameterValueException(
                f"The provided execution role does not have permissions to call {action} on SQS"
            )
        hidden = int(queue.visibility_timeout)  # type: ignore[attr-defined]
        if hidden < int(function.timeout):
            raise InvalidParameterValueException(
                f"Queue visibility timeout: {hidden} seconds is less than Function timeout: "
                f"{function.timeout} seconds"
            )


class MappedFunctions:
    """Queues and functions for the pollers, which read by the functions' own roles."""

    def __init__(self, credentials: Credentials, permissions: Permissions) -> None:
        self._credentials = credentials
        self._permissions = permissions

    def refused(self, function: LocalFunction, queue_arn: str) -> str | None:
        """What the function's role does not let the poller do, as ``ReceiveMessage``."""
        session = self._credentials.session_for(function.role, str(function.function_name))
        for name in _POLLER_ACTIONS:
            try:
                access = Access(f"sqs:{name}", queue_arn)
                self._permissions.check_session(session, access, function.region)
            except (AccessDeniedError, NotEvaluatedError):
                return name
        return None

    def queue(self, arn: str) -> LocalQueue | None:
        """None if there is none."""
        return find_queue(arn)

    def may_poll(self, function_arn: str, queue_arn: str) -> bool:
        """Whether there is such a function, whose role may read the queue."""
        try:
            function = _find_function(function_arn)
        except LookupError:
            return False
        return self.refused(function, queue_arn) is None

    def invoke(self, function_arn: str, event: bytes) -> Outcome:
        """Run one attempt.

        Raises:
            ThrottledError, ServiceError, StoppedError: see :meth:`Functions.invoke`.
            LookupError: the function is gone.
        """
        function = _find_function(function_arn)
        return function.service.invoke(function, new_invocation(function_arn, event))


def answer_create(response: LambdaResponse) -> tuple[int, dict[str, Any], str]:
    """``CreateEventSourceMapping``: moto answers 201 where AWS says 202."""
    mapping = response.backend.create_event_source_mapping(response.json_body)
    return 202, {"status": 202}, json.dumps(mapping.get_configuration())


def find_queue(arn: str) -> LocalQueue | None:
    """The queue with this ARN."""
    _, _, _, region, account, name = arn.split(":")
    try:
        queue = LocalQueue.cloud.backend_of(account, region).get_queue(name)
    except QueueDoesNotExist:
        return None
    assert isinstance(queue, LocalQueue)
    return queue


def _find_function(arn: str) -> LocalFunction:
    _, _, _, region, account, _ = arn.split(":", 5)
    backend = LocalLambdaBackend.of(account, region)
    assert isinstance(backend, LocalLambdaBackend)
    try:
        return backend.find(arn)
    except UnknownFunctionException as error:
        raise LookupError(arn) from error


def _mapped_arn(function: LocalFunction, asked_for: str) -> str:
    """With the qualifier that was asked for, if any."""
    name = asked_for.partition(":function:")[2] or asked_for
    qualifier = name.partition(":")[2]
    return f"{function.plain_arn}:{qualifier}" if qualifier else function.plain_arn


def _come_to_rest(mapping: EventSourceMapping) -> EventSourceMapping:
    """A stack is done when its mappings are in the state that they keep."""
    assert isinstance(mapping, LocalEventSourceMapping)
    mapping.passing_state = None
    return mapping


def _passing_state(before: bool, after: bool) -> str:
    if before == after:
        return "Updating"
    return "Enabling" if after else "Disabling"


def _check_names(
    spec: dict[str, Any], needed: tuple[str, ...] = ("EventSourceArn", "FunctionName")
) -> None:
    for name in needed:
        if not spec.get(name):
            raise InvalidParameterValueException(f"Missing {name}")
    service = spec["EventSourceArn"].split(":")[2] if ":" in spec["EventSourceArn"] else "unknown"
    if service != "sqs":
        raise NotImplementedLocally(f"event source mapping of {service}: sources are SQS queues")
    for name in _OF_STREAMS:
        if spec.get(name) is not None:
            raise InvalidParameterValueException(
                "StartingPosition is not valid for SQS event sources."
            )
    for name, value in spec.items():
        if name not in _SUPPORTED | _NOT_ASKED_FOR and value is not None:
            raise NotImplementedLocally(f"{name} for event source mappings")


def _check_values(spec: dict[str, Any]) -> None:
    for name, (least, most) in _RANGES.items():
        _check_range(name, spec.get(name), least, most)
    scaling = spec.get("ScalingConfig") or {}
    _check_range("scalingConfig.maximumConcurrency", scaling.get("MaximumConcurrency"), 2, 1000)
    for kind in spec.get("FunctionResponseTypes") or []:
        if kind != _RESPONSE_TYPE:
            raise _Invalid(
                "FunctionResponseTypes",
                kind,
                f"Member must satisfy enum value set: [{_RESPONSE_TYPE}]",
            )
    for one in (spec.get("FilterCriteria") or {}).get("Filters") or []:
        _check_pattern(one.get("Pattern"))


def _check_range(name: str, value: int | None, least: int, most: int) -> None:
    if value is None:
        return
    if value < least:
        raise _Invalid(name, value, f"Member must have value greater than or equal to {least}")
    if value > most:
        raise _Invalid(name, value, f"Member must have value less than or equal to {most}")


def _check_pattern(pattern: str | None) -> None:
    try:
        check(json.loads(pattern or ""))
    except UnknownOperatorError as error:
        raise NotImplementedLocally(f"operator {error.name} in filter patterns") from None
    except (PatternError, json.JSONDecodeError):
        raise InvalidParameterValueException("Invalid filter pattern definition.") from None


def _check_together(mapping: EventSourceMapping) -> None:
    """What depends on more than one property."""
    window = mapping.max_batch_window or 0
    if mapping.event_source_arn.endswith(".fifo"):
        if mapping.batch_size > _WITHOUT_WINDOW:
            raise InvalidParameterValueException(
                "Maximum batch size for FIFO queues is 10: BatchSize is too large."
            )
        if window:
            raise InvalidParameterValueException(
                "Batching window is not supported for FIFO queues."
            )
    elif mapping.batch_size > _WITHOUT_WINDOW and not window:
        raise InvalidParameterValueException(
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is "
            "greater than 10"
        )


def _from_template(resource: dict[str, Any]) -> dict[str, Any]:
    """CloudFormation's properties, where numbers can be text, as the API has them."""
    properties = dict(resource["Properties"])
    for number in _RANGES:
        if number in properties:
            properties[number] = int(properties[number])
    if "Enabled" in properties:
        properties["Enabled"] = str(properties["Enabled"]).lower() == "true"
    scaling = properties.get("ScalingConfig") or {}
    if "MaximumConcurrency" in scaling:
        properties["ScalingConfig"] = {"MaximumConcurrency": int(scaling["MaximumConcurrency"])}
    if isinstance(properties.get("Tags"), list):
        properties["Tags"] = {tag["Key"]: tag["Value"] for tag in properties["Tags"]}
    for one in (properties.get("FilterCriteria") or {}).get("Filters") or []:
        if isinstance(one.get("Pattern"), dict):
            one["Pattern"] = json.dumps(one["Pattern"])
    return properties
