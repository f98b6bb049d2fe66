"""A bound on each of many waits in a row, for the price of one timer."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Patience:
    """As one `asyncio.timeout(seconds)` after the other around waits that follow each other: `renew` begins the next.

    The block ends with TimeoutError once a wait has taken that long. Renewing sets no timer: the one there is looks
    when it rings how much is left.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._due = 0.0

    def renew(self) -> None:
        """Another wait begins now."""
        self._due = self._loop.time() + self._seconds

    async def __aenter__(self) -> None:
        self._timeout = asyncio.timeout(None)
        await self._timeout.__aenter__()
        self.renew()
        self._timer = self._loop.call_at(self._due, self._ring)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def _ring(self) -> None:
        if self._due > self._loop.time():
            self._timer = self._loop.call_at(self._due, self._ring)
        else:
            self._timeout.reschedule(self._loop.time())
