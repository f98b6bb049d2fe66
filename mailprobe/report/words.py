"""What a report says, in words, whatever it is written as: titles, facts, tables, transcripts. Pure.

Times are UTC and say so once, at the head. What servers said is made safe to show before it gets here; escaping is
the business of whoever writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mailprobe.errors import plain_text
from mailprobe.model import Attempt, AttemptOutcome, Cause, Outcome
from mailprobe.observe.findings import Findings, IncidentStory, Quantiles, RouteFigures
from mailprobe.observe.history import Record
from mailprobe.observe.wording import (
    cause_words,
    outcome_words,
    peer_words,
    percent_text,
    said,
    seconds_text,
    span_text,
    transcript_line,
)
from mailprobe.vendor import Acknowledgement

ROUTES: Final = ("Route", "Judged", "Available", "Half", "90%", "99%", "Slowest")
"""The columns of `route_rows`; the delays are of delivery, first attempt begun to noticed."""
REFUSALS: Final = ("Attempts", "What stopped them", "Routes", "First", "Last")
_LONGEST: Final = 1000
"""Characters of a line that a server said."""
NO_INCIDENTS: Final = "None began, went on or ended in this time."


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, by which agent, and when it was written (wall time)."""

    agent: str
    version: str
    written: float
    findings: Findings


def title(report: Report) -> str:
    """What it is."""
    return f"Mail flow as seen by {report.agent}"


