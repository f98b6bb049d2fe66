"""What can go wrong out there, as closed vocabularies: stages, replies, reasons, and the one failure value.

A reply is code + enhanced status + text, never one string (RFC 5321 4.2, RFC 3463). A `ProbeFailure` is a fact
about the world; any other exception is a bug of ours and is the supervisor's business.
"""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DETAIL_LIMIT: Final = 400
"""Characters of text for people that are kept: enough for any reply worth reading, too little to flood a log."""
OUR_LIMITS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What the system says when this process or machine is at its limits: no fact about the mail, so no ProbeFailure."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_ENHANCED: Final = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?=\s|$)")


class Stage(StrEnum):
    """Where a canary is, in the order in which it gets there; the same words for SMTP and IMAP connections."""

    RESOLVE = "resolve"
    CONNECT = "connect"
    TLS = "tls"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    END_OF_DATA = "end_of_data"
    QUIT = "quit"
    TRANSIT = "transit"
    SELECT = "select"
    """Of a mailbox's session alone: its folders."""
    FETCH = "fetch"
    """Of a mailbox's session alone: looking, waiting, deleting."""


class Reason(StrEnum):
    """Why something failed; closed, so that it may be a label. Set where the exception is caught, never by words."""

    DNS_NXDOMAIN = "dns_nxdomain"
    DNS_NO_ADDRESS = "dns_no_address"
    DNS_SERVFAIL = "dns_servfail"
    DNS_TIMEOUT = "dns_timeout"
    NO_MX = "no_mx"
    NULL_MX = "null_mx"
    CONNECTION_REFUSED = "connection_refused"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    TLS_HANDSHAKE = "tls_handshake"
    WRONG_TLS_MODE = "wrong_tls_mode"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_UNTRUSTED = "certificate_untrusted"
    CERTIFICATE_NAME = "certificate_name"
    CERTIFICATE_INVALID = "certificate_invalid"
    STARTTLS_UNAVAILABLE = "starttls_unavailable"
    PLAINTEXT_AFTER_STARTTLS = "plaintext_after_starttls"
    MALFORMED_REPLY = "malformed_reply"
    REPLY_TOO_LONG = "reply_too_long"
    DEFERRED = "deferred"
    REJECTED = "rejected"
    UNEXPECTED_REPLY = "unexpected_reply"
    AUTH_REJECTED = "auth_rejected"
    AUTH_UNAVAILABLE = "auth_unavailable"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a reason, not a token
    THROTTLED = "throttled"
    MAILBOX_MISSING = "mailbox_missing"
    QUOTA_EXCEEDED = "quota_exceeded"
    SERVER_REFUSED = "server_refused"
    NOT_THERE = "not_there"
    """Accepted, and not there when looked for after the deadline."""
    NOBODY_LOOKED = "nobody_looked"
    AGENT_RESTARTED = "agent_restarted"
    """The agent was killed in the middle of the attempt: whether the message was handed in is not known."""
    AGENT_LATE = "agent_late"
    AGENT_FAILED = "agent_failed"
    """A bug of ours; counted and logged with its traceback."""
    SENDER_BUSY = "sender_busy"
    """The sender's own limits (connections, messages a minute) left no room before the slot was over."""


def plain_text(text: str | bytes, limit: int = DETAIL_LIMIT) -> str:
    """Text from the wire made safe to show: cut at `limit`, no control characters, no lone surrogates.

    Nor anything that turns the direction of writing round: what is read is what was said.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    text = _CONTROL.sub("�", text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


@dataclass(frozen=True, slots=True, order=True)
class EnhancedStatus:
    """An enhanced mail system status code, `class.subject.detail`. Source: RFC 3463 2."""

    class_: int
    subject: int
    detail: int

    def __str__(self) -> str:
        return f"{self.class_}.{self.subject}.{self.detail}"

    @classmethod
    def parse(cls, text: str) -> EnhancedStatus | None:
        """The code at the very start of a reply's text, None if there is none. Unregistered ones are kept."""
        match = _ENHANCED.match(text)
        return cls(int(match[1]), int(match[2]), int(match[3])) if match else None


@dataclass(frozen=True, slots=True)
class Reply:
    """An SMTP reply: code, enhanced status or None, and its lines of text without code. Source: RFC 5321 4.2."""

    code: int
    enhanced: EnhancedStatus | None
    lines: tuple[str, ...]

    @classmethod
    def of(cls, code: int, text: str) -> Reply:
        """A reply from its code and its text, lines separated by newlines; made safe to show.

        An enhanced code whose class contradicts the reply becomes `x.0.0`, as Postfix does it.
        """
        lines = tuple(plain_text(line) for line in text.split("\n")[:20])
        enhanced = EnhancedStatus.parse(lines[0])
        if enhanced and enhanced.class_ != code // 100:
            enhanced = EnhancedStatus(code // 100, 0, 0) if code // 100 in (2, 4, 5) else None
        return cls(code, enhanced, lines)

    @property
    def is_deferral(self) -> bool:
        """4yz: try again later. Source: RFC 5321 4.2.1."""
        return 400 <= self.code <= 499

    @property
    def is_refusal(self) -> bool:
        """4yz or 5yz."""
        return 400 <= self.code <= 599

    @property
    def text(self) -> str:
        """The lines as one, for people."""
        return plain_text(" ".join(self.lines))

    def __str__(self) -> str:
        return f"{self.code} {self.text}"


def stage_and_reason(stage: Stage | None, reason: Reason | None) -> str:
    """Both in words, `connect: timeout`; the reason alone where it says the stage, as `auth_rejected` does."""
    if stage and reason and reason.startswith(f"{stage}_"):
        return str(reason)
    return ": ".join(str(part) for part in (stage, reason) if part)


class ProbeFailure(Exception):
    """A fact about the world: what stopped us, where, and what was said.

    `detail` is text for people: it is cut and cleaned here, and must not hold a secret.
    """

    def __init__(self, stage: Stage, reason: Reason, detail: str = "", reply: Reply | None = None) -> None:
        self.stage = stage
        self.reason = reason
        self.detail = plain_text(detail)
        self.reply = reply
        super().__init__(stage_and_reason(stage, reason) + (f": {self.detail}" if self.detail else ""))


class NoCredential(ProbeFailure):
    """What a login needs could not be had, so that nobody was asked to let us in: it says nothing of the mail.

    `retry_after`: seconds for which whoever was asked for it does not want to be asked again.
    """

    def __init__(self, reason: Reason, detail: str, retry_after: float = 0.0) -> None:
        super().__init__(Stage.AUTH, reason, detail)
        self.retry_after = retry_after


class ConfigurationError(Exception):
    """What the user wrote cannot be used; `problems` are lines ready to print, all of them at once."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))
