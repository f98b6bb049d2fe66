"""The way a message took, from its Received fields (RFC 5321 4.4), as far as they can be understood.

Every server writes them its own way, with its own clock. What they say is indicative: shown, never used to judge.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_tz
from functools import lru_cache
from typing import Final

from mailprobe.errors import plain_text
from mailprobe.message.fields import Headers, text_of, without_comments

HOPS_LIMIT: Final = 50
"""Received fields that are read, the newest; servers give a message up as looping after 25 to 100."""

_NAME_LIMIT: Final = 255
_CLAUSES: Final = frozenset({"from", "by", "via", "with", "id", "for", "tls"})
"""The keywords of RFC 5321 4.4 and the one of RFC 8314 4.3, which Exim writes."""
_BARE_DATE: Final = re.compile(r"(?:[A-Z][a-z]{2}, )?\b\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d\b.*", re.DOTALL)
_FRACTION: Final = re.compile(r"(:\d\d)\.\d{1,9}\b")
_EARLIEST: Final = 315_532_800.0
"""1980: what claims to be older, or to be later than `_LATEST`, comes from a clock that was never set."""
_LATEST: Final = 4_102_444_800.0


@dataclass(frozen=True, slots=True)
class Hop:
    """One server's receipt of a message.

    `from_` is what the other side called itself. `at_wall` is Unix seconds by that server's clock, whole ones.
    `seconds` since the hop before that has a time, never negative; None where either time is not known.
    """

    by: str | None
    from_: str | None
    protocol: str | None
    seconds: float | None
    at_wall: float | None


def hops(headers: bytes) -> tuple[Hop, ...]:
    """The servers that a message passed, oldest first; at most the `HOPS_LIMIT` newest. Total, bounded."""
    found = [text_of(body) for body in Headers(headers).all(b"received", HOPS_LIMIT)]
    way: list[Hop] = []
    before: float | None = None
    for body in reversed(found):
        clauses, date = _taken_apart(body)
        at = wall_of_date(date)
        seconds = max(0.0, at - before) if at is not None and before is not None else None
        way.append(Hop(clauses.get("by"), clauses.get("from"), clauses.get("with"), seconds, at))
        before = at if at is not None else before
    return tuple(way)


def _taken_apart(body: str) -> tuple[dict[str, str], str]:
    """The clauses of a Received field by their keyword, and its date. Keywords within comments do not count."""
    text = without_comments(body)
    stamps, semicolon, date = text.rpartition(";")
    if not semicolon:
        # SendGrid leaves it out
        bare = _BARE_DATE.search(text)
        stamps, date = (text[: bare.start()], bare[0]) if bare else (text, "")
    clauses: dict[str, list[str]] = {}
    current: list[str] = []
    for word in stamps.split():
        keyword = word.lower()
        if keyword in _CLAUSES:
            # a second one, as in "with ESMTP with STARTTLS", says nothing of the first
            current = []
            clauses.setdefault(keyword, current)
        else:
            current.append(word)
    return {keyword: _value(keyword, words) for keyword, words in clauses.items() if words}, date


def _value(keyword: str, words: list[str]) -> str:
    # only the protocol may have several words: "Microsoft SMTP Server"
    value = " ".join(words[:4]) if keyword == "with" else words[0]
    return plain_text(value.rstrip(";,"), _NAME_LIMIT)


@lru_cache(maxsize=64)
def wall_of_date(date: str) -> float | None:
    """Unix seconds of a date and time (RFC 5322 3.3), obsolete forms too; None if it is none. `-0000` means UTC."""
    try:
        parsed = parsedate_tz(_FRACTION.sub(r"\1", " ".join(date.split())[:64]).replace(" ,", ","))
        wall = _utc(*parsed[:6]) - (parsed[9] or 0) if parsed else None
    except (ValueError, TypeError, IndexError, OverflowError):
        # parsedate_tz leaves the ranges to its callers, and raises by itself on some input
        return None
    return wall if wall is not None and _EARLIEST <= wall < _LATEST else None


def _utc(year: int, month: int, day: int, hour: int, minute: int, second: int) -> float:
    # a leap second is written as 60 (RFC 5322 3.3)
    return datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC).timestamp()
