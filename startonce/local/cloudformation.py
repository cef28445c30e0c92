"""CloudFormation: the resource types that moto lacks, and a clear no to those that nobody has."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from moto.cloudformation import parsing
from moto.cloudformation import urls as cloudformation_urls
from moto.cloudformation.exceptions import ValidationError
from moto.cloudformation.models import CloudFormationBackend
from moto.cloudformation.parsing import get_model_map
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.common_models import CloudFormationModel
from moto.s3.models import s3_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends
from moto.utilities.utils import get_partition
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from startonce.local.event_source_mapping import LocalEventSourceMapping
from startonce.local.iam_roles import ManagedPolicyResource, RoleResource
from startonce.local.lambda_service import LocalFunction, LocalLambdaBackend
from startonce.local.s3_notifications import BucketResource
from startonce.local.sqs_queue import LocalQueue
from startonce.local.step_functions import LocalStateMachine

HARMLESS = {
    "AWS::CDK::Metadata": "it describes the template and makes nothing",
    "AWS::CloudFormation::WaitCondition": "it makes nothing",
    "AWS::CloudFormation::WaitConditionHandle": "it makes nothing",
}
"""Types that are accepted and do nothing, each with the reason why that is no lie."""


class _Attached(CloudFormationModel):
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
    ) -> _Attached:
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
    ) -> _Attached:
        """Detach the old, attach the new, under the same name."""
        original_resource.detach()
        properties = cloudformation_json["Properties"]
        return cls(original_resource.name, properties, account_id, region_name)

    def delete(self, account_id: str, region_name: str) -> None:
        """Detach it."""
        self.detach()


class EventInvokeConfig(_Attached):
    """A function's asynchronous settings."""

    TYPE = "AWS::Lambda::EventInvokeConfig"

    def attach(self) -> None:
        config = {
            key: self.properties[key] for key in ("DestinationConfig",) if key in self.properties
        }
        for number in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds"):
            if number in self.properties:
                config[number] = int(self.properties[number])
        backend = LocalLambdaBackend.of(self.account_id, self.region_name)
        backend.put_function_event_invoke_config(self.properties["FunctionName"], config)

    def detach(self) -> None:
        backend = LocalLambdaBackend.of(self.account_id, self.region_name)
        if self.properties["FunctionName"] in backend._lambdas._functions:
            backend.delete_function_event_invoke_config(self.properties["FunctionName"])


class Subscription(_Attached):
    """An SNS subscription with its attributes."""

    TYPE = "AWS::SNS::Subscription"

    def attach(self) -> None:
        # The topic may be in another region.
        topic = self.properties["TopicArn"]
        self._backend = sns_backends[self.account_id][topic.split(":")[3]]
        subscription = self._backend.subscribe(
            topic, self.properties.get("Endpoint", ""), self.properties["Protocol"]
        )
        self.name = subscription.arn
        # The scope first: it decides how the policy is read.
        for attribute in (
            "FilterPolicyScope",
            "RawMessageDelivery",
            "FilterPolicy",
            "RedrivePolicy",
        ):
            if attribute in self.properties:
                value = self.properties[attribute]
                text = json.dumps(value) if isinstance(value, dict) else value
                self._backend.set_subscription_attributes(subscription.arn, attribute, text)

    def detach(self) -> None:
        self._backend.unsubscribe(self.name)


class TopicPolicy(_Attached):
    """The policy of one or more topics."""

    TYPE = "AWS::SNS::TopicPolicy"

    def attach(self) -> None:
        policy = json.dumps(self.properties["PolicyDocument"])
        for arn in self.properties["Topics"]:
            sns_backends[self.account_id][arn.split(":")[3]].get_topic(arn).policy = policy


class QueuePolicy(_Attached):
    """The policy of one or more queues."""

    TYPE = "AWS::SQS::QueuePolicy"

    def attach(self) -> None:
        policy = json.dumps(self.properties["PolicyDocument"])
        backend = sqs_backends[self.account_id][self.region_name]
        for url in self.properties["Queues"]:
            backend.set_queue_attributes(url.rsplit("/", 1)[-1], {"Policy": policy})


class BucketPolicy(_Attached):
    """The policy of a bucket."""

    TYPE = "AWS::S3::BucketPolicy"

    def attach(self) -> None:
        backend = s3_backends[self.account_id][get_partition(self.region_name)]
        policy = json.dumps(self.properties["PolicyDocument"]).encode()
        backend.put_bucket_policy(self.properties["Bucket"], policy)


