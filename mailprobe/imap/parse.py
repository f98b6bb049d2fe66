"""Responses to facts: FETCH, LIST, STATUS, SEARCH, QUOTA, response codes. Pure, iterative, total.

Everything here is given one response as `framing.Framer` cut it, without its `* `. What does not follow the grammar
raises `Malformed`: a FETCH that cannot be read may have been the canary, and must not count as absence.
Source: RFC 3501 7 and 9, RFC 6154 (special-use), RFC 9208 (quota), RFC 5530 (response codes).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Final

from mailprobe.imap import names
from mailprobe.imap.framing import Parts

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
NUMBER_LIMIT: Final = (1 << 32) - 1
_NUMBER64_LIMIT: Final = (1 << 63) - 1
"""UIDs, UIDVALIDITY, sequence numbers; what is counted in storage. Source: RFC 9051 9."""
_BY_MONTH: Final = {name.lower().encode(): number for number, name in enumerate(MONTHS, 1)}
_DATE: Final = re.compile(rb" ?(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)$")
_TOKEN: Final = re.compile(
    rb" *(?:(?P<open>\()|(?P<close>\))"
    rb'|"(?P<quoted>[^"\\]*(?:\\.[^"\\]*)*)"'
    rb"|(?P<literal>\{\d+\+?\})$"
    rb'|(?P<atom>(?:[^\s()"{\[]+|\[[^\]]*\])+))'
)
_ESCAPED: Final = re.compile(rb"\\(.)")
_CODE: Final = re.compile(rb"\[([^\s\]]+)(?: ([^\]]*))?\]")
_STATUS: Final = re.compile(rb'STATUS (?:"[^"\\]*"|[^\s()"{\\]+) \(((?:[A-Z]+ \d+ ?)*)\)', re.IGNORECASE)
"""The usual one, which need not be taken apart token by token."""
_NUMBERED: Final = re.compile(rb"(\d{1,10}) ([A-Za-z]+)")


class Malformed(Exception):
    """A response that does not follow the grammar; says which kind, in words of ours."""


class _Kind(Enum):
    OPEN = auto()
    CLOSE = auto()
    STRING = auto()
    ATOM = auto()


_Token = tuple[_Kind, bytes]


@dataclass(frozen=True, slots=True)
class Message:
    """One FETCH response. `number` is the sequence number; what was not in it is None."""

    number: int
    uid: int | None
    internaldate_wall: float | None
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Folder:
    """One LIST response: the name decoded from modified UTF-7, its attributes in lower case (`\\junk`)."""

    name: str
    attributes: frozenset[str] = frozenset()

    @property
    def selectable(self) -> bool:
        """Whether it can hold messages."""
        return not self.attributes & {"\\noselect", "\\nonexistent"}


def numbered(line: bytes) -> tuple[int, bytes] | None:
    """(n, NAME) of a response like `3 EXISTS`, None for any other."""
    match = _NUMBERED.match(line)
    return (int(match[1]), match[2].upper()) if match else None


def response_code(text: bytes) -> tuple[str, str] | None:
    """The code in brackets at the start of a status response's text, upper case, and its arguments."""
    match = _CODE.match(text)
    return (match[1].decode("latin-1").upper(), (match[2] or b"").decode("latin-1")) if match else None


def fetch(parts: Parts) -> Message:
    """`3 FETCH (UID 7 INTERNALDATE "..." BODY[HEADER]<0> {12}` and so on."""
    head = numbered(parts[0])
    if head is None or head[1] != b"FETCH":
        raise Malformed("FETCH")
    tokens = _tokens((parts[0][parts[0].upper().index(b"FETCH") + 5 :], *parts[1:]))
    if next(tokens, None) != (_Kind.OPEN, b""):
        raise Malformed("FETCH without a list")
    uid: int | None = None
    date: float | None = None
    content: bytes | None = None
    for kind, key in tokens:
        if kind is _Kind.CLOSE:
            return Message(head[0], uid, date, content)
        if kind is not _Kind.ATOM:
            raise Malformed("FETCH item")
        value = _value(tokens)
        match key.upper():
            case b"UID":
                uid = number(value)
            case b"INTERNALDATE":
                date = internaldate(value or b"")
            case name if name.startswith((b"BODY[", b"RFC822")):
                content = value or b""
    raise Malformed("FETCH list without an end")


