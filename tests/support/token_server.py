"""A token endpoint on loopback, over TLS; it answers with recorded shapes, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import yaml
from aiohttp import web

SHAPES = Path(__file__).parents[1] / "data" / "tokens"


@dataclass(frozen=True)
class Shape:
    """An answer, and what is to be made of it: `reason` None is a token; `says` is in the detail."""

    body: str
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    grant: str = "client_credentials"
    reason: str | None = None
    says: str = ""
    origin: str = ""


def shape(name: str) -> Shape:
    """The recorded shape of this name."""
    return Shape(**yaml.safe_load((SHAPES / f"{name}.yaml").read_text(encoding="utf-8")))


def token_shape(token: str, expires_in: object = 3600) -> Shape:
    """An answer with this token."""
    life = "" if expires_in is None else f', "expires_in": {expires_in}'
    return Shape(f'{{"access_token": "{token}", "token_type": "Bearer"{life}}}')


class Introspection:
    """An identity provider that a mail server asks about tokens. `owners`: tokens that are good, and whose they are.

    `status` other than 200 is trouble of its own; with `stalls` no answer comes. Source: RFC 7662 2.2.
    """

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}
        self.asked: list[str] = []
        self.status = 200
        self.stalls = False
        self._ending = asyncio.Event()

    async def __aenter__(self) -> Introspection:
        application = web.Application()
        application.router.add_post("/introspect", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/introspect"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        token = str((await request.post())["token"])
        self.asked.append(token)
        if self.stalls:
            await self._ending.wait()
        owner = self.owners.get(token)
        said = {"active": True, "email": owner, "username": owner} if owner else {"active": False}
        return web.json_response(said, status=self.status)


class TokenServer:
    """`answers` are used up one by one, the last one stays; `asked` are the forms; `stalls` makes no answer come."""

    def __init__(self, context: ssl.SSLContext | None, *answers: Shape) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, str]] = []
        self.stalls = False
        self.came = asyncio.Event()
        self._context = context
        self._ending = asyncio.Event()

    async def __aenter__(self) -> TokenServer:
        application = web.Application()
        application.router.add_post("/token", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._context).start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http{'s' if self._context else ''}://127.0.0.1:{self.port}/token"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append({key: str(value) for key, value in (await request.post()).items()})
        self.came.set()
        if self.stalls:
            await self._ending.wait()
        shape = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(
            text=shape.body, status=shape.status, content_type=shape.content_type, headers=dict(shape.headers)
        )
