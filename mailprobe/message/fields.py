"""Header fields found in bytes from anywhere, without the email package: bounded, iterative, never raising.

Every reader of this room looks at headers through `Headers`, so what is true of it is true of all of them: at most
`HEADERS_LIMIT` octets are looked at, at most `FIELD_LIMIT` of each field, and the cost is linear in that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

HEADERS_LIMIT: Final = 256 * 1024
"""Octets of headers that are looked at; real ones are 2 to 30 KiB."""

FIELD_LIMIT: Final = 8 * 1024
"""Octets of one field that are kept; RFC 5322 sets no limit, and real ones stay under 4 KiB."""

COMMENT_DEPTH: Final = 10
"""How deep nested comments are understood; what is deeper stays in the text."""

_INNERMOST_COMMENT: Final = re.compile(r"\([^()]*\)")


class Headers:
    """The header fields of a message, or of its first octets; the body, if there is one, is left out."""

    __slots__ = ("_folded", "_raw")

    def __init__(self, octets: bytes) -> None:
        # the newline in front lets the first field be found like all others
        raw = b"\n" + octets[:HEADERS_LIMIT]
        self._raw = raw[: _end_of_headers(raw)]
        self._folded = self._raw.lower()

    def first(self, name: bytes) -> bytes | None:
        """The unfolded body of the topmost field called `name` (lower case), None if there is none."""
        start = self._folded.find(b"\n" + name + b":")
        if start < 0:
            return None
        start += len(name) + 2
        return _unfolded(self._raw[start : self._end_of_field(start)])

    def names(self, telling: re.Pattern[bytes]) -> list[bytes]:
        """The names of those fields, in order, that a pattern of the form `\\n(name|name|...):` lists."""
        return telling.findall(self._folded)

    def all(self, name: bytes, limit: int) -> Iterator[bytes]:
        """The unfolded bodies of the first `limit` fields called `name` (lower case), topmost first."""
        for body, _, _ in self.places(name, limit):
            yield body

    def places(self, name: bytes, limit: int) -> Iterator[tuple[bytes, int, int]]:
        """As `all`, with begin and end: a field stands directly below another if it begins where that one ends."""
        mark = b"\n" + name + b":"
        end = 0
        for _ in range(limit):
            begin = self._folded.find(mark, end)
            if begin < 0:
                return
            start = begin + len(mark)
            end = self._end_of_field(start)
            yield _unfolded(self._raw[start:end]), begin, end

    def _end_of_field(self, start: int) -> int:
        raw, stop = self._raw, start + FIELD_LIMIT
        end = raw.find(b"\n", start, stop)
        while end >= 0 and raw[end + 1 : end + 2] in (b" ", b"\t"):
            end = raw.find(b"\n", end + 1, stop)
        return end if end >= 0 else min(stop, len(raw))


def text_of(octets: bytes) -> str:
    """A field's body as text whatever its octets are; not yet safe to show (`errors.plain_text`)."""
    return octets.decode("utf-8", "replace")


def without_comments(text: str) -> str:
    """Text with each `(comment)` replaced by a space, nested ones too; unbalanced parentheses stay. RFC 5322 3.2.2."""
    for _ in range(COMMENT_DEPTH):
        text, found = _INNERMOST_COMMENT.subn(" ", text)
        if not found:
            break
    return text


def split_message(octets: bytes) -> tuple[bytes, bytes]:
    """Headers and body of a message or of a MIME part; the body is empty if there is no blank line."""
    end = _end_of_headers(b"\n" + octets) - 1
    return octets[:end], octets[end:].lstrip(b"\r\n")


def _end_of_headers(raw: bytes) -> int:
    """Where the blank line after the last field begins in `raw`, which begins with a newline of ours."""
    ends = [end for end in (raw.find(b"\n\r\n"), raw.find(b"\n\n")) if end >= 0]
    return min(ends) + 1 if ends else len(raw)


def _unfolded(octets: bytes) -> bytes:
    return octets.replace(b"\r", b"").replace(b"\n", b"").strip()
