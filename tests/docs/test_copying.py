"""docs/copying.md, done line by line on a service of another name with another state machine."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from startonce.aws import Aws
from tests.conftest import REPOSITORY, CloudProcess, wait_for
from tests.docs.markdown import blocks, commands, tables
from tests.docs.terminal import Terminal, link_node_modules

SCENARIOS = {"Files", "Large events", "A queue or a stream", "Try it"}
"""The sections with commands that are tried here."""

COMMANDS = commands("docs/copying.md")
SERVICE = """\
service: {service}
configValidationMode: error
plugins:
  - serverless-step-functions
provider:
  name: aws
  runtime: python3.12
  stage: ${{opt:stage, 'dev'}}
  logRetentionInDays: 7
  environment:
    CURRENCY: EUR
package:
  patterns: ['!**', 'src/*.py']
functions:
  ship:
    handler: src/ship.handler
stepFunctions:
  stateMachines:
    lending:
      id: Lending
      definition:
        StartAt: Ship
        States:
          Ship:
            Type: Task
            Resource:
              Fn::GetAtt: [ShipLambdaFunction, Arn]
            End: true
resources:
  Resources:
    Basket:
      Type: AWS::SQS::Queue
"""
SHIP = """\
import json
import os


def handler(event, context):
    record = event["Records"][0]
    order = json.loads(record["body"] if "body" in record else record["Sns"]["Message"])
    return {"order": order["order"], "currency": os.environ["CURRENCY"]}
"""
yaml = YAML(typ="safe")


def ours(text: str) -> str:
    """The page's text with the names of this test's service."""
    return text.replace("OrderFlow", "Lending").replace("FirstState", "Ship")


def merge(mine: Any, added: Any) -> Any:
    """Add a block to what a service has under the same keys, as a person would."""
    if isinstance(added, dict) and isinstance(mine, dict):
        return {**mine, **{key: merge(mine.get(key), value) for key, value in added.items()}}
    if isinstance(added, list) and mine is not None:
        mine = mine if isinstance(mine, list) else [mine]
        # What is there already stays where the block has it.
        return [one for one in mine if one not in added] + added
    return added


def write(path: Path, content: Any) -> None:
    text = io.StringIO()
    YAML().dump(content, text)
    path.write_text(text.getvalue())


def existing_service(folder: Path, name: str) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "ship.py").write_text(SHIP)
    (folder / "serverless.yml").write_text(SERVICE.format(service=name))
    (folder / "package.json").write_text(json.dumps({"name": name, "private": True}))
    link_node_modules(folder)
    return folder


def copy_files(folder: Path, *sections: str) -> None:
    [files] = COMMANDS["Files"]
    assert "STARTONCE=../startonce\n" in files
    files = files.replace("STARTONCE=../startonce\n", f"STARTONCE='{REPOSITORY}'\n")
    more = [block for section in sections for block in COMMANDS[section]]
    Terminal(folder, "http://127.0.0.1:9").run(ours(files), *map(ours, more))


def change_serverless_yml(folder: Path, *sections: str) -> None:
    path = folder / "serverless.yml"
    service = yaml.load(path.read_text())
    wanted = ("serverless.yml", *sections, "Try it")
    in_order = sorted(
        (block for block in blocks("docs/copying.md") if block.heading in wanted),
        key=lambda block: wanted.index(block.heading),
    )
    for block in in_order:
        if block.language == "yaml":
            service = merge(service, yaml.load(ours(block.text)))
    machine = service["stepFunctions"]["stateMachines"]["lending"]
    [catch] = [b.text for b in blocks("docs/copying.md") if b.heading == "The state machine"]
    machine["definition"]["States"]["Ship"] |= yaml.load(catch)
    machine["definition"]["States"] |= yaml.load((folder / "failure_states.yml").read_text())
    (folder / "failure_states.yml").unlink()
    write(path, service)


def without_the_plugin(folder: Path) -> None:
    path = folder / "serverless.yml"
    service = yaml.load(path.read_text())
    for plugin in ("serverless-resources-env", "./plugins/function-custom.js"):
        service["plugins"].remove(plugin)
    del service["functions"]["invoker"]["custom"]
    [block] = [b.text for b in blocks("docs/copying.md") if b.heading == "Without the plugin"]
    service["functions"]["invoker"] |= yaml.load(ours(block))
    (folder / "plugins" / "function-custom.js").unlink()
    write(path, service)


def deploy_and_publish(folder: Path, endpoint: str, stack: str) -> str:
    """Type the second terminal's part of "Try it"."""
    _, second = COMMANDS["Try it"]
    assert "http://127.0.0.1:4566" in second
    assert "bookshop-local" in second
    second = second.replace("http://127.0.0.1:4566", endpoint).replace("bookshop-local", stack)
    return Terminal(folder, endpoint).run(ours(second))


def outputs(aws: Aws, stack: str) -> dict[str, str]:
    described = aws.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return {one["OutputKey"]: one["OutputValue"] for one in described["Outputs"]}


def ended(aws: Aws, machine: str, status: str) -> list[str]:
    listed = aws.client("stepfunctions").list_executions(
        stateMachineArn=machine, statusFilter=status
    )
    return [one["executionArn"] for one in listed["executions"]]


