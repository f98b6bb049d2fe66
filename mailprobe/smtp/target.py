"""Which one address an attempt goes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.model import Peer, SenderKind
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Sender
from mailprobe.smtp.record import Record


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts that may be asked, in order; `implicit`: there was no MX for the domain."""

    names: tuple[str, ...]
    implicit: bool = False


async def choose(
    sender: Sender,
    recipient: str,
    number: int,
    resolver: Resolver,
    timeout: float,
    record: Record,
) -> Peer:
    """The address for attempt `number`: the first for the first, and so on round and round.

    Looks no more hosts up than it must. A mail exchanger without an address is passed over, as an MTA does, and
    noted. Raises ProbeFailure(RESOLVE, ...) where none has one.
    """
    note = record.transcript.note
    hosts = await _hosts(sender, recipient, resolver, timeout, note)
    targets: list[Peer] = []
    failure: ProbeFailure | None = None
    for host in hosts.names:
        try:
            resolved = await resolver.addresses(host, sender.endpoint.family, timeout)
        except ProbeFailure as error:
            failure = failure or error
            note(f"{host}: {error.reason}")
            continue
        note(f"{host} is {', '.join(resolved.addresses[:10])}")
        targets += (Peer(host, address, sender.endpoint.port) for address in resolved.addresses)
        if len(targets) >= number:
            break
    if targets:
        return targets[(number - 1) % len(targets)]
    raise _no_target(hosts, recipient, failure)


async def _hosts(
    sender: Sender, recipient: str, resolver: Resolver, timeout: float, note: Callable[[str], None]
) -> Hosts:
    if sender.kind is SenderKind.SUBMISSION:
        return Hosts((sender.endpoint.host,))
    domain = recipient.rpartition("@")[2]
    found = await resolver.mail_exchangers(domain, timeout)
    note(f"{domain} has no MX" if found.implicit else f"MX of {domain}: {', '.join(found.hosts[:10])}")
    return Hosts(found.hosts, found.implicit)


def _no_target(hosts: Hosts, recipient: str, failure: ProbeFailure | None) -> ProbeFailure:
    if failure is None or (hosts.implicit and failure.reason is Reason.DNS_NO_ADDRESS):
        domain = recipient.rpartition("@")[2]
        return ProbeFailure(Stage.RESOLVE, Reason.NO_MX, f"{domain} has neither MX nor address")
    return failure
