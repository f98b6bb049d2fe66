"""Atlassian Statuspage, API v2: the summary says how the components are, the history has incidents that are over.

Source: https://metastatuspage.com/api/v2. An update's `created_at` is when it was written; `display_at`, `started_at`
and an incident's own `created_at` may be set to any earlier time.
"""

from __future__ import annotations

from typing import Final

from mailprobe.feeds.parse.bounded import FeedError, Item, first_post, items, listed, read_json, text_of, time_of
from mailprobe.vendor import VendorIncident, VendorReport, VendorState, worst

_COMPONENTS: Final = {
    "operational": VendorState.OK,
    "under_maintenance": VendorState.MAINTENANCE,
    "degraded_performance": VendorState.DEGRADED,
    "partial_outage": VendorState.DEGRADED,
    "major_outage": VendorState.OUTAGE,
}
_INDICATORS: Final = {
    "none": VendorState.OK,
    "maintenance": VendorState.MAINTENANCE,
    "minor": VendorState.DEGRADED,
    "major": VendorState.DEGRADED,
    "critical": VendorState.OUTAGE,
}
_OVER: Final = frozenset(("resolved", "postmortem", "completed"))


def parse(content: bytes, services: frozenset[str]) -> VendorReport:
    """A summary or a history, of these components (casefolded names; none: of all). Raises FeedError."""
    document = read_json(content)
    found = (_incident(each) for each in listed(document, "incidents") if _concerns(each, services))
    incidents = tuple(incident for incident in found if incident.id)
    if "components" not in document and "status" not in document:
        return VendorReport(incidents)
    if not services:
        return VendorReport(incidents, _indicated(document.get("status")))
    states = {text_of(each, "name").casefold(): _component(each) for each in items(document.get("components"))}
    missing = sorted(services - states.keys())
    stated = [states.get(name, VendorState.UNKNOWN) for name in services]
    return VendorReport(incidents, worst(stated), f"no component is named {', '.join(missing)}" if missing else "")


def _indicated(status: object) -> VendorState:
    if not isinstance(status, dict):
        raise FeedError("JSON without a status")
    return _INDICATORS.get(text_of(status, "indicator"), VendorState.UNKNOWN)


def _component(component: Item) -> VendorState:
    return _COMPONENTS.get(text_of(component, "status"), VendorState.UNKNOWN)


def _concerns(incident: Item, services: frozenset[str]) -> bool:
    """Whether it names one of these components; one that names none concerns all."""
    names = {text_of(each, "name").casefold() for each in items(incident.get("components"))}
    return not services or not names or bool(services & names)


def _incident(incident: Item) -> VendorIncident:
    posted = first_post(incident.get("incident_updates"), "created_at")
    resolved = time_of(incident.get("resolved_at"))
    if resolved is None and text_of(incident, "status") in _OVER:
        resolved = time_of(incident.get("updated_at")) or 0.0
    return VendorIncident(
        id=text_of(incident, "id"),
        title=text_of(incident, "name"),
        state=_INDICATORS.get(text_of(incident, "impact"), VendorState.DEGRADED),
        posted=posted if posted is not None else time_of(incident.get("created_at")),
        begun=time_of(incident.get("started_at")),
        resolved=resolved,
    )
