"""Runs the real ``sls deploy`` against the local cloud."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

STAGE = "local"

# The framework looks at a stack every five seconds; the local cloud is done before the first look.
_LOOK_EVERY_MS = "100"


class DeployError(Exception):
    """The deployment failed; the message is what the framework said."""


def deploy(service: Path, endpoint: str, *options: str) -> None:
    """Deploy the service in ``service`` to stage ``local`` at ``endpoint``.

    Args:
        options: further ones for the framework, such as ``--param=executionName=messageId``.

    Raises:
        DeployError: the framework is not installed, or the deployment failed.
    """
    _sls(service, endpoint, "deploy", *options)


def remove(service: Path, endpoint: str) -> None:
    """Remove it again.

    Raises:
        DeployError: see :func:`deploy`.
    """
    _sls(service, endpoint, "remove")


def find_service(start: Path) -> Path:
    """The folder with ``serverless.yml``: ``start`` or the nearest one above.

    Raises:
        DeployError: there is none.
    """
    for folder in (start, *start.parents):
        if (folder / "serverless.yml").is_file():
            return folder
    raise DeployError(f"no serverless.yml in {start} or above: run this inside the service")


def _sls(service: Path, endpoint: str, verb: str, *options: str) -> None:
    npx = shutil.which("npx")
    if npx is None:
        raise DeployError("npx is not on the PATH: install Node.js 20.19 or later")
    if not (service / "node_modules" / ".bin" / "sls").exists():
        raise DeployError(f"the Serverless Framework is not installed: run `npm ci` in {service}")
    environment = {
        **os.environ,
        "AWS_ENDPOINT_URL": endpoint,
        "SLS_AWS_MONITORING_FREQUENCY": _LOOK_EVERY_MS,
    }
    done = subprocess.run(
        [npx, "--no-install", "sls", verb, "--stage", STAGE, *options],
        cwd=service,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise DeployError(f"`sls {verb} --stage {STAGE}` failed:\n{done.stdout.strip()}")
