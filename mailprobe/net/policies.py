"""What the recipient's side asks of senders, held against attempts that are over: facts, and never a consequence."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from mailprobe.errors import Reason, Stage
from mailprobe.model import Attempt, DaneFacts, MtaStsFacts, MtaStsMode, PolicyFacts
from mailprobe.net import dane, mta_sts
from mailprobe.net.chain import refusal_by_authorities
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Sender

_CERTIFICATE: Final = (
    Reason.CERTIFICATE_EXPIRED,
    Reason.CERTIFICATE_INVALID,
    Reason.CERTIFICATE_NAME,
    Reason.CERTIFICATE_UNTRUSTED,
)


class Policies:
    """The policies that one sender reports, remembered from attempt to attempt."""

    def __init__(self, sender: Sender, resolver: Resolver) -> None:
        self._sender = sender
        self._resolver = resolver
        self._mta_sts = mta_sts.MtaSts(resolver, sender.endpoint.ca_file, mta_sts.HTTPS_PORT)
        self._dane = dane.Dane(resolver)

    async def check(self, recipient: str, attempt: Attempt) -> PolicyFacts:
        """What holds for an attempt to this recipient, and whether it was as that asks. No failure is raised."""
        domain = recipient.rpartition("@")[2].lower()
        if domain.startswith("["):  # an address has no domain to ask
            return PolicyFacts()
        return PolicyFacts(
            await self._check_mta_sts(domain, attempt) if self._sender.mta_sts else None,
            await self._check_dane(domain, attempt) if self._sender.dane and attempt.peer else None,
        )

    async def _check_mta_sts(self, domain: str, attempt: Attempt) -> MtaStsFacts:
        policy = await self._mta_sts.policy(domain)
        encrypted = _encrypted(attempt)
        if policy.mode not in (MtaStsMode.ENFORCE, MtaStsMode.TESTING) or attempt.peer is None:
            return policy
        host = attempt.peer.host
        if not mta_sts.names(policy, host):
            return replace(policy, passed=False, detail=f"{host} is not among the policy's mx")
        if encrypted is None:
            return policy
        if not encrypted:
            return replace(policy, passed=False, detail="no TLS was used")
        if attempt.reason in _CERTIFICATE:
            return replace(policy, passed=False, detail=attempt.detail)
        ca_file = self._sender.endpoint.ca_file
        why = await asyncio.to_thread(refusal_by_authorities, attempt.chain, ca_file, host)
        return replace(policy, passed=why is None, detail=why or "")

    async def _check_dane(self, domain: str, attempt: Attempt) -> DaneFacts:
        assert attempt.peer is not None
        host, encrypted = attempt.peer.host, _encrypted(attempt)
        facts, records = await self._dane.records(host, attempt.peer.port)
        if encrypted is None and records:
            return facts
        # the host's name, and the domain's: RFC 7672 3.2.2
        return await asyncio.to_thread(
            dane.with_verdict, facts, records, attempt.chain, (host, domain), encrypted=bool(encrypted)
        )


def _encrypted(attempt: Attempt) -> bool | None:
    """Whether the mail went, or would have gone, over TLS; None if the attempt ended before that was decided."""
    if attempt.tls or attempt.chain:
        return True
    in_clear = any(time.stage is Stage.MAIL for time in attempt.stages)
    return False if in_clear or attempt.stage in (Stage.STARTTLS, Stage.TLS) else None
