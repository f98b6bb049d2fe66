"""A clock that runs many times as fast as the machine's, and passes over stretches in which nothing is to be seen.

Skipped stretches are known from the beginning, so the way from real time to this clock's is one broken line: what
falls due inside a stretch falls due at its end, in the instant in which the clock arrives there, and nobody needs
to be woken by a jump.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from mailprobe.lab.outage import Skip


class PacedClock:
    """`mailprobe.clock.Clock` at `speed` seconds a second.

    `now()` is `begin` where the clock is made, or started anew, and 0 at `zero_wall` (Unix seconds).
    """

    __slots__ = ("_begin", "_skips", "_started", "speed", "zero_wall")

    def __init__(self, speed: float, *, begin: float = 0.0, zero_wall: float = 0.0, skips: Iterable[Skip] = ()) -> None:
        if not speed > 0:
            raise ValueError(f"a clock cannot run at the speed {speed}")
        self.speed = speed
        self.zero_wall = zero_wall
        self._begin = begin
        self._skips = tuple(sorted(skips, key=lambda skip: skip.begin))
        self.start()

    def start(self) -> None:
        """Sets the clock to its beginning, before anybody waits on it."""
        self._started = time.perf_counter()

    def now(self) -> float:
        """Seconds on this clock."""
        instant = self._begin + (time.perf_counter() - self._started) * self.speed
        for skip in self._skips:
            if skip.begin <= instant and skip.begin >= self._begin:
                instant += skip.end - skip.begin
        return instant

    def wall(self) -> float:
        """Unix seconds, had it been then."""
        return self.zero_wall + self.now()

    def real_seconds_until(self, instant: float) -> float:
        """Seconds of the machine's clock until `now()` reaches the instant; negative if it has."""
        return self._started + self._played_before(instant) / self.speed - time.perf_counter()

    async def sleep_until(self, instant: float) -> None:
        """Returns when `now()` has reached the instant, never before."""
        await asyncio.sleep(0)
        while self.now() < instant:  # noqa: ASYNC110 - timers are rounded and may fire early
            await asyncio.sleep(max(0.0, self.real_seconds_until(instant)))

    def timeout_at(self, instant: float | None) -> asyncio.Timeout:
        """`asyncio.timeout_at` on this clock."""
        return asyncio.timeout(None if instant is None else max(0.0, self.real_seconds_until(instant)))

    def crosses(self, begin: float, end: float) -> bool:
        """Whether a stretch was skipped between two instants: a duration across it is an upper bound."""
        return any(begin <= skip.begin and skip.end <= end for skip in self._skips)

    def _played_before(self, instant: float) -> float:
        """Seconds of this clock that are played before the instant."""
        skipped = sum(
            min(instant, skip.end) - skip.begin for skip in self._skips if self._begin <= skip.begin < instant
        )
        return instant - skipped - self._begin
