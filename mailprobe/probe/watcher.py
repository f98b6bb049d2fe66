"""Watches one mailbox for all routes that end in it: one long-lived session, there before anything is sent.

While a canary is on its way the mailbox is looked at actively, with growing pauses; else IDLE waits for a push, which
is only a hint to look. When the ledger has to say that something is *not* there, it asks for a scan, and no silence
ever stands in for one. A session that fails is given up; the next one begins after a back-off with jitter.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Final

from mailprobe.backoff import Backoff
from mailprobe.clock import Clock, wall_of
from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.events import (
    CertificateSeen,
    MailboxDown,
    MailboxScanned,
    MailboxUp,
    Publish,
    QuotaSeen,
    StrangersSeen,
    Throttled,
)
from mailprobe.imap import Found, Look, MailboxView, Session, Watermark
from mailprobe.message import Action, BounceCandidate, Key, Ours, Stranger, Token, parse_report, recognise
from mailprobe.model import Bounce, Canary, Scan, Sighting
from mailprobe.plan import Cleanup, Mailbox, Sender
from mailprobe.probe import looking
from mailprobe.probe.judge import Judge
from mailprobe.probe.sweeper import Sweeper

QUOTA_EVERY: Final = 300.0
FULL: Final = 0.99
"""Share of a quota from which on there is no room: servers round, and keep some back."""
LEFTOVER_AFTER: Final = 3600.0
"""Seconds after which one of our canaries that the ledger does not know (any more) is only litter."""


class Watcher:
    """The one who looks into a mailbox."""

    def __init__(
        self,
        mailbox: Mailbox,
        judge: Judge,
        clock: Clock,
        publish: Publish,
        *,
        key: Key,
        agent: str,
        open_session: Callable[[Mailbox], Awaitable[Session]],
        watermarks: Mapping[str, Watermark] | None = None,
        settle: Callable[[], Awaitable[None]],
        sender_of: Callable[[str], Sender | None],
        remember: Callable[[str, Mapping[str, Watermark]], None] = lambda mailbox, watermarks: None,
    ) -> None:
        self.mailbox = mailbox
        self.sweeper = Sweeper()
        self._judge = judge
        self._clock = clock
        self._publish = publish
        self._key = key
        self._agent = agent
        self._open_session = open_session
        self._watermarks = watermarks
        self._settle = settle
        self._sender_of = sender_of
        self._remember = remember
        self._wake = asyncio.Event()
        self._decided = asyncio.Event()
        self._hurry = asyncio.Event()
        self._scan_wanted = self.leaving = False
        self._last_departure = self._last_look = float("-inf")
        self._awaited = looking.Awaited()
        self._awaited_since: float | None = None
        """The first departure since nothing was on its way."""
        self._usual = looking.UsualTransit()
        self._looked: dict[bool, float] = {}
        self._continuous = False
        self._up_since: float | None = None
        self._last_scan = self._last_quota = float("-inf")
        self._begun_wall = clock.wall()
        self._unread: deque[Found] = deque()

    def expect(self, canary: Canary, at: float) -> None:
        """A canary's final dot was sent at this instant: look actively from now on."""
        self._awaited.departed(canary.id, canary.route, at)
        self._last_departure = at
        if self._awaited_since is None:
            self._awaited_since = at
        self._wake.set()

    def want_scan(self) -> None:
        """Somebody has to know what is not there."""
        self._scan_wanted = True
        self._wake.set()

    def leave(self) -> None:
        """Look once more, remove what is proven ours, log out and end."""
        self.leaving = True
        self._wake.set()
        self._hurry.set()

    def hurry(self) -> None:
        """The configuration was read again: whatever kept us from logging in may be mended."""
        self._hurry.set()

    @property
    def watermarks(self) -> Mapping[str, Watermark]:
        """Where another watcher may go on: not beyond what is still to be removed."""
        return self._safe(self._watermarks or {})

    async def decided(self) -> None:
        """Returns when the mailbox is watched, or is known not to be."""
        await self._decided.wait()

    async def run(self) -> None:
        """Watches for ever, session after session."""
        backoff = Backoff()
        while not self.leaving:
            self._up_since = None
            failure = await self._session()
            if failure is None:
                return
            if self._was_steady():
                backoff.reset()
            self._publish(MailboxDown(self.mailbox.name, self._clock.now(), failure))
            self._decided.set()
            if failure.reason is Reason.THROTTLED:
                self._publish(Throttled(f"mailbox/{self.mailbox.name}", failure.reason))
            await self._rest(self._pause(backoff, failure))

    async def _rest(self, seconds: float) -> None:
        if self.leaving:
            return
        self._hurry.clear()
        with suppress(TimeoutError):
            async with self._clock.timeout_at(self._clock.now() + seconds):
                await self._hurry.wait()

    def _pause(self, backoff: Backoff, failure: ProbeFailure) -> float:
        # a wrong password does not get better by asking often; each try may count towards a lock-out
        slow = failure.reason in (Reason.AUTH_REJECTED, Reason.THROTTLED)
        return max(backoff.pause(), 30.0 if slow else 0.0)

    async def _session(self) -> ProbeFailure | None:
        """One session from log-in to its end; answers why it failed, None if it was asked to end."""
        self._continuous = False
        session = view = None
        try:
            session = await self._open_session(self.mailbox)
            view = await MailboxView.open(session, self.mailbox, self._watermarks, since=self._since())
            await self._scan(view)
            self._announce(session)
            await self._watch(view)
            await session.close()
        except ProbeFailure as failure:
            return failure
        except Exception as error:
            # a bug of ours is the supervisor's; but nobody is looking any more, and that has to be said
            bug = ProbeFailure(Stage.FETCH, Reason.AGENT_FAILED, type(error).__name__)
            self._publish(MailboxDown(self.mailbox.name, self._clock.now(), bug))
            self._decided.set()
            raise
        finally:
            if session is not None:
                session.abort()
            if view is not None:
                self._watermarks = view.watermarks
        return None

    def _was_steady(self) -> bool:
        return self._up_since is not None and self._clock.now() - self._up_since > looking.STEADY_AFTER

    def _announce(self, session: Session) -> None:
        self._continuous = True
        self._up_since = self._clock.now()
        if session.tls:
            self._publish(CertificateSeen(f"mailbox/{self.mailbox.name}", session.tls))
        self._publish(MailboxUp(self.mailbox.name, self._clock.now(), session.tls))
        self._decided.set()

    async def _watch(self, view: MailboxView) -> None:
        while not self.leaving:
            await self._wait(view)
            self._wake.clear()
            if self._scan_wanted or self._clock.now() - self._last_scan > looking.SCAN_EVERY:
                await self._scan(view)
            else:
                await self._look(view)
            if self.sweeper.due(self._clock.now(), busy=self._look_due() is not None):
                await self._sweep(view)
            if self._clock.now() - self._last_quota >= QUOTA_EVERY:
                await self._quota(view)
        while self.sweeper:
            await self._sweep(view)

    async def _wait(self, view: MailboxView) -> None:
        """Until it is time to look again: a short pause while something is on its way, then a rest, else IDLE."""
        while not (self._scan_wanted or self.leaving):
            due = self._look_due()
            until = self._last_departure + looking.REST if due is None else due
            if until <= self._clock.now():
                if due is None:
                    await self._idle(view)
                return
            with suppress(TimeoutError):
                async with self._clock.timeout_at(until):
                    await self._wake.wait()
            self._wake.clear()

    async def _idle(self, view: MailboxView) -> None:
        expecting = self._judge.ledger.expecting(self.mailbox.name) > 0
        await view.idle(looking.PAUSE_TO_SWEEP if self.sweeper else looking.idle_seconds(expecting), self._wake)
        # a server that pushes without end is listened to no faster than this
        await self._clock.sleep_until(self._last_look + looking.SHORTEST_PAUSE)

    def _look_due(self) -> float | None:
        """When to look actively, None if nothing is on its way that would be worth it."""
        if not self._judge.ledger.expecting(self.mailbox.name):
            return None
        window = looking.active_window(self._usual.seconds)
        return self._awaited.look_due(self._looked.get(False, float("-inf")), self._last_look, window)

    def _junk_due(self) -> float:
        looked = self._looked.get(True, float("-inf"))
        return looking.JUNK_PAUSE + (looked if self._awaited_since is None else max(looked, self._awaited_since))

    async def _look(self, view: MailboxView) -> None:
        junk = self._clock.now() >= self._junk_due()
        look = await view.look(junk=junk)
        await self._take(view, look, junk=junk)

    async def _scan(self, view: MailboxView) -> None:
        asked, self._scan_wanted = self._scan_wanted, False
        full = asked and await self._quota(view) >= FULL
        look = await view.scan()
        self._last_scan = look.finished
        await self._take(view, look, junk=True)
        if look.complete:
            scan = Scan(self.mailbox.name, look.started, look.finished, full)
            self._judge.scanned(scan)
            self._publish(MailboxScanned(scan))
        else:
            self._scan_wanted = True  # what was asked is not answered yet
        self._remember(self.mailbox.name, self._safe(view.watermarks))

    async def _take(self, view: MailboxView, look: Look, *, junk: bool) -> None:
        """Tells the ledger what a look found, and remembers when it was.

        First what needs nothing more: no look finds it again, if the session ends while a report is fetched.
        """
        strangers = 0
        for found in look.found:
            recognised = recognise(found.headers, self._key, self._agent)
            if isinstance(recognised, Ours):
                self._ours(found, recognised.token)
            elif isinstance(recognised, BounceCandidate):
                self._unread.append(found)
            else:
                strangers += isinstance(recognised, Stranger)
        self._count_strangers(strangers)
        while self._unread:
            found = self._unread.popleft()  # once: what ends a session would end the next one too
            self._count_strangers(not await self._bounced(view, found))
        if not self._judge.ledger.expecting(self.mailbox.name):
            self._awaited_since = None
        self._last_look = look.finished
        self._looked[False] = look.started
        if junk:
            self._looked[True] = look.started

    def _count_strangers(self, count: int) -> None:
        if count:
            self._publish(StrangersSeen(self.mailbox.name, count))

    def _ours(self, found: Found, token: Token) -> None:
        canary = self._judge.ledger.canary(token.id)
        if canary and canary.mailbox == self.mailbox.name and token.is_for(canary.route):
            self._judge.sighted(self._sighting(found, canary))
            self._usual.took(max(0.0, found.noticed - canary.opened))
            self._awaited.seen(canary.id, found.noticed)
        elif canary or token.sent_wall >= max(self._begun_wall, self._clock.wall() - LEFTOVER_AFTER):
            return  # another mailbox's, or of an agent of the same name that runs beside us: not ours to touch
        self._remove(found)

    def _sighting(self, found: Found, canary: Canary) -> Sighting:
        return Sighting(
            canary=canary.id,
            mailbox=self.mailbox.name,
            folder=found.folder,
            junk=found.junk,
            uidvalidity=found.uidvalidity,
            uid=found.uid,
            noticed=found.noticed,
            previous_look=self._looked.get(found.junk),
            continuous=self._continuous,
            internaldate_wall=found.internaldate_wall,
            headers=found.headers,
        )

    async def _bounced(self, view: MailboxView, found: Found) -> bool:
        """Whether the message is a report about a canary of ours; if so the ledger is told."""
        message = await view.fetch_message(found)
        report = parse_report(message, self._key) if message else None
        canary = self._judge.ledger.canary(report.token.id) if report and report.token else None
        if report is None or canary is None or report.action not in (Action.FAILED, Action.DELAYED):
            return False
        sender = self._sender_of(canary.sender)
        if sender is None or not sender.bounces_come_to(self.mailbox):
            return False  # a report to somebody else, who sent a copy or is shown one
        bounce = Bounce(
            canary=canary.id,
            mailbox=self.mailbox.name,
            action=report.action,
            status=report.status,
            diagnostic=report.diagnostic,
            reporting_mta=report.reporting_mta,
            noticed=found.noticed,
        )
        self._judge.bounced(bounce)
        self._remove(found)
        return True

    def _remove(self, found: Found) -> None:
        if self.mailbox.cleanup is Cleanup.DELETE:
            self.sweeper.add((found.folder, found.uidvalidity, found.uid), self._clock.now())

    def _safe(self, watermarks: Mapping[str, Watermark]) -> dict[str, Watermark]:
        safe = dict(watermarks)
        for folder, uidvalidity, uid in self.sweeper:
            mark = safe.get(folder)
            if mark and mark.uidvalidity == uidvalidity and uid < mark.next_uid:
                safe[folder] = Watermark(uidvalidity, uid)
        return safe

    async def _sweep(self, view: MailboxView) -> None:
        places = self.sweeper.batch()
        # killed after the removal and before the sighting is written, a canary would be looked for in vain
        await self._settle()
        await view.delete(places)
        self.sweeper.removed(places, self._clock.now())

    async def _quota(self, view: MailboxView) -> float:
        """The share of the mailbox's storage that is used, 0 where the server does not say."""
        self._last_quota = self._clock.now()
        used = await view.session.quota()
        if used is not None:
            self._publish(QuotaSeen(self.mailbox.name, used))
        return used or 0.0

    def _since(self) -> date | None:
        """The day before the oldest canary that may lie there unseen; None if there is none."""
        opened = self._judge.ledger.earliest_opened(self.mailbox.name)
        if opened is None:
            return None
        return datetime.fromtimestamp(wall_of(self._clock, opened) - 86400, UTC).date()
