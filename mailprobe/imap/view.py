"""What is new in a mailbox: inbox and junk folder, each from a watermark on.

A look is cheap and shared by all canaries of the mailbox: its cost depends on what is new, not on what lies there. A
watermark is the first UID not yet returned; UIDs only grow (RFC 3501 2.3.1.1), until UIDVALIDITY changes: then
everything since a day is searched again by date. Each folder is looked at after the one that mail is moved out of,
and the inbox once more after junk, so that what moves meanwhile is not missed in both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from mailprobe.imap import folders
from mailprobe.imap.session import BATCH, Fetched, Removal, Selected, Session
from mailprobe.imap.waiting import IdleEnd
from mailprobe.plan import Mailbox

Place = tuple[str, int, int]
"""Folder, UIDVALIDITY, UID: the only name of a message that never comes to mean another."""


@dataclass(frozen=True, slots=True)
class Watermark:
    """Everything below `next_uid` was returned, as long as the folder's UIDVALIDITY is this one."""

    uidvalidity: int
    next_uid: int


@dataclass(frozen=True, slots=True)
class Found:
    """A message that is new. `noticed`: when the server first told us; `internaldate_wall`: the server's clock."""

    folder: str
    junk: bool
    uidvalidity: int
    uid: int
    internaldate_wall: float | None
    headers: bytes
    noticed: float


@dataclass(frozen=True, slots=True)
class Look:
    """One look. `complete`: whatever was in any of the folders at `started`, from the watermarks on, is returned."""

    started: float
    finished: float
    complete: bool
    found: tuple[Found, ...]


@dataclass(slots=True)
class _Place:
    """A folder of the view. `told`: (UIDNEXT, instant), each beyond the watermark, as the server said it."""

    name: str
    junk: bool
    mark: Watermark | None = None
    backlog: bool = False
    """The watermark is of no use: search by date."""
    settled: Watermark | None = None
    """As of the last look that was returned; what a failed one found is found again from here."""
    told: list[tuple[int, float]] = field(default_factory=list)

    @property
    def behind(self) -> bool:
        """Whether there is something to fetch as far as the server said."""
        return self.backlog or bool(self.told)

    def hear(self, uidnext: int, at: float) -> None:
        """The server said that its next UID is this one."""
        if self.mark is not None and uidnext > self.mark.next_uid:
            self.told.append((uidnext, at))


