"""Slots fire on a fixed grid, without drift; what was missed is judged skipped and not made up for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from support.clocks import VirtualClock

from mailprobe.errors import Reason
from mailprobe.events import Judged, SlotFired
from mailprobe.model import Canary, Outcome, SenderKind, TlsMode
from mailprobe.plan import Endpoint, Login, Mailbox, Route, SecretReference, Sender
from mailprobe.probe.judge import Judge
from mailprobe.probe.ledger import Ledger
from mailprobe.probe.scheduler import Scheduler

LOGIN = Login("canary", SecretReference(file=Path("secret")))
SENDER = Sender(
    "out", SenderKind.SUBMISSION, Endpoint("mail.test", 587, TlsMode.STARTTLS), "a@x.test", "probe.test", LOGIN
)
MAILBOX = Mailbox("box", "b@y.test", Endpoint("mail.test", 993, TlsMode.IMPLICIT), LOGIN)
ROUTE = Route("inbound", SENDER, MAILBOX, interval=60, deadline=300, late_until=3600, timeout=30)


class Bench:
    """A scheduler whose canaries are only written down."""

    def __init__(self, route: Route = ROUTE) -> None:
        self.clock = VirtualClock()
        self.events: list[object] = []
        self.started: list[float] = []
        judge = Judge(Ledger(), self.clock, self.events.append)
        self.scheduler = Scheduler(
            route, "fra1", self.clock, judge, self.events.append, new_canary=self.canary, start=self.start
        )

    def canary(self, route: Route, due: float) -> Canary:
        return Canary(f"c{due}", route.name, "out", "box", due, due + route.deadline, due + route.late_until)

    def start(self, route: Route, canary: Canary, until: float) -> None:
        assert until == pytest.approx(canary.opened + route.interval)
        self.started.append(canary.opened)

    @property
    def skipped(self) -> list[tuple[Outcome, Reason | None]]:
        return [(e.verdict.outcome, e.verdict.reason) for e in self.events if isinstance(e, Judged)]

    @property
    def lags(self) -> list[float]:
        return [event.lag_seconds for event in self.events if isinstance(event, SlotFired)]


async def running(bench: Bench, seconds: float) -> None:
    task = asyncio.create_task(bench.scheduler.run())
    try:
        await bench.clock.advance(seconds)
    finally:
        task.cancel()


async def test_a_day_of_slots_has_none_too_many_and_does_not_drift():
    bench = Bench()
    await running(bench, 86400)
    assert len(bench.started) == 1440
    assert {round(slot - bench.started[0], 6) % 60 for slot in bench.started} == {0.0}
    assert bench.skipped == []
    assert max(bench.lags) == 0


async def test_slots_missed_while_the_machine_slept_are_skipped_and_counted():
    bench = Bench()
    task = asyncio.create_task(bench.scheduler.run())
    await bench.clock.advance(120)
    before = len(bench.started)
    bench.clock.jump(200)
    await bench.clock.advance(0)
    task.cancel()
    assert len(bench.started) == before + 1
    assert len(bench.skipped) in (2, 3)
    assert set(bench.skipped) == {(Outcome.SKIPPED, Reason.AGENT_LATE)}
    assert 0 <= bench.lags[-1] < 60


async def test_a_very_long_sleep_is_not_a_million_verdicts():
    bench = Bench(replace(ROUTE, interval=1.0))
    task = asyncio.create_task(bench.scheduler.run())
    await bench.clock.advance(3)
    bench.clock.jump(30 * 86400)
    await bench.clock.advance(0)
    task.cancel()
    assert len(bench.skipped) == 1000
