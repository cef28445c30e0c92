"""Who may do what in this cloud, by the policies that IAM and the resources hold at this moment.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from moto.awslambda.exceptions import UnknownFunctionException
from moto.awslambda.models import lambda_backends
from moto.backends import get_backend
from moto.iam.exceptions import NotFoundException
from moto.iam.models import ManagedPolicy, Role, iam_backends
from moto.s3.models import s3_backends
from moto.sns.models import sns_backends
from moto.sqs.models import sqs_backends

from startonce.local.iam.credentials import Session
from startonce.local.iam.policy import (
    BOUNDARY,
    SESSION,
    Access,
    Caller,
    Policies,
    Policy,
    Refusal,
    refusal,
)

_NOTHING = Policy(())


class AccessDeniedError(Exception):
    """AWS's own words are its text."""

    def __init__(self, caller: Caller, access: Access, why: Refusal) -> None:
        action = action_as_written(access.action)
        resource = access.resource or "*"
        shown = f'"{resource}"' if action.startswith("s3:") else resource
        self.action = access.action
        super().__init__(
            f"User: {caller.name} is not authorized to perform: {action} on resource: {shown} "
            + why.because(action)
        )


class Permissions:
    """Answers for every region and account.

    Args:
        enforced: False lets everybody do everything.
    """

    def __init__(self, enforced: bool = True) -> None:
        self.enforced = enforced

    def check_session(self, session: Session, access: Access, region: str) -> None:
        """Raises AccessDeniedError when the role may not, NotEvaluatedError when we do not know."""
        if not self.enforced:
            return
        role = _role(session.role_arn)
        texts = _Texts(_role_policies(role), _resource_policies(access), _limits(session, role))
        caller = Caller(session.arn, session.account, frozenset({session.role_arn, session.arn}))
        context = {
            "aws:principalaccount": session.account,
            "aws:principalarn": session.role_arn,
            "aws:principalisawsservice": "false",
            "aws:principaltype": "AssumedRole",
            "aws:requestedregion": region,
            **_COMMON,
        }
        _raise_if_refused(texts, caller, access, context)

    def check_service(self, service: str, source_arn: str, access: Access) -> None:
        """The same for a service of AWS that acts for ``source_arn``, such as SNS for a topic: the
        resource's own policy decides.
        """
        if not self.enforced:
            return
        texts = _Texts(resource=_resource_policies(access))
        context = _for_source(service, source_arn)
        _raise_if_refused(texts, Caller(service, service=service), access, context)

    def is_trusted(self, role_arn: str, service: str, source_arn: str) -> bool:
        """Whether the role's trust policy lets a service, such as ``lambda.amazonaws.com``, assume
        it for ``source_arn``, such as a function. Raises NotEvaluatedError.
        """
        if not self.enforced:
            return True
        role = _role(role_arn)
        if role is None:
            return False
        texts = _Texts(resource=(role.assume_role_policy_document,))
        access = Access("sts:AssumeRole", role_arn)
        region = source_arn.split(":")[3]
        # The principal may be written with the region too: lambda.us-east-1.amazonaws.com.
        names = (service, service.replace(".", f".{region}.", 1))
        return any(
            _why(texts, Caller(name, service=name), access, _items(_for_source(name, source_arn)))
            is None
            for name in names
        )


_COMMON = {
    # Local traffic never leaves the machine: a policy that wants TLS has nothing to fear from it.
    "aws:securetransport": "true",
    "aws:viaawsservice": "false",
}


def _for_source(service: str, source_arn: str) -> dict[str, str]:
    account = source_arn.split(":")[4]
    return {
        "aws:principalisawsservice": "true",
        "aws:principalservicename": service,
        "aws:sourceaccount": account,
        "aws:sourcearn": source_arn,
        "aws:sourceowner": account,
        **_COMMON,
    }


def action_as_written(action: str) -> str:
    """As the service's own error messages write it."""
    service, _, name = action.partition(":")
    return {"sqs": action.lower(), "sns": f"SNS:{name}"}.get(service, action)


def resolve(region: str, account: str) -> Callable[[str, str], str | None]:
    """Finds the ARN behind the name of a secret or the alias of a key."""

    def look(service: str, name: str) -> str | None:
        backend: Any = get_backend(service)[account][region]  # type: ignore[call-overload]
        if service == "secretsmanager":
            secret = backend.secrets.get(name)
            return str(secret.arn) if secret else None
        key = backend.get_key_id_from_alias(backend.get_alias_name(name))
        return str(backend.keys[key].arn) if key else None

    return look


