"""A terminal, and a clone of the repository, to type the documents' commands in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY

BIN = Path(sys.executable).parent
PROGRAMS = Path(__file__).parent / "bin"


@dataclass(frozen=True)
class Terminal:
    """bash in a folder, with the AWS CLI set up for a local cloud."""

    folder: Path
    endpoint: str

    def run(self, *scripts: str, ok: bool = True) -> str:
        """Type the scripts one after the other into one shell; returns all that it said."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", "\n".join(scripts)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode == 0) is ok, done.stdout
        return done.stdout

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.pathsep.join([str(PROGRAMS), str(BIN), os.environ["PATH"]]),
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "SLS_AWS_MONITORING_FREQUENCY": "300",
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }


def on_local(script: str) -> str:
    """The script with the stage ``local`` in place of ``prod``, and nothing else changed."""
    for name in ("STAGE=prod", "--stage prod", "startonce-prod"):
        script = script.replace(name, name.replace("prod", "local"))
    return script


def clone(folder: Path) -> Path:
    """The files that make and sls read, set up already: make finds nothing to install."""
    for name in ("Makefile", "pyproject.toml", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(REPOSITORY / name, folder)
    for name in ("package.json", "package-lock.json", ".npmrc", "serverless.yml"):
        shutil.copy(REPOSITORY / name, folder)
    for name in ("handlers", "plugins", "resources", "statemachines"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignore)
    link_node_modules(folder)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(BIN)
    (folder / ".venv" / ".ready").touch()
    return folder


def link_node_modules(folder: Path) -> None:
    """Link to each installed package. The folder itself is none of the repository's, so that
    nothing that npm does to it reaches the repository.
    """
    (folder / "node_modules").mkdir()
    for entry in (REPOSITORY / "node_modules").iterdir():
        if entry.name != ".package-lock.json":
            (folder / "node_modules" / entry.name).symlink_to(entry)
    (folder / "node_modules" / ".package-lock.json").touch()
