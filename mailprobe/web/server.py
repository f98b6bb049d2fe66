"""The HTTP server: on the loop that probes, so that a loop that stands still fails its health check."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from aiohttp import web

from mailprobe.clock import Clock
from mailprobe.errors import ConfigurationError
from mailprobe.observe.history import History
from mailprobe.observe.metrics import Metrics
from mailprobe.observe.states import States
from mailprobe.observe.vendors import Vendors
from mailprobe.web.access import Gate, TooManyLogins, from_elsewhere, is_loopback
from mailprobe.web.door import KEEP_ALIVE, Door
from mailprobe.web.handlers import Handlers, Ready, Reload
from mailprobe.web.html import STYLE_SOURCE
from mailprobe.web.probe import Probe, ProbeEndpoint
from mailprobe.web.settings import Settings

HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src {STYLE_SOURCE}; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "mailprobe",
}
"""On every answer; those that the web configuration sets win."""

_BODY_LIMIT: Final = 16 * 1024
"""Octets of a request's body; none of ours needs one."""
_SHUTDOWN: Final = 1.0
"""Seconds that answers under way are given at the end; SIGTERM has five in all."""
_OTHER_NAME: Final = (
    "mailprobe listens on this machine only, so it answers to localhost and 127.0.0.1 only;\n"
    "to use another name, set agent.listen to another address, or have the proxy in front set the Host header\n"
)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WebServer:
    """Serves from `start` to `stop`. `listen` is host and port, port 0 for any free one; `agent` is who it is."""

    def __init__(
        self,
        listen: tuple[str, int],
        *,
        clock: Clock,
        metrics: Metrics,
        history: History,
        states: States,
        reload: Reload,
        probe: Probe,
        ready: Ready | None = None,
        vendors: Vendors | None = None,
        agent: str = "",
        web_config_file: Path | None = None,
    ) -> None:
        self._listen = listen
        self._web_config_file = web_config_file
        ready = ready or (lambda: not_ready(states))
        self._handlers = Handlers(clock, metrics, history, states, ready, reload, vendors, agent)
        self._probe = ProbeEndpoint(clock, states, probe)
        self._runner: web.AppRunner | None = None
        self._door: Door | None = None
        self.url = ""
        """Where the server is to be found, with a slash at its end; empty before `start`."""

    async def start(self) -> None:
        """Listens. Raises ConfigurationError if it cannot, or if the web configuration cannot be used."""
        settings = await asyncio.to_thread(Settings, self._web_config_file)
        context = settings.listening_context()
        host, port = self._listen
        try:
            listening = await asyncio.to_thread(_socket, host, port)
        except OSError as error:
            raise ConfigurationError(f"agent.listen: cannot listen on {_shown(host, port)}: {_why(error)}") from None
        address, bound = listening.getsockname()[:2]
        entrance = _Entrance(settings, only_loopback=ipaddress.ip_address(address.partition("%")[0]).is_loopback)
        runner = web.AppRunner(
            _application(self._handlers, self._probe, entrance, settings),
            access_log=None,
            keepalive_timeout=KEEP_ALIVE,
            shutdown_timeout=_SHUTDOWN,
        )
        await runner.setup()
        assert runner.server
        entrance.door = self._door = Door(runner.server, context)
        await self._door.open(listening)
        self._runner = runner
        self.url = f"{'https' if context else 'http'}://{_shown(_reachable(host), bound)}/"

    async def stop(self) -> None:
        """Takes no more requests, gives those under way a second, closes all connections."""
        if self._door:
            await self._door.close()
            self._door = None
        if self._runner:
            await self._runner.cleanup()
            self._runner = None


def not_ready(states: States) -> str | None:
    """Ready is when every mailbox was looked at once or is known to be down."""
    waiting = states.not_looked_at
    if not waiting:
        return None
    more = f" and {len(waiting) - 10} more" if len(waiting) > 10 else ""
    return f"nobody has looked yet into {', '.join(waiting[:10])}{more}"


class _Entrance:
    """What every request has to pass before it is answered."""

    def __init__(self, settings: Settings, *, only_loopback: bool) -> None:
        self._settings = settings
        self._only_loopback = only_loopback
        self._gate = Gate()
        self.door: Door | None = None

    async def pass_in(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Answers the request, or raises what refuses it."""
        with self.door.serving(request) if self.door else nullcontext():
            self._refuse_other_names(request)
            if self._settings.is_file:
                await asyncio.to_thread(self._settings.refresh)
            await self._refuse_strangers(request)
            return await handler(request)

    def _refuse_other_names(self, request: web.Request) -> None:
        # a page of example.org whose name was made to mean 127.0.0.1 is, to its browser, of our site
        if self._only_loopback and not is_loopback(request.headers.get("Host", "localhost")):
            raise web.HTTPMisdirectedRequest(text=_OTHER_NAME)

    async def _refuse_strangers(self, request: web.Request) -> None:
        users = self._settings.config.users
        try:
            if users and not await self._gate.admits(users, request.headers.get("Authorization"), request.remote or ""):
                challenge = {"WWW-Authenticate": 'Basic realm="mailprobe", charset="UTF-8"'}
                raise web.HTTPUnauthorized(headers=challenge)
        except TooManyLogins:
            raise web.HTTPServiceUnavailable(text="too many logins at once\n", headers={"Retry-After": "5"}) from None


def _application(handlers: Handlers, probe: ProbeEndpoint, entrance: _Entrance, settings: Settings) -> web.Application:
    @web.middleware
    async def only_who_may(request: web.Request, handler: _Handler) -> web.StreamResponse:
        return await entrance.pass_in(request, handler)

    async def probe_from_here(request: web.Request) -> web.StreamResponse:
        if from_elsewhere(request.headers):
            raise web.HTTPForbidden(text="not from another site's page: it sends a mail\n")
        return await probe.answer(request)

    async def with_headers(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS | dict(settings.config.headers))

    application = web.Application(middlewares=[only_who_may], client_max_size=_BODY_LIMIT)
    application.on_response_prepare.append(with_headers)
    application.add_routes(handlers.routes())
    # a HEAD must not send a mail
    application.router.add_get("/probe", probe_from_here, allow_head=False)
    return application


def _socket(host: str, port: int) -> socket.socket:
    """A listening socket; `::` takes IPv4 too, as it does in Go, and stands for it where there is no IPv6."""
    if host in ("", "::") and socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    if host in ("", "::"):
        return socket.create_server(("0.0.0.0", port), backlog=128)  # noqa: S104 - what was asked for
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server(address[:2], family=family, backlog=128)


def _reachable(host: str) -> str:
    return {"": "127.0.0.1", "::": "[::1]", "0.0.0.0": "127.0.0.1"}.get(host, host).strip("[]")  # noqa: S104


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _why(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "no such host"
    return os.strerror(error.errno).lower() if error.errno else str(error)
