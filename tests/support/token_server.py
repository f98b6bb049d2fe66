"""A token endpoint on loopback, over TLS; it answers with recorded shapes, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from aiohttp import web

from support.web_site import WebSite

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


class Introspection(WebSite):
    """An identity provider that a mail server asks about tokens. `owners`: tokens that are good, and whose they are.

    `status` other than 200 is trouble of its own. Source: RFC 7662 2.2.
    """

    method = "POST"
    path = "/introspect"

    def __init__(self) -> None:
        super().__init__()
        self.owners: dict[str, str] = {}
        self.asked: list[str] = []
        self.status = 200

    async def answer(self, request: web.Request) -> web.Response:
        token = str((await request.post())["token"])
        self.asked.append(token)
        owner = self.owners.get(token)
        said = {"active": True, "email": owner, "username": owner} if owner else {"active": False}
        return web.json_response(said, status=self.status)


class TokenServer(WebSite):
    """`answers` are used up one by one, the last one stays; `asked` are the forms."""

    method = "POST"
    path = "/token"

    def __init__(self, context: ssl.SSLContext | None, *answers: Shape) -> None:
        super().__init__(context)
        self.answers = list(answers)
        self.asked: list[dict[str, str]] = []
        self.came = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append({key: str(value) for key, value in (await request.post()).items()})
        self.came.set()
        shape = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.Response(
            text=shape.body, status=shape.status, content_type=shape.content_type, headers=dict(shape.headers)
        )
