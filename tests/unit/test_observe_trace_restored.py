"""A route's last hours after a restart: drawn from what the journal has, and gone on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.journalling import Desk, a_canary, verdict_on
from support.loops import both_loops

from mailprobe.events import CanaryOpened, Judged, RoutesChanged
from mailprobe.model import Outcome
from mailprobe.observe.history import History
from mailprobe.observe.journal import Restored
from mailprobe.observe.trace import NARROWEST, SLOTS, WIDEST, Trace

pytestmark = [both_loops, pytest.mark.usefixtures("nothing_blocks")]
SPAN = SLOTS * WIDEST
MINUTE = 60.0


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "journal.db")


async def after_a_restart(desk: Desk, *outcomes: Outcome | None, every: float = MINUTE, **facts: object) -> Restored:
    """What comes back of one canary every so many seconds, each judged when it was opened or never."""
    async with desk.journal() as journal:
        await journal.restore()
        for number, outcome in enumerate(outcomes):
            canary = replace(a_canary(desk.clock, f"canary{number}"), late_until=desk.clock.now() + 2 * SPAN)
            journal(CanaryOpened(canary))
            if outcome is not None:
                journal(Judged(replace(verdict_on(canary, outcome), **facts)))
            desk.clock.skip(every, wall=every)
        await journal.settle()
    desk.clock.restart()
    async with desk.journal() as journal:
        return await journal.restore()


def drawn(restored: Restored, *routes: str) -> Trace | None:
    return drawing(restored, *routes).trace("route")


def drawing(restored: Restored, *routes: str) -> History:
    history = History()
    history.restore(restored.lately.begin, restored.lately.traces, routes)
    return history


async def test_an_empty_journal_says_nothing(desk: Desk) -> None:
    assert not (await after_a_restart(desk)).lately.traces


async def test_what_says_something_of_the_mail_comes_back(desk: Desk) -> None:
    good, bad = Outcome.DELIVERED, Outcome.DEFERRED
    told = [good, good, Outcome.UNOBSERVED, None, bad, bad, Outcome.SKIPPED, good]
    trace = drawn(await after_a_restart(desk, *told, delivery_seconds=4.0), "route")
    assert trace
    parts = trace.parts(desk.clock.now())
    assert (sum(part.judged for part in parts), sum(part.affected for part in parts)) == (5, 2)
    assert trace.since(desk.clock.now()) == pytest.approx(desk.clock.now() - len(told) * MINUTE, abs=0.01)
    affected = [number for number, part in enumerate(parts) if part.affected]
    width = trace.width(desk.clock.now())
    assert affected == [int(4 * MINUTE // width), int(5 * MINUTE // width)]
    assert parts[0].slowest == pytest.approx(4.0, rel=0.031)


async def test_a_delivery_that_took_retries_is_affected(desk: Desk) -> None:
    trace = drawn(await after_a_restart(desk, Outcome.DELIVERED, retried=True), "route")
    assert trace
    assert sum(part.affected for part in trace.parts(desk.clock.now())) == 1


async def test_what_is_older_than_a_trace_shows_stays_away(desk: Desk) -> None:
    restored = await after_a_restart(desk, *[Outcome.REJECTED] * 3, *[Outcome.DELIVERED] * 17, every=SPAN / 18)
    trace = drawn(restored, "route")
    assert trace
    parts = trace.parts(desk.clock.now())
    assert sum(part.judged for part in parts) in (17, 18)
    assert sum(part.affected for part in parts) <= 1
    assert desk.clock.now() - trace.since(desk.clock.now()) <= SPAN


async def test_a_route_that_is_no_more_is_not_drawn(desk: Desk) -> None:
    assert drawn(await after_a_restart(desk, Outcome.DELIVERED), "another") is None


async def test_as_fine_as_what_there_is(desk: Desk) -> None:
    """What says nothing, is too old, or was written while the clock was wrong does not make the slots wider."""
    async with desk.journal() as journal:
        await journal.restore()
        for days in (-7, 700, -10_000):
            canary = replace(a_canary(desk.clock, f"canary{days}"), opened=desk.clock.now() + days * 86400)
            journal(CanaryOpened(canary))
            journal(Judged(replace(verdict_on(canary, Outcome.DELIVERED), at=desk.clock.now())))
        await journal.settle()
    trace = drawn(await after_a_restart(desk, None, Outcome.SKIPPED, *[Outcome.DELIVERED] * 5), "route")
    assert trace
    now = desk.clock.now()
    assert trace.since(now) == pytest.approx(now - 5 * MINUTE, abs=0.01)
    assert len(trace.parts(now)) == 5 * MINUTE // NARROWEST + 1


@pytest.mark.parametrize("seconds", [float("inf"), -float("inf"), -1.0, 1e300])
async def test_whatever_is_in_the_file(desk: Desk, seconds: float) -> None:
    restored = await after_a_restart(desk, Outcome.DELIVERED, delivery_seconds=seconds)
    trace = drawn(restored, "route")
    assert trace
    assert trace.parts(desk.clock.now())[0].judged == 1


async def test_it_goes_on_where_it_was(desk: Desk) -> None:
    restored = await after_a_restart(desk, *[Outcome.DELIVERED] * 5)
    history = drawing(restored, "route", "second")
    history(RoutesChanged(added=(("route", "sender", "mailbox", "mx"), ("second", "sender", "mailbox", "mx"))))
    for route in ("route", "second"):
        canary = replace(a_canary(desk.clock, route), route=route)
        history(CanaryOpened(canary))
        history(Judged(verdict_on(canary, Outcome.DELIVERED)))
    now = desk.clock.now()
    first, second = history.trace("route"), history.trace("second")
    assert first
    assert second
    assert first.since(now) == second.since(now) < now
    assert [sum(part.judged for part in trace.parts(now)) for trace in (first, second)] == [6, 1]
