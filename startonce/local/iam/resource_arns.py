"""Which resources a call names, as policies write them: pure look-ups in its parameters.

https://docs.aws.amazon.com/service-authorization/latest/reference/
reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from startonce.local.iam.policy import Access

Resolve = Callable[[str, str], str | None]
"""The ARN behind a name that does not say it: (service, name) -> ARN, or None."""


@dataclass(frozen=True)
class Call:
    """One call of an API.

    Attributes:
        service: the prefix of its actions: ``sqs``, ``states``.
        operation: as actions call it: ``SendMessage`` also for ``SendMessageBatch``.
    """

    service: str
    operation: str
    parameters: Mapping[str, Any]
    partition: str
    region: str
    account: str
    resolve: Resolve = lambda service, name: None

    def arn(self, resource: str) -> str:
        """``arn:…:<resource>`` in the call's region and account; an ARN as it is."""
        if resource.startswith("arn:"):
            return resource
        where = f"{self.region}:{self.account}"
        return f"arn:{self.partition}:{self.service}:{where}:{resource}"

    def first(self, *names: str) -> str | None:
        """The first of these parameters that is given."""
        for name in names:
            value = self.parameters.get(name)
            if isinstance(value, str) and value:
                return value
        return None

    def access(self, resource: str | None, *also: str) -> list[Access]:
        """What is asked for: this call's action on a resource."""
        return [Access(f"{self.service}:{self.operation}", resource, also)]


def accesses(call: Call) -> list[Access]:
    """What the call needs; with ``resource=None`` where the resource is not known here."""
    look = _SERVICES.get(call.service)
    return look(call) if look else call.access(None)


def _sqs(call: Call) -> list[Access]:
    if call.operation == "ListQueues":
        return call.access("*")
    url, name = call.first("QueueUrl"), call.first("QueueName")
    if url:
        account, name = url.rstrip("/").split("/")[-2:]
        return call.access(f"arn:{call.partition}:sqs:{call.region}:{account}:{name}")
    return call.access(call.arn(name) if name else call.first("SourceArn"))


def _sns(call: Call) -> list[Access]:
    if call.operation.startswith("List") and call.operation not in (
        "ListSubscriptionsByTopic",
        "ListTagsForResource",
        "ListEndpointsByPlatformApplication",
    ):
        return call.access("*")
    if call.operation == "CreateTopic":
        return call.access(call.arn(call.first("Name") or ""))
    subscription = call.first("SubscriptionArn")
    if subscription:
        return call.access(subscription.rpartition(":")[0])
    return call.access(
        call.first("TopicArn", "TargetArn", "ResourceArn", "EndpointArn", "PlatformApplicationArn")
        or call.first("PhoneNumber")
    )


def _states(call: Call) -> list[Access]:
    operation = call.operation
    if operation.startswith("SendTask") or operation == "TestState":
        return call.access("*")
    if operation in ("ListStateMachines", "ValidateStateMachineDefinition"):
        return call.access(call.arn("stateMachine:*"))
    if operation == "ListActivities":
        return call.access(call.arn("activity:*"))
    kinds = {"CreateStateMachine": "stateMachine", "CreateActivity": "activity"}
    if operation in kinds:
        return call.access(call.arn(f"{kinds[operation]}:{call.first('name')}"))
    return call.access(
        call.first(
            "stateMachineArn",
            "executionArn",
            "activityArn",
            "resourceArn",
            "mapRunArn",
            "stateMachineAliasArn",
            "stateMachineVersionArn",
        )
    )


_TRANSACTED = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
    "Get": "GetItem",
}


_STATEMENTS = {
    "ExecuteStatement": lambda given: [given["Statement"]],
    "BatchExecuteStatement": lambda given: [one["Statement"] for one in given["Statements"]],
    "ExecuteTransaction": lambda given: [one["Statement"] for one in given["TransactStatements"]],
}


def _dynamodb(call: Call) -> list[Access]:
    if call.operation in _STATEMENTS:
        # The table is somewhere in the statement, which we do not read.
        verbs = (text.split()[0] for text in _STATEMENTS[call.operation](call.parameters))
        return [Access(f"dynamodb:PartiQL{verb.capitalize()}", None) for verb in verbs]
    if call.operation in ("ListTables", "DescribeLimits", "DescribeEndpoints", "ListStreams"):
        return call.access("*")
    if call.operation in ("BatchGetItem", "BatchWriteItem"):
        return _each(call, (_table(call, name) for name in call.parameters["RequestItems"]))
    if call.operation in ("TransactGetItems", "TransactWriteItems"):
        return [
            Access(f"dynamodb:{_TRANSACTED[kind]}", _table(call, item["TableName"]))
            for entry in call.parameters["TransactItems"]
            for kind, item in entry.items()
        ]
    name, index = call.first("TableName"), call.first("IndexName")
    if name and index:
        return call.access(f"{_table(call, name)}/index/{index}")
    if name:
        return call.access(_table(call, name))
    return call.access(call.first("ResourceArn", "StreamArn", "BackupArn", "TableArn"))


def _table(call: Call, name: str) -> str:
    return call.arn(name if name.startswith("arn:") else f"table/{name}")


def _logs(call: Call) -> list[Access]:
    group = call.first("logGroupName", "logGroupIdentifier")
    if call.operation == "DescribeLogGroups":
        group = ""
    elif call.operation in _LOGS_WITHOUT_RESOURCE:
        return call.access("*")
    elif group is None:
        return call.access(None)
    plain = call.arn(f"log-group:{group}").removesuffix(":*")
    # A group alone is matched both by its ARN and by the form that ends in ":*".
    stream = call.first("logStreamName") or ""
    name = f"{plain}:log-stream:{stream}"
    return call.access(name) if stream else call.access(name, plain)


