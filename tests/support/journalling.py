"""Canaries, attempts and a place to keep journals in, for tests of the journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mailprobe.model import Attempt, AttemptOutcome, Canary, Outcome, Peer, Sighting, Verdict
from mailprobe.observe.journal import Journal, JournalProblem


class SteppingClock:
    """A clock that stands still unless it is told to go on."""

    def __init__(self) -> None:
        self._now, self._wall = 5000.0, 1.8e9

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        return self._wall

    def skip(self, seconds: float, *, wall: float) -> None:
        self._now += seconds
        self._wall += wall

    def restart(self) -> None:
        """As after a reboot: the monotonic clock begins anew, the wall clock does not."""
        self._now = 7.0


def a_canary(clock: Any, id: str = "canary", *, late_until: float = 3600.0) -> Canary:
    opened = clock.now()
    return Canary(id, "route", "sender", "mailbox", opened, opened + 60, opened + late_until)


def an_attempt(
    number: int,
    begun: float,
    outcome: AttemptOutcome = AttemptOutcome.ACCEPTED,
    ended: float | None = None,
    **more: Any,
) -> Attempt:
    peer = Peer("mx.example.org", "192.0.2.1", 25)
    return Attempt(number, begun, begun + 1 if ended is None else ended, outcome, peer=peer, **more)


def sighting_of(canary: Canary, uid: int = 1, noticed: float = 5001.0) -> Sighting:
    return Sighting(canary.id, canary.mailbox, "INBOX", False, 1, uid, noticed, noticed - 1, True)


def verdict_on(canary: Canary, outcome: Outcome) -> Verdict:
    return Verdict(canary, outcome, canary.opened + 60)


class Desk:
    """One journal's path, its clock, and what was said of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = SteppingClock()
        self.start, self.wall_at_start = self.clock.now(), self.clock.wall()
        self.problems: list[JournalProblem] = []

    def new(self, **more: Any) -> Journal:
        more = {"clock": self.clock, "retention_seconds": 30 * 86400.0} | more
        return Journal(self.path, on_problem=self.problems.append, **more)

    @asynccontextmanager
    async def journal(self, **more: Any) -> AsyncIterator[Journal]:
        """A journal that is closed at the end; not restored yet."""
        journal = self.new(**more)
        try:
            yield journal
        finally:
            await journal.close()

    async def until(self, true: Callable[[], bool], seconds: float = 10.0) -> None:
        """Waits for something that the journal's thread does; its clock goes on meanwhile."""
        async with asyncio.timeout(seconds):
            while not true():
                self.clock.skip(0.1, wall=0.1)
                await asyncio.sleep(0.005)
