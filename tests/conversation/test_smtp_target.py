"""Which address an attempt goes to, and what it says where there is none."""

from __future__ import annotations

from dataclasses import replace

import dns.rcode
import pytest
from support.dns_script import DnsScript
from support.loops import both_loops
from support.smtp_attempts import MESSAGE, attempt, certificates, said, sender_to, stages_of, with_endpoint
from support.smtp_script import SmtpScript

from mailprobe.errors import Reason, Stage
from mailprobe.model import AttemptOutcome, DnsFacts, SenderKind, TlsMode
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Family, Sender
from mailprobe.smtp.target import MOST_HOSTS

pytestmark = both_loops

RECORDS = {
    ("lab.test", "MX"): ["10 mx1.lab.test.", "20 gone.lab.test.", "30 mx2.lab.test."],
    ("mx1.lab.test", "A"): ["127.0.0.1", "127.0.0.2"],
    ("mx2.lab.test", "A"): ["127.0.0.3"],
    ("implicit.test", "A"): ["127.0.0.1"],
    ("null.test", "MX"): ["0 ."],
    ("empty.test", "TXT"): ["nothing"],
    ("alldead.test", "MX"): ["10 gone.lab.test.", "20 broken.lab.test."],
    ("broken.lab.test", "A"): dns.rcode.SERVFAIL,
    ("broken.lab.test", "AAAA"): dns.rcode.SERVFAIL,
}


def mx_sender(server: SmtpScript, tls: TlsMode = TlsMode.PLAINTEXT) -> Sender:
    sender = with_endpoint(sender_to(server, tls), host="", family=Family.IPV4)
    return replace(sender, kind=SenderKind.MX)


async def test_each_attempt_takes_the_next_address_in_the_order_of_preference() -> None:
    async with SmtpScript() as server, DnsScript(RECORDS) as names:
        resolver = Resolver([("127.0.0.1", names.port)])
        got = [await attempt(mx_sender(server), number=number, resolver=resolver) for number in (1, 2, 3, 4)]
    peers = [(one.peer.host, one.peer.address) for one in got if one.peer]
    assert peers == [
        ("mx1.lab.test", "127.0.0.1"), ("mx1.lab.test", "127.0.0.2"), ("mx2.lab.test", "127.0.0.3"),
        ("mx1.lab.test", "127.0.0.1"),
    ]  # fmt: skip
    assert [one.outcome for one in got[::3]] == [AttemptOutcome.ACCEPTED] * 2
    assert server.connections == 2
    assert [(one.stage, one.reason) for one in got[1:3]] == [(Stage.CONNECT, Reason.CONNECTION_REFUSED)] * 2
    assert stages_of(got[1]) == ["resolve", "connect"]
    assert "gone.lab.test: dns_nxdomain" in said(got[2], "*")
    assert "MX of lab.test: mx1.lab.test, gone.lab.test, mx2.lab.test" in said(got[0], "*")


async def test_what_the_dns_said_is_kept() -> None:
    async with SmtpScript() as server, DnsScript(RECORDS) as names:
        resolver = Resolver([("127.0.0.1", names.port)])
        first = await attempt(mx_sender(server), resolver=resolver)
        implicit = await attempt(mx_sender(server), replace(MESSAGE, recipient="to@implicit.test"), resolver=resolver)
        nowhere = await attempt(mx_sender(server), replace(MESSAGE, recipient="to@alldead.test"), resolver=resolver)
        literal = await attempt(sender_to(server))
    exchangers = (("mx1.lab.test", 10), ("gone.lab.test", 20), ("mx2.lab.test", 30))
    assert first.dns == DnsFacts(exchangers, False, 300, ("127.0.0.1", "127.0.0.2"), 300)
    assert implicit.dns == DnsFacts((), True, 300, ("127.0.0.1",), 300)
    assert nowhere.dns == DnsFacts((("gone.lab.test", 10), ("broken.lab.test", 20)), False, 300)
    assert literal.dns == DnsFacts(addresses=("127.0.0.1",))
    assert first.chain == ()


