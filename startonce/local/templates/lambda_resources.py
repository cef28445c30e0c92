"""What belongs to a function in a template: settings, permissions, versions and aliases.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/AWS_Lambda.html
"""

from __future__ import annotations

import json
from typing import Any

from moto.awslambda.exceptions import UnknownFunctionException, UnknownPolicyException

from startonce.local.functions.lambda_service import (
    LocalFunction,
    LocalLambdaBackend,
    NotImplementedLocally,
)
from startonce.local.templates.attached_resource import AttachedResource


class _OfFunction(AttachedResource):
    """What belongs to the function that ``FunctionName`` names."""

    @property
    def function_name(self) -> str:
        """Its name, partial ARN or ARN."""
        return str(self.properties["FunctionName"])

    def backend(self) -> LocalLambdaBackend:
        """Where it is."""
        backend = LocalLambdaBackend.of(self.account_id, self.region_name)
        assert isinstance(backend, LocalLambdaBackend)
        return backend

    def function(self) -> LocalFunction | None:
        """The function, or None if it is gone already."""
        try:
            return self.backend().find(self.function_name)
        except UnknownFunctionException:
            return None


class EventInvokeConfig(_OfFunction):
    """A function's asynchronous settings."""

    TYPE = "AWS::Lambda::EventInvokeConfig"

    def attach(self) -> None:
        config = {
            key: self.properties[key] for key in ("DestinationConfig",) if key in self.properties
        }
        for number in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds"):
            if number in self.properties:
                config[number] = int(self.properties[number])
        self.backend().put_function_event_invoke_config(self.function_name, config)

    def detach(self) -> None:
        backend = LocalLambdaBackend.of(self.account_id, self.region_name)
        if self.properties["FunctionName"] in backend._lambdas._functions:
            backend.delete_function_event_invoke_config(self.properties["FunctionName"])


class Permission(_OfFunction):
    """A statement of a function's policy."""

    TYPE = "AWS::Lambda::Permission"

    def attach(self) -> None:
        statement = {key: value for key, value in self.properties.items() if key != "FunctionName"}
        statement["StatementId"] = self.name
        function = self.backend().find(self.function_name)
        function.policy.add_statement(json.dumps(statement))

    def detach(self) -> None:
        function = self.function()
        if function is not None:
            try:
                function.policy.del_statement(self.name)
            except UnknownPolicyException:
                return


class FunctionVersion(_OfFunction):
    """A published version: ``Ref`` is its ARN. Every change of it publishes another one."""

    TYPE = "AWS::Lambda::Version"

    def attach(self) -> None:
        description = self.properties.get("Description", "")
        published = self.backend().publish_version(self.function_name, description)
        self.name = str(published.function_arn)

    def detach(self) -> None:
        """Raises ResourceConflict: an alias leads to it."""
        try:
            self.backend().delete_function(self.function_name, self.name.rpartition(":")[2])
        except UnknownFunctionException:
            return

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> AttachedResource:
        """The new one first: something may need one all the time."""
        new = cls(new_resource_name, cloudformation_json["Properties"], account_id, region_name)
        if new.name != original_resource.name:
            original_resource.detach()
        return new

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        """What ``Fn::GetAtt`` gives."""
        return attr in ("FunctionArn", "Version")

    def get_cfn_attribute(self, attribute_name: str) -> str:
        """What ``Fn::GetAtt`` gives."""
        return self.name if attribute_name == "FunctionArn" else self.name.rpartition(":")[2]


class FunctionAlias(_OfFunction):
    """An alias of a version: ``Ref`` is its ARN."""

    TYPE = "AWS::Lambda::Alias"

    def attach(self) -> None:
        _refuse_what_is_missing(self.properties)
        alias = self.backend().create_alias(
            self.properties["Name"],
            self.function_name,
            self.properties["FunctionVersion"],
            self.properties.get("Description", ""),
            "",
        )
        self.name = alias.arn

    def detach(self) -> None:
        if self.function() is not None:
            self.backend().delete_alias(self.properties["Name"], self.function_name)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> AttachedResource:
        """Without a moment in which there is none, unless it gets another name."""
        properties = cloudformation_json["Properties"]
        before = original_resource.properties
        if any(before[key] != properties[key] for key in ("Name", "FunctionName")):
            return super().update_from_cloudformation_json(
                original_resource, new_resource_name, cloudformation_json, account_id, region_name
            )
        _refuse_what_is_missing(properties)
        original_resource.backend().update_alias(
            properties["Name"],
            properties["FunctionName"],
            properties["FunctionVersion"],
            properties.get("Description", ""),
            "",
        )
        original_resource.properties = properties
        return original_resource  # type: ignore[no-any-return]


def _refuse_what_is_missing(properties: dict[str, Any]) -> None:
    for name in ("RoutingConfig", "ProvisionedConcurrencyConfig"):
        if properties.get(name):
            raise NotImplementedLocally(f"{name} for aliases")
