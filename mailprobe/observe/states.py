"""What may be said of a route at this moment. Pure: events in, states and incidents out.

Theory
======

A canary is evidence. It is *good* (delivered in time), in *trouble* (it gets through, and not as it should: junked,
slow, after a deferral) or *against* the route (refused, bounced, overdue, or deferred and waiting for its next
attempt). The last two are *affected*. A failed attempt is evidence at once, its verdict may come much later; so is a
message in flight for three times the route's usual delay (`usual`), long before any deadline, as long as its mailbox
is watched. Evidence is *hard* if a healthy route never gives it (a known address refused, an expired certificate, a
message not there), else *soft*: everyday life if it happens once (`evidence`).

What a canary says, it says of the moment in which it was opened; a verdict that comes late says nothing of now.
No evidence at all: skipped, unobserved, throttled, anything else that is the agent's own (`evidence.is_ours`).

1. A **sign** is the first affected canary among the last 10. It is published, and is no state.
2. **degraded**: 2 of the newest 4 are affected, or 3 of the last 10, or 2 of the last 30 by something hard; or one of
   the newest 4 that is *confirmed*: a second attempt of it failed too, and not as by greylisting, or canaries of other
   routes that share its sender or mailbox were affected in the same way at the same time (`together`). One odd
   failure is none of these; every third canary affected is the first of them at the fourth. Before a route was
   ever ok, one verdict is enough: there is nothing good that it could be the exception of.
3. **failing**: the newest 4 are all against, or 8 of the last 10, not counting what is late and still in flight.
   It stays so at 7 of the last 10. Partial failure is degraded, also where chance makes it 3 in a row.
4. **ok** again: the newest 4 are good, with none among them of which nothing is known yet. What was before is
   forgotten, so that a verdict still to come about the time before is no relapse.
5. **unknown**: no evidence yet; or the last 3 verdicts gave none; or the route has been silent for longer than its
   promise and 5 intervals; or its mailbox has been blind for `BLIND_SECONDS`. Blind is never ok, and never failing,
   except where the newest canaries are refused on the way in, which is known without looking.
6. A mailbox that is lost is normal life while it comes back. One that is refused to us by something hard (a log-in, a
   certificate, a folder) is at once one mark of trouble on each of its routes, one for each time that it is down.
7. *Greylisting.* A canary deferred once and then accepted is affected; if its reply was one that greylisting servers
   give, it counts among the newest 4 only if the one beside it is affected too: now and then is no alarm, many are.
   Where nearly all are deferred once, and few of them twice, it says nothing. A route that was never ok and shows
   nothing but deferrals is not called failing before 20 canaries. The journal remembers over a restart that it was.

Why these numbers. A healthy route that defers one attempt in 200 has 2 affected of 4 about three times a month at one
canary a minute: a few minutes of degraded, and rightly, but no incident. One that fails twice comes once a month. For
an incident `RouteMemory.is_certain` asks more: failing, or 2 hard ones (3 if they are merely not there), or 5 of the
last 10, or 7 of the last 60 (12 with those that greylisting may explain), which chance does once in years. An incident
knows its beginning, so being certain some minutes later costs nothing. How soon degraded comes is a matter of luck
where a part is affected, and no rule can change that: `tests/bench/README.md` has the odds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from mailprobe.errors import ProbeFailure
from mailprobe.events import (
    AttemptEnded,
    BounceReceived,
    CanaryForgotten,
    CanaryOpened,
    CanaryRestored,
    CanarySighted,
    DotSent,
    Event,
    Judged,
    MailboxDown,
    MailboxScanned,
    MailboxUp,
    RoutesChanged,
    RouteStateChanged,
    SignSeen,
)
from mailprobe.model import Cause, Incident, RouteState, Trend
from mailprobe.observe.evidence import cause_of_failure, is_hard, is_ours
from mailprobe.observe.incidents import BLIND_INCIDENT, Incidents, Situation
from mailprobe.observe.route_memory import UNKNOWN_AFTER, RouteMemory
from mailprobe.observe.together import Together

BLIND_SECONDS: Final = 60.0
"""A connection that is dropped and comes back is normal life; a minute without looking is not."""
SILENT_INTERVALS: Final = 5
SILENT_GRACE: Final = 120.0
"""Beyond a deadline, for the scan that decides, and for our own lateness."""
ASLEEP: Final = 60.0
"""A pause between two ticks that is longer was a machine that slept: in it nobody could have said anything."""
_TROUBLE: Final = frozenset({RouteState.DEGRADED, RouteState.FAILING})
_PENDING: Final = 10_000


@dataclass(frozen=True, slots=True)
class RouteSeen:
    """A route of the configuration in use, and its memory."""

    name: str
    sender: str
    mailbox: str
    kind: str
    memory: RouteMemory


@dataclass(frozen=True, slots=True)
class MailboxSeen:
    """What is known of a mailbox. `up` None: nobody has managed to look yet, or been stopped from it."""

    name: str
    up: bool | None = None
    since: float | None = None
    last_scan: float | None = None
    failure: ProbeFailure | None = None

    def blind_since(self, now: float) -> float | None:
        """Since when nobody has looked, None if that is not long enough to matter."""
        blind = self.up is False and self.since is not None and now - self.since >= BLIND_SECONDS
        return self.since if blind else None

    def shuts_us_out(self, now: float) -> bool:
        """Whether nobody can look, and that is neither our fault nor a limit meant for us alone."""
        return self.blind_since(now) is not None and self.failure is not None and not is_ours(self.failure)


@dataclass(frozen=True, slots=True)
class RouteReport:
    """All that may be said of a route at an instant.

    `since` None: since the start. `share` (0..1) of the recent canaries are affected, mostly by `cause`.
    `first_sign`: when the first of what is wrong now was seen, None if nothing is.
    """

    state: RouteState
    since: float | None
    share: float
    cause: Cause
    trend: Trend
    first_sign: float | None


class _Shown:
    """What was last said of a route."""

    __slots__ = ("since", "state")

    def __init__(self) -> None:
        self.state = RouteState.UNKNOWN
        self.since: float | None = None


class States:
    """The state of every route. Subscribe it to the bus before whoever asks it, and `tick` it every second or so.

    `tick` returns the events that follow, to be published by the caller. Asking is allowed at any time, with
    instants that do not run backwards.
    """

    def __init__(self, new_id: Callable[[], str] | None = None) -> None:
        self._routes: dict[str, RouteSeen] = {}
        self._shown: dict[str, _Shown] = {}
        self._mailboxes: dict[str, MailboxSeen] = {}
        self._marked: set[str] = set()
        self._once_ok: frozenset[str] = frozenset()
        self._incidents = Incidents(new_id) if new_id else Incidents()
        self._together = Together()
        self._pending: deque[Event] = deque(maxlen=_PENDING)
        self._ticked: float | None = None
        self._handlers: dict[type, Callable[[Any], None]] = {
            CanaryOpened: self._opened,
            CanaryRestored: self._restored,
            DotSent: self._dot_sent,
            CanarySighted: self._sighted,
            AttemptEnded: self._attempt_ended,
            BounceReceived: self._bounced,
            Judged: self._judged,
            CanaryForgotten: self._forgotten,
            MailboxUp: self._mailbox_up,
            MailboxDown: self._mailbox_down,
            MailboxScanned: lambda event: self._saw(event.scan.mailbox, last_scan=event.scan.finished),
            RoutesChanged: self._change,
        }

    def __call__(self, event: Event) -> None:
        """Takes an event in; those that say nothing of states are ignored."""
        if handler := self._handlers.get(type(event)):
            handler(event)

    def tick(self, now: float) -> tuple[Event, ...]:
        """Lets time pass, and returns what has followed since the last call, in order."""
        if self._ticked is not None and now - self._ticked > ASLEEP:
            self._slept(now - self._ticked, now)
        self._ticked = now
        for route in self._routes.values():
            if self._is_due(route, now):
                self._settle(route, now)
        events = tuple(self._pending)
        self._pending.clear()
        return events

    def restore(self, incidents: Iterable[Incident], once_ok: Iterable[str] = ()) -> None:
        """Takes over the incidents of an earlier process, and which routes were ok; before anything else."""
        self._incidents.restore(incidents)
        self._once_ok = frozenset(once_ok)

    # -- questions

    @property
    def routes(self) -> tuple[RouteSeen, ...]:
        """All routes, by name."""
        return tuple(self._routes[name] for name in sorted(self._routes))

    @property
    def mailboxes(self) -> tuple[MailboxSeen, ...]:
        """All mailboxes, by name."""
        return tuple(self._mailboxes[name] for name in sorted(self._mailboxes))

    @property
    def not_looked_at(self) -> tuple[str, ...]:
        """Mailboxes that are neither watched nor known to be down: until there are none the agent is not ready."""
        return tuple(mailbox.name for mailbox in self.mailboxes if mailbox.up is None)

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """Incidents that are not closed and the last that were, the newest first."""
        return self._incidents.all

    def has(self, route: str) -> bool:
        """Whether there is such a route."""
        return route in self._routes

    def incident(self, route: str) -> Incident | None:
        """The incident of a route that is not closed."""
        return self._incidents.current(route)

    def of(self, route: str, now: float) -> RouteState:
        """The state of a route at an instant; a route that is not there is unknown."""
        seen = self._routes.get(route)
        return self._settle(seen, now).state if seen else RouteState.UNKNOWN

    def share(self, route: str) -> float:
        """Which part of the recent canaries of a route is affected, 0..1; 0 if there is no such route."""
        seen = self._routes.get(route)
        return seen.memory.share if seen else 0.0

    def report(self, route: str, now: float) -> RouteReport:
        """All that may be said of a route at an instant. Raises KeyError if there is no such route."""
        seen = self._routes[route]
        shown, memory = self._settle(seen, now), seen.memory
        onset = memory.onset
        return RouteReport(
            shown.state, shown.since, memory.share, self._cause(seen, now), memory.trend, onset.known if onset else None
        )

    # -- events

    def _opened(self, event: CanaryOpened) -> None:
        if route := self._routes.get(event.canary.route):
            route.memory.opened(event.canary)

    def _restored(self, event: CanaryRestored) -> None:
        if route := self._routes.get(event.canary.route):
            route.memory.expect(event.canary)

    def _dot_sent(self, event: DotSent) -> None:
        if route := self._routes.get(event.canary.route):
            route.memory.dot_sent(event.canary, event.at)

    def _sighted(self, event: CanarySighted) -> None:
        if route := self._routes.get(event.canary.route):
            route.memory.seen(event.canary)

    def _attempt_ended(self, event: AttemptEnded) -> None:
        if route := self._routes.get(event.canary.route):
            route.memory.attempted(event.canary, event.attempt)
            self._settle(route, event.attempt.ended)

    def _bounced(self, event: BounceReceived) -> None:
        if route := self._routes.get(event.canary.route):
            route.memory.bounced(event.canary, event.bounce)
            self._settle(route, event.bounce.noticed)

    def _judged(self, event: Judged) -> None:
        if route := self._routes.get(event.verdict.canary.route):
            route.memory.judged(event.verdict)
            self._settle(route, event.verdict.at)

    def _forgotten(self, event: CanaryForgotten) -> None:
        if route := self._routes.get(event.canary.route):
            route.memory.forgotten(event.canary)

    def _mailbox_up(self, event: MailboxUp) -> None:
        self._saw(event.mailbox, up=True, since=event.at, failure=None)
        self._marked.discard(event.mailbox)
        for route in self._ending_in(event.mailbox):
            self._settle(route, event.at)

    def _mailbox_down(self, event: MailboxDown) -> None:
        before = self._mailboxes.get(event.mailbox)
        if before is None:
            return
        since = before.since if before.up is False else event.at
        self._saw(event.mailbox, up=False, since=since, failure=event.failure)
        cause = cause_of_failure(event.failure)
        if event.mailbox not in self._marked and is_hard(cause) and not is_ours(event.failure):
            self._marked.add(event.mailbox)
            for route in self._ending_in(event.mailbox):
                route.memory.troubled(event.at, cause)
        for route in self._ending_in(event.mailbox):
            self._settle(route, event.at)

    def _ending_in(self, mailbox: str) -> list[RouteSeen]:
        return [route for route in self._routes.values() if route.mailbox == mailbox]

    def _saw(self, mailbox: str, **facts: Any) -> None:
        if mailbox in self._mailboxes:
            self._mailboxes[mailbox] = replace(self._mailboxes[mailbox], **facts)

    def _change(self, event: RoutesChanged) -> None:
        for name in event.removed:
            self._routes.pop(name, None)
            self._shown.pop(name, None)
        for name, sender, mailbox, kind in event.added:
            known = self._routes.get(name)
            memory = known.memory if known else RouteMemory()
            if name in self._once_ok:
                memory.was_ok()
            self._routes[name] = RouteSeen(name, sender, mailbox, kind, memory)
            self._shown.setdefault(name, _Shown())
        for name in self._incidents.routes - self._routes.keys():  # of an earlier configuration
            self._pending.extend(self._incidents.forget(name))
        self._together.change((route.name, route.sender, route.mailbox) for route in self._routes.values())
        names = {*event.mailboxes, *(route.mailbox for route in self._routes.values())}
        self._mailboxes = {name: self._mailboxes.get(name, MailboxSeen(name)) for name in names}
        self._marked &= names

    # -- what follows

    def _is_due(self, route: RouteSeen, now: float) -> bool:
        """Whether time alone changes something; asked of every route at every tick."""
        mailbox = self._mailboxes[route.mailbox]
        if mailbox.up and route.memory.has_late(now):
            return True
        if self._state(route, now) is not self._shown[route.name].state:
            return True
        lasting = mailbox.shuts_us_out(now - BLIND_INCIDENT + BLIND_SECONDS)
        return lasting and self._incidents.current(route.name) is None

    def _slept(self, seconds: float, now: float) -> None:
        for route in self._routes.values():
            if route.memory.last_word is not None:
                route.memory.last_word = min(now, route.memory.last_word + seconds)

    def _settle(self, route: RouteSeen, now: float) -> _Shown:
        """Draws the conclusions from what is known of a route now."""
        memory, shown = route.memory, self._shown[route.name]
        if self._mailboxes[route.mailbox].up:
            memory.late(now)
        for name in self._confirmed(route):
            self._routes[name].memory.confirm()
            if name != route.name:
                self._settle(self._routes[name], now)
        if mark := memory.sign:
            memory.sign = None
            self._pending.append(SignSeen(route.name, mark.known, mark.opened, mark.cause))
        state = self._state(route, now)
        if state is not shown.state:
            cause = self._cause(route, now)
            self._pending.append(RouteStateChanged(route.name, shown.state, state, now, cause, memory.share))
            shown.state, shown.since = state, now
        if state is not RouteState.OK or self._incidents.follows(route.name):
            self._pending.extend(self._incidents.follow(self._situation(route, state, now)))
        return shown

    def _confirmed(self, route: RouteSeen) -> set[str]:
        """The routes whose canaries were affected as the newest of this route were."""
        news, route.memory.news = route.memory.news, []
        interval = route.memory.interval.seconds
        names = {name for mark in news for name in self._together.affected(route.name, mark, interval)}
        return names & self._routes.keys()

    def _state(self, route: RouteSeen, now: float) -> RouteState:
        memory = route.memory
        if memory.without >= UNKNOWN_AFTER or self._is_silent(memory, now):
            return RouteState.UNKNOWN
        if self._mailboxes[route.mailbox].blind_since(now) is not None:
            failing = memory.state is RouteState.FAILING and memory.is_refused
            return RouteState.FAILING if failing else RouteState.UNKNOWN
        return memory.state

    def _is_silent(self, memory: RouteMemory, now: float) -> bool:
        """Whether so long nothing was heard of a route that what was said last is no longer true."""
        interval = memory.interval.seconds
        if memory.last_word is None or not interval:
            return False
        return now - memory.last_word > memory.promise + SILENT_GRACE + SILENT_INTERVALS * interval

    def _cause(self, route: RouteSeen, now: float) -> Cause:
        mailbox = self._mailboxes[route.mailbox]
        if mailbox.failure and mailbox.blind_since(now) is not None:
            return cause_of_failure(mailbox.failure)
        return route.memory.cause

    def _situation(self, route: RouteSeen, state: RouteState, now: float) -> Situation:
        memory, mailbox = route.memory, self._mailboxes[route.mailbox]
        blind = mailbox.blind_since(now) if mailbox.shuts_us_out(now) else None
        onset = memory.onset
        starts = [(onset.opened, onset.known)] if onset else []
        starts += [(blind, blind)] if blind is not None else []
        begin, sign = min(starts, default=(now, now))
        in_trouble = state in _TROUBLE
        return Situation(
            route=route.name,
            at=now,
            state=state,
            in_trouble=in_trouble or (state is RouteState.UNKNOWN and blind is not None),
            certain=memory.is_certain if in_trouble else blind is not None and now - blind >= BLIND_INCIDENT,
            begin=begin,
            first_sign=sign,
            cause=self._cause(route, now),
            share=memory.share,
            affected=memory.affected,
            affected_now=memory.affected_since(begin),
            interval=memory.interval.seconds,
        )
