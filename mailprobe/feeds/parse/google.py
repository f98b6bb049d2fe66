"""Incidents of Google Workspace, `incidents.json`.

Source: https://www.google.com/appsstatus/dashboard/incidents.schema.json. `updates[].created` is when an update was
written, `begin` and `updates[].when` are what it says of the past.
"""

from __future__ import annotations

from typing import Final

from mailprobe.feeds.parse.bounded import FeedError, Item, first_post, items, listed, read_json, text_of, time_of
from mailprobe.vendor import VendorIncident, VendorReport, VendorState

_IMPACTS: Final = {
    "SERVICE_INFORMATION": VendorState.OK,
    "SERVICE_DISRUPTION": VendorState.DEGRADED,
    "SERVICE_OUTAGE": VendorState.OUTAGE,
}


def parse(content: bytes, services: frozenset[str]) -> VendorReport:
    """The incidents of these products (casefolded names; none: of all). Raises FeedError."""
    document = read_json(content)
    if isinstance(document, dict):
        listed(document, "incidents")  # says what the error is, if it is one
    if not isinstance(document, list):
        raise FeedError("JSON that is no list of incidents")
    found = (_incident(each) for each in items(document) if not services or services & _products(each))
    return VendorReport(tuple(incident for incident in found if incident.id))


def _products(incident: Item) -> set[str]:
    titles = {text_of(product, "title").casefold() for product in items(incident.get("affected_products"))}
    return titles | {text_of(incident, "service_name").casefold()}


def _incident(incident: Item) -> VendorIncident:
    posted = first_post(incident.get("updates"), "created")
    return VendorIncident(
        id=text_of(incident, "id"),
        title=text_of(incident, "external_desc"),
        state=_IMPACTS.get(text_of(incident, "status_impact"), VendorState.DEGRADED),
        posted=posted if posted is not None else time_of(incident.get("created")),
        begun=time_of(incident.get("begin")),
        resolved=time_of(incident.get("end")),
    )
