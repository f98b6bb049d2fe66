"""The agent on real servers with tokens of a real endpoint: shared, renewed, refused, back again, and never shown."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.agents import AgentProcess, Parts
from support.servers_client import oauth_token
from support.servers_dovecot import Account
from support.servers_fixtures import MailLab
from support.smtp_attempts import certificates
from support.token_server import Shape, TokenServer, shape, token_shape

SECRET = "s3cr3t-client~value.QxYz0123456789abcdef"
ANOTHER = "another-s3cr3t~value.0123456789QxYzabcdef"


class World:
    """An agent with a route that needs tokens and one that does not; mailboxes enough to see that they share."""

    def __init__(self, directory: Path, lab: MailLab, server: TokenServer) -> None:
        self.lab = lab
        self.server = server
        self.agent = AgentProcess(directory)
        self.parts = Parts(directory, lab.ca_file)
        self.account, self.other = lab.new_account(), lab.new_account()
        self.secret = directory / "client-secret"
        self.secret.write_text(SECRET + "\n")
        self.tokens: list[str] = []

    def good(self, expires_in: int) -> Shape:
        """An answer with a new token, good for longer than it says."""
        claims = {"jti": f"number-{len(self.tokens)}"}
        self.tokens.append(oauth_token(self.lab.dovecot.oauth_secret, self.account.address, 3600, claims))
        return token_shape(self.tokens[-1], expires_in)

    def configure(self) -> None:
        oauth2 = {"token_url": self.server.url, "client_id": "app", "client_secret_file": str(self.secret)}
        auth = {"username": self.account.address, "oauth2": oauth2 | {"ca_file": str(certificates().ca_file)}}
        postfix, dovecot, parts = self.lab.postfix, self.lab.dovecot, self.parts
        details = [f"d{number}" for number in range(3)]
        boxes = {detail: parts.mailbox(dovecot, self.account, detail, auth=auth) for detail in details}
        self.agent.configure(
            defaults={"interval": "1s", "deadline": "20s", "late_until": "1m", "timeout": "10s"},
            senders={
                "tokens": parts.sender(postfix, self.account, auth=auth),
                "password": parts.sender(postfix, self.other),
            },
            mailboxes=boxes | {"password": parts.mailbox(dovecot, self.other)},
            routes={"plain": {"from": "password", "to": "password"}}
            | {detail: {"from": "tokens", "to": detail} for detail in details},
        )

    def count(self, route: str, outcome: str) -> float:
        return self.agent.metrics().value("mailprobe_canaries_total", route=route, outcome=outcome)

    def wait_more(self, route: str, outcome: str, count: int = 2) -> None:
        wanted = self.count(route, outcome) + count
        self.agent.until(lambda: self.count(route, outcome) > wanted - 1, 60, f"{outcome} of {route}")


def shown(world: World) -> Iterator[tuple[str, str]]:
    """Everything that the agent shows or keeps, by where it was found."""
    agent = world.agent
    paths = ["/", "/metrics", "/api/v1/routes", "/api/v1/incidents", "/probe?route=plain&debug=true"]
    paths += ["/probe?route=d0&debug=true", "/api/v1/canaries?route=d0"]
    for canary in agent.canaries("d0")[:20]:
        paths += [f"/canaries/{canary['canary']}", f"/api/v1/canaries/{canary['canary']}"]
    for path in paths:
        yield path, agent.get(path, timeout=40)[1]
    yield "the log", agent.log()
    for file in agent.directory.glob("journal.db*"):
        yield file.name, file.read_bytes().decode("latin-1")
    for words in (
        ("check", "-c", str(agent.file), "--connect"),
        ("probe", "-c", str(agent.file), "--transcript", "d0"),
    ):
        command = [sys.executable, "-m", "mailprobe", "-v", *words]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        yield words[0], ran.stdout + ran.stderr


def forms(secret: str, account: Account) -> list[str]:
    """What of a secret may be nowhere: itself, and what it looks like when it is sent."""
    xoauth2 = f"user={account.address}\x01auth=Bearer {secret}\x01\x01"
    shifted = [base64.b64encode(b"x" * shift + secret.encode()).decode()[4:-4] for shift in range(3)]
    return [secret, secret.encode().hex(), base64.b64encode(xoauth2.encode()).decode(), *shifted]


def assert_nowhere(world: World) -> None:
    """No sixteen characters of any secret or token, in any form, anywhere."""
    pieces = set()
    for secret in (SECRET, ANOTHER, *world.tokens):
        for form in forms(secret.rpartition(".")[2] if secret.count(".") == 2 else secret, world.account):
            pieces |= {form[at : at + 16] for at in range(len(form) - 15)}
    # what every login with this name has in front
    pieces -= {
        piece
        for piece in pieces
        if piece in base64.b64encode(f"user={world.account.address}\x01auth=Bearer ".encode()).decode()
    }
    for where, text in shown(world):
        assert text, f"nothing at {where}"
        found = next((text[at : at + 16] for at in range(len(text) - 15) if text[at : at + 16] in pieces), None)
        assert found is None, f"{found} in {where}"


@pytest.mark.timeout(300)  # a dozen pages, and two commands more
async def test_a_life_with_tokens(mail_lab: MailLab, tmp_path: Path) -> None:
    async with TokenServer(certificates().good) as server:
        world = World(tmp_path, mail_lab, server)
        server.answers = [world.good(3600)]
        world.configure()
        await asyncio.to_thread(a_life, world)


def a_life(world: World) -> None:
    agent, server = world.agent, world.server
    with agent.running(ready=False):
        agent.wait_ready(60)
        for detail in ("d0", "d1", "d2", "plain"):
            world.wait_more(detail, "delivered", 1)
        assert len(server.asked) == 1, "three mailboxes and a sender share one token"
        page = agent.metrics()
        assert page.nonzero("mailprobe_token_requests_total") == [{"source": "sender/tokens", "result": "ok"}]
        assert page.value("mailprobe_token_expiry_timestamp_seconds", source="sender/tokens") > 1.7e9
        assert agent.reload()[0] == 200
        world.wait_more("d0", "delivered")
        assert len(server.asked) == 1, "a reload keeps it"

        # another secret is another source, and its tokens do not last; then the secret is withdrawn
        server.answers = [world.good(5)]
        other = world.secret.with_name("another-secret")
        other.write_text(ANOTHER)
        world.secret = other
        world.configure()
        assert agent.reload()[0] == 200
        agent.until(lambda: len(server.asked) > 2, 60, "a renewal ahead of the end")
        repeated = {"error": "invalid_client", "error_codes": [1], "error_description": f"AADSTS1: wrong: {ANOTHER}"}
        server.answers = [Shape(json.dumps(repeated), status=401)]
        world.wait_more("d0", "unsent")
        world.wait_more("plain", "delivered")
        page = agent.metrics()
        assert page.value("mailprobe_failures_total", route="d0", stage="auth", reason="auth_rejected") >= 2
        assert page.value("mailprobe_failures_total", route="d0") == page.value(
            "mailprobe_failures_total", route="d0", stage="auth", reason="auth_rejected"
        )
        assert page.value("mailprobe_token_requests_total", result="rejected") >= 1
        for state in ("failing", "degraded"):
            assert page.value("mailprobe_route_state", route="d0", state=state) == 0, "it is not the mail"
        (failed, *_) = [canary for canary in agent.canaries("d0") if canary["outcome"] == "unsent"]
        assert "invalid_client" in agent.get(f"/api/v1/canaries/{failed['canary']}")[1]
        assert_nowhere(world)

        # and given again
        server.answers = [world.good(3600)]
        assert agent.reload()[0] == 200
        world.wait_more("d0", "delivered")
        assert agent.metrics().value("mailprobe_canaries_total", outcome="overdue") == 0
        assert agent.metrics().value("mailprobe_agent_errors_total") == 0
        agent.stop()
    assert "Traceback" not in agent.log()


async def test_a_provider_that_is_down_from_the_start(mail_lab: MailLab, tmp_path: Path) -> None:
    async with TokenServer(certificates().good, shape("login-page")) as server:
        world = World(tmp_path, mail_lab, server)
        world.configure()
        await asyncio.to_thread(without_tokens, world)


def without_tokens(world: World) -> None:
    """Nobody can look into the mailboxes that need tokens: what is sent there is not overdue, and others go on."""
    agent = world.agent
    with agent.running(ready=False):
        agent.wait_ready(60)
        world.wait_more("plain", "delivered")
        world.wait_more("d0", "unsent", 1)
        page = agent.metrics()
        assert page.value("mailprobe_mailbox_up", mailbox="d0") == 0
        assert page.value("mailprobe_mailbox_reconnects_total", mailbox="d0", reason="auth_unavailable") >= 1
        assert page.value("mailprobe_canaries_total", outcome="overdue") == 0
        assert page.value("mailprobe_token_requests_total", result="unavailable") >= 1
        assert page.value("mailprobe_route_state", route="d0", state="unknown") == 1
        assert page.value("mailprobe_incident_open", route="d0") == 0
        agent.stop()
