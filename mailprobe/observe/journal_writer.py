"""The journal's thread: takes what the loop gave, writes it in groups, keeps it while the disk will not have it."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from queue import Empty, SimpleQueue
from typing import Final

from mailprobe.clock import Clock
from mailprobe.errors import ConfigurationError
from mailprobe.observe.journal_read import FINISH_OTHERS, Restored, read_restored
from mailprobe.observe.journal_rows import Entry, Row, RowMaker, Rows
from mailprobe.observe.storage import Storage, Trouble, trouble_of

LINGER: Final = 0.02
"""Seconds that an event nobody waits for may stay in memory, so that others can share its transaction."""
TEND_PAUSE: Final = 10.0
RETRY_FIRST: Final = 0.25
RETRY_LAST: Final = 5.0
_CHUNK: Final = 1000

Given = tuple[Entry, float]
"""An entry, and the wall time of the clock's instant zero when the entry was given."""
Waiter = asyncio.Future[None]


class ProblemKind(StrEnum):
    """What may befall a journal."""

    DAMAGED = "damaged"
    UNWRITABLE = "unwritable"
    OVERFLOW = "overflow"
    MISFIT = "misfit"
    UNREADABLE = "unreadable"
    UNSETTLED = "unsettled"
    RECOVERED = "recovered"
    """No problem any more: said once after UNWRITABLE."""


@dataclass(frozen=True, slots=True)
class JournalProblem:
    """Something that the user should know of the journal; probing goes on. `text` is for people."""

    kind: ProblemKind
    text: str


@dataclass(frozen=True, slots=True)
class _Held:
    """What is to be written of one entry. Made once: a second try writes the same."""

    name: str
    rows: tuple[tuple[str, Row], ...]


