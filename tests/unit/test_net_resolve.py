"""Names to addresses: literals, hosts, DNS, mail exchangers, and each way to fail."""

from __future__ import annotations

from collections import Counter

import dns.rcode
import pytest
from support.dns_script import SILENCE, DnsScript
from support.loops import both_loops

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.net import resolve
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Family

pytestmark = [both_loops, pytest.mark.usefixtures("nothing_blocks")]

RECORDS = {
    ("both.test", "A"): ["192.0.2.1", "192.0.2.2"],
    ("both.test", "AAAA"): ["2001:db8::1"],
    ("four.test", "A"): ["192.0.2.4"],
    ("alias.test", "CNAME"): ["four.test."],
    ("half.test", "A"): ["192.0.2.5"],
    ("half.test", "AAAA"): dns.rcode.SERVFAIL,
    ("deaf.test", "A"): ["192.0.2.6"],
    ("deaf.test", "AAAA"): SILENCE,
    ("text.test", "TXT"): ["nothing else"],
    ("broken.test", "A"): dns.rcode.SERVFAIL,
    ("broken.test", "AAAA"): dns.rcode.SERVFAIL,
    ("broken.test", "MX"): dns.rcode.SERVFAIL,
    ("refused.test", "A"): dns.rcode.REFUSED,
    ("refused.test", "AAAA"): dns.rcode.REFUSED,
    ("silent.test", "A"): SILENCE,
    ("silent.test", "AAAA"): SILENCE,
    ("silent.test", "MX"): SILENCE,
    ("mail.test", "MX"): ["20 second.test.", "10 First.test.", "30 third.test."],
    ("null.test", "MX"): ["0 ."],
    ("mixed.test", "MX"): ["0 .", "10 real.test."],
    ("mailalias.test", "CNAME"): ["mail.test."],
    ("equal.test", "MX"): ["10 a.test.", "10 b.test.", "10 c.test."],
}


def resolver_of(server: DnsScript) -> Resolver:
    return Resolver([("127.0.0.1", server.port)])


@pytest.mark.parametrize(
    ("host", "family", "addresses"),
    [
        ("192.0.2.9", Family.ANY, ("192.0.2.9",)),
        ("2001:DB8::9", Family.ANY, ("2001:db8::9",)),
        ("localhost", Family.ANY, ("127.0.0.1", "::1")),
        ("LocalHost.", Family.IPV6, ("::1",)),
        ("mail.localhost", Family.IPV4, ("127.0.0.1",)),
    ],
)
async def test_what_needs_no_dns(host: str, family: Family, addresses: tuple[str, ...]) -> None:
    async with DnsScript({}) as server:
        got = await resolver_of(server).addresses(host, family)
    assert (got.addresses, got.ttl) == (addresses, None)
    assert server.asked == []


