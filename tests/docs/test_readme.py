"""The README's commands, as written."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from startonce.stack import find_stack
from tests.conftest import REPOSITORY, CloudProcess, start_cloud, wait_for
from tests.docs.markdown import blocks, commands
from tests.docs.terminal import Terminal, clone, on_local

SCENARIOS = {
    *("Run it", "Deploy", "Parameters", "Publish", "When something fails", "Remove"),
}
"""The sections with commands that are tried here."""

COMMANDS = commands("README.md")
ALARMS = "arn:aws:sns:us-east-1:123456789012:alarms"


def normalised(output: str) -> list[str]:
    """Without what differs from run to run: IDs, times, and where lines are wrapped."""
    output = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", output)
    output = re.sub(r"\b\d+(\.\d+)? (ms|s)\b", "TIME", output)
    return output.split()


def test_make_run_prints_what_the_readme_shows(tmp_path: Path) -> None:
    [shown] = [block.text for block in blocks("README.md") if block.language == "text"]
    run, test = COMMANDS["Run it"][0].splitlines()
    assert (run, test) == ("make run", "make test")
    printed = Terminal(clone(tmp_path), "http://127.0.0.1:9").run(run)
    assert normalised(printed) == normalised(shown)


def test_make_test_is_what_ci_runs() -> None:
    assert re.search(r"(?m)^make test\b", (REPOSITORY / ".ci" / "run").read_text())


@pytest.fixture
def own_cloud() -> Iterator[CloudProcess]:
    running = start_cloud("--speed", "60")
    yield running
    running.stop()


def test_deploy_publish_remove(own_cloud: CloudProcess, tmp_path: Path) -> None:
    terminal = Terminal(clone(tmp_path), own_cloud.endpoint)
    [deploy], [parameters], [publish, look], [redrive], [remove] = (
        list(map(on_local, COMMANDS[heading]))
        for heading in ("Deploy", "Parameters", "Publish", "When something fails", "Remove")
    )
    terminal.run(parameters)
    alarms = own_cloud.aws.client("cloudwatch").describe_alarms()["MetricAlarms"]
    assert {tuple(one["AlarmActions"]) for one in alarms} == {(ALARMS,)}
    terminal.run(deploy)

    terminal.run(publish)
    machine = find_stack(own_cloud.aws, "local").state_machine_arn
    client = own_cloud.aws.client("stepfunctions")
    wait_for(
        lambda: client.list_executions(stateMachineArn=machine, statusFilter="SUCCEEDED")[
            "executions"
        ],
        what="the execution's success",
    )
    said = terminal.run(publish, look)
    assert '"status": "SUCCEEDED"' in said
    assert '"S": "signed_in"' in said
    assert '"ApproximateNumberOfMessages": "0"' in said

    own_cloud.add_fault("recordOperation", "exception")
    terminal.run(publish)
    wait_for(lambda: "InjectedFault" in terminal.run(redrive.splitlines()[0]))
    assert "1 redriven, 0 already started, 0 left alone, 0 failed" in terminal.run(redrive)

    terminal.run(remove)
    with pytest.raises(ClientError, match="does not exist"):
        own_cloud.aws.client("cloudformation").describe_stacks(StackName="startonce-local")


@pytest.mark.parametrize("verb", ["deploy", "remove"])
def test_the_stage_of_the_readme_goes_to_sls_as_it_is(verb: str, tmp_path: Path) -> None:
    """What an account would be needed for: that `prod` differs from `local` in the stage alone."""
    [block] = COMMANDS[verb.capitalize()]
    assert block == f"make {verb} STAGE=prod\n"
    done = subprocess.run(
        ["make", "--dry-run", verb, "STAGE=prod"],
        cwd=clone(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(rf"(?m)^npx --no-install sls {verb} --stage prod *$", done.stdout)