def internaldate(text: bytes) -> float | None:
    """Unix seconds of `17-Jul-1996 02:44:25 -0700`, None if it is not a date. Source: RFC 3501 9 `date-time`."""
    match = _DATE.match(text)
    month = _BY_MONTH.get(match[2].lower()) if match else None
    if match is None or month is None:
        return None
    day, year, hour, minute, second = (int(match[group]) for group in (1, 3, 4, 5, 6))
    offset = timedelta(hours=int(match[8]), minutes=int(match[9])) * (-1 if match[7] == b"-" else 1)
    try:
        return (datetime(year, month, day, hour, minute, second, tzinfo=UTC) - offset).timestamp()
    except (ValueError, OverflowError):
        return None


def search(parts: Parts) -> list[int]:
    """`SEARCH 2 84 882`. Source: RFC 3501 7.2.5."""
    return [number(word) for word in parts[0].split()[1:] if not word.startswith(b"(") and not word.endswith(b")")]


def folder(parts: Parts) -> Folder:
    """`LIST (\\HasNoChildren \\Junk) "/" "Junk"`. Source: RFC 3501 7.2.2, RFC 6154 2."""
    tokens = _tokens((parts[0][5:], *parts[1:]))
    if next(tokens, None) != (_Kind.OPEN, b""):
        raise Malformed("LIST without attributes")
    attributes = frozenset(word.decode("latin-1").lower() for word in _until_close(tokens))
    _value(tokens)
    name = _value(tokens)
    if name is None:
        raise Malformed("LIST without a name")
    return Folder(names.decode(name.decode("utf-8", "replace")), attributes)


def status(parts: Parts) -> dict[str, int]:
    """`STATUS "Junk" (MESSAGES 231 UIDNEXT 44292)`: the numbers by item, upper case. Source: RFC 3501 7.2.4."""
    if len(parts) == 1 and (match := _STATUS.fullmatch(parts[0])):
        words = match[1].split()
    else:
        tokens = _tokens((parts[0][7:], *parts[1:]))
        for kind, _ in tokens:
            if kind is _Kind.OPEN:
                break
        words = list(_until_close(tokens))
    return {key.decode("latin-1").upper(): number(value) for key, value in zip(words[::2], words[1::2], strict=False)}


def quota(parts: Parts) -> float | None:
    """`QUOTA "" (STORAGE 10 512)`: storage used, 0..1; None if storage is not limited. Source: RFC 9208 5.1."""
    tokens = _tokens((parts[0][6:], *parts[1:]))
    for kind, _ in tokens:
        if kind is _Kind.OPEN:
            break
    words = list(_until_close(tokens))
    for resource, usage, limit in zip(words[::3], words[1::3], words[2::3], strict=False):
        if resource.upper() == b"STORAGE" and (most := number(limit, _NUMBER64_LIMIT)):
            return number(usage, _NUMBER64_LIMIT) / most
    return None


def number(value: bytes | None, largest: int = NUMBER_LIMIT) -> int:
    """A number no larger than that; Malformed for anything else. Source: RFC 9051 9 `number`, `nz-number`."""
    if value is None or len(value) > 20 or not value.isdigit() or int(value) > largest:
        raise Malformed("number")
    return int(value)


def _tokens(parts: Parts) -> Iterator[_Token]:
    """Parentheses, strings (quoted or literal) and atoms of a response."""
    for index in range(0, len(parts), 2):
        line, at = parts[index].rstrip(), 0
        while at < len(line):
            match = _TOKEN.match(line, at)
            if match is None:
                raise Malformed("token")
            at = match.end()
            match match.lastgroup:
                case "open":
                    yield _Kind.OPEN, b""
                case "close":
                    yield _Kind.CLOSE, b""
                case "quoted":
                    yield _Kind.STRING, _ESCAPED.sub(rb"\1", match["quoted"])
                case "literal" if index + 1 < len(parts):
                    yield _Kind.STRING, parts[index + 1]
                case "atom":
                    yield _Kind.ATOM, match["atom"]
                case _:
                    raise Malformed("literal")


def _value(tokens: Iterator[_Token]) -> bytes | None:
    """One value: an atom or string, None for NIL and for a list, which is passed over whatever its depth."""
    depth = 0
    for kind, word in tokens:
        depth += (kind is _Kind.OPEN) - (kind is _Kind.CLOSE)
        if depth < 0:
            break
        if depth == 0:
            nothing = kind is _Kind.CLOSE or (kind is _Kind.ATOM and word.upper() == b"NIL")
            return None if nothing else word
    raise Malformed("value")


def _until_close(tokens: Iterator[_Token]) -> Iterator[bytes]:
    for kind, word in tokens:
        if kind is _Kind.CLOSE:
            return
        yield word
    raise Malformed("list without an end")
