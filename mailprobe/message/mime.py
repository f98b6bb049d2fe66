"""A message taken apart into its MIME parts (RFC 2045, RFC 2046): iterative, bounded, never raising.

By hand, since the standard library's parser recurses as deep as the message nests, and its header parameters can raise.
"""

from __future__ import annotations

import base64
import quopri
import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mailprobe.message.fields import Headers, split_message

PARTS_LIMIT: Final = 50
NESTING_LIMIT: Final = 4
"""Parts and levels that are followed. A report has 3 parts on 1 level; gateways wrap it once or twice."""

_BOUNDARY: Final = re.compile(rb'boundary\s*=\s*(?:"([^"\r\n]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_NOT_BASE64: Final = bytes(set(range(256)).difference(string.ascii_letters.encode(), string.digits.encode(), b"+/"))


@dataclass(frozen=True, slots=True)
class Part:
    """A MIME part that is no multipart: its type in lower case, and its content with the transfer encoding undone."""

    content_type: bytes
    content: bytes


def parts_of(message: bytes) -> Iterator[Part]:
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
