"""Requests that AWS refuses, and with which error."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from botocore.exceptions import ClientError

from tests.conformance.account import Account, allow, new_name, only, policy, zipped
from tests.conformance.sources import (
    LAMBDA,
    LAMBDA_API,
    SNS,
    SNS_API,
    SQS_API,
    STEP_FUNCTIONS_API,
    documented,
)

pytestmark = documented(f"{LAMBDA_API}/API_Invoke.html")

Refusal = Callable[[Callable[[], object]], ClientError]
ECHO = "def handler(event, context): return event"
PASS = only({"Type": "Pass"})


def code_of(error: ClientError) -> tuple[str, int]:
    return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]


def create(account: Account, **configuration: object) -> object:
    name = new_name("f")
    client = account.client("lambda")
    account.defer(lambda: client.delete_function(FunctionName=name))
    settings: dict[str, object] = {
        "FunctionName": name,
        "Runtime": "python3.13",
        "Handler": "app.handler",
        "Role": account.default_role,
        "Code": {"ZipFile": zipped(ECHO)},
    }
    return client.create_function(**{**settings, **configuration})


def test_a_function_that_does_not_exist_is_not_found(account: Account, refusal: Refusal) -> None:
    client = account.client("lambda")
    error = refusal(lambda: client.invoke(FunctionName="conformance-nobody"))
    assert code_of(error) == ("ResourceNotFoundException", 404)
    message = error.response["Error"]["Message"]
    assert message.startswith("Function not found: arn:aws:lambda:")
    assert message.endswith(":function:conformance-nobody")


def test_a_version_that_does_not_exist_is_not_found(account: Account, refusal: Refusal) -> None:
    function = account.function(ECHO)
    for qualifier in ("7", "nobody"):
        error = refusal(lambda qualifier=qualifier: function.invoke(Qualifier=qualifier))  # type: ignore[misc]
        assert code_of(error) == ("ResourceNotFoundException", 404)
        assert error.response["Error"]["Message"].endswith(f"{function.name}:{qualifier}")


def test_a_deleted_function_is_not_found(account: Account, refusal: Refusal) -> None:
    function = account.function(ECHO)
    function.invoke()
    account.client("lambda").delete_function(FunctionName=function.name)
    assert code_of(refusal(function.invoke)) == ("ResourceNotFoundException", 404)


def test_an_event_that_is_no_json_is_refused(account: Account, refusal: Refusal) -> None:
    function, client = account.function(ECHO), account.client("lambda")
    for kind in ("RequestResponse", "Event"):
        error = refusal(
            lambda kind=kind: client.invoke(  # type: ignore[misc]
                FunctionName=function.name, Payload=b"{no", InvocationType=kind
            )
        )
        assert code_of(error) == ("InvalidRequestContentException", 400)
        assert "Could not parse request body into json" in error.response["Error"]["Message"]


@documented(f"{LAMBDA}/gettingstarted-limits.html")
def test_a_synchronous_event_may_have_6_mb(account: Account, refusal: Refusal) -> None:
    function = account.function("def handler(event, context): return len(event)")
    assert function.invoke("x" * (6_291_456 - 2)).payload == 6_291_454
    error = refusal(lambda: function.invoke("x" * 6_291_456))
    assert code_of(error) == ("RequestEntityTooLargeException", 413) or code_of(error) == (
        "RequestTooLargeException",
        413,
    )


@documented(f"{LAMBDA}/gettingstarted-limits.html")
def test_an_asynchronous_event_may_have_1_mb(account: Account, refusal: Refusal) -> None:
    function = account.function("def handler(event, context): say(size=len(event))")
    function.send("x" * (1_048_576 - 2))
    assert function.wait_for_said() == [{"size": 1_048_574}]
    error = refusal(lambda: function.send("x" * 1_048_576))
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 413


@documented(f"{LAMBDA_API}/API_CreateFunction.html")
def test_a_function_s_name_is_given_once(account: Account, refusal: Refusal) -> None:
    function = account.function(ECHO)
    error = refusal(lambda: create(account, FunctionName=function.name))
    assert code_of(error) == ("ResourceConflictException", 409)
    assert error.response["Error"]["Message"] == f"Function already exist: {function.name}"


@documented(f"{LAMBDA_API}/API_CreateFunction.html")
@pytest.mark.parametrize(
    "configuration",
    [
        pytest.param({"MemorySize": 10_241}, id="memory"),
        pytest.param({"Timeout": 901}, id="timeout"),
        pytest.param({"Role": "nobody"}, id="role"),
        pytest.param({"Handler": "with space"}, id="handler"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(
    account: Account, refusal: Refusal, configuration: dict[str, object]
) -> None:
    error = refusal(lambda: create(account, **configuration))
    assert code_of(error)[1] == 400
    assert code_of(error)[0] in ("ValidationException", "InvalidParameterValueException")


@documented(f"{LAMBDA_API}/API_CreateFunction.html")
def test_code_that_is_no_zip_is_refused(account: Account, refusal: Refusal) -> None:
    error = refusal(lambda: create(account, Code={"ZipFile": b"no zip"}))
    assert code_of(error) == ("InvalidParameterValueException", 400)
    assert "Could not unzip uploaded file" in error.response["Error"]["Message"]


@documented(f"{LAMBDA}/configuration-envvars.html")
def test_the_runtime_s_variables_cannot_be_set(account: Account, refusal: Refusal) -> None:
    variables = {"Variables": {"AWS_REGION": "eu-west-1"}}
    error = refusal(lambda: create(account, Environment=variables))
    assert code_of(error) == ("InvalidParameterValueException", 400)
    assert "Reserved keys used in this request: AWS_REGION" in error.response["Error"]["Message"]


@documented(f"{LAMBDA}/gettingstarted-limits.html")
def test_variables_have_at_most_4_kb(account: Account, refusal: Refusal) -> None:
    error = refusal(lambda: create(account, Environment={"Variables": {"A": "x" * 4_100}}))
    assert code_of(error) == ("InvalidParameterValueException", 400)


@documented(f"{LAMBDA_API}/API_CreateAlias.html")
def test_an_alias_of_a_version_that_does_not_exist_is_refused(
    account: Account, refusal: Refusal
) -> None:
    function, client = account.function(ECHO), account.client("lambda")
    error = refusal(
        lambda: client.create_alias(FunctionName=function.name, Name="a", FunctionVersion="7")
    )
    assert code_of(error) == ("ResourceNotFoundException", 404)


@documented(f"{LAMBDA_API}/API_DeleteFunction.html")
def test_a_version_with_an_alias_cannot_be_deleted(account: Account, refusal: Refusal) -> None:
    function, client = account.function(ECHO), account.client("lambda")
    client.publish_version(FunctionName=function.name)
    client.create_alias(FunctionName=function.name, Name="a", FunctionVersion="1")
    error = refusal(lambda: client.delete_function(FunctionName=function.name, Qualifier="1"))
    assert code_of(error) == ("ResourceConflictException", 409)


@documented(f"{LAMBDA_API}/API_PutFunctionEventInvokeConfig.html")
@pytest.mark.parametrize(
    "configuration",
    [
        pytest.param({"MaximumRetryAttempts": 3}, id="retries"),
        pytest.param({"MaximumEventAgeInSeconds": 21_601}, id="age"),
        pytest.param({"DestinationConfig": {"OnFailure": {"Destination": "x"}}}, id="destination"),
    ],
)
def test_asynchronous_settings_out_of_range_are_refused(
    account: Account, refusal: Refusal, configuration: dict[str, int]
) -> None:
    function = account.function(ECHO)
    assert code_of(refusal(lambda: function.asynchronous(**configuration)))[1] == 400


@documented(f"{SNS_API}/API_Publish.html")
def test_a_topic_that_does_not_exist_is_not_found(account: Account, refusal: Refusal) -> None:
    topic = account.topic()
    topic.arn += "-nobody"
    assert code_of(refusal(lambda: topic.publish("x"))) == ("NotFound", 404)


@documented(f"{SNS_API}/API_Publish.html")
def test_an_sns_message_has_at_most_256_kib(account: Account, refusal: Refusal) -> None:
    topic = account.topic()
    topic.publish("x" * 262_144)
    assert code_of(refusal(lambda: topic.publish("x" * 262_145))) == ("InvalidParameter", 400)


@documented(f"{SNS_API}/API_Publish.html")
def test_an_sns_message_is_not_empty(account: Account, refusal: Refusal) -> None:
    assert code_of(refusal(lambda: account.topic().publish(""))) == ("InvalidParameter", 400)


@documented(f"{SNS}/sns-message-filtering.html")
def test_a_filter_policy_that_is_none_is_refused(account: Account, refusal: Refusal) -> None:
    topic, queue = account.topic(), account.queue()
    error = refusal(lambda: topic.to_queue(queue, FilterPolicy=json.dumps({"a": "not a list"})))
    assert code_of(error) == ("InvalidParameter", 400)


@documented(f"{SNS_API}/API_Subscribe.html")
def test_a_protocol_that_does_not_exist_is_refused(account: Account, refusal: Refusal) -> None:
    topic = account.topic()
    error = refusal(lambda: topic.subscribe("pigeon", "here"))
    assert code_of(error) == ("InvalidParameter", 400)


@documented(f"{SQS_API}/API_SendMessage.html")
def test_a_queue_that_does_not_exist_is_told(account: Account, refusal: Refusal) -> None:
    queue = account.queue()
    queue.url += "-nobody"
    error = refusal(lambda: queue.send("x"))
    assert code_of(error) == ("AWS.SimpleQueueService.NonExistentQueue", 400)


@documented(f"{SQS_API}/API_SendMessage.html")
def test_an_sqs_message_has_at_most_1_mib(account: Account, refusal: Refusal) -> None:
    queue = account.queue()
    queue.send("x" * 1_048_576)
    error = refusal(lambda: queue.send("x" * 1_048_577))
    assert code_of(error) == ("InvalidParameterValue", 400)


@documented(f"{SQS_API}/API_SendMessage.html")
def test_an_sqs_message_has_no_control_characters(account: Account, refusal: Refusal) -> None:
    error = refusal(lambda: account.queue().send("\x01"))
    assert code_of(error) == ("InvalidMessageContents", 400)


@documented(f"{STEP_FUNCTIONS_API}/API_CreateStateMachine.html")
@pytest.mark.parametrize(
    "definition",
    [
        pytest.param("{no", id="no JSON"),
        pytest.param("{}", id="no states"),
        pytest.param(json.dumps({**PASS, "StartAt": "Nobody"}), id="no first state"),
        pytest.param(json.dumps(only({"Type": "Task", "End": True})), id="task without resource"),
        pytest.param(
            json.dumps({"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}}}),
            id="no next state",
        ),
    ],
)
def test_a_definition_that_cannot_run_is_refused(
    account: Account, refusal: Refusal, definition: str
) -> None:
    client = account.client("stepfunctions")
    error = refusal(
        lambda: client.create_state_machine(
            name=new_name("m"), definition=definition, roleArn=account.default_role
        )
    )
    assert code_of(error) == ("InvalidDefinition", 400)


@documented(f"{STEP_FUNCTIONS_API}/API_CreateStateMachine.html")
def test_a_state_machine_s_name_is_given_once(account: Account, refusal: Refusal) -> None:
    client, machine = account.client("stepfunctions"), account.machine(PASS)
    name = machine.arn.rpartition(":")[2]
    given = {"name": name, "roleArn": account.default_role}
    again = client.create_state_machine(definition=json.dumps(PASS), **given)
    assert again["stateMachineArn"] == machine.arn
    other = json.dumps(only({"Type": "Succeed"}) | {"Comment": "other"})
    other = other.replace('"End": true, ', "")
    error = refusal(lambda: client.create_state_machine(definition=other, **given))
    assert code_of(error) == ("StateMachineAlreadyExists", 400)


@documented(f"{STEP_FUNCTIONS_API}/API_StartExecution.html")
def test_a_state_machine_that_does_not_exist_is_told(account: Account, refusal: Refusal) -> None:
    machine = account.machine(PASS)
    machine.arn += "-nobody"
    error = refusal(machine.start)
    assert code_of(error) == ("StateMachineDoesNotExist", 400)
    assert error.response["Error"]["Message"] == f"State Machine Does Not Exist: '{machine.arn}'"


@documented(f"{STEP_FUNCTIONS_API}/API_DescribeExecution.html")
def test_an_execution_that_does_not_exist_is_told(account: Account, refusal: Refusal) -> None:
    execution = account.machine(PASS).start()
    execution.arn += "-nobody"
    error = refusal(execution.describe)
    assert code_of(error) == ("ExecutionDoesNotExist", 400)
    assert error.response["Error"]["Message"] == f"Execution Does Not Exist: '{execution.arn}'"


@documented(f"{STEP_FUNCTIONS_API}/API_StartExecution.html")
def test_an_arn_that_is_none_is_refused(account: Account, refusal: Refusal) -> None:
    machine = account.machine(PASS)
    machine.arn = "nobody"
    assert code_of(refusal(machine.start)) == ("InvalidArn", 400)


@documented(f"{LAMBDA_API}/API_AddPermission.html")
def test_a_permission_s_statement_id_is_given_once(account: Account, refusal: Refusal) -> None:
    function, client = account.function(ECHO), account.client("lambda")
    statement = {
        "FunctionName": function.name,
        "StatementId": "one",
        "Action": "lambda:InvokeFunction",
        "Principal": "sns.amazonaws.com",
    }
    client.add_permission(**statement)
    assert code_of(refusal(lambda: client.add_permission(**statement))) == (
        "ResourceConflictException",
        409,
    )


@documented("https://docs.aws.amazon.com/IAM/latest/APIReference/API_PutRolePolicy.html")
def test_a_policy_that_is_none_is_refused(account: Account, refusal: Refusal) -> None:
    client, name = account.client("iam"), account.role().rpartition("/")[2]
    for document in ("{no", policy(allow("sqs:*", "*", effect="Perhaps"))):
        error = refusal(
            lambda document=document: client.put_role_policy(  # type: ignore[misc]
                RoleName=name, PolicyName="x", PolicyDocument=document
            )
        )
        assert code_of(error) == ("MalformedPolicyDocument", 400)
