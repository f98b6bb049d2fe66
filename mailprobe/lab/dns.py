"""The embedded DNS server: authoritative for the lab's names, on loopback, by UDP and by TCP.

Before each answer it asks the `Behaviour`, which may have it answer with an error, late, or not at all. RFC 1035.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from mailprobe.lab.behaviour import Behaviour, Context, Drop, Moment, Say
from mailprobe.lab.doors import LOOPBACK, Doors

TTL: Final = 300
_NAMES_FOLLOWED: Final = 8
_IDLE_SECONDS: Final = 30.0
_ATTEMPTS_REMEMBERED: Final = 1000

Records = Mapping[tuple[str, str], Iterable[str]]
"""(name, type) -> records as in a zone file, e.g. `("lab.test", "MX"): ["10 mail.lab.test."]`."""


def usual_records(domains: Iterable[str], host: str) -> dict[tuple[str, str], list[str]]:
    """What a lab of these domains has: one mail exchanger for them all, on loopback."""
    records = {(domain, "MX"): [f"10 {host}."] for domain in domains}
    return {**records, (host, "A"): [LOOPBACK]}


class Zones:
    """The records, as they are at the moment: who changes them changes the next answer.

    A name known with another type gets an empty answer, one that is not known NXDOMAIN.
    """

    def __init__(self, records: Records) -> None:
        self.records: dict[tuple[str, str], tuple[str, ...]] = {}
        for (name, kind), texts in records.items():
            self.set(name, kind, *texts)

    def set(self, name: str, kind: str, *texts: str) -> None:
        """These are the records of this name and type from now on; none removes them."""
        key = (_plain(name), kind)
        self.records.pop(key, None)
        if texts:
            # made once, so that a record that cannot be is the test's error and not a silent server
            dns.rrset.from_text(f"{key[0]}.", TTL, "IN", kind, *texts)
            self.records[key] = texts

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """What is to be said to a query, aliases followed as a recursive server does."""
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        question = query.question[0]
        name, kind = _plain(question.name.to_text()), dns.rdatatype.to_text(question.rdtype)
        for _ in range(_NAMES_FOLLOWED):
            alias = self.records.get((name, "CNAME"))
            if alias is None or kind == "CNAME":
                break
            response.answer.append(dns.rrset.from_text(f"{name}.", TTL, "IN", "CNAME", *alias))
            name = _plain(alias[0])
        if texts := self.records.get((name, kind)):
            response.answer.append(dns.rrset.from_text(f"{name}.", TTL, "IN", kind, *texts))
        elif not any(known == name or known.endswith(f".{name}") for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response


class DnsServer:
    """Answers queries for `zones`. The lookups of one attempt are told from the next one's by their questions:

    each asks every question once, so one that was asked before begins a new attempt (a repetition of the very same
    query, by its id, does not). Counted for each domain apart; `Context.connection` is that number.
    """

    def __init__(self, zones: Zones, behaviour: Behaviour) -> None:
        self._zones = zones
        self._behaviour = behaviour
        self._attempts = 0
        self._asked: dict[str, tuple[int, dict[tuple[str, str], int]]] = {}

    def open(self, doors: Doors) -> int:
        """Listen on loopback, by UDP and TCP; the port of both."""
        datagrams, listener = _same_port()
        doors.spawn(self._serve_datagrams(datagrams, doors), using=datagrams)
        doors.accept(listener, self._serve_stream)
        return int(listener.getsockname()[1])

    async def respond(self, wire: bytes, peer: str, limit: int) -> bytes | None:
        """The answer to a query, cut to `limit` bytes; None for silence."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        if query.opcode() or len(query.question) != 1 or query.flags & dns.flags.QR:
            return None
        said = await self._behaviour.at(Moment.DNS, Context(self._attempt(query), "dns", peer))
        if isinstance(said, Drop):
            return None
        if isinstance(said, Say):
            response = dns.message.make_response(query)
            response.flags |= dns.flags.RA
            response.set_rcode(dns.rcode.from_text(said.lines[0]))
        else:
            response = self._zones.answer(query)
        try:
            return response.to_wire(max_size=limit, want_shuffle=False)
        except dns.exception.TooBig:
            cut = dns.message.make_response(query)
            cut.flags |= dns.flags.TC | dns.flags.AA
            return cut.to_wire()

    def _attempt(self, query: dns.message.Message) -> int:
        question = query.question[0]
        name, kind = _plain(question.name.to_text()), dns.rdatatype.to_text(question.rdtype)
        domain = ".".join(name.split(".")[-2:])
        number, asked = self._asked.get(domain, (0, {}))
        if number == 0 or asked.get((name, kind), query.id) != query.id:
            self._attempts += 1
            number, asked = self._attempts, {}
            while len(self._asked) >= _ATTEMPTS_REMEMBERED:
                del self._asked[next(iter(self._asked))]
            self._asked[domain] = (number, asked)
        asked[name, kind] = query.id
        return number

    async def _serve_datagrams(self, sock: socket.socket, doors: Doors) -> None:
        loop = asyncio.get_running_loop()

        def received(data: bytes, address: tuple[str, int]) -> None:
            doors.spawn(self._answer_datagram(data, address, datagrams.transport))

        datagrams = _Datagrams(received)
        try:
            await loop.create_datagram_endpoint(lambda: datagrams, sock=sock)
            await asyncio.Event().wait()
        finally:
            # cancelled before it is handed out, uvloop's stays open, and the loop then waits for it at its end
            datagrams.transport.abort()

    async def _answer_datagram(
        self, data: bytes, address: tuple[str, int], transport: asyncio.DatagramTransport
    ) -> None:
        limit = _payload_of(data)
        answer = await self.respond(data, address[0], limit)
        if answer is not None:
            transport.sendto(answer, address)

    async def _serve_stream(self, connection: socket.socket, peer: str) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            while True:
                async with asyncio.timeout(_IDLE_SECONDS):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    query = await reader.readexactly(length)
                answer = await self.respond(query, peer, 65535)
                if answer is not None:
                    writer.write(struct.pack("!H", len(answer)) + answer)
                    await writer.drain()
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            writer.transport.abort()


class _Datagrams(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def __init__(self, received: Callable[[bytes, tuple[str, int]], None]) -> None:
        self.datagram_received = received  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport


def _payload_of(wire: bytes) -> int:
    """Bytes that the asker takes by UDP. Source: RFC 6891 6.2.3."""
    try:
        payload = dns.message.from_wire(wire).payload
    except dns.exception.DNSException:
        return 512
    return max(512, payload)


def _same_port() -> tuple[socket.socket, socket.socket]:
    """A UDP and a listening TCP socket on one free port of loopback."""
    for _ in range(50):
        listener = socket.create_server((LOOPBACK, 0))
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            datagrams.bind(listener.getsockname())
        except OSError:  # somebody else's by UDP
            listener.close()
            datagrams.close()
            continue
        datagrams.setblocking(False)
        return datagrams, listener
    raise OSError("no port of loopback is free both for UDP and for TCP")


def _plain(name: str) -> str:
    return name.lower().rstrip(".")
