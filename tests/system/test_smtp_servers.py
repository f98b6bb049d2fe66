"""Attempts against a real Postfix: every way of the menu, on both event loops."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from support.loops import both_loops
from support.servers import DOMAIN, HOST, TLS_NAME
from support.servers_dovecot import Account
from support.servers_fixtures import MailLab
from support.servers_postfix import GREYLIST_SECONDS
from support.smtp_attempts import attempt

from mailprobe.clock import SystemClock, wall_of
from mailprobe.errors import Reason, Stage
from mailprobe.model import AttemptOutcome, SenderKind, TlsMode
from mailprobe.plan import Endpoint, Login, SecretReference, Sender
from mailprobe.smtp import Message

pytestmark = both_loops

UNSENT, DEFERRED, REJECTED = AttemptOutcome.UNSENT, AttemptOutcome.DEFERRED, AttemptOutcome.REJECTED


@pytest.fixture
def account(mail_lab: MailLab, monkeypatch: pytest.MonkeyPatch) -> Account:
    account = mail_lab.new_account()
    monkeypatch.setenv("MAILPROBE_TEST_PASSWORD", account.password)
    return account


def sender_of(lab: MailLab, account: Account, port: int, tls: TlsMode = TlsMode.STARTTLS) -> Sender:
    endpoint = Endpoint(HOST, port, tls, ca_file=lab.ca_file, server_name=TLS_NAME)
    login = Login(account.address, SecretReference(env="MAILPROBE_TEST_PASSWORD"))
    return Sender("lab", SenderKind.SUBMISSION, endpoint, account.address, "probe.test", login=login)


def message_to(account: Account, recipient: str | None = None, envid: str = "") -> Message:
    content = b"From: <%b>\r\nSubject: canary\r\nMessage-ID: <%b@probe.test>\r\n\r\nhello\r\n"
    address = account.address.encode()
    return Message(account.address, recipient or account.address, content % (address, id_of(account)), envid)


def id_of(account: Account) -> bytes:
    return f"{account.user}.{id(account)}".encode()


@pytest.mark.parametrize(
    ("port", "tls"),
    [
        ("submission_port", TlsMode.STARTTLS),
        ("submission_port", TlsMode.OPPORTUNISTIC),
        ("submissions_port", TlsMode.IMPLICIT),
        ("plaintext_port", TlsMode.PLAINTEXT),
        ("expiring_port", TlsMode.STARTTLS),
    ],
)
async def test_accepted(mail_lab: MailLab, account: Account, port: str, tls: TlsMode) -> None:
    dots: list[float] = []
    sender = sender_of(mail_lab, account, getattr(mail_lab.postfix, port), tls)
    got = await attempt(sender, message_to(account, envid="v1.x+y"), dot_sent=dots.append)
    assert got.outcome is AttemptOutcome.ACCEPTED, got.detail
    assert dots == [got.dot_sent]
    assert got.queue_id
    assert (got.tls is None) == (tls is TlsMode.PLAINTEXT)
    assert got.replies[-1].reply.code == 221
    # the queue id is the one in Postfix's log, which is written a little after the reply
    logged = await asyncio.to_thread(mail_lab.postfix.wait_logged, got.queue_id, "(queue active)")
    assert got.dot_sent
    assert abs(logged.at - wall_of(SystemClock(), got.dot_sent)) < 1.0


@pytest.mark.parametrize(
    ("detail", "outcome", "stage", "code"),
    [
        ("tempfail", DEFERRED, Stage.RCPT, 451),
        ("full", DEFERRED, Stage.RCPT, 452),
        ("nouser", REJECTED, Stage.RCPT, 550),
        ("policy", REJECTED, Stage.RCPT, 554),
        ("throttle", DEFERRED, Stage.RCPT, 421),
        ("datafail", DEFERRED, Stage.DATA, 451),
    ],
)
async def test_refused(
    mail_lab: MailLab, account: Account, detail: str, outcome: AttemptOutcome, stage: Stage, code: int
) -> None:
    sender = sender_of(mail_lab, account, mail_lab.postfix.submission_port)
    got = await attempt(sender, message_to(account, account.with_detail(detail)))
    assert (got.outcome, got.stage) == (outcome, stage)
    assert got.last_reply
    assert (got.last_reply.stage, got.last_reply.reply.code) == (stage, code)
    assert got.last_reply.reply.enhanced


async def test_a_wrong_password_is_one_failed_login(
    mail_lab: MailLab, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILPROBE_TEST_PASSWORD", "certainly-not-this-one")
    got = await attempt(sender_of(mail_lab, account, mail_lab.postfix.submission_port), message_to(account))
    assert (got.outcome, got.stage, got.reason) == (UNSENT, Stage.AUTH, Reason.AUTH_REJECTED)
    assert got.last_reply
    assert got.last_reply.reply.code == 535
    assert sum(line.text.startswith("AUTH") for line in got.transcript if line.direction == ">") == 1
    assert "certainly" not in repr(got)


@pytest.mark.parametrize(
    ("port", "reason"),
    [
        ("expired_port", Reason.CERTIFICATE_EXPIRED),
        ("wrongname_port", Reason.CERTIFICATE_NAME),
        ("unknown_ca_port", Reason.CERTIFICATE_UNTRUSTED),
    ],
)
async def test_certificates(mail_lab: MailLab, account: Account, port: str, reason: Reason) -> None:
    got = await attempt(sender_of(mail_lab, account, getattr(mail_lab.postfix, port)), message_to(account))
    assert (got.outcome, got.stage, got.reason) == (UNSENT, Stage.TLS, reason)


async def test_implicit_on_the_starttls_port(mail_lab: MailLab, account: Account) -> None:
    sender = sender_of(mail_lab, account, mail_lab.postfix.submission_port, TlsMode.IMPLICIT)
    got = await attempt(sender, message_to(account))
    assert (got.outcome, got.stage, got.reason) == (UNSENT, Stage.TLS, Reason.WRONG_TLS_MODE)


async def test_starttls_on_the_implicit_port(mail_lab: MailLab, account: Account) -> None:
    sender = sender_of(mail_lab, account, mail_lab.postfix.submissions_port)
    got = await attempt(sender, message_to(account), timeout=0.5)
    assert (got.outcome, got.stage, got.reason) == (UNSENT, Stage.GREETING, Reason.WRONG_TLS_MODE)


async def test_starttls_where_there_is_none(mail_lab: MailLab, account: Account) -> None:
    sender = sender_of(mail_lab, account, mail_lab.postfix.plaintext_port)
    got = await attempt(sender, message_to(account))
    assert (got.outcome, got.stage, got.reason) == (UNSENT, Stage.STARTTLS, Reason.STARTTLS_UNAVAILABLE)


async def test_no_login_where_one_is_needed(mail_lab: MailLab, account: Account) -> None:
    sender = replace(sender_of(mail_lab, account, mail_lab.postfix.submission_port), login=None)
    got = await attempt(sender, message_to(account))
    assert (got.outcome, got.stage, got.reason) == (
        REJECTED,
        Stage.RCPT,
        Reason.REJECTED,
    )
    assert got.last_reply
    assert got.last_reply.reply.code == 554


async def test_straight_to_the_mail_exchanger(mail_lab: MailLab, account: Account) -> None:
    endpoint = Endpoint(HOST, mail_lab.postfix.mx_port, TlsMode.OPPORTUNISTIC)
    sender = Sender("outside", SenderKind.SUBMISSION, endpoint, "probe@outside.test", "probe.test")
    got = await attempt(sender, replace(message_to(account), sender_address="probe@outside.test"))
    assert got.outcome is AttemptOutcome.ACCEPTED, got.detail
    assert got.tls
    assert got.tls.verified is False
    assert account.address.endswith(DOMAIN)


async def test_greylisted_and_then_not(mail_lab: MailLab, account: Account) -> None:
    mail_lab.postfix.forget_greylist()
    sender = sender_of(mail_lab, account, mail_lab.postfix.greylist_port)
    got = await attempt(sender, message_to(account))
    assert (got.outcome, got.stage) == (DEFERRED, Stage.RCPT)
    assert got.last_reply
    assert (got.last_reply.reply.code, str(got.last_reply.reply.enhanced)) == (450, "4.7.1")
    assert GREYLIST_SECONDS > 0
