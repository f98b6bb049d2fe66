"""The door of the HTTP server: how many connections are let in, and how long one may wait before it asks for something.

aiohttp bounds neither: a few hundred half-sent requests would leave the agent no descriptor to probe with.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, cast

from aiohttp import web

FIRST_REQUEST: Final = 10.0
"""Seconds from the connection to its first request; a TLS handshake before it may take as long again."""
KEEP_ALIVE: Final = 75.0
"""Seconds from an answer to the next request on the same connection; a reader that stalls has no longer either."""
_MOST: Final = 100
_SHARE: Final = 4
"""At most a quarter of the process's descriptors: the others are for probing."""
_AT_ONCE: Final = 16
"""Connections that the system holds for us and that are accepted in one go: they are over the limit for a moment."""


def most_connections() -> int:
    """Connections at once: 100, or fewer where the process has few descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else max(1, min(_MOST, soft // _SHARE))


class Door:
    """Lets connections in from `open` to `close`.

    When the house is full, who has waited longest without asking for anything has to leave; if all are being
    served, the newcomer does.
    """

    def __init__(self, server: web.Server, context: ssl.SSLContext | None, most: int | None = None) -> None:
        self._server = server
        self._context = context
        self._most = most or most_connections()
        self._inside: dict[web.RequestHandler, _Visitor] = {}
        self._waiting: dict[_Visitor, None] = {}
        self._listening: asyncio.Server | None = None

    async def open(self, listening: socket.socket) -> None:
        """Accepts on the listening socket, which is the door's from now on."""
        handshake = FIRST_REQUEST if self._context else None
        self._listening = await asyncio.get_running_loop().create_server(
            lambda: _Visitor(self, self._server()),
            sock=listening,
            ssl=self._context,
            ssl_handshake_timeout=handshake,
            backlog=_AT_ONCE,
        )

    async def close(self) -> None:
        """Accepts no more; those inside are the server's to end."""
        if self._listening:
            self._listening.close()

    @contextmanager
    def serving(self, request: web.Request) -> Iterator[None]:
        """While a request is being answered its connection has no time limit of the door's."""
        visitor = self._inside.get(request.protocol)
        if visitor is None:  # lost meanwhile
            yield
            return
        self._waiting.pop(visitor, None)
        visitor.limit(None)
        try:
            yield
        finally:
            if request.protocol in self._inside:
                self._waiting[visitor] = None
                visitor.limit(KEEP_ALIVE)

    def left(self, visitor: _Visitor) -> None:
        """The connection is gone."""
        visitor.limit(None)
        self._inside.pop(visitor.handler, None)
        self._waiting.pop(visitor, None)

    def _make_room(self) -> bool:
        visitor = next(iter(self._waiting), None)
        if visitor is None:
            return False
        visitor.leave()
        return True

    def lets_in(self, visitor: _Visitor) -> bool:
        """True if there is room for one more, who is inside then."""
        if len(self._inside) >= self._most and not self._make_room():
            return False
        self._inside[visitor.handler] = visitor
        self._waiting[visitor] = None
        visitor.limit(FIRST_REQUEST)
        return True


class _Visitor(asyncio.Protocol):
    """One connection: aiohttp's handler, and the time limit that it lacks."""

    def __init__(self, door: Door, handler: web.RequestHandler) -> None:
        self.handler = handler
        self._door = door
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def limit(self, seconds: float | None) -> None:
        """From now on this long, instead of what was said before; None is for ever."""
        if self._timer:
            self._timer.cancel()
        self._timer = None if seconds is None else asyncio.get_running_loop().call_later(seconds, self.leave)

    def leave(self) -> None:
        """Ends the connection at once; what is not sent yet is not sent."""
        if self._transport:
            self._transport.abort()
            self._door.left(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._door.lets_in(self):
            cast(asyncio.Transport, transport).abort()
            return
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.handler.connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._transport:
            self._door.left(self)
            self.handler.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._transport:
            self.handler.data_received(data)

    def eof_received(self) -> None:
        self.handler.eof_received()

    def pause_writing(self) -> None:
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        self.handler.resume_writing()
