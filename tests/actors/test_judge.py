"""The judge keeps the ledger's appointments and asks for scans: once, and again where one began too early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from support.acting import ROUTE, Bench, a_scan, answered
from support.clocks import settle
from support.loops import both_loops

from mailprobe.errors import Reason
from mailprobe.events import CanaryForgotten, CanaryLost, CanaryRestored, Judged
from mailprobe.model import AttemptOutcome, Canary, Outcome, RestoredAttempt, RestoredCanary

pytestmark = both_loops


class Court(Bench):
    """A judge at work."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []
        self.judge.ask_for_scan = lambda mailbox: self.asked.append(self.clock.now() - 1000)

    @asynccontextmanager
    async def sitting(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.judge.run())
        try:
            yield
            assert not task.done()
        finally:
            task.cancel()

    def accepted(self) -> Canary:
        canary, now = self.canary(), self.clock.now()
        self.judge.open(canary)
        self.judge.attempt_begun(canary, 1, now)
        self.judge.dot_sent(canary, 1, now)
        self.judge.attempt_ended(canary, answered(1, now, now, AttemptOutcome.ACCEPTED, now, Reason.DEFERRED), None)
        return canary


async def test_a_scan_is_asked_for_once_at_the_deadline() -> None:
    court = Court()
    async with court.sitting():
        court.accepted()
        await court.clock.advance(ROUTE.deadline - 1)
        assert court.asked == []
        await court.clock.advance(30)
        assert court.asked == [ROUTE.deadline]
        court.judge.scanned(a_scan(court.clock))
        await settle()
    assert court.outcomes == [Outcome.OVERDUE]
    assert court.asked == [ROUTE.deadline]


async def test_a_scan_that_began_too_early_proves_nothing_and_another_is_asked_for() -> None:
    court = Court()
    async with court.sitting():
        court.accepted()
        await court.clock.advance(ROUTE.deadline + 1)
        court.judge.scanned(a_scan(court.clock, seconds=5))
        await settle()
        assert court.outcomes == []
        assert court.asked == [ROUTE.deadline, ROUTE.deadline + 1]
        await court.clock.advance(1)
        court.judge.scanned(a_scan(court.clock, seconds=0.5))
    assert court.outcomes == [Outcome.OVERDUE]


async def test_while_a_scan_is_awaited_no_other_is_asked_for() -> None:
    court = Court()
    async with court.sitting():
        court.accepted()
        await court.clock.advance(ROUTE.deadline + 1)
        for _ in range(3):
            court.accepted()
            await court.clock.advance(1)
        assert court.asked == [ROUTE.deadline]


async def test_another_mailbox_of_the_same_name_proves_nothing() -> None:
    court = Court()
    async with court.sitting():
        overdue = court.accepted()
        await court.clock.advance(ROUTE.deadline + 1)
        court.judge.scanned(a_scan(court.clock))
        awaited, now = court.accepted(), court.clock.now()
        trying = court.canary()
        court.judge.open(trying)
        court.judge.attempt_begun(trying, 1, now)
        court.judge.abandon("box")
        told = {verdict.canary.id: (verdict.outcome, verdict.reason) for verdict in court.verdicts}
        assert told == {
            overdue.id: (Outcome.OVERDUE, Reason.NOT_THERE),
            awaited.id: (Outcome.UNOBSERVED, Reason.NOBODY_LOOKED),
            trying.id: (Outcome.UNOBSERVED, Reason.NOBODY_LOOKED),
        }
        court.judge.dot_sent(trying, 1, now)
        court.judge.attempt_ended(trying, answered(1, now, now, AttemptOutcome.DEFERRED, None, Reason.DEFERRED), 1e6)
        assert not court.judge.ledger.may_attempt(trying.id)
        for _ in range(2):
            await court.clock.advance(ROUTE.late_until)
            court.judge.scanned(a_scan(court.clock))
        assert court.of(CanaryLost) == []
        assert len(court.verdicts) == 3
        assert court.judge.ledger.expecting("box") == court.judge.ledger.in_flight(ROUTE.name) == 0


async def test_many_canaries_of_a_mailbox_share_a_scan() -> None:
    court = Court()
    async with court.sitting():
        for _ in range(50):
            court.accepted()
        await court.clock.advance(ROUTE.deadline + 5)
        assert court.asked == [ROUTE.deadline]
        court.judge.scanned(a_scan(court.clock, seconds=1))
    assert court.outcomes == [Outcome.OVERDUE] * 50


async def test_nobody_looked_until_the_grace_is_over() -> None:
    court = Court()
    async with court.sitting():
        court.accepted()
        await court.clock.advance(ROUTE.deadline + 59)
        assert court.outcomes == []
        await court.clock.advance(1)
    (verdict,) = court.verdicts
    assert (verdict.outcome, verdict.reason) == (Outcome.UNOBSERVED, Reason.NOBODY_LOOKED)
    assert court.asked == [ROUTE.deadline]


async def test_lost_needs_a_scan_after_late_until_and_then_it_is_forgotten() -> None:
    court = Court()
    async with court.sitting():
        court.accepted()
        await court.clock.advance(ROUTE.deadline + 1)
        court.judge.scanned(a_scan(court.clock))
        await court.clock.advance(ROUTE.late_until - ROUTE.deadline + 5)
        assert court.asked == [ROUTE.deadline, ROUTE.late_until]
        assert court.of(CanaryLost) == []
        court.judge.scanned(a_scan(court.clock))
    assert len(court.of(CanaryLost)) == len(court.of(CanaryForgotten)) == 1
    assert court.outcomes == [Outcome.OVERDUE]


async def test_who_waits_for_a_verdict_is_told() -> None:
    court = Court()
    canary = court.canary()
    verdict = court.judge.verdict_of(canary.id)
    given_up = court.judge.verdict_of("another")
    given_up.cancel()
    court.judge.skip(canary, Reason.AGENT_LATE)
    assert (await verdict).outcome is Outcome.SKIPPED


async def test_a_canary_taken_over_is_announced_before_it_is_judged() -> None:
    court = Court()
    never_begun, in_flight, judged = court.canary(), court.canary(), court.canary()
    tried = (RestoredAttempt(1, court.clock.now(), AttemptOutcome.ACCEPTED, court.clock.now()),)
    court.judge.restore(
        [
            RestoredCanary(never_begun),
            RestoredCanary(in_flight, tried),
            RestoredCanary(judged, tried, outcome=Outcome.OVERDUE),
        ]
    )
    assert [event.canary.id for event in court.of(CanaryRestored)] == [never_begun.id, in_flight.id]
    assert [type(event) for event in court.events] == [CanaryRestored, CanaryRestored, Judged]
    assert court.outcomes == [Outcome.SKIPPED]
