"""The resources of a stack: made, changed and removed as its template says.

A resource is changed if what its definition comes to has changed, be it by the template, by a
parameter, by a condition, or by another resource that it refers to.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks-update-behaviors.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from moto.cloudformation import parsing
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.parsing import ResourceMap

from startonce.local.templates.template_values import check_references, in_order

Record = Callable[[str, str, str, str, str | None], None]
"""Is told of each step: logical ID, physical ID, type, status and reason."""

_PSEUDO_PARAMETERS = {
    "AWS::AccountId",
    "AWS::NotificationARNs",
    "AWS::NoValue",
    "AWS::Partition",
    "AWS::Region",
    "AWS::StackId",
    "AWS::StackName",
    "AWS::URLSuffix",
}

HARMLESS = {
    "AWS::CDK::Metadata": "it describes the template and makes nothing",
    "AWS::CloudFormation::WaitCondition": "it makes nothing",
    "AWS::CloudFormation::WaitConditionHandle": "it makes nothing",
}
"""Types that are accepted and do nothing, each with the reason why that is no lie."""

# In the names of the errors of resources that are not there.
_GONE = ("NotFound", "DoesNotExist", "NonExistent", "NoSuch", "Missing")

# Properties on which nothing depends here: moto does not look at them, so that no change is lost.
_WITHOUT_EFFECT = {
    "AWS::DynamoDB::Table": {
        "BillingMode",
        "ContributorInsightsSpecification",
        "OnDemandThroughput",
        "PointInTimeRecoverySpecification",
        "ProvisionedThroughput",
        "SSESpecification",
        "TableClass",
        "TimeToLiveSpecification",
    },
}


class ResourceFailed(Exception):
    """A resource could not be made, changed or removed."""

    def __init__(self, action: str, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.action = action
        self.name = name


@dataclass
class _Made:
    """A resource that is there.

    Attributes:
        definition: as the template has it.
        resolved: what that came to when it was made or changed; None if the last change failed,
            so that nobody knows what it is like.
        resource: moto's, or None for a type that makes nothing.
    """

    definition: dict[str, Any]
    resolved: dict[str, Any] | None
    resource: Any


class StackResources(ResourceMap):
    """A stack's resources, by one version of its template and one set of parameters.

    Args:
        record: see :data:`Record`.
        arguments: of moto's ``ResourceMap``.
    """

    def __init__(self, record: Record, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._record = record
        self._made: dict[str, _Made] = {}

    def __getitem__(self, key: str) -> Any:
        """A resource, a parameter or a mapping; None for a resource that there is not, such as one
        whose condition is false. Moto makes resources when somebody looks for them.
        """
        if key in self._parsed_resources:
            return self._parsed_resources[key]
        if key in self._resource_json_map:
            return None
        raise KeyError(key)

    def load(self) -> None:
        """Read the template.

        Raises:
            ValidationError: it refers to what it does not have, or parameters are missing.
        """
        super().load()
        known = {*self._resource_json_map, *self._template.get("Parameters", {})}
        check_references(self._template, known | _PSEUDO_PARAMETERS)
        in_order(self._resource_json_map)

    def take_over(self, other: StackResources) -> None:
        """Go on from the resources of another version of the template."""
        self._made = other._made
        self._parsed_resources.update({name: made.resource for name, made in self._made.items()})

    def apply(self) -> bool:
        """Make and change what the template wants, then remove what it does not.

        Returns whether all are ready: custom resources say so later.

        Raises:
            ResourceFailed: the first that could not be made or changed.
        """
        for name in in_order(self._resource_json_map):
            if self._is_wanted(name):
                if name in self._made:
                    self._change(name)
                else:
                    self._make(name)
        ready = self.create(self._template)
        # What cannot be removed stays: that is no reason to undo all the rest.
        self._remove([name for name in self._made if not self._is_wanted(name)])
        return ready

    def delete(self) -> None:
        """Remove all of them.

        Raises:
            ResourceFailed: some remain.
        """
        remaining = self._remove(list(self._made))
        if remaining:
            raise ResourceFailed("delete", ", ".join(sorted(remaining)), "it remains")

    def _is_wanted(self, name: str) -> bool:
        definition = self._resource_json_map.get(name)
        if definition is None:
            return False
        condition = definition.get("Condition")
        return not condition or bool(self.lazy_condition_map[condition])

    def _make(self, name: str) -> None:
        definition = self._resource_json_map[name]
        with self._step("CREATE", name, definition):
            resource = parsing.parse_and_create_resource(
                name, definition, self, self._account_id, self._region_name
            )
            _check_nested(resource)
            self._keep(name, resource)

    def _change(self, name: str) -> None:
        made, definition = self._made[name], self._resource_json_map[name]
        before, now = made.resolved, self._resolved(definition)
        if before == now:
            made.definition = definition
            return
        with self._step("UPDATE", name, definition):
            _check_change(before, now)
            made.resolved = None
            resource = made.resource
            if _can_be_changed(definition["Type"]):
                resource = parsing.parse_and_update_resource(
                    name, definition, self, self._account_id, self._region_name
                )
                _check_nested(resource)
            self._keep(name, resource)

    def _keep(self, name: str, resource: Any) -> None:
        definition = self._resource_json_map[name]
        if resource is not None:
            self._parsed_resources[name] = resource
        self._made[name] = _Made(definition, self._resolved(definition), resource)

    def _resolved(self, definition: dict[str, Any]) -> dict[str, Any]:
        parts = {key: definition.get(key, {}) for key in ("Type", "Properties")}
        return parsing.clean_json(parts, self)  # type: ignore[no-any-return]

    def _remove(self, names: list[str]) -> list[str]:
        """Remove resources, each before those that it depends on; the names of what remains."""
        definitions = {name: self._made[name].definition for name in names}
        remaining = []
        for name in reversed(in_order(definitions)):
            made = self._made[name]
            try:
                if made.definition.get("DeletionPolicy") != "Retain" and made.resource is not None:
                    with self._step("DELETE", name, made.definition):
                        self._delete(made)
            except ResourceFailed:
                remaining.append(name)
                continue
            self._made.pop(name)
            self._parsed_resources.pop(name, None)
        return remaining

    def _delete(self, made: _Made) -> None:
        """Remove it, unless somebody else did already."""
        try:
            self._delete_resource(made.resource, made.definition)
        except Exception as error:
            if not _is_gone(error):
                raise

    @contextmanager
    def _step(self, action: str, name: str, definition: dict[str, Any]) -> Iterator[None]:
        """Record an action, and how it came out."""
        self._tell(name, definition, f"{action}_IN_PROGRESS")
        try:
            yield
        except Exception as error:
            reason = _reason(error)
            self._tell(name, definition, f"{action}_FAILED", reason)
            raise ResourceFailed(action.lower(), name, reason) from error
        self._tell(name, definition, f"{action}_COMPLETE")

    def _tell(
        self, name: str, definition: dict[str, Any], status: str, reason: str | None = None
    ) -> None:
        resource = self._parsed_resources.get(name)
        physical_id = str(getattr(resource, "physical_resource_id", None) or "")
        self._record(name, physical_id, definition["Type"], status, reason)


def _can_be_changed(kind: str) -> bool:
    resource = parsing.resource_class_from_type(kind)
    return resource is not None and not hasattr(
        resource.update_from_cloudformation_json, "__isabstractmethod__"
    )


def _check_change(before: dict[str, Any] | None, now: dict[str, Any]) -> None:
    """Refuse a change that nobody would make."""
    kind = now["Type"]
    if before is None or kind in HARMLESS or _can_be_changed(kind):
        return
    old, new = before["Properties"], now["Properties"]
    changed = {name for name in {*old, *new} if old.get(name) != new.get(name)}
    left = changed - _WITHOUT_EFFECT.get(kind, set()) - {"Tags"}
    if left:
        raise NotImplementedError(
            f"the local cloud cannot change {', '.join(sorted(left))} of {kind}"
        )


def _is_gone(error: Exception) -> bool:
    kind = f"{type(error).__name__} {getattr(error, 'error_type', '')}"
    return any(word in kind for word in _GONE)


def _check_nested(resource: Any) -> None:
    """A nested stack that failed is a resource that failed."""
    if getattr(resource, "status", "") in ("ROLLBACK_COMPLETE", "CREATE_FAILED"):
        raise ValidationError(
            message=f"Embedded stack {resource.physical_resource_id} was not successfully created"
        )


def _reason(error: Exception) -> str:
    """As AWS words what a service said, and a missing property."""
    if isinstance(error, NotImplementedError):
        return f"NotImplemented: {error}"
    if isinstance(error, KeyError):
        return f"Properties validation failed: required key [{error.args[0]}] not found"
    message = getattr(error, "message", None)
    if message:
        return f'Resource handler returned message: "{message}"'
    return f"{type(error).__name__}: {error}"
