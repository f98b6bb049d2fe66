"""Reports about messages read, in the standard shape (RFC 3464, RFC 6533) or in prose: what became of a canary."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from mailprobe.errors import EnhancedStatus, plain_text
from mailprobe.message.fields import Headers, split_message, text_of, without_comments
from mailprobe.message.mime import Part, parts_of
from mailprobe.message.notices import told_in_prose
from mailprobe.message.report import Action, Report
from mailprobe.message.returned import STATUS_TYPES, proven_token
from mailprobe.message.token import Key

REPORT_LIMIT: Final = 256 * 1024
"""Octets of a message that are read; what lies behind is the returned body, of no use here."""

_RECIPIENTS_LIMIT: Final = 20
_NAME_LIMIT: Final = 255
_STATUS_IN_REPLY: Final = re.compile(r"(?:\d{3}[ -])?\s*#?([245]\.\d{1,3}\.\d{1,3})(?!\S)")
_BLANK_LINE: Final = re.compile(rb"\r?\n(?:[ \t]*\r?\n)+")

Reader = Callable[[Headers, tuple[Part, ...]], Report | None]


def parse_report(message: bytes, key: Key) -> Report | None:
    """What a whole message reports about the delivery of another one, None if it is no such report. Total, bounded.

    Which canary it is about, `returned.proven_token` tells.
    """
    message = message[:REPORT_LIMIT]
    headers = Headers(split_message(message)[0])
    parts = tuple(parts_of(message))
    if any(part.content_type in _OTHER_REPORTS for part in parts):
        return None
    for read in _READERS:
        if report := read(headers, parts):
            return replace(report, token=proven_token(report.envelope_id, headers, parts, key))
    return None


def _delivery_status(_headers: Headers, parts: tuple[Part, ...]) -> Report | None:
    """The standard shape: a message/delivery-status part, its first block about the message, the others recipients."""
    content = next((part.content for part in parts if part.content_type in STATUS_TYPES), None)
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


_READERS: Final[tuple[Reader, ...]] = (_delivery_status, told_in_prose)
_OTHER_REPORTS: Final = frozenset(
    {b"message/disposition-notification", b"message/global-disposition-notification", b"message/feedback-report"}
)
"""That a message was read (RFC 8098), or called spam (RFC 5965): it was delivered."""
_GRAVITY: Final = (Action.FAILED, Action.DELAYED, Action.EXPANDED, Action.RELAYED, Action.DELIVERED)
_ACTIONS: Final = frozenset(Action)