def moment(wall: float) -> str:
    """A time in UTC, to the second."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S")


def head(report: Report) -> Iterator[tuple[str, str]]:
    """Of when it is, and what it comes to."""
    findings = report.findings
    wanted = findings.wanted
    judged = sum(route.judged for route in findings.routes)
    delivered = sum(route.outcomes.get(Outcome.DELIVERED, 0) for route in findings.routes)
    yield "Period", f"{moment(wanted.since)} to {moment(wanted.until)} ({span_text(wanted.until - wanted.since)})"
    yield "Times", "UTC, by the clock of the agent's machine"
    if wanted.routes:
        yield "Routes", ", ".join(wanted.routes)
    begun = "" if findings.first is None else f", the first begun {moment(findings.first)}"
    yield "Canaries", f"{judged:,} judged on {len(findings.routes)} routes{begun}"
    if judged:
        yield "Available", f"{percent_text(delivered / judged)}: delivered to the inbox in time, of those judged"
    yield "Incidents", str(len(findings.incidents))
    if findings.unreadable:
        yield "Left out", f"{findings.unreadable} incidents of the journal that make no sense"
    yield "Written", f"{moment(report.written)} by mailprobe {report.version}"


def route_rows(report: Report) -> Iterator[tuple[Sequence[str], str]]:
    """A row for each route, and what there is to add in words."""
    for route in report.findings.routes:
        available = "" if route.availability is None else percent_text(route.availability)
        yield (route.route, f"{route.judged:,}", available, *_delays(route.delivery)), _not_delivered(route)


def refusal_rows(report: Report) -> Iterator[tuple[Sequence[str], str]]:
    """A row for each way in which attempts failed, and an example of what was said."""
    for each in report.findings.refusals:
        cause = cause_words(Cause(each.stage, each.code, each.enhanced_code, each.reason))
        example = each.text.removeprefix(each.enhanced_code or "").strip()
        yield (f"{each.count:,}", cause, str(each.routes), moment(each.first), moment(each.last)), example


def incident_title(story: IncidentStory) -> str:
    """Which route, how bad, since when."""
    incident = story.incident
    return f"{incident.route}: {incident.state} from {moment(incident.begin)}"


def incident_facts(story: IncidentStory, report: Report) -> Iterator[tuple[str, str]]:
    """When, where, how much."""
    incident, now = story.incident, report.findings.wanted.until
    yield "Began", moment(incident.begin)
    lag = span_text(incident.detected - incident.begin)
    yield "Noticed", f"{moment(incident.detected)}, after {lag}; first sign {moment(incident.first_sign)}"
    length = span_text(story.until(now) - incident.begin)
    if incident.end is None:
        yield "Ended", f"going on at the end of the period, for {length} so far"
    else:
        open_ = "" if incident.closed else "; it may still relapse"
        yield "Ended", f"{moment(incident.end)}, after {length}{open_}"
    yield "Stopped at", cause_words(incident.cause)
    yield "Worst", f"{incident.share_worst:.0%} of recent canaries; {incident.affected:,} affected in all"
    if incident.relapses:
        yield "Relapses", str(incident.relapses)
    yield "Canaries", outcome_words(story.outcomes)
    for word in story.vendor:
        yield "Vendor", _vendor(word)
    yield "Incident", incident.id


def failures(story: IncidentStory) -> Iterator[tuple[str, Record]]:
    """The failures to show."""
    if story.first and story.worst and story.first.canary.id == story.worst.canary.id:
        yield "First and worst failure", story.first
        return
    if story.first:
        yield "First failure", story.first
    if story.worst:
        yield "Worst failure", story.worst


def failure_facts(record: Record) -> Iterator[tuple[str, str]]:
    """What became of one canary."""
    canary, verdict = record.canary, record.verdict
    yield "Canary", f"{canary.id}, begun {moment(canary.opened)}"
    if verdict:
        yield "Outcome", f"{verdict.outcome}: {said(record)}" if said(record) else str(verdict.outcome)
    for attempt in record.attempts:
        yield f"Attempt {attempt.number}", _attempt(attempt)
    if record.late:
        waited = "" if record.late.transit_seconds is None else f", {span_text(record.late.transit_seconds)} after it"
        yield "Arrived late", moment(record.late.at) + (f"{waited} was handed in" if waited else "")
    if record.lost_at is not None:
        yield "Lost", f"not there when looked for until {moment(record.lost_at)}"


def transcripts(record: Record) -> Iterator[tuple[str, Sequence[str]]]:
    """What was said on the wire, of the attempts of which it was kept."""
    for attempt in record.attempts:
        if attempt.transcript:
            lines = [transcript_line(line) for line in attempt.transcript]
            yield f"Transcript of attempt {attempt.number}, seconds since {moment(attempt.begun)}", lines


def _vendor(word: Acknowledgement) -> str:
    """When the vendor said what, beside our first sign."""
    beside = f"{span_text(abs(word.lag_seconds))} {'after' if word.lag_seconds >= 0 else 'before'} our first sign"
    return plain_text(f"first word on {word.feed} at {moment(word.posted)}, {beside}: {word.title}", _LONGEST)


def _delays(delays: Quantiles | None) -> Sequence[str]:
    if delays is None:
        return ("", "", "", "")
    return tuple(_short(seconds) for seconds in (delays.p50, delays.p90, delays.p99, delays.most))


def _short(seconds: float) -> str:
    """A delay for a narrow column."""
    if seconds < 99.95:
        return seconds_text(seconds)
    return f"{seconds / 60:.1f} min" if seconds < 5997 else f"{seconds / 3600:.1f} h"


def _not_delivered(route: RouteFigures) -> str:
    """What else there was than deliveries."""
    others = dict(route.outcomes)
    others.pop(Outcome.DELIVERED, None)
    waiting = f"{route.waiting:,} not judged yet" if route.waiting else ""
    later = ((route.late, "arrived late"), (route.lost, "is lost" if route.lost == 1 else "are lost"))
    of_these = " and ".join(f"{count:,} {what}" for count, what in later if count)
    known = outcome_words(others) + (f", of which {of_these}" if of_these else "")
    return "; ".join(part for part in (known, waiting) if part)


def _attempt(attempt: Attempt) -> str:
    """When, to whom, and what the last word was."""
    last = attempt.last_reply
    peer = peer_words(attempt.peer) if attempt.peer else "no server"
    words = f"{moment(attempt.begun)} to {peer}: {attempt.outcome}"
    if attempt.outcome is not AttemptOutcome.ACCEPTED and attempt.stage:
        words += f" at {attempt.stage}"
    detail = str(last.reply) if last else ": ".join(part for part in (attempt.reason, attempt.detail) if part)
    queued = f"queued as {attempt.queue_id}" if attempt.queue_id and attempt.queue_id not in detail else ""
    return plain_text("; ".join(part for part in (words, detail, queued) if part), _LONGEST)
