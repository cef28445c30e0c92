"""A copy of the service: the framework empties .serverless, and tests run side by side."""

from __future__ import annotations

import shutil
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
PARTS = ("handlers", "plugins", "resources", "statemachines", "package.json", "serverless.yml")


def copy_service(folder: Path) -> Path:
    """Copy what `sls` reads into ``folder``, beside a link to the installed framework."""
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    (folder / "node_modules").symlink_to(REPOSITORY / "node_modules")
    return folder
