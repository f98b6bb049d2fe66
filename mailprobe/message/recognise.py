"""Tells our own canaries from everything else by their headers alone; what nothing proves is a stranger.

A report or an automatic answer *about* a canary quotes its headers. It is never taken for the canary: messages that
answer are told by what RFC 3464 and RFC 3834 make them say of themselves, and a token counts only where the canary
itself carries it, in X-Mailprobe-Canary or in Message-ID.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mailprobe.message.fields import Headers
from mailprobe.message.token import Key, Token

_TRIES: Final = 8
"""Fields of one name in which a token is looked for; forwarders add one or two of their own."""


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
    if _answers(fields):
        return _BOUNCE_CANDIDATE
    token = _token(fields, key)
    if token is None:
        return _STRANGER
    return Ours(token) if token.is_from(agent) else ForeignAgent(token)


def _answers(fields: Headers) -> bool:
    """Whether the message reports on or answers another one. Sources: RFC 3461 6.1, RFC 3464 2, RFC 3834 5."""
    content_type = _value(fields, b"content-type")
    return (
        content_type.startswith(b"multipart/report")
        or _value(fields, b"return-path").replace(b" ", b"") == b"<>"
        or _value(fields, b"auto-submitted").startswith(b"auto-replied")
        or b"mailer-daemon" in _value(fields, b"from")
    )


def _value(fields: Headers, name: bytes) -> bytes:
    return (fields.first(name) or b"").lower()


def _token(fields: Headers, key: Key) -> Token | None:
    for body in fields.all(b"x-mailprobe-canary", _TRIES):
        # no token holds white space: a relay that folds in the middle of it only adds some
        if token := key.prove(b"".join(body.split())):
            return token
    for body in fields.all(b"message-id", _TRIES):
        if token := key.prove(body.lstrip(b"<").partition(b"@")[0]):
            return token
    return None
