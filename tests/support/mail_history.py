"""Days of an agent's life in seconds: canaries told to the real metrics on a virtual clock, kept as Prometheus data.

    story = Story(plan(3, 3))
    write_blocks(directory, story.pages(end=time.time(), minutes=1440))     # then run_prometheus(data=directory)

What is told is an outage like that of 22 January 2026, from 10 to 4 hours before the end: mail to the first mailbox is
deferred, then accepted and late. The other mailboxes have smaller troubles of their own.
"""

from __future__ import annotations

import heapq
import itertools
import random
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mailprobe.errors import ProbeFailure, Reason, Reply, Stage
from mailprobe.events import (
    ArrivedLate,
    CanaryLost,
    CanarySighted,
    CertificateSeen,
    ConfigReloaded,
    DuplicateSighted,
    FeedsChanged,
    LoopLagged,
    MailboxDown,
    MailboxScanned,
    MailboxUp,
    QuotaSeen,
    SlotFired,
    StrangersSeen,
    Throttled,
    TokenRequested,
    TokenSourcesChanged,
    VendorAcknowledged,
    VendorStatusSeen,
)
from mailprobe.model import AttemptOutcome, Canary, Outcome, Scan, StageReply, StageTime
from mailprobe.vendor import Acknowledgement, VendorState, VendorStatus
from support.observing import TLS, Watch, a_sighting
from support.servers import run

MINUTE: Final = 60.0
HOUR: Final = 3600.0
BLOCK: Final = 7200
"""Seconds of a Prometheus block: a file of one block is read once, of more once for each."""
TARGET: Final = 'job="mailprobe",instance="fra1:10587"'

Plan = Sequence[tuple[str, str, str, str]]
USUAL: Final = {
    Stage.RESOLVE: 0.004,
    Stage.CONNECT: 0.021,
    Stage.GREETING: 0.035,
    Stage.EHLO: 0.02,
    Stage.STARTTLS: 0.02,
    Stage.TLS: 0.045,
    Stage.AUTH: 0.06,
    Stage.MAIL: 0.03,
    Stage.RCPT: 0.05,
    Stage.DATA: 0.02,
    Stage.END_OF_DATA: 0.18,
    Stage.QUIT: 0.02,
}
"""Seconds."""
REFUSALS: Final = {
    "deferred": (Outcome.DEFERRED, Reason.DEFERRED, Reply.of(451, "4.3.2 Temporary server issue")),
    "busy": (Outcome.DEFERRED, Reason.DEFERRED, Reply.of(451, "4.7.500 Server busy")),
    "nobody": (Outcome.REJECTED, Reason.REJECTED, Reply.of(550, "5.1.1 No such user")),
}


def plan(senders: Sequence[str], mailboxes: Sequence[str]) -> Plan:
    """A route from each sender to each mailbox; the sender called `outside` is an MX sender."""
    return [
        (f"{sender}-{box}", sender, box, "mx" if sender == "outside" else "submission")
        for sender, box in itertools.product(senders, mailboxes)
    ]


@dataclass(frozen=True, slots=True)
class Fate:
    """What a mailbox's provider does to mail between two moments, in hours before the end."""

    mailbox: int
    begin: float
    end: float
    share: float
    kind: str

    def strikes(self, mailbox: int, hours_left: float, chance: float) -> bool:
        return mailbox == self.mailbox and self.end <= hours_left < self.begin and chance < self.share


FATES: Final = (
    Fate(0, 10.0, 9.0, 0.55, "deferred"),
    Fate(0, 9.0, 7.0, 0.93, "deferred"),
    Fate(0, 9.0, 7.0, 1.0, "busy"),
    Fate(0, 7.0, 6.0, 0.5, "deferred"),
    Fate(0, 7.0, 4.5, 0.7, "late"),
    Fate(0, 7.0, 4.5, 0.06, "lost"),
    Fate(0, 4.5, 4.0, 0.2, "late"),
    Fate(1, 16.0, 15.6, 1.0, "junked"),
    Fate(1, 3.0, 2.7, 0.8, "nobody"),
    Fate(2, 13.0, 12.5, 1.0, "unobserved"),
)
BLIND: Final = (2, 13.0, 12.5)
"""The mailbox into which nobody can look, from and to, in hours before the end."""

FEED: Final = "vendor"
TOKENS: Final = "office365"
VENDOR: Final = (
    (9.2, VendorState.OK),
    (8.6, VendorState.UNREACHABLE),
    (5.5, VendorState.OUTAGE),
    (4.0, VendorState.DEGRADED),
    (0.0, VendorState.OK),
)
"""What the vendor's feed says until so many hours before the end."""


