"""The report as a JSON document. Incidents and canaries in it are what `/api/v1/*` says of them, with what it adds."""

from __future__ import annotations

from typing import Any

from mailprobe.clock import WrittenTime, rfc3339
from mailprobe.observe.document import SCHEMA, canary_document, incident_document
from mailprobe.observe.findings import IncidentStory, Quantiles, Refusals, RouteFigures
from mailprobe.observe.history import Record
from mailprobe.report.words import Report

Document = dict[str, Any]


def report_document(report: Report) -> Document:
    """The whole document. Times are RFC 3339 in UTC, durations seconds; what is not known is null."""
    findings = report.findings
    return {
        "schema": SCHEMA,
        "agent": report.agent,
        "version": report.version,
        "written": rfc3339(report.written),
        "since": rfc3339(findings.wanted.since),
        "until": rfc3339(findings.wanted.until),
        "first_canary": None if findings.first is None else rfc3339(findings.first),
        "routes": [_route(route) for route in findings.routes],
        "refusals": [_refusals(each) for each in findings.refusals],
        "incidents": [_incident(story) for story in findings.incidents],
    }


def _route(route: RouteFigures) -> Document:
    return {
        "route": route.route,
        "sender": route.sender,
        "mailbox": route.mailbox,
        "canaries": dict(route.outcomes),
        "judged": route.judged,
        "waiting": route.waiting,
        "late": route.late,
        "lost": route.lost,
        "availability": None if route.availability is None else round(route.availability, 6),
        "delivery_seconds": _quantiles(route.delivery),
        "transit_seconds": _quantiles(route.transit),
    }


def _quantiles(found: Quantiles | None) -> Document | None:
    if found is None:
        return None
    quantiles = {"p50": found.p50, "p90": found.p90, "p99": found.p99, "max": found.most}
    return {"count": found.count} | {name: round(seconds, 6) for name, seconds in quantiles.items()}


def _refusals(each: Refusals) -> Document:
    return {
        "stage": each.stage,
        "code": each.code,
        "enhanced_code": each.enhanced_code,
        "reason": each.reason,
        "attempts": each.count,
        "routes": each.routes,
        "first": rfc3339(each.first),
        "last": rfc3339(each.last),
        "text": each.text,
    }


def _incident(story: IncidentStory) -> Document:
    return {
        **incident_document(story.incident, WrittenTime(), story.vendor),
        "canaries": dict(story.outcomes),
        "first_failure": _failure(story.first),
        "worst_failure": _failure(story.worst),
    }


def _failure(record: Record | None) -> Document | None:
    return canary_document(record, WrittenTime(), transcript=True) if record else None
