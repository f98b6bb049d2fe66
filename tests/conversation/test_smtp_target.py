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
from mailprobe.model import AttemptOutcome, SenderKind, TlsMode
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Family, Sender

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
