"""JSON, times and texts from strangers: bounded, and never an exception but FeedError."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from mailprobe.clock import unix_time
from mailprobe.errors import plain_text

INCIDENTS: Final = 500
"""Incidents that are taken from one document: years of a vendor's history."""
POSTS: Final = 500
"""Posts of an incident that are looked at for the first one."""
TITLE: Final = 200
"""Characters of a title or an id."""
BRACKETS: Final = 200_000
"""Objects and lists in one document: bounds the memory that a small one can be made to take, and its depth."""

_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC).timestamp()

Item = dict[str, Any]


class FeedError(Exception):
    """A feed that cannot be read; its text says why, for people.

    `retry_after`: seconds that were asked for. `refused`: whether it was us who were not let in.
    """

    def __init__(self, text: str, *, retry_after: float = 0.0, refused: bool = False) -> None:
        self.retry_after = retry_after
        self.refused = refused
        super().__init__(plain_text(text))


def read_json(content: bytes) -> Any:
    """The document. UTF-8, or the UTF-16 or UTF-32 that its first bytes show; what is not is shown as U+FFFD.

    Raises FeedError. Source: RFC 8259 8.1.
    """
    if content.count(b"{") + content.count(b"[") > BRACKETS:
        raise FeedError("JSON with too much in it")
    text = content.decode(json.detect_encoding(content), "replace")
    try:
        return json.loads(text)
    except RecursionError:
        raise FeedError("JSON that is nested too deeply") from None
    except ValueError:
        raise FeedError("HTML where JSON was expected" if _is_markup(text) else "not JSON") from None


def items(value: object, limit: int = INCIDENTS) -> Iterator[Item]:
    """The objects in what should be a list of them; what else is there is passed over."""
    if isinstance(value, list):
        yield from (each for each in value[:limit] if isinstance(each, dict))


def listed(document: object, key: str) -> Iterator[Item]:
    """The objects in the list that a document has under `key`. Raises FeedError where there is no such list."""
    found = document.get(key) if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise FeedError(_error_in(document) or f"JSON without the list {key}")
    return items(found)


def text_of(item: Item, key: str) -> str:
    """A text for people, empty if there is none."""
    value = item.get(key)
    return plain_text(value.strip(), TITLE) if isinstance(value, str) else ""


def time_of(value: object) -> float | None:
    """Wall time of an RFC 3339 text; without an offset it is UTC. None for what is no time of this century."""
    if not isinstance(value, str) or not 10 <= len(value) <= 40:
        return None
    return _instant(datetime.fromisoformat, value.strip())


def mail_time_of(value: str) -> float | None:
    """Wall time of an RFC 5322 date, as RSS has it; also RFC 3339, which some write there."""
    return time_of(value) or (_instant(parsedate_to_datetime, value.strip()) if len(value) <= 60 else None)


def first_post(posts: object, key: str) -> float | None:
    """The earliest time that posts carry under `key`."""
    return earliest(time_of(post.get(key)) for post in items(posts, POSTS))


def earliest(times: Iterable[float | None]) -> float | None:
    """The earliest of those that are known."""
    return min((time for time in times if time is not None), default=None)


def _instant(parse: Callable[[str], datetime], text: str) -> float | None:
    try:
        when = parse(text)
        wall = unix_time(when)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return wall if _EARLIEST <= wall < _LATEST else None


def _is_markup(text: str) -> bool:
    return text.lstrip("\ufeff \t\r\n").startswith("<")


def _error_in(document: object) -> str:
    """What an answer says that is an error in spite of its status 200."""
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        said = ": ".join(filter(None, (text_of(error, "code"), text_of(error, "message"))))
        return f"an error: {said}" if said else "an error"
    return f"an error: {plain_text(error, TITLE)}" if isinstance(error, str) else ""
