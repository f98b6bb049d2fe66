"""Waiting for the server to speak: IDLE (RFC 2177), ended at once by news, by ourselves, or by the connection's end.

Silence is no evidence: a half-open connection is silent too. Whoever judges looks first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from enum import StrEnum
from typing import Any, Final

from mailprobe.errors import Stage
from mailprobe.imap.connection import Connection
from mailprobe.imap.failure import refusal
from mailprobe.imap.protocol import Exchange

WITHOUT_IDLE_SECONDS: Final = 10.0
"""The longest wait where the server has no IDLE and nothing but a look tells."""


class IdleEnd(StrEnum):
    """Why the wait is over; each means that a look is worth while."""

    PUSHED = "pushed"
    QUIET = "quiet"
    WOKEN = "woken"


async def idle(connection: Connection, seconds: float, wake: asyncio.Event) -> IdleEnd:
    """One wait. Raises ProbeFailure as soon as the connection ends, and the connection is spent if cancelled."""
    protocol = connection.protocol
    if protocol.arrivals.news:
        return IdleEnd.PUSHED
    if wake.is_set():
        return IdleEnd.WOKEN
    protocol.pushed.clear()
    tasks = _Tasks()
    pushed, woken = tasks.start(protocol.pushed.wait()), tasks.start(wake.wait())
    try:
        if "IDLE" in connection.capabilities:
            await _idle(connection, tasks, seconds, pushed, woken)
        else:
            await tasks.first(min(seconds, WITHOUT_IDLE_SECONDS), pushed, woken, protocol.lost)
            if protocol.lost.done():
                await connection.bounded(Stage.FETCH, protocol.lost)
        if pushed.done():
            return IdleEnd.PUSHED
        return IdleEnd.WOKEN if wake.is_set() else IdleEnd.QUIET
    except BaseException:
        connection.abort()
        raise
    finally:
        await tasks.cancel()


async def _idle(
    connection: Connection, tasks: _Tasks, seconds: float, pushed: asyncio.Task[Any], woken: asyncio.Task[Any]
) -> None:
    exchange = Exchange("IDLE", connection.protocol.new_tag())
    idling = tasks.start(connection.perform(exchange))
    continued = tasks.start(exchange.continued.wait())
    await connection.bounded(Stage.FETCH, tasks.first(None, idling, continued))
    if not idling.done():
        await tasks.first(seconds, idling, pushed, woken)
    if not idling.done():
        connection.protocol.send("DONE")
    await connection.bounded(Stage.FETCH, idling)
    if exchange.result != "OK":
        raise refusal(exchange, Stage.FETCH)


class _Tasks:
    """Tasks that end with the wait that they are for."""

    def __init__(self) -> None:
        self._all: list[asyncio.Task[Any]] = []

    def start(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        self._all.append(asyncio.ensure_future(work))
        return self._all[-1]

    @staticmethod
    async def first(seconds: float | None, *futures: asyncio.Future[Any]) -> None:
        """Returns when one of them is done, or the time is over."""
        await asyncio.wait(futures, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)

    async def cancel(self) -> None:
        for task in self._all:
            task.cancel()
        await asyncio.gather(*self._all, return_exceptions=True)
