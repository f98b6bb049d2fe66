"""A journal with a story in it: an hour of good mail, a deferral, silence, recovery; for tests of the report."""

from __future__ import annotations

import itertools
from pathlib import Path

from mailprobe.errors import Reason, Reply, Stage
from mailprobe.events import (
    ArrivedLate,
    AttemptBegun,
    AttemptEnded,
    BounceReceived,
    CanaryLost,
    CanaryOpened,
    CanarySighted,
    DotSent,
    Event,
    Judged,
    MailboxUp,
    RoutesChanged,
)
from mailprobe.model import (
    Attempt,
    AttemptOutcome,
    Bounce,
    Canary,
    Outcome,
    Peer,
    Sighting,
    StageReply,
    StageTime,
    TranscriptLine,
    Verdict,
)
from mailprobe.observe.findings import Findings, Wanted
from mailprobe.observe.journal_report import read_findings
from mailprobe.observe.states import States
from mailprobe.report.words import Report
from support.journalling import Desk

BEGIN = 1.8e9
"""Wall time of the first canary."""
BUSY = "4.3.2 Temporary | `server` <error> @all"
PEER = Peer("mx.example.org", "192.0.2.1", 25)
ROUTES = (("inbound", "outside", "contoso", "mx"), ("internal", "office", "contoso", "submission"))


class Story:
    """What happens to the mail of routes, a canary a minute, told to States and to a journal."""

    def __init__(self, desk: Desk, *routes: tuple[str, str, str, str]) -> None:
        self.desk = desk
        self.states = States(new_id=map("incident-{}".format, itertools.count(1)).__next__)
        self.journal = desk.new()
        self.canaries: list[Canary] = []
        self._tell(RoutesChanged(added=routes or ROUTES), MailboxUp("contoso", desk.clock.now()))

    async def live(self, letters: str, route: str = "inbound") -> None:
        """`.` delivered, `D` deferred, `o` overdue and late, `x` lost, `B` bounced, `?` nobody looked."""
        for letter in letters:
            canary = self._canary(route)
            self._tell(CanaryOpened(canary))
            deferred = letter == "D"
            attempt = self._attempt(canary, deferred=deferred)
            self._tell(AttemptBegun(canary, 1, attempt.begun))
            if not deferred:
                self._tell(DotSent(canary, 1, attempt.begun + 0.4))
            self._tell(AttemptEnded(canary, attempt), *self._became(canary, letter, attempt))
            self.desk.clock.skip(60.0, wall=60.0)
        await self.journal.settle()

    async def end(self) -> None:
        await self.journal.settle()
        await self.journal.close()

    def _canary(self, route: str) -> Canary:
        now, number = self.desk.clock.now(), len(self.canaries)
        sender = next(of for name, of, *_ in ROUTES if name == route)
        canary = Canary(f"canary{number:04}", route, sender, "contoso", now, now + 300.0, now + 3600.0)
        self.canaries.append(canary)
        return canary

    def _attempt(self, canary: Canary, *, deferred: bool) -> Attempt:
        begun = canary.opened
        said = StageReply(Stage.RCPT, Reply.of(451, BUSY))
        taken = StageReply(Stage.END_OF_DATA, Reply.of(250, "2.0.0 Ok: queued as 4XyZ"))
        lines = (TranscriptLine(0.1, "<", "220 <mx> & `co`"), TranscriptLine(0.2, "<", f"451 {BUSY}"))
        return Attempt(
            number=1,
            begun=begun,
            ended=begun + 0.5,
            outcome=AttemptOutcome.DEFERRED if deferred else AttemptOutcome.ACCEPTED,
            stages=(StageTime(Stage.CONNECT, 0.25), StageTime(Stage.RCPT, 0.125)),
            replies=(said if deferred else taken,),
            peer=PEER,
            queue_id=None if deferred else "4XyZ",
            dot_sent=None if deferred else begun + 0.4,
            stage=Stage.RCPT if deferred else None,
            reason=Reason.DEFERRED if deferred else None,
            transcript=lines,
        )

    def _became(self, canary: Canary, letter: str, attempt: Attempt) -> tuple[Event, ...]:
        at = canary.opened + 5.0
        match letter:
            case ".":
                seen = _sighting(canary, at)
                delays = {"delivery_seconds": 2.0 + len(self.canaries) / 100, "transit_seconds": 1.5}
                verdict = Verdict(canary, Outcome.DELIVERED, at, sighting=seen, attempts=1, **delays)
                return CanarySighted(canary, seen), Judged(verdict)
            case "D":
                why = {"stage": Stage.RCPT, "reason": Reason.DEFERRED, "reply": attempt.replies[0], "attempts": 1}
                return (Judged(Verdict(canary, Outcome.DEFERRED, at, **why)),)
            case "o" | "x":
                why = {"stage": Stage.TRANSIT, "reason": Reason.NOT_THERE, "attempts": 1}
                judged = Judged(Verdict(canary, Outcome.OVERDUE, canary.deadline, **why))
                if letter == "x":
                    return judged, CanaryLost(canary, canary.late_until)
                at = canary.deadline + 600.0
                return judged, ArrivedLate(canary, Outcome.OVERDUE, _sighting(canary, at), at, 900.0, 0.1, False)
            case "B":
                bounce = Bounce(
                    canary.id, "contoso", "failed", "5.1.1", "smtp; 550 5.1.1 <no> such user", "mta.test", at
                )
                verdict = Verdict(canary, Outcome.BOUNCED, at, Stage.TRANSIT, attempts=1, bounce=bounce)
                return BounceReceived(canary, bounce), Judged(verdict)
            case _:
                why = {"stage": Stage.TRANSIT, "reason": Reason.NOBODY_LOOKED}
                return (Judged(Verdict(canary, Outcome.UNOBSERVED, at, **why)),)

    def _tell(self, *events: Event) -> None:
        for event in events:
            self.states(event)
            self.journal(event)
        for event in self.states.tick(self.desk.clock.now() + 1.0):
            self.journal(event)


def _sighting(canary: Canary, noticed: float) -> Sighting:
    return Sighting(canary.id, "contoso", "INBOX", False, 1, 7, noticed, noticed - 0.01, True)


async def written(path: Path, letters: str, others: str = "") -> Story:
    """A journal in which that happened on `inbound`, and afterwards on `internal`; closed."""
    story = Story(Desk(path))
    await story.journal.restore()
    await story.live(letters)
    await story.live(others, "internal")
    await story.end()
    return story


def findings(path: Path, *routes: str, since: float = BEGIN, until: float = BEGIN + 86400.0) -> Findings:
    return read_findings(path, Wanted(since, until, routes))


def a_report(found: Findings) -> Report:
    return Report("fra1", "1.2.3", BEGIN + 86400.0, found)