async def test_the_hosts_file(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    hosts = tmp_path / "hosts"
    hosts.write_text("192.0.2.7 Mail.test other # not.this\n\nnonsense mail.test\n2001:db8::7\tmail.test\n")
    monkeypatch.setattr(resolve, "_HOSTS", hosts)
    async with DnsScript({}) as server:
        resolver = resolver_of(server)
        assert (await resolver.addresses("mail.TEST.")).addresses == ("192.0.2.7", "2001:db8::7")
        assert (await resolver.addresses("mail.test", Family.IPV6)).addresses == ("2001:db8::7",)
        with pytest.raises(ProbeFailure):
            await resolver.addresses("not.this", timeout=2)
        hosts.write_text("192.0.2.8 mail.test\n")
        monkeypatch.setattr(resolve, "_FRESH_SECONDS", -1.0)
        assert (await resolver.addresses("mail.test")).addresses == ("192.0.2.8",)


async def test_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    async with DnsScript(RECORDS) as server:
        resolver = resolver_of(server)
        monkeypatch.setattr(resolve, "_has_route", lambda _: True)
        got = await resolver.addresses("both.test", timeout=5)
        assert (got.addresses, got.ttl) == (("2001:db8::1", "192.0.2.1", "192.0.2.2"), 300)
        assert got.seconds > 0
        monkeypatch.setattr(resolve, "_has_route", lambda _: False)
        got = await resolver.addresses("both.test", timeout=5)
        assert got.addresses == ("192.0.2.1", "192.0.2.2", "2001:db8::1")
        assert (await resolver.addresses("both.test", Family.IPV6, 5)).addresses == ("2001:db8::1",)
        assert (await resolver.addresses("both.test", Family.IPV4, 5)).addresses == ("192.0.2.1", "192.0.2.2")
        assert (await resolver.addresses("four.test", timeout=5)).addresses == ("192.0.2.4",)
        assert (await resolver.addresses("alias.test", timeout=5)).ttl == 60
        assert (await resolver.addresses("half.test", timeout=5)).addresses == ("192.0.2.5",)


@pytest.mark.parametrize(("timeout", "most"), [(1.0, 1.0), (5.0, 3.0)])
async def test_a_record_type_that_is_never_answered(timeout: float, most: float) -> None:
    async with DnsScript(RECORDS) as server:
        got = await resolver_of(server).addresses("deaf.test", timeout=timeout)
    assert got.addresses == ("192.0.2.6",)
    assert got.seconds < most


async def test_the_same_answer_is_asked_for_again() -> None:
    async with DnsScript(RECORDS) as server:
        resolver = resolver_of(server)
        for _ in range(2):
            await resolver.addresses("four.test", Family.IPV4, 5)
    assert server.asked == [("four.test", "A")] * 2


@pytest.mark.parametrize(
    ("host", "family", "reason"),
    [
        ("missing.test", Family.ANY, Reason.DNS_NXDOMAIN),
        ("text.test", Family.ANY, Reason.DNS_NO_ADDRESS),
        ("four.test", Family.IPV6, Reason.DNS_NO_ADDRESS),
        ("192.0.2.1", Family.IPV6, Reason.DNS_NO_ADDRESS),
        ("broken.test", Family.ANY, Reason.DNS_SERVFAIL),
        ("refused.test", Family.ANY, Reason.DNS_SERVFAIL),
        ("silent.test", Family.ANY, Reason.DNS_TIMEOUT),
        ("a" * 64 + ".test", Family.ANY, Reason.DNS_SERVFAIL),
        ("two..dots", Family.ANY, Reason.DNS_SERVFAIL),
    ],
)
async def test_no_address(host: str, family: Family, reason: Reason) -> None:
    async with DnsScript(RECORDS) as server:
        with pytest.raises(ProbeFailure) as raised:
            await resolver_of(server).addresses(host, family, timeout=0.3 if reason is Reason.DNS_TIMEOUT else 5)
    assert (raised.value.stage, raised.value.reason) == (Stage.RESOLVE, reason)
    assert host in raised.value.detail


async def test_no_resolver_configured(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("dns.resolver.BaseResolver.read_resolv_conf", _unconfigured)
    with pytest.raises(ProbeFailure) as raised:
        await Resolver().addresses("four.test")
    assert raised.value.reason is Reason.DNS_SERVFAIL


def _unconfigured(*_: object) -> None:
    raise dns.resolver.NoResolverConfiguration("no nameservers")


async def test_mail_exchangers() -> None:
    async with DnsScript(RECORDS) as server:
        resolver = resolver_of(server)
        got = await resolver.mail_exchangers("mail.test")
        assert (got.hosts, got.implicit, got.ttl) == (("First.test", "second.test", "third.test"), False, 300)
        assert (await resolver.mail_exchangers("mailalias.test")).hosts == got.hosts
        assert (await resolver.mail_exchangers("mixed.test")).hosts == ("real.test",)
        implicit = await resolver.mail_exchangers("four.test")
        assert (implicit.hosts, implicit.implicit) == (("four.test",), True)
        for literal, host in (("[192.0.2.1]", "192.0.2.1"), ("[IPv6:2001:db8::1]", "2001:db8::1")):
            assert (await resolver.mail_exchangers(literal)).hosts == (host,)


async def test_equal_preference_is_shared_out_the_same_way_for_one_seed() -> None:
    async with DnsScript(RECORDS) as server:
        resolver = resolver_of(server)
        orders = [(await resolver.mail_exchangers("equal.test", seed=str(seed % 60))).hosts for seed in range(120)]
        assert (await resolver.mail_exchangers("equal.test")).preferences == (10, 10, 10)
    assert orders[:60] == orders[60:]
    first = Counter(hosts[0] for hosts in orders)
    assert set(first) == {"a.test", "b.test", "c.test"}
    assert min(first.values()) >= 16


async def test_preferences_come_in_order_whatever_the_seed() -> None:
    async with DnsScript(RECORDS) as server:
        for seed in "abcdef":
            got = await resolver_of(server).mail_exchangers("mail.test", seed=seed)
            assert (got.hosts, got.preferences) == (("First.test", "second.test", "third.test"), (10, 20, 30))


async def test_records_and_whether_dnssec_vouches_for_them() -> None:
    async with DnsScript(RECORDS, authenticated={"four.test"}) as server:
        resolver = resolver_of(server)
        signed = await resolver.records("alias.test", "A")
        assert ([str(one) for one in signed.values], signed.name) == (["192.0.2.4"], "four.test")
        assert (signed.ttl, signed.authenticated) == (60, True)
        assert not (await resolver.records("both.test", "A")).authenticated
        none = await resolver.records("four.test", "TXT")
        assert (none.values, none.authenticated) == ((), True)
        with pytest.raises(ProbeFailure) as raised:
            await resolver.records("missing.test", "TXT")
        assert raised.value.reason is Reason.DNS_NXDOMAIN


@pytest.mark.parametrize(
    ("domain", "reason"),
    [
        ("null.test", Reason.NULL_MX),
        ("missing.test", Reason.DNS_NXDOMAIN),
        ("broken.test", Reason.DNS_SERVFAIL),
        ("silent.test", Reason.DNS_TIMEOUT),
    ],
)
async def test_no_mail_exchangers(domain: str, reason: Reason) -> None:
    async with DnsScript(RECORDS) as server:
        with pytest.raises(ProbeFailure) as raised:
            await resolver_of(server).mail_exchangers(domain, timeout=0.3 if reason is Reason.DNS_TIMEOUT else 5)
    assert (raised.value.stage, raised.value.reason) == (Stage.RESOLVE, reason)
