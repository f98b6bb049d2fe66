"""Status feeds: what their kinds ask for and leave out, and the slices that are made of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from mailprobe.config.durations import duration_text
from mailprobe.config.oauth2 import asks_endpoint, oauth2_of
from mailprobe.config.providers import IdentityProvider
from mailprobe.config.schema import OAuth2Settings, Settings, StatusFeedSettings
from mailprobe.config.secrets_dir import Secrets
from mailprobe.plan import FeedKind, StatusFeed, is_loopback

SHORTEST_INTERVAL: Final = 30.0
"""Seconds between looks at a server that is not ours: what vendors publish changes every few minutes."""
URLS: Final = {
    FeedKind.MICROSOFT_GRAPH: "https://graph.microsoft.com/v1.0/admin/serviceAnnouncement/issues"
    "?$filter=isResolved%20eq%20false",
    FeedKind.GOOGLE_WORKSPACE: "https://www.google.com/appsstatus/dashboard/incidents.json",
}
SERVICES: Final = {
    FeedKind.MICROSOFT_GRAPH: ("Exchange Online", "Microsoft 365 suite"),
    FeedKind.GOOGLE_WORKSPACE: ("Gmail",),
}
"""What mail depends on; an outage of many services at once is one of the suite."""
GRAPH_SCOPE: Final = "https://graph.microsoft.com/.default"
"""All that the application was given. Source: https://learn.microsoft.com/graph/auth-v2-service."""


class Finding(NamedTuple):
    """What is wrong with a setting of a feed, and the settings that must be right for that to be said."""

    key: str
    text: str
    needs: tuple[str, ...] = ()


def wrong_with(feed: StatusFeedSettings) -> Iterator[Finding]:
    """What a feed lacks, or has for nothing."""
    url = feed.url or URLS.get(feed.kind, "")
    if not url:
        yield Finding("url", f"is missing: a feed of kind {feed.kind} needs the address of its page or feed", ("kind",))
    elif not _is_safe(url) and feed.oauth2:
        yield Finding("url", "must begin with https://: a token is sent there", ("oauth2",))
    elif not _is_safe(url) and not feed.allow_http:
        yield Finding("url", "must begin with https://, or say allow_http: true if you must", ("allow_http",))
    if feed.interval < SHORTEST_INTERVAL and not is_loopback(urlsplit(url).hostname or ""):
        yield Finding("interval", f"must be at least {duration_text(SHORTEST_INTERVAL)}: it is somebody else's server")
    if feed.kind is FeedKind.MICROSOFT_GRAPH and feed.oauth2 is None:
        yield Finding("oauth2", "is missing: Microsoft Graph wants to know who asks", ("kind",))
    if feed.kind is not FeedKind.MICROSOFT_GRAPH and feed.oauth2 is not None:
        yield Finding("oauth2", "is for microsoft_graph only; remove it", ("kind",))


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")


def feed_of(name: str, settings: Settings, directory: Path, secrets: Secrets | None) -> StatusFeed:
    """The slice of a feed. `directory`: where relative paths begin; `secrets`: where `secrets_dir` has the feed's."""
    own = settings.status_feeds[name]
    services = SERVICES.get(own.kind, ()) if own.services is None else own.services
    url = own.url or URLS[own.kind]
    return StatusFeed(
        name=name,
        kind=own.kind,
        url=url,
        interval=own.interval,
        timeout=settings.defaults.timeout,
        services=frozenset(service.strip().casefold() for service in services),
        mailboxes=own.mailboxes,
        senders=own.senders,
        ca_file=directory / own.ca_file if own.ca_file else None,
        plaintext=own.allow_http or is_loopback(urlsplit(url).hostname or ""),
        oauth2=oauth2_of("", tokens_of(own.oauth2), secrets, directory) if own.oauth2 else None,
    )


def tokens_of(own: OAuth2Settings) -> OAuth2Settings:
    """A feed's oauth2 with what follows from its kind: whom to ask, and for what."""
    known = own.provider or own.token_url or not asks_endpoint(own)
    return own.model_copy(
        update={
            "provider": own.provider if known else IdentityProvider.MICROSOFT365,
            "scope": own.scope or (GRAPH_SCOPE if asks_endpoint(own) else None),
        }
    )
