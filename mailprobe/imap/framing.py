"""Bytes to responses: lines with the literals in them, in one pass, with bounds.

Iterative on purpose: ten thousand responses in one segment are ordinary, and neither their number nor the way in
which they are cut into segments may cost more than their length. Source: RFC 3501 4.3, 7.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

LINE_LIMIT: Final = 1 << 20
"""Octets of one line: a SEARCH result of 100,000 messages fits."""
RESPONSE_LIMIT: Final = 8 << 20
"""Octets of one response with its literals; we ask for headers of at most 64 KiB."""
PARTS_LIMIT: Final = 1000
"""Lines and literals of one response; what we ask for has one literal or two."""

Parts = tuple[bytes, ...]
"""One response: line, literal, line, literal, ..., line; each line but the last ends in `{n}`."""

_TEXT: Final = re.compile(rb"(?!\* )|\* (?:OK|NO|BAD|BYE|PREAUTH)(?: |$)", re.IGNORECASE)
"""Lines that end in text for people, where `{8}` is no literal: servers repeat what they did not understand."""
_LITERAL: Final = re.compile(rb"\{(\d{1,12})\+?\}$")


class FramingError(Exception):
    """What came is not a response, or too much of one; says which in words of ours."""


class Framer:
    """Cuts what a server sends into responses. After a `FramingError` it is spent."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._literal: int | None = None

    @property
    def pending(self) -> bool:
        """Whether octets have come that are not yet part of a whole response."""
        return bool(self._buffer or self._parts)

    def feed(self, data: bytes) -> Iterator[Parts]:
        """All responses that are complete now. FramingError if there is too much of one."""
        if not self.pending and len(data) <= LINE_LIMIT and data.endswith(b"\r\n") and b"{" not in data:
            yield from ((line,) for line in data[:-2].split(b"\r\n"))  # whole lines, and no literal in them
            return
        self._buffer += data
        start = 0
        try:
            while (taken := self._take(start)) is not None:
                start, parts = taken
                if parts is not None:
                    yield parts
        finally:
            del self._buffer[:start]
            self._scanned = max(0, self._scanned - start)

    def _take(self, start: int) -> tuple[int, Parts | None] | None:
        """One line or literal from `start`: where it ends, and the response if that completes it; None: not there."""
        if self._literal is not None:
            return self._take_literal(start, self._literal)
        end = self._buffer.find(b"\r\n", max(start, self._scanned))
        if end < 0:
            # a CR may be the last octet here; what was searched once is not searched again
            self._scanned = max(start, len(self._buffer) - 1)
            self._bound(len(self._buffer) - start, LINE_LIMIT, "a line")
            return None
        self._bound(end - start, LINE_LIMIT, "a line")
        line = bytes(self._buffer[start:end])
        is_text = not self._parts and _TEXT.match(line)
        self._append(line)
        if not is_text and (match := _LITERAL.search(line, max(0, len(line) - 20))):
            self._literal = int(match[1])
            self._bound(self._size + self._literal, RESPONSE_LIMIT, "a response")
            return end + 2, None
        parts, self._parts, self._size = tuple(self._parts), [], 0
        return end + 2, parts

    def _take_literal(self, start: int, length: int) -> tuple[int, None] | None:
        if len(self._buffer) - start < length:
            return None
        self._append(bytes(self._buffer[start : start + length]))
        self._literal = None
        return start + length, None

    def _append(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)
        self._bound(self._size, RESPONSE_LIMIT, "a response")
        self._bound(len(self._parts), PARTS_LIMIT, "a response", "parts")

    @staticmethod
    def _bound(size: int, limit: int, what: str, unit: str = "octets") -> None:
        if size > limit:
            raise FramingError(f"{what} of more than {limit} {unit}")
