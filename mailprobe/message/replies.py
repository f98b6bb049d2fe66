"""What an SMTP refusal means to whoever runs the mail, by its stage and codes alone: the one table for it.

Texts are for people. They are worded differently by every server, translated, and changed overnight; so nothing here
reads one. What follows, and what codes alone cannot tell:

- `throttled` hides a reply from the state of the route, so it is said only where no other meaning is in use (`_OURS`).
  Deferrals like any other stay: 421 4.3.2 (sendmail's connection limit, and Exchange Online in the outage EX1331830),
  421 without a code (Exim's connection limit, and any server on its way down), 421 4.7.0 after the greeting (Gmail's
  rate limit and its system trouble), 451 4.7.500 (Microsoft's filter, and the outage EX680695), 450 4.2.1 (Gmail's
  limit of the recipient), 450 4.7.1 (Postfix's rate limit, greylisting, a host without a name).
- 454 4.7.0 in AUTH is a password server that is away, or too many logins: `auth_unavailable` either way.
- Whether a deferral is greylisting is known once a later attempt is accepted. `may_be_greylisting` says only that it
  looks like one (RFC 6647 2).

Sources: RFC 5321 4.2, RFC 3463 3, RFC 4954 6, RFC 7504, the IANA registry of enhanced status codes, the vendors' lists
that `tests/data/replies` names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mailprobe.errors import EnhancedStatus, Reason, Reply, Stage


class Category(StrEnum):
    """What a refusal is about; closed, so that it may be a label."""

    ADDRESS = "address"
    """The recipient's address, or the sender's: unknown, moved, malformed, of a domain that takes no mail."""
    MAILBOX = "mailbox"
    """The recipient's mailbox: there, but disabled, locked, or receiving too quickly."""
    MAILBOX_FULL = "mailbox_full"
    """The recipient's quota."""
    SYSTEM = "system"
    """The server itself: overloaded, out of storage, misconfigured, shutting down."""
    NETWORK = "network"
    """Between servers: DNS, routing, connections, time-outs, loops."""
    PROTOCOL = "protocol"
    """Our SMTP, or the server's: syntax, order of commands, parameters."""
    CONTENT = "content"
    """The form of the message: MIME, conversion, size."""
    POLICY = "policy"
    """The server's judgement on who sends what: reputation, block lists, SPF, DKIM, DMARC, relaying, spam."""
    AUTHENTICATION = "authentication"
    """The login: refused, not to be had, or asked for first."""
    THROTTLED = "throttled"
    """Our own concurrency, rate or quota: no outage."""
    OTHER = "other"
    """The codes say no more than yes or no."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a reply comes to. `reason` is that of the `ProbeFailure` it is."""

    category: Category
    reason: Reason
    may_be_greylisting: bool = False


def meaning_of(stage: Stage, reply: Reply) -> Meaning:
    """What a reply means that is not the one that was due. Total."""
    category = category_of(stage, reply.code, reply.enhanced)
    return Meaning(category, _reason(stage, reply, category), _may_be_greylisting(stage, reply))


def category_of(stage: Stage, code: int | None, enhanced: EnhancedStatus | None) -> Category:
    """What a refusal is about; in a report (`Stage.TRANSIT`) either code may be unknown. Total."""
    if _limits_us(stage, code, enhanced):
        return Category.THROTTLED
    by_enhanced = _by_enhanced(stage, code, enhanced) if enhanced else None
    return by_enhanced or _by_code(stage, code)


# our own limits

_GREETING: Final = frozenset({Stage.GREETING})
_HANDING_IN: Final = frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.END_OF_DATA})
_ANYWHERE: Final = frozenset(Stage)

_OURS: Final = (
    # Exchange Online, connections or messages of one mailbox at a time (another 432 wants a new password, RFC 4954 6)
    (432, "4.3.2", _ANYWHERE),
    # Postfix, connections of one client: before a word of ours only that we connect, and how often, can be the matter
    (421, "4.7.0", _GREETING),
    # IANA "mail flood detected"; Gmail's rate limit of an address, network or domain
    (421, "4.7.28", _ANYWHERE),
    # Outlook.com, rate by reputation (650, 651) and connections (652)
    (451, "4.7.650", _ANYWHERE),
    (451, "4.7.651", _ANYWHERE),
    (451, "4.7.652", _ANYWHERE),
    # Amazon SES, messages a second or a day; for anybody else 454 belongs to STARTTLS and AUTH
    (454, None, _HANDING_IN),
    # Gmail, messages a day: "congestion" for good makes no other sense
    (550, "5.4.5", _ANYWHERE),
    # Exchange Online, recipients a day
    (550, "5.1.90", _ANYWHERE),
)
"""(code, enhanced code, stages) that servers use for our own limits and for nothing else."""


def _limits_us(stage: Stage, code: int | None, enhanced: EnhancedStatus | None) -> bool:
    return any((code, enhanced) == key and stage in stages for key, stages in _LIMITS)


# by enhanced code