class Writer:
    """Owns the storage from `start` on. Whatever goes wrong with the file, the thread goes on.

    `failures`: times a write failed. `lost`: entries given up, by the name of their type. `done`: entries written
    or given up. `restored` and `say` are called on `loop`.
    """

    def __init__(self, storage: Storage, clock: Clock, retention_seconds: float, max_bytes: int) -> None:
        self.failures = 0
        self.done = 0
        self.failing = False
        self.lost: Counter[str] = Counter()
        self._storage = storage
        self._clock = clock
        self._retention_seconds = retention_seconds
        self._max_bytes = max_bytes
        self._queue: SimpleQueue[Given | Waiter | None] = SimpleQueue()
        self._urgent = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mailprobe-journal", daemon=True)
        self._maker = RowMaker()
        self._held: list[_Held] = []
        self._waiters: list[Waiter] = []
        self._working = True
        self._pause = RETRY_FIRST
        self._retry_at = 0.0
        self._tend_at = 0.0
        self._problem = ""

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        restored: Callable[[Restored | ConfigurationError], None],
        say: Callable[[JournalProblem], None],
    ) -> None:
        """Begins with opening the file; `restored` is told what was in it, or why it must not be used."""
        self._loop, self._restored, self._say = loop, restored, say
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether what is given will be taken."""
        return self._thread.is_alive()

    def give(self, given: Given, urgent: bool) -> None:
        """Takes an entry; if urgent, it is written as soon as the disk is free."""
        self._queue.put(given)
        if urgent:
            self._urgent.set()

    def tell(self, waiter: Waiter) -> None:
        """The waiter's result is set once everything given before it is written, or could not be."""
        self._queue.put(waiter)
        self._urgent.set()

    def end(self, seconds: float) -> bool:
        """Writes or gives up what is left and closes the file; false if that takes longer. Blocks."""
        self._queue.put(None)
        self._urgent.set()
        self._thread.join(seconds)
        return not self.running

    # ---- from here on: the thread

    def _run(self) -> None:
        try:
            self._restore()
        except ConfigurationError as error:
            self._working = False
            self._on_loop(self._restored, error)
        while self._working:
            self._take()
            self._attempt(self._write)
            self._release()
            if self._clock.now() >= self._tend_at:
                self._attempt(self._tend)
        self.lost.update(held.name for held in self._held)
        self._storage.close()

    def _restore(self) -> None:
        """Raises ConfigurationError; any other trouble is said, and then nothing is restored."""
        found = Restored()

        def read() -> None:
            nonlocal found
            database, now_wall = self._storage.open(), self._clock.wall()
            found = read_restored(database, self._clock, now_wall)
            database.execute(FINISH_OTHERS, {"now": now_wall})

        self._attempt(read, pass_on=ConfigurationError)
        if found.unreadable:
            what = f"{found.unreadable} canaries or incidents in it make no sense and are left alone"
            self._tell(ProblemKind.UNREADABLE, what)
        self._on_loop(self._restored, found)

    def _take(self) -> None:
        """Waits for something to do, then takes all there is."""
        until = self._retry_at if self.failing else self._tend_at
        try:
            item = self._queue.get(timeout=max(0.0, min(until - self._clock.now(), TEND_PAUSE)))
        except Empty:
            return
        if isinstance(item, tuple):
            self._urgent.wait(LINGER)
        self._urgent.clear()
        self._sort(item)
        with suppress(Empty):
            while True:
                self._sort(self._queue.get_nowait())

    def _sort(self, item: Given | Waiter | None) -> None:
        if item is None:
            self._working = False
        elif isinstance(item, tuple):
            self._make(*item)
        else:
            self._waiters.append(item)

    def _make(self, entry: Entry, shift: float) -> None:
        name = type(entry).__name__
        try:
            self._held.append(_Held(name, tuple(self._maker.rows_of(entry, shift))))
        except Exception as error:  # a bug of ours in one row must not cost the others
            self._misfit(name, error)
            self.done += 1

    def _attempt(self, work: Callable[[], None], pass_on: type[Exception] | tuple[()] = ()) -> None:
        """Does the work, once more if the file had to be set aside; leaves it while a pause after a failure lasts."""
        if self.failing and self._working and self._clock.now() < self._retry_at:
            return
        for _ in range(2):
            try:
                work()
            except pass_on:
                raise
            except Exception as error:
                self.failures += 1
                if trouble_of(error) is Trouble.DAMAGED and self._set_aside(error):
                    continue
                self._wait_after(error)
            else:
                self._recover()
            return

    def _write(self) -> None:
        if self.failing:
            self._storage.open()
        while self._held:
            chunk = self._held[:_CHUNK]
            try:
                self._storage.write(_grouped(chunk))
            except Exception as error:
                if trouble_of(error) is not Trouble.MISFIT:
                    raise
                self._write_singly(chunk)
            self.done += len(chunk)
            del self._held[:_CHUNK]

    def _write_singly(self, chunk: list[_Held]) -> None:
        """One of these cannot be written: the others are."""
        for held in chunk:
            try:
                self._storage.write(_grouped([held]))
            except Exception as error:
                if trouble_of(error) is not Trouble.MISFIT:
                    raise
                self._misfit(held.name, error)

    def _tend(self) -> None:
        more = self._storage.prune(self._clock.wall(), self._retention_seconds, self._max_bytes)
        self._tend_at = self._clock.now() + (LINGER if more else TEND_PAUSE)

    def _set_aside(self, error: Exception) -> bool:
        try:
            aside = self._storage.set_aside()
        except OSError:
            return False
        self._tell(ProblemKind.DAMAGED, f"it was damaged ({error}) and is kept as {aside.name}; a new one is begun")
        return True

    def _wait_after(self, error: Exception) -> None:
        """The file is closed, so that the next try begins with opening it: what is there then may be another disk.

        The lock is kept: another agent would take over what is in flight here.
        """
        self._storage.disconnect()
        self.failing = True
        self._retry_at = self._clock.now() + self._pause
        self._pause = min(self._pause * 2, RETRY_LAST)
        if self._problem != str(error):
            self._problem = str(error)
            self._tell(ProblemKind.UNWRITABLE, f"it cannot be written ({error}); probing goes on without it")

    def _recover(self) -> None:
        if self.failing:
            self.failing, self._pause, self._problem = False, RETRY_FIRST, ""
            self._tell(ProblemKind.RECOVERED, "it is written again")

    def _misfit(self, name: str, error: Exception) -> None:
        self.lost[name] += 1
        self._tell(ProblemKind.MISFIT, f"a row of {name} cannot be written ({error!r})")

    def _tell(self, kind: ProblemKind, text: str) -> None:
        self._on_loop(self._say, JournalProblem(kind, f"journal {self._storage.path}: {text}"))

    def _release(self) -> None:
        """All who waited may go on: what they gave is on disk, or the disk will not have it now."""
        if self._waiters:
            self._on_loop(_set_all, self._waiters)
            self._waiters = []

    def _on_loop(self, function: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(function, *arguments)


def _set_all(waiters: list[Waiter]) -> None:
    for waiter in waiters:
        if not waiter.done():  # it may have been cancelled
            waiter.set_result(None)


def _grouped(chunk: list[_Held]) -> Rows:
    rows: Rows = {}
    for held in chunk:
        for statement, row in held.rows:
            rows.setdefault(statement, []).append(row)
    return rows
