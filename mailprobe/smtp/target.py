"""Which one address an attempt goes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.model import DnsFacts, Peer, SenderKind
from mailprobe.net.resolve import Resolved, Resolver
from mailprobe.plan import Sender
from mailprobe.smtp.record import Record

MOST_HOSTS: Final = 10
"""Mail exchangers of a domain that are tried at all, and addresses of a host that are told; who has more is odd."""


async def choose(
    sender: Sender,
    recipient: str,
    number: int,
    resolver: Resolver,
    timeout: float,
    record: Record,
    seed: str = "",
) -> Peer:
    """Address number `number` (from 1) of the sender's servers, round and round; in `record` what the DNS said.

    Looks no more hosts up than it must, which is all of them where `try_all` has to know the last one. A mail
    exchanger without an address is passed over, as an MTA does, and noted. `seed` orders equal preferences. Raises
    ProbeFailure(RESOLVE, ...) where none has one.
    """
    note = record.transcript.note
    names, facts = await _hosts(sender, recipient, resolver, timeout, seed, note)
    record.dns = facts
    targets: list[tuple[Peer, Resolved]] = []
    failure: ProbeFailure | None = None
    for host in names:
        try:
            resolved = await resolver.addresses(host, sender.endpoint.family, timeout)
        except ProbeFailure as error:
            failure = failure or error
            note(f"{host}: {error.reason}")
            continue
        note(f"{host} is {', '.join(resolved.addresses[:MOST_HOSTS])}")
        targets += [(Peer(host, address, sender.endpoint.port), resolved) for address in resolved.addresses]
        if len(targets) >= number and not sender.try_all:
            break
    if not targets:
        raise _no_target(facts.implicit, recipient, failure)
    index = (number - 1) % len(targets)
    peer, resolved = targets[index]
    record.dns = replace(
        facts,
        addresses=resolved.addresses[:MOST_HOSTS],
        address_ttl=resolved.ttl,
        last=not sender.try_all or index == len(targets) - 1,
    )
    return peer


async def _hosts(
    sender: Sender, recipient: str, resolver: Resolver, timeout: float, seed: str, note: Callable[[str], None]
) -> tuple[tuple[str, ...], DnsFacts]:
    if sender.kind is SenderKind.SUBMISSION:
        return (sender.endpoint.host,), DnsFacts()
    domain = recipient.rpartition("@")[2]
    found = await resolver.mail_exchangers(domain, timeout, seed)
    names = found.hosts[:MOST_HOSTS]
    note(f"{domain} has no MX" if found.implicit else f"MX of {domain}: {', '.join(names)}")
    exchangers = tuple(zip(names, found.preferences, strict=False))
    return names, DnsFacts(exchangers, found.implicit, found.ttl)


def _no_target(implicit: bool, recipient: str, failure: ProbeFailure | None) -> ProbeFailure:
    if failure is None or (implicit and failure.reason is Reason.DNS_NO_ADDRESS):
        domain = recipient.rpartition("@")[2]
        return ProbeFailure(Stage.RESOLVE, Reason.NO_MX, f"{domain} has neither MX nor address")
    return failure
