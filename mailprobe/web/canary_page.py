"""The page of one canary: what became of it, its attempts with their stages and replies, its way, its transcript."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from mailprobe.clock import Clock
from mailprobe.errors import Stage, plain_text
from mailprobe.model import Attempt
from mailprobe.observe.families import METHODS
from mailprobe.observe.history import Record
from mailprobe.observe.wording import category, peer_words, said, seconds_text, transcript_line
from mailprobe.web.html import Html, absolute, facts, marked, page, table
from mailprobe.web.overview import Choice
from mailprobe.web.pages import transit

_COLUMNS: Final = ("Stage|tight", "Time|number", "In the whole", "What was said|long")


def canary_page(clock: Clock, record: Record, agent: str = "") -> str:
    """One canary whole."""
    earlier, last = record.attempts[:-1], record.attempts[-1:]
    return page(
        f"Canary {record.canary.id}",
        '<p><a href="/">All routes</a></p>',
        facts(_facts(clock, record)),
        *(_attempt(clock, attempt) for attempt in earlier),
        *(_attempt(clock, attempt, record) for attempt in last),
        _hops(record),
        tab=" - ".join(part for part in (f"Canary {record.canary.id}", agent, "mailprobe") if part),
    )


def _facts(clock: Clock, record: Record) -> Iterator[tuple[str, str]]:
    canary, verdict, found = record.canary, record.verdict, record.arrival.authentication
    yield "Route", Html(f'<a href="{escape(Choice(routes=(canary.route,)).link())}">{escape(canary.route)}</a>')
    yield "From, to", f"{canary.sender}, {canary.mailbox}"
    yield "Outcome", marked(verdict.outcome) if verdict else "in flight"
    yield "Why", said(record)
    yield "About", (category(verdict, record.bounce) or "").replace("_", " ") if verdict else ""
    yield "Begun", absolute(clock, canary.opened)
    if verdict:
        yield "Judged", absolute(clock, verdict.at)
        if verdict.delivery_seconds is not None:
            yield "Delivery", f"{seconds_text(verdict.delivery_seconds)} from the first attempt on"
    yield "Transit", _transit(record)
    if record.sighting:
        yield "Seen in", plain_text(record.sighting.folder)
    results = ((method, getattr(found, method)) for method in METHODS)
    yield "Authentication", ", ".join(f"{method} {result}" for method, result in results if result != "missing")
    if record.late:
        yield "Arrived late", absolute(clock, record.late.at)
    if record.lost_at is not None:
        yield "Lost", f"not there when looked for until {absolute(clock, record.lost_at)}"


def _transit(record: Record) -> str:
    verdict, words = record.verdict, transit(record)
    if words and verdict and verdict.transit_error_seconds and not verdict.upper_bound:
        words += f", to within {seconds_text(verdict.transit_error_seconds)}"
    return words


def _attempt(clock: Clock, attempt: Attempt, record: Record | None = None) -> str:
    """An attempt; `record`: it was the last, so that the way to the mailbox follows."""
    lines = "\n".join(transcript_line(line) for line in attempt.transcript)
    rows = tuple(_stages(attempt, record))
    return "".join(
        (
            f"<h2>Attempt {attempt.number}: {marked(attempt.outcome)}</h2>",
            facts(_of_attempt(clock, attempt)),
            table(_COLUMNS, rows, caption=f"Stages of attempt {attempt.number}") if rows else "",
            f"<h3>Transcript, seconds since it began</h3><pre>{escape(lines)}</pre>" if lines else "",
        )
    )


def _of_attempt(clock: Clock, attempt: Attempt) -> Iterator[tuple[str, str]]:
    """Where it went and how, what the DNS said of that, and what the recipient's side asks of senders."""
    peer, tls, dns, policy = attempt.peer, attempt.tls, attempt.dns, attempt.policy
    yield "Begun", absolute(clock, attempt.begun)
    if peer:
        yield "Server", peer_words(peer)
    if dns and (dns.exchangers or dns.implicit):
        hosts = ", ".join(f"{host} ({preference})" for host, preference in dns.exchangers)
        yield "Mail exchangers", hosts or "none, so the domain itself"
    if tls:
        yield "TLS", ", ".join(part for part in (tls.version, tls.cipher) if part)
        yield "Certificate", tls.subject + (f", issued by {tls.issuer}" if tls.issuer else "")
        until = f"{tls.not_after:%Y-%m-%d %H:%M:%S} UTC" if tls.not_after else ""
        yield "Certificate ends", until
        yield "Verified", "yes" if tls.verified else "no"
    if policy and (sts := policy.mta_sts):
        yield "MTA-STS", f"{sts.mode}{_passed(sts.passed, sts.detail)}"
    if policy and (dane := policy.dane):
        yield "DANE", f"{dane.status}{_passed(dane.passed, dane.detail)}"
    yield "Queued as", attempt.queue_id or ""


def _passed(passed: bool | None, detail: str) -> str:
    verdict = {None: "", True: ", kept", False: ", not kept"}[passed]
    return verdict + (f": {detail}" if detail else "")


def _stages(attempt: Attempt, record: Record | None) -> Iterator[tuple[str, ...]]:
    """The stages one after the other, each with a bar where it stood in the whole."""
    verdict = record.verdict if record else None
    way = verdict.transit_seconds if verdict else None
    total = sum(time.seconds for time in attempt.stages) + (way or 0.0)
    gone = 0.0
    for time in attempt.stages:
        failed = time.stage == attempt.stage
        name = marked("failing", time.stage) if failed else time.stage
        bar = _bar(gone, time.seconds, total, ' class="bad"' if failed else "")
        yield name, seconds_text(time.seconds), bar, _said(attempt, time.stage)
        gone += time.seconds
    if record and record.sighting and way is not None:
        yield Stage.TRANSIT, seconds_text(way), _bar(gone, way, total), f"in {plain_text(record.sighting.folder)}"


def _said(attempt: Attempt, stage: Stage) -> Html:
    """All replies of a stage, and what ended the attempt there if it was no reply."""
    replies = [said.reply for said in attempt.replies if said.stage == stage]
    lines = [str(reply) for reply in replies]
    if stage == attempt.stage and not any(reply.is_refusal for reply in replies):
        lines.append(": ".join(part for part in (attempt.reason, attempt.detail) if part))
    return Html("<br>".join(escape(line) for line in lines))


def _bar(begin: float, seconds: float, total: float, kind: str = "") -> Html:
    """A bar as wide as its part of the whole, and wide enough to be seen."""
    width = max(0.8, 100 * seconds / total) if total > 0 else 0.8
    left = min(100 * begin / total, 100 - width) if total > 0 else 0.0
    return Html(
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect{kind} x="{max(0.0, left):.2f}" y="2" width="{width:.2f}" height="6"/></svg>'
    )


def _hops(record: Record) -> str:
    hops = [hop for hop in record.arrival.hops if hop.from_ or hop.by]
    if not hops:
        return ""
    rows = ((hop.from_ or "", hop.by or "", "" if hop.seconds is None else f"{hop.seconds:.0f} s") for hop in hops)
    return "<h2>Way, by the clocks of others</h2>" + table(
        ("From", "By", "After|number"), rows, caption="Servers that it passed"
    )
