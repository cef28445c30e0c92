from __future__ import annotations

import pytest

from tests.conftest import CloudProcess
from tests.service import Service, deploy_service


@pytest.fixture(scope="session")
def service(cloud: CloudProcess, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """Deployed once, with the real `sls deploy`; tests tell their messages apart by their IDs."""
    return deploy_service(cloud, tmp_path_factory.mktemp("service"))
