"""Ctrl-C, at every moment of a one-shot run: exit status 3, no traceback, and no canary left that had arrived.

The servers are scripted, so that the moments are exact; in one test they are Postfix and Dovecot.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from support import imap_script, smtp_script
from support.imap_script import ImapServer, Talk
from support.one_shot import TRACEBACK, by_url, command, environment, on_terminal, passwords_of
from support.result_shape import check_results
from support.servers_client import mailbox
from support.servers_fixtures import MailLab
from support.smtp_script import SmtpScript, Wire

UNKNOWN = 3
SOON = 5.0
"""Seconds in which an interrupted run has to end; the machine's own lateness comes on top, but only there."""


@dataclass
class Run:
    """A probe between two scripted servers, whose actions may interrupt it."""

    imap: ImapServer
    env: dict[str, str] = field(default_factory=lambda: environment(imap="hunter2"))
    process: asyncio.subprocess.Process | None = None
    interrupted: float | None = None

    def interrupt(self) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
        self.interrupted = self.interrupted or time.monotonic()

    @asynccontextmanager
    async def begun(self, smtp: SmtpScript, *more: str) -> AsyncIterator[asyncio.subprocess.Process]:
        arguments = [
            f"--smtp=smtp://127.0.0.1:{smtp.port}?tls=plaintext",
            f"--imap=imap://user@127.0.0.1:{self.imap.port}?tls=plaintext",
            "--to=user@lab.test",
            "--timeout=20s",
            *more,
        ]
        pipe = subprocess.PIPE
        self.process = process = await asyncio.create_subprocess_exec(
            *command("probe", *arguments), stdout=pipe, stderr=pipe, env=self.env
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def ended(self) -> tuple[str, str]:
        """Waits for the end; fails if it is a bad one."""
        assert self.process is not None
        out, err = await asyncio.wait_for(self.process.communicate(), 30)
        took = time.monotonic() - (self.interrupted or time.monotonic())
        assert TRACEBACK.encode() not in err + out, err
        assert took < SOON
        return out.decode(), err.decode()


def delivering(run: Run) -> Callable[[Wire], Awaitable[None]]:
    """The answer to the final dot, after which the message is in the inbox."""

    async def act(wire: Wire) -> None:
        run.imap.folders["INBOX"].deliver(smtp.contents[-1].partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        await wire.say(b"250 2.0.0 queued\r\n")

    smtp: SmtpScript

    def bind(script: SmtpScript) -> None:
        nonlocal smtp
        smtp = script

    act.bind = bind  # type: ignore[attr-defined]
    return act


@asynccontextmanager
async def servers(run: Run, **says: smtp_script.Answer) -> AsyncIterator[SmtpScript]:
    """Both servers; what is handed in is in the inbox at once, unless `says` has another answer to the dot."""
    dot = delivering(run)
    async with run.imap.running(), SmtpScript(**{"dot": dot} | says) as smtp:
        dot.bind(smtp)  # type: ignore[attr-defined]
        yield smtp


def smtp_moment(run: Run, answer: bytes) -> smtp_script.Answer:
    async def act(wire: Wire) -> None:
        run.interrupt()
        await wire.say(answer)

    return act


SMTP_MOMENTS = {
    "greeting": b"220 script.test ESMTP\r\n",
    "ehlo": b"250 script.test\r\n",
    "mail": b"250 ok\r\n",
    "rcpt": b"250 ok\r\n",
    "data": b"354 go\r\n",
    "quit": b"221 bye\r\n",
}


@pytest.mark.parametrize("moment", [*SMTP_MOMENTS, "dot"])
async def test_at_a_moment_of_the_submission(moment: str) -> None:
    run = Run(ImapServer())
    says: dict[str, smtp_script.Answer] = {}
    if moment == "dot":
        dot = delivering(run)

        async def act(wire: Wire) -> None:
            run.interrupt()
            await dot(wire)

        says["dot"] = act
    else:
        says[moment] = smtp_moment(run, SMTP_MOMENTS[moment])
    async with servers(run, **says) as smtp:
        if moment == "dot":
            dot.bind(smtp)  # type: ignore[attr-defined]
        async with run.begun(smtp) as process:
            await run.ended()
    assert process.returncode == UNKNOWN
    assert run.imap.folders["INBOX"].mails == [], "what arrived is removed"


def imap_moment(run: Run) -> imap_script.Action:
    async def act(talk: Talk) -> None:
        run.interrupt()
        if talk.tag:
            await imap_script.default(talk)
        else:
            await talk.send(b"* OK ready\r\n")

    return act


@pytest.mark.parametrize("moment", ["greeting", "authenticate", "select", "uid fetch", "uid store", "uid expunge"])
async def test_at_a_moment_of_watching(moment: str) -> None:
    run = Run(ImapServer())
    run.imap.says[moment] = imap_moment(run)
    async with servers(run) as smtp, run.begun(smtp) as process:
        await run.ended()
    assert run.interrupted, "the moment came"
    assert process.returncode == UNKNOWN or moment in ("uid store", "uid expunge"), "after the verdict it is in time"
    assert run.imap.folders["INBOX"].mails == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
async def test_while_a_server_says_nothing(number: signal.Signals) -> None:
    """There is nothing that could still arrive, so nothing is waited for."""
    run = Run(ImapServer())
    asked = asyncio.Event()

    async def silent(wire: Wire) -> None:
        asked.set()
        await smtp_script.hang(wire)

    async with servers(run, rcpt=silent) as smtp, run.begun(smtp, "--format=text") as process:
        await asyncio.wait_for(asked.wait(), 20)
        process.send_signal(number)
        run.interrupted = time.monotonic()
        out, err = await run.ended()
        assert time.monotonic() - run.interrupted < 2, "the wait for what may arrive is 2.5 s"
    assert process.returncode == UNKNOWN
    assert smtp.contents == []
    assert "  mail " in out, "how far it came"
    assert err.startswith("interrupted: ")


async def test_a_second_one_ends_at_once() -> None:
    """Although the reply to the final dot is still due, and the canary may arrive."""
    run = Run(ImapServer())
    asked = asyncio.Event()

    async def silent(wire: Wire) -> None:
        asked.set()
        await smtp_script.hang(wire)

    async with servers(run, dot=silent) as smtp, run.begun(smtp) as process:
        await asyncio.wait_for(asked.wait(), 20)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert b"interrupted" in await asyncio.wait_for(process.stderr.readline(), 20)
        process.send_signal(signal.SIGINT)
        again = time.monotonic()
        out, err = await run.ended()
        assert time.monotonic() - again < 2, "the wait for what may arrive is 2.5 s"
    assert process.returncode == UNKNOWN
    assert (out, err) == ("", "")


async def test_what_was_sent_and_does_not_arrive_is_said() -> None:
    run = Run(ImapServer())

    async def swallow(wire: Wire) -> None:
        await wire.say(b"250 2.0.0 queued\r\n")
        run.interrupt()

    async with servers(run, dot=swallow) as smtp, run.begun(smtp, "--format=text") as process:
        out, _ = await run.ended()
    assert process.returncode == UNKNOWN
    assert "not judged: interrupted" in out
    assert "if it still arrives, it stays" in out


async def test_the_document_of_an_interrupted_run() -> None:
    run = Run(ImapServer())

    async def swallow(wire: Wire) -> None:
        await wire.say(b"250 2.0.0 queued\r\n")
        run.interrupt()

    async with servers(run, dot=swallow) as smtp, run.begun(smtp):
        out, _ = await run.ended()
    document = json.loads(out)
    check_results(document)
    assert document["results"][0]["outcome"] is None


def test_on_its_way_through_real_servers(mail_lab: MailLab) -> None:
    """Postfix holds the canary; it is let go after Ctrl-C, and removed all the same."""
    account = mail_lab.new_account()
    arguments = ["probe", *by_url(mail_lab, account, to=account.with_detail("hold"))]
    with on_terminal(arguments, passwords_of(account)) as terminal:
        terminal.wait_for("on its way")
        terminal.interrupt()
        terminal.wait_for("interrupted")
        mail_lab.postfix.release()
        assert terminal.end() == UNKNOWN
    with mailbox(mail_lab.dovecot, account) as client:
        client.select("INBOX", readonly=True)
        assert client.search(None, "ALL")[1] == [b""]
