"""What became of a canary in words for people: the same on a terminal and on a page. Pure."""

from __future__ import annotations

from mailprobe.errors import Reason, Reply, plain_text
from mailprobe.model import AttemptOutcome, Outcome, Verdict
from mailprobe.observe.history import Record


def seconds_text(seconds: float) -> str:
    """A duration for people: `0.3 ms`, `214 ms`, `1.25 s`, `4 min 10 s`."""
    if seconds < 0.0995:
        return f"{seconds * 1e3:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 99.95:
        return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def verdict_words(verdict: Verdict) -> str:
    """The verdict in a few words."""
    words = str(verdict.outcome)
    if verdict.delivery_seconds is not None:
        words += f" in {seconds_text(verdict.delivery_seconds)}"
    if verdict.outcome is Outcome.JUNKED and verdict.sighting:
        words += f", in folder {verdict.sighting.folder}"
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
