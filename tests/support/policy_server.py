"""The web server of an MTA-STS policy, on loopback, over TLS; it says what a test wants."""

from __future__ import annotations

import ssl

from aiohttp import web

from support.web_site import WebSite

POLICY = "version: STSv1\nmode: enforce\nmx: mail.lab.test\nmx: *.mx.lab.test\nmax_age: 86400\n"


class PolicyServer(WebSite):
    """`text`, `status`, `content_type` are the answer. `asked`: paths with hosts."""

    def __init__(self, context: ssl.SSLContext, text: str | bytes = POLICY) -> None:
        super().__init__(context)
        self.text = text
        self.status = 200
        self.content_type = "text/plain"
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.host.partition(':')[0]}{request.path}")
        body = self.text if isinstance(self.text, bytes) else self.text.encode()
        headers = {"Location": f"https://elsewhere.lab.test:{self.port}/"} if self.status in (301, 302) else {}
        return web.Response(body=body, status=self.status, content_type=self.content_type, headers=headers)


def context_of(certificate: str, key: str) -> ssl.SSLContext:
    """A server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
