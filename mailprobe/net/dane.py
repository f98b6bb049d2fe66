"""A mail exchanger's TLSA records, and an attempt held against them. Source: RFC 6698, 7671, 7672.

Only what DNSSEC vouches for counts, by the AD flag of the resolver: its word is as good as the way to it is safe, so
a validating resolver on this machine is meant.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from mailprobe.errors import ProbeFailure, Reason
from mailprobe.model import DaneFacts, DaneStatus
from mailprobe.net.chain import refusal
from mailprobe.net.resolve import Resolver

TIMEOUT: Final = 5.0
"""Seconds for each question."""
TTL_SECONDS: Final = (60.0, 600.0)
"""How long an answer is held, at least and at most, whatever its TTL says."""
_RECORDS: Final = 20
_TRUST_ANCHOR, _END_ENTITY = 2, 3
_ABSENT: Final = DaneFacts(DaneStatus.ABSENT)


@dataclass(frozen=True, slots=True)
class Tlsa:
    """A TLSA record. Source: RFC 6698 2.1."""

    usage: int
    selector: int
    matching: int
    data: bytes

    @property
    def is_usable(self) -> bool:
        """Whether mail knows what it means: DANE-TA or DANE-EE. Source: RFC 7672 3.1."""
        return self.usage in (_TRUST_ANCHOR, _END_ENTITY) and self.selector in (0, 1) and self.matching in (0, 1, 2)

    def matches(self, certificate: bytes) -> bool:
        """Whether a certificate (DER) is the one meant, or has the key meant."""
        return self.data == _digest(_selected(certificate, self.selector), self.matching)

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data[:64].hex()}"


def judged(
    records: Sequence[Tlsa], chain: Sequence[bytes], names: Sequence[str], *, encrypted: bool
) -> tuple[bool, str]:
    """Whether a connection was as the records ask, and why not; `names` are those that the certificate may carry.

    `chain`: the certificates shown, DER, the server's first. Source: RFC 7672 2.2, 3.1.
    """
    usable = [record for record in records if record.is_usable]
    if not encrypted:
        return False, "no TLS was used"
    if not usable or not chain:
        return (True, "") if not usable else (False, "no certificate was shown")
    try:
        # neither names nor dates matter for this one: the record says it all
        if any(record.usage == _END_ENTITY and record.matches(chain[0]) for record in usable):
            return True, ""
        why = "no record matches what was shown"
        for record in usable:
            for anchor in chain[1:]:
                if record.usage == _TRUST_ANCHOR and record.matches(anchor):
                    refusals = [refusal(chain, [anchor], name) for name in names]
                    if None in refusals:
                        return True, ""
                    why = refusals[0] or why
    except Exception as error:  # the parser's, of many kinds: what OpenSSL takes may be no certificate to it
        why = f"a certificate cannot be read: {error}"
    return False, why


class Dane:
    """TLSA records by mail exchanger and port."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._known: dict[tuple[str, int], tuple[float, DaneFacts, tuple[Tlsa, ...]]] = {}
        self._lock = asyncio.Lock()

    async def records(self, host: str, port: int) -> tuple[DaneFacts, tuple[Tlsa, ...]]:
        """What a host asks for, nothing judged; takes at most thrice TIMEOUT, mostly nothing."""
        key = (host.lower(), port)
        async with self._lock:
            until, facts, records = self._known.get(key, (float("-inf"), _ABSENT, ()))
            if time.monotonic() >= until:
                if len(self._known) >= 1000:
                    self._known.clear()
                facts, records, seconds = await self._look(*key)
                self._known[key] = (time.monotonic() + seconds, facts, records)
        return facts, records

    async def _look(self, host: str, port: int) -> tuple[DaneFacts, tuple[Tlsa, ...], float]:
        shortest, longest = TTL_SECONDS
        try:
            found = await self._asked(host, port)
        except ProbeFailure as failure:
            if failure.reason is Reason.DNS_NXDOMAIN:
                return _ABSENT, (), shortest
            return DaneFacts(DaneStatus.ERROR, detail=failure.detail), (), shortest
        records, ttl = found
        if not records:
            return _ABSENT, (), min(max(ttl, shortest), longest)
        usable = any(record.is_usable for record in records)
        status = DaneStatus.USABLE if usable else DaneStatus.UNUSABLE
        texts = tuple(map(str, records))
        return DaneFacts(status, texts), records, min(max(ttl, shortest), longest)

    async def _asked(self, host: str, port: int) -> tuple[tuple[Tlsa, ...], float]:
        """The records that DNSSEC vouches for, at the end of the host's aliases or at the host. RFC 7672 2.2.2."""
        address = await self._resolver.records(host, "A", TIMEOUT)
        if not address.values:
            address = await self._resolver.records(host, "AAAA", TIMEOUT)
        if not address.authenticated:
            # without DNSSEC the question itself may meet servers that do not know it
            return (), address.ttl
        failure: ProbeFailure | None = None
        for name in dict.fromkeys((address.name, host)):
            try:
                found = await self._resolver.records(f"_{port}._tcp.{name}", "TLSA", TIMEOUT)
            except ProbeFailure as error:
                if error.reason is not Reason.DNS_NXDOMAIN:
                    raise
                failure = error
                continue
            if found.authenticated and found.values:
                return tuple(map(_tlsa, found.values[:_RECORDS])), found.ttl
        if failure:
            raise failure
        return (), address.ttl


def with_verdict(
    facts: DaneFacts,
    records: Sequence[Tlsa],
    chain: Sequence[bytes],
    names: Sequence[str],
    *,
    encrypted: bool,
) -> DaneFacts:
    """The facts, with whether a connection was as they ask. One that could not be had fails: RFC 7672 2.1.2."""
    if facts.status is DaneStatus.ABSENT:
        return facts
    if facts.status is DaneStatus.ERROR:
        return replace(facts, passed=False)
    passed, why = judged(records, chain, names, encrypted=encrypted)
    return replace(facts, passed=passed, detail=why)


def _tlsa(record: Any) -> Tlsa:
    return Tlsa(record.usage, record.selector, record.mtype, record.cert)


def _selected(certificate: bytes, selector: int) -> bytes:
    if selector == 0:
        return certificate
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from cryptography.x509 import load_der_x509_certificate

    key = load_der_x509_certificate(certificate).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _digest(data: bytes, matching: int) -> bytes:
    return {0: lambda: data, 1: hashlib.sha256(data).digest, 2: hashlib.sha512(data).digest}[matching]()
