"""What each path answers. Reads what `observe` knows; calls back for what only the agent can do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar

from aiohttp import web

from mailprobe import __version__
from mailprobe.clock import Clock
from mailprobe.errors import plain_text
from mailprobe.observe.document import (
    SCHEMA,
    canary_document,
    incident_document,
    route_report_document,
    summary_document,
)
from mailprobe.observe.history import History, Record
from mailprobe.observe.metrics import OPENMETRICS, TEXT, Metrics
from mailprobe.observe.states import States
from mailprobe.observe.vendors import Vendors
from mailprobe.web import overview, pages
from mailprobe.web.accept import accepts_gzip, prefers_openmetrics
from mailprobe.web.access import from_elsewhere
from mailprobe.web.canary_page import canary_page
from mailprobe.web.overview import Choice, RouteRow

Reload = Callable[[], Awaitable[tuple[str, ...]]]
"""Reads the configuration again; answers the problems, none if it is in use."""
Item = TypeVar("Item")
Ready = Callable[[], str | None]
"""Why the agent is not ready, None if it is."""

_SLOWEST_READER: Final = 60.0
"""Seconds in which a page must be taken; a reader that stops reading holds megabytes."""
_SLICE: Final = 0.001
"""Seconds of work on a page after which others get their turn."""
_CANARIES: Final = 50
_MOST_CANARIES: Final = 500


class Handlers:
    """The handlers of all paths but `/probe`."""

    def __init__(
        self,
        clock: Clock,
        metrics: Metrics,
        history: History,
        states: States,
        ready: Ready,
        reload: Reload,
        vendors: Vendors | None = None,
        agent: str = "",
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._history = history
        self._states = states
        self._ready = ready
        self._reload = reload
        self._vendors = vendors or Vendors(clock)
        self._agent = agent

    def routes(self) -> list[web.AbstractRouteDef]:
        """The table of paths."""
        return [
            web.get("/", self.status),
            web.get("/canaries/{id}", self.canary),
            web.get("/metrics", self.metrics),
            web.get("/-/healthy", self.healthy),
            web.get("/-/ready", self.ready),
            web.post("/-/reload", self.reload),
            web.put("/-/reload", self.reload),
            web.get("/api/v1/routes", self.api_routes),
            web.get("/api/v1/canaries", self.api_canaries),
            web.get("/api/v1/canaries/{id}", self.api_canary),
            web.get("/api/v1/incidents", self.api_incidents),
        ]

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """The whole page or that of the routes asked for; gzip is made in a thread, plain text goes out in blocks."""
        names = request.query.getall("route", [])
        if unknown := [name for name in names if name not in self._metrics.routes]:
            raise web.HTTPNotFound(text=f"no such route: {plain_text(', '.join(unknown), 200)}\n")
        openmetrics = prefers_openmetrics(request.headers.get("Accept", ""))
        headers = {"Content-Type": OPENMETRICS if openmetrics else TEXT, "Vary": "Accept, Accept-Encoding"}
        if accepts_gzip(request.headers.get("Accept-Encoding", "")):
            body = await self._metrics.packed(openmetrics, names)
            return web.Response(body=body, headers=headers | {"Content-Encoding": "gzip"})
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        async with asyncio.timeout(_SLOWEST_READER):
            if request.method != "HEAD":
                async for block in self._metrics.stream(openmetrics, names):
                    await response.write(block)
            await response.write_eof()
        return response

    async def healthy(self, request: web.Request) -> web.Response:
        """An answer at all is what is asked for: it comes from the loop that probes."""
        return web.Response(text="mailprobe is healthy\n")

    async def ready(self, request: web.Request) -> web.Response:
        """200, or 503 with the reason."""
        reason = self._ready()
        if reason is None:
            return web.Response(text="mailprobe is ready\n")
        return web.Response(status=503, text=f"mailprobe is not ready: {reason}\n")

    async def reload(self, request: web.Request) -> web.Response:
        """200, or 500 with the problems, one a line; the running configuration stays then."""
        if from_elsewhere(request.headers):
            raise web.HTTPForbidden(text="not from another site's page\n")
        problems = await self._reload()
        if problems:
            return web.Response(status=500, text="".join(f"{problem}\n" for problem in problems))
        return web.Response(text="reloaded\n")

    async def status(self, request: web.Request) -> web.Response:
        """The status page."""
        choice = Choice.of(request.query.items())
        rows = overview.rows(self._states, self._history, self._clock.now())
        found = await self._in_slices(choice.marked(rows))
        notice, feeds = self._metrics.notice, self._vendors.feeds
        shown = overview.overview(found, self._states, self._history, choice, notice, feeds)
        parts = await self._in_slices(pages.status_parts(self._clock, shown, __version__))
        return _html(pages.status_page(shown, parts, self._agent))

    async def canary(self, request: web.Request) -> web.Response:
        """One canary whole."""
        return _html(canary_page(self._clock, self._record(request), self._agent))

    async def api_routes(self, request: web.Request) -> web.StreamResponse:
        """All routes with their state and last canary."""
        rows = overview.rows(self._states, self._history, self._clock.now())
        return await self._json_list(request, "routes", (self._route(row) for row in rows))

    async def api_canaries(self, request: web.Request) -> web.StreamResponse:
        """The last canaries, the newest first."""
        route = request.query.get("route")
        if route is not None and route not in self._metrics.routes:
            raise web.HTTPNotFound(text=f"no such route: {plain_text(route, 80)}\n")
        limit = request.query.get("limit", str(_CANARIES))
        if not (limit.isascii() and limit.isdigit() and len(limit) < 6):
            raise web.HTTPBadRequest(text="limit must be a number\n")
        records = self._history.latest(route, min(int(limit), _MOST_CANARIES))
        return await self._json_list(
            request, "canaries", (canary_document(each, self._clock, False) for each in records)
        )

    async def api_canary(self, request: web.Request) -> web.Response:
        """One canary with its transcript."""
        record = self._record(request)
        document = {"schema": SCHEMA, "agent": self._agent, "canary": canary_document(record, self._clock, True)}
        return web.Response(text=_dumped(document) + "\n", content_type="application/json")

    async def api_incidents(self, request: web.Request) -> web.StreamResponse:
        """Incidents, the newest first: those not closed, and the last that were."""
        route = request.query.get("route")
        if route is not None and route not in self._metrics.routes:
            raise web.HTTPNotFound(text=f"no such route: {plain_text(route, 80)}\n")
        found = (each for each in self._states.incidents if route in (None, each.route))
        known = self._vendors.acknowledgements
        documents = (incident_document(each, self._clock, known(each.id)) for each in found)
        return await self._json_list(request, "incidents", documents)

    async def _json_list(self, request: web.Request, name: str, items: Iterable[dict[str, Any]]) -> web.StreamResponse:
        """A document of many items, sent as they are made: all at once would hold the loop for some 100 ms."""
        response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
        await response.prepare(request)
        async with asyncio.timeout(_SLOWEST_READER):
            if request.method != "HEAD":
                await response.write(f'{{"schema": {SCHEMA}, "agent": {_dumped(self._agent)}, "{name}": ['.encode())
                for number, item in enumerate(items):
                    await response.write((", " * bool(number) + _dumped(item)).encode())
                    await asyncio.sleep(0)
                await response.write(b"]}\n")
            await response.write_eof()
        return response

    def _record(self, request: web.Request) -> Record:
        record = self._history.get(request.match_info["id"])
        if record is None:
            raise web.HTTPNotFound(text="no such canary, or it is no longer remembered\n")
        return record

    async def _in_slices(self, items: Iterable[Item]) -> list[Item]:
        """The items, with a pause after each slice of work in which whoever probes may go on.

        In a thread it would take turns with the loop too, but of 5 ms each.
        """
        found, until = [], self._clock.now() + _SLICE
        for item in items:
            found.append(item)
            if self._clock.now() >= until:
                await asyncio.sleep(0)
                until = self._clock.now() + _SLICE
        return found

    def _route(self, row: RouteRow) -> dict[str, Any]:
        route = row.route
        return {
            "route": route.name,
            "sender": route.sender,
            "mailbox": route.mailbox,
            "kind": route.kind,
            **route_report_document(row.report, self._clock),
            "last_canary": summary_document(row.last, self._clock) if row.last else None,
        }


def _dumped(document: dict[str, Any] | str) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False)


def _html(page: str) -> web.Response:
    return web.Response(text=page, content_type="text/html")
