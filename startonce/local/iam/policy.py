"""Whether policies allow a request: IAM's evaluation, apart from where policies come from.

What is not evaluated here (a condition operator or key, a policy variable) is never guessed: it is
named, and only where the answer depends on it.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

KNOWN_KEYS = frozenset(
    {
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalisawsservice",
        "aws:principalservicename",
        "aws:principaltype",
        "aws:requestedregion",
        "aws:securetransport",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourceowner",
        "aws:username",
        "aws:viaawsservice",
    }
)
"""Condition keys that are evaluated, in lower case. One that a request lacks is absent on AWS
too."""


@dataclass(frozen=True)
class NotEvaluated:
    """Neither true nor false: the part of a policy that says so is beyond us."""

    what: str


Truth = bool | NotEvaluated


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        name: as error messages have it: an ARN, or ``sns.amazonaws.com``.
        account: of the principal; "" for a service of AWS.
        arns: each ARN by which a policy can name it: the role's and the session's.
        service: ``sns.amazonaws.com`` where a service of AWS asks for itself.
    """

    name: str
    account: str = ""
    arns: frozenset[str] = frozenset()
    service: str = ""


@dataclass(frozen=True)
class Access:
    """What is asked for.

    Attributes:
        resource: its ARN, or "*" where the action has none; None where we do not know it.
        also: other ways to write the same resource in a policy.
    """

    action: str
    resource: str | None
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """Why not, in AWS's words.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
    """

    kind: str
    explicit: bool

    def because(self, action: str) -> str:
        """The end of the error message."""
        if self.explicit:
            article = "an" if self.kind.startswith("identity") else "a"
            return f"with an explicit deny in {article} {self.kind}"
        return f"because no {self.kind} allows the {action} action"


class NotEvaluatedError(Exception):
    """The answer depends on something that is not evaluated; ``args[0]`` names it."""


IDENTITY = "identity-based policy"
RESOURCE = "resource-based policy"
BOUNDARY = "permissions boundary"
SESSION = "session policy"


@dataclass(frozen=True)
class Policies:
    """All the policies that bear on a request, in one account.

    Attributes:
        resource: of the resource itself.
        limits: policies that only narrow what the others allow: :data:`BOUNDARY`, :data:`SESSION`.
    """

    identity: Sequence[Policy] = ()
    resource: Sequence[Policy] = ()
    limits: Mapping[str, Sequence[Policy]] = field(default_factory=dict)


def refusal(
    policies: Policies, caller: Caller, access: Access, context: Mapping[str, str]
) -> Refusal | None:
    """Why the access is refused; None where it is allowed. An explicit deny anywhere wins; else
    one policy of the identity or of the resource must allow it, and each limit too.

    Args:
        context: condition keys, in lower case, and their values.

    Raises:
        NotEvaluatedError: it depends on something that is not evaluated.
    """
    identity = _Opinion(policies.identity, caller, access, context)
    resource = _Opinion(policies.resource, caller, access, context)
    limits = {
        kind: _Opinion(limit, caller, access, context) for kind, limit in policies.limits.items()
    }
    for kind, opinion in {IDENTITY: identity, RESOURCE: resource, **limits}.items():
        if opinion.denies is True:
            return Refusal(kind, explicit=True)
    opinions = (identity, resource, *limits.values())
    if _certain(_any(opinion.denies for opinion in opinions)):
        raise AssertionError("an explicit deny is found above")
    if not _certain(_any((identity.allows, resource.allows))):
        return Refusal(RESOURCE if caller.service else IDENTITY, explicit=False)
    for kind, opinion in limits.items():
        if not _certain(opinion.allows):
            return Refusal(kind, explicit=False)
    return None


@dataclass(frozen=True)
class _Opinion:
    policies: Sequence[Policy]
    caller: Caller
    access: Access
    context: Mapping[str, str]

    @property
    def denies(self) -> Truth:
        return self._any_statement(allow=False)

    @property
    def allows(self) -> Truth:
        return self._any_statement(allow=True)

    def _any_statement(self, allow: bool) -> Truth:
        return _any(
            statement.matches(self.caller, self.access, self.context)
            for policy in self.policies
            for statement in policy.statements
            if statement.allow is allow
        )


