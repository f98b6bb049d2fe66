"""One conditional GET of a document: bounded in size, redirects and what it may be led to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urljoin, urlsplit

from mailprobe import __version__
from mailprobe.errors import plain_text
from mailprobe.feeds.parse.bounded import FeedError
from mailprobe.model import TlsMode
from mailprobe.net import https
from mailprobe.net.http_times import retry_after
from mailprobe.net.resolve import Resolver
from mailprobe.net.tls import shared_context
from mailprobe.plan import Endpoint

LARGEST: Final = 4 * 1024 * 1024
"""Bytes of a document: several times the history that a vendor publishes."""
REDIRECTS: Final = 5
USER_AGENT: Final = f"mailprobe/{__version__} (mail-flow probe, reads status feeds)"
_REDIRECTED: Final = frozenset((301, 302, 303, 307, 308))
_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Answer:
    """A document, and by what the next request may ask whether it has changed. `body` None: it has not."""

    body: bytes | None
    validators: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Trust:
    """`ca_file`: the CAs that a server's certificate must lead to, None: the system's. `plaintext`: http is allowed."""

    ca_file: Path | None = None
    plaintext: bool = False


async def fetch(url: str, headers: Mapping[str, str], trust: Trust, resolver: Resolver, timeout: float) -> Answer:
    """What is there now. `headers`: validators, and what the server wants to know; see `Answer`.

    `timeout` is for names alone: the caller bounds the whole. Raises FeedError, ProbeFailure.
    """
    headers = {"User-Agent": USER_AGENT, **headers}
    for _ in range(REDIRECTS + 1):
        parts = _checked(url, trust)
        found = await _get(url, parts, headers, trust, resolver, timeout)
        if isinstance(found, Answer):
            return found
        target = _target(url, found)
        if _origin(target) != _origin(url):
            headers.pop("Authorization", None)  # what is meant for one server is not for another
        url = target
    raise FeedError(f"more than {REDIRECTS} redirects")


async def _get(
    url: str, parts: SplitResult, headers: Mapping[str, str], trust: Trust, resolver: Resolver, timeout: float
) -> Answer | str:
    """The document, or where else it is to be found."""
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    addresses = await resolver.addresses(host, timeout=timeout)
    secure = parts.scheme == "https"
    endpoint = Endpoint(host, port, TlsMode.IMPLICIT, ca_file=trust.ca_file)
    context = await shared_context(endpoint) if secure else None
    try:
        return await https.request(url, addresses.addresses, context, headers, _read)
    except https.HttpError as error:
        raise FeedError(f"no HTTP: {error}") from error


async def _read(answer: Any) -> Answer | str:
    if answer.status in _REDIRECTED:
        return str(answer.headers.get("Location", ""))
    if answer.status == 304:
        return Answer(None, {})
    if answer.status != 200:
        asked = retry_after(answer.headers.get("Retry-After", ""))
        raise FeedError(f"HTTP status {answer.status}", retry_after=asked, refused=answer.status == 401)
    body = await https.body_of(answer, LARGEST)
    if body is None:
        raise FeedError(f"more than {LARGEST // 1024 // 1024} MiB")
    return Answer(body, _validators(answer.headers))


def _validators(headers: Mapping[str, str]) -> dict[str, str]:
    """Source: RFC 9110 13.1."""
    asked = {"If-None-Match": headers.get("ETag"), "If-Modified-Since": headers.get("Last-Modified")}
    return {name: value for name, value in asked.items() if value and len(value) <= 1000 and value.isprintable()}


def _checked(url: str, trust: Trust) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for one that is none
    except ValueError:
        raise FeedError("led to what is no address") from None
    shown = plain_text(f"{parts.scheme}://{parts.hostname or ''}", 80)  # not what else a server may have put there
    if parts.scheme not in _PORTS or not parts.hostname:
        raise FeedError(f"led to what is no web address: {shown}")
    if parts.scheme != "https" and not trust.plaintext:
        raise FeedError(f"led to an address without TLS: {shown}")
    return parts


def _target(url: str, location: str) -> str:
    if not location:
        raise FeedError("a redirect to nowhere")
    try:
        return urljoin(url, location)
    except ValueError:
        raise FeedError("a redirect to what is no address") from None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()
