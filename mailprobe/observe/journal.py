"""The journal: what happened to every canary, on disk, so that a restart forgets nothing.

A subscriber of `events.Bus`: events are put on a queue and written by a thread of the journal's own, many in one
transaction; the event loop never touches the disk. WAL with synchronous=NORMAL: what is settled survives the
death of the process; a loss of power may cost the last transactions. Source: https://sqlite.org/wal.html.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mailprobe.clock import Clock, wall_of
from mailprobe.errors import ConfigurationError
from mailprobe.events import ArrivedLate, CanaryLost, Event, Judged
from mailprobe.observe.journal_read import RecordedCanary, Restored, read_canary, read_recent
from mailprobe.observe.journal_rows import JOURNALLED, Entry, Watermark
from mailprobe.observe.journal_writer import JournalProblem, ProblemKind, Writer
from mailprobe.observe.storage import Storage

__all__ = ["Journal", "JournalProblem", "ProblemKind", "RecordedCanary", "Restored", "Watermark"]

CAPACITY: Final = 10_000
"""Entries kept in memory while the disk will not have them."""
MAX_BYTES: Final = 1 << 30
SETTLE_LIMIT: Final = 2.0
CLOSE_LIMIT: Final = 3.0

_URGENT: Final = frozenset((Judged, ArrivedLate, CanaryLost))
"""What is said only once: a process killed after saying it must not say it again."""


class Journal:
    """Writes down events, and gives back what an earlier process left unfinished.

    `retention_seconds` and `max_bytes` bound the file; `on_problem` is called on the event loop. What is given
    before `restore` is written after it.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        retention_seconds: float,
        on_problem: Callable[[JournalProblem], None],
        max_bytes: int = MAX_BYTES,
        capacity: int = CAPACITY,
    ) -> None:
        self._path = path
        self._clock = clock
        self._on_problem = on_problem
        self._capacity = capacity
        self._storage = Storage(path)
        self._writer = Writer(self._storage, clock, retention_seconds, max_bytes)
        self._given = 0
        self._overflowed: Counter[str] = Counter()
        self._said: set[ProblemKind] = set()
        self._ended = False

    @property
    def rows(self) -> int:
        """Rows in the file: canaries, attempts, sightings and bounces."""
        return self._storage.rows

    @property
    def size_bytes(self) -> int:
        """Size of the file and its log on disk, as of a few seconds ago."""
        return self._storage.size_bytes

    @property
    def write_errors(self) -> int:
        """Times a write failed, and entries given up."""
        return self._writer.failures + self.lost.total()

    @property
    def lost(self) -> Counter[str]:
        """Entries given up, by the name of their type."""
        return self._writer.lost + self._overflowed

    def __call__(self, event: Event) -> None:
        """Takes an event to be written down; others than those about canaries pass by. Never waits, never raises."""
        kind = type(event)
        if kind in JOURNALLED:
            self._give(event, kind in _URGENT)

    def save_watermark(self, mailbox: str, folder: str, uidvalidity: int, uidnext: int) -> None:
        """Notes how far a folder has been read; on disk never before what was given earlier."""
        self._give(Watermark(mailbox, folder, uidvalidity, uidnext), False)

    async def settle(self) -> None:
        """Returns when everything given so far is on disk or cannot be put there now; after 2 s in any case."""
        writer = self._writer
        if writer.done >= self._given or writer.failing or not writer.running:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        writer.tell(waiter)
        try:
            async with asyncio.timeout(SETTLE_LIMIT):
                await waiter
        except TimeoutError:
            self._say_once(ProblemKind.UNSETTLED, f"a write took more than {SETTLE_LIMIT:g} s; probing does not wait")
        else:
            self._said.discard(ProblemKind.UNSETTLED)

    async def restore(self) -> Restored:
        """Opens the file and returns what an earlier process left; to be called once, at the start.

        Nothing is restored of a file that is damaged or out of reach: that is a problem, said as such. Raises
        ConfigurationError if the file is another agent's, a newer mailprobe's or another program's.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Restored | ConfigurationError] = loop.create_future()

        def restored(found: Restored | ConfigurationError) -> None:
            if not answer.done():
                answer.set_result(found)

        self._writer.start(loop, restored, self._on_problem)
        found = await answer
        if isinstance(found, ConfigurationError):
            self._ended = True
            raise found
        return found

    async def close(self) -> None:
        """Writes what is left and closes the file; after 3 s in any case. What is given later is lost."""
        if self._ended or not self._writer.running:
            return
        self._ended = True
        if not await asyncio.to_thread(self._writer.end, CLOSE_LIMIT):
            self._say_once(ProblemKind.UNSETTLED, f"closing it took more than {CLOSE_LIMIT:g} s; left as it is")

    async def recent(self, route: str, limit: int = 100) -> tuple[RecordedCanary, ...]:
        """The newest canaries of a route, newest first, without their attempts; none if the file cannot be read."""
        try:
            return await asyncio.to_thread(read_recent, self._path, route, limit)
        except sqlite3.Error:
            return ()

    async def canary(self, id: str) -> RecordedCanary | None:
        """A canary and its attempts; None if it is not known, or the file cannot be read."""
        try:
            return await asyncio.to_thread(read_canary, self._path, id)
        except sqlite3.Error:
            return None

    def _give(self, entry: Entry, urgent: bool) -> None:
        if self._ended or self._given - self._writer.done >= self._capacity:
            self._overflowed[type(entry).__name__] += 1
            self._say_once(ProblemKind.OVERFLOW, "more is waiting than may be kept in memory: from here on it is lost")
            return
        self._given += 1
        self._writer.give((entry, wall_of(self._clock, 0.0)), urgent)

    def _say_once(self, kind: ProblemKind, text: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self._on_problem(JournalProblem(kind, f"journal {self._path}: {text}"))
