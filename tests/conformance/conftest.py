from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from botocore.exceptions import ClientError

from tests.conformance.account import TRUST, Account, allow, new_name, policy
from tests.conformance.known_gaps import KNOWN_GAPS
from tests.conformance.target import Target, settings

SETTINGS = settings()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if item.nodeid.startswith("tests/conformance/")]
    for item in ours:
        source = item.get_closest_marker("source")
        if source is None:
            raise pytest.UsageError(f"{item.nodeid}: no source says that AWS behaves so")
        # For the table, by way of the JUnit report.
        item.user_properties.append(("source", source.args[0]))
        item.add_marker(pytest.mark.timeout(SETTINGS.timeout))
        key = item.nodeid.removeprefix("tests/conformance/")
        if SETTINGS.endpoint is None and key in KNOWN_GAPS:
            item.add_marker(pytest.mark.xfail(reason=KNOWN_GAPS[key], strict=True))


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Target:
    """What the caller named, or a local cloud that is started for this."""
    endpoint = SETTINGS.endpoint or request.getfixturevalue("cloud").endpoint
    return Target(endpoint, SETTINGS.speed, SETTINGS.patience)


@pytest.fixture(scope="session")
def role(target: Target) -> Iterator[str]:
    """May do everything."""
    client, name = target.client("iam"), new_name("r")
    arn = client.create_role(RoleName=name, AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    document = policy(allow("*", "*"))
    client.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=document)
    yield arn
    client.delete_role_policy(RoleName=name, PolicyName="all")
    client.delete_role(RoleName=name)


@pytest.fixture
def account(target: Target, role: str) -> Iterator[Account]:
    made = Account(target, role)
    yield made
    made.close()


@pytest.fixture
def refusal() -> Callable[[Callable[[], object]], ClientError]:
    """Call something that AWS refuses; the error."""

    def call(what: Callable[[], object]) -> ClientError:
        with pytest.raises(ClientError) as caught:
            what()
        return caught.value

    return call
