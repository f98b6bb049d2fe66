"""Bounces that are prose: servers that never learned RFC 3464, and gateways that strip its machine-readable part.

There is no standard to go by, but the programs that write these notices are few and old, and each says the same
sentence in the same place every time. `_SHAPES` lists them. A sentence counts only at the beginning of a line, before
the returned message begins, in a message whose headers say that a mail system wrote it; so a person who quotes or
forwards a bounce, an automatic answer, a list's digest, is none. What a notice says of the reason is kept for people;
of it only codes are read.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Final

from mailprobe.errors import plain_text
from mailprobe.message.fields import Headers, text_of
from mailprobe.message.mime import Part
from mailprobe.message.report import Action, Report

_TEXT_LIMIT: Final = 16 * 1024
"""Characters of a notice that are read; what is longer returns a message."""

_NAME_LIMIT: Final = 255
_DIAGNOSTIC_LIMIT: Final = 400


@dataclass(frozen=True, slots=True)
class _Shape:
    """A sentence, at the beginning of a line, by which a kind of notice is known; it may name the server."""

    action: Action
    sentence: re.Pattern[str]


def _shape(action: Action, sentence: str) -> _Shape:
    return _Shape(action, re.compile(rf"^[ \t]*{sentence}", re.MULTILINE | re.IGNORECASE))


_HOST: Final = r"(?P<host>[\w.-]{1,255})"

_SHAPES: Final = (
    # what is only late is said first: some programs open both kinds with the same words
    # Exim
    _shape(Action.DELAYED, r"(?:a message that you sent )?has not yet been delivered to one or more of its"),
    # Gmail before 2016, and Microsoft's SMTP service
    _shape(Action.DELAYED, r"delivery to the following recipients? has been delayed"),
    # Gmail
    _shape(Action.DELAYED, r"\*\* delivery incomplete \*\*"),
    # Exchange
    _shape(Action.DELAYED, r"delivery is delayed to these recipients or (?:groups|distribution lists)"),
    # sendmail, Postfix
    _shape(Action.DELAYED, r"-{5} the following addresses had transient non-fatal errors"),
    _shape(Action.DELAYED, r"(?:\*\*|#)[ \t]*this is a warning (?:message )?only"),
    # MDaemon
    _shape(Action.DELAYED, r"the attached message had transient"),
    # qmail and what imitates its format (https://cr.yp.to/proto/qsbmf.txt)
    _shape(Action.FAILED, rf"hi\. this is the .{{1,100}}? at {_HOST}"),
    _shape(Action.FAILED, r"sorry, we were unable to deliver your message to the following address"),
    # Exim
    _shape(Action.FAILED, r"(?:a message that you sent )?could not be delivered to (?:one or more|all) of its"),
    # Postfix; its first sentence stands in delay notices too
    _shape(
        Action.FAILED,
        rf"this is the (?:mail system|postfix program) at host {_HOST}\s{{1,20}}i'm sorry to have to inform you",
    ),
    # Gmail
    _shape(Action.FAILED, r"delivery to the following recipients? failed"),
    _shape(Action.FAILED, r"\*\* (?:address not found|message (?:blocked|not delivered|rejected)) \*\*"),
    # Exchange
    _shape(Action.FAILED, r"delivery has failed to these recipients or (?:groups|distribution lists)"),
    _shape(Action.FAILED, r"your message did not reach some or all of the intended recipients"),
    _shape(Action.FAILED, r"your message to .{1,300} couldn't be delivered"),
    # sendmail
    _shape(Action.FAILED, r"-{5} the following addresses had (?:permanent fatal|delivery) errors"),
    # Domino
    _shape(Action.FAILED, r"was not delivered to:[ \t]*\r?$"),
    # MDaemon
    _shape(Action.FAILED, r"the attached message had permanent fatal delivery errors"),
    # GroupWise
    _shape(Action.FAILED, r"the message that you sent was undeliverable to the following"),
    # Amazon SES
    _shape(Action.FAILED, r"an error occurred while trying to deliver the mail to the following recipients"),
)

_RETURNED: Final = re.compile(
    r"^[ \t]*(?:-{2,20}[^\n]{0,40}(?:copy of|original message|message header|unsent message|returned message)"
    r"|original message headers?:)",
    re.MULTILINE | re.IGNORECASE,
)
"""Where the message that is returned begins; nothing from there on is the notice's own."""

_SERVERS: Final = (
    re.compile(r"^[ \t]*generating server:[ \t]*([\w.-]{1,255})", re.MULTILINE | re.IGNORECASE),  # Exchange
    re.compile(r"\bon the queue on ([\w.-]{1,255})"),  # Exim
    re.compile(r"^[ \t]*this is the mail system at host ([\w.-]{1,255})", re.MULTILINE | re.IGNORECASE),  # Postfix
)
_NAME: Final = r"([\w-]{1,63}(?:\.[\w-]{1,63}){1,10})"
_REMOTES: Final = (
    re.compile(rf"\bhost {_NAME} ?\["),  # Exim, Postfix
    re.compile(rf"\bwhile talking to {_NAME}"),  # sendmail
    re.compile(rf"\brecipient domain \S{{1,255}} by {_NAME}"),  # Gmail
    re.compile(rf"\b(?:remote|receiving) server: {_NAME}", re.IGNORECASE),  # Exchange
)
_ENHANCED: Final = r"([45]\.\d{1,3}\.\d{1,3})(?![\d.])"
_REPLIES: Final = (
    re.compile(rf"(?<![\w.])[45]\d\d[ -]#?{_ENHANCED}"),
    re.compile(rf"#{_ENHANCED}"),
    re.compile(r"(?:^[ \t]*|[:;'>][ \t]*)[45]\d\d(?=[ :-])()", re.MULTILINE),
)
"""A reply with both codes, an enhanced code alone as qmail and Exchange mark it, a reply with a basic code alone."""

