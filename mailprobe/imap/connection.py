"""One IMAP connection: commands one at a time, each within its time, and spent after any failure."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from mailprobe.errors import Stage
from mailprobe.imap.failure import failure_of, refusal
from mailprobe.imap.protocol import Exchange, GivenUp, Protocol
from mailprobe.model import TlsFacts

_T = TypeVar("_T")


class Connection:
    """A protocol with its time-out: `timeout` seconds for each answer, as a whole and not for each octet."""

    def __init__(self, protocol: Protocol, timeout: float) -> None:
        self.protocol = protocol
        self.timeout = timeout
        self.tls: TlsFacts | None = None
        self.capabilities: frozenset[str] = frozenset()

    async def ask(
        self, stage: Stage, name: str, arguments: str = "", *, uid: bool = False, answers: tuple[bytes, ...] = ()
    ) -> Exchange:
        """One command and all that came in answer, whatever the server thought of it. Raises ProbeFailure."""
        exchange = Exchange(name, self.protocol.new_tag(), arguments, uid=uid, answers=answers)
        return await self.bounded(stage, self.perform(exchange))

    async def command(
        self, stage: Stage, name: str, arguments: str = "", *, uid: bool = False, answers: tuple[bytes, ...] = ()
    ) -> Exchange:
        """The same, where anything but OK is a ProbeFailure; the connection survives a refusal."""
        exchange = await self.ask(stage, name, arguments, uid=uid, answers=answers)
        if exchange.result != "OK":
            raise refusal(exchange, stage)
        return exchange

    async def perform(self, exchange: Exchange) -> Exchange:
        """Sends and waits for the tagged response, for ever if need be. Raises what ended the connection."""
        self.protocol.begin(exchange)
        await self.protocol.execute(exchange)
        return exchange

    async def bounded(self, stage: Stage, work: Awaitable[_T]) -> _T:
        """What the work comes to; a time-out, a cancel or an error ends the connection."""
        try:
            async with asyncio.timeout(self.timeout):
                return await work
        except BaseException as error:
            self.abort()
            failure = failure_of(error, stage)
            if failure is None:
                raise
            raise failure from error

    async def ask_capabilities(self, stage: Stage) -> None:
        """What the server offers now; it changes with TLS and with login (RFC 3501 6.2.1, 6.2.2, 7.2.1)."""
        exchange = await self.command(stage, "CAPABILITY")
        words = [heard.parts[0].split() for heard in exchange.untagged]
        self.capabilities = frozenset(
            word.decode("latin-1").upper()
            for line in words
            if line and line[0].upper() == b"CAPABILITY"
            for word in line[1:]
        )

    def abort(self) -> None:
        """Ends it without a word: the only way to close that cannot hang."""
        self.protocol.fail(GivenUp())
