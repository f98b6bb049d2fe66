"""The web server of an MTA-STS policy, on loopback, over TLS; it says what a test wants."""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType

from aiohttp import web

POLICY = "version: STSv1\nmode: enforce\nmx: mail.lab.test\nmx: *.mx.lab.test\nmax_age: 86400\n"


class PolicyServer:
    """`text`, `status`, `content_type` are the answer; `stalls` makes it never come. `asked`: paths with hosts."""

    def __init__(self, context: ssl.SSLContext, text: str | bytes = POLICY) -> None:
        self.text = text
        self.status = 200
        self.content_type = "text/plain"
        self.stalls = False
        self.asked: list[str] = []
        self.port = 0
        self._context = context
        self._ending = asyncio.Event()

    async def __aenter__(self) -> PolicyServer:
        application = web.Application()
        application.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._context)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.host.partition(':')[0]}{request.path}")
        if self.stalls:
            await self._ending.wait()
        body = self.text if isinstance(self.text, bytes) else self.text.encode()
        headers = {"Location": f"https://elsewhere.lab.test:{self.port}/"} if self.status in (301, 302) else {}
        return web.Response(body=body, status=self.status, content_type=self.content_type, headers=headers)


def context_of(certificate: str, key: str) -> ssl.SSLContext:
    """A server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