_BREAKS: Final = re.compile(r"<(?:br|/p|/div|/tr|/td|/li|/h[1-6])\b[^<>]*>", re.IGNORECASE)
_TAGS: Final = re.compile(r"<[a-z/!][^<>]*>", re.IGNORECASE)
_BLANK: Final = re.compile(r"\r?\n[ \t]*\r?\n")
_IDENTITY: Final = re.compile(r"^(?:message-id|x-mailprobe-canary):", re.MULTILINE | re.IGNORECASE)


def told_in_prose(headers: Headers, parts: tuple[Part, ...]) -> Report | None:
    """What a notice says that a mail system wrote for people; None if it is not known for one. Total, bounded."""
    if not _from_a_mail_system(headers):
        return None
    text = _text_of(parts)
    returned = _RETURNED.search(text)
    notice = text[: returned.start()] if returned else text
    for shape in _SHAPES:
        if found := shape.sentence.search(notice):
            return _report(shape.action, notice, headers, found)
    # Exchange translates its sentences
    if headers.first(b"x-ms-exchange-message-is-ndr") is not None and notice:
        return _report(Action.FAILED, notice, headers, None)
    return None


def returned_in_prose(headers: Headers, parts: tuple[Part, ...]) -> bytes | None:
    """What begins with the headers of the message that a notice returns in its text; None if it returns none."""
    text = _text_of(parts)
    if returned := _RETURNED.search(text):
        return text[returned.end() :].partition("\n")[2].lstrip().encode()
    if headers.first(b"x-ms-exchange-message-is-ndr") is None:
        return None
    # its caption is translated; nothing of the body is returned, so no paragraph is a person's
    return next((block.encode() for block in _BLANK.split(text) if _IDENTITY.search(block)), None)


def _report(action: Action, notice: str, headers: Headers, found: re.Match[str] | None) -> Report:
    status, diagnostic = _diagnostic(notice, found.end() if found else 0)
    remote = _first(_REMOTES, notice)
    return Report(
        action=action,
        status=status,
        diagnostic=diagnostic,
        reporting_mta=_server(notice, headers, found),
        remote_mta=plain_text(remote[1], _NAME_LIMIT) if remote else "",
        envelope_id="",
        token=None,
    )


def _from_a_mail_system(headers: Headers) -> bool:
    author = (headers.first(b"from") or b"").lower()
    return (
        b"mailer-daemon" in author
        or b"postmaster" in author
        or (headers.first(b"return-path") or b"").replace(b" ", b"") == b"<>"
        or headers.first(b"x-failed-recipients") is not None
        or headers.first(b"x-ms-exchange-message-is-ndr") is not None
    )


def _text_of(parts: tuple[Part, ...]) -> str:
    """The first plain text, else the first HTML without its tags."""
    plain = next((part.content for part in parts if part.content_type == b"text/plain"), b"")
    if plain.strip():
        return text_of(plain[:_TEXT_LIMIT])
    marked_up = next((part.content for part in parts if part.content_type == b"text/html"), b"")
    text = _BREAKS.sub("\n", text_of(marked_up[: 4 * _TEXT_LIMIT]))
    return html.unescape(_TAGS.sub("", text))[:_TEXT_LIMIT]


def _server(notice: str, headers: Headers, found: re.Match[str] | None) -> str:
    """The server that wrote the notice: by its own words, else the domain that it writes from."""
    said = _first(_SERVERS, notice)
    named = (found.groupdict().get("host") if found else None) or (said[1] if said else None)
    if named is None:
        named = text_of(headers.first(b"from") or b"").rpartition("@")[2].partition(">")[0].partition(" ")[0]
    return plain_text(named.rstrip("."), _NAME_LIMIT)


def _first(patterns: tuple[re.Pattern[str], ...], notice: str) -> re.Match[str] | None:
    return next(filter(None, (pattern.search(notice) for pattern in patterns)), None)


def _diagnostic(notice: str, start: int) -> tuple[str, str]:
    """The enhanced code and the reply, up to the next blank line; without codes, the last words said."""
    for pattern in _REPLIES:
        if found := pattern.search(notice, start):
            begin = found.start() if found[1] and found[0][0] in "45" else _line_start(notice, found)
            return found[1], _tidy(_BLANK.split(notice[begin : begin + 4 * _DIAGNOSTIC_LIMIT], 1)[0])
    paragraphs = [paragraph for paragraph in _BLANK.split(notice[start:]) if paragraph.strip()]
    return "", _tidy(paragraphs[-1][: 4 * _DIAGNOSTIC_LIMIT]) if paragraphs else ""


def _line_start(notice: str, found: re.Match[str]) -> int:
    if found[0][-3:].isdigit():
        return found.end() - 3
    return notice.rfind("\n", 0, found.start()) + 1


def _tidy(text: str) -> str:
    text = " ".join(text.split())
    for opening, closing in ("()", "<>"):
        if text.endswith(closing) and text.count(closing) > text.count(opening):
            text = text[:-1]
    return plain_text(text.rstrip("'"), _DIAGNOSTIC_LIMIT)
