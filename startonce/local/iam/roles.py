"""What moto's IAM leaves out: AWS's own managed policies, and of templates the managed policies of
roles and the updates of both.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from moto.iam import urls as iam_urls
from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.models import AWSManagedPolicy, IAMBackend, ManagedPolicy, Role, iam_backends
from moto.utilities.utils import get_partition


class LocalIamBackend(IAMBackend):
    """Knows AWS's managed policies, each from when it is first asked for: all at once would take
    longer than everything else at the start.
    """

    @property
    def _url_module(self) -> Any:
        return iam_urls

    def attach_role_policy(self, policy_arn: str, role_name: str) -> None:
        """Raises NotFoundException: there is no such policy or role."""
        self._know(policy_arn)
        super().attach_role_policy(policy_arn, role_name)

    def get_policy(self, policy_arn: str) -> Any:
        """Raises NotFoundException: there is no such policy."""
        self._know(policy_arn)
        return super().get_policy(policy_arn)

    def create_role(
        self,
        role_name: str,
        assume_role_policy_document: str,
        path: str,
        permissions_boundary: str | None,
        *args: Any,
        **kwargs: Any,
    ) -> Role:
        """As moto does, with a boundary that may be one of AWS's policies."""
        self._know(permissions_boundary or "")
        return super().create_role(
            role_name, assume_role_policy_document, path, permissions_boundary, *args, **kwargs
        )

    def put_role_permissions_boundary(self, role_name: str, permissions_boundary: str) -> None:
        """As moto does, with a boundary that may be one of AWS's policies."""
        self._know(permissions_boundary)
        super().put_role_permissions_boundary(role_name, permissions_boundary)

    def _know(self, arn: str) -> None:
        if ":iam::aws:policy/" not in arn or arn in self.managed_policies:
            return
        name = arn.rpartition("/")[2]
        data = _policies_of_aws().get(name)
        if data is None:
            return
        policy = AWSManagedPolicy.from_data(name, self.account_id, self.region_name, data)
        if policy.arn == arn:
            self.managed_policies[arn] = policy


@cache
def _policies_of_aws() -> dict[str, dict[str, Any]]:
    return json.loads(aws_managed_policies_data)  # type: ignore[no-any-return]


class RoleResource(Role):
    """``AWS::IAM::Role``."""

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> Role:
        """Make the role with all its policies."""
        role = Role.create_from_cloudformation_json(
            resource_name, cloudformation_json, account_id, region_name, **kwargs
        )
        _set_policies(role, {}, cloudformation_json["Properties"])
        return role

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Role,
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> Role:
        """The trust, the policies and the boundary, as the template has them now."""
        properties = cloudformation_json["Properties"]
        original_resource.assume_role_policy_document = _text(
            properties["AssumeRolePolicyDocument"]
        )
        original_resource.permissions_boundary_arn = properties.get("PermissionsBoundary")
        original_resource.description = properties.get("Description", "")
        before = getattr(original_resource, "template", {})
        _set_policies(original_resource, before, properties)
        return original_resource

    @classmethod
    def delete_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> None:
        """With its policies, which only the API wants to be taken away first."""
        backend = iam_backends[account_id][get_partition(region_name)]
        for role in list(backend.roles.values()):
            if role.name == resource_name:
                for arn in list(role.managed_policies):
                    backend.detach_role_policy(arn, role.name)
        Role.delete_from_cloudformation_json(
            resource_name, cloudformation_json, account_id, region_name
        )


class ManagedPolicyResource(ManagedPolicy):
    """``AWS::IAM::ManagedPolicy``."""

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: ManagedPolicy,
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> ManagedPolicy:
        """The document and the roles, as the template has them now."""
        properties = cloudformation_json["Properties"]
        for version in original_resource.versions:
            if version.is_default:
                version.document = _text(properties["PolicyDocument"])
        backend = iam_backends[account_id][get_partition(region_name)]
        wanted = properties.get("Roles", [])
        for role in list(backend.roles.values()):
            if (original_resource.arn in role.managed_policies) != (role.name in wanted):
                change = original_resource.attach_to
                if role.name not in wanted:
                    change = original_resource.detach_from
                change(role)
        return original_resource

    @classmethod
    def delete_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> None:
        """Taken from every role first."""
        backend = iam_backends[account_id][get_partition(region_name)]
        for role in list(backend.roles.values()):
            if resource_name in role.managed_policies:
                backend.detach_role_policy(resource_name, role.name)
        backend.delete_policy(resource_name)


def _set_policies(role: Role, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Replace what the template gave the role before; what others gave it stays."""
    backend = iam_backends[role.account_id][role.partition]
    for policy in before.get("Policies", []):
        role.policies.pop(policy["PolicyName"], None)
    for policy in now.get("Policies", []):
        role.put_policy(policy["PolicyName"], _text(policy["PolicyDocument"]))
    wanted = now.get("ManagedPolicyArns", [])
    for arn in set(before.get("ManagedPolicyArns", [])) - set(wanted):
        if arn in role.managed_policies:
            backend.detach_role_policy(arn, role.name)
    for arn in wanted:
        if arn not in role.managed_policies:
            backend.attach_role_policy(arn, role.name)
    role.template = now  # type: ignore[attr-defined]


def _text(document: object) -> str:
    # YAML reads the policy language's version as a date.
    return document if isinstance(document, str) else json.dumps(document, default=str)
