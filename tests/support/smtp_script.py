"""A scripted SMTP server on loopback: the fault under test is one argument.

    async with SmtpScript(rcpt=b"451 4.3.2 busy\r\n") as server: ... server.port, server.lines

An answer is written in one segment, so two replies in one answer are two replies in one segment.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType

EHLO = (
    b"250-script.test\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n"
    b"250-8BITMIME\r\n250-AUTH CRAM-MD5 LOGIN PLAIN\r\n250 SMTPUTF8\r\n"
)


class End(Exception):
    """Raised by an answer to end the connection."""


class Wire:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, answer: bytes) -> None:
        """Writes it as one segment."""
        self.writer.write(answer)
        await self.writer.drain()


Answer = bytes | Callable[[Wire], Awaitable[None]]


async def close(wire: Wire) -> None:
    """FIN instead of an answer."""
    raise End


async def reset(wire: Wire) -> None:
    """RST instead of an answer."""
    wire.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.writer.transport.abort()
    raise End


async def hang(wire: Wire) -> None:
    """No answer; the connection stays open until the client ends it."""
    await wire.reader.read(-1)
    raise End


def then(*answers: Answer) -> Answer:
    """One answer after the other, in segments of their own."""

    async def act(wire: Wire) -> None:
        for answer in answers:
            await perform(answer, wire)
            await asyncio.sleep(0.02)  # segments of their own need a moment between them

    return act


def drip(answer: bytes, pause: float) -> Answer:
    """The answer one byte at a time."""

    async def act(wire: Wire) -> None:
        for byte in answer:
            await wire.say(bytes([byte]))
            await asyncio.sleep(pause)

    return act


def endless(chunk: bytes) -> Answer:
    """The same bytes until the client has had enough."""

    async def act(wire: Wire) -> None:
        while True:
            await wire.say(chunk)

    return act


async def perform(answer: Answer, wire: Wire) -> None:
    """Gives the answer."""
    if isinstance(answer, bytes):
        await wire.say(answer)
    else:
        await answer(wire)


class SmtpScript:
    """An SMTP server that answers as told.

    `says`: greeting, ehlo, starttls, secure_ehlo (after STARTTLS), auth, mail, rcpt, data, dot, quit, and
    `replies_to_334`, a tuple of answers to what a client says after a challenge. `lines` are all lines of all
    clients in order, `contents` the messages as they came, `connections` their number.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        implicit: bool = False,
        replies_to_334: tuple[Answer, ...] = (),
        **says: Answer,
    ) -> None:
        self._tls = tls
        self._implicit = implicit
        self._replies_to_334 = replies_to_334
        ehlo = EHLO.replace(b"250-SIZE", b"250-STARTTLS\r\n250-SIZE") if tls and not implicit else EHLO
        self._says: dict[str, Answer] = {
            "greeting": b"220 script.test ESMTP\r\n",
            "ehlo": ehlo,
            "secure_ehlo": EHLO,
            "starttls": b"220 2.0.0 go\r\n",
            "auth": b"235 2.7.0 ok\r\n",
            "mail": b"250 2.1.0 ok\r\n",
            "rcpt": b"250 2.1.5 ok\r\n",
            "data": b"354 go\r\n",
            "dot": b"250 2.0.0 Ok: queued as 4SCRIPT1\r\n",
            "quit": b"221 2.0.0 bye\r\n",
        } | says
        self.lines: list[bytes] = []
        self.contents: list[bytes] = []
        self.connections = 0
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> SmtpScript:
        tls = self._tls if self._implicit else None
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=tls, limit=1 << 24)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._serve(Wire(reader, writer))
        except (End, OSError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort() if task.cancelling() else writer.close()

    async def _serve(self, wire: Wire) -> None:
        secure = False
        challenges: list[Answer] = []
        await perform(self._says["greeting"], wire)
        while line := await wire.reader.readline():
            self.lines.append(line)
            if challenges:
                await perform(challenges.pop(0), wire)
                continue
            verb = line.split(maxsplit=1)[0].decode("latin-1").lower() if line.strip() else ""
            answer = self._says.get("secure_ehlo" if secure and verb == "ehlo" else verb, b"500 5.5.2 what?\r\n")
            await perform(answer, wire)
            if verb == "quit":
                return
            if verb == "auth" and isinstance(answer, bytes) and answer.startswith(b"334"):
                challenges = list(self._replies_to_334)
            if verb == "starttls" and self._tls and isinstance(answer, bytes) and answer.startswith(b"220"):
                await wire.writer.start_tls(self._tls)
                secure = True
            if verb == "data" and isinstance(answer, bytes) and answer.startswith(b"354"):
                self.contents.append(await _content(wire.reader))
                await perform(self._says["dot"], wire)


async def _content(reader: asyncio.StreamReader) -> bytes:
    lines = []
    while (line := await reader.readline()) != b".\r\n":
        if not line:
            raise End
        lines.append(line)
    return b"".join(lines)
