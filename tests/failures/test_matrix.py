"""docs/failures.md has a test for each row."""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.failures import matrix


def test_each_row_is_shown_once() -> None:
    for path in Path(__file__).parent.glob("test_*.py"):
        importlib.import_module(f"tests.failures.{path.stem}")
    assert sorted(matrix.SHOWN) == sorted(matrix.ROWS)
