"""What the agent knew in a drill, and when: from its own events and states, and from nothing else.

All times are seconds from the beginning of the impact, on the outage's clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mailprobe.errors import Reason, Stage
from mailprobe.events import (
    ArrivedLate,
    AttemptEnded,
    BounceReceived,
    Event,
    Judged,
    MailboxDown,
    RoutesChanged,
)
from mailprobe.lab.outage import Outage
from mailprobe.lab.pace import PacedClock
from mailprobe.lab.player import Truth
from mailprobe.model import Attempt, AttemptOutcome, Outcome, RouteState, StageReply, Verdict
from mailprobe.observe.states import States

SCHEMA: Final = 1
_GOOD: Final = frozenset({Outcome.DELIVERED, Outcome.SKIPPED})
_WORST: Final = (RouteState.OK, RouteState.UNKNOWN, RouteState.DEGRADED, RouteState.FAILING)
_LOOK_BACK: Final = 600.0
"""Seconds before a change of state in which what led to it lies."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Where something failed and how, as far as was said."""

    stage: Stage | None = None
    code: int | None = None
    enhanced: str | None = None
    reason: Reason | None = None

    def __str__(self) -> str:
        code = " ".join(str(part) for part in (self.code, self.enhanced) if part is not None)
        return " ".join(part for part in (self.stage or "", code or self.reason or "") if part)


@dataclass(frozen=True, slots=True)
class Sign:
    """Something that is not as it should be, as the agent learned of it. `route` is empty for all that end there."""

    at: float
    route: str
    what: str
    cause: Cause


@dataclass(frozen=True, slots=True)
class Change:
    """A route's state from an instant on."""

    at: float
    route: str
    state: RouteState


@dataclass(frozen=True, slots=True)
class Incident:
    """A period in which a route was not `ok`. `state` is the worst in it; `end` None: it has not ended."""

    route: str
    begin: float
    end: float | None
    state: RouteState
    cause: Cause = Cause()


@dataclass(slots=True)
class Knowledge:
    """A subscriber that notes what the agent learned. Subscribe it after `states`."""

    states: States
    clock: PacedClock
    signs: list[Sign] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    canaries: Counter[Outcome] = field(default_factory=Counter)
    _routes: dict[str, str] = field(default_factory=dict)
    _state: dict[str, RouteState] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        """Takes an event in."""
        match event:
            case RoutesChanged(added):
                self._routes |= {route: mailbox for route, _, mailbox, _ in added}
            case AttemptEnded(canary, attempt) if attempt.outcome is not AttemptOutcome.ACCEPTED:
                self._sign(attempt.ended, canary.route, f"attempt {attempt.outcome}", _of_attempt(attempt))
            case BounceReceived(canary, bounce):
                cause = Cause(Stage.TRANSIT, None, bounce.status)
                self._sign(bounce.noticed, canary.route, f"bounce {bounce.action}", cause)
            case MailboxDown(mailbox, at, failure):
                code = failure.reply.code if failure.reply else None
                for route in [route for route, box in self._routes.items() if box == mailbox]:
                    self._sign(at, route, "mailbox down", Cause(failure.stage, code, None, failure.reason))
            case Judged(verdict):
                self.canaries[verdict.outcome] += 1
                if verdict.outcome not in _GOOD:
                    self._sign(verdict.at, verdict.canary.route, f"canary {verdict.outcome}", _of_verdict(verdict))
            case ArrivedLate(canary, after, _, at):
                self._sign(at, canary.route, f"late arrival, {after} before", Cause(Stage.TRANSIT))
        self.look()

    def look(self) -> None:
        """Asks for the state of every route, as a page or a scrape would."""
        now = self.clock.now()
        for route in self._routes:
            state = self.states.of(route, now)
            if self._state.get(route) is not state:
                self._state[route] = state
                self.changes.append(Change(now, route, state))

    def _sign(self, at: float, route: str, what: str, cause: Cause) -> None:
        self.signs.append(Sign(at, route, what, cause))

    def incidents(self) -> tuple[Incident, ...]:
        """The periods in which a route was not ok, the time before its first evidence apart."""
        found: list[Incident] = []
        open_: dict[str, Incident] = {}
        was_ok: set[str] = set()
        for change in self.changes:
            incident = open_.get(change.route)
            if change.state is RouteState.OK:
                was_ok.add(change.route)
                if incident:
                    found.append(replace(open_.pop(change.route), end=change.at))
            elif incident:
                worst = max(incident.state, change.state, key=_WORST.index)
                open_[change.route] = replace(incident, state=worst)
            elif change.route in was_ok:
                open_[change.route] = Incident(change.route, change.at, None, change.state)
        found = sorted([*found, *open_.values()], key=lambda incident: incident.begin)
        return tuple(replace(incident, cause=self._dominating(incident)) for incident in found)

    def _dominating(self, incident: Incident) -> Cause:
        begin, end = incident.begin - _LOOK_BACK, incident.end if incident.end is not None else self.clock.now()
        causes = Counter(sign.cause for sign in self.signs if sign.route == incident.route and begin <= sign.at <= end)
        return max(causes, key=lambda cause: causes[cause]) if causes else Cause()


