"""What goes into the package, and what the framework says about it."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
KEPT = ("FailureQueue", "OperationsTable", "LargeEventsBucket")
TOPIC = "arn:aws:sns:us-east-1:123456789012:existing"


def test_the_zip_holds_the_handlers_and_nothing_else(package: Any) -> None:
    expected = {f"handlers/{path.name}" for path in (ROOT / "handlers").glob("*.py")}
    assert package.zip_names() == expected
    assert package.zip_path.stat().st_size < 20_000


def test_the_only_warning_is_the_plugin_s_own_deprecation(variant: Any) -> None:
    package = variant.package
    warnings = re.findall(r"(?im)^.*warning.*$", package.output)
    assert len(warnings) == 1, package.output
    assert "serverless-pseudo-parameters" in warnings[0]
    assert "deprecat" not in package.output.lower()


def test_the_linter_has_no_complaint(variant: Any) -> None:
    # W3005: the framework itself adds a DependsOn on each function's role.
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from cfnlint.runner.cli import main; main()",
            "--ignore-checks",
            "W3005",
            "--template",
            str(variant.package.template_path),
        ],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_outputs_are_the_ones_that_operators_need(package: Any) -> None:
    assert set(package.template["Outputs"]) == {
        "EventTopicArn",
        "OperationLogArn",
        "FailureQueueUrl",
        "ExecutionNameSource",
        "LargeEventsBucketName",
        "OperationsTableName",
        "NotificationTopicArn",
        "ServerlessDeploymentBucketName",
    }


def test_the_functions_are_not_versioned(variant: Any) -> None:
    assert variant.package.of_type("AWS::Lambda::Version") == {}


def test_each_function_runs_on_python_3_13_and_arm_with_json_logs_and_traces(variant: Any) -> None:
    functions = variant.package.of_type("AWS::Lambda::Function")
    assert len(functions) == 3 + variant.buffered
    for function in functions.values():
        assert function["Runtime"] == "python3.13"
        assert function["Architectures"] == ["arm64"]
        assert function["LoggingConfig"]["LogFormat"] == "JSON"
        assert function["TracingConfig"] == {"Mode": "Active"}


def test_each_function_has_the_timeout_of_serverless_yml(
    variant: Any, timeouts: dict[str, int]
) -> None:
    for logical_id, function in variant.package.of_type("AWS::Lambda::Function").items():
        name = logical_id.removesuffix("LambdaFunction")
        assert function["Timeout"] == timeouts[name[0].lower() + name[1:]]


def test_each_log_group_forgets(variant: Any) -> None:
    groups = variant.package.of_type("AWS::Logs::LogGroup")
    assert len(groups) == 4 + variant.buffered
    assert {group["RetentionInDays"] for group in groups.values()} == {30}


def test_environment_values_are_plain_strings(variant: Any) -> None:
    # serverless-resources-env hands them to Lambda as they stand, references and all.
    for function in variant.package.of_type("AWS::Lambda::Function").values():
        values = function.get("Environment", {}).get("Variables", {}).values()
        assert all(isinstance(value, str) and "#{" not in value for value in values)


@pytest.fixture(scope="session")
def print_functions(sls: Callable[..., Any], tmp_path_factory: Any) -> Callable[..., Any]:
    """The functions as the framework and its plugins see them."""

    def run(*arguments: str) -> Any:
        folder = tmp_path_factory.mktemp("print")
        done = sls(folder, "print", "--stage", "test", "--format", "json", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)["functions"]

    return run


def test_each_variable_that_a_handler_reads_is_in_its_env_resources(
    variant: Any, print_functions: Callable[..., Any]
) -> None:
    arguments = [f"delivery={variant.delivery}", f"largeEvents={variant.large_events}"]
    functions = print_functions(*[word for one in arguments for word in ("--param", one)])
    assert len(functions) == 3 + variant.buffered
    for function in functions.values():
        source = (ROOT / function["handler"].replace(".handler", ".py")).read_text()
        read = re.findall(r'^\w*VARIABLE = "CF_(\w+)"', source, re.MULTILINE)
        assert read
        if not variant.has_bucket:
            read = [name for name in read if name != "LargeEventsBucket"]
        assert function["custom"]["env-resources"] == read
        # The plugin warns of a resource that is not there.
        assert set(read) <= set(variant.package.resources)


def test_the_invokers_are_told_what_executions_are_named_by(pack: Callable[..., Any]) -> None:
    arguments = ("--param", "executionName=messageId", "--param", "delivery=buffered")
    package = pack("test", *arguments)
    for function in ("Invoker", "BatchInvoker"):
        variables = package.properties(f"{function}LambdaFunction")["Environment"]["Variables"]
        assert variables == {"EXECUTION_NAME": "messageId"}
    assert package.template["Parameters"]["ExecutionName"]["Default"] == "messageId"
    assert package.template["Outputs"]["ExecutionNameSource"]["Value"] == {"Ref": "ExecutionName"}


def test_executions_are_named_by_the_request_id_by_default(variant: Any) -> None:
    variables = variant.package.properties("InvokerLambdaFunction")["Environment"]["Variables"]
    assert variables == {"EXECUTION_NAME": "requestId"}


@pytest.mark.parametrize(
    ("parameter", "values"),
    [
        ("executionName", ["requestId", "messageId"]),
        ("delivery", ["direct", "buffered", "draining"]),
        ("largeEvents", ["bucket", "off"]),
        ("deletionPolicy", ["Delete", "Retain"]),
    ],
)
def test_a_value_that_there_is_not_is_refused_with_one_line_that_says_which_there_are(
    sls: Callable[..., Any], package: Any, tmp_path: Path, parameter: str, values: list[str]
) -> None:
    done = sls(tmp_path, "package", "--stage", "test", "--param", f"{parameter}=wrong")
    assert done.returncode != 0
    [line] = re.findall(r"(?m)^Configuration error.*$|^ +at '.*$", done.stdout + done.stderr)
    assert f"'custom.chosen.{parameter}'" in line
    assert f"[{', '.join(values)}]" in line


def test_cloudformation_refuses_such_a_value_too(package: Any) -> None:
    parameters = package.template["Parameters"]
    assert parameters["ExecutionName"]["AllowedValues"] == ["requestId", "messageId"]
    assert parameters["LargeEvents"]["AllowedValues"] == ["bucket", "off"]


def test_without_parameters_the_service_has_its_own_topic_and_silent_alarms(package: Any) -> None:
    assert package.condition("CreatesEventTopic")
    assert not package.condition("HasAlarmTopic")
    assert package.condition("HasLargeEventsBucket")


def test_an_existing_topic_is_subscribed_and_none_is_created(pack: Callable[..., Any]) -> None:
    package = pack("test", "--param", f"topicArn={TOPIC}", "--param", f"alarmTopicArn={TOPIC}")
    assert not package.condition("CreatesEventTopic")
    assert package.condition("HasAlarmTopic")
    assert package.template["Parameters"]["ExistingTopicArn"]["Default"] == TOPIC
    for logical_id in ("EventTopic", "EventTopicPolicy"):
        assert package.resources[logical_id]["Condition"] == "CreatesEventTopic"


def test_each_use_of_the_topic_follows_the_condition(package: Any) -> None:
    text = json.dumps(package.template)
    either = json.dumps(
        {"Fn::If": ["CreatesEventTopic", {"Ref": "EventTopic"}, {"Ref": "ExistingTopicArn"}]}
    )
    assert text.count(either) == 4  # subscription, permission, queue policy, output
    # Beside those: the topic's own policy, twice.
    assert text.count('{"Ref": "EventTopic"}') == 4 + 2


def test_a_parameter_of_the_command_line_is_used(pack: Callable[..., Any]) -> None:
    arguments = ("--param", "logRetentionInDays=7", "--param", "deletionPolicy=Retain")
    package = pack("test", *arguments)
    groups = package.of_type("AWS::Logs::LogGroup").values()
    assert {int(group["RetentionInDays"]) for group in groups} == {7}
    for logical_id in KEPT:
        assert package.resources[logical_id]["DeletionPolicy"] == "Retain"


@pytest.mark.parametrize(("stage", "policy"), [("local", "Delete"), ("prod", "Retain")])
def test_only_prod_keeps_its_data(pack: Callable[..., Any], stage: str, policy: str) -> None:
    package = pack(stage, "--param", "delivery=buffered")
    for logical_id in (*KEPT, "EventQueue"):
        assert package.resources[logical_id]["DeletionPolicy"] == policy
        assert package.resources[logical_id]["UpdateReplacePolicy"] == policy


def test_stage_local_refuses_an_endpoint_of_aws(sls: Callable[..., Any], tmp_path: Path) -> None:
    endpoint = {"AWS_ENDPOINT_URL": "https://sns.us-east-1.amazonaws.com"}
    done = sls(tmp_path, "package", "--stage", "local", env=endpoint)
    assert done.returncode != 0
    assert "must not use AWS" in done.stdout + done.stderr


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    assert not [name for name, entry in lock["packages"].items() if "resolved" in entry]
    manifest = json.loads((ROOT / "package.json").read_text())
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", v) for v in manifest["devDependencies"].values())
