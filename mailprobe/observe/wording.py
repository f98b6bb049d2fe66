"""What became of a canary in words for people: the same on a terminal and on a page. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor
from typing import Final

from mailprobe.errors import Reason, Reply, plain_text
from mailprobe.message import Category, category_of, category_of_bounce
from mailprobe.model import AttemptOutcome, Bounce, Cause, Outcome, Peer, TranscriptLine, Verdict
from mailprobe.observe.history import Record

_LONGEST: Final = 1000


def seconds_text(seconds: float) -> str:
    """A duration for people: `0.3 ms`, `214 ms`, `1.25 s`, `4 min 10 s`."""
    if seconds < 0.0995:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 99.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def span_text(seconds: float) -> str:
    """A length of time for people, of minutes rather than of milliseconds: `42 s`, `1 h 40 min`, `3 days 4 h`."""
    whole = max(0, round(seconds))
    if whole < 100:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if minutes < 100:
        return f"{minutes} min" + (f" {whole % 60} s" if minutes < 10 and whole % 60 else "")
    if hours < 48:
        return f"{hours} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    return f"{days} days" + (f" {hours % 24} h" if hours % 24 else "")


def percent_text(part: float) -> str:
    """A part of the whole with two decimals, never rounded up: 100% is all of it."""
    return f"{floor(part * 10_000) / 100:.2f}%"


def peer_words(peer: Peer) -> str:
    """The server of a connection: `mx1.example.com (192.0.2.1) port 25`; an address that was its name once only."""
    return f"{peer.host}{f' ({peer.address})' if peer.address != peer.host else ''} port {peer.port}"


def transcript_line(line: TranscriptLine) -> str:
    """When, which way, what: a line of what was said on the wire, safe to show."""
    return f"{line.seconds:9.3f} {line.direction} {plain_text(line.text, _LONGEST)}"


def cause_words(cause: Cause) -> str:
    """Where, with which reply, why: `rcpt 451 4.3.2 deferred`."""
    return " ".join(str(part) for part in (cause.stage, cause.code, cause.enhanced_code, cause.reason) if part)


def outcome_words(outcomes: Mapping[Outcome, int]) -> str:
    """How many canaries came to what: `1,430 delivered, 8 deferred`."""
    return ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.items())


def verdict_words(verdict: Verdict) -> str:
    """The verdict in a few words."""
    words = str(verdict.outcome)
    if verdict.delivery_seconds is not None:
        words += f" in {seconds_text(verdict.delivery_seconds)}"
    if verdict.outcome is Outcome.JUNKED and verdict.sighting:
        words += f", in folder {plain_text(verdict.sighting.folder)}"
    if verdict.stage:
        words += f" at {verdict.stage}"
    if verdict.attempts > 1:
        words += f", after {verdict.attempts} attempts"
    if verdict.reason and verdict.reason != verdict.outcome.value:
        words += f": {verdict.reason}"
    return words


def refusal(verdict: Verdict) -> Reply | None:
    """The reply that stopped the canary, None where it was something else: an earlier reply was a good one."""
    if verdict.reply is None or verdict.reply.stage != verdict.stage:
        return None
    reply = verdict.reply.reply
    return reply if reply.is_refusal or verdict.reason is Reason.UNEXPECTED_REPLY else None


def category(verdict: Verdict, bounce: Bounce | None) -> Category | None:
    """What the refusal or the bounce that decided is about, by its codes; None where there was neither."""
    if verdict.outcome is Outcome.BOUNCED:
        return category_of_bounce(bounce.status, bounce.diagnostic) if bounce else None
    reply = refusal(verdict)
    if reply is None or not reply.is_refusal or verdict.stage is None:
        return None
    return category_of(verdict.stage, reply.code, reply.enhanced)


def acceptance(record: Record) -> str:
    """How sure it is that a server took the message."""
    last = record.attempts[-1] if record.attempts else None
    if last is None or last.outcome is not AttemptOutcome.ACCEPTED:
        return "perhaps accepted (the connection was lost before the reply);"
    return f"accepted, queued as {last.queue_id};" if last.queue_id else "accepted;"


def bounce_words(record: Record, verdict: Verdict) -> str:
    """Who sent it back, and why."""
    bounce = record.bounce or verdict.bounce
    if bounce is None:
        return verdict.detail
    return f"{bounce.reporting_mta or 'a mail server'} sent it back: {bounce.status} {bounce.diagnostic}"


def said(record: Record) -> str:
    """What there is to say of a canary that was not simply delivered, without its route's configuration."""
    verdict = record.verdict
    if verdict is None:
        return ""
    parts: tuple[object, ...] = (verdict.stage, _reason(verdict), refusal(verdict) or verdict.detail)
    match verdict.outcome:
        case Outcome.OVERDUE:
            parts = (_missing(record, verdict),)
        case Outcome.BOUNCED:
            parts = (bounce_words(record, verdict),)
        case Outcome.JUNKED if verdict.sighting:
            parts = (f"in folder {verdict.sighting.folder}",)
        case Outcome.UNOBSERVED:
            parts = (_reason(verdict), verdict.detail or "nobody could look")
    return plain_text(": ".join(str(part) for part in parts if part))


def _reason(verdict: Verdict) -> str:
    return str(verdict.reason) if verdict.reason and verdict.reason != verdict.outcome.value else ""


def _missing(record: Record, verdict: Verdict) -> str:
    canary = verdict.canary
    full = ", which is full" if verdict.reason is Reason.QUOTA_EXCEEDED else ""
    waited = seconds_text(canary.deadline - canary.opened)
    return f"{acceptance(record)} not in mailbox {canary.mailbox}{full} after {waited}"
