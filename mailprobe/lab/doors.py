"""Listening sockets of the embedded servers: who comes in, with which certificate, and out again at the end."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from itertools import count

from mailprobe.lab.behaviour import Behaviour, Context, Credential, Drop, Moment, Show

LOOPBACK = "127.0.0.1"
_HANDSHAKE_SECONDS = 30.0
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Visitor:
    """An accepted connection of which nothing has been read yet."""

    socket: socket.socket
    context: Context
    certificate: ssl.SSLContext
    implicit_tls: bool

    async def enter(self, protocol: asyncio.Protocol) -> bool:
        """Begin to talk by this protocol; False if the client went away or broke the handshake off."""
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: protocol,
                self.socket,
                ssl=self.certificate if self.implicit_tls else None,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS if self.implicit_tls else None,
            )
        except OSError:
            self.socket.close()
            return False
        return True


Serve = Callable[[Visitor], Awaitable[None]]


@dataclass(slots=True)
class Doors:
    """All listening sockets of one lab, and a task for each connection that came in through them."""

    behaviour: Behaviour
    certificates: Mapping[Credential, ssl.SSLContext]
    _numbers: count[int] = field(default_factory=lambda: count(1))
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _listeners: list[socket.socket] = field(default_factory=list)

    def open(self, server: str, serve: Serve, *, moment: Moment, implicit_tls: bool, port: int = 0) -> int:
        """Listen on loopback; the port. `serve` runs in a task of its own for each connection."""
        listener = socket.create_server((LOOPBACK, port), backlog=1024)
        listener.setblocking(False)
        self._listeners.append(listener)
        self.spawn(self._accept(listener, server, serve, moment, implicit_tls))
        return int(listener.getsockname()[1])

    def spawn(self, work: Awaitable[None]) -> None:
        """Do something in the background, until the lab ends."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End every connection and wait until the last task is gone."""
        while self._tasks:
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for listener in self._listeners:
            listener.close()

    async def _accept(
        self, listener: socket.socket, server: str, serve: Serve, moment: Moment, implicit_tls: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, peer = await loop.sock_accept(listener)
            context = Context(next(self._numbers), server, str(peer[0]))
            self.spawn(self._admit(connection, context, serve, moment, implicit_tls))

    async def _admit(
        self, connection: socket.socket, context: Context, serve: Serve, moment: Moment, implicit_tls: bool
    ) -> None:
        try:
            answer = await self.behaviour.at(moment, context)
            if implicit_tls and moment is Moment.CONNECT and answer is None:
                answer = await self.behaviour.at(Moment.STARTTLS, context)
            if isinstance(answer, Drop):
                if answer.reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                connection.close()
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            connection.close()
            raise
        credential = answer.credential if isinstance(answer, Show) else Credential.GOOD
        await serve(Visitor(connection, context, self.certificates[credential], implicit_tls))
