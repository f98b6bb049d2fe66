"""Random worlds for the ledger: what truly happens to canaries, who looks when, and what a journal keeps of it.

A world is drawn before it is played, so that Hypothesis can shrink it. `play` then drives a `Ledger` through it in
the order of time, as the actors of the agent would, and returns the truth and what the ledger made of it. Nothing
here knows the ledger's rules: a mailbox shows what lies in it, and a submitter says what it was told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from hypothesis import strategies as st

from mailprobe.errors import Reason, Stage
from mailprobe.events import (
    AttemptBegun,
    AttemptEnded,
    CanaryForgotten,
    CanaryOpened,
    CanarySighted,
    DotSent,
    DuplicateSighted,
    Event,
    Judged,
)
from mailprobe.model import (
    Attempt,
    AttemptOutcome,
    Bounce,
    Canary,
    Outcome,
    RestoredAttempt,
    RestoredCanary,
    Scan,
    Sighting,
)
from mailprobe.probe.ledger import Ledger

DEADLINE = 30.0
LATE_UNTIL = 80.0
GRACE = 10.0
END = 300.0
GAPS = (1.0, 0.25, 5.0, 2.0, 12.0, 5.0, 40.0)
LASTING = (0.0, 0.25, 3.0)
MAILBOXES = ("ulm", "bern")
FOLDERS = ("INBOX", "Junk")


# -- what is drawn


@dataclass(frozen=True)
class Copy:
    """One message that comes of a final dot: how long after it, and into which folder."""

    after: float
    junk: bool


@dataclass(frozen=True)
class Try:
    """One attempt: seconds from its begin to the dot and to the reply; None: never."""

    dot: float | None
    reply: float | None
    outcome: AttemptOutcome
    copies: tuple[Copy, ...]
    pause: float


@dataclass(frozen=True)
class Life:
    """All that would ever happen to one canary."""

    mailbox: str
    opened: float
    tries: tuple[Try, ...]
    bounce: float | None
    bounce_action: str


@dataclass(frozen=True)
class Look:
    """One look at all folders, `gap` seconds after the one before it has ended.

    What lay there at its start is shown if it is complete; what comes while it runs may be shown: `luck`, as bits.
    Not every complete look is a scan: one at what is new shows as much and is no evidence of absence.
    """

    gap: float
    lasts: float
    complete: bool
    scan: bool
    reconnected: bool
    renumbered: bool
    luck: int


@dataclass(frozen=True)
class World:
    """Everything that is given."""

    lives: tuple[Life, ...]
    looks: tuple[tuple[Look, ...], ...]
    restarts: tuple[tuple[float, int], ...]
    ticks: tuple[float, ...] | None
    """Instants at which somebody asks for what is due; None: whenever something is."""
    dutiful: bool
    """Whether a scan that the ledger wants is soon made."""


def _seconds(*choices: float, upto: int) -> st.SearchStrategy[float]:
    return st.one_of(st.sampled_from(choices), st.integers(0, upto * 4).map(lambda quarters: quarters / 4))


def _tries(last: bool) -> st.SearchStrategy[Try]:
    refused = [AttemptOutcome.DEFERRED, AttemptOutcome.UNSENT]
    ended = [AttemptOutcome.ACCEPTED] * 4 + [AttemptOutcome.IN_DOUBT] * 2 + [AttemptOutcome.REJECTED, *refused]
    copies = st.lists(
        st.builds(Copy, _seconds(0.0, 0.25, 29.75, 30.0, 32.0, 35.0, upto=120), st.booleans()), max_size=3
    )
    return st.builds(
        lambda dot, reply, outcome, sent, pause: Try(
            dot, None if reply is None else reply + (dot or 0.0), outcome, tuple(sent) if dot is not None else (), pause
        ),
        _seconds(0.25, upto=4) | st.none(),
        _seconds(0.25, 0.5, upto=8) | st.sampled_from([40.0, 60.0, None]),
        st.sampled_from(ended if last else refused),
        copies if last else st.one_of(st.just([]), st.just([]), copies),
        _seconds(1.0, 29.0, upto=20),
    ).map(_sensible)


def _sensible(tried: Try) -> Try:
    """Accepted and in doubt are only what had its dot."""
    if tried.dot is None and tried.outcome in (AttemptOutcome.ACCEPTED, AttemptOutcome.IN_DOUBT):
        return Try(None, tried.reply, AttemptOutcome.UNSENT, (), tried.pause)
    return tried


_lives = st.builds(
    lambda mailbox, opened, first, last, bounce, action: Life(mailbox, opened, (*first, last), bounce, action),
    st.sampled_from(MAILBOXES),
    _seconds(0.0, upto=40),
    st.lists(_tries(last=False), max_size=2),
    _tries(last=True),
    st.none() | st.none() | _seconds(0.0, upto=100),
    st.sampled_from(["failed", "delayed"]),
)


def _look(code: int) -> Look:
    """A look from one number: drawing six for each would take most of the time of the tests."""
    code, gap = divmod(code, len(GAPS))
    code, lasts = divmod(code, len(LASTING))
    code, kind = divmod(code, 4)
    code, reconnected = divmod(code, 4)
    luck, renumbered = divmod(code, 8)
    return Look(GAPS[gap], LASTING[lasts], kind != 3, kind != 2, reconnected == 3, renumbered == 7, luck)


_looks = st.integers(0, len(GAPS) * len(LASTING) * 4 * 4 * 8 * 16 - 1).map(_look)
worlds = st.builds(
    World,
    st.lists(_lives, min_size=1, max_size=4).map(tuple),
    st.tuples(*(st.lists(_looks, max_size=30).map(tuple) for _ in MAILBOXES)),
    st.just(()) | st.lists(st.tuples(_seconds(20.0, upto=150), st.integers(0, 4)), max_size=2).map(tuple),
    st.none() | st.lists(_seconds(40.0, 120.0, upto=200), max_size=12).map(lambda ticks: tuple(sorted(ticks))),
    st.booleans(),
)


# -- what is played


@dataclass(eq=False)
class Message:
    """A message that truly came to lie in a mailbox."""

    canary: str
    arrived: float
    dot: float
    folder: str
    uid: int = 0
    uidvalidity: int = 0


@dataclass
class Report:
    """A message told to the ledger, when `position` events had been published."""

    message: Message
    sighting: Sighting
    at: float
    position: int


@dataclass
class Truth:
    """What truly happened to a canary."""

    canary: Canary
    life: Life
    messages: list[Message] = field(default_factory=list)
    dots: list[float] = field(default_factory=list)
    begun: list[float] = field(default_factory=list)
    ended: list[Attempt] = field(default_factory=list)
    bounced: float | None = None


@dataclass
class _Box:
    """A mailbox and the session that watches it."""

    lying: list[Message] = field(default_factory=list)
    uids: Iterator[int] = field(default_factory=lambda: count(1))
    uidvalidity: int = 1
    previous_look: float | None = None
    continuous: bool = False
    session: int = 0
    asked: bool = False


class Played:
    """A world as it went; `log` holds the events that a journal has of it."""

    def __init__(self, world: World, check: Callable[[Played, float], None] | None = None) -> None:
        self.world = world
        self.log: list[Event] = []
        self.truths: dict[str, Truth] = {}
        self.reports: list[Report] = []
        self.scans: list[tuple[Scan, int]] = []
        self.lives = 1
        """How many processes there were."""
        self.restarted: list[int] = []
        """Where in the log each process but the first begins."""
        self.judged_in: dict[str, int] = {}
        """In which of them each canary got its verdict."""
        self.ledger = Ledger(GRACE)
        self._words: list[int] = []  # where in the log the answer to each word begins: it is written whole or not
        self._check = check
        self._boxes = {name: _Box() for name in MAILBOXES}
        self._queue: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers = count()
        self._play()

    def events(self, id: str) -> list[Event]:
        """The events about one canary, in order."""
        return [event for event in self.log if canary_of(event).id == id]

    def at(self, instant: float, action: Callable[[float], None]) -> None:
        heappush(self._queue, (instant, next(self._numbers), action))

    def publish(self, events: tuple[Event, ...]) -> None:
        if events:
            self._words.append(len(self.log))
        self.log += events
        self.judged_in.update({event.verdict.canary.id: self.lives for event in events if isinstance(event, Judged)})

    def _play(self) -> None:
        for number, life in enumerate(self.world.lives):
            self.at(life.opened, lambda now, n=number, life=life: self._open(now, n, life))
        for name, looks in zip(MAILBOXES, self.world.looks, strict=True):
            self._plan_look(0.0, name, iter(looks))
        for instant, torn in self.world.restarts:
            self.at(instant, lambda now, torn=torn: self._restart(now, torn))
        for instant in self.world.ticks or ():
            self.at(instant, self._tick)
        self.at(END, self._tick)
        self.at(END, self._tick)
        now = 0.0
        while self._queue:
            due = self.ledger.next_due()
            if self.world.ticks is None and due is not None and due < self._queue[0][0]:
                now = max(now, due)
                self._tick(now)
            else:
                now, _, action = heappop(self._queue)
                action(now)
            if self.world.dutiful:
                self._look_where_wanted(now)
            if self._check:
                self._check(self, now)

    def _tick(self, now: float) -> None:
        due = self.ledger.next_due()
        events = self.ledger.tick(now)
        if due is None or due > now:
            assert events == (), "something was due that next_due did not announce"
        self.publish(events)
        assert self.ledger.tick(now) == (), "the same instant said something twice"

    # the submitter

    def _open(self, now: float, number: int, life: Life) -> None:
        canary = Canary(f"c{number}", f"to-{life.mailbox}", "out", life.mailbox, now, now + DEADLINE, now + LATE_UNTIL)
        self.truths[canary.id] = Truth(canary, life)
        self.publish(self.ledger.open(canary))
        self._begin_at(now + 0.25, canary, 0)

    def _begin_at(self, instant: float, canary: Canary, index: int) -> None:
        self._alive_at(instant, lambda now: self._begin(now, canary, index))

    def _alive_at(self, instant: float, action: Callable[[float], None]) -> None:
        """In this process or not at all."""
        process = self.lives
        self.at(instant, lambda now: action(now) if self.lives == process else None)

    def _begin(self, now: float, canary: Canary, index: int) -> None:
        truth, tried = self.truths[canary.id], self.truths[canary.id].life.tries[index]
        if not self.ledger.may_attempt(canary.id):
            return
        truth.begun.append(now)
        self.publish(self.ledger.attempt_begun(canary.id, index + 1, now))
        if tried.dot is not None:
            self._alive_at(now + tried.dot, lambda at: self._dot(at, canary, index))
        if tried.reply is not None:
            self._alive_at(now + tried.reply, lambda at: self._end(at, canary, index, now))

    def _dot(self, now: float, canary: Canary, index: int) -> None:
        truth = self.truths[canary.id]
        truth.dots.append(now)
        for copy in truth.life.tries[index].copies:
            message = Message(canary.id, now + copy.after, now, FOLDERS[copy.junk])
            self.at(message.arrived, lambda at, message=message: self._arrive(at, message))
        self.publish(self.ledger.dot_sent(canary.id, index + 1, now))
        if truth.life.bounce is not None:
            self.at(now + truth.life.bounce, lambda at: self._bounce(at, canary))

    def _end(self, now: float, canary: Canary, index: int, begun: float) -> None:
        truth, tried = self.truths[canary.id], self.truths[canary.id].life.tries[index]
        dot = None if tried.dot is None else begun + tried.dot
        attempt = Attempt(index + 1, begun, now, tried.outcome, dot_sent=dot, stage=Stage.RCPT, reason=Reason.DEFERRED)
        more = index + 1 < len(truth.life.tries)
        retry_at = now + tried.pause if more else None
        truth.ended.append(attempt)
        self.publish(self.ledger.attempt_ended(canary.id, attempt, retry_at))
        if retry_at is not None:
            self._begin_at(retry_at, canary, index + 1)

    # the world

    def _arrive(self, now: float, message: Message) -> None:
        box = self._boxes[self.truths[message.canary].canary.mailbox]
        message.uid, message.uidvalidity = next(box.uids), box.uidvalidity
        box.lying.append(message)
        self.truths[message.canary].messages.append(message)

    def _bounce(self, now: float, canary: Canary) -> None:
        truth = self.truths[canary.id]
        action = truth.life.bounce_action
        if action == "failed" and truth.bounced is None:
            truth.bounced = now
        self.publish(self.ledger.bounced(Bounce(canary.id, "home", action, "5.1.1", "no", "mx", now)))

    # the watcher

    def _plan_look(self, after: float, name: str, looks: Iterator[Look]) -> None:
        look = next(looks, None)
        if look is not None and after < END:
            self.at(after + look.gap, lambda now: self._begin_look(now, name, look, looks))

    def _look_where_wanted(self, now: float) -> None:
        for name in self.ledger.wanted_scans(now):
            if not self._boxes[name].asked:
                self._boxes[name].asked = True
                self._plan_look(now, name, iter([Look(0.5, 0.25, True, True, False, False, 0)]))

    def _begin_look(self, now: float, name: str, look: Look, looks: Iterator[Look]) -> None:
        box = self._boxes[name]
        if look.reconnected:
            box.continuous = False
        if look.renumbered:
            box.uidvalidity += 1
            for message in box.lying:
                message.uid, message.uidvalidity = next(box.uids), box.uidvalidity
        session = box.session
        self.at(now + look.lasts, lambda at: self._end_look(at, now, name, look, looks, session))

    def _end_look(self, now: float, started: float, name: str, look: Look, looks: Iterator[Look], session: int) -> None:
        box = self._boxes[name]
        self._plan_look(now, name, looks)
        if session != box.session:  # the process that looked is no more
            return
        box.asked = False
        for index, message in enumerate(box.lying):
            surely = look.complete and message.arrived <= started
            if surely or look.luck >> (index % 4) & 1:
                self._show(now, box, name, message)
        if look.complete:
            box.previous_look, box.continuous = started, True
        if look.complete and look.scan:
            scan = Scan(name, started, now)
            self.scans.append((scan, self.lives))
            self.publish(self.ledger.scanned(scan))

    def _show(self, now: float, box: _Box, name: str, message: Message) -> None:
        sighting = Sighting(
            canary=message.canary,
            mailbox=name,
            folder=message.folder,
            junk=message.folder == "Junk",
            uidvalidity=message.uidvalidity,
            uid=message.uid,
            noticed=now,
            previous_look=box.previous_look,
            continuous=box.continuous,
        )
        if self.ledger.canary(message.canary) is not None:
            self.reports.append(Report(message, sighting, now, len(self.log)))
        self.publish(self.ledger.sighted(sighting, now))

    # kill -9, and the next process

    def _restart(self, now: float, torn: int) -> None:
        self.lives += 1
        keep = len(self.log)
        while torn and self._words and not isinstance(self.log[self._words[-1]], CanaryOpened | AttemptBegun):
            keep, torn = self._words.pop(), torn - 1
        self.restarted = [min(position, keep) for position in (*self.restarted, keep)]
        del self.log[keep:]  # written by nobody: as if it had never been said
        self.reports = [report for report in self.reports if report.position < keep]
        for box in self._boxes.values():
            box.previous_look, box.continuous, box.session, box.asked = None, False, self.lives, False
        self.ledger = Ledger(GRACE)
        self.publish(self.ledger.restore(journalled(self.log), now))
        for retry in self.ledger.pending_retries():
            self._begin_at(max(now, retry.retry_at), retry.canary, retry.done)


def journalled(events: list[Event]) -> list[RestoredCanary]:
    """The canaries that a journal would hand to the next process."""
    canaries: dict[str, RestoredCanary] = {}
    for event in events:
        id = canary_of(event).id
        if isinstance(event, CanaryForgotten):
            del canaries[id]
        elif isinstance(event, CanaryOpened):
            canaries[id] = RestoredCanary(event.canary)
        else:
            canaries[id] = _with(canaries[id], event)
    return list(canaries.values())


def _with(known: RestoredCanary, event: Event) -> RestoredCanary:
    attempts, sightings, outcome, late = known.attempts, known.sightings, known.outcome, known.late
    match event:
        case AttemptBegun(_, number, at):
            attempts = (*attempts, RestoredAttempt(number, at))
        case DotSent(_, number, at):
            last = attempts[-1]
            attempts = (*attempts[:-1], RestoredAttempt(last.number, last.begun, last.outcome, at))
        case AttemptEnded(_, attempt, retry_at):
            attempts = (
                *attempts[:-1],
                RestoredAttempt(
                    attempt.number, attempt.begun, attempt.outcome, attempt.dot_sent, retry_at, attempt.stage
                ),
            )
        case CanarySighted(_, seen) | DuplicateSighted(_, seen):
            if not sightings and seen.previous_look is not None and seen.previous_look >= known.canary.deadline:
                late = seen
            sightings = (*sightings, (seen.folder, seen.uidvalidity, seen.uid))
        case Judged(verdict):
            outcome = verdict.outcome
    return RestoredCanary(known.canary, attempts, sightings, outcome, late)


def canary_of(event: Event) -> Canary:
    """The canary that an event of the ledger is about."""
    return event.verdict.canary if isinstance(event, Judged) else event.canary  # type: ignore[union-attr]


def judged(events: list[Event]) -> list[Outcome]:
    """The outcomes in these events."""
    return [event.verdict.outcome for event in events if isinstance(event, Judged)]
