"""What a vendor says of its own service, as closed vocabularies and plain values.

Every time in here is wall time (Unix seconds) that another machine wrote: it is shown as such, and held against our
own clock in one place only (`observe.vendors`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class VendorState(StrEnum):
    """What may be said of a vendor's service by its status feed."""

    OK = "ok"
    MAINTENANCE = "maintenance"
    DEGRADED = "degraded"
    OUTAGE = "outage"
    UNKNOWN = "unknown"
    """Nobody has asked yet, or the feed does not say."""
    UNREACHABLE = "unreachable"
    """The feed cannot be read: never ok, since status pages tend to be down with what they report on."""


_WORSE: Final = (
    VendorState.OK,
    VendorState.UNKNOWN,
    VendorState.MAINTENANCE,
    VendorState.DEGRADED,
    VendorState.OUTAGE,
)


def worst(states: Iterable[VendorState], otherwise: VendorState = VendorState.OK) -> VendorState:
    """The worst of what is said; `otherwise` where nothing is."""
    return max(states, key=_WORSE.index, default=otherwise)


@dataclass(frozen=True, slots=True)
class VendorIncident:
    """One incident as its vendor tells it. `state`: how bad it is, ok for what is only worth knowing.

    `posted`: when the vendor first said anything of it, by the first post's own time; None if that is not told.
    `begun`: since when it says to have had trouble, which is often written hours later. `resolved`: when it was or
    will be over; None while it goes on.
    """

    id: str
    title: str
    state: VendorState
    posted: float | None = None
    begun: float | None = None
    resolved: float | None = None

    def is_open(self, now: float) -> bool:
        """Whether it goes on at a wall time, and is more than a remark."""
        return self.state is not VendorState.OK and (self.resolved is None or self.resolved > now)


@dataclass(frozen=True, slots=True)
class VendorReport:
    """What one document of a feed says. `stated`: of the service as a whole, None if it says nothing of that.

    `detail` is text for people: what of it cannot be taken as it stands.
    """

    incidents: tuple[VendorIncident, ...] = ()
    stated: VendorState | None = None
    detail: str = ""

    def state(self, now: float) -> VendorState:
        """What is stated, else the worst of the incidents that go on, else ok."""
        if self.stated is not None:
            return self.stated
        return worst(incident.state for incident in self.incidents if incident.is_open(now))


@dataclass(frozen=True, slots=True)
class VendorStatus:
    """What is known of a feed after a look at it. Of one that is unreachable `detail` says why."""

    state: VendorState
    incidents: tuple[VendorIncident, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A vendor's first word about one of our incidents.

    `posted`: the first post's own time. `noticed`: when it was first in the feed for us. `lag_seconds`: from our
    first sign to that post; positive where we were first.
    """

    incident: str
    feed: str
    vendor_incident: str
    title: str
    posted: float
    noticed: float
    lag_seconds: float
