"""A mailbox and a mail service in virtual time, for tests of the actors; both do what a test tells them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from mailprobe.errors import ProbeFailure, Reason, Reply, Stage
from mailprobe.events import Event, Judged
from mailprobe.imap import Fetched, Folder, IdleEnd, Removal, Selected, Status
from mailprobe.message import Composer, Key, new_canary_id
from mailprobe.model import (
    Attempt,
    AttemptOutcome,
    Canary,
    DnsFacts,
    Outcome,
    Scan,
    SenderKind,
    StageReply,
    TlsMode,
    Verdict,
)
from mailprobe.plan import Endpoint, Login, Mailbox, Route, SecretReference, Sender
from mailprobe.probe.judge import Judge
from mailprobe.probe.ledger import Ledger
from support.clocks import VirtualClock

AGENT = "fra1"
KEY = Key(b"0123456789abcdef0123456789abcdef")
LOGIN = Login("canary", SecretReference(file=Path("secret")))
SENDER = Sender(
    "out", SenderKind.SUBMISSION, Endpoint("mail.test", 587, TlsMode.STARTTLS), "a@x.test", "probe.test", LOGIN
)
MAILBOX = Mailbox("box", "b@y.test", Endpoint("mail.test", 993, TlsMode.IMPLICIT), LOGIN)
ROUTE = Route("inbound", SENDER, MAILBOX, interval=60, deadline=300, late_until=3600, timeout=30)


class Bench:
    """Clock, ledger, judge and everything that was published: what every actor stands on."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.events: list[Event] = []
        self.judge = Judge(Ledger(), self.clock, self.events.append)

    def canary(self, route: Route = ROUTE, opened: float | None = None) -> Canary:
        due = self.clock.now() if opened is None else opened
        promise = (due + route.deadline, due + route.late_until)
        return Canary(new_canary_id(), route.name, route.sender.name, route.mailbox.name, due, *promise)

    def of(self, kind: type[Any]) -> list[Any]:
        """The events of a kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def verdicts(self) -> list[Verdict]:
        return [event.verdict for event in self.of(Judged)]

    @property
    def outcomes(self) -> list[Outcome]:
        return [verdict.outcome for verdict in self.verdicts]


# ---- a mail service


Told = Callable[[float], None]


class Service:
    """What answers attempts: `plan` holds how each goes, the last one for ever; `seconds` is how long each takes."""

    def __init__(self, clock: VirtualClock, *plan: AttemptOutcome, seconds: float = 1.0) -> None:
        self.clock = clock
        self.plan = deque(plan or (AttemptOutcome.ACCEPTED,))
        self.seconds = seconds
        self.begun: list[tuple[int, float]] = []
        self.targets: list[int | None] = []
        self.contents: list[bytes] = []
        self.running = self.most = 0
        self.reason = Reason.DEFERRED
        self.stage: Stage | None = None
        self.chain: tuple[bytes, ...] = ()
        self.servers = 1
        """How many addresses it has, as far as `try_all` asks for that."""
        self.after_dot: Callable[[], None] = lambda: None

    async def __call__(
        self,
        sender: Sender,
        message: Any,
        *,
        number: int,
        timeout: float,
        dot_sent: Told,
        stage_ended: object = None,
        target_number: int | None = None,
    ) -> Attempt:
        begun = self.clock.now()
        self.begun.append((number, begun))
        self.targets.append(target_number)
        self.contents.append(message.content)
        self.running += 1
        self.most = max(self.most, self.running)
        outcome = self.plan.popleft() if len(self.plan) > 1 else self.plan[0]
        dot: float | None = None
        try:
            await self.clock.sleep_until(begun + self.seconds)
            if outcome in (AttemptOutcome.ACCEPTED, AttemptOutcome.IN_DOUBT):
                dot = self.clock.now()
                dot_sent(dot)
                self.after_dot()
        finally:
            self.running -= 1
        attempt = answered(number, begun, self.clock.now(), outcome, dot, self.reason)
        last = target_number is None or target_number % self.servers == 0
        return replace(
            attempt, dns=DnsFacts(last=last), chain=self.chain, stage=attempt.stage and (self.stage or attempt.stage)
        )


def answered(
    number: int, begun: float, ended: float, outcome: AttemptOutcome, dot: float | None, reason: Reason
) -> Attempt:
    """An attempt as the adapter would report it."""
    plain = Attempt(number, begun, ended, outcome, dot_sent=dot)
    match outcome:
        case AttemptOutcome.ACCEPTED:
            return plain
        case AttemptOutcome.IN_DOUBT:
            return replace(plain, stage=Stage.END_OF_DATA, reason=Reason.CONNECTION_LOST)
        case AttemptOutcome.REJECTED:
            said = StageReply(Stage.RCPT, Reply.of(550, "5.1.1 no such user"))
            return replace(plain, stage=Stage.RCPT, reason=Reason.REJECTED, replies=(said,))
        case AttemptOutcome.DEFERRED:
            said = StageReply(Stage.RCPT, Reply.of(451, "4.3.2 later"))
            return replace(plain, stage=Stage.RCPT, reason=reason, replies=(said,))
        case AttemptOutcome.UNSENT:
            return replace(plain, stage=Stage.CONNECT, reason=reason)


# ---- a mailbox


@dataclass(eq=False)
class Mail:
    """One message in a folder."""

    uid: int
    headers: bytes
    content: bytes = b""


@dataclass
class Box:
    """One folder."""

    attributes: frozenset[str] = frozenset()
    uidvalidity: int = 7
    uidnext: int = 1
    mails: list[Mail] = field(default_factory=list)


class Mailboxes:
    """An IMAP server with one account: what is delivered, what is asked (`asked`), and what goes wrong (`fails`)."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.folders = {"INBOX": Box(), "Junk": Box(frozenset({"\\junk"}))}
        self.asked: list[tuple[float, str]] = []
        self.logins: list[float] = []
        self.fails: dict[str, Exception] = {}
        self.pushed = asyncio.Event()
        self.sessions: list[FakeSession] = []
        self.scan_seconds = 0.0

    async def open(self, mailbox: Mailbox) -> FakeSession:
        """What a watcher calls to log in."""
        self.logins.append(self.clock.now())
        await self.perform("login")
        session = FakeSession(self)
        self.sessions.append(session)
        return session

    def deliver(self, headers: bytes, folder: str = "INBOX", content: bytes = b"") -> Mail:
        """A message comes in; who idles is told at once."""
        box = self.folders[folder]
        mail = Mail(box.uidnext, headers, content)
        box.mails.append(mail)
        box.uidnext += 1
        self.pushed.set()
        return mail

    async def perform(self, command: str) -> None:
        """Notes a command; raises what it is to fail with, once."""
        self.asked.append((self.clock.now(), command))
        if error := self.fails.pop(command, None):
            raise error

    def count(self, command: str) -> int:
        """How often a command was given."""
        return sum(name == command for _, name in self.asked)

    def left(self, folder: str = "INBOX") -> list[Mail]:
        """What lies in a folder."""
        return self.folders[folder].mails


