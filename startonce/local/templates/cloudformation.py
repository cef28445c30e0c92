"""CloudFormation: the resource types that moto lacks, and a clear no to those that nobody has."""

from __future__ import annotations

import json
from typing import Any

from moto.cloudformation import urls as cloudformation_urls
from moto.cloudformation.exceptions import (
    AlreadyExistsException,
    CloudFormationError,
    ValidationError,
)
from moto.cloudformation.models import ChangeSet, CloudFormationBackend, Stack
from moto.cloudformation.parsing import get_model_map
from moto.cloudformation.utils import generate_stack_id
from moto.cloudwatch.models import cloudwatch_backends
from moto.logs.models import LogGroup
from moto.s3.models import s3_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends
from moto.utilities.utils import get_partition
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from startonce.local.events.s3_notifications import BucketResource
from startonce.local.functions.lambda_service import LocalFunction
from startonce.local.iam.roles import ManagedPolicyResource, RoleResource
from startonce.local.queues.event_source_mapping import LocalEventSourceMapping
from startonce.local.queues.sqs_queue import LocalQueue
from startonce.local.states.step_functions import LocalStateMachine
from startonce.local.templates.attached_resource import AttachedResource
from startonce.local.templates.lambda_resources import (
    EventInvokeConfig,
    FunctionAlias,
    FunctionVersion,
    Permission,
)
from startonce.local.templates.stack_resources import HARMLESS
from startonce.local.templates.stacks import LocalStack


class Subscription(AttachedResource):
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


class TopicPolicy(AttachedResource):
    """The policy of one or more topics."""

    TYPE = "AWS::SNS::TopicPolicy"

    def attach(self) -> None:
        policy = json.dumps(self.properties["PolicyDocument"])
        for arn in self.properties["Topics"]:
            sns_backends[self.account_id][arn.split(":")[3]].get_topic(arn).policy = policy


class QueuePolicy(AttachedResource):
    """The policy of one or more queues."""

    TYPE = "AWS::SQS::QueuePolicy"

    def attach(self) -> None:
        policy = json.dumps(self.properties["PolicyDocument"])
        backend = sqs_backends[self.account_id][self.region_name]
        for url in self.properties["Queues"]:
            backend.set_queue_attributes(url.rsplit("/", 1)[-1], {"Policy": policy})


class BucketPolicy(AttachedResource):
    """The policy of a bucket."""

    TYPE = "AWS::S3::BucketPolicy"

    def attach(self) -> None:
        backend = s3_backends[self.account_id][get_partition(self.region_name)]
        policy = json.dumps(self.properties["PolicyDocument"]).encode()
        backend.put_bucket_policy(self.properties["Bucket"], policy)


class Alarm(AttachedResource):
    """A CloudWatch alarm: it is there to be seen; nothing here feeds its metric."""

    TYPE = "AWS::CloudWatch::Alarm"

    @staticmethod
    def cloudformation_name_type() -> str:
        return "AlarmName"

    def attach(self) -> None:
        given = self.properties
        self.name = given.get("AlarmName", self.name)
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


class LogGroupResource(LogGroup):
    """``AWS::Logs::LogGroup``: moto cannot change one."""

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Any,
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> Any:
        """How long it keeps what it has; with another name it is another one."""
        properties = cloudformation_json["Properties"]
        name = properties.get("LogGroupName", original_resource.name)
        if name == original_resource.name:
            original_resource.set_retention_policy(properties.get("RetentionInDays"))
            return original_resource
        made = cls.create_from_cloudformation_json(
            name, cloudformation_json, account_id, region_name
        )
        original_resource.delete(account_id, region_name)
        return made


