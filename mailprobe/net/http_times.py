"""Times in the fields of an HTTP answer, whatever stands there. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

LONGEST_WAIT: Final = 3600.0
"""Seconds that a server may ask us to wait at most; a silence of days would look like a quiet vendor."""


def http_date(value: str) -> datetime | None:
    """The instant of a date, None if it is none; without a zone it is UTC. Source: RFC 9110 5.6.7."""
    try:
        at = parsedate_to_datetime(value[:100])
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def retry_after(value: str, now: datetime | None = None) -> float:
    """Seconds that a server asks us to wait, LONGEST_WAIT at most. Source: RFC 9110 10.2.3."""
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), LONGEST_WAIT)
    at = http_date(value)
    return min(max((at - (now or datetime.now(UTC))).total_seconds(), 0.0), LONGEST_WAIT) if at else 0.0
