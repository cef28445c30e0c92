"""How AWS writes and reads values that are text in its JSON: times and truth."""

from __future__ import annotations

from datetime import UTC, datetime


def time_text(moment: datetime | None = None) -> str:
    """A time in UTC (the present one without ``moment``) as ``2026-01-31T09:30:00.000Z``."""
    text = (moment or datetime.now(UTC)).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def is_true(value: object) -> bool:
    """Whether a template's or an attribute's value means true: CloudFormation allows the word."""
    return str(value).lower() == "true"
