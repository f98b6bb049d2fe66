"""Feeds the ledger, publishes what it concludes, and keeps its appointments.

The ledger is pure and answers with events; this is the one place that lets them out, and the one task that looks at
the clock for it: deadlines, scans that have to be asked for, canaries that are to be forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from mailprobe.clock import Clock
from mailprobe.errors import Reason
from mailprobe.events import CanaryRestored, Event, Judged, Publish
from mailprobe.model import Attempt, Bounce, Canary, RestoredCanary, Scan, Sighting, Verdict
from mailprobe.probe.ledger import Ledger


class Judge:
    """The ledger's only caller. Every method may be called from any task of the loop and never waits."""

    def __init__(self, ledger: Ledger, clock: Clock, publish: Publish) -> None:
        self.ledger = ledger
        self.clock = clock
        self._publish = publish
        self._changed = asyncio.Event()
        self._sleeps_until: float | None = None
        self._waiting: dict[str, asyncio.Future[Verdict]] = {}
        self._asked: set[str] = set()
        self.ask_for_scan: Callable[[str], None] = lambda mailbox: None

    def publish(self, events: Iterable[Event]) -> None:
        """Lets events out, and tells those who wait for a verdict."""
        for event in events:
            self._publish(event)
            if isinstance(event, Judged):
                waiting = self._waiting.pop(event.verdict.canary.id, None)
                if waiting and not waiting.done():
                    waiting.set_result(event.verdict)

    def open(self, canary: Canary) -> None:
        """A canary is expected from now on."""
        self.publish(self.ledger.open(canary))
        self._wake_in_time()

    def skip(self, canary: Canary, reason: Reason) -> None:
        """A slot in which no canary could be started."""
        self.publish(self.ledger.skip(canary, self.clock.now(), reason))

    def attempt_begun(self, canary: Canary, number: int, at: float) -> None:
        """An attempt begins: journalled before a byte of it leaves."""
        self.publish(self.ledger.attempt_begun(canary.id, number, at))

    def dot_sent(self, canary: Canary, number: int, at: float) -> None:
        """The final dot is flushed: the message may exist."""
        self.publish(self.ledger.dot_sent(canary.id, number, at))

    def attempt_ended(self, canary: Canary, attempt: Attempt, retry_at: float | None) -> None:
        """An attempt is over; the ledger judges unless a further one is due."""
        self.publish(self.ledger.attempt_ended(canary.id, attempt, retry_at))
        self._wake_in_time()

    def sighted(self, sighting: Sighting) -> None:
        """A proven canary was found."""
        self.publish(self.ledger.sighted(sighting, self.clock.now()))

    def bounced(self, bounce: Bounce) -> None:
        """A report about a canary came in."""
        self.publish(self.ledger.bounced(bounce))

    def scanned(self, scan: Scan) -> None:
        """A complete look ended; all that it found has been reported before."""
        self._asked.discard(scan.mailbox)
        self.publish(self.ledger.scanned(scan))
        self._changed.set()

    def abandon(self, mailbox: str) -> None:
        """Another mailbox has this name now: what was sent to the one before cannot be looked for."""
        self.publish(self.ledger.abandon(mailbox, self.clock.now()))

    def verdict_of(self, canary_id: str) -> asyncio.Future[Verdict]:
        """A future of the canary's verdict; ask before the canary is opened."""
        return self._waiting.setdefault(canary_id, asyncio.get_running_loop().create_future())

    def restore(self, canaries: Iterable[RestoredCanary]) -> None:
        """Takes over the canaries of an earlier process; to be called before anything else."""
        canaries = tuple(canaries)
        self.publish(CanaryRestored(earlier.canary) for earlier in canaries if earlier.outcome is None)
        self.publish(self.ledger.restore(canaries, self.clock.now()))

    async def run(self) -> None:
        """Keeps the ledger's appointments for ever."""
        while True:
            self._changed.clear()
            now = self.clock.now()
            self.publish(self.ledger.tick(now))
            self._ask_for_scans(now)
            self._sleeps_until = self.ledger.next_due()
            try:
                async with self.clock.timeout_at(self._sleeps_until):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _wake_in_time(self) -> None:
        """Wakes `run` if something is due before it wakes by itself: of most canaries nothing is."""
        due = self.ledger.next_due()
        if due is not None and (self._sleeps_until is None or due < self._sleeps_until):
            self._changed.set()

    def _ask_for_scans(self, now: float) -> None:
        # once for each scan that ends: while one is under way, or the mailbox is down, asking again changes nothing
        for mailbox in self.ledger.wanted_scans(now) - self._asked:
            self._asked.add(mailbox)
            self.ask_for_scan(mailbox)
