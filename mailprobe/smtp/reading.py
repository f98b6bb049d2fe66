"""From what a server sends to replies: strict, bounded, each octet looked at once. Source: RFC 5321 4.2."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from aiosmtplib import SMTPException, SMTPResponse

from mailprobe.auth.giveaways import Scrubber
from mailprobe.errors import Reply

LINE_LIMIT: Final = 8192
REPLY_LIMIT: Final = 32 * 1024
"""Bytes of a line and of a whole reply. RFC 5321 4.5.3.1.5 has 512 a line; an EHLO of 20 lines is 1 KB."""
_LINE: Final = re.compile(rb"([2-5]\d\d)(?:([ -])(.*))?", re.DOTALL)
_SHOWN: Final = 512
_SHORT: Final = 1024
"""Characters of the longest reply that is remembered: servers say the same few things on every connection."""


class MalformedReply(SMTPException):
    """Not a reply of RFC 5321 4.2: a code that is none, or two codes in one reply."""


class ReplyTooLong(SMTPException):
    """A line or a reply that does not end."""


class ReplyReader:
    """Collects the lines of one reply after the other. After an exception it is spent."""

    def __init__(self, scrub: Scrubber) -> None:
        self.buffer = bytearray()
        """What has come after the last whole line."""
        self._scrub = scrub
        self._lines: list[bytes] = []
        self._code = b""
        self._size = 0

    def feed(self, data: bytes) -> SMTPResponse | None:
        """The reply that these octets end, what follows it left in `buffer`; None if there is more to come.

        Raises MalformedReply and ReplyTooLong.
        """
        if self.between_replies and len(data) <= _SHORT and (reply := _whole(bytes(data))):
            return reply
        self.buffer += data
        return self._take()

    @property
    def between_replies(self) -> bool:
        """Whether nothing has come that is not yet part of a whole reply."""
        return not (self.buffer or self._lines)

    def fragment(self) -> str:
        """What has come of a reply that is not whole, for people; empty if it is nothing."""
        begun = b"\n".join([*self._lines, bytes(self.buffer)])
        return f"{self._code.decode()} {cleaned(begun, self._scrub)}" if begun else ""

    def _take(self) -> SMTPResponse | None:
        """Moves complete lines out of the buffer; the reply if the last of them ends one.

        Each line is looked at once, however the server cuts them up.
        """
        while (end := self.buffer.find(b"\n")) >= 0:
            line = bytes(self.buffer[:end]).rstrip(b"\r")
            del self.buffer[: end + 1]
            self._size += end + 1
            if len(line) > LINE_LIMIT or self._size > REPLY_LIMIT:
                raise ReplyTooLong(f"more than {LINE_LIMIT} bytes a line or {REPLY_LIMIT} a reply")
            if self._take_line(line):
                return self._end_reply()
        if len(self.buffer) > LINE_LIMIT:
            raise ReplyTooLong(f"more than {LINE_LIMIT} bytes and no end of line")
        return None

    def _take_line(self, line: bytes) -> bool:
        match = _LINE.fullmatch(line)
        if not match:
            raise MalformedReply(f"not a reply: {cleaned(line, self._scrub)}")
        code, separator, text = match.groups()
        if self._code not in (b"", code):
            both = f"{self._code.decode()} and {code.decode()}"
            raise MalformedReply(f"{both} in one reply: {cleaned(line, self._scrub)}")
        self._code = code
        self._lines.append((text or b"").strip())
        return bool(separator != b"-")

    def _end_reply(self) -> SMTPResponse:
        text = b"\n".join(self._lines).decode("utf-8", "replace")
        reply = SMTPResponse(int(self._code), text)
        self._lines.clear()
        self._code, self._size = b"", 0
        return reply


@lru_cache(maxsize=256)
def _whole(data: bytes) -> SMTPResponse | None:
    """The reply that these octets are from their first to their last; None for anything else, whatever is wrong."""
    reader = ReplyReader(Scrubber())
    reader.buffer += data
    try:
        reply = reader._take()
    except SMTPException:
        return None
    return None if reader.buffer else reply


def reply_of(code: int, text: str) -> Reply:
    """As `Reply.of`; short ones are remembered."""
    return _remembered(code, text) if len(text) <= _SHORT else Reply.of(code, text)


_remembered: Final = lru_cache(maxsize=256)(Reply.of)


def cleaned(data: bytes, scrub: Scrubber) -> str:
    """The beginning of what a server said, without credentials."""
    return scrub(data[:_SHOWN].decode("utf-8", "replace"))
