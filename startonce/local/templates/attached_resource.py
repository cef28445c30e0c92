"""Resources of templates that are properties of other resources: policies, subscriptions."""

from __future__ import annotations

from typing import Any, ClassVar

from moto.core.common_models import CloudFormationModel


class AttachedResource(CloudFormationModel):
    """A resource that is a property of another one: a policy, a subscription.

    Subclasses say how to attach and detach it; an update detaches the old and attaches the new.
    """

    TYPE: ClassVar[str] = ""

    def __init__(
        self, name: str, properties: dict[str, Any], account_id: str, region_name: str
    ) -> None:
        self.name = name
        self.properties = properties
        self.account_id = account_id
        self.region_name = region_name
        self.attach()

    def attach(self) -> None:
        """Give the other resource this property."""
        raise NotImplementedError

    def detach(self) -> None:
        """Take it away; the other resource may be gone already."""

    @property
    def physical_resource_id(self) -> str:
        """What ``Ref`` gives."""
        return self.name

    @classmethod
    def cloudformation_type(cls) -> str:
        """``AWS::Service::Type``."""
        return cls.TYPE

    @staticmethod
    def cloudformation_name_type() -> str:
        """No property names these resources."""
        return ""

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> AttachedResource:
        """Make and attach it."""
        return cls(resource_name, cloudformation_json["Properties"], account_id, region_name)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> AttachedResource:
        """Detach the old, attach the new, under the same name."""
        original_resource.detach()
        properties = cloudformation_json["Properties"]
        return cls(original_resource.name, properties, account_id, region_name)

    def delete(self, account_id: str, region_name: str) -> None:
        """Detach it."""
        self.detach()