@dataclass(frozen=True)
class _Texts:
    """The texts of :class:`Policies`."""

    identity: tuple[str, ...] = ()
    resource: tuple[str, ...] = ()
    limits: tuple[tuple[str, tuple[str, ...]], ...] = ()


def _raise_if_refused(
    texts: _Texts, caller: Caller, access: Access, context: dict[str, str]
) -> None:
    why = _why(texts, caller, access, _items(context))
    if why is not None:
        raise AccessDeniedError(caller, access, why)


@lru_cache(maxsize=4096)
def _why(
    texts: _Texts, caller: Caller, access: Access, context: tuple[tuple[str, str], ...]
) -> Refusal | None:
    """Remembered, because the same texts give the same answer."""
    policies = Policies(
        identity=_parsed(texts.identity),
        resource=_parsed(texts.resource),
        limits={kind: _parsed(limit) for kind, limit in texts.limits},
    )
    return refusal(policies, caller, access, dict(context))


def _items(context: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(context.items())


def _role(arn: str) -> Role | None:
    _, partition, _, _, account, _ = arn.split(":", 5)
    try:
        return iam_backends[account][partition].get_role_by_arn(arn)
    except NotFoundException:
        return None


def _role_policies(role: Role | None) -> tuple[str, ...]:
    if role is None:
        return ()
    managed = [_document(policy) for policy in list(role.managed_policies.values())]
    return (*list(role.policies.values()), *managed)


def _document(policy: ManagedPolicy) -> str:
    """Of its default version."""
    return next(version.document for version in policy.versions if version.is_default)


def _limits(session: Session, role: Role | None) -> tuple[tuple[str, tuple[str, ...]], ...]:
    limits: list[tuple[str, tuple[str, ...]]] = []
    if session.policy:
        limits.append((SESSION, (session.policy,)))
    boundary = role.permissions_boundary_arn if role else None
    if boundary:
        _, partition, _ = session.role_arn.split(":", 2)
        managed = iam_backends[session.account][partition].managed_policies.get(boundary)
        limits.append((BOUNDARY, (_document(managed),) if managed else ()))
    return tuple(limits)


def _resource_policies(access: Access) -> tuple[str, ...]:
    look = _RESOURCES.get(access.action.partition(":")[0])
    text = look(access.resource) if look and access.resource not in (None, "*") else None
    return (text,) if text else ()


def _queue_policy(arn: str) -> str | None:
    _, _, _, region, account, name = arn.split(":")
    queue = sqs_backends[account][region].queues.get(name)
    return queue.policy if queue else None


def _topic_policy(arn: str) -> str | None:
    if arn.count(":") != 5:
        return None
    _, _, _, region, account, _ = arn.split(":")
    topic = sns_backends[account][region].topics.get(arn)
    return topic.policy if topic else None


def _function_policy(arn: str) -> str | None:
    _, _, _, region, account, *name = arn.split(":")
    if not name or name[0] != "function":
        return None
    # A version or an alias may have a policy of its own beside the function's.
    found = []
    for qualified in dict.fromkeys((":".join(arn.split(":")[:7]), arn)):
        try:
            found.append(lambda_backends[account][region].get_function(qualified))
        except UnknownFunctionException:
            continue
    statements = [one for function in found for one in function.policy.statements]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _bucket_policy(arn: str) -> str | None:
    bucket = arn.split(":", 5)[5].partition("/")[0]
    for account in list(s3_backends.values()):
        for backend in list(account.values()):
            if bucket in backend.buckets:
                policy = backend.buckets[bucket].policy
                return policy.decode() if policy else None
    return None


_RESOURCES: dict[str, Callable[[Any], str | None]] = {
    "lambda": _function_policy,
    "s3": _bucket_policy,
    "sns": _topic_policy,
    "sqs": _queue_policy,
}


def _parsed(texts: Sequence[str]) -> Sequence[Policy]:
    return [_parse(text) for text in texts]


def _parse(text: str) -> Policy:
    try:
        return Policy.parse(text)
    except ValueError:
        return _NOTHING  # AWS refuses such a text when it is given
