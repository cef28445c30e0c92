"""What of Lambda the local cloud does not have. What it has: tests/conformance."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.local.conftest import MakeFunction


def test_what_is_not_implemented_is_refused_by_name(make_function: MakeFunction) -> None:
    with pytest.raises(ClientError, match="NotImplemented: the local cloud has no runtime"):
        make_function("", Runtime="nodejs22.x")
