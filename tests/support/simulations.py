"""Routes and their mail as a stream of events, without clock, socket or loop: hours of an outage in milliseconds.

A `World` says what happens to mail at an instant; a `Simulation` sends canaries into it as an agent would, hands what
an agent would publish to `States`, and keeps what follows. Seeded: the same seed gives the same run.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random

from mailprobe.errors import ProbeFailure, Reason, Reply, Stage
from mailprobe.events import (
    AttemptBegun,
    AttemptEnded,
    CanaryOpened,
    CanarySighted,
    DotSent,
    Event,
    IncidentOpened,
    Judged,
    MailboxDown,
    MailboxUp,
    RoutesChanged,
    RouteStateChanged,
    SignSeen,
)
from mailprobe.model import (
    Attempt,
    AttemptOutcome,
    Canary,
    Incident,
    Outcome,
    RouteState,
    Sighting,
    StageReply,
    Verdict,
)
from mailprobe.observe.states import States

INTERVAL = 60.0
DEADLINE = 300.0
RETRY = (60.0, 120.0)
MAILBOX = "contoso"
ROUTE = "inbound"
"""The first route of a simulation; the others are this with a number."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An attempt that does not hand the message in."""

    stage: Stage
    reason: Reason
    reply: str = ""
    outcome: AttemptOutcome = AttemptOutcome.DEFERRED


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that is accepted and arrives `transit` seconds later, or never (None)."""

    transit: float | None = 1.5
    junk: bool = False


Fate = Refused | Taken
World = Callable[[float, Random], Fate]
"""What becomes of an attempt made at an instant."""
Logins = Callable[[float, Random], ProbeFailure | None]
"""Why the mailbox cannot be had at an instant; asked once a minute."""


def usual(random: Random) -> float:
    """How long mail takes on a healthy route, with jitter."""
    return 1.5 * random.lognormvariate(0.0, 0.5)


def healthy(at: float, random: Random) -> Fate:
    """Everything gets through."""
    return Taken(usual(random))


@dataclass
class Told:
    """What the states said in a simulation, in order."""

    signs: list[SignSeen] = field(default_factory=list)
    changes: list[RouteStateChanged] = field(default_factory=list)
    opened: list[Incident] = field(default_factory=list)
    affected: list[float] = field(default_factory=list)
    """The truth: when canaries were opened that something happened to."""

    def take(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case SignSeen():
                    self.signs.append(event)
                case RouteStateChanged():
                    self.changes.append(event)
                case IncidentOpened(incident):
                    self.opened.append(incident)

    def first(self, *states: RouteState, after: float = 0.0) -> float | None:
        """When one of the states was entered for the first time after an instant."""
        return next((change.at for change in self.changes if change.at >= after and change.state in states), None)

    def at(self, instant: float) -> RouteState:
        """The state that held at an instant."""
        states = [change.state for change in self.changes if change.at <= instant]
        return states[-1] if states else RouteState.UNKNOWN


class Simulation:
    """Routes to one mailbox in one world, healthy for a while first; instant 0 is when the world begins to matter."""

    def __init__(
        self,
        world: World,
        *,
        seed: int = 0,
        retry: Sequence[float] = (),
        warm_up: float = 3600.0,
        deadline: float = DEADLINE,
        logins: Logins = lambda at, random: None,
        routes: int = 1,
        route: str = ROUTE,
        mailbox: str = MAILBOX,
    ) -> None:
        self.random = Random(seed)
        self.states = States(new_id=map("incident{}".format, itertools.count(1)).__next__)
        self.told = Told()
        self.events: list[Event] = []
        """All that the agent would have published."""
        self._world, self._logins = world, logins
        self._retry, self._deadline = retry, deadline
        self._mailbox = mailbox
        self._agenda: list[tuple[float, int, Callable[[float], None]]] = []
        self._tickets = itertools.count()
        self._phases = {f"{route}{number or ''}": self.random.random() * INTERVAL for number in range(routes)}
        self._from = -warm_up
        self._up = True
        self._unseen: list[Callable[[float], None]] = []

    def run(self, until: float) -> Told:
        """Plays from the warm-up to an instant, with a tick a second around everything that happens."""
        self._publish(RoutesChanged(added=tuple((route, "outside", self._mailbox, "mx") for route in self._phases)))
        self._publish(MailboxUp(self._mailbox, self._from))
        for number in range(int((until - self._from) // INTERVAL)):
            for route, phase in self._phases.items():
                self._at(self._from + phase + number * INTERVAL, partial(self._open, route))
            self._at(self._from + number * INTERVAL, self._look)
        for second in range(int(self._from), int(until), 5):
            self._at(float(second), self._tick)
        while self._agenda and self._agenda[0][0] <= until:
            at, _, act = heapq.heappop(self._agenda)
            act(at)
        self._tick(until)
        return self.told

    def _at(self, instant: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._agenda, (instant, next(self._tickets), act))

    def _publish(self, *events: Event) -> None:
        for event in events:
            self.events.append(event)
            self.states(event)

    def _tick(self, at: float) -> None:
        self.told.take(self.states.tick(at))

    def _open(self, route: str, at: float) -> None:
        id = f"canary{next(self._tickets)}"
        canary = Canary(id, route, "outside", self._mailbox, at, at + self._deadline, at + 86400.0)
        self._publish(CanaryOpened(canary))
        self._attempt(canary, 1, at)

    def _attempt(self, canary: Canary, number: int, at: float) -> None:
        self._publish(AttemptBegun(canary, number, at))
        fate = self._world(at, self.random) if at >= 0.0 else healthy(at, self.random)
        if isinstance(fate, Taken):
            if fate.transit is None or fate.transit > 60.0 or fate.junk:
                self._affects(canary)
            self._at(at + 0.5, lambda now: self._accepted(canary, number, fate, now))
        else:
            self._affects(canary)
            self._at(at + 0.5, lambda now: self._refused(canary, number, fate, now))

    def _affects(self, canary: Canary) -> None:
        if canary.opened not in self.told.affected:
            self.told.affected.append(canary.opened)

    def _refused(self, canary: Canary, number: int, fate: Refused, at: float) -> None:
        code, _, text = fate.reply.partition(" ")
        said = (StageReply(fate.stage, Reply.of(int(code), text)),) if fate.reply else ()
        attempt = Attempt(number, at - 0.5, at, fate.outcome, replies=said, stage=fate.stage, reason=fate.reason)
        again = at + self._retry[number - 1] if number <= len(self._retry) else canary.deadline
        retried = again < canary.deadline and fate.outcome is not AttemptOutcome.REJECTED
        self._publish(AttemptEnded(canary, attempt, again if retried else None))
        if retried:
            self._at(again, lambda now: self._attempt(canary, number + 1, now))
            return
        outcome = Outcome(fate.outcome.value)
        reply = said[0] if said else None
        self._judge(canary, outcome, at, number, stage=fate.stage, reason=fate.reason, reply=reply)

    def _accepted(self, canary: Canary, number: int, fate: Taken, at: float) -> None:
        attempt = Attempt(number, at - 0.5, at, AttemptOutcome.ACCEPTED, dot_sent=at)
        self._publish(DotSent(canary, number, at), AttemptEnded(canary, attempt))
        if fate.transit is not None and at + fate.transit < canary.deadline:
            self._at(at + fate.transit, lambda now: self._arrived(canary, number, fate, at, now))
        else:
            self._at(canary.deadline + 0.5, lambda now: self._missed(canary, number, now))

    def _arrived(self, canary: Canary, number: int, fate: Taken, dot: float, at: float) -> None:
        if not self._up:
            self._unseen.append(lambda now: self._arrived(canary, number, fate, dot, now))
            return
        watched = fate.transit is not None and at - dot <= fate.transit + 0.001
        folder = "Junk" if fate.junk else "INBOX"
        sighting = Sighting(canary.id, self._mailbox, folder, fate.junk, 1, number, at, at - 0.1, watched)
        self._publish(CanarySighted(canary, sighting))
        outcome = Outcome.JUNKED if fate.junk else Outcome.DELIVERED
        self._judge(canary, outcome, at, number, transit_seconds=at - dot, upper_bound=not watched, sighting=sighting)

    def _missed(self, canary: Canary, number: int, at: float) -> None:
        if self._up:
            self._judge(canary, Outcome.OVERDUE, at, number, stage=Stage.TRANSIT, reason=Reason.NOT_THERE)
        elif at < canary.deadline + 60.0:
            self._at(at + 1.0, lambda now: self._missed(canary, number, now))
        else:
            self._judge(canary, Outcome.UNOBSERVED, at, number, stage=Stage.TRANSIT, reason=Reason.NOBODY_LOOKED)

    def _judge(self, canary: Canary, outcome: Outcome, at: float, attempts: int, **facts: object) -> None:
        verdict = Verdict(canary, outcome, at, attempts=attempts, retried=attempts > 1, **facts)  # type: ignore[arg-type]
        self._publish(Judged(verdict))

    def _look(self, at: float) -> None:
        failure = self._logins(at, self.random) if at >= 0.0 else None
        if failure is not None:
            self._up = False
            self._publish(MailboxDown(self._mailbox, at, failure))
        elif not self._up:
            self._up = True
            found, self._unseen = self._unseen, []
            for see in found:  # a session is announced after its first scan
                see(at)
            self._publish(MailboxUp(self._mailbox, at))


@dataclass
class Month:
    """A quiet month of many routes, as verdicts: what everyday life looks like where nothing is wrong.

    Half of the routes have a retry schedule, as `mx` senders have. Every attempt is deferred with a probability of
    `odd`; one route is greylisted throughout, one is while it is new, `rotating` of the canaries of two more are.
    Each provider has hiccups of 30 s: what meets one is lost, deferred or late, and its mailbox has to be reopened.
    A canary in 50,000 is overdue, one in 10,000 is skipped. Delays jitter; one in 2,000 takes a minute more.
    """

    seed: int
    days: float = 30.0
    routes: int = 20
    providers: int = 5
    odd: float = 0.005
    rotating: float = 0.02
    hiccups_a_day: float = 3.0

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.states = States(new_id=map("incident{}".format, itertools.count(1)).__next__)
        self.told = Told()
        self.verdicts = 0
        self.deferrals = 0
        span = self.days * 86400.0
        count = int(self.days * self.hiccups_a_day)
        self._hiccups = [sorted(self.random.uniform(0.0, span) for _ in range(count)) for _ in range(self.providers)]
        self._next = [0] * self.providers
        self._retries: list[tuple[float, int, Canary, int, int]] = []
        self._tickets = itertools.count()

    def run(self) -> Told:
        """Plays the month, with a tick for each slot."""
        plan = tuple((f"route{n}", "outside", f"box{n % self.providers}", "mx") for n in range(self.routes))
        self.states(RoutesChanged(added=plan))
        for provider in range(self.providers):
            self.states(MailboxUp(f"box{provider}", 0.0))
        phases = sorted(self.random.random() * INTERVAL for _ in range(self.routes))
        for slot in range(int(self.days * 86400.0 / INTERVAL)):
            start = slot * INTERVAL
            self._reopen(start)
            for number, phase in enumerate(phases):
                self._slot(number, start + phase)
            while self._retries and self._retries[0][0] < start + INTERVAL:
                at, _, canary, number, attempt = heapq.heappop(self._retries)
                self._attempt(canary, number, attempt, at)
            self.told.take(self.states.tick(start + INTERVAL))
        return self.told

    def _slot(self, number: int, at: float) -> None:
        canary = Canary(str(next(self._tickets)), f"route{number}", "", "", at, at + DEADLINE, at + 86400.0)
        if self.random.random() < 0.0001:
            self._judge(Verdict(canary, Outcome.SKIPPED, at, reason=Reason.AGENT_LATE))
            return
        self._attempt(canary, number, 1, at)

    def _attempt(self, canary: Canary, number: int, attempt: int, at: float) -> None:
        chance = self.random.random()
        hiccup = self._hiccups_at(number % self.providers, at)
        if chance < self.odd or self._greylists(number, attempt, at) or (hiccup and chance < 0.6):
            if chance < self.odd or not hiccup:
                why = _ODD[0] if chance < self.odd else _GREYLISTED
            else:
                why = _ODD[int(chance * 1e6) % len(_ODD)]
            self._deferred(canary, number, attempt, at, why)
            return
        transit = usual(self.random) + (30.0 * chance if hiccup else 60.0 if chance > 0.9995 else 0.0)
        if 0.5 < chance < 0.50002:
            self._judge(Verdict(canary, Outcome.OVERDUE, at + DEADLINE, stage=Stage.TRANSIT, reason=Reason.NOT_THERE))
            return
        self._judge(
            Verdict(
                canary,
                Outcome.DELIVERED,
                at + transit,
                transit_seconds=transit,
                attempts=attempt,
                retried=attempt > 1,
            )
        )

    def _deferred(self, canary: Canary, number: int, attempt: int, at: float, why: Refused) -> None:
        self.deferrals += 1
        code, _, text = why.reply.partition(" ")
        said = StageReply(why.stage, Reply.of(int(code), text)) if code else None
        ended = Attempt(attempt, at, at, why.outcome, (), (said,) if said else (), stage=why.stage, reason=why.reason)
        if attempt == 1:
            self.states(CanaryOpened(canary))
        schedule = RETRY if number % 2 else ()
        again = at + schedule[attempt - 1] if attempt <= len(schedule) else None
        self.states(AttemptEnded(canary, ended, again))
        if again is not None:
            heapq.heappush(self._retries, (again, next(self._tickets), canary, number, attempt + 1))
            return
        outcome = Outcome(why.outcome.value)
        self._judge(Verdict(canary, outcome, at, why.stage, why.reason, reply=said, attempts=attempt))

    def _judge(self, verdict: Verdict) -> None:
        self.verdicts += 1
        self.states(Judged(verdict))

    def _greylists(self, number: int, attempt: int, at: float) -> bool:
        if attempt > 1 or number % 2 == 0:
            return number == 3 and at < 300.0
        if number in (5, 7):
            return self.random.random() < self.rotating
        return number == 1 or (number == 3 and at < 300.0)

    def _hiccups_at(self, provider: int, at: float) -> bool:
        index = self._next[provider]
        return index < len(self._hiccups[provider]) and 0.0 <= at - self._hiccups[provider][index] < 30.0

    def _reopen(self, now: float) -> None:
        """Of hiccups that are over: the mailbox was lost, could not be had again at once, and is back."""
        for provider, hiccups in enumerate(self._hiccups):
            index = self._next[provider]
            if index < len(hiccups) and hiccups[index] + 30.0 < now:
                began, box = hiccups[index], f"box{provider}"
                self.states(MailboxDown(box, began, ProbeFailure(Stage.FETCH, Reason.CONNECTION_LOST)))
                self.states(MailboxDown(box, began + 10.0, ProbeFailure(Stage.CONNECT, Reason.TIMEOUT)))
                self.states(MailboxUp(box, began + 35.0))
                self._next[provider] += 1


_GREYLISTED = Refused(Stage.RCPT, Reason.DEFERRED, "450 4.2.0 Greylisted")
_ODD: tuple[Refused, ...] = (
    Refused(Stage.RCPT, Reason.DEFERRED, "451 4.3.0 try again later"),
    Refused(Stage.GREETING, Reason.DEFERRED, "421 4.3.2 shutting down"),
    Refused(Stage.CONNECT, Reason.TIMEOUT, "", AttemptOutcome.UNSENT),
    Refused(Stage.RESOLVE, Reason.DNS_SERVFAIL, "", AttemptOutcome.UNSENT),
    Refused(Stage.GREETING, Reason.CONNECTION_LOST, "", AttemptOutcome.UNSENT),
)
