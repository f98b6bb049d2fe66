"""Mailbox names and strings as IMAP writes them: modified UTF-7, quoted strings.

Source: RFC 3501 5.1.3 (international naming convention), 9 (formal syntax).
"""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from typing import Final

_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]+")
_SHIFTED: Final = re.compile(r"&([^-&]*)-")


def encode(name: str) -> str:
    """A folder's name in modified UTF-7: `Entwürfe` is `Entw&APw-rfe`. Source: RFC 3501 5.1.3."""

    def shift(match: re.Match[str]) -> str:
        packed = base64.b64encode(match[0].encode("utf-16-be", "surrogatepass"))
        return "&" + packed.decode().rstrip("=").replace("/", ",") + "-"

    return _UNPRINTABLE.sub(shift, name.replace("&", "&-"))


def decode(name: str) -> str:
    """The name that a server wrote in modified UTF-7; what is not well-formed is left as it came."""

    def unshift(match: re.Match[str]) -> str:
        packed = match[1].replace(",", "/")
        if not packed:
            return "&"
        try:
            octets = base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
            return octets.decode("utf-16-be")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return match[0]

    return _SHIFTED.sub(unshift, name)


def quoted(text: str) -> str:
    """A quoted string. Source: RFC 3501 9 `quoted`.

    ValueError for what a quoted string cannot hold: it needs a literal (see `needs_literal`).
    """
    if needs_literal(text):
        raise ValueError("not for a quoted string")
    return f'"{escaped(text)}"'


def escaped(text: str) -> str:
    """A text as it is written between the quotes of a quoted string."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def needs_literal(text: str) -> bool:
    """Whether a quoted string cannot hold this text: 8-bit or control characters. Source: RFC 3501 9 `TEXT-CHAR`."""
    return _UNPRINTABLE.search(text) is not None


@lru_cache(maxsize=1024)
def mailbox(name: str) -> str:
    """A folder's name as a command's argument: modified UTF-7 in a quoted string."""
    return quoted(encode(name))
