"""Straight to the MX: a real Postfix found through a real validating resolver, and each way the DNS says no."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from support.loops import both_loops
from support.policy_server import POLICY, PolicyServer, context_of
from support.servers_dns import Dns
from support.servers_dovecot import Account
from support.servers_fixtures import MailLab
from support.smtp_attempts import attempt

from mailprobe.errors import Reason, Stage
from mailprobe.model import Attempt, AttemptOutcome, DaneStatus, MtaStsMode, PolicyFacts, SenderKind, TlsMode
from mailprobe.net import mta_sts
from mailprobe.net.policies import Policies
from mailprobe.plan import Endpoint, Family, Sender
from mailprobe.smtp import Message

pytestmark = both_loops

ACCEPTED, UNSENT = AttemptOutcome.ACCEPTED, AttemptOutcome.UNSENT
Serve = Callable[..., Dns]

USUAL = "@ MX 10 mail\nmail A 127.0.0.1\n"


def sender_of(lab: MailLab, port: int | None = None, tls: TlsMode = TlsMode.OPPORTUNISTIC, **more: bool) -> Sender:
    verify = tls is TlsMode.STARTTLS
    endpoint = Endpoint("", port or lab.postfix.mx_port, tls, verify=verify, ca_file=lab.ca_file, family=Family.IPV4)
    return Sender("outside", SenderKind.MX, endpoint, "probe@outside.test", "probe.outside.test", **more)


def message_to(recipient: str) -> Message:
    content = f"From: <probe@outside.test>\r\nTo: <{recipient}>\r\nSubject: canary\r\n\r\nhello\r\n"
    return Message("probe@outside.test", recipient, content.encode(), "seed")


@pytest.fixture
def account(mail_lab: MailLab) -> Account:
    return mail_lab.new_account()


async def handed_in(dns: Dns, sender: Sender, recipient: str, target: int = 1, timeout: float = 5.0) -> Attempt:
    return await attempt(sender, message_to(recipient), resolver=dns.resolver, target_number=target, timeout=timeout)


# ---- the DNS


@pytest.mark.parametrize(
    ("records", "host", "exchangers", "implicit"),
    [
        (USUAL, "mail.lab.test", (("mail.lab.test", 10),), False),
        ("@ A 127.0.0.1\n", "lab.test", (), True),
        ("@ MX 10 alias\nalias CNAME mail\nmail A 127.0.0.1\n", "alias.lab.test", (("alias.lab.test", 10),), False),
        (
            "@ MX 10 gone\n@ MX 20 empty\n@ MX 30 mail\nempty TXT x\nmail A 127.0.0.1\n",
            "mail.lab.test",
            (("gone.lab.test", 10), ("empty.lab.test", 20), ("mail.lab.test", 30)),
            False,
        ),
    ],
    ids=["mx", "implicit", "cname", "exchangers-without-address"],
)
async def test_the_server_is_found(
    mail_lab: MailLab,
    account: Account,
    serve_dns: Serve,
    records: str,
    host: str,
    exchangers: tuple[tuple[str, int], ...],
    implicit: bool,
) -> None:
    dns = serve_dns({"lab.test": records})
    got = await handed_in(dns, sender_of(mail_lab), account.address)
    assert got.outcome is ACCEPTED, got.detail
    assert got.peer
    assert (got.peer.host, got.peer.address) == (host, "127.0.0.1")
    assert got.dns
    assert (got.dns.exchangers, got.dns.implicit, got.dns.addresses) == (exchangers, implicit, ("127.0.0.1",))
    assert 0 < (got.dns.address_ttl or 0) <= 300
    assert got.tls
    assert got.tls.verified is False


async def test_a_domain_that_is_an_alias(mail_lab: MailLab, serve_dns: Serve) -> None:
    dns = serve_dns({"lab.test": f"{USUAL}other CNAME @\n"})
    got = await handed_in(dns, sender_of(mail_lab), "x+nouser@other.lab.test")
    assert got.peer
    assert got.peer.host == "mail.lab.test"
    assert (got.stage, got.reason) == (Stage.RCPT, Reason.REJECTED)


@pytest.mark.parametrize(
    ("domain", "reason"),
    [
        ("null.test", Reason.NULL_MX),
        ("bogus.test", Reason.DNS_SERVFAIL),
        ("missing.null.test", Reason.DNS_NXDOMAIN),
        ("silent.test", Reason.DNS_TIMEOUT),
        ("empty.test", Reason.NO_MX),
        ("gone.test", Reason.DNS_NXDOMAIN),
        ("nowhere.test", Reason.DNS_SERVFAIL),
    ],
)
async def test_the_dns_says_no_in_its_own_way_each_time(
    mail_lab: MailLab, serve_dns: Serve, domain: str, reason: Reason
) -> None:
    zones = {
        "null.test": "@ MX 0 .\n",
        "bogus.test": "@ MX 10 mail\nmail A 127.0.0.1\n",
        "empty.test": "@ TXT nothing\n",
        "gone.test": "@ MX 10 gone\n",
        "nowhere.test": "@ MX 10 mail.bogus.test.\n",
    }
    dns = serve_dns(zones, signed={"null.test"}, bogus={"bogus.test"})
    timeout = 0.5 if reason is Reason.DNS_TIMEOUT else 5.0
    got = await handed_in(dns, sender_of(mail_lab), f"nobody@{domain}", timeout=timeout)
    assert (got.outcome, got.stage, got.reason) == (UNSENT, Stage.RESOLVE, reason), got.detail
    assert got.peer is None


async def test_the_order_of_preference_and_of_one_canary(mail_lab: MailLab, account: Account, serve_dns: Serve) -> None:
    mail = "".join(f"@ MX {preference} m{preference}{letter}\n" for preference in (20, 10) for letter in "ab")
    hosts = "".join(f"m{number} A 127.0.0.{2 + index}\n" for index, number in enumerate(("10a", "10b", "20a")))
    dns = serve_dns({"lab.test": f"{mail}{hosts}m20b A 127.0.0.1\n"})
    sender = sender_of(mail_lab, try_all=True)
    got = [await handed_in(dns, sender, account.address, target) for target in (1, 2, 3, 4)]
    hosts_asked = [one.peer.host.partition(".")[0] for one in got if one.peer]
    assert sorted(hosts_asked[:2]) == ["m10a", "m10b"]
    assert sorted(hosts_asked[2:]) == ["m20a", "m20b"]
    assert [one.dns and one.dns.last for one in got] == [False, False, False, True]
    for one, host in zip(got, hosts_asked, strict=True):
        if host == "m20b":
            assert one.outcome is ACCEPTED
        else:
            assert (one.outcome, one.stage, one.reason) == (UNSENT, Stage.CONNECT, Reason.CONNECTION_REFUSED)


# ---- TLS


@pytest.mark.parametrize(
    ("tls", "port", "outcome", "verified"),
    [
        (TlsMode.OPPORTUNISTIC, "mx_port", ACCEPTED, False),
        (TlsMode.STARTTLS, "mx_port", ACCEPTED, True),
        (TlsMode.PLAINTEXT, "mx_port", ACCEPTED, None),
        (TlsMode.STARTTLS, "plaintext_port", UNSENT, None),
    ],
)
async def test_tls_as_asked_for(
    mail_lab: MailLab,
    account: Account,
    serve_dns: Serve,
    tls: TlsMode,
    port: str,
    outcome: AttemptOutcome,
    verified: bool | None,
) -> None:
    dns = serve_dns({"lab.test": USUAL})
    got = await handed_in(dns, sender_of(mail_lab, getattr(mail_lab.postfix, port), tls), account.address)
    assert got.outcome is outcome, got.detail
    assert (got.tls.verified if got.tls else None) is verified
    if outcome is UNSENT:
        assert (got.stage, got.reason) == (Stage.STARTTLS, Reason.STARTTLS_UNAVAILABLE)


async def test_opportunistic_goes_on_in_plain_text(mail_lab: MailLab, account: Account, serve_dns: Serve) -> None:
    dns = serve_dns({"lab.test": USUAL})
    got = await handed_in(dns, sender_of(mail_lab, mail_lab.postfix.plaintext_port), account.address)
    assert got.tls is None
    assert got.stage is Stage.RCPT, "this port wants a login, and says so only here"


async def test_a_required_certificate_is_verified_for_the_exchangers_name(
    mail_lab: MailLab, account: Account, serve_dns: Serve
) -> None:
    dns = serve_dns({"lab.test": "@ MX 10 other\nother A 127.0.0.1\n"})
    got = await handed_in(dns, sender_of(mail_lab, tls=TlsMode.STARTTLS), account.address)
    assert (got.outcome, got.stage, got.reason) == (UNSENT, Stage.TLS, Reason.CERTIFICATE_NAME)
    assert "it is for mail.lab.test" in got.detail


# ---- what the recipient's side asks for


def tlsa_of(lab: MailLab, *, usage: int = 3, name: str = "server") -> str:
    certificate = load_pem_x509_certificate((lab.ca_file.parent / f"{name}.pem").read_bytes())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"{usage} 1 1 {hashlib.sha256(key).hexdigest()}"


async def policies(
    lab: MailLab,
    account: Account,
    serve: Serve,
    tlsa: str | None,
    *,
    signed: bool = True,
    policy: str | None = POLICY,
    port: int | None = None,
) -> tuple[Attempt, PolicyFacts]:
    """An attempt in a world, and what was found out beside it."""
    mx_port = port or lab.postfix.mx_port
    records = USUAL + "mta-sts A 127.0.0.1\n"
    records += f"_{mx_port}._tcp.mail TLSA {tlsa}\n" if tlsa else ""
    records += '_mta-sts TXT "v=STSv1; id=20260122;"\n' if policy else ""
    dns = serve({"lab.test": records}, signed={"lab.test"} if signed else ())
    files = [str(lab.ca_file.parent / f"policy.{kind}") for kind in ("pem", "key")]
    context: ssl.SSLContext = await asyncio.to_thread(context_of, *files)
    async with PolicyServer(context, policy or "") as web:
        sender = sender_of(lab, port, mta_sts=True, dane=True)
        got = await handed_in(dns, sender, account.address)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mta_sts, "HTTPS_PORT", web.port)
            return got, await Policies(sender, dns.resolver).check(account.address, got)


async def test_mta_sts_and_dane_that_hold(mail_lab: MailLab, account: Account, serve_dns: Serve) -> None:
    got, policy = await policies(mail_lab, account, serve_dns, tlsa_of(mail_lab))
    assert got.outcome is ACCEPTED
    sts, dane = policy.mta_sts, policy.dane
    assert sts
    assert (sts.mode, sts.id, sts.passed, sts.detail) == (MtaStsMode.ENFORCE, "20260122", True, "")
    assert dane
    assert (dane.status, dane.passed, dane.detail) == (DaneStatus.USABLE, True, "")
    assert dane.records == (tlsa_of(mail_lab),)


@pytest.mark.parametrize(
    ("usage", "name", "status", "passed"),
    [
        (3, "expired", DaneStatus.USABLE, False),
        (2, "ca", DaneStatus.USABLE, False),  # Postfix shows the server's certificate alone
        (1, "server", DaneStatus.UNUSABLE, True),
    ],
)
async def test_tlsa_of_each_kind(
    mail_lab: MailLab,
    account: Account,
    serve_dns: Serve,
    usage: int,
    name: str,
    status: DaneStatus,
    passed: bool,
) -> None:
    got, policy = await policies(mail_lab, account, serve_dns, tlsa_of(mail_lab, usage=usage, name=name))
    assert got.outcome is ACCEPTED, "reported, and nothing else"
    assert policy.dane
    assert (policy.dane.status, policy.dane.passed) == (status, passed)


async def test_tlsa_without_dnssec_counts_for_nothing(mail_lab: MailLab, account: Account, serve_dns: Serve) -> None:
    _, policy = await policies(mail_lab, account, serve_dns, tlsa_of(mail_lab), signed=False)
    assert policy.dane
    assert (policy.dane.status, policy.dane.records, policy.dane.passed) == (DaneStatus.ABSENT, (), None)


async def test_no_policy_at_all(mail_lab: MailLab, account: Account, serve_dns: Serve) -> None:
    _, policy = await policies(mail_lab, account, serve_dns, None, policy=None)
    assert policy.mta_sts
    assert policy.dane
    assert (policy.mta_sts.mode, policy.dane.status) == (MtaStsMode.ABSENT, DaneStatus.ABSENT)


async def test_a_testing_policy_for_another_exchanger(mail_lab: MailLab, account: Account, serve_dns: Serve) -> None:
    text = POLICY.replace("enforce", "testing").replace("mail.lab.test", "old.lab.test")
    got, policy = await policies(mail_lab, account, serve_dns, None, policy=text)
    assert got.outcome is ACCEPTED
    assert policy.mta_sts
    assert (policy.mta_sts.mode, policy.mta_sts.passed) == (MtaStsMode.TESTING, False)
    assert policy.mta_sts.detail == "mail.lab.test is not among the policy's mx"


async def test_a_server_without_tls_keeps_neither(mail_lab: MailLab, account: Account, serve_dns: Serve) -> None:
    port = mail_lab.postfix.plaintext_port
    _, policy = await policies(mail_lab, account, serve_dns, tlsa_of(mail_lab), port=port)
    for facts in (policy.mta_sts, policy.dane):
        assert facts
        assert (facts.passed, facts.detail) == (False, "no TLS was used")


async def test_zones_that_were_tampered_with_are_errors(mail_lab: MailLab, account: Account, serve_dns: Serve) -> None:
    good, _ = await policies(mail_lab, account, serve_dns, tlsa_of(mail_lab))
    dns = serve_dns({"lab.test": USUAL + f"_{mail_lab.postfix.mx_port}._tcp.mail TLSA {tlsa_of(mail_lab)}\n"
                     '_mta-sts TXT "v=STSv1; id=1;"\n'}, bogus={"lab.test"})  # fmt: skip
    sender = replace(sender_of(mail_lab), mta_sts=True, dane=True)
    policy = await Policies(sender, dns.resolver).check(account.address, good)
    assert policy.mta_sts
    assert policy.dane
    assert (policy.mta_sts.mode, policy.mta_sts.passed) == (MtaStsMode.ERROR, None)
    assert (policy.dane.status, policy.dane.passed) == (DaneStatus.ERROR, False)
    assert "SERVFAIL" in policy.dane.detail
