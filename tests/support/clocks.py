"""A clock that moves only when a test says so: actors that wait for hours are tested in milliseconds."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable


class VirtualClock:
    """`mailprobe.clock.Clock` in virtual time; `advance` moves it, waking each sleeper at its own instant."""

    def __init__(self, now: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self._now = now
        self._offset = wall - now
        self._alarms: list[tuple[float, int, Callable[[], None]]] = []
        self._tickets = itertools.count()

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._now + self._offset

    async def sleep_until(self, instant: float) -> None:
        if instant <= self._now:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._alarm(instant, lambda: future.done() or future.set_result(None))
        await future

    def timeout_at(self, instant: float | None) -> asyncio.Timeout:
        timeout = asyncio.timeout(None)
        if instant is not None:
            self._alarm(instant, lambda: self._expire(timeout))
        return timeout

    async def advance(self, seconds: float) -> None:
        """Moves time, stopping at every instant somebody waits for."""
        end = self._now + seconds
        await settle()
        while self._alarms and self._alarms[0][0] <= end:
            instant, _, ring = heapq.heappop(self._alarms)
            self._now = max(self._now, instant)
            ring()
            await settle()
        self._now = end
        await settle()

    def jump(self, seconds: float) -> None:
        """Time passes while nobody runs: a suspended machine, a blocked loop."""
        self._now += seconds

    def _alarm(self, instant: float, ring: Callable[[], object]) -> None:
        heapq.heappush(self._alarms, (instant, next(self._tickets), lambda: ring() and None))

    def _expire(self, timeout: asyncio.Timeout) -> None:
        try:
            timeout.reschedule(asyncio.get_running_loop().time())
        except RuntimeError:  # it is over already
            return


async def settle(turns: int = 25) -> None:
    """Lets everything run that can run without time passing."""
    for _ in range(turns):
        await asyncio.sleep(0)
