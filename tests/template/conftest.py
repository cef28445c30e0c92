"""The service as the framework packages it, and the means to read its template."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("serverless.yml", "handlers", "statemachines", "resources", "plugins", "package.json")
NO_VALUE = {"Ref": "AWS::NoValue"}
PSEUDO = {"AWS::Partition": "aws", "AWS::Region": "us-east-1", "AWS::AccountId": "123456789012"}


@dataclass(frozen=True)
class Package:
    """What ``sls package`` made and said."""

    template: dict[str, Any]
    template_path: Path
    zip_path: Path
    output: str

    @property
    def resources(self) -> dict[str, Any]:
        found: dict[str, Any] = self.template["Resources"]
        return found

    def properties(self, logical_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.resources[logical_id]["Properties"]
        return found

    def of_type(self, resource_type: str) -> dict[str, Any]:
        """The properties of all resources of a type, by logical ID."""
        return {k: v["Properties"] for k, v in self.resources.items() if v["Type"] == resource_type}

    def zip_names(self) -> set[str]:
        with ZipFile(self.zip_path) as archive:
            return set(archive.namelist())

    def condition(self, name: str) -> bool:
        """The value of a condition, as CloudFormation finds it from the parameters' defaults."""
        return bool(self._value(self.template["Conditions"][name]))

    def deployed(self) -> "Package":
        """What there is in the stack: each condition is decided."""
        template = self._decided(self.template)
        for block in ("Resources", "Outputs"):
            template[block] = {
                name: entry
                for name, entry in template[block].items()
                if "Condition" not in entry or self.condition(entry["Condition"])
            }
        return replace(self, template=template)

    def _value(self, node: Any) -> Any:
        match node:
            case {"Ref": parameter}:
                return self.template["Parameters"][parameter]["Default"]
            case {"Fn::Equals": [left, right]}:
                return self._value(left) == self._value(right)
            case {"Fn::Not": [inner]}:
                return not self._value(inner)
        return node

    def _decided(self, node: Any) -> Any:
        match node:
            case {"Fn::If": [name, yes, no]}:
                return self._decided(yes if self.condition(name) else no)
            case dict():
                decided = {key: self._decided(value) for key, value in node.items()}
                return {key: value for key, value in decided.items() if value != NO_VALUE}
            case list():
                return [one for item in node if (one := self._decided(item)) != NO_VALUE]
        return node

    def state_machine(self) -> dict[str, Any]:
        """The definition as CloudFormation hands it to Step Functions, references as ``<ID>``."""
        text, references = self.properties("OperationLog")["DefinitionString"]["Fn::Sub"]
        values = PSEUDO | {name: f"<{value['Ref']}>" for name, value in references.items()}
        definition: dict[str, Any] = json.loads(
            re.sub(r"\$\{([^}]+)\}", lambda found: values[found[1]], text)
        )
        return definition


@pytest.fixture(scope="session")
def sls() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the framework in a folder of its own: it empties ``.serverless`` before it packages."""
    tool = ROOT / "node_modules" / ".bin" / "sls"
    assert tool.exists(), "the build tools are missing: npm ci"

    def run(
        folder: Path, *arguments: str, env: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        # The suffix keeps out what Python leaves beside the sources while other tests run.
        ignore = shutil.ignore_patterns("__pycache__")
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=ignore)
            else:
                shutil.copy(source, folder / part)
        # Leftovers that must stay out of the zip.
        (folder / "handlers" / "__pycache__").mkdir()
        (folder / "handlers" / "__pycache__" / "invoker.cpython-313.pyc").write_bytes(b"compiled")
        (folder / "tests").mkdir()
        (folder / "tests" / "test_something.py").write_text("")
        (folder / "node_modules").symlink_to(ROOT / "node_modules")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            # Print deprecations in full, instead of how many there are.
            "SLS_DEPRECATION_NOTIFICATION_MODE": "warn",
        }
        return subprocess.run(
            [tool, *arguments],
            cwd=folder,
            env=environment | (env or {}),
            capture_output=True,
            check=False,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture(scope="session")
def pack(
    sls: Callable[..., "subprocess.CompletedProcess[str]"],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Package]:
    """Package the service; arguments go to the command line, after the stage."""

    def run(stage: str = "test", *arguments: str) -> Package:
        folder = tmp_path_factory.mktemp("service")
        made = tmp_path_factory.mktemp("package")
        done = sls(folder, "package", "--stage", stage, "--package", str(made), *arguments)
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        path = made / "cloudformation-template-update-stack.json"
        return Package(json.loads(path.read_text()), path, made / "startonce.zip", output)

    return run


@pytest.fixture(scope="session")
def package(pack: Callable[..., Package]) -> Package:
    return pack()


@dataclass(frozen=True)
class Variant:
    """The service as deployed with some parameters."""

    delivery: str
    large_events: str
    package: Package

    @property
    def buffered(self) -> bool:
        return self.delivery == "buffered"

    @property
    def has_bucket(self) -> bool:
        return self.large_events == "bucket"


@pytest.fixture(
    scope="session",
    params=[(d, b) for d in ("direct", "buffered") for b in ("bucket", "off")],
    ids=lambda param: "-".join(param),
)
def variant(pack: Callable[..., Package], request: pytest.FixtureRequest) -> Variant:
    delivery, large_events = request.param
    arguments = ("--param", f"delivery={delivery}", "--param", f"largeEvents={large_events}")
    return Variant(delivery, large_events, pack("test", *arguments).deployed())


@pytest.fixture(scope="session")
def timeouts() -> dict[str, int]:
    """Seconds by function, as serverless.yml has them under custom.timeouts."""
    text = (ROOT / "serverless.yml").read_text()
    block = re.search(r"^  timeouts:\n((?:    .*\n)+)", text, re.MULTILINE)
    assert block is not None
    return {k: int(v) for k, v in re.findall(r"^    (\w+): (\d+)", block[1], re.MULTILINE)}
