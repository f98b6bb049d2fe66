"""A web server on loopback, over TLS or not, that a test's own class answers for."""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType
from typing import Self

from aiohttp import web


class WebSite:
    """Answers by `answer` what is asked with this method at this path; `stalls` makes no answer come.

    `address`: scheme, host and port.
    """

    method = "GET"
    path = "/{path:.*}"

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.stalls = False
        self.port = 0
        self._context = context
        self._ending = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        """What is said to a request."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        return self.address + self.path

    @property
    def address(self) -> str:
        return f"http{'s' if self._context else ''}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_route(self.method, self.path, self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._context).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        said = await self.answer(request)
        if self.stalls:
            await self._ending.wait()
        return said
