"""Which of S3's operations a request is. Actions in policies have other names: see s3_actions.

Operations that share a method and a path differ in what else they require: UploadPart is a
PutObject with ``partNumber`` and ``uploadId``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from urllib.parse import parse_qsl

import botocore.session


@dataclass(frozen=True)
class _Operation:
    """What a request must have to be this operation.

    Attributes:
        depth: 0 for the service, 1 for a bucket, 2 for an object.
        query: names, with values where those are fixed.
        headers: names in lower case.
    """

    name: str
    method: str
    depth: int
    query: Mapping[str, str | None]
    headers: frozenset[str]

    def fits(
        self, method: str, depth: int, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> bool:
        return (
            (method, depth) == (self.method, self.depth)
            and all(
                name in query and value in (None, query[name]) for name, value in self.query.items()
            )
            and self.headers <= headers.keys()
        )


def operation(
    method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]
) -> str | None:
    """The operation of a request; None if there is none such.

    Args:
        path: with the bucket in front.
        headers: with names in lower case.
    """
    bucket, _, key = path.lstrip("/").partition("/")
    depth = bool(bucket) + bool(key)
    fitting = (one.name for one in _operations() if one.fits(method, depth, query, headers))
    return next(fitting, None)


@cache
def _operations() -> list[_Operation]:
    """Those that require most come first."""
    model = botocore.session.get_session().get_service_model("s3")
    found = []
    for name in model.operation_names:
        declared = model.operation_model(name)
        path, _, fixed = declared.http["requestUri"].partition("?")
        if path not in _DEPTHS:
            continue
        query: dict[str, str | None] = {
            key: value or None for key, value in parse_qsl(fixed, keep_blank_values=True)
        }
        headers = set()
        shape = declared.input_shape
        for member in shape.required_members if shape else ():
            where = shape.members[member].serialization
            if where.get("location") == "querystring":
                query[where["name"]] = None
            elif where.get("location") == "header":
                headers.add(where["name"].lower())
        found.append(
            _Operation(name, declared.http["method"], _DEPTHS[path], query, frozenset(headers))
        )
    return sorted(found, key=lambda one: -len(one.query) - len(one.headers))


_DEPTHS = {"/": 0, "/{Bucket}": 1, "/{Bucket}/{Key+}": 2}