class MailboxView:
    """Inbox and junk folder on a session; for one task at a time. Between its calls the inbox is selected, or nothing.

    `since`: the day from which on to search where a watermark is void; leave a day for time zones.
    """

    def __init__(self, session: Session, inbox: str, junk: str | None, since: date | None) -> None:
        self.session = session
        self.since = since
        self._inbox = _Place(inbox, junk=False)
        self._junk = _Place(junk, junk=True) if junk is not None and junk != inbox else None
        self._gathered: list[Found] = []
        """Found and not yet returned: the look failed on the way."""

    @classmethod
    async def open(
        cls,
        session: Session,
        mailbox: Mailbox,
        watermarks: Mapping[str, Watermark] | None = None,
        since: date | None = None,
    ) -> MailboxView:
        """Finds the folders and where to begin: at the watermarks, else at `since`, else with what comes from now on.

        Raises ProbeFailure; SELECT and MAILBOX_MISSING for a configured folder that is not there.
        """
        there = await session.folders()
        view = cls(session, folders.find(mailbox.inbox, there), folders.junk(mailbox.junk, there), since)
        for place in (view._junk, view._inbox):
            if place is not None:
                place.mark = (watermarks or {}).get(place.name)
                place.backlog = place.mark is None and since is not None
                await view._enter(place)
                if since is None:  # nothing older is expected, whatever the watermark is worth
                    place.backlog = False
        view._settle()
        return view

    @property
    def junk(self) -> str | None:
        """The junk folder's name, None if there is none."""
        return self._junk.name if self._junk else None

    @property
    def watermarks(self) -> dict[str, Watermark]:
        """Where a later view may resume: all before was returned. Without a folder still to be searched by date."""
        return {place.name: place.settled for place in (self._inbox, self._junk) if place and place.settled}

    async def look(self, *, junk: bool = True) -> Look:
        """The cheap look, which trusts the server's hints (EXISTS after NOOP, STATUS of junk). Raises ProbeFailure."""
        started = self.session.clock.now()
        if await self._left():
            if await self._grown(self._inbox):
                await self._enter(self._inbox)
        elif self._is_selected(self._inbox):
            await self.session.noop()
        else:
            await self._enter(self._inbox)
        if self._inbox.behind or self.session.news:
            await self._catch_up(self._inbox)
        if junk and self._junk and await self._grown(self._junk):
            await self._visit_junk(self._junk)
        return self._done(started, complete=junk or self._junk is None)

    async def scan(self) -> Look:
        """The thorough look: every folder is selected afresh and searched, whatever was hinted. Raises ProbeFailure."""
        started = self.session.clock.now()
        if self._is_selected(self._inbox) and self.session.news:  # selecting forgets when they were announced
            await self._catch_up(self._inbox)
        await self._enter(self._inbox)
        await self._catch_up(self._inbox, trusting=False)
        if self._junk:
            await self._visit_junk(self._junk, trusting=False)
        return self._done(started, complete=True)

    async def idle(self, seconds: float, wake: asyncio.Event) -> IdleEnd:
        """Waits for the inbox to grow; at once if there is something to look at. Raises as soon as the session ends."""
        if not self._is_selected(self._inbox):
            await self._enter(self._inbox)
        return IdleEnd.PUSHED if self._inbox.behind else await self.session.idle(seconds, wake)

    async def delete(self, places: Iterable[Place]) -> frozenset[Place]:
        """Removes exactly these messages, where their UIDVALIDITY still holds; answers which are gone."""
        gone: set[Place] = set()
        wanted = set(places)
        for place in filter(None, (self._inbox, self._junk)):
            ours = {item for item in wanted if item[0] == place.name}
            if ours:
                gone |= await self._delete(place, ours)
        await self._back()
        return frozenset(gone)

    async def fetch_message(self, found: Found) -> bytes | None:
        """The whole message (256 KiB of it at most), for a DSN's parts; None if it is gone."""
        place = self._inbox if found.folder == self._inbox.name else self._junk
        if place is None or place.name != found.folder:
            return None
        content = None
        if (await self._selected(place)).uidvalidity == found.uidvalidity:
            content = await self.session.fetch_message(found.uid)
        await self._back()
        return content

    # ---- one folder

    async def _enter(self, place: _Place) -> None:
        """Selects the folder and settles what its watermark is worth."""
        selected = await self.session.select(place.name)
        mark = place.mark
        # a UIDNEXT that went back is a mailbox restored without a new UIDVALIDITY: as void as a changed one
        if mark and (mark.uidvalidity != selected.uidvalidity or selected.uidnext < mark.next_uid):
            place.backlog, mark = True, None
        if mark is None:
            place.mark, place.told = Watermark(selected.uidvalidity, selected.uidnext), []
        place.hear(selected.uidnext, selected.at)

    async def _left(self) -> bool:
        """Whether no folder is selected, so that STATUS may be asked of the inbox.

        Dovecot answers that in 3 ms while a message comes in, a NOOP in the selected folder in 7 to 30: it waits for
        the lock of the delivery, and what is measured is when that was gone.
        """
        if "UNSELECT" not in self.session.capabilities or self._inbox.behind or self.session.news:
            return False
        if self.session.selected is not None:
            await self.session.unselect()
        return True

    def _is_selected(self, place: _Place) -> bool:
        return self.session.selected is not None and self.session.selected.name == place.name

    async def _selected(self, place: _Place) -> Selected:
        if not self._is_selected(place):
            await self._enter(place)
        assert self.session.selected is not None  # select() answers or raises
        return self.session.selected

    async def _grown(self, place: _Place) -> bool:
        """Whether a folder that is not selected has something for us, by its STATUS."""
        status = await self.session.status(place.name)
        if status.uidnext is None or status.uidvalidity is None or place.mark is None:
            return True
        if status.uidvalidity == place.mark.uidvalidity:
            place.hear(status.uidnext, status.at)
            return place.behind
        return True

    async def _visit_junk(self, place: _Place, *, trusting: bool = True) -> None:
        """Goes through the junk folder, and through what came into the inbox meanwhile."""
        await self._enter(place)
        await self._catch_up(place, trusting=trusting)
        await self._enter(self._inbox)
        if self._inbox.behind:
            await self._catch_up(self._inbox)

    async def _catch_up(self, place: _Place, *, trusting: bool = True) -> None:
        """All that is new in the selected folder, and its watermark moved beyond."""
        mark = place.mark
        assert mark is not None  # set by _enter
        expected = max([self.session.news, *(told - mark.next_uid for told, _ in place.told)])
        if trusting and expected <= BATCH and not place.backlog:
            fetched = await self.session.fetch_headers(mark.next_uid)
        else:
            uids = set(await self.session.search_from(mark.next_uid))
            if place.backlog:
                uids.update(await self.session.search_since(self._day()))
            fetched = await self.session.fetch_uids(sorted(uids))
        fetched.sort(key=lambda message: message.uid)
        self._gathered += [self._found(place, mark, message) for message in fetched]
        highest = max((message.uid for message in fetched), default=0)
        place.mark = Watermark(mark.uidvalidity, max([mark.next_uid, highest + 1, *(told for told, _ in place.told)]))
        place.backlog, place.told = False, []

    def _found(self, place: _Place, mark: Watermark, message: Fetched) -> Found:
        noticed = min([message.noticed, *(at for uidnext, at in place.told if message.uid < uidnext)])
        return Found(
            place.name,
            place.junk,
            mark.uidvalidity,
            message.uid,
            message.internaldate_wall,
            message.headers,
            noticed,
        )

    async def _delete(self, place: _Place, items: set[Place]) -> set[Place]:
        selected = await self._selected(place)
        ours = {item for item in items if item[1] == selected.uidvalidity}
        if not ours:
            return set()
        removal = await self.session.delete(sorted(uid for _, _, uid in ours))
        return ours if removal is Removal.EXPUNGED else set()

    async def _back(self) -> None:
        await self._selected(self._inbox)

    def _done(self, started: float, *, complete: bool) -> Look:
        self._settle()
        found, self._gathered = tuple(self._gathered), []
        return Look(started, self.session.clock.now(), complete, found)

    def _settle(self) -> None:
        for place in (self._inbox, self._junk):
            if place is not None:
                place.settled = None if place.backlog else place.mark

    def _day(self) -> date:
        if self.since is not None:
            return self.since
        return (datetime.fromtimestamp(self.session.clock.wall(), UTC) - timedelta(days=1)).date()
