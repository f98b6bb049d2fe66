"""The last canaries of every route, whole, with failures kept longer than successes.

Idea from blackbox_exporter: what pushes a failure out of the recent records must not be a success, since failures
are what people come to look at. Memory is bounded: records of a route, records in all, bytes of a record. Transcripts
are kept of failures and of each route's latest success, and of both only of the newest. What is older is remembered
as a trace, by which a page draws a route's last hours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final, TypeVar

from mailprobe.events import (
    ArrivedLate,
    AttemptEnded,
    BounceReceived,
    CanaryLost,
    CanaryOpened,
    CanaryRestored,
    CanarySighted,
    Event,
    Judged,
    PolicyChecked,
    RoutesChanged,
)
from mailprobe.message.received import Hop
from mailprobe.model import Attempt, Bounce, Canary, Outcome, PolicyFacts, Sighting, Verdict
from mailprobe.observe.arrival import UNKNOWN, Arrival, arrival_of
from mailprobe.observe.evidence import NOT_EVIDENCE
from mailprobe.observe.trace import Trace

PER_ROUTE: Final = 50
JUDGED_LAST: Final = 300
"""Canaries of all routes of which the order of their verdicts is known."""
TOTAL: Final = 4000
"""Records in all, about 3 KB each: half of them for what is recent, half for failures."""
TRANSCRIPTS: Final = {True: 500, False: 250}
"""Records that keep their transcript, of failures and of successes; 5 KB each."""
TRANSCRIPT_LINES: Final = 200
_ALIKE: Final = 2000
"""Values of replies, peers, TLS and DNS facts that are held once, since most canaries of a route hear the same."""

Alike = TypeVar("Alike", bound=Hashable)

_GOOD: Final = frozenset({Outcome.DELIVERED, Outcome.SKIPPED})


@dataclass(frozen=True, slots=True)
class Record:
    """All that is known of one canary. `late` is its late arrival; `lost_at` when it was given up.

    Of the headers of a sighting nothing is kept but what `arrival` tells.
    """

    canary: Canary
    attempts: tuple[Attempt, ...] = ()
    sighting: Sighting | None = None
    arrival: Arrival = UNKNOWN
    bounce: Bounce | None = None
    verdict: Verdict | None = None
    late: ArrivedLate | None = None
    lost_at: float | None = None

    @property
    def is_failure(self) -> bool:
        """Judged, and not simply delivered; a skipped slot is nobody's failure but the agent's."""
        return self.verdict is not None and (self.verdict.outcome not in _GOOD or self.verdict.retried)


class _RouteHistory:
    __slots__ = ("failures", "recent", "success")

    def __init__(self) -> None:
        self.success: str | None = None
        self.recent: deque[str] = deque()
        self.failures: deque[str] = deque()


class History:
    """A subscriber that remembers canaries; records are frozen, so whoever holds one sees no later change."""

    def __init__(self, per_route: int = PER_ROUTE, total: int = TOTAL) -> None:
        self._per_route = per_route
        self._total = total
        self._routes: dict[str, _RouteHistory] = {}
        self._records: dict[str, Record] = {}
        self._said: dict[bool, dict[str, None]] = {True: {}, False: {}}
        self._alike: dict[Hashable, Any] = {}
        self._judged_last: deque[str] = deque(maxlen=JUDGED_LAST)
        self._traces: dict[str, Trace] = {}
        self._begun: float | None = None

    def __call__(self, event: Event) -> None:
        """Takes an event in; those that say nothing of a canary are ignored."""
        match event:
            case CanaryOpened(canary):
                self._routes.setdefault(canary.route, _RouteHistory())
                self._records.setdefault(canary.id, Record(canary))
            case CanaryRestored(canary) if canary.route in self._routes:
                self._records.setdefault(canary.id, Record(canary))
            case AttemptEnded(canary, attempt):
                self._attempted(canary, attempt)
            case PolicyChecked(canary, number, policy):
                self._checked(canary, number, policy)
            case CanarySighted(canary, sighting):
                self._sighted(canary, sighting)
            case BounceReceived(canary, bounce):
                self._change(canary, bounce=bounce)
            case Judged(verdict):
                self._judged(verdict)
            case ArrivedLate(canary):
                self._change(canary, late=replace(event, sighting=replace(event.sighting, headers=b"")))
            case CanaryLost(canary, at):
                self._change(canary, lost_at=at)
            case RoutesChanged():
                self._routes_changed(event)

    def restore(self, begin: float, traces: Mapping[str, Trace], routes: Container[str]) -> None:
        """Goes on drawing what an earlier process saw of these routes; `begin` is the instant at which it begins."""
        kept = {route: trace for route, trace in traces.items() if route in routes}
        if kept:
            self._begun = begin
            self._traces.update(kept)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, canary: str) -> Record:
        """The record of a canary. Raises KeyError if it is not remembered."""
        return self._records[canary]

    def get(self, canary: str) -> Record | None:
        """The record of a canary, None if it is not remembered."""
        return self._records.get(canary)

    def latest(self, route: str | None = None, limit: int = PER_ROUTE) -> tuple[Record, ...]:
        """The newest judged canaries of a route, or of all, the newest first."""
        if route is not None:
            return tuple(islice(self._newest_of(route), limit))
        found = [record for name in self._routes for record in islice(self._newest_of(name), limit)]
        found.sort(key=lambda record: record.canary.opened, reverse=True)
        return tuple(found[:limit])

    def judged_last(self) -> tuple[Record, ...]:
        """The canaries judged last, the newest verdict first; costs little however many routes there are."""
        found = (self._records.get(canary) for canary in reversed(self._judged_last))
        return tuple(record for record in found if record)

    def in_flight(self) -> tuple[Record, ...]:
        """Canaries without a verdict, the oldest first."""
        return tuple(record for record in self._records.values() if record.verdict is None)

    def last(self, route: str) -> Record | None:
        """The canary of a route that was judged last."""
        return next(iter(self.latest(route, 1)), None)

    def trace(self, route: str) -> Trace | None:
        """The last hours of a route, None as long as nothing was judged there."""
        return self._traces.get(route)

    def _newest_of(self, route: str) -> Iterator[Record]:
        history = self._routes.get(route)
        if history is None:
            return
        for canary in reversed(history.recent):
            yield self._records[canary]
        for canary in reversed(history.failures):
            yield self._records[canary]

    def _change(self, canary: Canary, **known: Any) -> None:
        if record := self._records.get(canary.id):
            self._records[canary.id] = replace(record, **known)

    def _attempted(self, canary: Canary, attempt: Attempt) -> None:
        if record := self._records.get(canary.id):
            self._change(canary, attempts=(*record.attempts, self._bounded(attempt)))

    def _checked(self, canary: Canary, number: int, policy: PolicyFacts) -> None:
        if record := self._records.get(canary.id):
            known = self._once(policy)
            attempts = (replace(one, policy=known) if one.number == number else one for one in record.attempts)
            self._change(canary, attempts=tuple(attempts))

    def _sighted(self, canary: Canary, sighting: Sighting) -> None:
        arrival = arrival_of(sighting.headers)
        hops = tuple(
            Hop(self._once(hop.by), self._once(hop.from_), hop.protocol, hop.seconds, hop.at_wall)
            for hop in arrival.hops
        )
        held = Arrival(hops, arrival.authentication)
        self._change(canary, sighting=replace(sighting, headers=b""), arrival=held)

    def _judged(self, verdict: Verdict) -> None:
        canary = verdict.canary
        history = self._routes.get(canary.route)
        if history is None:
            self._records.pop(canary.id, None)
            return
        record = self._records.setdefault(canary.id, Record(canary))
        if verdict.sighting and not record.sighting:
            self._sighted(canary, verdict.sighting)
        slim = replace(verdict, sighting=None, bounce=None)
        self._change(canary, verdict=slim, bounce=record.bounce or verdict.bounce)
        self._keep_transcript(self._records[canary.id], history)
        self._draw(self._records[canary.id], verdict)
        history.recent.append(canary.id)
        self._judged_last.append(canary.id)
        self._trim(history)

    def _draw(self, record: Record, verdict: Verdict) -> None:
        if verdict.outcome in NOT_EVIDENCE:
            return
        route, opened = record.canary.route, record.canary.opened
        if self._begun is None:
            self._begun = opened
        trace = self._traces.get(route) or self._traces.setdefault(route, Trace(self._begun))
        trace.add(opened, verdict.at, verdict.delivery_seconds, record.is_failure)

    def _keep_transcript(self, record: Record, history: _RouteHistory) -> None:
        said = self._said[record.is_failure]
        if not record.is_failure and history.success:
            self._silence(history.success)
        if not record.is_failure:
            history.success = record.canary.id
        said[record.canary.id] = None
        if len(said) > TRANSCRIPTS[record.is_failure]:
            self._silence(next(iter(said)))

    def _silence(self, canary: str) -> None:
        """Of this canary the transcript is no longer kept."""
        for said in self._said.values():
            said.pop(canary, None)
        if record := self._records.get(canary):
            attempts = tuple(replace(attempt, transcript=()) for attempt in record.attempts)
            self._records[canary] = replace(record, attempts=attempts)

    def _trim(self, history: _RouteHistory) -> None:
        room = min(self._per_route, max(1, self._total // 2 // len(self._routes)))
        while len(history.recent) > room:
            canary = history.recent.popleft()
            if self._records[canary].is_failure:
                history.failures.append(canary)
            else:
                self._forget(canary)
        while len(history.failures) > room:
            self._forget(history.failures.popleft())

    def _forget(self, canary: str) -> None:
        self._records.pop(canary, None)
        for said in self._said.values():
            said.pop(canary, None)

    def _routes_changed(self, event: RoutesChanged) -> None:
        removed = frozenset(event.removed)
        for route in removed:
            self._routes.pop(route, None)
            self._traces.pop(route, None)
        for canary in [key for key, record in self._records.items() if record.canary.route in removed]:
            self._forget(canary)
        for route, *_ in event.added:
            self._routes.setdefault(route, _RouteHistory())
        for history in self._routes.values():
            self._trim(history)

    def _bounded(self, attempt: Attempt) -> Attempt:
        transcript = attempt.transcript
        if len(transcript) > TRANSCRIPT_LINES:
            third = TRANSCRIPT_LINES // 3  # the beginning of a long trace explains more than its end
            transcript = transcript[:third] + transcript[third - TRANSCRIPT_LINES :]
        return replace(
            attempt,
            transcript=transcript,
            replies=tuple(self._once(said) for said in attempt.replies),
            peer=self._once(attempt.peer),
            tls=self._once(attempt.tls),
            dns=self._once(attempt.dns),
        )

    def _once(self, value: Alike) -> Alike:
        if len(self._alike) >= _ALIKE:
            self._alike.clear()
        held: Alike = self._alike.setdefault(value, value)
        return held
