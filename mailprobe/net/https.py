"""HTTPS as a client: one request on one connection, to the addresses that our own resolver found.

aiohttp is imported when the first request is made, and in a thread: it takes a quarter of a second.
"""

from __future__ import annotations

import asyncio
import errno
import importlib
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

from mailprobe.errors import Stage
from mailprobe.net.failure import failure_of

T = TypeVar("T")

_CHUNK: Final = 65536
_FAREWELL: Final = 1.0
"""Seconds that a request is given to notice that it is over."""


class HttpError(Exception):
    """An answer that is no HTTP; its text says why, with nothing of it: it may repeat what was sent."""


async def request(
    url: str,
    addresses: tuple[str, ...],
    context: ssl.SSLContext | None,
    headers: Mapping[str, str],
    read: Callable[[Any], Awaitable[T]],
    form: Mapping[str, str] | None = None,
) -> T:
    """What `read` makes of the answer (an aiohttp.ClientResponse) to a GET there, or to a POST of a form.

    No cookies, no redirect followed, nothing decompressed. The caller bounds the time. Raises ProbeFailure, HttpError.
    """
    aiohttp = await asyncio.to_thread(importlib.import_module, "aiohttp")
    sockets = _Sockets()
    try:
        return await _ending_first(sockets, _request(aiohttp, sockets, url, addresses, context, headers, read, form))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        # behind it: a certificate, a refusal, an end
        cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
        raise failure_of(cause, Stage.TLS) or HttpError(type(error).__name__) from error
    finally:
        sockets.end()
        await asyncio.sleep(0)


async def _request(
    aiohttp: Any,
    sockets: _Sockets,
    url: str,
    addresses: tuple[str, ...],
    context: ssl.SSLContext | None,
    headers: Mapping[str, str],
    read: Callable[[Any], Awaitable[T]],
    form: Mapping[str, str] | None,
) -> T:
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_Resolved(addresses), ssl=context or True, force_close=True, socket_factory=sockets
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as session,
        session.request(
            "GET" if form is None else "POST",
            url,
            data=form,
            allow_redirects=False,
            headers={"Accept-Encoding": "identity", **headers},
        ) as answer,
    ):
        return await read(answer)


async def _ending_first(sockets: _Sockets, work: Coroutine[Any, Any, T]) -> T:
    """Where it is cancelled, its connections are ended first: uvloop cannot end a handshake that is under way."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if sockets.end():
            await asyncio.wait([task], timeout=_FAREWELL)
        task.cancel()
        await asyncio.wait([task], timeout=_FAREWELL)
        if task.done() and not task.cancelled():
            task.exception()  # which nobody wants to know any more
        raise


async def body_of(answer: Any, limit: int) -> bytes | None:
    """The body of an answer; None if it is longer than `limit`, of which not more than that is read."""
    if (answer.content_length or 0) > limit:
        return None
    body = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)


class _Sockets:
    """What aiohttp asks for sockets, so that they can be ended without waiting for the other side.

    TLS waits for its farewell: a server that says nothing would hold the connection for half a minute, and with uvloop
    the end of the loop too.
    """

    def __init__(self) -> None:
        self._made: list[socket.socket] = []
        self._over = False

    def __call__(self, address: tuple[Any, ...]) -> socket.socket:
        """A socket for what getaddrinfo says of an address. Raises OSError once all is over: aiohttp tries again."""
        if self._over:
            raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED))
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        self._made.append(made)
        return made

    def end(self) -> bool:
        """Nothing more comes and goes; those who hold a socket see it end and close it. Whether one was connected."""
        self._over, ended = True, False
        for made in self._made:
            with suppress(OSError):
                made.shutdown(socket.SHUT_RDWR)
                ended = True
        return ended


class _Resolved:
    """What aiohttp asks for addresses: those that our own resolver found."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        """All of them, whatever the family asked for."""
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""
