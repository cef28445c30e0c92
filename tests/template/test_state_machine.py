"""The state machine's definition, as it stands in the packaged template."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LIMITS = ["States.DataLimitExceeded", "States.Runtime"]
# The errors after which the function certainly published nothing.
NOT_PUBLISHED = ["Lambda.TooManyRequestsException", "MissingVariable"]


@pytest.fixture(scope="module")
def definition(package: Any) -> dict[str, Any]:
    found: dict[str, Any] = package.state_machine()
    return found


@pytest.fixture(scope="module")
def tasks(definition: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in definition["States"].items() if v["Type"] == "Task"}


def test_the_validator_of_the_plugin_accepts_it(definition: dict[str, Any]) -> None:
    program = (
        "const {isValid, errorsText} = require('asl-validator')(JSON.parse(process.argv[1]));"
        "if (!isValid) { console.error(errorsText()); process.exit(1); }"
    )
    done = subprocess.run(
        ["node", "-e", program, json.dumps(definition)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_it_is_standard_and_logs_errors_without_data(package: Any) -> None:
    machine = package.properties("OperationLog")
    assert machine["StateMachineType"] == "STANDARD"
    assert machine["TracingConfiguration"] == {"Enabled": True}
    logging = machine["LoggingConfiguration"]
    assert (logging["Level"], logging["IncludeExecutionData"]) == ("ERROR", False)
    assert len(logging["Destinations"]) == 1


def test_it_has_two_steps_and_the_way_of_their_failures(definition: dict[str, Any]) -> None:
    assert list(definition["States"]) == [
        "RecordOperation",
        "NotifyUser",
        "CanBeRedriven",
        "MayBeDone",
        "CannotBeRedriven",
        "ReportFailure",
        "ReportFailureWithoutEvent",
        "FailedUntilRedriven",
        "Failed",
    ]


def test_each_task_is_explicit(tasks: dict[str, Any]) -> None:
    for task in tasks.values():
        assert {"TimeoutSeconds", "Retry", "Catch"} <= set(task)
        for retrier in task["Retry"]:
            assert {"IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds"} <= set(
                retrier
            )
            assert retrier["JitterStrategy"] == "FULL"


def test_each_step_waits_as_long_as_its_function_may_run(
    package: Any, tasks: dict[str, Any]
) -> None:
    functions = package.of_type("AWS::Lambda::Function").values()
    timeouts = {function["FunctionName"]: function["Timeout"] for function in functions}
    steps = [task for task in tasks.values() if ":lambda:" in task["Resource"]]
    assert len(steps) == 2
    for task in steps:
        prefix = "arn:aws:lambda:us-east-1:123456789012:function:"
        assert task["TimeoutSeconds"] == timeouts[task["Resource"].removeprefix(prefix)]


def test_each_step_knows_its_execution_and_retry_count(tasks: dict[str, Any]) -> None:
    for name in ("RecordOperation", "NotifyUser"):
        parameters = tasks[name]["Parameters"]
        assert parameters["execution_name.$"] == "$$.Execution.Name"
        assert parameters["retry_count.$"] == "$$.State.RetryCount"


def test_the_first_step_takes_the_event_from_the_execution(tasks: dict[str, Any]) -> None:
    # A redrive enters it again with an error as its data.
    task = tasks["RecordOperation"]
    assert task["Parameters"]["event.$"] == "$$.Execution.Input"
    assert (task["ResultSelector"], task["ResultPath"]) == ({"operation.$": "$"}, "$")


def test_record_operation_is_retried_but_not_for_a_bad_message(tasks: dict[str, Any]) -> None:
    [retrier] = tasks["RecordOperation"]["Retry"]
    assert set(retrier["ErrorEquals"]) == {
        "States.Timeout",
        "Sandbox.Timedout",
        "Runtime.ExitError",
        "Lambda.Unknown",
        "Lambda.TooManyRequestsException",
        "Lambda.ServiceException",
        "Lambda.AWSLambdaException",
        "Lambda.SdkClientException",
        "Lambda.ClientExecutionTimeoutException",
        "TableUnavailable",
        "EventUnavailable",
        "MissingVariable",
    }


def test_notify_user_is_retried_only_where_it_published_nothing(tasks: dict[str, Any]) -> None:
    [retrier] = tasks["NotifyUser"]["Retry"]
    assert retrier["ErrorEquals"] == NOT_PUBLISHED


def test_each_error_that_a_retrier_names_is_known(tasks: dict[str, Any]) -> None:
    files = ("record_operation.py", "event_pointer.py")
    source = "".join((ROOT / "handlers" / file).read_text() for file in files)
    for error in tasks["RecordOperation"]["Retry"][0]["ErrorEquals"]:
        assert "." in error or f"class {error}(Exception)" in source


@pytest.mark.parametrize(
    ("state", "then", "by_name"),
    [
        ("RecordOperation", "CanBeRedriven", {"CannotBeRedriven": ["InvalidOperation"]}),
        ("NotifyUser", "MayBeDone", {"CanBeRedriven": NOT_PUBLISHED}),
        ("ReportFailure", "ReportFailureWithoutEvent", {}),
        ("ReportFailureWithoutEvent", "FailedUntilRedriven", {}),
    ],
)
def test_each_error_leads_to_the_failure_queue(
    tasks: dict[str, Any], state: str, then: str, by_name: dict[str, list[str]]
) -> None:
    *named, limits, others = tasks[state]["Catch"]
    assert {catcher["Next"]: catcher["ErrorEquals"] for catcher in named} == by_name
    # States.ALL does not match these two, so they have a catcher of their own.
    assert limits["ErrorEquals"] == LIMITS
    assert others["ErrorEquals"] == ["States.ALL"]
    assert (limits["Next"], others["Next"]) == (then, then)


def test_the_error_replaces_the_data(tasks: dict[str, Any]) -> None:
    for name in ("RecordOperation", "NotifyUser"):
        assert {catcher["ResultPath"] for catcher in tasks[name]["Catch"]} == {"$"}


@pytest.mark.parametrize(
    ("state", "redrive"),
    [("CanBeRedriven", "safe"), ("MayBeDone", "may_repeat"), ("CannotBeRedriven", "useless")],
)
def test_what_a_redrive_would_do_is_said(
    definition: dict[str, Any], state: str, redrive: str
) -> None:
    assert definition["States"][state] == {
        "Type": "Pass",
        "Parameters": {
            "redrive": redrive,
            "redrive_count.$": "$$.Execution.RedriveCount",
            "Error.$": "$.Error",
            "Cause.$": "$.Cause",
        },
        "Next": "ReportFailure",
    }


def test_reports_go_to_the_failure_queue_and_keep_the_first_error(tasks: dict[str, Any]) -> None:
    for name in ("ReportFailure", "ReportFailureWithoutEvent"):
        task = tasks[name]
        assert task["Resource"] == "arn:aws:states:::sqs:sendMessage"
        assert task["Parameters"]["QueueUrl"] == "<FailureQueue>"
        assert task["ResultPath"] is None
        assert task["Next"] == "FailedUntilRedriven"
        assert all(catcher["ResultPath"] == "$.report" for catcher in task["Catch"])
        body = task["Parameters"]["MessageBody"]
        assert (body["error.$"], body["cause.$"]) == ("$.Error", "$.Cause")
        assert body["execution_name.$"] == "$$.Execution.Name"
        assert body["execution_arn.$"] == "$$.Execution.Id"
        assert (body["redrive.$"], body["redrive_count.$"]) == ("$.redrive", "$.redrive_count")
    assert tasks["ReportFailure"]["Parameters"]["MessageBody"]["event.$"] == "$$.Execution.Input"


def test_only_a_redrive_leads_out_of_a_failure(definition: dict[str, Any]) -> None:
    # Without a default, an execution that no rule fits fails here, where a redrive goes on.
    assert definition["States"]["FailedUntilRedriven"] == {
        "Type": "Choice",
        "Choices": [
            {"Variable": "$.redrive", "StringEquals": "useless", "Next": "Failed"},
            {
                "Variable": "$$.Execution.RedriveCount",
                "NumericGreaterThanPath": "$.redrive_count",
                "Next": definition["StartAt"],
            },
        ],
    }


def test_failed_ends_with_the_first_error_and_cause(definition: dict[str, Any]) -> None:
    assert definition["States"]["Failed"] == {
        "Type": "Fail",
        "ErrorPath": "$.Error",
        "CausePath": "$.Cause",
    }


def test_nothing_ends_an_execution_past_its_catchers(definition: dict[str, Any]) -> None:
    assert "TimeoutSeconds" not in definition
