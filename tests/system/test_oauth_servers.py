"""Bearer tokens on a real Dovecot and on a Postfix that asks it: good, expired, somebody else's, garbage."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from support.one_shot import by_url, environment, probe
from support.servers import HOST, TLS_NAME
from support.servers_client import oauth_token
from support.servers_dovecot import Account, Dovecot
from support.servers_fixtures import MailLab
from support.smtp_attempts import MESSAGE, said
from support.token_server import Introspection

from mailprobe.auth.bearer import Bearer
from mailprobe.auth.tokens import Tokens
from mailprobe.clock import SystemClock
from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.imap import Session
from mailprobe.model import Attempt, AttemptOutcome, SenderKind, TlsMode
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Endpoint, Login, Mailbox, OAuth2, Sender
from mailprobe.smtp import submit

KINDS = {
    "good": None,
    "expired": Reason.TOKEN_EXPIRED,
    "somebody else's": Reason.AUTH_REJECTED,
    "garbage": Reason.AUTH_REJECTED,
}


def a_token(dovecot: Dovecot, account: Account, kind: str) -> str:
    if kind == "garbage":
        return "v1.garbage-garbage-garbage"
    owner = "alice@lab.test" if kind == "somebody else's" else account.address
    return oauth_token(dovecot.oauth_secret, owner, -100 if kind == "expired" else 3600)


@pytest.fixture(params=list(Bearer))
def only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bearer:
    """The one mechanism that the client is ready to use; the servers offer both."""
    monkeypatch.setattr("mailprobe.auth.bearer.choose", lambda offered: request.param)
    return request.param  # type: ignore[no-any-return]


def login_with(account: Account, token: str, directory: Path) -> Login:
    file = directory / "token"
    file.write_text(token + "\n")
    return Login(account.address, oauth2=OAuth2(token_file=file))


async def submitted(lab: MailLab, login: Login) -> Attempt:
    endpoint = Endpoint(HOST, lab.postfix.submission_port, TlsMode.STARTTLS, ca_file=lab.ca_file, server_name=TLS_NAME)
    sender = Sender("lab", SenderKind.SUBMISSION, endpoint, login.username, "probe.test", login=login)
    message = replace(MESSAGE, sender_address=login.username, recipient=login.username)
    tokens = Tokens(SystemClock(), lambda event: None)
    return await submit(
        sender,
        message,
        number=1,
        timeout=20.0,
        clock=SystemClock(),
        resolver=Resolver(),
        dot_sent=lambda at: None,
        token_of=tokens.token_of,
    )


async def opened(dovecot: Dovecot, login: Login) -> Session:
    endpoint = Endpoint(HOST, dovecot.imaps_port, TlsMode.IMPLICIT, ca_file=dovecot.ca_file, server_name=TLS_NAME)
    mailbox = Mailbox("box", login.username, endpoint, login, timeout=20.0)
    tokens = Tokens(SystemClock(), lambda event: None)
    return await Session.open(mailbox, clock=SystemClock(), resolver=Resolver(), token_of=tokens.token_of)


@pytest.mark.parametrize("kind", KINDS)
async def test_postfix(mail_lab: MailLab, tmp_path: Path, only: Bearer, kind: str) -> None:
    account = mail_lab.new_account()
    token = a_token(mail_lab.dovecot, account, kind)
    got = await submitted(mail_lab, login_with(account, token, tmp_path))
    assert [line for line in said(got, ">") if line.startswith("AUTH")] == [f"AUTH {only} ***"]
    assert token[:40] not in repr(got)
    if kind == "good":
        assert got.outcome is AttemptOutcome.ACCEPTED, got.detail
        return
    assert (got.outcome, got.stage, got.reason) == (AttemptOutcome.UNSENT, Stage.AUTH, KINDS[kind])
    assert [each.reply.code for each in got.replies if each.stage is Stage.AUTH][-1] == 535
    if kind == "expired":
        assert '"status": ' in got.detail


@pytest.mark.parametrize("kind", KINDS)
async def test_dovecot(dovecot: Dovecot, tmp_path: Path, only: Bearer, kind: str) -> None:
    account = dovecot.new_account()
    login = login_with(account, a_token(dovecot, account, kind), tmp_path)
    if kind == "good":
        session = await opened(dovecot, login)
        assert await session.folders()
        session.abort()
        return
    with pytest.raises(ProbeFailure) as failed:
        await opened(dovecot, login)
    assert (failed.value.stage, failed.value.reason) == (Stage.AUTH, KINDS[kind])
    if kind == "expired":
        assert '"status": ' in failed.value.detail


async def test_an_identity_provider_that_is_asked(fresh_lab: MailLab, tmp_path: Path) -> None:
    """Good, unknown, somebody else's; then the provider is in trouble, silent, and gone: not the user's fault.

    Postfix (3.7) says 535 5.7.8 to all that Dovecot refuses, for whatever reason: there only Dovecot itself tells.
    """
    lab, token = fresh_lab, "opaque-0123456789abcdefghijklmnopqrstuvwxyz"
    account = lab.new_account()
    login = login_with(account, token, tmp_path)
    async with Introspection() as provider:
        await asyncio.to_thread(lab.dovecot.introspect, provider.url)
        assert await reasons(lab, login) == (Reason.AUTH_REJECTED, Reason.AUTH_REJECTED)
        provider.owners[token] = "alice@lab.test"
        assert await reasons(lab, login) == (Reason.AUTH_REJECTED, Reason.AUTH_REJECTED)
        provider.owners[token] = account.address
        assert await reasons(lab, login) == (None, None)
        assert set(provider.asked) == {token}
        provider.status = 503
        assert await reasons(lab, login) in TROUBLE
        provider.stalls = True
        assert await reasons(lab, login) in TROUBLE
    assert await reasons(lab, login) in TROUBLE


TROUBLE = [(reason, Reason.AUTH_UNAVAILABLE) for reason in (Reason.AUTH_UNAVAILABLE, Reason.AUTH_REJECTED)]


async def reasons(lab: MailLab, login: Login) -> tuple[Reason | None, Reason | None]:
    """Why submission and IMAP failed."""
    submission = await submitted(lab, login)
    try:
        (await opened(lab.dovecot, login)).abort()
    except ProbeFailure as failure:
        return submission.reason, failure.reason
    return submission.reason, None


@pytest.mark.usefixtures("nothing_blocks")
async def test_a_new_token_in_the_file_is_used(
    dovecot: Dovecot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailprobe.auth.passwords.FRESH_SECONDS", 0.0)
    account = dovecot.new_account()
    login = login_with(account, a_token(dovecot, account, "expired"), tmp_path)
    with pytest.raises(ProbeFailure):
        await opened(dovecot, login)
    login_with(account, a_token(dovecot, account, "good"), tmp_path)
    session = await opened(dovecot, login)
    session.abort()


def test_one_canary_with_tokens_by_url(mail_lab: MailLab, tmp_path: Path) -> None:
    account = mail_lab.new_account()
    good, old = tmp_path / "good", tmp_path / "old"
    good.write_text(a_token(mail_lab.dovecot, account, "good"))
    old.write_text(a_token(mail_lab.dovecot, account, "expired"))
    urls = [*by_url(mail_lab, account), "--transcript"]
    ran = probe(*urls, f"--smtp-token-file={good}", f"--imap-token-file={good}", env=environment())
    assert ran.status == 0, ran.stderr
    assert good.read_text()[-30:] not in ran.stdout + ran.stderr
    ran = probe(*urls, f"--smtp-token-file={old}", f"--imap-token-file={good}", env=environment())
    assert (ran.status, ran.result["reason"]) == (2, "token_expired")
