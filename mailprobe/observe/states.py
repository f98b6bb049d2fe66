"""What may be said of a route at this moment. Pure: events in, states out.

Rules. A route is judged by its last `WINDOW` canaries that have evidence; the newest weighs no more than the others.

- Evidence *against*: deferred, rejected, unsent, bounced, overdue. Evidence *for*: delivered. Evidence of *trouble*:
  junked, delivered only after a deferral, and delivered `SLOWER` times slower than the route's usual delay and
  at least `SLOW_SECONDS`.
- No evidence: skipped, unobserved, and what was refused because the provider limits us (throttled). They say something
  of the agent, not of the route, and are not counted.
- **unknown**: no evidence yet; or the last `UNKNOWN_AFTER` canaries gave none; or the mailbox has been blind for
  `BLIND_SECONDS` and the route was not failing before. Blind is never ok, and never by itself failing.
- **failing**: the last `FAILING_RUN` with evidence are all against, or at least half of the last `WINDOW` are (and at
  least `FAILING_RUN` of them).
- **degraded**: any of the window is against or in trouble, and the route is not failing.
- **ok**: none of them is.

Hysteresis. A route leaves *failing* only when the last `RECOVERY_RUN` with evidence are all not against, and leaves
*degraded* only when the last `RECOVERY_RUN` are all for: then the window before them is forgotten. A first single
bad canary makes a route degraded at once: somebody's mail was late.
A late arrival does not change what was judged: the mail was late.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from enum import Enum
from statistics import median
from typing import Any, Final

from mailprobe.errors import ProbeFailure, Reason
from mailprobe.events import Event, Judged, MailboxDown, MailboxScanned, MailboxUp, RoutesChanged
from mailprobe.model import Outcome, RouteState, Verdict

WINDOW: Final = 6
FAILING_RUN: Final = 3
RECOVERY_RUN: Final = 3
UNKNOWN_AFTER: Final = 3
BLIND_SECONDS: Final = 30.0
"""A connection that is dropped and comes back is normal life; half a minute without looking is not."""
SLOWER: Final = 10.0
SLOW_SECONDS: Final = 5.0
"""Below this nobody minds, however fast the route usually is."""
_USUAL: Final = 25
"""Delays of which the median is the usual one; as few as 5 are not enough to call anything unusual."""

_AGAINST: Final = frozenset(
    {Outcome.DEFERRED, Outcome.REJECTED, Outcome.UNSENT, Outcome.BOUNCED, Outcome.OVERDUE},
)
_NO_EVIDENCE: Final = frozenset({Outcome.UNOBSERVED, Outcome.SKIPPED})


class Evidence(Enum):
    """What one canary says of its route."""

    FOR = "for"
    TROUBLE = "trouble"
    AGAINST = "against"


class RouteMemory:
    """What is remembered of one route in order to tell its state."""

    __slots__ = ("_without", "delays", "state", "window")

    def __init__(self) -> None:
        self.window: deque[Evidence] = deque(maxlen=WINDOW)
        self.delays: deque[float] = deque(maxlen=_USUAL)
        self.state = RouteState.UNKNOWN
        self._without = 0

    def judged(self, verdict: Verdict) -> None:
        """Takes a verdict in."""
        if verdict.outcome in _NO_EVIDENCE or verdict.reason is Reason.THROTTLED:
            self._without += 1
        else:
            self._without = 0
            self.window.append(self._evidence(verdict))
        self.state = self._next()

    def _evidence(self, verdict: Verdict) -> Evidence:
        if verdict.outcome in _AGAINST:
            return Evidence.AGAINST
        slow = self._is_slow(verdict)
        if verdict.outcome is Outcome.JUNKED or verdict.retried or slow:
            return Evidence.TROUBLE
        return Evidence.FOR

    def _is_slow(self, verdict: Verdict) -> bool:
        delay = verdict.transit_seconds
        if delay is None or verdict.upper_bound:
            return False
        usual = median(self.delays) if len(self.delays) >= 5 else None
        self.delays.append(delay)
        return usual is not None and delay >= max(SLOW_SECONDS, SLOWER * usual)

    def _next(self) -> RouteState:
        if not self.window or self._without >= UNKNOWN_AFTER:
            return RouteState.UNKNOWN
        seen = list(self.window)
        recent = seen[-RECOVERY_RUN:]
        if len(recent) == RECOVERY_RUN and all(evidence is Evidence.FOR for evidence in recent):
            for _ in range(len(seen) - RECOVERY_RUN):
                self.window.popleft()
            return RouteState.OK
        if self._is_failing(seen):
            return RouteState.FAILING
        return RouteState.OK if all(evidence is Evidence.FOR for evidence in seen) else RouteState.DEGRADED

    def _is_failing(self, seen: list[Evidence]) -> bool:
        against = seen.count(Evidence.AGAINST)
        if all(evidence is Evidence.AGAINST for evidence in seen[-FAILING_RUN:]) and against >= FAILING_RUN:
            return True
        if self.state is RouteState.FAILING:
            return Evidence.AGAINST in seen[-RECOVERY_RUN:]
        return against >= FAILING_RUN and 2 * against >= len(seen) and seen[-1] is Evidence.AGAINST


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


class States:
    """The state of every route. Subscribe it to the bus before whoever asks it."""

    def __init__(self) -> None:
        self._routes: dict[str, RouteSeen] = {}
        self._mailboxes: dict[str, MailboxSeen] = {}

    def __call__(self, event: Event) -> None:
        """Takes an event in; those that say nothing of states are ignored."""
        match event:
            case Judged(verdict):
                if route := self._routes.get(verdict.canary.route):
                    route.memory.judged(verdict)
            case MailboxUp():
                self._saw(event.mailbox, up=True, since=event.at, failure=None)
            case MailboxDown():
                before = self._mailboxes.get(event.mailbox)
                since = before.since if before and before.up is False else event.at
                self._saw(event.mailbox, up=False, since=since, failure=event.failure)
            case MailboxScanned(scan):
                self._saw(scan.mailbox, last_scan=scan.finished)
            case RoutesChanged():
                self._change(event)

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

    def of(self, route: str, now: float) -> RouteState:
        """The state of a route at an instant; a route that is not there is unknown."""
        seen = self._routes.get(route)
        if seen is None:
            return RouteState.UNKNOWN
        state = seen.memory.state
        mailbox = self._mailboxes[seen.mailbox]
        blind = mailbox.up is False and mailbox.since is not None and now - mailbox.since >= BLIND_SECONDS
        return RouteState.UNKNOWN if blind and state is not RouteState.FAILING else state

    def _saw(self, mailbox: str, **facts: Any) -> None:
        if mailbox in self._mailboxes:
            self._mailboxes[mailbox] = replace(self._mailboxes[mailbox], **facts)

    def _change(self, event: RoutesChanged) -> None:
        for name in event.removed:
            self._routes.pop(name, None)
        for name, sender, mailbox, kind in event.added:
            known = self._routes.get(name)
            self._routes[name] = RouteSeen(name, sender, mailbox, kind, known.memory if known else RouteMemory())
        names = {*event.mailboxes, *(route.mailbox for route in self._routes.values())}
        self._mailboxes = {name: self._mailboxes.get(name, MailboxSeen(name)) for name in names}
