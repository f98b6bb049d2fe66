"""Which message a report is about: by what a mail system puts there, never by what a person may have written.

A body that is returned can quote anything, a canary too. So only these count: the envelope id, the Message-ID that the
status part names, the headers of the message that is returned, also where they are copied into the report's own; and,
only where none is returned, the one message that the report says it answers.
"""

from __future__ import annotations

import re
from typing import Final

from mailprobe.message.fields import Headers
from mailprobe.message.mime import Part
from mailprobe.message.notices import returned_in_prose
from mailprobe.message.recognise import carried_token, identified_token
from mailprobe.message.token import Key, Token

STATUS_TYPES: Final = frozenset({b"message/delivery-status", b"message/global-delivery-status"})
_RETURNED_TYPES: Final = frozenset(
    {b"message/rfc822", b"message/global", b"text/rfc822-headers", b"message/rfc822-headers", b"message/global-headers"}
)
_FIELD: Final = re.compile(rb"[!-9;-~]{1,80}:")


def proven_token(envelope_id: str, headers: Headers, parts: tuple[Part, ...], key: Key) -> Token | None:
    """The token of the canary that a report with these headers and parts is about, None if nothing proves one."""
    if token := key.prove(envelope_id) or _named_by_status(parts, key) or carried_token(headers, key):
        return token
    returned = _returned(headers, parts)
    if returned is not None:
        return carried_token(returned, key)
    return _answered(headers, key)


def _named_by_status(parts: tuple[Part, ...], key: Key) -> Token | None:
    """Gmail's field of its own beside those of RFC 3464 2.2."""
    status = next((part.content for part in parts if part.content_type in STATUS_TYPES), b"")
    named = Headers(status.lstrip()).first(b"x-original-message-id")
    return identified_token(named, key) if named else None


def _returned(headers: Headers, parts: tuple[Part, ...]) -> Headers | None:
    """The headers of the message that is returned, None if none is."""
    for part in parts:
        if part.content_type in _RETURNED_TYPES:
            return Headers(part.content.lstrip(b"\r\n"))
    if (block := returned_in_prose(headers, parts)) is not None:
        return Headers(block)
    # a gateway made plain text of it: the headers come first
    texts = [part.content.lstrip() for part in parts if part.content_type == b"text/plain"]
    return next((Headers(text) for text in texts[1:] if _FIELD.match(text)), None)


def _answered(headers: Headers, key: Key) -> Token | None:
    """By In-Reply-To, else by the last of References: the others are what *that* message answers. RFC 3834 3.1.5."""
    for name in (b"in-reply-to", b"references"):
        if identities := (headers.first(name) or b"").split():
            return identified_token(identities[-1], key)
    return None