_LOGS_WITHOUT_RESOURCE = frozenset(
    {
        "CreateLogDelivery",
        "DeleteLogDelivery",
        "DescribeQueries",
        "DescribeQueryDefinitions",
        "DescribeResourcePolicies",
        "GetLogDelivery",
        "GetQueryResults",
        "ListLogDeliveries",
        "PutResourcePolicy",
        "StopQuery",
        "UpdateLogDelivery",
    }
)


def _events(call: Call) -> list[Access]:
    if call.operation == "PutEvents":
        entries = call.parameters.get("Entries", [])
        return _each(call, (_bus(call, entry.get("EventBusName")) for entry in entries))
    if call.operation in ("ListRules", "ListEventBuses", "ListRuleNamesByTarget"):
        return call.access("*")
    if call.operation.endswith("EventBus"):
        return call.access(_bus(call, call.first("Name")))
    rule = call.first("Rule", "Name")
    if rule is None or not call.operation.endswith(("Rule", "Targets", "TargetsByRule")):
        return call.access(call.first("ResourceARN"))
    bus = (call.first("EventBusName") or "default").rpartition("/")[2]
    return call.access(call.arn(f"rule/{rule}" if bus == "default" else f"rule/{bus}/{rule}"))


def _bus(call: Call, name: str | None) -> str:
    return call.arn(name if name and name.startswith("arn:") else f"event-bus/{name or 'default'}")


def _sts(call: Call) -> list[Access]:
    # Whoever has credentials may ask whose they are, even against an explicit deny.
    if call.operation == "GetCallerIdentity":
        return []
    return call.access(call.first("RoleArn") or "*")


def _kms(call: Call) -> list[Access]:
    if call.operation in ("CreateKey", "ListKeys", "ListAliases", "GenerateRandom"):
        return call.access("*")
    if call.operation == "ReEncrypt":
        # The key that it was encrypted with is in the ciphertext.
        given = call.first("DestinationKeyId") or ""
        [to] = _kms(replace(call, operation="ReEncryptTo", parameters={"KeyId": given}))
        return [Access("kms:ReEncryptFrom", None), to]
    key = call.first("KeyId")
    if key is None or key.startswith("arn:"):
        return call.access(key if key is None or ":key/" in key else call.resolve("kms", key))
    return call.access(call.resolve("kms", key) if "alias/" in key else call.arn(f"key/{key}"))


def _secretsmanager(call: Call) -> list[Access]:
    if call.operation in ("GetRandomPassword", "ListSecrets"):
        return call.access("*")
    if call.operation == "BatchGetSecretValue":
        get = replace(call, operation="GetSecretValue")
        secrets = call.parameters.get("SecretIdList") or [None]
        each = [_secretsmanager(replace(get, parameters={"SecretId": one})) for one in secrets]
        return [*call.access("*"), *(access for one in each for access in one)]
    if call.operation == "CreateSecret":
        return call.access(call.arn(f"secret:{call.first('Name')}"))
    secret = call.first("SecretId")
    if secret is None or secret.startswith("arn:"):
        return call.access(secret)
    # A secret that is not there has no suffix; AWS too names it as it was asked for.
    return call.access(call.resolve("secretsmanager", secret) or call.arn(f"secret:{secret}"))


def _ssm(call: Call) -> list[Access]:
    if call.operation == "DescribeParameters":
        return call.access("*")
    if "Parameter" not in call.operation:
        return call.access(None)
    names = call.parameters.get("Names") or [call.first("Name", "Path")]
    return _each(call, (call.arn("parameter/" + str(name).lstrip("/")) for name in names))


def _xray(call: Call) -> list[Access]:
    named = ("Group", "SamplingRule", "ForResource", "TagResource", "UntagResource")
    return call.access(None if call.operation.endswith(named) else "*")


_LAMBDA_WITHOUT_RESOURCE = frozenset(
    {
        "CreateEventSourceMapping",
        "GetAccountSettings",
        "ListCodeSigningConfigs",
        "ListEventSourceMappings",
        "ListFunctions",
        "ListLayers",
        "ListLayerVersions",
    }
)
_LAMBDA_NAME = re.compile(
    r"^(?:arn:[^:]+:lambda:(?P<region>[^:]+):)?(?:(?P<account>\d{12}):)?(?:function:)?"
    r"(?P<name>[^:]+)(?::(?P<qualifier>[^:]+))?$"
)


def _lambda(call: Call) -> list[Access]:
    if call.operation in _LAMBDA_WITHOUT_RESOURCE:
        return call.access("*")
    function = call.first("FunctionName")
    named = _LAMBDA_NAME.match(function) if function else None
    if named is None:
        return call.access(call.first("Resource", "ResourceArn"))
    region, account = named["region"] or call.region, named["account"] or call.account
    arn = f"arn:{call.partition}:lambda:{region}:{account}:function:{named['name']}"
    qualifier = named["qualifier"] or call.first("Qualifier")
    return call.access(f"{arn}:{qualifier}" if qualifier else arn)


def _each(call: Call, resources: Iterable[str]) -> list[Access]:
    return [access for name in dict.fromkeys(resources) for access in call.access(name)]


_SERVICES: dict[str, Callable[[Call], list[Access]]] = {
    "dynamodb": _dynamodb,
    "events": _events,
    "kms": _kms,
    "lambda": _lambda,
    "logs": _logs,
    "secretsmanager": _secretsmanager,
    "sns": _sns,
    "sqs": _sqs,
    "ssm": _ssm,
    "states": _states,
    "sts": _sts,
    "xray": _xray,
}
