"""A domain's MTA-STS policy: found, fetched, read, and held against an attempt. Source: RFC 8461.

Policies are remembered as long as they and this file allow; what cannot be had is asked for again a minute later.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from mailprobe.errors import ProbeFailure, Reason, plain_text
from mailprobe.model import MtaStsFacts, MtaStsMode, TlsMode
from mailprobe.net import https
from mailprobe.net.resolve import Resolver
from mailprobe.net.tls import shared_context
from mailprobe.plan import Endpoint

HTTPS_PORT: Final = 443
TIMEOUT: Final = 5.0
"""Seconds for each of the two questions, the record and the policy."""
LARGEST: Final = 65536
"""Bytes of a policy. Source: RFC 8461 3.3."""
LONGEST_AGE: Final = 31_557_600
RECORD_SECONDS: Final = (60.0, 600.0)
"""How long a record is taken to be unchanged, at least and at most, whatever its TTL says."""
POLICY_SECONDS: Final = 3600.0
"""How long a fetched policy is used, if its own `max_age` is longer: a probe wants to notice that it is gone."""
_EXCHANGERS: Final = 50

_ABSENT: Final = MtaStsFacts(MtaStsMode.ABSENT)
_ID: Final = re.compile(r"[A-Za-z0-9]{1,32}")
_PATTERN: Final = re.compile(r"(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63}){0,20}\.?")


class PolicyError(Exception):
    """A policy that is not one; its text says why."""


def record_id(texts: Iterable[str]) -> str | None:
    """The id that a domain's TXT records give; None if they announce no policy. Source: RFC 8461 3.1."""
    records = [text for text in texts if re.match(r"v=STSv1[ \t]*(;|$)", text)]
    if len(records) != 1:
        return None
    for field_ in records[0].split(";")[1:]:
        name, _, value = field_.partition("=")
        if name.strip(" \t") == "id":
            value = value.strip(" \t")
            return value if _ID.fullmatch(value) else None
    return None


def parse(text: str) -> MtaStsFacts:
    """The policy in a file's text. Raises PolicyError. Source: RFC 8461 3.2."""
    fields: dict[str, str] = {}
    exchangers: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        name, colon, value = (part.strip(" \t") for part in line.partition(":"))
        if not colon and line.strip():
            raise PolicyError(f"not a field: {plain_text(line, 80)}")
        if name == "mx":
            exchangers.append(value)
        else:
            fields.setdefault(name, value)
    if fields.get("version") != "STSv1":
        raise PolicyError("no version: STSv1")
    mode = fields.get("mode", "")
    if mode not in ("enforce", "testing", "none"):
        raise PolicyError(f"no mode that is known: {plain_text(mode, 80)}")
    age = fields.get("max_age", "")
    if not (age.isascii() and age.isdigit() and len(age) <= 10):
        raise PolicyError(f"no max_age that is a number of seconds: {plain_text(age, 80)}")
    if mode != "none" and not exchangers:
        raise PolicyError("no mx")
    for exchanger in exchangers:
        if not _PATTERN.fullmatch(exchanger):
            raise PolicyError(f"not a host or a pattern of hosts: {plain_text(exchanger, 80)}")
    return MtaStsFacts(MtaStsMode(mode), exchangers=tuple(exchangers[:_EXCHANGERS]), max_age=min(int(age), LONGEST_AGE))


def names(policy: MtaStsFacts, host: str) -> bool:
    """Whether a policy names this mail exchanger; `*.` stands for exactly one label. Source: RFC 8461 4.1."""
    wanted = host.lower().rstrip(".")
    _, _, parent = wanted.partition(".")
    known = {pattern.lower().rstrip(".") for pattern in policy.exchangers}
    return wanted in known or f"*.{parent}" in known


@dataclass(slots=True)
class _Known:
    """What is remembered of a domain; `checked` and `fetched` end with these instants of time.monotonic()."""

    facts: MtaStsFacts = _ABSENT
    checked_until: float = float("-inf")
    fetched_until: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class MtaSts:
    """Policies by domain. `ca_file`: the CAs that the web server's certificate must lead to; None: the system's."""

    def __init__(self, resolver: Resolver, ca_file: Path | None = None, port: int = HTTPS_PORT) -> None:
        self._resolver = resolver
        self._ca_file = ca_file
        self._port = port
        self._known: dict[str, _Known] = {}

    async def policy(self, domain: str) -> MtaStsFacts:
        """The policy that holds for a domain now, nothing judged; takes at most twice TIMEOUT, mostly nothing."""
        if domain not in self._known and len(self._known) >= 1000:
            self._known.pop(next(iter(self._known)))
        known = self._known.setdefault(domain, _Known())
        async with known.lock:
            if time.monotonic() >= known.checked_until:
                await self._check(domain, known)
        return known.facts

    async def _check(self, domain: str, known: _Known) -> None:
        now = time.monotonic()
        shortest, longest = RECORD_SECONDS
        try:
            id_, ttl = await self._record(domain)
        except ProbeFailure as failure:
            # whoever has a policy goes by it until it is too old. Source: RFC 8461 5.1
            if now >= known.fetched_until:
                known.facts = MtaStsFacts(MtaStsMode.ERROR, detail=failure.detail)
            known.checked_until = now + shortest
            return
        known.checked_until = now + min(max(ttl, shortest), longest)
        if id_ is None:
            known.facts = _ABSENT
            known.fetched_until = now
        elif id_ != known.facts.id or now >= known.fetched_until:
            await self._renew(domain, id_, known, now)

    async def _renew(self, domain: str, id_: str, known: _Known, now: float) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                facts = parse(await self._fetch(f"mta-sts.{domain}"))
        except (PolicyError, ProbeFailure, TimeoutError) as error:
            why = getattr(error, "detail", "") or str(error) or f"no answer within {TIMEOUT:g} s"
            known.checked_until = now + RECORD_SECONDS[0]
            if now >= known.fetched_until:
                known.facts = MtaStsFacts(MtaStsMode.ERROR, id_, detail=f"https://mta-sts.{domain}: {why}")
            return
        known.facts = replace(facts, id=id_)
        known.fetched_until = now + min(facts.max_age or 0, POLICY_SECONDS)

    async def _record(self, domain: str) -> tuple[str | None, float]:
        try:
            found = await self._resolver.records(f"_mta-sts.{domain}", "TXT", TIMEOUT)
        except ProbeFailure as failure:
            if failure.reason is Reason.DNS_NXDOMAIN:
                return None, RECORD_SECONDS[0]
            raise
        return record_id(b"".join(record.strings).decode("ascii", "replace") for record in found.values), found.ttl

    async def _fetch(self, host: str) -> str:
        """The text of the policy that a host has. Raises PolicyError, ProbeFailure."""
        endpoint = Endpoint(host, self._port, TlsMode.IMPLICIT, ca_file=self._ca_file)
        addresses = await self._resolver.addresses(host, timeout=TIMEOUT)
        context = await shared_context(endpoint)
        url = f"https://{host}:{self._port}/.well-known/mta-sts.txt"
        try:
            return await https.request(url, addresses.addresses, context, {}, _policy_in)
        except https.HttpError as error:
            raise PolicyError(str(error)) from error


async def _policy_in(answer: Any) -> str:
    if answer.status != 200:
        raise PolicyError(f"HTTP status {answer.status}")
    if answer.content_type != "text/plain":
        raise PolicyError(f"{plain_text(answer.content_type, 80)} is not text/plain")
    body = await https.body_of(answer, LARGEST)
    if body is None:
        raise PolicyError(f"more than {LARGEST} bytes")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise PolicyError("not UTF-8") from None
