"""What the local cloud needs to know of a function to run it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class FunctionSpec:
    """One version of a function's code and configuration.

    Two equal specs may share a warm execution environment; any change of code or configuration
    makes another spec, so that the next invocation starts cold, as on AWS.

    Attributes:
        arn: without a qualifier.
        timeout: seconds.
        memory_size: MB.
        variables: the function's own environment variables, as sorted pairs.
        code_sha256: identifies ``code``, the deployed zip.
        log_format: ``Text`` or ``JSON``.
    """

    name: str
    arn: str
    version: str
    handler: str
    runtime: str
    role: str
    timeout: int
    memory_size: int
    variables: tuple[tuple[str, str], ...]
    code_sha256: str
    log_group: str
    log_format: str
    application_log_level: str
    system_log_level: str
    region: str
    account: str
    code: bytes = field(repr=False, compare=False)
