"""Tells our own canaries from everything else by their headers alone; what nothing proves is a stranger.

A report or an automatic answer *about* a canary quotes its headers, and some servers copy them into their own. It is
never taken for the canary. A token counts only where the canary itself carries it, in X-Mailprobe-Canary or in
Message-ID, and not where the message says what it is instead:

- it is a report or an answer by RFC 3464 2, RFC 3834 5 or a mail system's own mark (`_reports`);
- it refers to another message, or has twice what a message has once, as what was copied together has (`_is_about`);
- its sender is null or a postmaster and it is not in everything else as we made it (`_is_as_made`): servers that strip
  the sender from mail they pass on exist, and so do canaries sent by a postmaster.

A copy that a forwarder or a mailing list passes on whole is the canary: it arrived. The ledger counts it once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mailprobe.message.fields import Headers, text_of
from mailprobe.message.received import wall_of_date
from mailprobe.message.token import Key, Token

_TRIES: Final = 8
"""Fields of one name in which a token is looked for; forwarders add one or two of their own."""


_REPORTED: Final = frozenset({b"x-failed-recipients", b"x-ms-exchange-message-is-ndr"})
_REFERENCES: Final = frozenset({b"in-reply-to", b"references"})
_ONCE: Final = frozenset({b"from", b"auto-submitted", b"content-type"})
"""Fields that may stand in a message once (RFC 5322 3.6, RFC 3834 5.2, RFC 2045 3)."""
_TELLING: Final = re.compile(rb"\n(" + b"|".join(sorted(_REPORTED | _REFERENCES | _ONCE)) + rb"):")


@dataclass(frozen=True, slots=True)
class Ours:
    """A canary that this agent made. Whether it made it for this mailbox is for the ledger to say."""

    token: Token


@dataclass(frozen=True, slots=True)
class ForeignAgent:
    """A canary of another agent with the same key: neither ours to judge nor to remove."""

    token: Token


@dataclass(frozen=True, slots=True)
class BounceCandidate:
    """A report or an automatic answer, perhaps about a canary: `dsn.parse_report` on the whole message will tell."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """Anything else: counted, never touched."""


Recognised = Ours | ForeignAgent | BounceCandidate | Stranger

_BOUNCE_CANDIDATE: Final = BounceCandidate()
_STRANGER: Final = Stranger()


def recognise(headers: bytes, key: Key, agent: str) -> Recognised:
    """What a message is, judged by its headers (a body after them is not looked at). Total, bounded."""
    fields = Headers(headers)
    author = _value(fields, b"from")
    names = fields.names(_TELLING)
    if _reports(fields, author, names):
        return _BOUNCE_CANDIDATE
    token = carried_token(fields, key)
    suspicious = b"postmaster" in author or _null_sender(fields)
    if token is None:
        return _BOUNCE_CANDIDATE if suspicious else _STRANGER
    if _is_about(names) or (suspicious and not _is_as_made(fields, author, token)):
        return _BOUNCE_CANDIDATE
    return Ours(token) if token.is_from(agent) else ForeignAgent(token)


def _reports(fields: Headers, author: bytes, names: list[bytes]) -> bool:
    """Whether the message says of itself that it reports on or answers another one."""
    return (
        b"mailer-daemon" in author
        or _value(fields, b"content-type").startswith((b"multipart/report", b"message/"))
        or _value(fields, b"auto-submitted").startswith((b"auto-replied", b"auto-notified"))
        or not _REPORTED.isdisjoint(names)
    )


def _null_sender(fields: Headers) -> bool:
    path = _value(fields, b"return-path").replace(b" ", b"")
    return path == b"<>" or b"mailer-daemon" in path


def _is_about(names: list[bytes]) -> bool:
    """Whether the message refers to another one, or is two in one."""
    return len(names) > len(set(names)) or not _REFERENCES.isdisjoint(names)


def _is_as_made(fields: Headers, author: bytes, token: Token) -> bool:
    """Whether what we wrote into the canary's headers is there, and from the domain that its Message-ID is of."""
    identity, _, domain = _value(fields, b"message-id").strip(b"<> ").partition(b"@")
    from_domain = author.rpartition(b"@")[2].partition(b">")[0].strip()
    return (
        _value(fields, b"auto-submitted").startswith(b"auto-generated")
        and _value(fields, b"content-type").startswith(b"text/plain")
        and wall_of_date(text_of(_value(fields, b"date"))) == token.sent_wall
        and (b"postmaster" not in author if identity != token.text.encode() else from_domain == domain)
    )


def _value(fields: Headers, name: bytes) -> bytes:
    return (fields.first(name) or b"").lower()


def carried_token(fields: Headers, key: Key) -> Token | None:
    """The proven token that a message carries as a canary does: in X-Mailprobe-Canary, else in Message-ID."""
    for body in fields.all(b"x-mailprobe-canary", _TRIES):
        # no token holds white space: a relay that folds in the middle of it only adds some
        if token := key.prove(b"".join(body.split())):
            return token
    return next(filter(None, (identified_token(body, key) for body in fields.all(b"message-id", _TRIES))), None)


def identified_token(identity: bytes, key: Key) -> Token | None:
    """The proven token of a `<token@domain>`."""
    return key.prove(identity.strip().lstrip(b"<").partition(b"@")[0])
