"""What the agent knew in a drill, and when: from what it published, and from nothing else.

All times are seconds from the beginning of the impact, on the outage's clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from mailprobe.events import (
    Event,
    IncidentChanged,
    IncidentClosed,
    IncidentOpened,
    Judged,
    MailboxDown,
    RouteStateChanged,
    SignSeen,
)
from mailprobe.lab.outage import Outage
from mailprobe.lab.player import Truth
from mailprobe.model import Cause, Incident, Outcome, RouteState

SCHEMA: Final = 1

Word = SignSeen | RouteStateChanged | IncidentOpened | IncidentChanged | IncidentClosed | MailboxDown
"""What of the agent's events a drill tells."""


@dataclass(slots=True)
class Knowledge:
    """A subscriber that notes what the agent said of its routes, in order."""

    words: list[Word] = field(default_factory=list)
    canaries: Counter[Outcome] = field(default_factory=Counter)

    def __call__(self, event: Event) -> None:
        """Takes an event in."""
        if isinstance(event, Word):
            self.words.append(event)
        elif isinstance(event, Judged):
            self.canaries[event.verdict.outcome] += 1

    @property
    def changes(self) -> tuple[RouteStateChanged, ...]:
        """The changes of state of all routes."""
        return tuple(word for word in self.words if isinstance(word, RouteStateChanged))

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """Each incident as it was last spoken of, by their beginnings."""
        told = (word for word in self.words if isinstance(word, IncidentOpened | IncidentChanged | IncidentClosed))
        latest = {word.incident.id: word.incident for word in told}
        return tuple(sorted(latest.values(), key=lambda incident: incident.begin))

    def first_sign(self, since: float) -> tuple[float, Cause] | None:
        """When something was first seen out of order, and what; from an instant on, since what was before is not it."""
        signs = [(word.at, word.cause) for word in self.words if isinstance(word, SignSeen)]
        signs += [(change.at, change.cause) for change in self.changes if change.state is not RouteState.OK]
        return min((sign for sign in signs if sign[0] >= since), key=lambda sign: sign[0], default=None)

    def first_incident(self, since: float) -> float | None:
        """When the agent first spoke of an incident; from an instant on."""
        opened = (word.at for word in self.words if isinstance(word, IncidentOpened))
        return min((at for at in opened if at >= since), default=None)


@dataclass(frozen=True, slots=True)
class Findings:
    """What a drill came to: when the agent knew what, None where it never did."""

    outage: Outage
    speed: float
    interval: float
    first_affected: float | None
    first_sign: tuple[float, Cause] | None
    degraded: float | None
    opened: float | None
    failing: float | None
    recovering: float | None
    recovered: float | None
    incidents: tuple[Incident, ...]
    canaries: dict[Outcome, int]
    changes: tuple[RouteStateChanged, ...]

    @classmethod
    def of(cls, outage: Outage, speed: float, interval: float, knowledge: Knowledge, truth: Truth) -> Findings:
        """What may be concluded when an outage has been played."""
        struck = truth.first_strike
        since = [change for change in knowledge.changes if struck is not None and change.at >= struck]
        incidents = tuple(incident for incident in knowledge.incidents if incident.end is None or incident.end >= 0)
        return cls(
            outage=outage,
            speed=speed,
            interval=interval,
            first_affected=struck,
            first_sign=None if struck is None else knowledge.first_sign(struck),
            degraded=_first(since, RouteState.DEGRADED),
            opened=None if struck is None else knowledge.first_incident(struck),
            failing=_first(since, RouteState.FAILING),
            recovering=_left_failing(since),
            recovered=_recovered(since, incidents),
            incidents=incidents,
            canaries=dict(knowledge.canaries),
            changes=knowledge.changes,
        )

    @property
    def noticed(self) -> bool:
        """Whether the agent said of a route that it was not ok, once it was struck: a sign alone alarms nobody."""
        struck = self.first_affected
        return struck is not None and any(
            change.at >= struck and change.state is not RouteState.OK for change in self.changes
        )

    @property
    def known(self) -> float | None:
        """When the agent first said that a route was degraded or failing: what somebody is alarmed by."""
        return min((at for at in (self.degraded, self.failing) if at is not None), default=None)

    @property
    def lead(self) -> float | None:
        """Seconds from the agent's first sign to the vendor's word; negative if the vendor was first."""
        acknowledged = self.outage.acknowledged.seconds
        return None if acknowledged is None or self.first_sign is None else acknowledged - self.first_sign[0]

    def document(self) -> dict[str, Any]:
        """The findings as `drill --format json` prints them."""
        return {
            "schema": SCHEMA,
            "outage": self.outage.id,
            "speed": self.speed,
            "interval_seconds": self.interval,
            "phases": [{"label": phase.label, "from": phase.begin, "to": phase.end} for phase in self.outage.phases],
            "first_sign_seconds": _rounded(self.first_sign[0] if self.first_sign else None),
            "degraded_seconds": _rounded(self.degraded),
            "failing_seconds": _rounded(self.failing),
            "recovering_seconds": _rounded(self.recovering),
            "recovered_seconds": _rounded(self.recovered),
            "vendor_acknowledged_seconds": self.outage.acknowledged.seconds,
            "lead_seconds": _rounded(self.lead),
            "incidents": [_incident(incident) for incident in self.incidents],
            "canaries": {outcome: self.canaries.get(outcome, 0) for outcome in Outcome},
            "state_changes": [
                {"at": _rounded(change.at), "route": change.route, "state": change.state} for change in self.changes
            ],
            "first_affected_seconds": _rounded(self.first_affected),
        }


def _first(changes: list[RouteStateChanged], state: RouteState) -> float | None:
    return next((change.at for change in changes if change.state is state), None)


def _left_failing(changes: list[RouteStateChanged]) -> float | None:
    """When a route was last seen to get better that had been failing."""
    better = (RouteState.DEGRADED, RouteState.OK)
    left = [change.at for change in changes if change.before is RouteState.FAILING and change.state in better]
    return left[-1] if left else None


def _recovered(changes: list[RouteStateChanged], incidents: tuple[Incident, ...]) -> float | None:
    """When the last route was ok again for good; None where one is not, or none had ever been anything else."""
    now = {change.route: change for change in changes}
    if any(change.state is not RouteState.OK for change in now.values()) or any(each.end is None for each in incidents):
        return None
    ends = [*(each.end for each in incidents if each.end is not None), *(change.at for change in now.values())]
    return max(ends, default=None)


def _incident(incident: Incident) -> dict[str, Any]:
    cause = incident.cause
    return {
        "route": incident.route,
        "begin": _rounded(incident.begin),
        "end": _rounded(incident.end),
        "state": incident.state,
        "stage": cause.stage,
        "code": cause.code,
        "enhanced_code": cause.enhanced_code,
        "reason": cause.reason,
        "detected": _rounded(incident.detected),
        "affected": incident.affected,
        "relapses": incident.relapses,
    }


def _rounded(seconds: float | None) -> float | None:
    """To a tenth of a second, which at any speed is finer than what is measured."""
    return None if seconds is None else round(seconds, 1)
