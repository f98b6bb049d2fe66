"""One IMAP session: what mailprobe asks of a mailbox, each with a bound in time and in size.

For one task at a time. A ProbeFailure from a time-out, a lost connection or a malformed reply means that the session
is spent (`alive` is false); one from a plain NO does not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from mailprobe.auth.tokens import TokenOf, no_tokens
from mailprobe.clock import Clock
from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.imap import names, parse
from mailprobe.imap.connection import Connection
from mailprobe.imap.opening import open_connection
from mailprobe.imap.parse import Folder
from mailprobe.imap.protocol import Exchange, Untagged
from mailprobe.imap.waiting import IdleEnd, idle
from mailprobe.model import TlsFacts
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Mailbox

BATCH: Final = 100
"""Messages of one FETCH."""
HEADER_LIMIT: Final = 65536
"""Octets of a message's headers that are fetched."""
MESSAGE_LIMIT: Final = 262144
"""Octets of a whole message that are fetched, where one is: enough for a DSN's parts."""
LOGOUT_SECONDS: Final = 2.0
_HEADERS: Final = f"(UID INTERNALDATE BODY.PEEK[HEADER]<0.{HEADER_LIMIT}>)"


@dataclass(frozen=True, slots=True)
class Selected:
    """The selected folder as it was when selected, at the instant `at`."""

    name: str
    uidvalidity: int
    uidnext: int
    exists: int
    at: float


@dataclass(frozen=True, slots=True)
class Status:
    """A folder that is not selected, at the instant `at`; None: the server did not say."""

    uidvalidity: int | None
    uidnext: int | None
    messages: int | None
    at: float


@dataclass(frozen=True, slots=True)
class Fetched:
    """A message's headers. `noticed`: when the server first told us of it; `internaldate_wall`: its own clock."""

    uid: int
    internaldate_wall: float | None
    headers: bytes
    noticed: float


class Removal(StrEnum):
    """What became of messages that were to be deleted."""

    EXPUNGED = "expunged"
    FLAGGED = "flagged"
    """Left with \\Deleted: an EXPUNGE would have taken messages with it that are not ours."""
    REFUSED = "refused"