@dataclass(frozen=True)
class Policy:
    """A policy document."""

    statements: tuple[Statement, ...]

    @staticmethod
    @lru_cache(maxsize=1024)
    def parse(text: str) -> Policy:
        """The policy in a JSON text. One without statements allows and denies nothing.

        Raises:
            ValueError: the text is no JSON object.
        """
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError("a policy is a JSON object")
        # Before 2012 there were no variables: "${" stood for itself.
        variables = document.get("Version") == "2012-10-17"
        statements = _listed(document.get("Statement", []))
        return Policy(tuple(Statement(statement, variables) for statement in statements))


class Statement:
    """One statement of a policy."""

    def __init__(self, element: Mapping[str, Any], variables: bool) -> None:
        self.allow = element.get("Effect") == "Allow"
        self._element = element
        self._variables = variables
        self._conditions = [
            (operator, key, tuple(_text(value) for value in _listed(values)))
            for operator, keys in (element.get("Condition") or {}).items()
            for key, values in keys.items()
        ]

    def matches(self, caller: Caller, access: Access, context: Mapping[str, str]) -> Truth:
        """Whether it speaks of this request."""
        if not self._action(access.action):
            return False
        return _all(
            (self._principal(caller), self._resource(access, context), self._condition(context))
        )

    def _action(self, action: str) -> bool:
        if "NotAction" in self._element:
            return not _any_glob(self._element["NotAction"], action)
        return _any_glob(self._element.get("Action", []), action)

    def _principal(self, caller: Caller) -> Truth:
        if "NotPrincipal" in self._element:
            return _not(_named(self._element["NotPrincipal"], caller, by_account=True))
        if "Principal" not in self._element:
            return True  # the policy of an identity speaks of that identity
        # An account as the principal leaves it to the policies of its identities whom they allow.
        return _named(self._element["Principal"], caller, by_account=not self.allow)

    def _resource(self, access: Access, context: Mapping[str, str]) -> Truth:
        if "NotResource" in self._element:
            return _not(self._any_resource(self._element["NotResource"], access, context))
        if "Resource" not in self._element:
            return True  # a role's trust policy has none
        return self._any_resource(self._element["Resource"], access, context)

    def _any_resource(self, patterns: object, access: Access, context: Mapping[str, str]) -> Truth:
        return _any(self._one_resource(pattern, access, context) for pattern in _listed(patterns))

    def _one_resource(self, pattern: str, access: Access, context: Mapping[str, str]) -> Truth:
        if pattern == "*":
            return True
        if access.resource is None:
            return NotEvaluated(f"the resource of {access.action}")
        expanded = self._expand(pattern, context)
        if not isinstance(expanded, str):
            return expanded
        return any(_glob(expanded).match(name) for name in (access.resource, *access.also))

    def _condition(self, context: Mapping[str, str]) -> Truth:
        return _all(
            self._one_condition(operator, key, values, context)
            for operator, key, values in self._conditions
        )

    def _one_condition(
        self, operator: str, key: str, values: Sequence[str], context: Mapping[str, str]
    ) -> Truth:
        name = key.lower()
        if name not in context and name not in KNOWN_KEYS:
            return NotEvaluated(f"the condition key {key}")
        quantifier, _, bare = operator.rpartition(":")
        base = bare.removesuffix("IfExists")
        actual = context.get(name)
        if base == "Null":
            return (actual is None) == (values[0].lower() == "true")
        if base not in _OPERATORS or quantifier not in ("", "ForAnyValue", "ForAllValues"):
            return NotEvaluated(f"the condition operator {operator}")
        compare, negated = _OPERATORS[base]
        if actual is None:
            return base != bare or quantifier == "ForAllValues" or (negated and not quantifier)
        found = _any(self._compare(compare, value, actual, context) for value in values)
        return _not(found) if negated else found

    def _compare(
        self,
        compare: Callable[[str, str], bool],
        value: str,
        actual: str,
        context: Mapping[str, str],
    ) -> Truth:
        expanded = self._expand(value, context)
        return compare(expanded, actual) if isinstance(expanded, str) else expanded

    def _expand(self, pattern: str, context: Mapping[str, str]) -> str | Truth:
        """With its variables replaced; False where one of them has no value.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
        """
        if not self._variables or "${" not in pattern:
            return pattern
        expanded = ""
        end = 0
        for variable in _VARIABLE.finditer(pattern):
            value = _value(variable, context)
            if not isinstance(value, str):
                return value
            expanded += pattern[end : variable.start()] + _literal(value)
            end = variable.end()
        return expanded + pattern[end:]


