"""Unpacked function code: one folder for each deployed zip."""

from __future__ import annotations

import io
import threading
import zipfile
from pathlib import Path

from startonce.local.functions.function_spec import FunctionSpec


class CodeStore:
    """Folders with code under ``root``, shared by all environments that run the same zip."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()

    def task_root(self, spec: FunctionSpec) -> str:
        """The folder that is ``/var/task`` on AWS.

        Raises:
            zipfile.BadZipFile: the deployed code is no zip.
        """
        folder = self._root / spec.code_sha256.replace("/", "_").rstrip("=")
        with self._lock:
            if not folder.exists():
                folder.mkdir(parents=True)
                zipfile.ZipFile(io.BytesIO(spec.code)).extractall(folder)
        return str(folder)
