"""The embedded DNS server, asked by dnspython: by UDP and TCP, well and ill."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import pytest
from support.loops import both_loops

from mailprobe.errors import ProbeFailure, Reason
from mailprobe.lab.behaviour import Answer, Context, Drop, Moment, Say
from mailprobe.lab.servers import Lab, lab
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Family

pytestmark = both_loops


@dataclass
class Scripted:
    """Answers DNS as the test says."""

    answer: Answer | None = None
    attempts: list[int] = field(default_factory=list)

    async def at(self, moment: Moment, context: Context) -> Answer | None:
        if moment is not Moment.DNS:
            return None
        self.attempts.append(context.connection)
        return self.answer


@pytest.fixture
def script() -> Scripted:
    return Scripted()


@pytest.fixture
async def servers(script: Scripted) -> AsyncIterator[Lab]:
    async with lab({"canary@lab.test": "pw", "canary@other.test": "pw"}, behaviour=script) as running:
        yield running


def query(name: str, kind: str, **how: object) -> dns.message.Message:
    return dns.message.make_query(name, kind, **how)  # type: ignore[arg-type]


async def ask(servers: Lab, name: str, kind: str, *, tcp: bool = False) -> dns.message.Message:
    by = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await by(query(name, kind), "127.0.0.1", port=servers.dns_port, timeout=5)


def texts(response: dns.message.Message) -> list[str]:
    return [record.to_text() for answer in response.answer for record in answer]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
async def test_the_domains_of_the_lab(servers: Lab, tcp: bool) -> None:
    for domain in ("lab.test", "other.test"):
        assert texts(await ask(servers, domain, "MX", tcp=tcp)) == ["10 mail.lab.test."]
    response = await ask(servers, "mail.lab.test", "A", tcp=tcp)
    assert texts(response) == ["127.0.0.1"]
    assert response.flags & dns.flags.AA


async def test_nothing_and_nobody(servers: Lab) -> None:
    empty = await ask(servers, "mail.lab.test", "AAAA")
    assert (empty.rcode(), empty.answer) == (dns.rcode.NOERROR, [])
    assert (await ask(servers, "nobody.test", "MX")).rcode() == dns.rcode.NXDOMAIN


async def test_records_of_every_kind(servers: Lab) -> None:
    zones = servers.zones
    zones.set("null.test", "MX", "0 .")
    zones.set("alias.test", "CNAME", "mail.lab.test.")
    zones.set("_mta-sts.lab.test", "TXT", '"v=STSv1; id=1"')
    zones.set("_25._tcp.mail.lab.test", "TLSA", "3 1 1 " + "ab" * 32)
    zones.set("mail.lab.test", "AAAA", "::1")
    assert texts(await ask(servers, "null.test", "MX")) == ["0 ."]
    alias = texts(await ask(servers, "Alias.TEST", "A"))
    assert [text.lower() for text in alias] == ["mail.lab.test.", "127.0.0.1"]
    assert texts(await ask(servers, "_mta-sts.lab.test", "TXT")) == ['"v=STSv1; id=1"']
    assert texts(await ask(servers, "_25._tcp.mail.lab.test", "TLSA")) == ["3 1 1 " + "ab" * 32]
    assert texts(await ask(servers, "mail.lab.test", "AAAA")) == ["::1"]
    zones.set("mail.lab.test", "AAAA")
    assert texts(await ask(servers, "mail.lab.test", "AAAA")) == []


async def test_aliases_in_a_circle_end(servers: Lab) -> None:
    servers.zones.set("a.test", "CNAME", "b.test.")
    servers.zones.set("b.test", "CNAME", "a.test.")
    assert len((await ask(servers, "a.test", "A")).answer) > 1


async def test_what_is_too_long_for_udp_comes_by_tcp(servers: Lab) -> None:
    servers.zones.set("long.test", "TXT", *(f'"{number:0200}"' for number in range(40)))
    assert (await ask(servers, "long.test", "TXT")).flags & dns.flags.TC
    assert len(texts(await ask(servers, "long.test", "TXT", tcp=True))) == 40


@pytest.mark.parametrize("code", ["SERVFAIL", "NXDOMAIN", "REFUSED"])
async def test_an_error(servers: Lab, script: Scripted, code: str) -> None:
    script.answer = Say((code,))
    assert dns.rcode.to_text((await ask(servers, "lab.test", "MX")).rcode()) == code


async def test_silence(servers: Lab, script: Scripted) -> None:
    script.answer = Drop()
    with pytest.raises(dns.exception.Timeout):
        await dns.asyncquery.udp(query("lab.test", "MX"), "127.0.0.1", port=servers.dns_port, timeout=0.05)
    script.answer = None
    assert texts(await ask(servers, "lab.test", "MX"))


async def test_the_agents_own_resolver(servers: Lab, script: Scripted) -> None:
    resolver = Resolver([("127.0.0.1", servers.dns_port)])
    assert (await resolver.mail_exchangers("lab.test")).hosts == ("mail.lab.test",)
    assert (await resolver.addresses("mail.lab.test", Family.IPV4)).addresses == ("127.0.0.1",)
    script.answer = Say(("SERVFAIL",))
    with pytest.raises(ProbeFailure) as raised:
        await resolver.mail_exchangers("lab.test")
    assert raised.value.reason is Reason.DNS_SERVFAIL


async def test_the_lookups_of_one_attempt_belong_together(servers: Lab, script: Scripted) -> None:
    for _ in range(3):
        for name, kind in (("lab.test", "MX"), ("mail.lab.test", "A"), ("mail.lab.test", "AAAA")):
            await ask(servers, name, kind)
    assert script.attempts == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    # the same query once more, because its answer was lost, is no further attempt
    again = query("lab.test", "MX", id=4711)
    for _ in range(2):
        await dns.asyncquery.udp(again, "127.0.0.1", port=servers.dns_port, timeout=5)
    assert script.attempts[-2:] == [4, 4]


@pytest.mark.parametrize("wire", [b"", b"\0" * 12, b"\xff" * 600, b"\1\2\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1"])
async def test_what_is_no_query_is_not_answered(servers: Lab, wire: bytes) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        sock.connect(("127.0.0.1", servers.dns_port))
        sock.send(wire)
        # answered in order: an answer to the other would have come before
        sock.send(query("lab.test", "MX", id=77).to_wire())
        async with asyncio.timeout(5):
            answer = await loop.sock_recv(sock, 4096)
    assert dns.message.from_wire(answer).id == 77
