"""Permissions: who may do what, and how a refusal reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.account import Account, Function, allow, only, task
from tests.conformance.sources import IAM, LAMBDA, SNS, STEP_FUNCTIONS, documented

pytestmark = documented(f"{IAM}/reference_policies_evaluation-logic.html")

CALL = """
import boto3
from botocore.exceptions import ClientError


def handler(event, context):
    service, operation, arguments = event
    try:
        getattr(boto3.client(service), operation)(**arguments)
    except ClientError as error:
        return [error.response["Error"]["Code"], error.response["Error"]["Message"]]
    return "done"
"""


def caller(account: Account, *statements: dict[str, Any]) -> Function:
    """A function that makes the calls that it is told, with these rights."""
    return account.function(CALL, role=account.role(*statements), MemorySize=256, Timeout=30)


def send(queue_url: str) -> list[Any]:
    return ["sqs", "send_message", {"QueueUrl": queue_url, "MessageBody": "hello"}]


def refused(function: Function, call: list[Any]) -> bool:
    """Whether it is refused for want of rights; on AWS rights take some seconds to be known."""
    answer = function.invoke(call).payload
    return isinstance(answer, list) and "not authorized to perform" in str(answer[1])


def done(function: Function, call: list[Any]) -> None:
    account = function.account
    account.wait_for(lambda: function.invoke(call).payload == "done", what=f"leave for {call}")


@documented(f"{LAMBDA}/lambda-intro-execution-role.html")
def test_a_function_runs_as_its_role(account: Account) -> None:
    role = account.role()
    function = account.function(
        "import boto3\n"
        "def handler(event, context): return boto3.client('sts').get_caller_identity()['Arn']",
        role=role,
        MemorySize=256,
    )
    number, name = function.arn.split(":")[4], role.rpartition("/")[2]
    expected = f"arn:aws:sts::{number}:assumed-role/{name}/{function.name}"
    assert function.invoke().payload == expected


@documented(f"{IAM}/access_policies.html")
def test_what_the_role_allows_is_done(account: Account) -> None:
    queue = account.queue()
    done(caller(account, allow("sqs:SendMessage", queue.arn)), send(queue.url))
    assert queue.wait_for()[0]["Body"] == "hello"


def arguments_of(account: Account, function: Function, service: str) -> dict[str, Any]:
    """Of a call that fails for nothing but want of rights."""
    match service:
        case "sqs":
            return {"QueueUrl": account.queue().url, "MessageBody": "x"}
        case "sns":
            return {"TopicArn": account.topic().arn, "Message": "x"}
        case "stepfunctions":
            return {"stateMachineArn": account.machine(only({"Type": "Pass"})).arn}
        case "lambda":
            return {"FunctionName": function.name}
        case _:
            return {"TableName": "nobody", "Key": {"id": {"S": "x"}}}


@pytest.mark.parametrize(
    ("service", "operation", "action", "code"),
    [
        pytest.param("sqs", "send_message", "sqs:sendmessage", "AccessDenied", id="SQS"),
        pytest.param("sns", "publish", "SNS:Publish", "AuthorizationError", id="SNS"),
        pytest.param(
            "stepfunctions",
            "start_execution",
            "states:StartExecution",
            "AccessDeniedException",
            id="Step Functions",
        ),
        pytest.param(
            "lambda", "invoke", "lambda:InvokeFunction", "AccessDeniedException", id="Lambda"
        ),
        pytest.param(
            "dynamodb", "get_item", "dynamodb:GetItem", "AccessDeniedException", id="DynamoDB"
        ),
    ],
)
@documented(f"{IAM}/troubleshoot_access-denied.html")
def test_what_the_role_does_not_allow_is_refused(
    account: Account, service: str, operation: str, action: str, code: str
) -> None:
    function = caller(account, allow("s3:GetObject", "*"))
    arguments = arguments_of(account, function, service)
    got_code, message = function.invoke([service, operation, arguments]).payload
    assert got_code == code
    role = function.configuration()["Role"].rpartition("/")[2]
    number = function.arn.split(":")[4]
    who = f"User: arn:aws:sts::{number}:assumed-role/{role}/{function.name}"
    start = f"{who} is not authorized to perform: {action} on resource: "
    assert message.lower().startswith(start.lower())
    assert "because no identity-based policy allows the" in message


def test_what_is_allowed_on_one_resource_is_refused_on_another(account: Account) -> None:
    mine, other = account.queue(), account.queue()
    function = caller(account, allow("sqs:SendMessage", mine.arn))
    done(function, send(mine.url))
    assert refused(function, send(other.url))


def test_an_action_that_is_not_named_is_refused(account: Account) -> None:
    queue = account.queue()
    function = caller(account, allow("sqs:SendMessage", queue.arn))
    done(function, send(queue.url))
    assert refused(function, ["sqs", "purge_queue", {"QueueUrl": queue.url}])


@documented(f"{IAM}/reference_policies_elements_resource.html")
def test_actions_and_resources_may_have_wildcards(account: Account) -> None:
    queue = account.queue()
    start, _, end = queue.arn.rpartition("-")
    function = caller(account, allow("sqs:Send*", f"{start}-{end[:5]}*"))
    done(function, send(queue.url))
    assert refused(function, send(account.queue().url))


@documented(f"{IAM}/reference_policies_elements_action.html")
def test_actions_are_compared_without_regard_to_case(account: Account) -> None:
    queue = account.queue()
    done(caller(account, allow("SQS:sendmessage", queue.arn)), send(queue.url))


@documented(f"{IAM}/reference_policies_elements_notaction.html")
def test_not_action_allows_all_the_others(account: Account) -> None:
    queue = account.queue()
    statement = {"Effect": "Allow", "NotAction": "sqs:PurgeQueue", "Resource": "*"}
    function = caller(account, statement)
    done(function, send(queue.url))
    assert refused(function, ["sqs", "purge_queue", {"QueueUrl": queue.url}])


def test_a_deny_beats_an_allow(account: Account) -> None:
    queue = account.queue()
    function = caller(account, allow("*", "*"), allow("sqs:SendMessage", queue.arn, effect="Deny"))
    code, message = function.invoke(send(queue.url)).payload
    assert code == "AccessDenied"
    assert "with an explicit deny in an identity-based policy" in message
    done(function, send(account.queue().url))


@documented(f"{IAM}/access_policies_managed-vs-inline.html")
def test_a_managed_policy_counts_too(account: Account) -> None:
    client, queue = account.client("iam"), account.queue()
    role = account.role()
    name = role.rpartition("/")[2]
    document = json.dumps(
        {"Version": "2012-10-17", "Statement": allow("sqs:SendMessage", queue.arn)}
    )
    policy_arn = client.create_policy(PolicyName=name, PolicyDocument=document)["Policy"]["Arn"]
    account.defer(lambda: client.delete_policy(PolicyArn=policy_arn))
    client.attach_role_policy(RoleName=name, PolicyArn=policy_arn)
    account.defer(lambda: client.detach_role_policy(RoleName=name, PolicyArn=policy_arn))
    function = account.function(CALL, role=role, MemorySize=256, Timeout=30)
    done(function, send(queue.url))


@documented(f"{IAM}/access_policies.html")
def test_a_right_that_is_taken_away_is_gone(account: Account) -> None:
    queue = account.queue()
    function = caller(account, allow("sqs:SendMessage", queue.arn))
    done(function, send(queue.url))
    role = function.configuration()["Role"].rpartition("/")[2]
    account.client("iam").delete_role_policy(RoleName=role, PolicyName="own")
    account.wait_for(lambda: refused(function, send(queue.url)), what="a refusal")


@documented(f"{IAM}/reference_policies_evaluation-logic.html")
def test_a_queue_s_own_policy_can_allow_what_the_role_does_not(account: Account) -> None:
    queue = account.queue()
    function = caller(account)
    role = function.configuration()["Role"]
    statement = allow("sqs:SendMessage", queue.arn, Principal={"AWS": role})
    queue.set(Policy=json.dumps({"Version": "2012-10-17", "Statement": statement}))
    done(function, send(queue.url))


@documented("https://github.com/awslabs/aws-deployment-framework/issues/460")
def test_a_state_machine_runs_as_its_role(account: Account) -> None:
    function = account.function("def handler(event, context): return 1")
    role = account.role(allow("lambda:InvokeFunction", function.arn + "-other"))
    error, cause = account.machine(only(task(function)), role=role).run().failure()
    assert error == "Lambda.AWSLambdaException"
    name = role.rpartition("/")[2]
    assert cause is not None
    assert f":assumed-role/{name}/" in cause
    right = f"is not authorized to perform: lambda:InvokeFunction on resource: {function.arn}"
    assert right in cause
    assert "Service: AWSLambda; Status Code: 403; Error Code: AccessDeniedException" in cause


@documented(f"{STEP_FUNCTIONS}/procedure-create-iam-role.html")
def test_a_state_machine_s_role_needs_the_function_alone(account: Account) -> None:
    function = account.function("def handler(event, context): return 1")
    role = account.role(allow("lambda:InvokeFunction", function.arn))
    assert account.machine(only(task(function)), role=role).run().output == 1


@documented(f"{STEP_FUNCTIONS}/connect-sqs.html")
def test_a_state_machine_that_may_not_send_fails_with_the_service_s_error(
    account: Account,
) -> None:
    queue = account.queue()
    state = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage",
        "Parameters": {"QueueUrl": queue.url, "MessageBody": "hello"},
    }
    role = account.role(allow("lambda:InvokeFunction", "*"))
    error, cause = account.machine(only(state), role=role).run().failure()
    assert error in ("SQS.SqsException", "SQS.AmazonSQSException")
    assert cause is not None
    assert "is not authorized to perform: sqs:sendmessage" in cause


FAILING = "def handler(event, context): raise ValueError('always')"


@documented(f"{LAMBDA}/invocation-async-retain-records.html")
def test_a_destination_is_reached_by_the_function_s_role(account: Account) -> None:
    allowed, forbidden = account.queue(), account.queue()
    role = account.role(allow("sqs:SendMessage", allowed.arn))
    function = account.function(
        FAILING, role=account.default_role, DeadLetterConfig={"TargetArn": allowed.arn}
    )
    function.asynchronous(
        MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": forbidden.arn}}
    )
    function.update_configuration(Role=role)
    function.send({"a": 1})
    assert allowed.one() == {"a": 1}
    assert forbidden.messages() == []


@documented(f"{LAMBDA}/invocation-async-retain-records.html")
def test_a_destination_needs_the_right_for_it_alone(account: Account) -> None:
    queue = account.queue()
    function = account.function(FAILING, role=account.role(allow("sqs:SendMessage", queue.arn)))
    function.asynchronous(
        MaximumRetryAttempts=0, DestinationConfig={"OnFailure": {"Destination": queue.arn}}
    )
    function.send({"a": 1})
    assert queue.one()["requestPayload"] == {"a": 1}


@documented(f"{LAMBDA}/invocation-async-retain-records.html")
def test_dead_letters_need_a_right_when_they_are_set_up(account: Account) -> None:
    queue, client = account.queue(), account.client("lambda")
    function = account.function(FAILING, role=account.role())
    with pytest.raises(client.exceptions.InvalidParameterValueException) as caught:
        function.update_configuration(DeadLetterConfig={"TargetArn": queue.arn})
    expected = "role does not have permissions to call SendMessage on SQS"
    assert expected in caught.value.response["Error"]["Message"]


SAY = "def handler(event, context): say(message=event['Records'][0]['Sns']['Message'])"


def redrive(account: Account) -> tuple[Any, dict[str, str]]:
    failures = account.queue()
    failures.let_topics_send()
    return failures, {"RedrivePolicy": json.dumps({"deadLetterTargetArn": failures.arn})}


@documented(f"{LAMBDA}/access-control-resource-based.html")
def test_a_topic_without_the_function_s_leave_does_not_invoke_it(account: Account) -> None:
    function, topic = account.function(SAY), account.topic()
    failures, attributes = redrive(account)
    topic.subscribe("lambda", function.arn, **attributes)
    topic.publish("hello")
    assert failures.one()["Message"] == "hello"
    assert function.said() == []


@documented(f"{LAMBDA}/access-control-resource-based.html")
def test_the_leave_of_another_topic_does_not_count(account: Account) -> None:
    function, topic, other = account.function(SAY), account.topic(), account.topic()
    failures, attributes = redrive(account)
    function.allow(other.arn)
    topic.subscribe("lambda", function.arn, **attributes)
    topic.publish("hello")
    assert failures.one()["Message"] == "hello"
    assert function.said() == []


@documented(f"{LAMBDA}/access-control-resource-based.html")
def test_a_leave_can_be_taken_back(account: Account) -> None:
    function, topic, client = account.function(SAY), account.topic(), account.client("lambda")
    failures, attributes = redrive(account)
    topic.to_function(function, **attributes)
    topic.publish("first")
    function.wait_for_said()
    policy = json.loads(client.get_policy(FunctionName=function.name)["Policy"])
    for statement in policy["Statement"]:
        client.remove_permission(FunctionName=function.name, StatementId=statement["Sid"])
    topic.publish("second")
    assert failures.one()["Message"] == "second"
    assert function.said() == [{"message": "first"}]


@documented(f"{SNS}/subscribe-sqs-queue-to-sns-topic.html")
def test_a_topic_without_the_queue_s_leave_does_not_send(account: Account) -> None:
    topic, queue = account.topic(), account.queue()
    failures, attributes = redrive(account)
    topic.subscribe("sqs", queue.arn, **attributes)
    topic.publish("hello")
    assert failures.one()["Message"] == "hello"
    assert queue.messages() == []


@documented(f"{SNS}/subscribe-sqs-queue-to-sns-topic.html")
def test_a_queue_s_leave_can_be_for_one_topic(account: Account) -> None:
    mine, other, queue = account.topic(), account.topic(), account.queue()
    failures, attributes = redrive(account)
    queue.let_topics_send({"ArnEquals": {"aws:SourceArn": mine.arn}})
    for topic in (mine, other):
        topic.subscribe("sqs", queue.arn, **attributes)
    other.publish("from the other")
    mine.publish("from mine")
    assert queue.one()["Message"] == "from mine"
    assert failures.one()["Message"] == "from the other"
    assert len(queue.messages()) == 1
