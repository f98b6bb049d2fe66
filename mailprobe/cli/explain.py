"""A verdict in words for whoever runs the mail: which server, what it said, and what would be right.

Pure. The advice is by reason, a closed vocabulary; nothing is read out of what a server said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mailprobe.auth.mistakes import of_reply
from mailprobe.errors import ProbeFailure, Reason, Stage, plain_text
from mailprobe.message import Category
from mailprobe.model import Outcome, SenderKind, TlsMode, Verdict
from mailprobe.observe.history import Record
from mailprobe.observe.wording import acceptance, bounce_words, category, refusal, seconds_text, verdict_words
from mailprobe.plan import Endpoint, Route

_ADVICE: Final = {
    Reason.DNS_NXDOMAIN: "Check the host's name; no such name is in the DNS.",
    Reason.DNS_NO_ADDRESS: "Check the host's name, and ip_family: it has no address that may be used.",
    Reason.DNS_SERVFAIL: "The DNS could not answer; ask it from this machine.",
    Reason.DNS_TIMEOUT: "The DNS did not answer in time; ask it from this machine.",
    Reason.NO_MX: "Check the domain of the recipient's address.",
    Reason.NULL_MX: "The recipient's domain says that it takes no mail (RFC 7505); check the address.",
    Reason.CONNECTION_REFUSED: "Nothing listens there; check host and port.",
    Reason.UNREACHABLE: "No way there; check the network, ip_family and source_address.",
    Reason.CERTIFICATE_EXPIRED: "A new certificate is due on that server (or this machine's clock is wrong).",
    Reason.CERTIFICATE_NAME: "Use a host name that is in the certificate, or say in tls_server_name which is right.",
    Reason.CERTIFICATE_UNTRUSTED: "Name the file with its CA in ca_file (--ca-file).",
    Reason.STARTTLS_UNAVAILABLE: "Use implicit TLS if the server has a port for that.",
    Reason.AUTH_REJECTED: "Check user name and password. They were tried once.",
    Reason.TOKEN_EXPIRED: "The token is too old: see to what renews it.",
    Reason.THROTTLED: "The provider limits us; this is no outage. Probe less often.",
    Reason.MAILBOX_MISSING: "Check `inbox` and `junk` of the mailbox, or create the folder.",
    Reason.NOT_THERE: "Look for it in the server's log, its queue and its quarantine.",
    Reason.QUOTA_EXCEEDED: "Make room in it, or raise its quota.",
    Reason.SENDER_BUSY: "The limits of the sender left no room; allow more, or name fewer routes.",
}
_ABOUT: Final = {
    Category.ADDRESS: "It is about an address: check the recipient's, and the sender's.",
    Category.MAILBOX: "It is about the recipient's mailbox: disabled, locked, or receiving too quickly.",
    Category.MAILBOX_FULL: "The recipient's mailbox is full: make room in it, or raise its quota.",
    Category.SYSTEM: "It is about the server itself, not about this mail.",
    Category.NETWORK: "It is about the way between servers: DNS, routing, connections, time-outs.",
    Category.PROTOCOL: "It is about the SMTP conversation; --transcript shows it.",
    Category.CONTENT: "It is about the form or the size of the message.",
    Category.POLICY: "It is about policy: who may send what (reputation, block lists, SPF, DKIM, DMARC, greylisting).",
    Category.AUTHENTICATION: "It is about the log-in; check `auth` of the sender.",
}
"""What a refusal or a bounce is about, where its reason alone gives no advice."""
_BY_STAGE: Final = {
    Stage.CONNECT: "Check host and port, and firewalls on the way.",
    Stage.GREETING: "Something listens there and says nothing; check port and TLS mode.",
}
"""What a time-out means depends on where it was."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """`verdict` in a few words; `facts`: which server and what was found; `advice`: what would be right."""

    verdict: str
    facts: str = ""
    advice: str = ""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.verdict, self.facts) if part)


def explain(
    record: Record, route: Route, warning: float | None = None, down: ProbeFailure | None = None
) -> Explanation:
    """What a canary of the route came to. `down`: why its mailbox is not watched, if so."""
    verdict = record.verdict
    if verdict is None:
        return _not_judged(record)
    slow = warning is not None and (verdict.delivery_seconds or 0.0) > warning
    note = f", slower than {seconds_text(warning)}" if slow and warning is not None else ""
    words = plain_text(verdict_words(verdict) + note)
    return Explanation(words, plain_text(_facts(record, verdict, route, down)), _advice(record, verdict, route, down))


def place(name: str, endpoint: Endpoint) -> str:
    """A sender or mailbox: its name, and host and port where the name does not say them."""
    where = str(endpoint) if endpoint.host else f"MX, port {endpoint.port}"
    return where if name == endpoint.host else f"{name} ({where})"


def _not_judged(record: Record) -> Explanation:
    if any(attempt.dot_sent is not None for attempt in record.attempts) and record.sighting is None:
        return Explanation(
            "not judged: interrupted", "sent, and not there in time to be removed; if it still arrives, it stays"
        )
    return Explanation("not judged: interrupted")


def _facts(record: Record, verdict: Verdict, route: Route, down: ProbeFailure | None) -> str:
    mailbox = f"IMAP server {route.mailbox.endpoint}"
    match verdict.outcome:
        case Outcome.DEFERRED | Outcome.REJECTED | Outcome.UNSENT:
            return _said(record, verdict, route)
        case Outcome.OVERDUE:
            return f"{acceptance(record)} not in {_folders(route)} of {mailbox} after {seconds_text(route.deadline)}"
        case Outcome.BOUNCED:
            return bounce_words(record, verdict)
        case Outcome.UNOBSERVED if down:
            return f"{mailbox}: {_without(route.mailbox.endpoint, down.detail) or down.reason}"
        case Outcome.UNOBSERVED:
            return f"{mailbox}: {_without(route.mailbox.endpoint, verdict.detail) or 'nobody could look'}"
    return verdict.detail


def _said(record: Record, verdict: Verdict, route: Route) -> str:
    """The server of the last attempt, and what it said if that was a refusal."""
    peer = record.attempts[-1].peer if record.attempts else None
    endpoint = route.sender.endpoint
    server = "SMTP server"
    if peer:
        server += f" {_socket(peer.host, peer.port)}"
        server += f" ({peer.address})" if peer.address != peer.host else ""
    elif endpoint.host:
        server += f" {endpoint}"
    else:
        server = f"MX of {route.mailbox.address.rpartition('@')[2]}"
    if reply := refusal(verdict):
        return f"{server}: {reply}"
    detail = _without(endpoint, verdict.detail)
    if peer:
        detail = detail.removeprefix(f"{_socket(peer.address, peer.port)}: ")
    return f"{server}: {detail}" if detail else server


def _folders(route: Route) -> str:
    junk = {None: "", "auto": " or junk"}.get(route.mailbox.junk, f" or {route.mailbox.junk}")
    return f"{route.mailbox.inbox}{junk}"


def _advice(record: Record, verdict: Verdict, route: Route, down: ProbeFailure | None) -> str:
    unobserved = verdict.outcome is Outcome.UNOBSERVED
    failed = down if unobserved and down else verdict
    reason, stage = failed.reason, failed.stage
    reply = None if unobserved else refusal(verdict)
    if reply and (means := of_reply(reply)):
        return means
    if reason is Reason.TIMEOUT:
        return _BY_STAGE.get(stage, "") if stage else ""
    if reason is Reason.WRONG_TLS_MODE:
        return _right_tls(route.mailbox.endpoint if unobserved else route.sender.endpoint, route, unobserved)
    login = route.mailbox.login if unobserved else route.sender.login
    if reason is Reason.AUTH_REJECTED and login and login.oauth2:
        return "Check the user name, and what the application is allowed to do with the mailbox."
    about = category(verdict, record.bounce)
    return (_ADVICE.get(reason, "") if reason else "") or (_ABOUT.get(about, "") if about else "")


def _right_tls(endpoint: Endpoint, route: Route, unobserved: bool) -> str:
    if endpoint.tls is not TlsMode.IMPLICIT:
        return f"Use tls: implicit ({'imaps' if unobserved else 'smtps'}:// in a URL)."
    if not unobserved and route.sender.kind is SenderKind.MX:
        return "Use tls: opportunistic or require."
    return f"Use tls: starttls ({'imap' if unobserved else 'smtp'}:// in a URL)."


def _without(endpoint: Endpoint, detail: str) -> str:
    """A detail without the host that is named before it anyway."""
    for known in _known(endpoint):
        detail = detail.removeprefix(f"{known}: ")
    return detail


def _known(endpoint: Endpoint) -> Iterator[str]:
    yield str(endpoint)
    yield endpoint.host


def _socket(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
