"""The registry's clock, and how a time is written in its rows and in what it signs. Never decides what is too late."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The registry's clock."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """RFC 3339 in UTC, always with milliseconds: of two stamps the earlier one is the smaller text."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
