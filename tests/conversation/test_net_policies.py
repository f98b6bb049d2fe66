"""Policies over the network: found by DNS, fetched by HTTPS, remembered, bounded, and held against attempts."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import dns.rcode
import pytest
from support.dns_script import SILENCE, DnsScript
from support.loops import both_loops
from support.policy_server import POLICY, PolicyServer, context_of
from support.smtp_attempts import MESSAGE, attempt
from support.smtp_script import SmtpScript

from mailprobe.lab.certificates import Authority
from mailprobe.model import Attempt, DaneStatus, MtaStsMode, PolicyFacts, SenderKind, TlsMode
from mailprobe.net import dane, mta_sts
from mailprobe.net.mta_sts import MtaSts
from mailprobe.net.policies import Policies
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Endpoint, Family, Sender

pytestmark = [both_loops, pytest.mark.usefixtures("nothing_blocks")]

ENFORCE, ABSENT, ERROR = MtaStsMode.ENFORCE, MtaStsMode.ABSENT, MtaStsMode.ERROR
RECORDS: dict[tuple[str, str], list[str] | dns.rcode.Rcode | str] = {
    ("_mta-sts.lab.test", "TXT"): ['"v=STSv1; " "id=1;"'],
    ("mta-sts.lab.test", "A"): ["127.0.0.1"],
    ("lab.test", "MX"): ["10 mail.lab.test."],
    ("mail.lab.test", "A"): ["127.0.0.1"],
}


class Place:
    """Certificates, and the names that DNS knows."""

    def __init__(self, directory: Path) -> None:
        authority = Authority(directory)
        self.ca_file = authority.ca_file
        self.contexts = {}
        for label, name in (("policy", "mta-sts.lab.test"), ("mail", "mail.lab.test"), ("other", "other.test")):
            files = authority.issue(label, (name,))
            self.contexts[label] = context_of(str(files.certificate), str(files.key))
            setattr(self, label, ssl.PEM_cert_to_DER_cert(files.certificate.read_text()))

    mail: bytes
    other: bytes


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("policies"))


def policies_of(names: DnsScript, web: PolicyServer, place: Place) -> MtaSts:
    return MtaSts(Resolver([("127.0.0.1", names.port)]), place.ca_file, web.port)


async def test_a_policy_is_fetched_once_and_again_when_its_id_changes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = dict(RECORDS)
    async with PolicyServer(place.contexts["policy"]) as web, DnsScript(records) as names:
        policies = policies_of(names, web, place)
        first, *others = await asyncio.gather(*(policies.policy("lab.test") for _ in range(5)))
        assert (first.mode, first.id, first.max_age) == (ENFORCE, "1", 86400)
        assert first.exchangers == ("mail.lab.test", "*.mx.lab.test")
        assert others == [first] * 4
        assert web.asked == ["mta-sts.lab.test/.well-known/mta-sts.txt"]
        monkeypatch.setattr(mta_sts, "RECORD_SECONDS", (0.0, 0.0))
        policies = policies_of(names, web, place)
        for _ in range(2):
            assert await policies.policy("lab.test") == first
        assert len(web.asked) == 2, "the record is asked for again, the policy not"
        web.text = POLICY.replace("enforce", "testing")
        records["_mta-sts.lab.test", "TXT"] = ['"v=STSv1; id=2;"']
        changed = await policies.policy("lab.test")
        assert (changed.mode, changed.id, len(web.asked)) == (MtaStsMode.TESTING, "2", 3)


async def test_a_policy_that_cannot_be_had_again_holds_until_it_is_too_old(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mta_sts, "RECORD_SECONDS", (0.0, 0.0))
    records = dict(RECORDS)
    async with PolicyServer(place.contexts["policy"]) as web, DnsScript(records) as names:
        policies = policies_of(names, web, place)
        first = await policies.policy("lab.test")
        records["_mta-sts.lab.test", "TXT"] = dns.rcode.SERVFAIL
        assert await policies.policy("lab.test") == first
        records["_mta-sts.lab.test", "TXT"] = ['"v=STSv1; id=2;"']
        web.status = 500
        assert await policies.policy("lab.test") == first
        del records["_mta-sts.lab.test", "TXT"]
        assert (await policies.policy("lab.test")).mode is ABSENT


async def test_max_age_is_the_end_of_a_policy(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mta_sts, "RECORD_SECONDS", (0.0, 0.0))
    async with (
        PolicyServer(place.contexts["policy"], POLICY.replace("86400", "0")) as web,
        DnsScript(RECORDS) as names,
    ):
        policies = policies_of(names, web, place)
        assert (await policies.policy("lab.test")).mode is ENFORCE
        web.status = 404
        gone = await policies.policy("lab.test")
    assert (gone.mode, gone.id) == (ERROR, "1")
    assert "HTTP status 404" in gone.detail


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"status": 404}, "HTTP status 404"),
        ({"status": 301}, "HTTP status 301"),
        ({"status": 302}, "HTTP status 302"),
        ({"content_type": "text/html"}, "text/html is not text/plain"),
        ({"text": "x" * 65537}, "more than 65536 bytes"),
        ({"text": b"\xff\xfe"}, "not UTF-8"),
        ({"text": ""}, "no version: STSv1"),
        ({"stalls": True}, "no answer within 0.3 s"),
    ],
)
async def test_what_a_web_server_may_do(
    place: Place, changes: dict[str, object], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "stalls" in changes:
        monkeypatch.setattr(mta_sts, "TIMEOUT", 0.3)
    async with PolicyServer(place.contexts["policy"]) as web, DnsScript(RECORDS) as names:
        for key, value in changes.items():
            setattr(web, key, value)
        policies = policies_of(names, web, place)
        facts = await policies.policy("lab.test")
        assert (facts.mode, facts.id, facts.passed) == (ERROR, "1", None)
        assert facts.detail.startswith("https://mta-sts.lab.test: ")
        assert why in facts.detail
        assert await policies.policy("lab.test") == facts
        assert len(web.asked) == 1, "neither a redirection is followed, nor is it asked for again at once"


@pytest.mark.parametrize("which", ["mail", "unknown"])
async def test_the_web_servers_certificate_has_to_hold(place: Place, which: str) -> None:
    async with (
        PolicyServer(place.contexts["mail" if which == "mail" else "policy"]) as web,
        DnsScript(RECORDS) as names,
    ):
        policies = policies_of(names, web, place)
        if which == "unknown":
            policies = MtaSts(Resolver([("127.0.0.1", names.port)]), None, web.port)
        facts = await policies.policy("lab.test")
    assert facts.mode is ERROR
    assert ("it is for mail.lab.test" if which == "mail" else "its CA is not in") in facts.detail
    assert web.asked == []


@pytest.mark.parametrize(
    ("records", "mode"),
    [
        ({}, ABSENT),
        ({("_mta-sts.lab.test", "TXT"): ['"v=spf1 -all"']}, ABSENT),
        ({("_mta-sts.lab.test", "A"): ["127.0.0.1"]}, ABSENT),
        ({("_mta-sts.lab.test", "TXT"): dns.rcode.SERVFAIL}, ERROR),
        ({("_mta-sts.lab.test", "TXT"): SILENCE}, ERROR),
        ({("_mta-sts.lab.test", "TXT"): ['"v=STSv1; id=1"']}, ERROR),
        ({("_mta-sts.lab.test", "TXT"): ['"v=STSv1; id=1"'], ("mta-sts.lab.test", "A"): ["127.0.0.9"]}, ERROR),
    ],
)
async def test_what_the_dns_may_say(
    place: Place,
    records: dict[tuple[str, str], list[str] | dns.rcode.Rcode | str],
    mode: MtaStsMode,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mta_sts, "TIMEOUT", 0.5)
    async with PolicyServer(place.contexts["policy"]) as web, DnsScript(records) as names:
        facts = await policies_of(names, web, place).policy("lab.test")
    assert facts.mode is mode
    assert bool(facts.detail) is (mode is ERROR)
    assert web.asked == []


# ---- against attempts


class Checked:
    """An mx attempt to a scripted server, and what the policies say of it."""

    def __init__(self, place: Place, records: dict[tuple[str, str], list[str] | dns.rcode.Rcode | str]) -> None:
        self.place = place
        self.records = records
        self.signed = {"mail.lab.test"}
        self.text = POLICY
        self.certificate: str | None = "mail"
        self.tls = TlsMode.OPPORTUNISTIC

    async def run(self) -> tuple[Attempt, PolicyFacts]:
        context = self.place.contexts[self.certificate] if self.certificate else None
        async with (
            SmtpScript(tls=context) as server,
            PolicyServer(self.place.contexts["policy"], self.text) as web,
            DnsScript(self.records, authenticated=self.signed | {f"_{server.port}._tcp.mail.lab.test"}) as names,
        ):
            self.records |= {
                (f"_{server.port}._tcp.mail.lab.test", kind): value
                for (name, kind), value in self.records.items()
                if name == "tlsa"
            }
            endpoint = Endpoint("", server.port, self.tls, ca_file=self.place.ca_file, family=Family.IPV4)
            sender = Sender("mx", SenderKind.MX, endpoint, "a@b.test", "probe.test", mta_sts=True, dane=True)
            resolver = Resolver([("127.0.0.1", names.port)])
            got = await attempt(sender, MESSAGE, resolver=resolver)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(mta_sts, "HTTPS_PORT", web.port)
                return got, await Policies(sender, resolver).check("to@Lab.test", got)


@pytest.fixture
def checked(place: Place) -> Checked:
    key = dane.Tlsa(3, 1, 1, b"")
    digest = dane._digest(dane._selected(place.mail, key.selector), key.matching).hex()
    return Checked(place, dict(RECORDS) | {("tlsa", "TLSA"): [f"3 1 1 {digest}"]})


async def test_all_is_as_both_ask(checked: Checked) -> None:
    got, policy = await checked.run()
    assert got.tls
    assert got.tls.verified is False
    assert len(got.chain) == 1
    assert policy.mta_sts
    assert (policy.mta_sts.mode, policy.mta_sts.passed, policy.mta_sts.detail) == (ENFORCE, True, "")
    assert policy.dane
    assert (policy.dane.status, policy.dane.passed, policy.dane.detail) == (DaneStatus.USABLE, True, "")
    assert policy.dane.records[0].startswith("3 1 1 ")


async def test_in_plain_text(checked: Checked) -> None:
    checked.certificate = None
    got, policy = await checked.run()
    assert got.reason is None, "reported, and nothing else"
    for facts in (policy.mta_sts, policy.dane):
        assert facts
        assert (facts.passed, facts.detail) == (False, "no TLS was used")


async def test_with_another_certificate(checked: Checked) -> None:
    checked.certificate = "other"
    _, policy = await checked.run()
    assert policy.mta_sts
    assert policy.mta_sts.passed is False
    assert "does not prove mail.lab.test" in policy.mta_sts.detail
    assert policy.dane
    assert (policy.dane.passed, policy.dane.detail) == (False, "no record matches what was shown")


async def test_with_a_certificate_that_the_attempt_itself_refused(checked: Checked) -> None:
    checked.certificate, checked.tls = "other", TlsMode.STARTTLS
    got, policy = await checked.run()
    assert got.tls is None
    assert len(got.chain) == 1
    assert policy.mta_sts
    assert (policy.mta_sts.passed, policy.mta_sts.detail) == (False, got.detail)
    assert policy.dane
    assert policy.dane.passed is False


async def test_an_exchanger_that_the_policy_does_not_name(checked: Checked) -> None:
    checked.text = POLICY.replace("mail.lab", "other.lab")
    _, policy = await checked.run()
    assert policy.mta_sts
    assert (policy.mta_sts.passed, policy.mta_sts.detail) == (False, "mail.lab.test is not among the policy's mx")


async def test_where_there_is_no_dnssec_nobody_asks_for_tlsa(checked: Checked) -> None:
    checked.signed = set()
    _, policy = await checked.run()
    assert policy.dane
    assert (policy.dane.status, policy.dane.passed) == (DaneStatus.ABSENT, None)


async def test_tlsa_that_cannot_be_had(checked: Checked) -> None:
    checked.records["tlsa", "TLSA"] = dns.rcode.SERVFAIL
    _, policy = await checked.run()
    assert policy.dane
    assert (policy.dane.status, policy.dane.passed) == (DaneStatus.ERROR, False)


async def test_no_tlsa(checked: Checked) -> None:
    del checked.records["tlsa", "TLSA"]
    _, policy = await checked.run()
    assert policy.dane
    assert (policy.dane.status, policy.dane.passed) == (DaneStatus.ABSENT, None)


async def test_where_nobody_was_reached_nothing_is_said_of_it(checked: Checked) -> None:
    got, _ = await checked.run()
    resolver = Resolver([("127.0.0.1", 9)])
    sender = Sender("mx", SenderKind.MX, Endpoint("", 25, TlsMode.OPPORTUNISTIC), "a@b.test", "p.test", mta_sts=True)
    literal = await Policies(sender, resolver).check("to@[192.0.2.1]", got)
    assert literal == PolicyFacts()