_VARIABLE = re.compile(r"\$\{(?P<name>[^},]+)(?:,\s*'(?P<default>[^']*)')?\}")
_LITERALS = {"*": "\ue000", "?": "\ue001"}
"""What stands for a character that is no wildcard."""


def _value(variable: re.Match[str], context: Mapping[str, str]) -> str | Truth:
    name = variable["name"].strip()
    if name in ("*", "?", "$"):
        return name
    if name.lower() in context:
        return context[name.lower()]
    if name.lower() not in KNOWN_KEYS:
        return NotEvaluated(f"the policy variable ${{{name}}}")
    default = variable["default"]
    return False if default is None else str(default)


def _literal(text: str) -> str:
    for character, sign in _LITERALS.items():
        text = text.replace(character, sign)
    return text


def _plain(text: str) -> str:
    for character, sign in _LITERALS.items():
        text = text.replace(sign, character)
    return text


@lru_cache(maxsize=4096)
def _glob(pattern: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    wildcards = {"*": ".*", "?": "."}
    parts = (wildcards.get(character) or re.escape(_plain(character)) for character in pattern)
    return re.compile("".join(parts) + r"\Z", flags | re.DOTALL)


def _any_glob(patterns: object, action: str) -> bool:
    return any(_glob(pattern, re.IGNORECASE).match(action) for pattern in _listed(patterns))


def _arn_like(pattern: str, actual: str) -> bool:
    """Each of the six parts of an ARN by itself."""
    patterns, parts = pattern.split(":", 5), actual.split(":", 5)
    return len(patterns) == len(parts) and all(
        _glob(one).match(part) for one, part in zip(patterns, parts, strict=True)
    )


_OPERATORS: dict[str, tuple[Callable[[str, str], bool], bool]] = {
    name: (compare, negated)
    for names, compare in (
        (
            ("StringEquals", "StringNotEquals"),
            lambda value, actual: _plain(value) == actual,
        ),
        (
            ("StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"),
            lambda value, actual: _plain(value).lower() == actual.lower(),
        ),
        (
            ("StringLike", "StringNotLike"),
            lambda value, actual: _glob(value).match(actual) is not None,
        ),
        (("ArnEquals", "ArnNotEquals"), _arn_like),
        (("ArnLike", "ArnNotLike"), _arn_like),
        (("Bool", ""), lambda value, actual: value.lower() == actual.lower()),
    )
    for name, negated in zip(names, (False, True), strict=True)
    if name
}
"""Condition operators: how a value compares, and whether the operator is the opposite of it."""


def _named(element: object, caller: Caller, by_account: bool) -> Truth:
    """Whether a principal element names the caller.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html

    Args:
        by_account: whether the caller's account stands for the caller.
    """
    kinds = element if isinstance(element, Mapping) else {"AWS": element}
    return _any(
        _named_as(kind, name, caller, by_account)
        for kind, names in kinds.items()
        for name in _listed(names)
    )


def _named_as(kind: str, name: str, caller: Caller, by_account: bool) -> Truth:
    if kind == "Service":
        return bool(caller.service) and name in ("*", caller.service)
    if kind == "Federated":
        return False
    if kind != "AWS":
        return NotEvaluated(f"the principal type {kind}")
    if name == "*" or name in caller.arns:
        return True
    account = name.split(":")[4] if name.endswith(":root") else name
    return by_account and bool(caller.account) and account == caller.account


def _certain(truth: Truth) -> bool:
    if isinstance(truth, NotEvaluated):
        raise NotEvaluatedError(truth.what)
    return truth


def _all(truths: Iterable[Truth]) -> Truth:
    """False at the first that is false; what is not evaluated matters where none is."""
    beyond: NotEvaluated | None = None
    for truth in truths:
        if truth is False:
            return False
        if isinstance(truth, NotEvaluated):
            beyond = beyond or truth
    return beyond or True


def _any(truths: Iterable[Truth]) -> Truth:
    beyond: NotEvaluated | None = None
    for truth in truths:
        if truth is True:
            return True
        if isinstance(truth, NotEvaluated):
            beyond = beyond or truth
    return beyond or False


def _not(truth: Truth) -> Truth:
    return truth if isinstance(truth, NotEvaluated) else not truth


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