class FakeSession:
    """The part of `imap.Session` that the view and the watcher use."""

    tls = None
    capabilities: frozenset[str] = frozenset()

    def __init__(self, server: Mailboxes) -> None:
        self.server = server
        self.clock = server.clock
        self.selected: Selected | None = None
        self.ended = ""
        self._known = 0

    @property
    def news(self) -> int:
        if self.selected is None:
            return 0
        return sum(mail.uid >= self._known for mail in self.server.folders[self.selected.name].mails)

    async def folders(self) -> tuple[Folder, ...]:
        await self.server.perform("list")
        return tuple(Folder(name, box.attributes) for name, box in self.server.folders.items())

    async def select(self, folder: str) -> Selected:
        await self.server.perform(f"select {folder}")
        box = self.server.folders[folder]
        self._known = box.uidnext
        self.selected = Selected(folder, box.uidvalidity, box.uidnext, len(box.mails), self.clock.now())
        return self.selected

    async def status(self, folder: str) -> Status:
        await self.server.perform(f"status {folder}")
        box = self.server.folders[folder]
        return Status(box.uidvalidity, box.uidnext, len(box.mails), self.clock.now())

    async def noop(self) -> None:
        await self.server.perform("noop")

    async def search_from(self, first_uid: int) -> list[int]:
        await self.server.perform("search")
        if self.server.scan_seconds:
            await self.clock.sleep_until(self.clock.now() + self.server.scan_seconds)
        return [mail.uid for mail in self._mails() if mail.uid >= first_uid]

    async def search_since(self, day: date) -> list[int]:
        await self.server.perform("search since")
        return [mail.uid for mail in self._mails()]

    async def fetch_headers(self, first_uid: int, last_uid: int | None = None) -> list[Fetched]:
        return await self.fetch_uids([mail.uid for mail in self._mails() if mail.uid >= first_uid])

    async def fetch_uids(self, uids: Sequence[int]) -> list[Fetched]:
        await self.server.perform("fetch")
        now = self.clock.now()
        found = [Fetched(mail.uid, None, mail.headers, now) for mail in self._mails() if mail.uid in set(uids)]
        self._known = max([self._known, *(one.uid + 1 for one in found)])
        return found

    async def fetch_message(self, uid: int) -> bytes | None:
        await self.server.perform("fetch message")
        return next((mail.content for mail in self._mails() if mail.uid == uid), None)

    async def idle(self, seconds: float, wake: asyncio.Event) -> IdleEnd:
        await self.server.perform("idle")
        if self.news:
            return IdleEnd.PUSHED
        self.server.pushed.clear()
        waiting = [asyncio.ensure_future(event.wait()) for event in (self.server.pushed, wake)]
        try:
            async with self.clock.timeout_at(self.clock.now() + seconds):
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            return IdleEnd.QUIET
        finally:
            for one in waiting:
                one.cancel()
        if "idle ends" in self.server.fails:
            raise self.server.fails.pop("idle ends")
        return IdleEnd.WOKEN if wake.is_set() else IdleEnd.PUSHED

    async def delete(self, uids: Iterable[int]) -> Removal:
        gone = set(uids)
        await self.server.perform(f"delete {sorted(gone)}")
        box = self.server.folders[self.selected.name if self.selected else ""]
        box.mails[:] = [mail for mail in box.mails if mail.uid not in gone]
        return Removal.EXPUNGED

    async def quota(self) -> float | None:
        return None

    async def close(self) -> None:
        await self.server.perform("logout")
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = self.ended or "aborted"

    def _mails(self) -> list[Mail]:
        assert self.selected is not None
        return self.server.folders[self.selected.name].mails


def content_of(canary: Canary, wall: float, agent: str = AGENT) -> bytes:
    """The message of a canary of ROUTE."""
    composer = Composer(KEY, agent, canary.route, SENDER.from_address, MAILBOX.address)
    return composer.compose(canary.id, wall).content


def headers_of(canary: Canary, wall: float, agent: str = AGENT) -> bytes:
    """The headers of that message."""
    return content_of(canary, wall, agent).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def lost_connection() -> ProbeFailure:
    """A session's end."""
    return ProbeFailure(Stage.FETCH, Reason.CONNECTION_LOST, "gone")


def a_scan(clock: VirtualClock, seconds: float = 0.0) -> Scan:
    """A complete look that ends now."""
    return Scan("box", clock.now() - seconds, clock.now())
