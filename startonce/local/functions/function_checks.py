"""What Lambda checks of a function before it takes it: values, variables and code.

https://docs.aws.amazon.com/lambda/latest/api/API_CreateFunction.html
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any

from moto.awslambda.exceptions import InvalidParameterValueException, ValidationException

LARGEST_VARIABLES = 4_096
"""Bytes of all variables' names and values, as JSON."""
LARGEST_UNZIPPED = 262_144_000
"""Bytes."""

_RANGES = {"MemorySize": (128, 10_240), "Timeout": (1, 900)}
_HANDLER = re.compile(r"[^\s]+")
_LONGEST_HANDLER = 128

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
_RESERVED = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SECRET_KEY",
        "AWS_SECURITY_TOKEN",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    }
)
_UNABLE = (
    "Lambda was unable to configure your environment variables because the environment variables "
    "you have provided "
)


def check_configuration(spec: dict[str, Any]) -> None:
    """Check what ``spec`` names; what it does not name has a default, or stays as it was.

    Raises:
        ValidationException: a value is outside of what the API's model allows.
        InvalidParameterValueException: the variables are reserved, or too large together.
    """
    for name, (least, most) in _RANGES.items():
        if spec.get(name) is not None:
            _check_range(name, int(spec[name]), least, most)
    if spec.get("Handler") is not None:
        _check_handler(str(spec["Handler"]))
    _check_variables((spec.get("Environment") or {}).get("Variables") or {})


def check_code(code: bytes) -> None:
    """Check a deployment package.

    Raises:
        InvalidParameterValueException: it is no zip, or too large without its compression.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile:
        raise InvalidParameterValueException(
            "Could not unzip uploaded file. Please check your file, then try to upload again."
        ) from None
    if size > LARGEST_UNZIPPED:
        raise InvalidParameterValueException(
            f"Unzipped size must be smaller than {LARGEST_UNZIPPED} bytes"
        )


def _check_range(name: str, value: int, least: int, most: int) -> None:
    member = name[0].lower() + name[1:]
    if value < least:
        limit = f"Member must have value greater than or equal to {least}"
        raise ValidationException(str(value), member, limit)
    if value > most:
        limit = f"Member must have value less than or equal to {most}"
        raise ValidationException(str(value), member, limit)


def _check_handler(handler: str) -> None:
    if len(handler) > _LONGEST_HANDLER:
        limit = f"Member must have length less than or equal to {_LONGEST_HANDLER}"
        raise ValidationException(handler, "handler", limit)
    if not _HANDLER.fullmatch(handler):
        raise ValidationException(
            handler, "handler", r"Member must satisfy regular expression pattern: [^\s]+"
        )


def _check_variables(variables: dict[str, Any]) -> None:
    reserved = sorted(_RESERVED.intersection(variables))
    if reserved:
        raise InvalidParameterValueException(
            _UNABLE + "contains reserved keys that are currently not supported for modification. "
            f"Reserved keys used in this request: {', '.join(reserved)}"
        )
    text = json.dumps(variables, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > LARGEST_VARIABLES:
        raise InvalidParameterValueException(
            _UNABLE + f"exceeded the 4KB limit. String measured: {text}"
        )
