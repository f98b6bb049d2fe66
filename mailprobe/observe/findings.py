"""What a report is made of: figures of routes, refusals, and incidents with their failures. Pure.

All times are wall time (Unix seconds). A canary belongs to the period in which it was opened.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

from mailprobe.errors import Reason, Stage
from mailprobe.model import Incident, Outcome, Symptom
from mailprobe.observe.evidence import NOT_EVIDENCE
from mailprobe.observe.history import Record
from mailprobe.vendor import Acknowledgement

SLOTS: Final = 144
"""Parts of the period in which a time line shows how a route was: ten minutes each, of a day."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: from `since` up to but not `until`; `routes` none: all."""

    since: float
    until: float
    routes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quantiles:
    """How long it took, in seconds, of `count` canaries."""

    count: int
    p50: float
    p90: float
    p99: float
    most: float


@dataclass(slots=True)
class Slot:
    """A part of the period: canaries that were delivered at once, that were not, and that say nothing."""

    good: int = 0
    affected: int = 0
    silent: int = 0


@dataclass(frozen=True, slots=True)
class RouteFigures:
    """One route in the period. `waiting`: not judged yet. `late` and `lost` are among the outcomes too.

    `delivery`: first attempt begun to noticed; `transit`: final dot to noticed; both of what was delivered, and
    None where nothing was.
    """

    route: str
    sender: str
    mailbox: str
    outcomes: Mapping[Outcome, int]
    waiting: int
    late: int
    lost: int
    delivery: Quantiles | None
    transit: Quantiles | None
    slots: tuple[Slot, ...]

    @property
    def judged(self) -> int:
        """Canaries that say something of the mail: not those unobserved or skipped."""
        return sum(count for outcome, count in self.outcomes.items() if outcome not in NOT_EVIDENCE)

    @property
    def availability(self) -> float | None:
        """Which part of them was delivered to the inbox in time, 0..1; None if there are none."""
        return self.outcomes.get(Outcome.DELIVERED, 0) / self.judged if self.judged else None


@dataclass(frozen=True, slots=True)
class Refusals:
    """Attempts that failed alike: where, with which reply, why; how many, on how many routes, when."""

    stage: Stage | None
    code: int | None
    enhanced_code: str | None
    reason: Reason | Symptom | None
    count: int
    routes: int
    first: float
    last: float
    text: str


@dataclass(frozen=True, slots=True)
class IncidentStory:
    """An incident, what its canaries came to, the failures to show (None where none is kept, or told), the vendor."""

    incident: Incident
    outcomes: Mapping[Outcome, int]
    first: Record | None
    worst: Record | None
    vendor: tuple[Acknowledgement, ...] = ()

    def until(self, otherwise: float) -> float:
        """When it ended, or an instant where it goes on."""
        return otherwise if self.incident.end is None else self.incident.end


@dataclass(frozen=True, slots=True)
class Findings:
    """All that the journal says of the period. `incidents`: the newest first; `first`: its first canary was opened."""

    wanted: Wanted
    routes: tuple[RouteFigures, ...]
    refusals: tuple[Refusals, ...]
    incidents: tuple[IncidentStory, ...]
    first: float | None = None
    unreadable: int = 0


def quantiles(seconds: Collection[float]) -> Quantiles | None:
    """The quantiles of what was measured (nearest rank), None if nothing was."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    p50, p90, p99 = (ordered[max(0, ceil(part * len(ordered)) - 1)] for part in (0.5, 0.9, 0.99))
    return Quantiles(len(ordered), p50, p90, p99, ordered[-1])
