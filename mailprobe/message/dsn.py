"""Delivery status notifications read (RFC 3464, RFC 6533): what became of a canary, in the words of an MTA.

A report is taken apart iteratively and by hand: the standard library's parser recurses as deep as the message nests,
and its header parameters can raise. `_READERS` is where readers of other shapes of bounces belong.
"""

from __future__ import annotations

import base64
import quopri
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from mailprobe.errors import EnhancedStatus, plain_text
from mailprobe.message.fields import Headers, split_message, text_of, without_comments
from mailprobe.message.token import Key, Token

REPORT_LIMIT: Final = 256 * 1024
"""Octets of a message that are read; what lies behind is the returned body, of no use here."""

PARTS_LIMIT: Final = 50
NESTING_LIMIT: Final = 4
"""MIME parts and levels that are followed. A report has 3 parts on 1 level; gateways wrap it once or twice."""

_RECIPIENTS_LIMIT: Final = 20
_NAME_LIMIT: Final = 255
_BOUNDARY: Final = re.compile(rb'boundary\s*=\s*(?:"([^"\r\n]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_STATUS_IN_REPLY: Final = re.compile(r"(?:\d{3}[ -])?\s*([245]\.\d{1,3}\.\d{1,3})(?!\S)")
_NOT_BASE64: Final = bytes(set(range(256)).difference(string.ascii_letters.encode(), string.digits.encode(), b"+/"))
_BLANK_LINE: Final = re.compile(rb"\r?\n(?:[ \t]*\r?\n)+")


class Action(StrEnum):
    """What the reporting MTA did (RFC 3464 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True)
class Report:
    """What a DSN says. Texts are safe to show, empty where nothing was said.

    `status` is an enhanced status code; `diagnostic` is the reply of `remote_mta`, or the reporting MTA's own words.
    `token` is that of the canary it is about; None: it is about no canary of this key.
    """

    action: Action
    status: str
    diagnostic: str
    reporting_mta: str
    remote_mta: str
    envelope_id: str
    token: Token | None


@dataclass(frozen=True, slots=True)
class Part:
    """A MIME part that is no multipart: its type in lower case, and its content with the transfer encoding undone."""

    content_type: bytes
    content: bytes


Reader = Callable[[tuple[Part, ...]], Report | None]


def parse_report(message: bytes, key: Key) -> Report | None:
    """What a whole message reports about the delivery of another one, None if it is no such report. Total, bounded.

    The canary is known by its ENVID, else by the headers returned, else by whatever else is quoted.
    """
    message = message[:REPORT_LIMIT]
    parts = tuple(_parts(message))
    for read in _READERS:
        if report := read(parts):
            return replace(report, token=_token(report, parts, message, key))
    return None


def _delivery_status(parts: tuple[Part, ...]) -> Report | None:
    """The standard shape: a message/delivery-status part, its first block about the message, the others recipients."""
    content = next((part.content for part in parts if part.content_type in _STATUS_TYPES), None)
    if content is None:
        return None
    blocks = [Headers(block) for block in _BLANK_LINE.split(content.strip(), _RECIPIENTS_LIMIT)]
    recipients = [(action, block) for block in blocks if (action := _action(block))]
    if not recipients:
        return None
    action, recipient = min(recipients, key=lambda told: _GRAVITY.index(told[0]))
    diagnostic = _typed(recipient, b"diagnostic-code", 400)
    return Report(
        action=action,
        status=_status(recipient, diagnostic),
        diagnostic=diagnostic,
        reporting_mta=_name(blocks[0], b"reporting-mta"),
        remote_mta=_name(recipient, b"remote-mta"),
        envelope_id=_text(blocks[0], b"original-envelope-id"),
        token=None,
    )


def _action(block: Headers) -> Action | None:
    words = _text(block, b"action").lower().split()
    if words and words[0] in _ACTIONS:
        return Action(words[0])
    # without a usable Action its Status tells as much (RFC 3463 2): 4 goes on trying, 5 gave up
    return {"4": Action.DELAYED, "5": Action.FAILED}.get(_text(block, b"status")[:1])


def _status(recipient: Headers, diagnostic: str) -> str:
    status = EnhancedStatus.parse(_text(recipient, b"status"))
    if status is None and (quoted := _STATUS_IN_REPLY.match(diagnostic)):
        status = EnhancedStatus.parse(quoted[1])
    return str(status) if status else ""


def _text(block: Headers, name: bytes, limit: int = _NAME_LIMIT) -> str:
    return plain_text(" ".join(text_of(block.first(name) or b"").split()), limit)


def _typed(block: Headers, name: bytes, limit: int = _NAME_LIMIT) -> str:
    """The value of a field of the form `type; value` (RFC 3464 2.1.2)."""
    kind, separator, value = _text(block, name, limit).partition(";")
    return value.strip() if separator else kind


def _name(block: Headers, name: bytes) -> str:
    # Gmail explains the name in a comment
    return without_comments(_typed(block, name)).strip()


def _token(report: Report, parts: tuple[Part, ...], message: bytes, key: Key) -> Token | None:
    returned = (part.content for part in parts if part.content_type in _RETURNED_TYPES)
    others = (part.content for part in parts if part.content_type not in _RETURNED_TYPES)
    return (
        key.prove(report.envelope_id)
        or next(filter(None, map(key.find, returned)), None)
        or next(filter(None, map(key.find, others)), None)
        or key.find(split_message(message)[0])
    )


def _parts(message: bytes) -> Iterator[Part]:
    """The leaves of a message's MIME tree in order, as far as the limits go; what is too deep is a leaf."""
    pending = [(message, 0)]
    for _ in range(PARTS_LIMIT):
        if not pending:
            return
        entity, depth = pending.pop()
        head, body = split_message(entity)
        fields = Headers(head)
        content_type = (fields.first(b"content-type") or b"text/plain").strip()
        boundary = _BOUNDARY.search(content_type)
        kind = content_type.partition(b";")[0].strip().lower()
        if kind.startswith(b"multipart/") and boundary and depth < NESTING_LIMIT:
            children = _split(body, boundary[1] or boundary[2])
            pending.extend((child, depth + 1) for child in reversed(children))
        else:
            yield Part(kind, _decoded(body, fields))


def _split(body: bytes, boundary: bytes) -> list[bytes]:
    """The parts between delimiter lines, at most `PARTS_LIMIT` (RFC 2046 5.1.1). An unended last part counts."""
    delimiter = b"\n--" + boundary
    pieces = (b"\n" + body).split(delimiter, PARTS_LIMIT)
    parts: list[bytes] = []
    for piece in pieces[1:]:
        rest, _, content = piece.partition(b"\n")
        if rest.strip() == b"--":
            break
        if not rest.strip():
            parts.append(content)
        elif parts:
            # a longer boundary that begins like this one: not a delimiter
            parts[-1] += delimiter + piece
    return parts


def _decoded(body: bytes, fields: Headers) -> bytes:
    encoding = (fields.first(b"content-transfer-encoding") or b"").strip().lower()
    if encoding == b"quoted-printable":
        return quopri.decodestring(body)
    if encoding == b"base64":
        digits = body.translate(None, _NOT_BASE64)
        whole = digits[: len(digits) - (len(digits) % 4 == 1)]
        return base64.b64decode(whole + b"=" * (-len(whole) % 4))
    return body


_STATUS_TYPES: Final = frozenset({b"message/delivery-status", b"message/global-delivery-status"})
_GRAVITY: Final = (Action.FAILED, Action.DELAYED, Action.EXPANDED, Action.RELAYED, Action.DELIVERED)
_READERS: Final[tuple[Reader, ...]] = (_delivery_status,)
_RETURNED_TYPES: Final = frozenset(
    {b"message/rfc822", b"message/global", b"text/rfc822-headers", b"message/rfc822-headers", b"message/global-headers"}
)
_ACTIONS: Final = frozenset(Action)
