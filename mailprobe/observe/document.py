"""Canaries, routes and incidents as JSON documents: what `probe --format json` prints and the API answers.

Seconds are numbers, times are RFC 3339 in UTC, what is not known is null. Keys are a promise to users: they may be
added to, never renamed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from mailprobe.clock import Clock, rfc3339, wall_of
from mailprobe.errors import plain_text
from mailprobe.model import (
    Attempt,
    Bounce,
    Cause,
    DaneFacts,
    DnsFacts,
    Incident,
    MtaStsFacts,
    Peer,
    Sighting,
    StageReply,
    TlsFacts,
    TranscriptLine,
)
from mailprobe.observe.arrival import Arrival
from mailprobe.observe.history import Record
from mailprobe.observe.states import RouteReport
from mailprobe.observe.wording import category
from mailprobe.vendor import Acknowledgement

SCHEMA: Final = 1

Document = dict[str, Any]


def results_document(records: tuple[Record, ...], clock: Clock, transcript: bool) -> Document:
    """The whole document of several canaries."""
    return {"schema": SCHEMA, "results": [result_document(record, clock, transcript) for record in records]}


def result_document(record: Record, clock: Clock, transcript: bool) -> Document:
    """One canary; `outcome` is null while there is no verdict."""
    verdict = record.verdict
    document: Document = {
        "route": record.canary.route,
        "canary": record.canary.id,
        "outcome": verdict and verdict.outcome,
        "stage": verdict and verdict.stage,
        "reason": verdict and verdict.reason,
        "category": verdict and category(verdict, record.bounce),
        "delivery_seconds": _seconds(verdict.delivery_seconds if verdict else None),
        "transit_seconds": _seconds(verdict.transit_seconds if verdict else None),
        "transit_error_seconds": _seconds(verdict.transit_error_seconds if verdict else None),
        "attempts": [_attempt(attempt, clock) for attempt in record.attempts],
        "sighting": _sighting(record.sighting, record.arrival) if record.sighting else None,
        "bounce": _bounce(record.bounce) if record.bounce else None,
    }
    if transcript:
        document["transcript"] = [
            _line(attempt.number, line) for attempt in record.attempts for line in attempt.transcript
        ]
    return document


def canary_document(record: Record, clock: Clock, transcript: bool) -> Document:
    """As `result_document`, with what the agent knows beyond it: when, in which words, and what came afterwards."""
    verdict, late = record.verdict, record.late
    return {
        **result_document(record, clock, transcript),
        "sender": record.canary.sender,
        "mailbox": record.canary.mailbox,
        "opened": _time(clock, record.canary.opened),
        "judged": _time(clock, verdict.at if verdict else None),
        "detail": verdict.detail if verdict and verdict.detail else None,
        "upper_bound": verdict.upper_bound if verdict else False,
        "resolution": "late" if late else "lost" if record.lost_at is not None else None,
        "late_seconds": _seconds(late.transit_seconds if late else None),
    }


def summary_document(record: Record, clock: Clock) -> Document:
    """One canary in a line of a list."""
    verdict = record.verdict
    return {
        "canary": record.canary.id,
        "outcome": verdict and verdict.outcome,
        "stage": verdict and verdict.stage,
        "reason": verdict and verdict.reason,
        "transit_seconds": _seconds(verdict.transit_seconds if verdict else None),
        "judged": _time(clock, verdict.at if verdict else None),
    }


def route_report_document(report: RouteReport, clock: Clock) -> Document:
    """What may be said of a route now."""
    return {
        "state": report.state,
        "since": _time(clock, report.since),
        "share": round(report.share, 3),
        "trend": report.trend,
        "first_sign": _time(clock, report.first_sign),
        **_cause(report.cause),
    }


def incident_document(incident: Incident, clock: Clock, known: Iterable[Acknowledgement] = ()) -> Document:
    """One incident. `end` is null while it goes on; until `closed` it may still relapse. `known`: vendors' words."""
    return {
        "id": incident.id,
        "route": incident.route,
        "begin": _time(clock, incident.begin),
        "first_sign": _time(clock, incident.first_sign),
        "detected": _time(clock, incident.detected),
        "end": _time(clock, incident.end),
        "closed": incident.closed,
        "state": incident.state,
        **_cause(incident.cause),
        "share_worst": round(incident.share_worst, 3),
        "affected": incident.affected,
        "relapses": incident.relapses,
        "vendor": [_acknowledgement(each) for each in known],
    }


