"""The embedded IMAP server: pymap in memory, connected by ourselves.

pymap's own service hands connections to proxy-protocol, which keeps no reference to its tasks, so that the garbage
collector ends live connections; here each connection has a task that `Doors` holds. pymap knows no special-use
attributes: the junk folder is found by its usual name.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, closing
from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import Any

from proxyprotocol.sock import SocketInfoLocal
from pymap.backend.dict import Config, Login
from pymap.backend.dict.filter import FilterSet
from pymap.backend.dict.mailbox import MailboxData, MailboxSet
from pymap.concurrent import Event, Subsystem
from pymap.context import connection_exit
from pymap.imap import IMAPConnection
from pymap.imap.state import ConnectionState
from pymap.interfaces.login import LoginInterface
from pymap.parsing.command import Command, CommandNonAuth
from pymap.parsing.command.any import CapabilityCommand, IdCommand, LogoutCommand
from pymap.parsing.message import AppendMessage
from pymap.parsing.response import CommandResponse, ResponseBad, ResponseBye, ResponseNo, ResponseOk
from pymap.parsing.specials import ObjectId
from pymap.selected import SelectedMailbox
from pymap.user import UserMetadata
from pysasl.creds.server import ServerCredentials
from pysasl.hashing import Cleartext

from mailprobe.lab.behaviour import Behaviour, Context, Drop, Moment, Say
from mailprobe.lab.doors import Visitor

INBOX = "INBOX"
JUNK = "Junk"

# how many removals a session that has not looked meanwhile may still be told of
_REMEMBERED_REMOVALS = 10_000


class Mailboxes:
    """All users' folders, in memory, and the server that shows them."""

    def __init__(
        self,
        users: Mapping[str, str],
        behaviour: Behaviour,
        certificate: ssl.SSLContext,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._behaviour = behaviour
        self._wall = wall
        self._config = _Config(certificate)
        self._login = Login(self._config)
        for user, password in users.items():
            self._login.users_dict[user] = UserMetadata(self._config, user, password=password)
            self._config.set_cache[user] = (_Folders(), FilterSet())

    async def create(self, folder: str) -> None:
        """Give every user this folder."""
        for folders, _ in self._config.set_cache.values():
            await folders.add_mailbox(folder)

    async def deliver(self, user: str, message: bytes, folder: str = INBOX) -> None:
        """Put a message (CRLF) into a folder; sessions see it at once. Raises KeyError for an unknown one."""
        mailbox = await self._config.set_cache[user][0].get_mailbox(folder)
        received = datetime.fromtimestamp(self._wall(), UTC)
        await mailbox.append(AppendMessage(message, received, frozenset()), recent=True)

    async def count(self, user: str, folder: str = INBOX) -> int:
        """How many messages are in a folder now."""
        mailbox = await self._config.set_cache[user][0].get_mailbox(folder)
        return (await mailbox.snapshot()).exists

    async def serve(self, visitor: Visitor) -> None:
        """Talk IMAP to a visitor until either side has enough."""
        reader = asyncio.StreamReader()
        writers: list[asyncio.StreamWriter] = []
        # with a callback the protocol counts as a server's, which STARTTLS needs
        protocol = asyncio.StreamReaderProtocol(reader, lambda _, writer: writers.append(writer))
        try:
            if await visitor.enter(protocol):
                await self._talk(visitor, reader, writers[0])
        except (OSError, EOFError, ssl.SSLError):
            pass
        finally:
            for writer in writers:
                writer.transport.abort()

    async def _talk(self, visitor: Visitor, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self._config, reader, writer, visitor.certificate)
        state = _State(self._login, self._config, self._behaviour, visitor.context, writer)
        async with AsyncExitStack() as stack:
            connection_exit.set(stack)
            stack.enter_context(closing(connection))
            await connection.run(state)


class _Connection(IMAPConnection):
    """Shows the certificate that was chosen when the connection came in."""

    __slots__ = ["_certificate"]

    def __init__(
        self,
        config: Config,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        certificate: ssl.SSLContext,
    ) -> None:
        super().__init__(config.commands, config, reader, writer, SocketInfoLocal(writer, unique_id=b"lab"))
        self._certificate = certificate

    async def start_tls(self) -> None:
        await self.writer.start_tls(self._certificate)


class _State(ConnectionState):
    """Asks the behaviour before each answer."""

    _HARMLESS = (CommandNonAuth, CapabilityCommand, IdCommand, LogoutCommand)

    def __init__(
        self,
        login: LoginInterface,
        config: Config,
        behaviour: Behaviour,
        context: Context,
        writer: asyncio.StreamWriter,
    ) -> None:
        super().__init__(login, config)
        self._behaviour = behaviour
        self._context = context
        self._writer = writer

    async def do_authenticate(self, cmd: Any, creds: ServerCredentials | None) -> CommandResponse:
        if creds is not None:
            self._context = self._context.about(user=creds.authcid)
        return await self._ask(Moment.IMAP_LOGIN, cmd) or await super().do_authenticate(cmd, creds)

    async def do_command(self, cmd: Command) -> CommandResponse:
        said = None if isinstance(cmd, self._HARMLESS) else await self._ask(Moment.IMAP_FETCH, cmd)
        return said or await super().do_command(cmd)

    async def _ask(self, moment: Moment, command: Command) -> CommandResponse | None:
        answer = await self._behaviour.at(moment, self._context)
        if isinstance(answer, Drop):
            self._writer.transport.abort()
            raise ConnectionAbortedError
        return _response(command.tag, answer.lines[0]) if isinstance(answer, Say) else None


def _response(tag: bytes, line: str) -> CommandResponse:
    """The IMAP response for `NO text`, `BAD text`, `BYE text` or `OK text`."""
    word, _, text = line.partition(" ")
    kinds: Mapping[str, type[CommandResponse]] = {"NO": ResponseNo, "BAD": ResponseBad, "OK": ResponseOk}
    if word.upper() == "BYE":
        response = ResponseNo(tag, b"")
        response.add_untagged(ResponseBye(text.encode()))
        return response
    kind = kinds.get(word.upper())
    return kind(tag, text.encode()) if kind else ResponseNo(tag, line.encode())


class _Config(Config):
    """pymap's configuration without its command line, threads, or look-up of this machine's name at each greeting."""

    def __init__(self, certificate: ssl.SSLContext) -> None:
        super().__init__(
            Namespace(passlib_cfg=None, proxy_protocol=None),
            host=None,
            port=0,
            demo_data=False,
            demo_user="",
            demo_password="",
            ssl_context=certificate,
            hash_context=Cleartext(),
            cpu_subsystem=Subsystem.for_asyncio(),
            invalid_user_sleep=0,
            reject_dnsbl=False,
            admin_key=b"none",
        )

    @property
    def greeting(self) -> bytes:
        return b"mailprobe lab ready"


class _Folders(MailboxSet):
    """A user's folders, each a `_Mailbox`."""

    def __init__(self) -> None:
        super().__init__()
        self._inbox = _Mailbox(self._content_cache, self._thread_cache)

    async def add_mailbox(self, name: str) -> ObjectId:
        mailbox_id = await super().add_mailbox(name)
        self._set[name] = mailbox = _Mailbox(self._content_cache, self._thread_cache)
        mailbox._mailbox_id = mailbox_id
        return mailbox_id


class _Mailbox(MailboxData):
    """A folder that forgets what was removed long ago, and whose IDLE misses nothing."""

    def __init__(self, *caches: Any) -> None:
        super().__init__(*caches)
        # pymap's own record keeps every UID for ever and searches it on each change
        self._changes = _Changes()
        self._mod_sequences = self._changes  # type: ignore[assignment]

    async def update_selected(self, selected: SelectedMailbox, *, wait_on: Event | None = None) -> SelectedMailbox:
        # pymap waits for the next change even if there was one since the session last looked
        news = selected.mod_sequence is not None and selected.mod_sequence < self._changes.highest
        return await super().update_selected(selected, wait_on=None if news else wait_on)


class _Changes:
    """Which messages changed or went since a session last looked; the newest change of each, in order."""

    __slots__ = ("_expunges", "_updates", "highest")

    def __init__(self) -> None:
        self.highest = 0
        self._updates: dict[int, int] = {}
        self._expunges: dict[int, int] = {}

    def update(self, uids: Iterable[int]) -> None:
        """These messages are new or have other flags."""
        self.highest += 1
        for uid in uids:
            self._updates.pop(uid, None)
            self._updates[uid] = self.highest

    def expunge(self, uids: Iterable[int]) -> None:
        """These messages are gone."""
        self.highest += 1
        for uid in uids:
            self._updates.pop(uid, None)
            self._expunges[uid] = self.highest
        surplus = len(self._expunges) - _REMEMBERED_REMOVALS
        for uid in list(islice(self._expunges, max(0, surplus))):
            del self._expunges[uid]

    def find_updated(self, since: int) -> tuple[frozenset[int], frozenset[int]]:
        """UIDs changed and UIDs gone, from the change numbered `since` on."""
        return _newer(self._updates, since), _newer(self._expunges, since)


def _newer(changes: Mapping[int, int], since: int) -> frozenset[int]:
    newest_first = reversed(changes.items())  # type: ignore[call-overload]
    return frozenset(uid for uid, _ in takewhile(lambda change: change[1] >= since, newest_first))
