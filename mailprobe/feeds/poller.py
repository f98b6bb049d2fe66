"""Asks one status feed again and again, politely, and publishes what it said, were it nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from mailprobe.auth.tokens import Token, TokenOf, no_tokens
from mailprobe.backoff import Backoff
from mailprobe.clock import Clock
from mailprobe.errors import ProbeFailure
from mailprobe.events import Publish, VendorStatusSeen
from mailprobe.feeds.fetch import Answer, Trust, fetch
from mailprobe.feeds.parse import PARSERS, FeedError
from mailprobe.net.resolve import Resolver
from mailprobe.plan import FeedKind, StatusFeed
from mailprobe.vendor import VendorIncident, VendorReport, VendorState, VendorStatus

FIRST_PAUSE: Final = 15.0
"""Seconds after the first failure, if the interval is not shorter still."""
LONGEST_PAUSE: Final = 900.0
"""Seconds between tries at a feed that fails, if its interval is not longer still."""
JITTER: Final = 0.1
_STATUSPAGE: Final = ("/api/v2/summary.json", "/api/v2/incidents.json")


@dataclass(slots=True)
class _Document:
    """One document of a feed: where, what it said last, and by what to ask whether that has changed."""

    url: str
    report: VendorReport | None = None
    validators: Mapping[str, str] = field(default_factory=dict)


class Poller:
    """Polls one feed from `run` until it is cancelled. `token_of`: for a feed that wants to know who asks."""

    def __init__(
        self,
        feed: StatusFeed,
        clock: Clock,
        publish: Publish,
        resolver: Resolver,
        *,
        token_of: TokenOf = no_tokens,
    ) -> None:
        self._feed = feed
        self._clock = clock
        self._publish = publish
        self._resolver = resolver
        self._token_of = token_of
        self._token: Token | None = None
        self._trust = Trust(feed.ca_file, feed.plaintext)
        self._documents = [_Document(url) for url in documents_of(feed)]
        first, longest = min(FIRST_PAUSE, feed.interval), max(LONGEST_PAUSE, feed.interval)
        self._backoff = Backoff(first, longest)

    async def run(self) -> None:
        """Looks, waits, looks again."""
        while True:
            pause = await self.poll()
            await self._clock.sleep_until(self._clock.now() + pause)

    async def poll(self) -> float:
        """Looks once and publishes what came of it; answers after how many seconds to look again."""
        try:
            status = await self._look()
        except (FeedError, ProbeFailure) as error:
            status = VendorStatus(VendorState.UNREACHABLE, detail=self._cleaned(str(error)))
            asked: float = getattr(error, "retry_after", 0.0)
            pause = max(self._backoff.pause(), asked)
        else:
            self._backoff.reset()
            pause = self._feed.interval * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - spreads load
        self._publish(VendorStatusSeen(self._feed.name, self._clock.now(), status))
        return pause

    async def _look(self) -> VendorStatus:
        timeout = self._feed.timeout
        try:
            async with self._clock.timeout_at(self._clock.now() + timeout):
                reports = [await self._read(document) for document in self._documents]
        except TimeoutError:
            raise FeedError(f"no answer within {timeout:g} s") from None
        report = merged(reports)
        return VendorStatus(report.state(self._clock.wall()), report.incidents, report.detail)

    async def _read(self, document: _Document) -> VendorReport:
        answer = await self._ask(document)
        if answer.body is not None:
            # what was known is not forgotten before something is to be put in its place
            report = await asyncio.to_thread(self._parsed, answer.body)
            document.report, document.validators = report, answer.validators
        elif document.report is None:
            raise FeedError("not changed, it says, since a time at which nobody asked")
        assert document.report is not None
        return document.report

    def _parsed(self, body: bytes) -> VendorReport:
        """What a document says, for a thread: it may be large."""
        report, clean = PARSERS[self._feed.kind](body, self._feed.services), self._cleaned
        incidents = (replace(each, id=clean(each.id), title=clean(each.title)) for each in report.incidents)
        return replace(report, incidents=tuple(incidents), detail=clean(report.detail))

    def _cleaned(self, text: str) -> str:
        """What a server says, unless it repeats the token that it was given."""
        return self._token.scrub(text) if self._token else text

    async def _ask(self, document: _Document) -> Answer:
        feed = self._feed
        ask = partial(fetch, document.url, trust=self._trust, resolver=self._resolver, timeout=feed.timeout)
        if feed.oauth2 is None:
            return await ask(document.validators)
        token = self._token = await self._token_of(feed.oauth2)
        try:
            return await ask({**document.validators, "Authorization": f"Bearer {token.reveal()}"})
        except FeedError as error:
            if error.refused:
                token.refused()
            raise


def documents_of(feed: StatusFeed) -> tuple[str, ...]:
    """The addresses of what has to be read of a feed."""
    if feed.kind is FeedKind.STATUSPAGE:
        return tuple(feed.url.rstrip("/") + path for path in _STATUSPAGE)
    return (feed.url,)


def merged(reports: Iterable[VendorReport]) -> VendorReport:
    """What several documents say together; of an incident that is in two, the first is believed."""
    incidents: dict[str, VendorIncident] = {}
    stated: VendorState | None = None
    details = []
    for report in reports:
        for incident in report.incidents:
            incidents.setdefault(incident.id, incident)
        stated = report.stated if stated is None else stated
        details.append(report.detail)
    return VendorReport(tuple(incidents.values()), stated, "; ".join(filter(None, details)))
