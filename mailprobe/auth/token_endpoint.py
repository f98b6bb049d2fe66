"""One POST to a token endpoint, and what it comes to. Source: RFC 6749 3.2."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from mailprobe.auth.grants import Asked, Grants
from mailprobe.auth.passwords import Secret
from mailprobe.auth.token_answer import LARGEST, fetched
from mailprobe.auth.tokens import Fetched
from mailprobe.clock import Clock
from mailprobe.errors import NoCredential, ProbeFailure, Reason, plain_text
from mailprobe.model import TlsMode
from mailprobe.net import https
from mailprobe.net.http_times import http_date
from mailprobe.net.resolve import Resolver
from mailprobe.net.tls import shared_context
from mailprobe.plan import Endpoint, OAuth2, is_loopback

TIMEOUT: Final = 10.0
"""Seconds for all of it."""
_MOST_OFF: Final = 86400.0
"""Seconds by which we take our clock to be wrong at most: what is signed for a time to come is good until then."""
_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a token endpoint answered: HTTP status, headers in lower case, the body; None: longer than LARGEST."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None


class EndpointFetch:
    """Gets tokens from the endpoint of one source; it remembers a refresh token that came in place of the old one."""

    def __init__(self, oauth2: OAuth2, clock: Clock) -> None:
        self._oauth2 = oauth2
        self._clock = clock
        self._grants = Grants(oauth2)
        self._resolver = Resolver()
        self._clock_is_off = 0.0

    async def __call__(self) -> Fetched:
        """One request. Raises NoCredential; its text names the endpoint's host."""
        asked = await asyncio.to_thread(self._grants.ask, self._clock.wall() + self._clock_is_off)
        answer = await post(self._oauth2.token_url, asked, self._resolver, self._oauth2.ca_file)
        self._compare_clocks(answer)
        host = urlsplit(self._oauth2.token_url).hostname or ""
        token, life, renewed = fetched(
            host, answer.status, answer.headers, answer.body, asked, self._oauth2.grant, self._clock_is_off
        )
        if renewed:
            await asyncio.to_thread(self._grants.keep, Secret(renewed))
        return Fetched(Secret(token), life)

    def _compare_clocks(self, answer: Answer) -> None:
        """What we sign has times in it, which have to be right by the endpoint's clock and not by ours."""
        date = http_date(answer.headers.get("date", ""))
        if date is None:
            return
        off = max(-_MOST_OFF, min(date.timestamp() - self._clock.wall(), _MOST_OFF))
        self._clock_is_off = off if abs(off) > TIMEOUT else 0.0


async def post(url: str, asked: Asked, resolver: Resolver, ca_file: Path | None = None) -> Answer:
    """Sends a form and reads the answer, at most LARGEST octets of it; follows no redirect. Raises NoCredential."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    if parts.scheme == "http" and not is_loopback(host):
        raise NoCredential(
            Reason.AUTH_UNAVAILABLE, f"{host}: no secret is sent over a connection that is not encrypted"
        )
    try:
        context = await shared_context(Endpoint(host, port, TlsMode.IMPLICIT, ca_file=ca_file))
        async with asyncio.timeout(TIMEOUT):
            addresses = (await resolver.addresses(host, timeout=TIMEOUT / 2)).addresses
            return await https.request(url, addresses, context, {"Accept": "application/json"}, _read, asked.form)
    except (ProbeFailure, https.HttpError, TimeoutError) as error:
        raise NoCredential(Reason.AUTH_UNAVAILABLE, f"token endpoint {host}: {_why(error)}") from None


async def _read(answer: Any) -> Answer:
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Answer(answer.status, headers, await https.body_of(answer, LARGEST))


def _why(error: ProbeFailure | https.HttpError | TimeoutError) -> str:
    """What of the network it was; never the text of an exception that could hold the request."""
    match error:
        case TimeoutError():
            return f"no answer within {TIMEOUT:g} s"
        case ProbeFailure():
            return f"{error.reason}: {plain_text(error.detail, 200)}" if error.detail else str(error.reason)
        case _:
            return f"no HTTP answer ({error})"
