"""What vendors say of their services, as a section of the status page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from mailprobe.clock import Clock
from mailprobe.observe.vendors import FeedSeen
from mailprobe.vendor import VendorState
from mailprobe.web.html import ago, marked, table_parts

_TITLES: Final = 3
_LIKE: Final = {
    VendorState.OK: "ok",
    VendorState.DEGRADED: "degraded",
    VendorState.OUTAGE: "failing",
    VendorState.MAINTENANCE: "degraded",
    VendorState.UNKNOWN: "unknown",
    VendorState.UNREACHABLE: "unknown",
}
"""In whose colour a vendor's state is shown."""


def vendors(clock: Clock, feeds: Sequence[FeedSeen]) -> Iterator[str]:
    """Each feed in a row; nothing where no feed is configured."""
    if not feeds:
        return
    yield '<h2 id="vendors">Vendors</h2>'
    yield from table_parts(
        ("Feed|tight", "State|tight", "Since|medium", "Last read|medium", "What it says|long"),
        (_feed(clock, feed) for feed in feeds),
        caption="What vendors say of their services",
    )


def _feed(clock: Clock, feed: FeedSeen) -> Sequence[str]:
    now = clock.wall()
    titles = [incident.title or incident.id for incident in feed.incidents if incident.is_open(now)]
    words = "; ".join(filter(None, (feed.detail, *titles[:_TITLES])))
    since = "the start" if feed.since is None else ago(clock, feed.since)
    return (feed.name, marked(_LIKE[feed.state], feed.state), since, ago(clock, feed.looked), words)