async def test_where_all_are_tried_the_last_one_is_known() -> None:
    async with SmtpScript() as server, DnsScript(RECORDS) as names:
        sender = replace(mx_sender(server), try_all=True)
        resolver = Resolver([("127.0.0.1", names.port)])
        got = [await attempt(sender, number=7, target_number=target, resolver=resolver) for target in (1, 2, 3, 4)]
    assert [one.peer and one.peer.address for one in got] == ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.1"]
    assert [one.dns and one.dns.last for one in got] == [False, False, True, False]
    assert {one.number for one in got} == {7}


async def test_a_domain_of_very_many_exchangers_is_looked_up_in_part() -> None:
    many = {("many.test", "MX"): [f"{number} mx{number}.many.test." for number in range(1, 200)]}
    async with SmtpScript() as server, DnsScript(RECORDS | many) as names:
        message = replace(MESSAGE, recipient="to@many.test")
        got = await attempt(mx_sender(server), message, resolver=Resolver([("127.0.0.1", names.port)]))
    assert (got.stage, got.reason) == (Stage.RESOLVE, Reason.DNS_NXDOMAIN)
    assert len(names.asked) == 1 + MOST_HOSTS


async def test_no_more_is_looked_up_than_needed() -> None:
    async with SmtpScript() as server, DnsScript(RECORDS) as names:
        await attempt(mx_sender(server), resolver=Resolver([("127.0.0.1", names.port)]))
    assert names.asked == [("lab.test", "MX"), ("mx1.lab.test", "A")]


async def test_a_domain_without_mx_is_its_own_host() -> None:
    message = replace(MESSAGE, recipient="to@implicit.test")
    async with SmtpScript() as server, DnsScript(RECORDS) as names:
        got = await attempt(mx_sender(server), message, resolver=Resolver([("127.0.0.1", names.port)]))
    assert got.outcome is AttemptOutcome.ACCEPTED
    assert got.peer
    assert got.peer.host == "implicit.test"


async def test_the_name_in_the_certificate_is_the_mail_exchangers() -> None:
    async with SmtpScript(tls=certificates().good) as server, DnsScript(RECORDS) as names:
        resolver = Resolver([("127.0.0.1", names.port)])
        got = await attempt(mx_sender(server, TlsMode.STARTTLS), resolver=resolver)
        assert (got.stage, got.reason) == (Stage.TLS, Reason.CERTIFICATE_NAME)
        assert "mx1.lab.test" in got.detail
        got = await attempt(mx_sender(server, TlsMode.OPPORTUNISTIC), resolver=resolver)
        assert got.outcome is AttemptOutcome.ACCEPTED


@pytest.mark.parametrize(
    ("domain", "reason"),
    [
        ("null.test", Reason.NULL_MX),
        ("missing.test", Reason.DNS_NXDOMAIN),
        ("empty.test", Reason.NO_MX),
        ("alldead.test", Reason.DNS_NXDOMAIN),
    ],
)
async def test_nowhere_to_go(domain: str, reason: Reason) -> None:
    async with SmtpScript() as server, DnsScript(RECORDS) as names:
        message = replace(MESSAGE, recipient=f"to@{domain}")
        got = await attempt(mx_sender(server), message, resolver=Resolver([("127.0.0.1", names.port)]))
    assert (got.outcome, got.stage, got.reason) == (AttemptOutcome.UNSENT, Stage.RESOLVE, reason)
    assert got.peer is None
    assert stages_of(got) == ["resolve"]
    assert server.connections == 0


async def test_source_address() -> None:
    async with SmtpScript() as server:
        got = await attempt(with_endpoint(sender_to(server), source_address="127.0.0.5"))
        assert got.outcome is AttemptOutcome.ACCEPTED
        got = await attempt(with_endpoint(sender_to(server), source_address="192.0.2.1"))
    assert (got.outcome, got.stage, got.reason) == (AttemptOutcome.UNSENT, Stage.CONNECT, Reason.UNREACHABLE)
    assert "source_address 192.0.2.1" in got.detail
