"""The deployed service keeps its promise: one event, one execution, and none lost."""

from __future__ import annotations

import json

import pytest

from startonce.deploy import STAGE
from tests.conftest import wait_for
from tests.service import Service, all_messages, operation


def test_one_message_is_one_execution_one_record_one_notification(service: Service) -> None:
    message = operation(details={"city": "Zürich"})
    trace = service.end(service.publish(message))
    [attempt] = trace.attempts
    [execution] = trace.executions
    assert attempt.outcome == "started"
    assert execution.name == attempt.request_id
    assert execution.status == "SUCCEEDED"
    assert [(step.name, step.tries) for step in execution.steps] == [
        ("RecordOperation", 1),
        ("NotifyUser", 1),
    ]
    record = service.aws.client("dynamodb").get_item(
        TableName=service.stack.table_name, Key={"execution_name": {"S": execution.name}}
    )["Item"]
    assert record["user_id"] == {"S": message["user_id"]}
    assert record["details"] == {"S": '{"city":"Zürich"}'}
    assert service.notifications(execution.name) == 1
    assert service.failures(execution.name) == []


def test_the_execution_s_input_is_the_event_untouched(service: Service) -> None:
    message_id = service.publish(operation(details="ä\U0001f600"))
    [execution] = service.end(message_id).executions
    arn = service.stack.execution_arn(execution.name)
    text = service.aws.client("stepfunctions").describe_execution(executionArn=arn)["input"]
    assert "ä\U0001f600" in text
    sns = json.loads(text)["Records"][0]["Sns"]
    assert (sns["MessageId"], sns["TopicArn"]) == (message_id, service.stack.topic_arn)


@pytest.mark.parametrize("kind", ["exception", "timeout", "memory", "exit"])
def test_an_attempt_that_fails_after_it_started_the_execution_starts_no_second_one(
    service: Service, kind: str
) -> None:
    service.cloud.add_fault(service.stack.invoker, kind, after=True)
    trace = service.end(service.publish(operation()), attempts=2)
    assert [attempt.outcome for attempt in trace.attempts] == ["started", "already_started"]
    assert [attempt.status for attempt in trace.attempts][1] == "success"
    [execution] = trace.executions
    assert execution.status == "SUCCEEDED"
    assert trace.records == 1
    assert service.notifications(execution.name) == 1


def test_an_attempt_that_fails_before_it_started_the_execution_is_made_up_for(
    service: Service,
) -> None:
    service.cloud.add_fault(service.stack.invoker, "exception")
    message_id = service.publish(operation())
    trace = service.end(message_id)
    [execution] = trace.executions
    assert execution.status == "SUCCEEDED"
    assert service.notifications(execution.name) == 1


def test_a_malformed_message_is_in_the_failure_queue_with_its_reason(service: Service) -> None:
    text = json.dumps({"user_id": "no operation"})
    trace = service.end(service.publish(text))
    [execution] = trace.executions
    assert (execution.status, execution.error) == ("FAILED", "InvalidOperation")
    assert [(step.name, step.tries) for step in execution.steps] == [
        ("RecordOperation", 1),
        ("CannotBeRedriven", 0),
        ("ReportFailure", 1),
        ("FailedUntilRedriven", 0),
        ("Failed", 0),
    ]
    [failure] = service.failures(execution.name)
    assert failure["error"] == "InvalidOperation"
    assert "operation" in json.loads(failure["cause"])["errorMessage"]
    assert failure["event"]["Records"][0]["Sns"]["Message"] == text
    assert failure["execution_arn"].endswith(f":{execution.name}")
    assert trace.records == 0
    assert service.notifications(execution.name) == 0


def destination_record(service: Service, message_id: str) -> dict[str, object] | None:
    """What Lambda wrote of a message's event when it gave it up."""
    for message in all_messages(service.aws, service.stack.failure_queue_url):
        body: dict[str, object] = json.loads(message["Body"])
        if message_id in message["Body"] and "requestContext" in body:
            return body
    return None


def test_an_event_whose_attempts_all_fail_is_in_the_failure_queue(service: Service) -> None:
    service.cloud.add_fault(service.stack.invoker, "exception", times=3)
    message_id = service.publish(operation())
    found = wait_for(lambda: destination_record(service, message_id), what="the record")
    assert found is not None
    context = found["requestContext"]
    assert isinstance(context, dict)
    assert context["condition"] == "RetriesExhausted"
    assert context["approximateInvokeCount"] == 3
    assert service.trace(message_id).executions == []


def test_an_invoker_that_may_not_start_executions_tells_so_in_the_failure_queue(
    service: Service,
) -> None:
    iam, role = service.aws.client("iam"), role_of(service, service.stack.invoker)
    own = {"RoleName": role, "PolicyName": "invoker"}
    before = iam.get_role_policy(**own)["PolicyDocument"]
    statements = [one for one in before["Statement"] if one["Sid"] != "StartExecution"]
    iam.put_role_policy(**own, PolicyDocument=json.dumps({**before, "Statement": statements}))
    try:
        message_id = service.publish(operation())
        found = wait_for(lambda: destination_record(service, message_id), what="the record")
    finally:
        iam.put_role_policy(**own, PolicyDocument=json.dumps(before))
    assert found is not None
    response = found["responsePayload"]
    assert isinstance(response, dict)
    expected = (
        f"assumed-role/{role}/{service.stack.invoker} is not authorized to perform: "
        f"states:StartExecution on resource: {service.stack.state_machine_arn} because no "
        "identity-based policy allows the states:StartExecution action"
    )
    assert expected in response["errorMessage"]
    assert service.trace(message_id).executions == []


def role_of(service: Service, function: str) -> str:
    """The name of the function's role."""
    client = service.aws.client("lambda")
    arn: str = client.get_function_configuration(FunctionName=function)["Role"]
    return arn.rpartition("/")[2]


def test_a_step_that_runs_out_of_memory_is_retried_and_leaves_one_record(service: Service) -> None:
    service.cloud.add_fault(f"{service.stack.name}-recordOperation", "memory", after=True)
    trace = service.end(service.publish(operation()))
    [execution] = trace.executions
    assert execution.status == "SUCCEEDED"
    assert [(step.name, step.tries) for step in execution.steps] == [
        ("RecordOperation", 2),
        ("NotifyUser", 1),
    ]
    assert trace.records == 1


def test_a_notification_that_may_be_out_is_not_sent_again(service: Service) -> None:
    service.cloud.add_fault(f"{service.stack.name}-notifyUser", "exit", after=True)
    trace = service.end(service.publish(operation()))
    [execution] = trace.executions
    assert execution.status == "FAILED"
    assert service.notifications(execution.name) == 1
    assert [failure["error"] for failure in service.failures(execution.name)] == [
        "Runtime.ExitError"
    ]


def test_every_function_has_its_variables(service: Service) -> None:
    client = service.aws.client("lambda")
    for function, variables in (
        ("invoker", {"CF_OperationLog", "CF_LargeEventsBucket", "EXECUTION_NAME"}),
        ("recordOperation", {"CF_OperationsTable"}),
        ("notifyUser", {"CF_NotificationTopic"}),
    ):
        name = f"startonce-{STAGE}-{function}"
        configuration = client.get_function_configuration(FunctionName=name)
        assert set(configuration["Environment"]["Variables"]) == variables
