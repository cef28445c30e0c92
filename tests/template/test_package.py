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
TOPIC = "arn:aws:sns:us-east-1:123456789012:existing"


def test_the_zip_holds_the_handlers_and_nothing_else(package: Any) -> None:
    expected = {f"handlers/{path.name}" for path in (ROOT / "handlers").glob("*.py")}
    assert package.zip_names() == expected
    assert package.zip_path.stat().st_size < 20_000


def test_the_only_warning_is_the_plugin_s_own_deprecation(package: Any) -> None:
    warnings = re.findall(r"(?im)^.*warning.*$", package.output)
    assert len(warnings) == 1, package.output
    assert "serverless-pseudo-parameters" in warnings[0]
    assert "deprecat" not in package.output.lower()


def test_the_linter_has_no_complaint(package: Any) -> None:
    # W3005: the framework itself adds a DependsOn on each function's role.
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from cfnlint.runner.cli import main; main()",
            "--ignore-checks",
            "W3005",
            "--template",
            str(package.template_path),
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
        "OperationsTableName",
        "NotificationTopicArn",
        "ServerlessDeploymentBucketName",
    }


def test_the_functions_are_not_versioned(package: Any) -> None:
    assert package.of_type("AWS::Lambda::Version") == {}


def test_each_function_runs_on_python_3_13_and_arm_with_json_logs_and_traces(package: Any) -> None:
    functions = package.of_type("AWS::Lambda::Function")
    assert len(functions) == 3
    for function in functions.values():
        assert function["Runtime"] == "python3.13"
        assert function["Architectures"] == ["arm64"]
        assert function["LoggingConfig"]["LogFormat"] == "JSON"
        assert function["TracingConfig"] == {"Mode": "Active"}


def test_each_function_has_the_timeout_of_serverless_yml(
    package: Any, timeouts: dict[str, int]
) -> None:
    for logical_id, function in package.of_type("AWS::Lambda::Function").items():
        name = logical_id.removesuffix("LambdaFunction")
        assert function["Timeout"] == timeouts[name[0].lower() + name[1:]]


def test_each_log_group_forgets(package: Any) -> None:
    groups = package.of_type("AWS::Logs::LogGroup")
    assert len(groups) == 4
    assert {group["RetentionInDays"] for group in groups.values()} == {30}


def test_environment_values_are_plain_strings(package: Any) -> None:
    # serverless-resources-env hands them to Lambda as they stand, references and all.
    for function in package.of_type("AWS::Lambda::Function").values():
        values = function.get("Environment", {}).get("Variables", {}).values()
        assert all(isinstance(value, str) and "#{" not in value for value in values)


def test_each_variable_that_a_handler_reads_is_in_its_env_resources(package: Any) -> None:
    text = (ROOT / "serverless.yml").read_text()
    for handler in (ROOT / "handlers").glob("*.py"):
        found = re.search(r'^VARIABLE = "CF_(\w+)"', handler.read_text(), re.MULTILINE)
        assert found is not None
        block = re.search(rf"handlers/{handler.stem}\.handler(?:.*\n)+?.*env-resources: (.*)", text)
        assert block is not None
        assert block[1] == f"[{found[1]}]"
        assert found[1] in package.resources


def condition(package: Any, name: str) -> bool:
    """The value of a condition, as CloudFormation finds it from the parameters' defaults."""

    def value(node: Any) -> Any:
        match node:
            case {"Ref": parameter}:
                return package.template["Parameters"][parameter]["Default"]
            case {"Fn::Equals": [left, right]}:
                return value(left) == value(right)
            case {"Fn::Not": [inner]}:
                return not value(inner)
        return node

    return bool(value(package.template["Conditions"][name]))


def test_without_parameters_the_service_has_its_own_topic_and_silent_alarms(package: Any) -> None:
    assert condition(package, "CreatesEventTopic")
    assert not condition(package, "HasAlarmTopic")


def test_an_existing_topic_is_subscribed_and_none_is_created(pack: Callable[..., Any]) -> None:
    package = pack("test", "--param", f"topicArn={TOPIC}", "--param", f"alarmTopicArn={TOPIC}")
    assert not condition(package, "CreatesEventTopic")
    assert condition(package, "HasAlarmTopic")
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
    for logical_id in ("FailureQueue", "OperationsTable"):
        assert package.resources[logical_id]["DeletionPolicy"] == "Retain"


@pytest.mark.parametrize(("stage", "policy"), [("local", "Delete"), ("prod", "Retain")])
def test_only_prod_keeps_its_data(pack: Callable[..., Any], stage: str, policy: str) -> None:
    package = pack(stage)
    for logical_id in ("FailureQueue", "OperationsTable"):
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