class Alarm(_Attached):
    """A CloudWatch alarm: it is there to be seen; nothing here feeds its metric."""

    TYPE = "AWS::CloudWatch::Alarm"

    @staticmethod
    def cloudformation_name_type() -> str:
        return "AlarmName"

    def attach(self) -> None:
        given = self.properties
        cloudwatch_backends[self.account_id][self.region_name].put_metric_alarm(
            name=self.name,
            namespace=given.get("Namespace", ""),
            metric_name=given.get("MetricName", ""),
            comparison_operator=given["ComparisonOperator"],
            evaluation_periods=int(given["EvaluationPeriods"]),
            period=int(given.get("Period", 60)),
            threshold=float(given.get("Threshold", 0)),
            statistic=given.get("Statistic", ""),
            description=given.get("AlarmDescription", ""),
            dimensions=given.get("Dimensions", []),
            alarm_actions=given.get("AlarmActions", []),
            ok_actions=given.get("OKActions", []),
            insufficient_data_actions=given.get("InsufficientDataActions", []),
            unit=given.get("Unit", ""),
            treat_missing_data=given.get("TreatMissingData", "missing"),
        )

    def detach(self) -> None:
        cloudwatch_backends[self.account_id][self.region_name].delete_alarms([self.name])


class LocalCloudFormationBackend(CloudFormationBackend):
    """Refuses a template with a type that nobody implements, before anything is made."""

    @property
    def _url_module(self) -> Any:
        return cloudformation_urls

    def validate_template(self, template: str) -> list[Any]:
        """What AWS checks here: that it is a template. Moto asks cfn-lint, and for it a warning is
        as bad as an error.
        """
        refuse_unknown_types(template)
        return []

    def create_stack(self, name: str, template: str, *args: Any, **kwargs: Any) -> Any:
        """Raises ValidationError for a template with a type that is not implemented."""
        refuse_unknown_types(template)
        return super().create_stack(name, template, *args, **kwargs)

    def update_stack(self, name: str, template: str, *args: Any, **kwargs: Any) -> Any:
        """Raises ValidationError for a template with a type that is not implemented."""
        if template:  # else the present one is used again
            refuse_unknown_types(template)
        return super().update_stack(name, template, *args, **kwargs)

    def create_change_set(
        self, stack_name: str, change_set_name: str, template: str, *args: Any, **kwargs: Any
    ) -> Any:
        """Raises ValidationError for a template with a type that is not implemented."""
        if template:
            refuse_unknown_types(template)
        return super().create_change_set(stack_name, change_set_name, template, *args, **kwargs)


def install_types() -> None:
    """Tell moto of the types above."""
    types = get_model_map()
    types.pop(_Attached.TYPE, None)
    for model in (EventInvokeConfig, Subscription, TopicPolicy, QueuePolicy, BucketPolicy, Alarm):
        types[model.TYPE] = model
    types["AWS::IAM::ManagedPolicy"] = ManagedPolicyResource  # type: ignore[type-abstract]
    types["AWS::IAM::Role"] = RoleResource  # type: ignore[type-abstract]
    types["AWS::S3::Bucket"] = BucketResource  # type: ignore[type-abstract]
    types["AWS::SQS::Queue"] = LocalQueue  # type: ignore[type-abstract]
    types["AWS::Lambda::EventSourceMapping"] = LocalEventSourceMapping  # type: ignore[type-abstract]
    types["AWS::Lambda::Function"] = LocalFunction  # type: ignore[type-abstract]
    types["AWS::StepFunctions::StateMachine"] = LocalStateMachine  # type: ignore[type-abstract]


def mend_sub() -> None:
    """Make ``Fn::Sub`` with a map leave ``$$`` alone: moto turns it into ``$``, and Step Functions'
    context object is written ``$$.Execution.Name``.
    """
    original = parsing.clean_json

    def clean_json(resource_json: Any, resources_map: parsing.ResourceMap) -> Any:
        if not (isinstance(resource_json, dict) and isinstance(resource_json.get("Fn::Sub"), list)):
            return original(resource_json, resources_map)
        text, names = resource_json["Fn::Sub"]
        for name, replacement in names.items():
            text = text.replace("${" + name + "}", str(clean_json(replacement, resources_map)))
        return original({"Fn::Sub": text}, resources_map)

    parsing.clean_json = clean_json


def refuse_unknown_types(template: str) -> None:
    """Raise ValidationError that names each resource of a type that is not implemented."""
    resources = _parsed(template).get("Resources")
    if not isinstance(resources, dict) or not resources:
        raise ValidationError(
            message="Template format error: At least one Resources member must be defined."
        )
    known = {*get_model_map(), *HARMLESS}
    unknown = [
        f"{name} ({resource.get('Type')})"
        for name, resource in resources.items()
        if resource.get("Type") not in known
        and not str(resource.get("Type")).startswith("Custom::")
    ]
    if unknown:
        raise ValidationError(
            message=f"NotImplemented: the local cloud has no {', '.join(sorted(unknown))}. "
            "Leave it out of the local stage, or deploy to AWS."
        )


def _parsed(template: str) -> dict[str, Any]:
    try:
        return json.loads(template)  # type: ignore[no-any-return]
    except ValueError:
        pass
    try:
        return dict(YAML().load(template) or {})
    except (YAMLError, ValueError) as error:
        raise ValidationError(message=f"Template format error: {error}") from None
