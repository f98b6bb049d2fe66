"""One route's life as letters: what a canary a minute came to, for tests of states and incidents."""

from __future__ import annotations

import itertools
from typing import Any

from mailprobe.errors import ProbeFailure, Reason, Reply, Stage
from mailprobe.events import AttemptEnded, CanaryOpened, DotSent, Event, Judged, MailboxDown, MailboxUp, RoutesChanged
from mailprobe.model import Attempt, AttemptOutcome, Canary, Outcome, RouteState, StageReply, Verdict
from mailprobe.observe.states import States
from support.observing import ROUTE

BUSY = StageReply(Stage.RCPT, Reply.of(451, "4.7.500 Server busy"))
NOBODY = StageReply(Stage.RCPT, Reply.of(550, "5.1.1 no such user"))
WORDS: dict[str, dict[str, Any]] = {
    ".": {"outcome": Outcome.DELIVERED, "attempts": 1},
    "f": {"outcome": Outcome.DELIVERED, "attempts": 1, "transit_seconds": 1.0},
    "S": {"outcome": Outcome.DELIVERED, "attempts": 1, "transit_seconds": 60.0},
    "b": {"outcome": Outcome.DELIVERED, "attempts": 1, "transit_seconds": 60.0, "upper_bound": True},
    "g": {"outcome": Outcome.DELIVERED, "attempts": 2, "retried": True},
    "r": {"outcome": Outcome.DELIVERED, "attempts": 3, "retried": True},
    "j": {"outcome": Outcome.JUNKED, "attempts": 1},
    "D": {"outcome": Outcome.DEFERRED, "stage": Stage.RCPT, "reason": Reason.DEFERRED, "reply": BUSY},
    "R": {"outcome": Outcome.REJECTED, "stage": Stage.RCPT, "reason": Reason.REJECTED, "reply": NOBODY},
    "o": {"outcome": Outcome.OVERDUE, "stage": Stage.TRANSIT, "reason": Reason.NOT_THERE},
    "t": {"outcome": Outcome.DEFERRED, "stage": Stage.MAIL, "reason": Reason.THROTTLED},
    "y": {"outcome": Outcome.UNSENT, "reason": Reason.SENDER_BUSY},
    "?": {"outcome": Outcome.UNOBSERVED, "reason": Reason.NOBODY_LOOKED},
    "s": {"outcome": Outcome.SKIPPED, "reason": Reason.AGENT_LATE},
}


class Route:
    """One route, a canary a minute, and what is said of it."""

    def __init__(self, history: str = "", once_ok: bool = False) -> None:
        self.states = States(new_id=map(str, itertools.count(1)).__next__)
        if once_ok:
            self.states.restore((), ("inbound",))
        self.now = 0.0
        self.states(RoutesChanged(added=(ROUTE,)))
        self.states(MailboxUp("contoso", 0.0))
        self.live(history)

    def live(self, history: str) -> Route:
        for letter in history:
            canary = self.canary()
            self.states(Judged(Verdict(canary, at=self.now + 2.0, **WORDS[letter])))
        return self

    def canary(self) -> Canary:
        self.now += 60.0
        return Canary(f"id{self.now}", "inbound", "outside", "contoso", self.now, self.now + 300.0, self.now + 3600.0)

    def opened(self) -> Canary:
        canary = self.canary()
        self.states(CanaryOpened(canary))
        return canary

    def attempted(self, canary: Canary, number: int = 1, outcome: AttemptOutcome = AttemptOutcome.DEFERRED) -> None:
        failed = outcome is AttemptOutcome.DEFERRED
        facts: dict[str, Any] = {"replies": (BUSY,), "stage": Stage.RCPT, "reason": Reason.DEFERRED} if failed else {}
        self.states(AttemptEnded(canary, Attempt(number, self.now, self.now + 1.0, outcome, **facts)))

    def sent(self, canary: Canary) -> None:
        self.states(DotSent(canary, 1, self.now))

    def fail(self, stage: Stage, reason: Reason) -> None:
        self.states(MailboxDown("contoso", self.now, ProbeFailure(stage, reason)))

    def tick(self) -> list[Event]:
        """What follows, a little after the last canary."""
        return list(self.states.tick(self.now + 3.0))

    @property
    def state(self) -> RouteState:
        return self.states.of("inbound", self.now + 2.0)