def _acknowledgement(known: Acknowledgement) -> Document:
    return {
        "feed": known.feed,
        "incident": known.vendor_incident,
        "title": known.title,
        "acknowledged": _wall(known.posted),
        "noticed": _wall(known.noticed),
        "lag_seconds": _seconds(known.lag_seconds),
    }


def _cause(cause: Cause) -> Document:
    return {
        "stage": cause.stage,
        "code": cause.code,
        "enhanced_code": cause.enhanced_code,
        "reason": cause.reason,
    }


def _attempt(attempt: Attempt, clock: Clock) -> Document:
    return {
        "started": _time(clock, attempt.begun),
        "outcome": attempt.outcome,
        "stages": [{"stage": time.stage, "seconds": _seconds(time.seconds)} for time in attempt.stages],
        "replies": [_reply(said) for said in attempt.replies],
        "peer": _peer(attempt.peer) if attempt.peer else None,
        "tls": _tls(attempt.tls) if attempt.tls else None,
        "queue_id": attempt.queue_id,
        "dns": _dns(attempt.dns) if attempt.dns else None,
        "mta_sts": _mta_sts(policy.mta_sts) if (policy := attempt.policy) and policy.mta_sts else None,
        "dane": _dane(policy.dane) if (policy := attempt.policy) and policy.dane else None,
    }


def _reply(said: StageReply) -> Document:
    reply = said.reply
    enhanced = str(reply.enhanced) if reply.enhanced else None
    return {"stage": said.stage, "code": reply.code, "enhanced_code": enhanced, "text": reply.text}


def _peer(peer: Peer) -> Document:
    return {"host": peer.host, "address": peer.address, "port": peer.port}


def _dns(dns: DnsFacts) -> Document:
    return {
        "mx": [{"host": host, "preference": preference} for host, preference in dns.exchangers],
        "implicit_mx": dns.implicit,
        "mx_ttl": dns.ttl,
        "addresses": list(dns.addresses),
        "address_ttl": dns.address_ttl,
    }


def _mta_sts(facts: MtaStsFacts) -> Document:
    return {
        "mode": facts.mode,
        "id": facts.id or None,
        "mx": list(facts.exchangers),
        "max_age": facts.max_age,
        "passed": facts.passed,
        "detail": facts.detail or None,
    }


def _dane(facts: DaneFacts) -> Document:
    return {
        "status": facts.status,
        "records": list(facts.records),
        "passed": facts.passed,
        "detail": facts.detail or None,
    }


def _tls(tls: TlsFacts) -> Document:
    return {
        "version": tls.version,
        "cipher": tls.cipher,
        "subject": tls.subject,
        "issuer": tls.issuer,
        "not_after": rfc3339(tls.not_after.timestamp()) if tls.not_after else None,
        "verified": tls.verified,
    }


def _sighting(sighting: Sighting, arrival: Arrival) -> Document:
    found = arrival.authentication
    return {
        "folder": plain_text(sighting.folder),
        "internaldate": _wall(sighting.internaldate_wall),
        "hops": [{"by": hop.by, "from": hop.from_, "seconds": _seconds(hop.seconds)} for hop in arrival.hops],
        "authentication": {"spf": found.spf, "dkim": found.dkim, "dmarc": found.dmarc, "arc": found.arc},
    }


def _bounce(bounce: Bounce) -> Document:
    return {
        "action": bounce.action,
        "status": bounce.status,
        "diagnostic": bounce.diagnostic,
        "reporting_mta": bounce.reporting_mta,
    }


def _line(attempt: int, line: TranscriptLine) -> Document:
    return {
        "attempt": attempt,
        "seconds": _seconds(line.seconds),
        "direction": line.direction,
        "text": line.text,
    }


def _seconds(value: float | None) -> float | None:
    """To the microsecond, which is more than is measured; JSON has no infinity."""
    return None if value is None or not math.isfinite(value) else round(value, 6)


def _time(clock: Clock, instant: float | None) -> str | None:
    return None if instant is None else rfc3339(wall_of(clock, instant))


def _wall(wall: float | None) -> str | None:
    """A time written by another machine, which may have written anything."""
    if wall is None:
        return None
    try:
        return rfc3339(wall)
    except (ValueError, OverflowError, OSError):
        return None
