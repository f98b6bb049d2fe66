"""A one-shot run in the middle of which something breaks: the mailbox goes away, a server drips, a time-out is due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support import smtp_script
from support.imap_script import ImapServer, hang
from support.one_shot import Ran, by_url, environment, on_terminal, passwords_of, probe
from support.result_shape import check_results
from support.servers_client import mailbox
from support.servers_fixtures import MailLab
from support.smtp_script import SmtpScript, Wire

CRITICAL, UNKNOWN = 2, 3


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Generous: for what would otherwise take a multiple of it."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


async def scripted(smtp: SmtpScript, imap: ImapServer, *more: str) -> Ran:
    options = [
        f"--smtp=smtp://127.0.0.1:{smtp.port}?tls=plaintext",
        f"--imap=imap://user@127.0.0.1:{imap.port}?tls=plaintext",
        "--to=user@lab.test",
        *more,
    ]
    return await asyncio.to_thread(probe, *options, env=environment(imap="hunter2"))


def test_a_mailbox_that_goes_away_and_comes_back(mail_lab: MailLab) -> None:
    """The session is ended by the server while the canary is on its way: it is delivered all the same."""
    account = mail_lab.new_account()
    arguments = ["probe", *by_url(mail_lab, account, to=account.with_detail("hold"))]
    with on_terminal(arguments, passwords_of(account)) as terminal:
        terminal.wait_for("on its way")
        mail_lab.dovecot.kick(account)
        terminal.wait_for("connection_lost")  # at the stage that the looks had come to
        mail_lab.postfix.release()
        assert terminal.end() == 0
    assert "delivered in " in terminal.text
    with mailbox(mail_lab.dovecot, account) as client:
        client.select("INBOX", readonly=True)
        assert client.search(None, "ALL")[1] == [b""]


async def test_a_mailbox_that_goes_away_for_good() -> None:
    """Nobody could look: that is not known, and neither late nor lost."""
    imap = ImapServer()

    async def gone(wire: Wire) -> None:
        imap.says["greeting"] = b"* BYE down for maintenance\r\n"
        await imap.push(b"* BYE down for maintenance\r\n")
        for talk in imap.talks:
            talk.writer.close()
        await wire.say(b"250 2.0.0 queued as 4GONE\r\n")

    async with imap.running(), SmtpScript(dot=gone) as smtp:
        with at_most(15):
            ran = await scripted(smtp, imap, "--timeout=2s")
    check_results(ran.document)
    assert (ran.status, ran.result["outcome"], ran.result["reason"]) == (UNKNOWN, "unobserved", "nobody_looked")
    assert "IMAP server 127.0.0.1:" in ran.stderr
    assert "down for maintenance" in ran.stderr


async def test_a_server_that_drips() -> None:
    """Each stage keeps within the time-out, all of them together do not."""
    says = {
        verb: smtp_script.drip(answer, 0.9 / len(answer))
        for verb, answer in {
            "greeting": b"220 x\r\n",
            "ehlo": b"250 x\r\n",
            "mail": b"250 x\r\n",
            "rcpt": b"250 x\r\n",
            "data": b"354 x\r\n",
            "dot": b"250 x\r\n",
            "quit": b"221 x\r\n",
        }.items()
    }
    imap = ImapServer()
    async with imap.running(), SmtpScript(**says) as smtp:  # type: ignore[arg-type]
        with at_most(12):
            ran = await scripted(smtp, imap, "--timeout=1s")
    check_results(ran.document)
    assert ran.status in (CRITICAL, UNKNOWN)


@pytest.mark.parametrize("stage", ["greeting", "ehlo", "mail", "rcpt", "data"])
async def test_the_timeout_holds_at_each_stage(stage: str) -> None:
    imap = ImapServer()
    async with imap.running(), SmtpScript(**{stage: smtp_script.hang}) as smtp:
        with at_most(8):
            ran = await scripted(smtp, imap, "--timeout=1s")
    result = ran.result
    assert (ran.status, result["outcome"], result["stage"], result["reason"]) == (CRITICAL, "unsent", stage, "timeout")
    assert "SMTP server 127.0.0.1:" in ran.stderr


async def test_a_reply_to_the_final_dot_that_never_comes() -> None:
    """In doubt, and then not there."""
    imap = ImapServer()
    async with imap.running(), SmtpScript(dot=smtp_script.hang) as smtp:
        with at_most(10):
            ran = await scripted(smtp, imap, "--timeout=1s")
    assert (ran.status, ran.result["outcome"]) == (CRITICAL, "overdue")
    assert ran.result["attempts"][0]["outcome"] == "in_doubt"
    assert "perhaps accepted" in ran.stderr


@pytest.mark.parametrize("verb", ["greeting", "authenticate", "list", "select"])
async def test_a_mailbox_that_says_nothing(verb: str) -> None:
    """Nothing is sent into a mailbox into which nobody can look."""
    imap = ImapServer(says={verb: hang})
    async with imap.running(), SmtpScript() as smtp:
        with at_most(8):
            ran = await scripted(smtp, imap, "--timeout=1s")
        assert smtp.connections == 0
    assert (ran.status, ran.result["outcome"], ran.result["reason"]) == (UNKNOWN, "unobserved", "timeout")
    assert "IMAP server 127.0.0.1:" in ran.stderr
