"""`GET /probe`: one canary now, as Prometheus asks blackbox_exporter for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from aiohttp import web

from mailprobe.clock import Clock, rfc3339, wall_of
from mailprobe.errors import plain_text
from mailprobe.model import Attempt
from mailprobe.observe.history import Record
from mailprobe.observe.metrics import OPENMETRICS, TEXT
from mailprobe.observe.one_canary import canary_page
from mailprobe.observe.states import States
from mailprobe.web.accept import prefers_openmetrics

Probe = Callable[[str, float], Awaitable[Record]]
"""Sends a canary on the route unless one is on its way, and answers when it is judged or the seconds are over."""

_TIMEOUT: Final = 120.0
"""Seconds without a word from the scraper, as blackbox_exporter has it."""
_LONGEST: Final = 3600.0
_DEBUG: Final = {"true": True, "false": False}
_OFFSET: Final = 0.5
"""Seconds left for the answer to get back before the scraper gives up."""


class ProbeEndpoint:
    """Probes configured routes only, for one scraper at a time each: what it sends are real mails."""

    def __init__(self, clock: Clock, states: States, probe: Probe) -> None:
        self._clock = clock
        self._states = states
        self._probe = probe
        self._busy: set[str] = set()

    async def answer(self, request: web.Request) -> web.Response:
        """200 with the metrics, whatever became of the canary; 400, 404, 429 where none was sent."""
        route = request.query.get("route", "")
        debug = _DEBUG.get(request.query.get("debug", "false"))
        seconds = _timeout(request)
        if not route:
            return _refusal(400, "say which route: /probe?route=NAME")
        if debug is None:
            return _refusal(400, "debug is true or false")
        if seconds is None:
            return _refusal(400, "X-Prometheus-Scrape-Timeout-Seconds is not a number of seconds")
        kinds = {seen.name: seen.kind for seen in self._states.routes}
        if route not in kinds:
            return _refusal(404, f"no such route: {plain_text(route, 80)}")
        if route in self._busy:
            return _refusal(429, f"route {route} is being probed already")
        self._busy.add(route)
        started = self._clock.now()
        try:
            record = await self._probe(route, seconds)
        finally:
            self._busy.discard(route)
        openmetrics = not debug and prefers_openmetrics(request.headers.get("Accept", ""))
        page = canary_page(record, self._clock, self._clock.now() - started, openmetrics, kinds[route])
        if debug:
            text = f"{_told(record, self._clock)}\nMetrics that would have been returned:\n{page.decode()}"
            return web.Response(text=text)
        return web.Response(body=page, headers={"Content-Type": OPENMETRICS if openmetrics else TEXT})


def _timeout(request: web.Request) -> float | None:
    """Seconds there are, None if the header is nonsense."""
    text = request.headers.get("X-Prometheus-Scrape-Timeout-Seconds")
    if text is None:
        return _TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        return None
    if not 0 < seconds <= _LONGEST:  # also refuses what is not a number
        return None
    return seconds - _OFFSET if seconds > 2 * _OFFSET else seconds / 2


def _refusal(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text + "\n")


def _told(record: Record, clock: Clock) -> str:
    """The canary's life as text."""
    canary, verdict = record.canary, record.verdict
    lines = [f"Canary {canary.id} on route {canary.route}, begun {rfc3339(wall_of(clock, canary.opened))}", ""]
    for attempt in record.attempts:
        lines += _attempt(attempt)
    if record.sighting:
        lines.append(f"Seen in {plain_text(record.sighting.folder, 200)}, uid {record.sighting.uid}")
    if verdict is None:
        lines.append("No verdict yet: the time there was is over.")
    else:
        lines.append(_joined("Verdict: " + verdict.outcome, verdict.stage, verdict.reason, verdict.detail))
        if verdict.transit_seconds is not None:
            lines.append(f"Transit: {verdict.transit_seconds:.6f} s" + (" at most" if verdict.upper_bound else ""))
    return "\n".join((*lines, ""))


def _attempt(attempt: Attempt) -> Iterator[str]:
    peer = f" {attempt.peer.host} [{attempt.peer.address}]:{attempt.peer.port}" if attempt.peer else ""
    yield f"Attempt {attempt.number}{peer}: {attempt.outcome}"
    for time in attempt.stages:
        yield f"  {time.stage:<12} {time.seconds:9.6f} s"
    for line in attempt.transcript:
        yield f"  {line.seconds:9.6f} {line.direction} {line.text}"
    if attempt.reason:
        yield "  ended: " + _joined(attempt.stage, attempt.reason, attempt.detail)


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)