_BY_SUBJECT: Final = {
    1: Category.ADDRESS,
    2: Category.MAILBOX,
    3: Category.SYSTEM,
    4: Category.NETWORK,
    5: Category.PROTOCOL,
    6: Category.CONTENT,
    7: Category.POLICY,
}
"""RFC 3463 3; what it does not define, and the subject 0, leaves it to the basic code."""

_BY_DETAIL: Final = {
    (2, 2): Category.MAILBOX_FULL,
    (2, 3): Category.CONTENT,  # too long for the recipient
    (3, 4): Category.CONTENT,  # too big for the system
    (4, 5): Category.SYSTEM,  # congestion: the server is busy
    (5, 105): Category.POLICY,  # Exchange Online: no external recipients for this kind of sender
}
"""(subject, detail) that are about something else than their subject says."""

_BY_BOTH: Final = {
    # Exchange Online: not in the directory of the recipient's domain; no route can be missing while the server speaks
    (550, 4, 1): Category.ADDRESS,
    # Postfix: what a policy service asked for without a code, as Postgrey does
    (450, 2, 0): Category.OTHER,
}
"""(code, subject, detail) that mean something else together."""


_POLICY_WHERE: Final = {Stage.AUTH: Category.AUTHENTICATION, Stage.STARTTLS: Category.SYSTEM}
"""What "security or policy" comes to where that is what was asked for."""


def _by_enhanced(stage: Stage, code: int | None, enhanced: EnhancedStatus) -> Category | None:
    key = enhanced.subject, enhanced.detail
    category = _BY_BOTH.get((code or 0, *key)) or _BY_DETAIL.get(key) or _BY_SUBJECT.get(enhanced.subject)
    if category is Category.POLICY:
        return Category.AUTHENTICATION if code in _LOGIN else _POLICY_WHERE.get(stage, category)
    return category


# by basic code

_LOGIN: Final = frozenset({525, 530, 534, 535, 538})
"""Codes that are about the login at any stage. Source: RFC 4954 6; 525 is Sendmail's and Courier's."""

_BY_CODE: Final = {
    **dict.fromkeys(_LOGIN, Category.AUTHENTICATION),
    421: Category.SYSTEM,
    432: Category.AUTHENTICATION,
    451: Category.SYSTEM,
    452: Category.SYSTEM,
    455: Category.PROTOCOL,
    500: Category.PROTOCOL,
    501: Category.PROTOCOL,
    502: Category.PROTOCOL,
    503: Category.PROTOCOL,
    504: Category.PROTOCOL,
    521: Category.SYSTEM,
    551: Category.ADDRESS,
    552: Category.MAILBOX_FULL,
    553: Category.ADDRESS,
    555: Category.PROTOCOL,
    556: Category.ADDRESS,
}
"""RFC 5321 4.2.3. 450, 550 and 554 are not here: they are said of everything."""


def _by_code(stage: Stage, code: int | None) -> Category:
    if _is_about_our_host(stage, code):
        return Category.POLICY
    if code == 454:
        return Category.AUTHENTICATION if stage is Stage.AUTH else Category.SYSTEM
    return _BY_CODE.get(code or 0, Category.OTHER)


def _is_about_our_host(stage: Stage, code: int | None) -> bool:
    """Refused for good before a mail was spoken of; 521 is no mail for anybody (RFC 7504)."""
    if stage is Stage.GREETING:
        return code is not None and 500 <= code <= 599 and code != 521
    return stage is Stage.EHLO and code in (550, 554)


# what an attempt makes of it


def _reason(stage: Stage, reply: Reply, category: Category) -> Reason:
    if not reply.is_refusal:
        return Reason.UNEXPECTED_REPLY
    if category is Category.THROTTLED:
        return Reason.THROTTLED
    if reply.code == 421:  # whatever was asked, it is the service that is not there
        return Reason.DEFERRED
    if stage is Stage.STARTTLS:
        return Reason.STARTTLS_UNAVAILABLE
    if stage is Stage.AUTH:
        # rejected also where another mechanism is wanted: each try would be a failed login more
        return Reason.AUTH_UNAVAILABLE if reply.is_deferral else Reason.AUTH_REJECTED
    return Reason.DEFERRED if reply.is_deferral else Reason.REJECTED


_GREYLISTING_STAGES: Final = frozenset({Stage.RCPT, Stage.DATA, Stage.END_OF_DATA})
_GREYLISTING_CODES: Final = frozenset({450, 451})
_GREYLISTING: Final = frozenset({None, *(EnhancedStatus(4, *detail) for detail in ((0, 0), (2, 0), (7, 0), (7, 1)))})
"""Postgrey behind Postfix says 450 4.2.0, milter-greylist and rspamd 451 4.7.1, spamd and Exim 451 alone."""


def _may_be_greylisting(stage: Stage, reply: Reply) -> bool:
    return stage in _GREYLISTING_STAGES and reply.code in _GREYLISTING_CODES and reply.enhanced in _GREYLISTING


_LIMITS: Final = tuple(
    ((code, EnhancedStatus.parse(enhanced) if enhanced else None), stages) for code, enhanced, stages in _OURS
)