@pytest.mark.parametrize("with_plugin", [True, False], ids=["with plugin", "without plugin"])
def test_one_message_starts_one_execution(
    cloud: CloudProcess, tmp_path: Path, with_plugin: bool
) -> None:
    name = "library" if with_plugin else "archive"
    folder = existing_service(tmp_path / name, name)
    copy_files(folder)
    change_serverless_yml(folder)
    if not with_plugin:
        without_the_plugin(folder)

    said = deploy_and_publish(folder, cloud.endpoint, f"{name}-local")
    assert f"Service deployed to stack {name}-local" in said
    stack = outputs(cloud.aws, f"{name}-local")
    machine, queue = stack["LendingArn"], stack["FailureQueueUrl"]
    states, sqs = cloud.aws.client("stepfunctions"), cloud.aws.client("sqs")

    [execution] = wait_for(lambda: ended(cloud.aws, machine, "SUCCEEDED"))
    result = states.describe_execution(executionArn=execution)["output"]
    assert json.loads(result) == {"order": 1, "currency": "EUR"}
    assert len(states.list_executions(stateMachineArn=machine)["executions"]) == 1

    # A message that its step cannot read ends in the failure queue.
    cloud.aws.client("sns").publish(TopicArn=stack["EventTopicArn"], Message="no JSON")
    [failed] = wait_for(lambda: ended(cloud.aws, machine, "FAILED"))
    [message] = sqs.receive_message(QueueUrl=queue)["Messages"]
    body = json.loads(message["Body"])
    assert (body["execution_arn"], body["error"]) == (failed, "JSONDecodeError")
    assert body["event"]["Records"][0]["Sns"]["Message"] == "no JSON"


def test_a_large_event_comes_to_the_step(cloud: CloudProcess, tmp_path: Path) -> None:
    folder = existing_service(tmp_path / "museum", "museum")
    copy_files(folder, "Large events")
    change_serverless_yml(folder, "Large events")
    [code] = [block.text for block in blocks("docs/copying.md") if block.language == "python"]
    imported, line = code.splitlines()[0], code.splitlines()[-1]
    ship = SHIP.replace("import os\n", f"import os\n\n{imported}\n")
    ship = ship.replace("context):\n", f"context):\n{line}\n")
    (folder / "src" / "ship.py").write_text(ship)
    deploy_and_publish(folder, cloud.endpoint, "museum-local")
    stack = outputs(cloud.aws, "museum-local")
    wait_for(lambda: ended(cloud.aws, stack["LendingArn"], "SUCCEEDED"))

    large = json.dumps({"order": 2, "lines": '"' * 120_000})
    cloud.aws.client("sns").publish(TopicArn=stack["EventTopicArn"], Message=large)
    wait_for(lambda: len(ended(cloud.aws, stack["LendingArn"], "SUCCEEDED")) == 2)
    states = cloud.aws.client("stepfunctions")
    described = [
        states.describe_execution(executionArn=arn)
        for arn in ended(cloud.aws, stack["LendingArn"], "SUCCEEDED")
    ]
    assert {json.loads(one["output"])["order"] for one in described} == {1, 2}
    [pointer] = [one for one in described if one["input"].startswith("[")]
    assert stack["LargeEventsBucketName"] in pointer["input"]


def test_a_message_of_a_queue_starts_one_execution(cloud: CloudProcess, tmp_path: Path) -> None:
    folder = existing_service(tmp_path / "theatre", "theatre")
    copy_files(folder, "A queue or a stream")
    change_serverless_yml(folder, "A queue or a stream")
    deploy_and_publish(folder, cloud.endpoint, "theatre-local")
    stack = outputs(cloud.aws, "theatre-local")
    found = cloud.aws.client("cloudformation").describe_stack_resource(
        StackName="theatre-local", LogicalResourceId="Basket"
    )
    basket = found["StackResourceDetail"]["PhysicalResourceId"]
    sent = cloud.aws.client("sqs").send_message(QueueUrl=basket, MessageBody='{"order": 3}')
    arn = stack["LendingArn"].replace(":stateMachine:", ":execution:") + f":{sent['MessageId']}"
    wait_for(lambda: arn in ended(cloud.aws, stack["LendingArn"], "SUCCEEDED"))
    described = cloud.aws.client("stepfunctions").describe_execution(executionArn=arn)
    assert json.loads(described["output"])["order"] == 3


def test_the_table_of_files_is_what_the_commands_make(tmp_path: Path) -> None:
    folder = existing_service(tmp_path / "library", "library")
    shutil.rmtree(folder / "node_modules")
    before = set(folder.rglob("*"))
    copy_files(folder)
    made = {path for path in set(folder.rglob("*")) - before if path.is_file()}
    assert {str(path.relative_to(folder)) for path in made} == {
        row[0] for row in tables("docs/copying.md")[0]
    }
    assert 'VARIABLE = "CF_Lending"' in (folder / "handlers" / "invoker.py").read_text()
    unchanged = [row[0] for row in tables("docs/copying.md")[0] if row[3:] == ["nothing"]]
    for path in unchanged:
        if (REPOSITORY / path).exists():
            assert (folder / path).read_bytes() == (REPOSITORY / path).read_bytes()
    roles = yaml.load((folder / "resources" / "invoker_role.yml").read_text())["Resources"]
    assert set(roles) == {"InvokerRole"}


def test_package_json_has_the_versions_that_are_tried_here() -> None:
    [block] = [b.text for b in blocks("docs/copying.md") if b.language == "json"]
    manifest = json.loads((REPOSITORY / "package.json").read_text())
    copied = json.loads(block)["devDependencies"]
    assert copied.items() <= manifest["devDependencies"].items()
    # The others are there for the example's state machine.
    assert manifest["devDependencies"].keys() - copied.keys() == {"serverless-pseudo-parameters"}


def test_the_local_cloud_is_started_by_its_own_command() -> None:
    first, _ = COMMANDS["Try it"]
    assert first == "../startonce/.venv/bin/startonce up\n"  # the fixture adds a port