class Session:
    """A connection to a mailbox on which we are logged in."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.clock = clock
        self._connection = connection
        self.selected: Selected | None = None

    @classmethod
    async def open(
        cls, mailbox: Mailbox, *, clock: Clock, resolver: Resolver, token_of: TokenOf = no_tokens
    ) -> Session:
        """Connects and logs in. Raises ProbeFailure with the stage and reason; each step within mailbox.timeout.

        `token_of` gets the token of a mailbox that logs in with one.
        """
        return cls(await open_connection(mailbox, clock, resolver, token_of), clock)

    @property
    def tls(self) -> TlsFacts | None:
        """What TLS came to; None in the clear."""
        return self._connection.tls

    @property
    def capabilities(self) -> frozenset[str]:
        """What the server offers after login, upper case."""
        return self._connection.capabilities

    @property
    def alive(self) -> bool:
        """False as soon as the connection is known to be over."""
        return not self._connection.protocol.lost.done()

    @property
    def news(self) -> int:
        """How many messages of the selected folder were announced and not yet asked for."""
        return self._connection.protocol.arrivals.news

    async def folders(self) -> tuple[Folder, ...]:
        """All folders, with special-use attributes where the server knows them (RFC 6154, RFC 5258)."""
        options = " RETURN (SPECIAL-USE)" if {"SPECIAL-USE", "LIST-EXTENDED"} <= self.capabilities else ""
        exchange = await self._connection.command(Stage.SELECT, "LIST", '"" "*"' + options)
        with self._reading(Stage.SELECT):
            return tuple(parse.folder(heard.parts) for heard in _only(exchange, b"LIST"))

    async def select(self, folder: str) -> Selected:
        """Selects a folder, to write too. After a refusal none is selected. Source: RFC 3501 6.3.1."""
        self.selected = None
        exchange = await self._connection.command(Stage.SELECT, "SELECT", names.mailbox(folder))
        with self._reading(Stage.SELECT):
            codes = dict(filter(None, (parse.response_code(heard.parts[0][3:]) for heard in _only(exchange, b"OK"))))
            uidvalidity = parse.number(codes.get("UIDVALIDITY", "0").encode())
            uidnext = parse.number(codes["UIDNEXT"].encode()) if "UIDNEXT" in codes else None
        at, exists = self.clock.now(), self._connection.protocol.arrivals.exists
        if uidnext is None:  # which a server ought to say, and need not: RFC 3501 6.3.1
            uidnext = max(await self._search("UID *"), default=0) + 1
        self.selected = Selected(folder, uidvalidity, uidnext, exists, at)
        return self.selected

    async def unselect(self) -> None:
        """Leaves the selected folder; removes nothing from it. Needs UNSELECT. Source: RFC 3691."""
        await self._connection.command(Stage.SELECT, "UNSELECT")
        self.selected = None

    async def status(self, folder: str) -> Status:
        """A look at a folder that is not selected. Source: RFC 3501 6.3.10."""
        items = f"{names.mailbox(folder)} (UIDNEXT UIDVALIDITY MESSAGES)"
        exchange = await self._connection.command(Stage.SELECT, "STATUS", items)
        with self._reading(Stage.SELECT):
            answers = [parse.status(heard.parts) for heard in _only(exchange, b"STATUS")]
        said = answers[-1] if answers else {}
        return Status(said.get("UIDVALIDITY"), said.get("UIDNEXT"), said.get("MESSAGES"), self.clock.now())

    async def noop(self) -> None:
        """Asks for whatever the server has to say; see `news`."""
        await self._connection.command(Stage.FETCH, "NOOP")

    async def fetch_headers(self, first_uid: int, last_uid: int | None = None) -> list[Fetched]:
        """The headers of the messages from first to last, or of all from the first; at most 64 KiB of each."""
        if last_uid is None:
            self._connection.protocol.arrivals.cover()
        fetched = await self._fetch(f"{first_uid}:{last_uid or '*'}")
        # `n:*` is the last message even where that is older than n: RFC 3501 9 `seq-range`
        return [message for message in fetched if message.uid >= first_uid]

    async def fetch_uids(self, uids: Sequence[int]) -> list[Fetched]:
        """The headers of exactly these messages, as far as they still exist; a hundred at a time."""
        found: list[Fetched] = []
        for batch in _batches(uids):
            wanted = set(batch)
            found += [message for message in await self._fetch(_set_of(batch)) if message.uid in wanted]
        return found

    async def fetch_message(self, uid: int) -> bytes | None:
        """A whole message, at most 256 KiB of it; None if it is gone."""
        exchange = await self._connection.command(
            Stage.FETCH, "FETCH", f"{uid} (UID BODY.PEEK[]<0.{MESSAGE_LIMIT}>)", uid=True
        )
        return next((message.content for message, _ in self._messages(exchange) if message.uid == uid), None)

    async def search_since(self, day: date) -> list[int]:
        """UIDs of what came on that day or later, by the server's clock and time zone."""
        return await self._search(f"SINCE {day.day}-{parse.MONTHS[day.month - 1]}-{day.year}")

    async def search_from(self, first_uid: int) -> list[int]:
        """UIDs from this one on."""
        self._connection.protocol.arrivals.cover()
        return [uid for uid in await self._search(f"UID {first_uid}:*") if uid >= first_uid]

    async def idle(self, seconds: float, wake: asyncio.Event) -> IdleEnd:
        """Waits until the server tells of a new message, `wake` is set, or the time is over, whichever is first.

        At most ten seconds where the server has no IDLE. Raises at once when the connection ends.
        """
        return await idle(self._connection, seconds, wake)

    async def delete(self, uids: Sequence[int]) -> Removal:
        """Removes exactly these messages of the selected folder. Source: RFC 4315 2.1 (UID EXPUNGE).

        Without UIDPLUS only if nothing else is flagged for deletion: a plain EXPUNGE takes all that is.
        """
        worst = Removal.EXPUNGED
        for batch in _batches(uids):
            removal = await self._delete(batch)
            if removal is not Removal.EXPUNGED:
                worst = removal
        return worst

    async def quota(self) -> float | None:
        """Storage used of what is allowed, 0..1; None where there is no limit or nobody says. Source: RFC 9208."""
        if "QUOTA" not in self.capabilities:
            return None
        exchange = await self._connection.ask(Stage.FETCH, "GETQUOTAROOT", '"INBOX"')
        with self._reading(Stage.FETCH):
            ratios = [parse.quota(heard.parts) for heard in _only(exchange, b"QUOTA")]
        return max((ratio for ratio in ratios if ratio is not None), default=None)

    async def close(self) -> None:
        """Says good-bye, within two seconds; never raises but for a cancellation."""
        self._connection.timeout = min(self._connection.timeout, LOGOUT_SECONDS)
        try:
            if self.alive:
                with contextlib.suppress(ProbeFailure):
                    await self._connection.ask(Stage.QUIT, "LOGOUT")
        finally:
            self.abort()

    def abort(self) -> None:
        """Ends the connection without a word, at once."""
        self._connection.abort()

    async def _search(self, criteria: str) -> list[int]:
        exchange = await self._connection.command(Stage.FETCH, "SEARCH", criteria, uid=True)
        with self._reading(Stage.FETCH):
            return sorted({uid for heard in _only(exchange, b"SEARCH") for uid in parse.search(heard.parts)})

    async def _fetch(self, uids: str) -> list[Fetched]:
        exchange = await self._connection.command(Stage.FETCH, "FETCH", f"{uids} {_HEADERS}", uid=True)
        return [
            Fetched(message.uid, message.internaldate_wall, message.content, heard.noticed)
            for message, heard in self._messages(exchange)
            if message.uid is not None and message.content is not None  # else: flags that somebody changed
        ]

    def _messages(self, exchange: Exchange) -> list[tuple[parse.Message, Untagged]]:
        with self._reading(Stage.FETCH):
            return [
                (parse.fetch(heard.parts), heard)
                for heard in exchange.untagged
                if (parse.numbered(heard.parts[0]) or (0, b""))[1] == b"FETCH"
            ]

    async def _delete(self, uids: Sequence[int]) -> Removal:
        ask, these = self._connection.ask, _set_of(uids)
        stored = await ask(Stage.FETCH, "STORE", rf"{these} +FLAGS.SILENT (\Deleted)", uid=True)
        if stored.result != "OK":
            return Removal.REFUSED
        if "UIDPLUS" in self.capabilities:
            expunged = await ask(Stage.FETCH, "EXPUNGE", these, uid=True)
        elif set(await self._search("DELETED")) <= set(uids):
            expunged = await ask(Stage.FETCH, "EXPUNGE")
        else:
            return Removal.FLAGGED
        return Removal.EXPUNGED if expunged.result == "OK" else Removal.FLAGGED

    @contextlib.contextmanager
    def _reading(self, stage: Stage) -> Iterator[None]:
        """What cannot be read may have been the canary: the session is over, and nothing is taken for absent."""
        try:
            yield
        except parse.Malformed as error:
            self.abort()
            raise ProbeFailure(stage, Reason.MALFORMED_REPLY, f"malformed {error}") from error


def _only(exchange: Exchange, name: bytes) -> Iterator[Untagged]:
    """The untagged responses of this name."""
    for heard in exchange.untagged:
        if heard.parts[0].partition(b" ")[0].upper() == name:
            yield heard


def _batches(uids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(uids), BATCH):
        yield uids[start : start + BATCH]


def _set_of(uids: Iterable[int]) -> str:
    """A sequence set, runs as ranges: `1:3,7`. Source: RFC 3501 9 `sequence-set`."""
    runs: list[list[int]] = []
    for uid in sorted(set(uids)):
        if runs and uid == runs[-1][1] + 1:
            runs[-1][1] = uid
        else:
            runs.append([uid, uid])
    return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in runs)
