"""What documents say of files, parameters, alarms and make targets is so."""

from __future__ import annotations

import re
import tomllib

import pytest
from ruamel.yaml import YAML

from tests.conftest import REPOSITORY
from tests.docs.markdown import DOCUMENTS, anchors, blocks, links, read, tables
from tests.docs.test_copying import SCENARIOS as COPYING
from tests.docs.test_local_cloud import SCENARIOS as LOCAL_CLOUD
from tests.docs.test_operating import SCENARIOS as OPERATING
from tests.docs.test_readme import SCENARIOS as README
from tests.load.test_load import SCENARIOS as LOAD

TRIED = {
    "README.md": README,
    "docs/copying.md": COPYING,
    "docs/failures.md": LOAD,
    "docs/local-cloud.md": LOCAL_CLOUD,
    "docs/operating.md": OPERATING,
}


@pytest.mark.parametrize("document", TRIED)
def test_each_section_with_commands_is_tried(document: str) -> None:
    assert {block.heading for block in blocks(document) if block.language == "sh"} == TRIED[
        document
    ]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_link_inside_the_repository_leads_somewhere(document: str) -> None:
    for link in links(document):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (REPOSITORY / document).parent / path if path else REPOSITORY / document
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(str(target.resolve().relative_to(REPOSITORY))), link


@pytest.mark.parametrize("document", DOCUMENTS)
def test_no_document_names_a_place_of_one_machine(document: str) -> None:
    assert not re.search(r"(?<![\w.])/(home|root|work|Users|tmp)/", read(document))


def test_the_table_of_parameters_is_that_of_serverless_yml() -> None:
    params = YAML(typ="safe").load((REPOSITORY / "serverless.yml").read_text())["params"]
    expected = [
        [name, str(value) or "empty", str(params["prod"].get(name, value)) or "empty"]
        for name, value in params["default"].items()
    ]
    assert set(params) == {"default", "prod"}
    assert set(params["prod"]) <= set(params["default"])
    assert [row[:3] for row in tables("README.md")[0]] == expected


def test_each_alarm_is_in_operating_and_the_other_way_round() -> None:
    resources = REPOSITORY / "resources"
    templates = YAML(typ="safe")
    alarms = set(templates.load((resources / "alarms.yml").read_text())["Resources"])
    buffered = templates.load((resources / "buffered.yml").read_text())["resources"]["Resources"]
    alarms |= {name for name in buffered if name.endswith("Alarm")}
    for document in ("docs/operating.md", "docs/failures.md"):
        assert set(re.findall(r"`(\w+Alarm)`", read(document))) <= alarms
    assert set(re.findall(r"`(\w+Alarm)`", read("docs/operating.md"))) == alarms


def test_each_target_that_is_named_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = set(re.findall(r"(?m)^([a-z-]+):.*## ", makefile))
    for document in DOCUMENTS:
        assert set(re.findall(r"`?\bmake ([a-z-]+)(?=[`\s])", code_of(document))) <= targets
    assert set(re.findall(r"`make ([a-z-]+)", read("CONTRIBUTING.md"))) == targets


def code_of(document: str) -> str:
    inline = re.findall(r"`[^`\n]+`", read(document))
    return "\n".join([*inline, *(block.text for block in blocks(document))])


def test_the_packages_to_install_for_development_are_pinned() -> None:
    pinned = (REPOSITORY / "requirements-dev.txt").read_text()
    [command] = [b.text for b in blocks("CONTRIBUTING.md") if "pip install" in b.text]
    named = re.search(r"pip install ((?:.*\\\n)*.*)\n", command)
    assert named is not None
    words = named[1].replace("-r requirements.txt", "").replace("\\\n", " ").split()
    wanted = [re.split(r"[\[=]", word.strip("'"))[0] for word in words]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[\[=>]", one)[0] for one in project["dependencies"]}
    assert needed | {"awscli", "pytest", "ruff"} <= {*wanted, "boto3"}
    for package in wanted:
        assert re.search(rf"(?m)^{re.escape(package)}==", pinned), package