@dataclass(slots=True)
class Figures:
    """What a journal would say of itself."""

    rows: int = 0
    write_errors: int = 0

    @property
    def size_bytes(self) -> int:
        return 200_000 + 900 * self.rows


class Story:
    """One agent whose canaries meet these fates; the same seed tells the same story."""

    def __init__(self, routes: Plan, seed: int = 1) -> None:
        self._routes = routes
        self._random = random.Random(seed)
        self._journal = Figures()
        self._watch = Watch(*routes, journal=self._journal)
        self._boxes = list(dict.fromkeys(box for _, _, box, _ in routes))
        self._late: list[tuple[float, int, Canary, float]] = []
        self._numbers = itertools.count()
        self._blind = False
        self._acknowledged = False
        self._end = 0.0

    def pages(self, end: float, minutes: int, step: int = 1) -> Iterator[tuple[int, str]]:
        """Unix time and what is scraped then, one page every `step` minutes until `end`, of a canary a route each."""
        end = end // MINUTE * MINUTE
        begin = end - minutes * MINUTE
        self._watch.clock.jump(begin - self._watch.clock.wall())
        self._end = end
        self._prepare()
        for number in range(1, minutes // step + 1):
            self._live(begin + number * step * MINUTE)
            yield int(self._watch.clock.wall()), _page(self._watch.metrics.render().decode())

    def _prepare(self) -> None:
        now = self._watch.clock.now()
        senders = dict.fromkeys(sender for _, sender, _, _ in self._routes)
        for endpoint in (*(f"sender/{name}" for name in senders), *(f"mailbox/{name}" for name in self._boxes)):
            self._watch.publish(CertificateSeen(endpoint, TLS))
        for box in self._boxes:
            self._watch.publish(MailboxUp(box, now))
        self._watch.publish(FeedsChanged(((FEED, tuple(self._boxes[:1]), ()),)), TokenSourcesChanged((TOKENS,)))
        self._watch.publish(ConfigReloaded(now))

    def _live(self, until: float) -> None:
        clock = self._watch.clock
        while clock.wall() < until:
            clock.jump(min(20.0, until - clock.wall()))
            self._watch.publish(*self._watch.states.tick(clock.now()))
        self._look()
        for route, _, box, _ in self._routes:
            self._canary(route, self._boxes.index(box))
        while self._late and self._late[0][0] <= clock.now():
            _, _, canary, transit = heapq.heappop(self._late)
            sighting = a_sighting(canary, clock.now())
            self._watch.publish(ArrivedLate(canary, Outcome.OVERDUE, sighting, clock.now(), transit, 0.1, False))

    @property
    def _hours_left(self) -> float:
        return (self._end - self._watch.clock.wall()) / HOUR

    def _look(self) -> None:
        """What a minute brings to mailboxes and agent."""
        now, chance = self._watch.clock.now(), self._random.random
        number, begin, end = BLIND
        blind = end <= self._hours_left < begin
        if number < len(self._boxes) and blind is not self._blind:
            box, self._blind = self._boxes[number], blind
            failure = ProbeFailure(Stage.CONNECT, Reason.TIMEOUT)
            self._watch.publish(MailboxDown(box, now, failure) if blind else MailboxUp(box, now))
        for index, box in enumerate(self._boxes):
            if not (blind and index == number):
                self._watch.publish(MailboxScanned(Scan(box, now - 1, now - 40 * chance())))
            self._watch.publish(QuotaSeen(box, 0.2 + 0.1 * (index % 7) + 0.01 * chance()))
            if chance() < 0.02:
                self._watch.publish(StrangersSeen(box, 1))
        for _ in range(20):
            self._watch.publish(LoopLagged(0.0004 * self._random.lognormvariate(0, 0.8)))
        self._hear(now)
        if self._watch.clock.wall() // MINUTE % 50 == 0:
            self._watch.publish(TokenRequested(TOKENS, now, 0.2 + 0.3 * chance(), now + HOUR))
        if 8.5 < self._hours_left < 9.5 and chance() < 0.2:
            self._watch.publish(Throttled(f"sender/{self._routes[0][1]}", Reason.THROTTLED))

    def _hear(self, now: float) -> None:
        """What the first mailbox's vendor says, and how much later than we it said so."""
        said = next(state for until, state in VENDOR if self._hours_left >= until)
        self._watch.publish(VendorStatusSeen(FEED, now, VendorStatus(said)))
        if said is VendorState.OUTAGE and not self._acknowledged:
            self._acknowledged = True
            wall, lag = self._watch.clock.wall(), (FATES[0].begin - self._hours_left) * HOUR
            self._watch.publish(VendorAcknowledged(Acknowledgement("1", FEED, "EX1", "", wall, wall, lag), lag))

    def _canary(self, route: str, box: int) -> None:
        self._watch.publish(SlotFired(route, 0.002 * self._random.lognormvariate(0, 0.7)))
        left = self._hours_left
        kinds = (fate.kind for fate in FATES if fate.strikes(box, left, self._random.random()))
        kind = next(kinds, "delivered" if self._random.random() < 0.9995 else "lost")
        canary = self._watch.opened(route)
        self._journal.rows += 1
        if kind in REFUSALS:
            self._refused(canary, *REFUSALS[kind])
        else:
            self._accepted(canary, kind, box)

    def _refused(self, canary: Canary, outcome: Outcome, reason: Reason, reply: Reply) -> None:
        said = StageReply(Stage.RCPT, reply)
        ended = AttemptOutcome.DEFERRED if reply.is_deferral else AttemptOutcome.REJECTED
        facts: dict[str, Any] = {"outcome": ended, "stage": Stage.RCPT, "reason": reason, "dot_sent": None}
        self._watch.attempted(canary, said, stages=self._stages(Stage.RCPT), **facts)
        self._watch.judged(canary, outcome, stage=Stage.RCPT, reason=reason, reply=said, attempts=1)

    def _accepted(self, canary: Canary, kind: str, box: int) -> None:
        stages = self._stages(Stage.QUIT)
        self._watch.attempted(canary, stages=stages)
        if kind == "unobserved":
            self._watch.judged(canary, Outcome.UNOBSERVED, stage=Stage.TRANSIT, reason=Reason.NOBODY_LOOKED)
        elif kind in ("late", "lost"):
            self._watch.judged(canary, Outcome.OVERDUE, stage=Stage.TRANSIT, reason=Reason.NOT_THERE, attempts=1)
            self._afterwards(canary, kind)
        else:
            self._seen(canary, kind, box, sum(stage.seconds for stage in stages))

    def _afterwards(self, canary: Canary, kind: str) -> None:
        if kind == "lost":
            self._watch.publish(CanaryLost(canary, self._watch.clock.now()))
        else:
            transit = 400 + 900 * self._random.lognormvariate(0, 0.7)
            heapq.heappush(self._late, (self._watch.clock.now() + transit, next(self._numbers), canary, transit))

    def _seen(self, canary: Canary, kind: str, box: int, spent: float) -> None:
        slow = 3.0 if box == 0 and 4 < self._hours_left < 10 else 1.0
        transit = (0.8 + 0.9 * (box % 3)) * slow * self._random.lognormvariate(0, 0.5)
        sighting = a_sighting(canary, self._watch.clock.now())
        outcome = Outcome.JUNKED if kind == "junked" else Outcome.DELIVERED
        facts = {"transit_seconds": transit, "delivery_seconds": spent + transit, "sighting": sighting}
        self._watch.publish(CanarySighted(canary, sighting))
        self._watch.judged(canary, outcome, attempts=1, **facts)
        if self._random.random() < 0.0005:
            self._watch.publish(DuplicateSighted(canary, sighting))

    def _stages(self, last: Stage) -> tuple[StageTime, ...]:
        found = list(USUAL)[: list(USUAL).index(last) + 1]
        return tuple(StageTime(stage, USUAL[stage] * self._random.lognormvariate(0, 0.3)) for stage in found)


def _page(text: str) -> str:
    """The samples alone, with the labels that Prometheus adds."""
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("{", f"{{{TARGET},")
    return re.sub(r"^(\w+) ", rf"\1{{{TARGET}}} ", text, flags=re.MULTILINE)


def write_blocks(directory: Path, pages: Iterable[tuple[int, str]]) -> None:
    """Puts pages of rising time into a Prometheus data directory."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "samples.txt"
    for _, found in itertools.groupby(pages, lambda page: page[0] // BLOCK):
        with file.open("w") as samples:
            for moment, text in found:
                samples.write(text.replace("\n", f" {moment}\n"))
            samples.write("# EOF\n")
        run(["promtool", "tsdb", "create-blocks-from", "openmetrics", str(file), str(directory)])
    file.unlink(missing_ok=True)
    shutil.rmtree(directory / "wal", ignore_errors=True)
