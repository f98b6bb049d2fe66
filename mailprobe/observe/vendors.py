"""What vendors say of their services, and when they first said something about an incident of ours.

A subscriber that holds the vendors' words against our own incidents; no I/O.

Rules
=====

- A vendor *acknowledges* an incident of ours with the first post of its own, by that post's own time. What it later
  says of when its trouble began does not count; it only helps to tell what the post is about.
- Only feeds that are configured as those of the route's sender or mailbox can acknowledge anything.
- A post is about our incident if what it reports on was not over before ours began, and ours was not over before that
  began. A post of more than `BEFORE` before our first sign, or `AFTER` after our end, is about something else: a
  tenant of Microsoft 365 has some advisory open on most days.
- Of several posts the earliest counts, though another may fit better: rather too little lead is claimed than too much.
- The first word that is known of is corrected by earlier posts `CORRECTIONS` times at most: a feed cannot have us write
  to the journal again and again.
- What a feed has told once it cannot take back: the first time that was seen of a post is kept. An incident that
  leaves the feed is over.
- The lag of a feed is that of its latest incident, of the first of our routes to show a sign of it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from mailprobe.clock import Clock, wall_of
from mailprobe.events import (
    Event,
    FeedsChanged,
    IncidentChanged,
    IncidentClosed,
    IncidentOpened,
    Publish,
    RoutesChanged,
    VendorAcknowledged,
    VendorStatusSeen,
)
from mailprobe.model import Incident
from mailprobe.vendor import Acknowledgement, VendorIncident, VendorState, VendorStatus

BEFORE: Final = 6 * 3600.0
AFTER: Final = 24 * 3600.0
SOON: Final = 3600.0
"""Seconds after the end of ours in which a post that does not say what time it speaks of may still be about it."""
INCIDENTS: Final = 1000
"""Of ours, that are remembered."""
VENDOR_INCIDENTS: Final = 100
"""Of one feed, that are remembered, those posted last."""
CORRECTIONS: Final = 5
"""Posts that turn out to be earlier than the one known, of an incident of ours and a feed, that are taken."""


@dataclass(frozen=True, slots=True)
class FeedSeen:
    """What is known of a feed. Of one that is unreachable `detail` says why, and `incidents` are the last known.

    `since` None: since the start. `looked`: when it was last read, None if it never was. Both are instants.
    """

    name: str
    state: VendorState = VendorState.UNKNOWN
    since: float | None = None
    looked: float | None = None
    detail: str = ""
    incidents: tuple[VendorIncident, ...] = ()


@dataclass(frozen=True, slots=True)
class _Period:
    """When an incident of ours was, in wall time; `end` is infinite while it goes on."""

    begin: float
    sign: float
    end: float


class _Feed:
    """A feed of the configuration: whose it is, what it says, and what it has told so far, with when that was seen."""

    __slots__ = ("mailboxes", "noticed", "seen", "senders", "told")

    def __init__(self, name: str) -> None:
        self.seen = FeedSeen(name)
        self.mailboxes: frozenset[str] = frozenset()
        self.senders: frozenset[str] = frozenset()
        self.told: dict[str, VendorIncident] = {}
        self.noticed: dict[str, float] = {}

    def take(self, at: float, status: VendorStatus) -> None:
        """Notes what a look came to."""
        before, read = self.seen, status.state is not VendorState.UNREACHABLE
        self.seen = FeedSeen(
            before.name,
            status.state,
            before.since if status.state is before.state else at,
            at if read else before.looked,
            status.detail,
            status.incidents if read else before.incidents,
        )

    def tell(self, incidents: Iterable[VendorIncident], now: float) -> list[VendorIncident]:
        """Takes in what the vendor tells at a wall time; answers what is new in it."""
        told = {incident.id: self._kept(incident) for incident in incidents}
        for id, incident in self.told.items():
            if id not in told and (incident.resolved is None or incident.resolved > now - AFTER):
                told[id] = replace(incident, resolved=now if incident.resolved is None else incident.resolved)
        newest = sorted(told.values(), key=lambda incident: incident.posted or 0.0)[-VENDOR_INCIDENTS:]
        before, self.told = self.told, {incident.id: incident for incident in newest}
        self.noticed = {id: self.noticed.get(id, now) for id in self.told}
        return [incident for id, incident in self.told.items() if before.get(id) != incident]

    def _kept(self, incident: VendorIncident) -> VendorIncident:
        known = self.told.get(incident.id)
        return incident if known is None or known.posted is None else replace(incident, posted=known.posted)


class Vendors:
    """The memory of all feeds. Subscribe it after whoever is to hear of `VendorAcknowledged` too."""

    def __init__(self, clock: Clock, publish: Publish = lambda event: None) -> None:
        self._clock = clock
        self._publish = publish
        self._feeds: dict[str, _Feed] = {}
        self._ends: dict[str, tuple[str, str]] = {}
        self._incidents: dict[str, Incident] = {}
        self._known: dict[tuple[str, str], Acknowledgement] = {}
        self._corrections: Counter[tuple[str, str]] = Counter()
        self._handlers: dict[type, Callable[[Any], None]] = {
            FeedsChanged: self._feeds_changed,
            RoutesChanged: self._routes_changed,
            VendorStatusSeen: self._status_seen,
            IncidentOpened: lambda event: self._incident(event.incident),
            IncidentChanged: lambda event: self._incident(event.incident),
            IncidentClosed: lambda event: self._incident(event.incident),
        }

    def __call__(self, event: Event) -> None:
        """Takes an event in; those that say nothing of vendors or incidents are ignored."""
        if handler := self._handlers.get(type(event)):
            handler(event)

    def restore(self, incidents: Iterable[Incident], acknowledgements: Iterable[Acknowledgement]) -> None:
        """Takes over what an earlier process knew; before anything else."""
        for incident in incidents:
            self._incidents[incident.id] = incident
        for known in acknowledgements:
            if known.incident in self._incidents:
                self._known[known.incident, known.feed] = known

    @property
    def feeds(self) -> tuple[FeedSeen, ...]:
        """All feeds, by name."""
        return tuple(self._feeds[name].seen for name in sorted(self._feeds))

    def acknowledgements(self, incident: str) -> tuple[Acknowledgement, ...]:
        """What vendors said of an incident of ours, one for each feed, the earliest first."""
        found = [known for (of, _), known in self._known.items() if of == incident]
        return tuple(sorted(found, key=lambda known: known.posted))

    def lag(self, feed: str) -> float | None:
        """Seconds from our first sign to the vendor's first post, of its latest incident; None if there is none."""
        known = [each for (_, of), each in self._known.items() if of == feed]
        if not known:
            return None
        latest = max(known, key=lambda each: each.posted).vendor_incident
        return max(each.lag_seconds for each in known if each.vendor_incident == latest)

    # -- events

    def _feeds_changed(self, event: FeedsChanged) -> None:
        before, self._feeds = self._feeds, {}
        for name, mailboxes, senders in event.feeds:
            feed = self._feeds[name] = before.get(name) or _Feed(name)
            feed.mailboxes, feed.senders = frozenset(mailboxes), frozenset(senders)
            if name not in before:
                self._say_again(name)

    def _routes_changed(self, event: RoutesChanged) -> None:
        for name in event.removed:
            self._ends.pop(name, None)
        self._ends.update({name: (sender, mailbox) for name, sender, mailbox, _ in event.added})

    def _status_seen(self, event: VendorStatusSeen) -> None:
        feed = self._feeds.get(event.feed)
        if feed is None:
            return
        feed.take(event.at, event.status)
        if event.status.state is VendorState.UNREACHABLE:
            return
        if news := feed.tell(event.status.incidents, self._clock.wall()):
            for incident in self._incidents.values():
                self._compare(incident, feed, news)

    def _incident(self, incident: Incident) -> None:
        self._incidents[incident.id] = incident
        while len(self._incidents) > INCIDENTS:
            gone = next(iter(self._incidents))
            del self._incidents[gone]
            for key in [key for key in self._known if key[0] == gone]:
                del self._known[key], self._corrections[key]
        for feed in self._feeds.values():
            self._compare(incident, feed, feed.told.values())

    # -- what follows

    def _compare(self, incident: Incident, feed: _Feed, told: Iterable[VendorIncident]) -> None:
        """Whether one of these is the vendor's first word about an incident of ours, as far as is known."""
        sender, mailbox = self._ends.get(incident.route, ("", ""))
        if sender not in feed.senders and mailbox not in feed.mailboxes:
            return
        key = incident.id, feed.seen.name
        if self._corrections[key] >= CORRECTIONS:
            return
        begin, sign = (wall_of(self._clock, at) for at in (incident.begin, incident.first_sign))
        end = math.inf if incident.end is None else wall_of(self._clock, incident.end)
        ours = _Period(begin, sign, end)
        fitting = [(each.posted, each) for each in told if each.posted is not None and _is_about(each, ours)]
        posted, first = min(fitting, key=lambda each: each[0], default=(None, None))
        if posted is None or first is None:
            return
        known = self._known.get(key)
        if known is None or posted < known.posted:
            self._corrections[key] += known is not None
            self._acknowledge(incident, feed, first, posted)

    def _acknowledge(self, incident: Incident, feed: _Feed, told: VendorIncident, posted: float) -> None:
        name = feed.seen.name
        known = Acknowledgement(
            incident=incident.id,
            feed=name,
            vendor_incident=told.id,
            title=told.title,
            posted=posted,
            noticed=feed.noticed[told.id],
            lag_seconds=posted - wall_of(self._clock, incident.first_sign),
        )
        self._known[incident.id, name] = known
        self._say(known)

    def _say_again(self, feed: str) -> None:
        """Of what an earlier process knew the latest, for those who heard nothing of it."""
        known = [each for (_, of), each in self._known.items() if of == feed]
        if known:
            self._say(max(known, key=lambda each: each.posted))

    def _say(self, known: Acknowledgement) -> None:
        lag = self.lag(known.feed)
        self._publish(VendorAcknowledged(known, known.lag_seconds if lag is None else lag))


def _is_about(told: VendorIncident, ours: _Period) -> bool:
    """Whether what a vendor tells of, which has been posted, is what we saw; see the rules above."""
    posted = told.posted or 0.0
    speaks_of = posted - SOON if told.begun is None else min(told.begun, posted)
    over_before = told.resolved is not None and told.resolved < ours.begin
    return ours.sign - BEFORE <= posted <= ours.end + AFTER and speaks_of <= ours.end and not over_before