class ChangeSetNotFound(CloudFormationError):
    """There is no such change set."""

    code = "ChangeSetNotFound"


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

    def create_stack(
        self, name: str, template: str, parameters: dict[str, Any], *args: Any, **options: Any
    ) -> LocalStack:
        """Make a stack; its status says whether its resources could be made.

        Raises:
            ValidationError: the template cannot be read, or has a type that is not implemented.
            AlreadyExistsException: there is one with this name.
        """
        refuse_unknown_types(template)
        self._refuse_a_name_that_is_taken(name)
        stack = LocalStack(  # type: ignore[abstract]
            stack_id=generate_stack_id(name, self.region_name, self.account_id),
            name=name,
            template=template,
            parameters=parameters,
            account_id=self.account_id,
            region_name=self.region_name,
            **options,
        )
        self.stacks[stack.stack_id] = stack
        stack.create_resources()
        return stack

    def update_stack(
        self,
        name: str,
        template: str,
        role_arn: str | None,
        parameters: list[dict[str, Any]],
        tags: dict[str, str] | None,
    ) -> Stack:
        """Change a stack; its status says whether its resources could be changed.

        Raises:
            ValidationError: see :meth:`create_stack`; or there is nothing to change.
        """
        stack = self.get_stack(name)
        template = template or str(stack.template)  # none: the present one is used again
        refuse_unknown_types(template)
        resolved = self._resolve_update_parameters(stack, parameters)
        same = stack.has_template(template) and stack.has_parameters(resolved)
        if same and tags in (None, stack.tags):
            raise ValidationError(message="No updates are to be performed.")
        stack.update(template, role_arn, parameters=resolved, tags=tags)
        return stack

    def delete_stack(self, name_or_stack_id: str) -> None:
        """Remove a stack, unless some of its resources remain; one that is gone is no error."""
        for stack in list(self.stacks.values()):
            if name_or_stack_id in (stack.name, stack.stack_id):
                stack.delete()
                if stack.status == "DELETE_COMPLETE":
                    self.deleted_stacks[stack.stack_id] = self.stacks.pop(stack.stack_id)

    def create_change_set(
        self,
        stack_name: str,
        change_set_name: str,
        template: str,
        parameters: dict[str, str],
        description: str,
        change_set_type: str,
        *args: Any,
        **options: Any,
    ) -> tuple[str, str]:
        """Prepare a change, or a new stack.

        Raises:
            ValidationError, AlreadyExistsException: see :meth:`create_stack`.
        """
        if template:
            refuse_unknown_types(template)
        if change_set_type == "CREATE":
            self._refuse_a_name_that_is_taken(stack_name)
        elif self.get_stack(stack_name).status == "ROLLBACK_COMPLETE":
            raise ValidationError(
                message=f"Stack:{self.get_stack(stack_name).stack_id} is in ROLLBACK_COMPLETE "
                "state and can not be updated."
            )
        return super().create_change_set(
            stack_name,
            change_set_name,
            template,
            parameters,
            description,
            change_set_type,
            *args,
            **options,
        )

    def delete_change_set(self, change_set_name: str) -> None:
        """Forget it; one that is not there is no error."""
        for key, one in list(self.change_sets.items()):
            if change_set_name in (key, one.change_set_name):
                del self.change_sets[key]

    def execute_change_set(self, change_set_name: str, stack_name: str | None = None) -> None:
        """Make the stack, or change it; its status says whether that could be done.

        https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_ExecuteChangeSet.html

        Raises:
            ChangeSetNotFound: there is none.
            ValidationError: the template cannot be read.
        """
        change_set = self._change_set(change_set_name, stack_name)
        stack = self.stacks[change_set.stack_id]
        assert isinstance(stack, LocalStack)
        if change_set.change_set_type == "CREATE":
            stack.create_from_change_set(change_set.template, change_set.parameters)
        else:
            stack.update(
                change_set.template,
                change_set.role_arn,
                parameters=change_set.parameters,
                tags=change_set.tags or None,
            )
        done = stack.status in ("CREATE_COMPLETE", "CREATE_IN_PROGRESS", "UPDATE_COMPLETE")
        change_set.execution_status = "EXECUTE_COMPLETE" if done else "EXECUTE_FAILED"

    def _change_set(self, name: str, stack_name: str | None) -> ChangeSet:
        for key, one in reversed(self.change_sets.items()):
            of_this = stack_name in (None, one.stack_name, one.stack_id)
            if name == key or (name == one.change_set_name and of_this):
                return one
        raise ChangeSetNotFound(f"ChangeSet [{name}] does not exist")

    def _refuse_a_name_that_is_taken(self, name: str) -> None:
        """A stack whose first change set was never executed gives way."""
        for stack in list(self.stacks.values()):
            if stack.name == name:
                if stack.status != "REVIEW_IN_PROGRESS":
                    raise AlreadyExistsException(f"Stack [{name}] already exists")
                del self.stacks[stack.stack_id]


def install_types() -> None:
    """Tell moto of the types above."""
    types = get_model_map()
    types.pop(AttachedResource.TYPE, None)
    for model in (
        EventInvokeConfig,
        Permission,
        FunctionVersion,
        FunctionAlias,
        Subscription,
        TopicPolicy,
        QueuePolicy,
        BucketPolicy,
        Alarm,
    ):
        types[model.TYPE] = model
    types["AWS::IAM::ManagedPolicy"] = ManagedPolicyResource  # type: ignore[type-abstract]
    types["AWS::IAM::Role"] = RoleResource  # type: ignore[type-abstract]
    types["AWS::Logs::LogGroup"] = LogGroupResource  # type: ignore[type-abstract]
    types["AWS::S3::Bucket"] = BucketResource  # type: ignore[type-abstract]
    types["AWS::SQS::Queue"] = LocalQueue  # type: ignore[type-abstract]
    types["AWS::Lambda::EventSourceMapping"] = LocalEventSourceMapping  # type: ignore[type-abstract]
    types["AWS::Lambda::Function"] = LocalFunction  # type: ignore[type-abstract]
    types["AWS::StepFunctions::StateMachine"] = LocalStateMachine  # type: ignore[type-abstract]


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
