"""Listening sockets of the embedded servers: who comes in, with which certificate, and out again at the end."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine, Mapping
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
        """Begin to talk by this protocol; False if the client went away or broke the handshake off.

        Where it is cancelled the protocol may have its connection already, and somebody has to end that.
        """
        entering = asyncio.create_task(self._connect(protocol))
        try:
            return await asyncio.shield(entering)
        except asyncio.CancelledError:
            if self.implicit_tls:  # a handshake may take long; without, it is a turn of the loop
                entering.cancel()
            await asyncio.gather(entering, return_exceptions=True)
            raise

    async def _connect(self, protocol: asyncio.Protocol) -> bool:
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


Serve = Callable[[Visitor], Coroutine[object, object, None]]
Admit = Callable[[socket.socket, str], Coroutine[object, object, None]]
"""What to do with a connection from this address."""


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

        def admit(connection: socket.socket, peer: str) -> Coroutine[object, object, None]:
            return self._admit(connection, Context(next(self._numbers), server, peer), serve, moment, implicit_tls)

        listener = socket.create_server((LOOPBACK, port), backlog=1024)
        self.accept(listener, admit)
        return int(listener.getsockname()[1])

    def accept(self, listener: socket.socket, admit: Admit) -> None:
        """Let in whoever comes, until the lab ends. `admit` runs in a task of its own for each connection."""
        listener.setblocking(False)
        self._listeners.append(listener)
        asyncio.get_running_loop().add_reader(listener, self._let_in, listener, admit)

    def spawn(self, work: Coroutine[object, object, None], *, using: socket.socket | None = None) -> None:
        """Do something in the background, until the lab ends. `using`: closed afterwards, also where it never began."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if using is not None:
            task.add_done_callback(lambda _: using.close())

    async def close(self) -> None:
        """End every connection and wait until the last task is gone."""
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener)
        while self._tasks:
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for listener in self._listeners:
            listener.close()

    def _let_in(self, listener: socket.socket, admit: Admit) -> None:
        # not sock_accept: who comes in the turn in which that is cancelled would stay open
        try:
            connection, peer = listener.accept()
        except OSError:  # gone again
            return
        connection.setblocking(False)
        self.spawn(admit(connection, str(peer[0])), using=connection)

    async def _admit(
        self, connection: socket.socket, context: Context, serve: Serve, moment: Moment, implicit_tls: bool
    ) -> None:
        answer = await self.behaviour.at(moment, context)
        if implicit_tls and moment is Moment.CONNECT and answer is None:
            answer = await self.behaviour.at(Moment.STARTTLS, context)
        if isinstance(answer, Drop):
            if answer.reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            return
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        credential = answer.credential if isinstance(answer, Show) else Credential.GOOD
        await serve(Visitor(connection, context, self.certificates[credential], implicit_tls))
