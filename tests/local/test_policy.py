"""Policies are evaluated as IAM does; what is not evaluated is named.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from startonce.local.iam.policy import (
    BOUNDARY,
    IDENTITY,
    RESOURCE,
    SESSION,
    Access,
    Caller,
    NotEvaluatedError,
    Policies,
    Policy,
    refusal,
)

ACCOUNT = "123456789012"
QUEUE = f"arn:aws:sqs:us-east-1:{ACCOUNT}:orders"
TOPIC = f"arn:aws:sns:us-east-1:{ACCOUNT}:orders"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/worker"
SESSION_ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/worker/f"
WORKER = Caller(SESSION_ARN, ACCOUNT, frozenset({ROLE, SESSION_ARN}))
SNS = Caller("sns.amazonaws.com", service="sns.amazonaws.com")
SEND = Access("sqs:SendMessage", QUEUE)
CONTEXT = {"aws:securetransport": "true", "aws:principalarn": ROLE}

ALLOWED = "allowed"
IMPLICIT = "implicitly denied"
EXPLICIT = "explicitly denied"


def policy(*statements: dict[str, Any], version: str = "2012-10-17") -> Policy:
    return Policy.parse(json.dumps({"Version": version, "Statement": list(statements)}))


def allow(action: Any = "sqs:SendMessage", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: Any = "sqs:SendMessage", resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {**allow(action, resource, **more), "Effect": "Deny"}


def verdict(
    *statements: dict[str, Any],
    access: Access = SEND,
    context: dict[str, str] = CONTEXT,
    version: str = "2012-10-17",
) -> str:
    """Of an identity with one policy."""
    policies = Policies(identity=[policy(*statements, version=version)])
    return outcome(policies, access=access, context=context)


def resource_verdict(
    *statements: dict[str, Any], caller: Caller = WORKER, context: dict[str, str] = CONTEXT
) -> str:
    """Of a resource with one policy."""
    return outcome(Policies(resource=[policy(*statements)]), caller, context=context)


def outcome(
    policies: Policies,
    caller: Caller = WORKER,
    access: Access = SEND,
    context: dict[str, str] = CONTEXT,
) -> str:
    why = refusal(policies, caller, access, context)
    if why is None:
        return ALLOWED
    return EXPLICIT if why.explicit else IMPLICIT


def when(operator: str, key: str, value: Any) -> dict[str, Any]:
    return allow(Condition={operator: {key: value}})


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("sqs:SendMessage", ALLOWED),
        ("SQS:sendmessage", ALLOWED),
        ("sqs:*", ALLOWED),
        ("sqs:Send*", ALLOWED),
        ("sqs:SendMessag?", ALLOWED),
        ("*", ALLOWED),
        (["sns:*", "sqs:SendMessage"], ALLOWED),
        ("sqs:SendMessage?", IMPLICIT),
        ("sqs:Send", IMPLICIT),
        ("sqs:ReceiveMessage", IMPLICIT),
        ("sqs.SendMessage", IMPLICIT),
        ([], IMPLICIT),
    ],
)
def test_actions_match_without_case_and_with_wildcards(pattern: Any, expected: str) -> None:
    assert verdict(allow(pattern)) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ALLOWED),
        (QUEUE, ALLOWED),
        ("arn:aws:sqs:*:*:orders", ALLOWED),
        ("arn:aws:sqs:us-east-1:123456789012:*", ALLOWED),
        ("arn:aws:sqs:us-east-1:123456789012:order?", ALLOWED),
        ("arn:aws:sqs:*", ALLOWED),
        ([TOPIC, QUEUE], ALLOWED),
        (QUEUE.upper(), IMPLICIT),
        (QUEUE + "-2", IMPLICIT),
        (QUEUE[:-1], IMPLICIT),
        (TOPIC, IMPLICIT),
    ],
)
def test_resources_match_with_case_and_wildcards(pattern: Any, expected: str) -> None:
    assert verdict(allow(resource=pattern)) == expected


def test_a_character_of_regular_expressions_stands_for_itself() -> None:
    access = Access("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:a+b.fifo")
    assert verdict(allow(resource="arn:aws:sqs:us-east-1:1:a+b.fifo"), access=access) == ALLOWED
    access = Access("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:abXfifo")
    assert verdict(allow(resource="arn:aws:sqs:us-east-1:1:ab.fifo"), access=access) == IMPLICIT


def test_another_way_to_write_the_resource_matches_too() -> None:
    access = Access("sqs:SendMessage", QUEUE, also=(TOPIC,))
    assert verdict(allow(resource=TOPIC), access=access) == ALLOWED
    assert verdict(allow(), deny(resource=TOPIC), access=access) == EXPLICIT


def test_not_action_and_not_resource_are_the_rest() -> None:
    rest = {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}
    assert verdict(rest) == ALLOWED
    assert verdict({**rest, "NotAction": ["iam:*", "sqs:*"]}) == IMPLICIT
    elsewhere = {"Effect": "Allow", "Action": "*", "NotResource": QUEUE}
    assert verdict(elsewhere) == IMPLICIT
    assert verdict({**elsewhere, "NotResource": TOPIC}) == ALLOWED


def test_an_explicit_deny_wins_wherever_it_stands() -> None:
    assert verdict(allow("*"), deny()) == EXPLICIT
    assert verdict(deny(), allow("*")) == EXPLICIT
    assert verdict(allow("*"), deny(resource=TOPIC)) == ALLOWED
    by_resource = Policies([policy(allow())], [policy(deny(Principal="*"))])
    assert outcome(by_resource) == EXPLICIT
    assert verdict({**rest_but_sns(), "Effect": "Deny"}, allow("*")) == EXPLICIT


def rest_but_sns() -> dict[str, Any]:
    return {"NotAction": "sns:*", "Resource": "*"}


def test_one_statement_needs_no_list_and_no_policy_allows_nothing() -> None:
    document = Policy.parse(json.dumps({"Statement": allow()}))
    assert outcome(Policies([document])) == ALLOWED
    assert outcome(Policies([Policy.parse("{}")])) == IMPLICIT
    assert outcome(Policies()) == IMPLICIT


def test_the_reason_is_in_aws_s_words() -> None:
    def why(policies: Policies, caller: Caller = WORKER) -> str:
        found = refusal(policies, caller, SEND, CONTEXT)
        assert found is not None
        return found.because("sqs:sendmessage")

    allows, denies = [policy(allow())], [policy(deny())]
    assert why(Policies()) == ("because no identity-based policy allows the sqs:sendmessage action")
    assert why(Policies(denies)) == "with an explicit deny in an identity-based policy"
    assert why(Policies(allows, denies)) == "with an explicit deny in a resource-based policy"
    assert why(Policies(), SNS) == (
        "because no resource-based policy allows the sqs:sendmessage action"
    )
    assert why(Policies(allows, limits={BOUNDARY: []})) == (
        "because no permissions boundary allows the sqs:sendmessage action"
    )
    assert why(Policies(allows, limits={SESSION: []})) == (
        "because no session policy allows the sqs:sendmessage action"
    )
    assert why(Policies(allows, limits={BOUNDARY: denies})) == (
        "with an explicit deny in a permissions boundary"
    )


def test_a_limit_allows_nothing_by_itself() -> None:
    boundary = {BOUNDARY: [policy(allow("*"))]}
    assert outcome(Policies(limits=boundary)) == IMPLICIT
    assert outcome(Policies([policy(allow())], limits=boundary)) == ALLOWED


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        ("*", ALLOWED),
        ({"AWS": "*"}, ALLOWED),
        ({"AWS": ROLE}, ALLOWED),
        ({"AWS": [TOPIC, SESSION_ARN]}, ALLOWED),
        # The account leaves it to its own policies whom it lets.
        ({"AWS": ACCOUNT}, IMPLICIT),
        ({"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, IMPLICIT),
        ({"AWS": f"arn:aws:iam::{ACCOUNT}:role/other"}, IMPLICIT),
        ({"AWS": f"arn:aws:iam::{ACCOUNT}:role/*"}, IMPLICIT),
        ({"Service": "sns.amazonaws.com"}, IMPLICIT),
        ({"Federated": "accounts.google.com"}, IMPLICIT),
    ],
)
def test_a_resource_s_policy_lets_the_role_that_it_names(principal: Any, expected: str) -> None:
    assert resource_verdict(allow(Principal=principal)) == expected


@pytest.mark.parametrize("principal", ["*", {"AWS": ACCOUNT}, {"AWS": ROLE}])
def test_a_resource_s_policy_denies_also_by_account(principal: Any) -> None:
    policies = Policies([policy(allow())], [policy(deny(Principal=principal))])
    assert outcome(policies) == EXPLICIT
    others = Policies([policy(allow())], [policy(deny(NotPrincipal=principal))])
    assert outcome(others) == ALLOWED


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        ({"Service": "sns.amazonaws.com"}, ALLOWED),
        ({"Service": ["lambda.amazonaws.com", "sns.amazonaws.com"]}, ALLOWED),
        ("*", ALLOWED),
        ({"Service": "lambda.amazonaws.com"}, IMPLICIT),
        ({"AWS": ACCOUNT}, IMPLICIT),
    ],
)
def test_a_resource_s_policy_lets_the_service_that_it_names(principal: Any, expected: str) -> None:
    assert resource_verdict(allow(Principal=principal), caller=SNS) == expected


SOURCE = {"aws:sourcearn": TOPIC, "aws:sourceaccount": ACCOUNT, "aws:securetransport": "true"}


@pytest.mark.parametrize(
    ("operator", "key", "value", "expected"),
    [
        ("ArnEquals", "aws:SourceArn", TOPIC, ALLOWED),
        ("ArnEquals", "AWS:sourcearn", TOPIC, ALLOWED),
        ("ArnEquals", "aws:SourceArn", "arn:aws:sns:*:*:orders", ALLOWED),
        ("ArnLike", "aws:SourceArn", "arn:aws:sns:us-east-1:*:ord*", ALLOWED),
        ("ArnLike", "aws:SourceArn", "arn:aws:sns:*", IMPLICIT),
        ("ArnLike", "aws:SourceArn", [QUEUE, TOPIC], ALLOWED),
        ("ArnLike", "aws:SourceArn", QUEUE, IMPLICIT),
        ("ArnNotEquals", "aws:SourceArn", QUEUE, ALLOWED),
        ("ArnNotLike", "aws:SourceArn", [QUEUE, "arn:aws:sns:*:*:*"], IMPLICIT),
        ("StringEquals", "aws:SourceArn", TOPIC, ALLOWED),
        ("StringEquals", "aws:SourceArn", "arn:aws:sns:*:*:orders", IMPLICIT),
        ("StringLike", "aws:SourceArn", "arn:aws:sns:*", ALLOWED),
        ("StringNotLike", "aws:SourceArn", "arn:aws:sns:*", IMPLICIT),
        ("StringEquals", "aws:SourceAccount", ACCOUNT, ALLOWED),
        ("StringEquals", "aws:SourceAccount", ["1", "2"], IMPLICIT),
        ("StringNotEquals", "aws:SourceAccount", ["1", "2"], ALLOWED),
        ("StringNotEquals", "aws:SourceAccount", ["1", ACCOUNT], IMPLICIT),
        ("StringEqualsIgnoreCase", "aws:SourceArn", TOPIC.upper(), ALLOWED),
        ("StringNotEqualsIgnoreCase", "aws:SourceArn", TOPIC.upper(), IMPLICIT),
        ("Bool", "aws:SecureTransport", True, ALLOWED),
        ("Bool", "aws:SecureTransport", "TRUE", ALLOWED),
        ("Bool", "aws:SecureTransport", "false", IMPLICIT),
        ("Null", "aws:SourceArn", "false", ALLOWED),
        ("Null", "aws:SourceArn", True, IMPLICIT),
        ("Null", "aws:PrincipalArn", "true", ALLOWED),
        # A key that the request does not have.
        ("StringEquals", "aws:PrincipalArn", ROLE, IMPLICIT),
        ("StringEqualsIfExists", "aws:PrincipalArn", ROLE, ALLOWED),
        ("StringNotEquals", "aws:PrincipalArn", ROLE, ALLOWED),
        ("ArnLike", "aws:PrincipalArn", "*", IMPLICIT),
        ("ForAllValues:StringEquals", "aws:PrincipalArn", ROLE, ALLOWED),
        ("ForAnyValue:StringEquals", "aws:PrincipalArn", ROLE, IMPLICIT),
        ("ForAnyValue:StringLike", "aws:SourceArn", "*orders", ALLOWED),
        ("BoolIfExists", "aws:SecureTransport", "false", IMPLICIT),
    ],
)
def test_conditions(operator: str, key: str, value: Any, expected: str) -> None:
    assert verdict(when(operator, key, value), context=SOURCE) == expected


def test_all_conditions_of_a_statement_must_hold() -> None:
    both = {
        "ArnEquals": {"aws:SourceArn": TOPIC},
        "StringEquals": {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": TOPIC},
    }
    assert verdict(allow(Condition=both), context=SOURCE) == ALLOWED
    both["StringEquals"]["aws:SourceAccount"] = "1"
    assert verdict(allow(Condition=both), context=SOURCE) == IMPLICIT


def test_a_deny_of_what_is_not_encrypted_leaves_local_calls_alone() -> None:
    only_tls = deny("sqs:*", Condition={"Bool": {"aws:SecureTransport": "false"}}, Principal="*")
    assert outcome(Policies([policy(allow())], [policy(only_tls)])) == ALLOWED


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (when("IpAddress", "aws:SecureTransport", "10.0.0.0/8"), "condition operator IpAddress"),
        (when("DateLessThan", "aws:SecureTransport", "2030-01-01"), "condition operator Date"),
        (when("ForSomeValues:Bool", "aws:SecureTransport", "1"), "operator ForSomeValues:Bool"),
        (when("StringEquals", "aws:SourceVpce", "vpce-1"), "condition key aws:SourceVpce"),
        (when("Null", "dynamodb:LeadingKeys", "true"), "condition key dynamodb:LeadingKeys"),
        (allow(resource="arn:aws:sqs:::${aws:PrincipalTag/team}"), r"\$\{aws:PrincipalTag/team\}"),
        (allow(Principal={"CanonicalUser": "79a5"}), "principal type CanonicalUser"),
    ],
)
def test_what_is_not_evaluated_is_named(statement: dict[str, Any], named: str) -> None:
    with pytest.raises(NotEvaluatedError, match=named):
        verdict(statement)
    with pytest.raises(NotEvaluatedError, match=named):
        verdict(allow("*"), {**statement, "Effect": "Deny"})


def test_what_is_not_evaluated_matters_only_where_the_answer_depends_on_it() -> None:
    unknown = {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}
    assert verdict(allow(Condition=unknown), allow()) == ALLOWED
    assert verdict(allow(Condition=unknown), deny()) == EXPLICIT
    assert verdict(deny("sns:*", Condition=unknown), allow()) == ALLOWED
    assert verdict(deny(resource=TOPIC, Condition=unknown), allow()) == ALLOWED
    false = {**unknown, "Bool": {"aws:SecureTransport": "false"}}
    assert verdict(deny(Condition=false), allow()) == ALLOWED
    other = Policies([policy(allow(Condition=unknown))], [policy(allow(Principal="*"))])
    assert outcome(other) == ALLOWED


def test_a_resource_that_we_do_not_know_is_met_by_the_star_alone() -> None:
    unknown = Access("iot:Publish", None)
    assert verdict(allow("iot:*"), access=unknown) == ALLOWED
    assert verdict(allow("sqs:*"), access=unknown) == IMPLICIT
    with pytest.raises(NotEvaluatedError, match="the resource of iot:Publish"):
        verdict(allow("iot:*", "arn:aws:iot:*:*:topic/a"), access=unknown)


def test_variables_are_replaced_by_what_they_stand_for() -> None:
    context = {"aws:principalaccount": ACCOUNT, "aws:securetransport": "true"}
    mine = "arn:aws:sqs:us-east-1:${aws:PrincipalAccount}:*"
    assert verdict(allow(resource=mine), context=context) == ALLOWED
    assert verdict(allow(resource=mine), context=context, version="2008-10-17") == IMPLICIT
    nobody = "arn:aws:sqs:us-east-1:*:${aws:username}"
    assert verdict(allow(resource=nobody), context=context) == IMPLICIT
    default = "arn:aws:sqs:us-east-1:*:${aws:username, 'orders'}"
    assert verdict(allow(resource=default), context=context) == ALLOWED


def test_a_variable_s_value_and_an_escaped_star_are_no_wildcards() -> None:
    starred = Access("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:a*b")
    plain = Access("sqs:SendMessage", "arn:aws:sqs:us-east-1:1:aXb")
    statement = allow(resource="arn:aws:sqs:us-east-1:1:a${*}b")
    assert verdict(statement, access=starred) == ALLOWED
    assert verdict(statement, access=plain) == IMPLICIT


def test_kinds_of_policies_have_aws_s_names() -> None:
    assert (IDENTITY, RESOURCE) == ("identity-based policy", "resource-based policy")