def _of_attempt(attempt: Attempt) -> Cause:
    return _cause(attempt.stage, attempt.last_reply, attempt.reason)


def _of_verdict(verdict: Verdict) -> Cause:
    return _cause(verdict.stage, verdict.reply, verdict.reason)


def _cause(stage: Stage | None, said: StageReply | None, reason: Reason | None) -> Cause:
    """A reply that refused nothing, such as the greeting before a broken handshake, is no cause."""
    if said is None or not said.reply.is_refusal:
        return Cause(stage, None, None, reason)
    enhanced = said.reply.enhanced
    return Cause(said.stage, said.reply.code, str(enhanced) if enhanced else None, reason)


@dataclass(frozen=True, slots=True)
class Findings:
    """What a drill came to: when the agent knew what, None where it never did."""

    outage: Outage
    speed: float
    interval: float
    first_affected: float | None
    first_sign: Sign | None
    degraded: float | None
    failing: float | None
    recovering: float | None
    recovered: float | None
    incidents: tuple[Incident, ...]
    canaries: dict[Outcome, int]
    changes: tuple[Change, ...]

    @classmethod
    def of(cls, outage: Outage, speed: float, interval: float, knowledge: Knowledge, truth: Truth) -> Findings:
        """What may be concluded when an outage has been played."""
        struck = truth.first_strike
        incidents = tuple(incident for incident in knowledge.incidents() if incident.end is None or incident.end >= 0)
        changes = [change for change in knowledge.changes if change.at >= 0]
        ended = [incident.end for incident in incidents]
        return cls(
            outage=outage,
            speed=speed,
            interval=interval,
            first_affected=struck,
            first_sign=_first_sign(knowledge, changes, struck),
            degraded=_first(changes, RouteState.DEGRADED),
            failing=_first(changes, RouteState.FAILING),
            recovering=_left_failing(changes),
            recovered=max((end for end in ended if end is not None), default=None) if None not in ended else None,
            incidents=incidents,
            canaries=dict(knowledge.canaries),
            changes=tuple(knowledge.changes),
        )

    @property
    def noticed(self) -> bool:
        """Whether the agent said of a route that it was not ok, while or after it was struck."""
        return self.first_sign is not None and bool(self.incidents)

    @property
    def lead(self) -> float | None:
        """Seconds from the agent's first sign to the vendor's word; negative if the vendor was first."""
        acknowledged = self.outage.acknowledged.seconds
        return None if acknowledged is None or self.first_sign is None else acknowledged - self.first_sign.at

    def document(self) -> dict[str, Any]:
        """The findings as `drill --format json` prints them."""
        return {
            "schema": SCHEMA,
            "outage": self.outage.id,
            "speed": self.speed,
            "interval_seconds": self.interval,
            "phases": [{"label": phase.label, "from": phase.begin, "to": phase.end} for phase in self.outage.phases],
            "first_sign_seconds": _rounded(self.first_sign.at if self.first_sign else None),
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


def _first_sign(knowledge: Knowledge, changes: list[Change], struck: float | None) -> Sign | None:
    """The first thing out of order after somebody was really struck: what came before was a sign of something else."""
    if struck is None:
        return None
    seen = [sign for sign in knowledge.signs if sign.at >= struck]
    seen += [
        Sign(change.at, change.route, f"state {change.state}", Cause())
        for change in changes
        if change.at >= struck and change.state is not RouteState.OK
    ]
    return min(seen, key=lambda sign: sign.at, default=None)


def _first(changes: list[Change], state: RouteState) -> float | None:
    return next((change.at for change in changes if change.state is state), None)


def _left_failing(changes: list[Change]) -> float | None:
    """When a failing route was last seen to get better."""
    left, state = None, dict[str, RouteState]()
    for change in changes:
        if state.get(change.route) is RouteState.FAILING and change.state in (RouteState.DEGRADED, RouteState.OK):
            left = change.at
        state[change.route] = change.state
    return left


def _incident(incident: Incident) -> dict[str, Any]:
    cause = incident.cause
    return {
        "route": incident.route,
        "begin": _rounded(incident.begin),
        "end": _rounded(incident.end),
        "state": incident.state,
        "stage": cause.stage,
        "code": cause.code,
        "enhanced_code": cause.enhanced,
        "reason": cause.reason,
    }


def _rounded(seconds: float | None) -> float | None:
    """To a tenth of a second, which at any speed is finer than what is measured."""
    return None if seconds is None else round(seconds, 1)
