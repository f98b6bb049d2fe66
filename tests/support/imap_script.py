r"""A scripted IMAP server on loopback: a small mailbox that behaves, and any answer replaced by the fault under test.

    server = ImapServer(says={"idle": then(b"+ idling\r\n", close)})
    async with server.running():
        ... server.port ...

`says` maps a command (`greeting`, `login`, `uid fetch`, `idle`, `done` ...) to octets or to an action; `%T` in octets
is the command's tag. A list of actions is used up one per command; the last one stays. What is not in `says` is
answered from `folders`. `heard` is every line that clients sent.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mailprobe.clock import SystemClock
from mailprobe.errors import ProbeFailure
from mailprobe.imap import Session
from mailprobe.model import TlsMode
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Endpoint, Login, Mailbox, SecretReference

PASSWORD_VARIABLE = "MAILPROBE_TEST_IMAP_PASSWORD"
CAPABILITIES = "IMAP4rev1 IDLE UIDPLUS SPECIAL-USE LIST-EXTENDED SASL-IR QUOTA AUTH=PLAIN"
DATE = "22-Jan-2026 19:30:00 +0100"


def mailbox_at(
    port: int,
    tls: TlsMode = TlsMode.PLAINTEXT,
    *,
    timeout: float = 5.0,
    user: str = "user",
    ca_file: Path | None = None,
    server_name: str | None = "localhost",
    **settings: str | None,
) -> Mailbox:
    """A mailbox of a server on loopback; its password is in the environment variable PASSWORD_VARIABLE."""
    endpoint = Endpoint("127.0.0.1", port, tls, ca_file=ca_file, server_name=server_name)
    login = Login(user, SecretReference(env=PASSWORD_VARIABLE))
    return Mailbox("box", "box@lab.test", endpoint, login, timeout=timeout, **settings)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def session_on(server: ImapServer) -> AsyncIterator[Session]:
    """A session on a scripted server that is running; its connection is ended at the end."""
    session = await Session.open(mailbox_at(server.port), clock=SystemClock(), resolver=Resolver())
    try:
        yield session
    finally:
        session.abort()


class End(Exception):
    """Ends the connection."""


@dataclass(eq=False)
class Mail:
    """One message as the server keeps it."""

    uid: int
    headers: bytes
    date: str = DATE
    deleted: bool = False


@dataclass
class Box:
    """One folder as the server keeps it."""

    attributes: str = ""
    uidvalidity: int = 1
    uidnext: int = 1
    mails: list[Mail] = field(default_factory=list)

    def deliver(self, headers: bytes = b"Subject: x\r\n\r\n", date: str = DATE) -> Mail:
        """A new message."""
        mail = Mail(self.uidnext, headers, date)
        self.mails.append(mail)
        self.uidnext += 1
        return mail


class Talk:
    """One connection: what an action is given."""

    def __init__(self, server: ImapServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.tag = b""
        self.line = b""
        self.selected: str | None = None
        self.known: list[Mail] = []
        """The selected folder as this client was told it: sequence number 1 first (RFC 3501 2.3.1.2)."""

    async def send(self, answer: bytes) -> None:
        self.writer.write(answer.replace(b"%T", self.tag))
        await self.writer.drain()

    async def act(self, action: Action) -> None:
        if isinstance(action, bytes):
            await self.send(action)
        else:
            await action(self)

    @property
    def box(self) -> Box:
        assert self.selected is not None
        return self.server.folders[self.selected]


Action = bytes | Callable[[Talk], Awaitable[None]]
Use = Callable[[Session], Awaitable[object]]


async def close(talk: Talk) -> None:
    """FIN instead of an answer."""
    raise End


async def reset(talk: Talk) -> None:
    """RST instead of an answer."""
    sock = talk.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    talk.writer.transport.abort()
    raise End


async def hang(talk: Talk) -> None:
    """No answer, and the connection stays open."""
    await asyncio.Event().wait()


async def default(talk: Talk) -> None:
    """What the server would have answered without `says`."""
    await talk.server.answer(talk)


def then(*actions: Action, pause: float = 0.0) -> Action:
    """One action after the other, each in a segment of its own if there is a pause (seconds)."""

    async def act(talk: Talk) -> None:
        for number, action in enumerate(actions):
            if number and pause:
                await asyncio.sleep(pause)
            await talk.act(action)

    return act


def drip(answer: bytes, pause: float) -> Action:
    """The answer one octet at a time: a time-out per read never fires, one of the whole does."""
    return then(*(bytes([octet]) for octet in answer), pause=pause)


@dataclass
class ImapServer:
    """A mailbox with folders, users and faults."""

    says: dict[str, Action | list[Action]] = field(default_factory=dict)
    folders: dict[str, Box] = field(default_factory=lambda: {"INBOX": Box(), "Junk": Box(attributes="\\Junk")})
    capabilities: str = CAPABILITIES
    users: dict[str, str] = field(default_factory=lambda: {"user": "hunter2"})
    tls: ssl.SSLContext | None = None
    starttls: ssl.SSLContext | None = None
    heard: list[bytes] = field(default_factory=list)
    talks: list[Talk] = field(default_factory=list)
    port: int = 0
    connections: int = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[ImapServer]:
        """Listens on a port of its own while the block runs."""
        tasks: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await self._serve(Talk(self, reader, writer))
            except (End, OSError, asyncio.IncompleteReadError, asyncio.CancelledError, ValueError):
                pass
            finally:
                tasks.discard(task)
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=self.tls, limit=1 << 24)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def commands(self) -> list[str]:
        """The verbs that were asked for, in order, without tags and arguments."""
        return [_verb(line) for line in self.heard]

    async def push(self, lines: bytes) -> None:
        """Says something on the newest connection that nobody asked for."""
        await self.talks[-1].send(lines)

    async def _serve(self, talk: Talk) -> None:
        self.talks.append(talk)
        self.connections += 1
        await talk.act(self._said("greeting") or b"* OK [CAPABILITY IMAP4rev1] ready\r\n")
        while line := await talk.reader.readline():
            self.heard.append(line)
            verb = _verb(line)
            if verb != "done":
                talk.tag = line.split(b" ", 1)[0].strip()
            talk.line = line
            await talk.act(self._said(verb) or default)
            if verb == "starttls" and self.starttls and "starttls" not in self.says:
                await talk.writer.start_tls(self.starttls)
            if verb == "logout":
                return

    def _said(self, verb: str) -> Action | None:
        action = self.says.get(verb)
        if isinstance(action, list):
            return action.pop(0) if len(action) > 1 else action[0]
        return action

    # ---- the mailbox that behaves

    async def answer(self, talk: Talk) -> None:
        """Answers the line just heard as a server ought to."""
        verb = _verb(talk.line)
        handler = getattr(self, "_" + verb.replace(" ", "_"), None)
        await talk.send(handler(talk) if handler else b"%T BAD unknown command\r\n")

    def _capability(self, talk: Talk) -> bytes:
        names = self.capabilities + (" STARTTLS" if self.starttls else "")
        return b"* CAPABILITY %s\r\n%%T OK done\r\n" % names.encode()

    def _starttls(self, talk: Talk) -> bytes:
        return b"%T OK go ahead\r\n" if self.starttls else b"%T BAD no TLS here\r\n"

    def _login(self, talk: Talk) -> bytes:
        words = re.findall(rb'"((?:[^"\\]|\\.)*)"', talk.line)
        user, password = (re.sub(rb"\\(.)", rb"\1", word).decode() for word in words)
        return self._logged_in(user, password)

    def _authenticate(self, talk: Talk) -> bytes:
        words = talk.line.split()
        if len(words) < 4:
            return b"%T BAD an initial response, please\r\n"
        _, user, password = base64.b64decode(words[3]).decode().split("\0")
        return self._logged_in(user, password)

    def _logged_in(self, user: str, password: str) -> bytes:
        if self.users.get(user) == password:
            return b"%T OK logged in\r\n"
        return b"%T NO [AUTHENTICATIONFAILED] Authentication failed.\r\n"

    def _list(self, talk: Talk) -> bytes:
        lines = [b'* LIST (%s) "/" "%s"\r\n' % (box.attributes.encode(), name.encode()) for name, box in self._all()]
        return b"".join(lines) + b"%T OK done\r\n"

    def _all(self) -> list[tuple[str, Box]]:
        return list(self.folders.items())

    def _select(self, talk: Talk) -> bytes:
        name = talk.line.split(b" ", 2)[2].strip().strip(b'"').decode()
        talk.selected = name if name in self.folders else None
        if talk.selected is None:
            return b"%T NO [NONEXISTENT] no such folder\r\n"
        talk.known = list(talk.box.mails)
        return b"* %d EXISTS\r\n* OK [UIDVALIDITY %d] x\r\n* OK [UIDNEXT %d] x\r\n%%T OK [READ-WRITE] done\r\n" % (
            len(talk.known),
            talk.box.uidvalidity,
            talk.box.uidnext,
        )

    def _unselect(self, talk: Talk) -> bytes:
        if talk.selected is None or "UNSELECT" not in self.capabilities:
            return b"%T BAD nothing is selected, or no UNSELECT\r\n"
        talk.selected = None
        return b"%T OK done\r\n"

    def _status(self, talk: Talk) -> bytes:
        name = talk.line.split(b'"')[1].decode()
        box = self.folders[name]
        return b'* STATUS "%s" (UIDNEXT %d UIDVALIDITY %d MESSAGES %d)\r\n%%T OK done\r\n' % (
            name.encode(),
            box.uidnext,
            box.uidvalidity,
            len(box.mails),
        )

    def _noop(self, talk: Talk) -> bytes:
        return self.unannounced(talk) + b"%T OK done\r\n"

    def unannounced(self, talk: Talk) -> bytes:
        """EXPUNGE and EXISTS as far as the client has not heard of them."""
        if talk.selected is None:
            return b""
        lines = b""
        for mail in [mail for mail in talk.known if mail not in talk.box.mails]:
            lines += b"* %d EXPUNGE\r\n" % (talk.known.index(mail) + 1)
            talk.known.remove(mail)
        if len(talk.box.mails) > len(talk.known):
            talk.known = list(talk.box.mails)
            lines += b"* %d EXISTS\r\n" % len(talk.known)
        return lines

    def _idle(self, talk: Talk) -> bytes:
        return b"+ idling\r\n" + self.unannounced(talk)

    def _done(self, talk: Talk) -> bytes:
        return b"%T OK idle done\r\n"

    def _uid_fetch(self, talk: Talk) -> bytes:
        answers = []
        wanted = self._wanted(talk, talk.line.split()[3])
        for number, mail in enumerate(talk.known, 1):
            if mail.uid in wanted and mail in talk.box.mails:
                answers.append(
                    b'* %d FETCH (UID %d INTERNALDATE "%s" BODY[HEADER]<0> {%d}\r\n%s)\r\n'
                    % (number, mail.uid, mail.date.encode(), len(mail.headers), mail.headers)
                )
        return b"".join(answers) + b"%T OK done\r\n"

    def _wanted(self, talk: Talk, text: bytes) -> set[int]:
        """The UIDs of a sequence set that exist; `n:*` always has the last one in it."""
        there = [mail.uid for mail in talk.known]
        last = max(there, default=0)
        wanted: set[int] = set()
        for part in text.decode().split(","):
            low, _, high = part.partition(":")
            bounds = sorted(last if end == "*" else int(end) for end in (low, high or low))
            wanted.update(uid for uid in there if bounds[0] <= uid <= bounds[1])
        return wanted

    def _uid_search(self, talk: Talk) -> bytes:
        words = talk.line.split()[3:]
        found = {mail.uid for mail in talk.known}
        if words[0].upper() == b"UID":
            found = self._wanted(talk, words[1])
        elif words[0].upper() == b"DELETED":
            found = {mail.uid for mail in talk.box.mails if mail.deleted}
        return b"* SEARCH %s\r\n%%T OK done\r\n" % b" ".join(b"%d" % uid for uid in sorted(found))

    def _uid_store(self, talk: Talk) -> bytes:
        wanted = self._wanted(talk, talk.line.split()[3])
        for mail in talk.box.mails:
            mail.deleted |= mail.uid in wanted
        return b"%T OK done\r\n"

    def _uid_expunge(self, talk: Talk) -> bytes:
        return self._expunged(talk, self._wanted(talk, talk.line.split()[3]))

    def _expunge(self, talk: Talk) -> bytes:
        return self._expunged(talk, {mail.uid for mail in talk.box.mails})

    def _expunged(self, talk: Talk, uids: set[int]) -> bytes:
        for mail in [mail for mail in talk.known if mail.deleted and mail.uid in uids and mail in talk.box.mails]:
            talk.box.mails.remove(mail)
        return self.unannounced(talk) + b"%T OK done\r\n"

    def _getquotaroot(self, talk: Talk) -> bytes:
        return b'* QUOTAROOT INBOX ""\r\n* QUOTA "" (STORAGE 25 100)\r\n%T OK done\r\n'

    def _logout(self, talk: Talk) -> bytes:
        return b"* BYE\r\n%T OK done\r\n"


def _verb(line: bytes) -> str:
    words = line.split()
    if len(words) == 1:
        return words[0].decode("latin-1").lower()
    verb = words[1].decode("latin-1").lower() if words else ""
    return f"uid {words[2].decode('latin-1').lower()}" if verb == "uid" else verb


def named(value: object) -> str:
    """An id of a test's parameter that is the same in every process: no addresses, nothing of two megabytes."""
    return getattr(value, "__name__", None) or str(value)[:60]


def stocked(count: int) -> Box:
    """A folder with so many messages."""
    box = Box()
    for number in range(1, count + 1):
        box.deliver(b"Subject: %d\r\n\r\n" % number)
    return box


async def failing(says: dict[str, Action | list[Action]], use: Use, timeout: float = 5.0) -> tuple[ProbeFailure, bool]:
    """The failure, and whether the session survived it."""
    async with ImapServer(says=says).running() as server, session_on(server) as session:
        await session.select("INBOX")
        session._connection.timeout = timeout  # only now: it is the command's time-out that is tested
        with pytest.raises(ProbeFailure) as caught:
            await use(session)
        return caught.value, session.alive
