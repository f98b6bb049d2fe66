"""SIGTERM ends the agent in order within five seconds, whatever hangs; what was in flight goes on after the restart."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.agents import AgentProcess, Parts
from support.imap_script import ImapServer
from support.imap_script import hang as imap_hangs
from support.servers import HOST
from support.servers_fixtures import MailLab
from support.smtp_script import SmtpScript, hang

LIMIT = 5.0

Blocking = Callable[[Callable[[], object]], Awaitable[object]]


class Scripted:
    """An agent between a scripted SMTP server and a scripted IMAP server."""

    def __init__(self, directory: Path, smtp: SmtpScript, imap: ImapServer, **route: object) -> None:
        self.agent = AgentProcess(directory)
        password = directory / "password"
        password.write_text("hunter2")
        login = {"username": "user", "password_file": str(password)}
        sender = {"submission": f"{HOST}:{smtp.port}", "tls": "plaintext", "from": "a@lab.test"}
        mailbox = {"imap": f"{HOST}:{imap.port}", "tls": "plaintext", "address": "b@lab.test", "auth": login}
        self.agent.configure(
            defaults={"interval": "200ms", "deadline": "30s", "timeout": "20s"},
            senders={"out": sender},
            mailboxes={"box": mailbox},
            routes={"r": {"from": "out", "to": "box"} | route},
        )

    def attempts(self) -> list[tuple[object, ...]]:
        return self.agent.rows(
            "SELECT id, number, dot_sent, a.outcome FROM canary c JOIN attempt a ON a.canary = c.key"
        )


def without_new_canaries(agent: AgentProcess) -> None:
    """From the next start on nothing is begun but what is in flight."""
    routes = {name: route | {"interval": "1h"} for name, route in agent.settings["routes"].items()}
    agent.configure(routes=routes)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("stage", ["greeting", "rcpt", "dot"])
async def test_while_attempts_hang(tmp_path: Path, stage: str, loop: str) -> None:
    async with SmtpScript(**{stage: hang}) as smtp, ImapServer().running() as imap:
        scripted = Scripted(tmp_path, smtp, imap)
        agent = scripted.agent

        def stopped() -> float:
            with agent.running(loop=loop):
                agent.until(lambda: len(scripted.attempts()) >= 2 and smtp.connections >= 2)
                return agent.stop()

        assert await asyncio.to_thread(stopped) < LIMIT
        assert "Traceback" not in agent.log()
        before, handed_over = Counter(row[0] for row in scripted.attempts()), len(smtp.contents)
        assert set(before.values()) == {1}

        def goes_on() -> None:
            without_new_canaries(agent)
            with agent.running(loop=loop):
                agent.until(lambda: agent.metrics().value("mailprobe_in_flight", route="r") == len(before))
                agent.stop()

        await asyncio.to_thread(goes_on)
        assert Counter(row[0] for row in scripted.attempts()) == before, "in doubt is never sent again"
        assert len(smtp.contents) == handed_over


@pytest.mark.parametrize("command", ["greeting", "select", "noop", "idle", "uid fetch", "logout"])
async def test_while_the_mailbox_hangs(tmp_path: Path, command: str) -> None:
    async with SmtpScript() as smtp, ImapServer(says={command: imap_hangs}).running() as imap:
        scripted = Scripted(tmp_path, smtp, imap)
        agent = scripted.agent

        def stopped() -> float:
            with agent.running(ready=False):
                agent.until(lambda: imap.connections and len(smtp.contents) >= 2)
                return agent.stop()

        assert await asyncio.to_thread(stopped) < LIMIT
        assert "Traceback" not in agent.log()


async def test_while_everything_hangs_and_somebody_waits_for_a_probe(tmp_path: Path) -> None:
    async with SmtpScript(dot=hang) as smtp, ImapServer(says={"select": imap_hangs}).running() as imap:
        scripted = Scripted(tmp_path, smtp, imap)
        agent = scripted.agent

        def stopped() -> float:
            with agent.running(ready=False):
                agent.until(lambda: imap.connections and len(smtp.contents) >= 2)
                return agent.stop()

        asked = asyncio.create_task(asyncio.to_thread(lambda: agent.until(lambda: agent.get("/-/healthy")[0] == 200)))
        probing = asyncio.create_task(asyncio.to_thread(_probed, agent, asked))
        assert await asyncio.to_thread(stopped) < LIMIT
        await probing


def _probed(agent: AgentProcess, asked: object) -> None:
    agent.until(lambda: agent.process is not None and agent.get("/-/healthy")[0] == 200)
    agent.get("/probe?route=r")


@pytest.mark.parametrize("after", [0.0, 0.2, 0.5])
async def test_while_the_configuration_is_read_again(tmp_path: Path, after: float) -> None:
    async with SmtpScript() as smtp, ImapServer().running() as imap:
        agent = Scripted(tmp_path, smtp, imap).agent

        def stopped() -> float:
            with agent.running():
                routes = agent.settings["routes"]
                agent.configure(routes=routes | {f"r{number}": routes["r"] for number in range(300)})
                with ThreadPoolExecutor() as asking:
                    asking.submit(agent.reload)
                    assert agent.outlives(after)
                    return agent.stop()

        assert await asyncio.to_thread(stopped) < LIMIT
        assert " ERROR " not in agent.log()


async def test_while_a_retry_waits(tmp_path: Path) -> None:
    async with SmtpScript(rcpt=b"451 4.7.1 later\r\n") as smtp, ImapServer().running() as imap:
        scripted = Scripted(tmp_path, smtp, imap, retry=["3s"])
        agent = scripted.agent

        def stopped() -> float:
            with agent.running():
                agent.until(lambda: len(scripted.attempts()) >= 3)
                return agent.stop()

        assert await asyncio.to_thread(stopped) < LIMIT
        before = Counter(row[0] for row in scripted.attempts())
        connections = smtp.connections
        assert set(before.values()) == {1}
        assert connections == len(before)

        def goes_on() -> None:
            without_new_canaries(agent)
            with agent.running():
                agent.until(
                    lambda: agent.metrics().value("mailprobe_canaries_total", outcome="deferred") == len(before)
                )
                agent.stop()

        await asyncio.to_thread(goes_on)
        assert Counter(row[0] for row in scripted.attempts()) == dict.fromkeys(before, 2)
        assert smtp.connections == 2 * connections
        told = agent.rows("SELECT outcome, stage, reason, code, attempts, retried FROM canary")
        assert set(told) == {("deferred", "rcpt", "deferred", 451, 2, 1)}


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_what_is_in_flight_is_found_after_the_restart(tmp_path: Path, mail_lab: MailLab, loop: str) -> None:
    agent, parts, box = AgentProcess(tmp_path), Parts(tmp_path, mail_lab.ca_file), mail_lab.new_account()
    agent.configure(
        defaults={"interval": "200ms", "deadline": "60s", "timeout": "5s"},
        senders={"out": parts.sender(mail_lab.postfix, mail_lab.dovecot.account("sender"))},
        mailboxes={"box": parts.mailbox(mail_lab.dovecot, box, "hold")},
        routes={"r": {"from": "out", "to": "box"}},
    )
    with agent.running(loop=loop):
        agent.until(lambda: agent.rows("SELECT 1 FROM attempt WHERE outcome = 'accepted' LIMIT 3 OFFSET 2"))
        agent.stop()
    waiting = agent.unjudged()
    assert waiting >= 3
    without_new_canaries(agent)
    with agent.running(loop=loop):
        page = agent.metrics()
        assert page.value("mailprobe_in_flight", route="r") == waiting
        assert page.value("mailprobe_oldest_in_flight_seconds", route="r") > 0.5
        mail_lab.postfix.release()
        agent.until(lambda: agent.metrics().value("mailprobe_canaries_total", outcome="delivered") == waiting)
        page = agent.metrics()
        assert page.value("mailprobe_in_flight") == 0
        assert page.value("mailprobe_transit_upper_bounds_total", route="r") == waiting, "measured by two clocks"
        assert {canary["outcome"] for canary in agent.canaries("r")} == {"delivered"}
        assert agent.stop() < LIMIT
