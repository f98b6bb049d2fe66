"""What the receiving side found out about SPF, DKIM, DMARC and ARC, from Authentication-Results (RFC 8601).

Anybody can write such a field. The one on top was written last, that is by the receiving side, whose duty it is to
remove forgeries of its own name (RFC 8601 5); all others are believed only if their author is named by the caller.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mailprobe.message.fields import Headers, text_of, without_comments

_FIELDS: Final = 20
"""Fields of one name that are read: some providers write one per method."""

_QUOTED: Final = re.compile(r'"[^"]*"')
_RESULT: Final = re.compile(r"(?:^|;)\s*(spf|dkim|dmarc|arc)\s*(?:/\s*\d+\s*)?=\s*([a-z]+)([^;]*)")
_INSTANCE: Final = re.compile(r"^\s*i\s*=\s*\d+\s*;")
_AUTHOR: Final = re.compile(r"\s*([^\s;=]+)(?:\s+\d+)?\s*(?:;|$)")


class Authenticated(StrEnum):
    """The result of one method. `missing`: the receiving side said nothing about it."""

    PASS = "pass"  # noqa: S105 - a result, not a password
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    NONE = "none"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"
    MISSING = "missing"


_OTHER_WORDS: Final = {
    "hardfail": Authenticated.FAIL,
    "reject": Authenticated.FAIL,
    "success": Authenticated.PASS,
    "policy": Authenticated.NEUTRAL,
    "bestguesspass": Authenticated.NONE,
    "unknown": Authenticated.NONE,
    "skipped": Authenticated.NONE,
    "timeout": Authenticated.TEMPERROR,
    "error": Authenticated.TEMPERROR,
    "invalid": Authenticated.PERMERROR,
}
"""Words outside the standard's sets (or, `policy`, outside ours) that receivers write; any other is neutral."""


@dataclass(frozen=True, slots=True)
class Authentication:
    """What was found for each method; each value is of `Authenticated` and may be a label."""

    spf: Authenticated = Authenticated.MISSING
    dkim: Authenticated = Authenticated.MISSING
    dmarc: Authenticated = Authenticated.MISSING
    arc: Authenticated = Authenticated.MISSING


def authentication(headers: bytes, trusted: Collection[str] | None = None) -> Authentication:
    """What the receiving side found out; a method of which it says nothing is `missing`. Total, bounded.

    `trusted` are the authserv-ids to believe, wherever they stand; None: the topmost field, and those directly below
    it by the same house. The verdict on ARC, and that alone, may also come from ARC-Authentication-Results (RFC 8617).
    """
    fields = Headers(headers)
    found: dict[str, Authenticated] = {}
    for body in _believed(fields, trusted):
        for method, result in _results(body).items():
            found.setdefault(method, result)
    if "arc" not in found:
        found["arc"] = _sealed(fields, trusted)
    return Authentication(**found)


def _believed(fields: Headers, trusted: Collection[str] | None) -> Iterator[str]:
    if trusted is None:
        yield from _topmost(fields)
        return
    names = _lowered(trusted)
    for raw in fields.all(b"authentication-results", _FIELDS):
        body = _bare(raw)
        if _author(body) in names:
            yield body


def _topmost(fields: Headers) -> Iterator[str]:
    """The topmost field, and those of the same house directly below it.

    OpenDKIM and OpenDMARC write one each under one name; iCloud one for each method, named `spf.icloud.com` and so on.
    """
    house, below = "", -1
    for raw, begin, end in fields.places(b"authentication-results", _FIELDS):
        body = _bare(raw)
        author = _author(body)
        if below >= 0 and (begin != below or not house or _house(author) != house):
            return
        house, below = _house(author), end
        yield body


def _house(author: str) -> str:
    """The domain above an authserv-id if that is more than a top-level one, else the id itself."""
    above = author.partition(".")[2]
    return above if "." in above else author


def _sealed(fields: Headers, trusted: Collection[str] | None) -> Authenticated:
    """What the last server that sealed the message found when it verified the seals before its own."""
    body = _INSTANCE.sub("", _bare(fields.first(b"arc-authentication-results") or b""))
    believed = trusted is None or _author(body) in _lowered(trusted)
    return _results(body).get("arc", Authenticated.MISSING) if believed else Authenticated.MISSING


def _lowered(names: Collection[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


def _bare(raw: bytes) -> str:
    """A field's body in lower case without comments and quoted strings: what is in those is said by others."""
    return _QUOTED.sub(" ", without_comments(text_of(raw).lower()))


def _author(body: str) -> str:
    """The authserv-id, empty where there is none, as Exchange Online leaves it out."""
    match = _AUTHOR.match(body)
    return match[1] if match else ""


def _results(body: str) -> dict[str, Authenticated]:
    """The result of each method in one field.

    Of several DKIM signatures one that passes is enough (RFC 6376 4.2); of several SPF results the one for the
    envelope sender counts, not the one for the name in EHLO.
    """
    found: dict[str, Authenticated] = {}
    for method, word, details in _RESULT.findall(body):
        result = _result(word)
        better = result is Authenticated.PASS if method == "dkim" else method == "spf" and "smtp.mailfrom" in details
        if better or method not in found:
            found[method] = result
    return found


def _result(word: str) -> Authenticated:
    if word in _STANDARD:
        return Authenticated(word)
    return _OTHER_WORDS.get(word, Authenticated.NEUTRAL)


_STANDARD: Final = frozenset(Authenticated) - {Authenticated.MISSING}
