"""The pollers of one agent, one for each feed of the plan in use."""

from __future__ import annotations

from collections.abc import Mapping

from mailprobe.auth.tokens import TokenOf, no_tokens
from mailprobe.clock import Clock
from mailprobe.events import FeedsChanged, Publish
from mailprobe.feeds.poller import Poller
from mailprobe.net.resolve import Resolver
from mailprobe.plan import StatusFeed
from mailprobe.probe.supervisor import Supervisor


class Feeds:
    """Everybody who reads status feeds for one agent."""

    def __init__(
        self, supervisor: Supervisor, clock: Clock, publish: Publish, *, token_of: TokenOf = no_tokens
    ) -> None:
        self._supervisor = supervisor
        self._clock = clock
        self._publish = publish
        self._token_of = token_of
        self._resolver = Resolver()
        self._feeds: Mapping[str, StatusFeed] = {}

    async def apply(self, feeds: Mapping[str, StatusFeed]) -> None:
        """Makes these the feeds that are read, touching only those that differ from the ones before."""
        before, self._feeds = self._feeds, feeds
        gone = [name for name, feed in before.items() if feeds.get(name) != feed]
        await self._supervisor.stop(*(f"feed:{name}" for name in gone))
        self._publish(FeedsChanged(tuple((feed.name, feed.mailboxes, feed.senders) for feed in feeds.values())))
        for name, feed in feeds.items():
            if before.get(name) != feed:
                self._supervisor.start(f"feed:{name}", self._poller(feed).run)

    def _poller(self, feed: StatusFeed) -> Poller:
        return Poller(feed, self._clock, self._publish, self._resolver, token_of=self._token_of)
