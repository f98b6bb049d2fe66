"""Service health issues of a Microsoft 365 tenant.

Source: https://learn.microsoft.com/graph/api/resources/servicehealthissue, `posts[].createdDateTime` is when a post was
published; `startDateTime` is written afterwards and may be any earlier time.
"""

from __future__ import annotations

from typing import Final

from mailprobe.feeds.parse.bounded import Item, first_post, listed, read_json, text_of, time_of
from mailprobe.vendor import VendorIncident, VendorReport, VendorState

_STATES: Final = {
    "serviceoperational": VendorState.OK,
    "servicerestored": VendorState.OK,
    "falsepositive": VendorState.OK,
    "postincidentreviewpublished": VendorState.OK,
    "resolved": VendorState.OK,
    "resolvedexternal": VendorState.OK,
    "mitigated": VendorState.OK,
    "mitigatedexternal": VendorState.OK,
    "serviceinterruption": VendorState.OUTAGE,
}
"""What is not here (investigating, serviceDegradation, restoringService, extendedRecovery, ...) is degraded."""


def parse(content: bytes, services: frozenset[str]) -> VendorReport:
    """The issues of these services (casefolded names; none: of all). Raises FeedError."""
    document = read_json(content)
    found = (_incident(issue) for issue in listed(document, "value") if _concerns(issue, services))
    detail = "it tells of more issues than are on its first page" if document.get("@odata.nextLink") else ""
    return VendorReport(tuple(incident for incident in found if incident.id), detail=detail)


def _concerns(issue: Item, services: frozenset[str]) -> bool:
    return not services or text_of(issue, "service").casefold() in services


def _incident(issue: Item) -> VendorIncident:
    resolved = issue.get("isResolved") is True
    state = _STATES.get(text_of(issue, "status").casefold(), VendorState.DEGRADED)
    over = resolved or state is VendorState.OK
    end = time_of(issue.get("endDateTime")) or time_of(issue.get("lastModifiedDateTime")) or 0.0
    return VendorIncident(
        id=text_of(issue, "id"),
        title=text_of(issue, "title"),
        state=VendorState.DEGRADED if state is VendorState.OK else state,
        posted=first_post(issue.get("posts"), "createdDateTime"),
        begun=time_of(issue.get("startDateTime")),
        resolved=end if over else None,
    )
