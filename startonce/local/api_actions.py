"""API actions by name: the service as it signs, and the operation: ``states.StartExecution``."""

from __future__ import annotations

from functools import cache

import botocore.session
from botocore.exceptions import UnknownServiceError

_MODELS = {
    "email": "ses",
    "monitoring": "cloudwatch",
    "states": "stepfunctions",
    "tagging": "resourcegroupstaggingapi",
}
"""Services that the SDK does not call by the name that they sign with."""


def check_action(action: str) -> None:
    """Raises ValueError: AWS has no such action, or signs it with another service's name."""
    service, _, operation = action.partition(".")
    signs_as, operations = _operations(_MODELS.get(service, service))
    if signs_as is None:
        raise ValueError(f"no AWS service signs as {service!r}: see {action!r}")
    if signs_as != service:
        raise ValueError(f"{service!r} signs as {signs_as!r}: write '{signs_as}.{operation}'")
    if operation not in operations:
        raise ValueError(f"{service!r} has no action {operation!r}")


@cache
def _operations(model: str) -> tuple[str | None, frozenset[str]]:
    """The name that a service signs with, and its operations; None and nothing if there is none."""
    try:
        loaded = botocore.session.get_session().get_service_model(model)
    except UnknownServiceError:
        return None, frozenset()
    return loaded.signing_name, frozenset(loaded.operation_names)
