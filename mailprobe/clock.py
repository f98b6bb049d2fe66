"""The only place where time enters: durations from a monotonic clock, wall time for people.

Every instant inside the agent is a float of seconds on the monotonic clock of this process; it is turned into
wall time only where it leaves (journal, JSON, pages). `loop.time()` is not used for measuring: uvloop moves it
in steps of 1 ms, once per iteration.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the agent may ask about time; tests bring their own."""

    def now(self) -> float:
        """Seconds on the monotonic clock; only differences mean anything."""
        ...

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump."""
        ...

    async def sleep_until(self, instant: float) -> None:
        """Returns when `now()` has reached the instant, never before."""
        ...

    def timeout_at(self, instant: float | None) -> asyncio.Timeout:
        """`asyncio.timeout_at` on this clock."""
        ...


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    # asked eighty times a canary: the functions themselves, without one of ours around them
    now = staticmethod(time.perf_counter)
    wall = staticmethod(time.time)

    async def sleep_until(self, instant: float) -> None:
        """Returns when `now()` has reached the instant, never before."""
        if (left := instant - self.now()) <= 0:
            await asyncio.sleep(0)
        # uvloop's timers are rounded to 1 ms and may fire early
        while left > 0:
            await asyncio.sleep(left)
            left = instant - self.now()

    def timeout_at(self, instant: float | None) -> asyncio.Timeout:
        """`asyncio.timeout_at` on this clock."""
        return asyncio.timeout(None if instant is None else max(0.0, instant - self.now()))


class WrittenTime:
    """The clock of what was written down: on it an instant is its wall time, so that nothing is lost by turning it.

    Nothing passes on it, and nobody waits.
    """

    __slots__ = ()

    def now(self) -> float:
        """Zero, as `wall` is."""
        return 0.0

    def wall(self) -> float:
        """Zero, as `now` is."""
        return 0.0

    async def sleep_until(self, instant: float) -> None:
        """Returns at once."""

    def timeout_at(self, instant: float | None) -> asyncio.Timeout:
        """No time-out."""
        return asyncio.timeout(None)


def wall_of(clock: Clock, instant: float) -> float:
    """Wall time (Unix seconds) of a monotonic instant, judged by how long ago it was.

    Computed afresh on each call, so that a step of the wall clock is followed instead of being remembered.
    """
    return clock.wall() - (clock.now() - instant)


def instant_of(clock: Clock, wall: float) -> float:
    """Monotonic instant of a wall time written by an earlier process; as good as the wall clock was."""
    return clock.now() - (clock.wall() - wall)


def rfc3339(wall: float) -> str:
    """RFC 3339 UTC with milliseconds, e.g. `2026-01-22T19:00:00.123Z`."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_time(moment: datetime) -> float:
    """Unix seconds of a date and time; one that has no zone is UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
