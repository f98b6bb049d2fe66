"""A scripted DNS server on loopback: answers, errors and silence, by name and type."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from types import TracebackType

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

SILENCE = "silence"


class DnsScript:
    """`records` by (name, type): a list of texts of records, a `dns.rcode.Rcode`, or SILENCE; else NXDOMAIN.

    A name known with another type gets an empty answer. `CNAME` records are followed, as a recursive server does.
    What is said of the names in `authenticated` carries AD, where the query asks for that.
    """

    def __init__(
        self,
        records: dict[tuple[str, str], list[str] | dns.rcode.Rcode | str],
        authenticated: Collection[str] = (),
    ) -> None:
        self._records = records
        self._authenticated = authenticated
        self.asked: list[tuple[str, str]] = []
        self.port = 0

    async def __aenter__(self) -> DnsScript:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Server(self), local_addr=("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._transport.close()

    def answer(self, wire: bytes) -> bytes | None:
        """What to say to a query; None for nothing."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, kind = question.name.to_text().rstrip("."), question.rdtype.name
        self.asked.append((name, kind))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        while (alias := self._records.get((name, "CNAME"))) and isinstance(alias, list):
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", *alias))
            name = alias[0].rstrip(".")
        if name in self._authenticated and query.flags & dns.flags.AD:
            response.flags |= dns.flags.AD
        found = self._records.get((name, kind))
        if found == SILENCE:
            return None
        if isinstance(found, list):
            response.answer.append(dns.rrset.from_text(f"{name}.", 300, "IN", kind, *found))
        elif isinstance(found, dns.rcode.Rcode):
            response.set_rcode(found)
        elif not any(known == name for known, _ in self._records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire(want_shuffle=False)


class _Server(asyncio.DatagramProtocol):
    def __init__(self, script: DnsScript) -> None:
        self._script = script

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        answer = self._script.answer(data)
        if answer is not None:
            self._transport.sendto(answer, address)  # type: ignore[attr-defined]
