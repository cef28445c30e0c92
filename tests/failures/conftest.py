from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import start_cloud
from tests.failures.matrix import ROWS, Row
from tests.failures.trouble import Trouble
from tests.service import deploy_service

# The pauses between attempts are half a second and one, which leaves time to mend something.
SPEED = "120"


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trouble]:
    cloud = start_cloud("--speed", SPEED)
    trouble = Trouble(deploy_service(cloud, tmp_path_factory.mktemp("service")))
    yield trouble
    trouble.check_that_nothing_more_happened()
    assert cloud.stop() == 0


@pytest.fixture
def trouble(deployed: Trouble) -> Iterator[Trouble]:
    yield deployed
    deployed.mend()
    deployed.empty_failure_queue()
    deployed.check_that_faults_struck()


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Row:
    marker = request.node.get_closest_marker("row")
    assert marker is not None
    return ROWS[marker.args[0]]


@pytest.fixture
def own_trouble(tmp_path: Path) -> Iterator[Trouble]:
    """A deployment of its own, for what cannot be mended."""
    cloud = start_cloud("--speed", SPEED)
    trouble = Trouble(deploy_service(cloud, tmp_path))
    yield trouble
    trouble.check_that_faults_struck()
    assert cloud.stop() == 0
