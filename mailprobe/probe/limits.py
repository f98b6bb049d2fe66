"""A sender's own limits: so many connections at once, so many messages a minute.

What the provider publishes is kept here by waiting, in the order of asking; who cannot be served before its slot is
over is told so and skips it, instead of piling up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mailprobe.clock import Clock
from mailprobe.plan import Limits

MINUTE = 60.0


class SenderBusyError(Exception):
    """There was no room in time."""


class LimitKeeper:
    """Lets at most `connections` attempts run at once and at most `messages_per_minute` begin in any 60 s."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self.limits = limits
        self._clock = clock
        self._connections = asyncio.Semaphore(limits.connections)
        self._turn = asyncio.Lock()
        self._begun: deque[float] = deque(maxlen=limits.messages_per_minute or 1)

    @asynccontextmanager
    async def permit(self, until: float) -> AsyncIterator[None]:
        """Room for one attempt, held while the block runs.

        Raises SenderBusyError if there is none before the instant `until`.
        """
        if not self._connections.locked():
            await self._connections.acquire()  # at once
        else:
            await self._wait_for_connection(until)
        try:
            await self._wait_for_rate(until)
            yield
        finally:
            self._connections.release()

    async def _wait_for_connection(self, until: float) -> None:
        try:
            async with self._clock.timeout_at(until):
                await self._connections.acquire()
        except TimeoutError:
            raise SenderBusyError from None

    async def _wait_for_rate(self, until: float) -> None:
        if not self.limits.messages_per_minute:
            return
        async with self._turn:
            if len(self._begun) == self._begun.maxlen:
                free = self._begun[0] + MINUTE
                if free > until:
                    raise SenderBusyError
                await self._clock.sleep_until(free)
            self._begun.append(self._clock.now())
