"""The fast clock: its speed, and what a skipped stretch does to those who wait."""

from __future__ import annotations

import asyncio
import time

import pytest
from support.loops import both_loops

from mailprobe.lab.outage import Skip
from mailprobe.lab.pace import PacedClock

pytestmark = both_loops


async def test_it_runs_as_much_faster_as_it_says() -> None:
    clock, real = PacedClock(500, begin=-30.0, zero_wall=1000.0), time.perf_counter()
    assert clock.now() == pytest.approx(-30.0, abs=5)
    await clock.sleep_until(20.0)
    assert clock.now() >= 20.0
    assert time.perf_counter() - real >= 0.1
    assert clock.wall() == pytest.approx(1000.0 + clock.now(), abs=5)


async def test_what_falls_due_in_a_skipped_stretch_falls_due_at_its_end() -> None:
    clock = PacedClock(200, skips=[Skip(10.0, 10_000.0), Skip(10_010.0, 20_000.0)])
    woken: dict[float, float] = {}

    async def sleeper(instant: float) -> None:
        await clock.sleep_until(instant)
        woken[instant] = clock.now()

    async with asyncio.timeout(5):
        await asyncio.gather(*map(sleeper, (5.0, 10.0, 500.0, 9_999.0, 10_005.0, 15_000.0, 20_005.0)))
    assert 5.0 <= woken[5.0] < 10.0 or woken[5.0] >= 10_000.0  # a busy machine may be late
    for instant in (10.0, 500.0, 9_999.0):
        assert woken[instant] >= 10_000.0
    assert woken[10_005.0] >= 10_005.0
    assert woken[15_000.0] >= 20_000.0
    assert woken[20_005.0] >= 20_005.0


async def test_a_timeout_inside_a_skipped_stretch_ends_at_its_end() -> None:
    clock = PacedClock(200, skips=[Skip(2.0, 1e6)])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5), clock.timeout_at(500_000.0):
            await asyncio.Event().wait()
    # timers may fire a millisecond early
    assert clock.real_seconds_until(1e6) < 0.01


async def test_no_timeout_is_none() -> None:
    async with PacedClock(100).timeout_at(None):
        await asyncio.sleep(0)


def test_it_never_shows_a_skipped_instant() -> None:
    clock = PacedClock(100_000, begin=-10.0, skips=[Skip(0.0, 1000.0), Skip(1000.0, 2000.0)])
    seen = [clock.now() for _ in range(2000)]
    assert seen == sorted(seen)
    assert not any(0.0 <= instant < 2000.0 for instant in seen)


async def test_how_long_it_takes() -> None:
    clock = PacedClock(10, skips=[Skip(100.0, 600.0)])
    assert clock.real_seconds_until(100.0) == pytest.approx(10.0, abs=0.5)
    assert clock.real_seconds_until(350.0) == pytest.approx(10.0, abs=0.5)
    assert clock.real_seconds_until(600.0) == pytest.approx(10.0, abs=0.5)
    assert clock.real_seconds_until(700.0) == pytest.approx(20.0, abs=0.5)
    assert clock.crosses(50.0, 700.0)
    assert not clock.crosses(700.0, 800.0)


def test_a_clock_has_to_run() -> None:
    with pytest.raises(ValueError, match="0"):
        PacedClock(0)
