"""An mx sender from configuration to verdict: the agent's metrics, the one-shot's document, on real servers and DNS."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_pem_x509_certificate
from support.agents import AgentProcess, Parts
from support.policy_server import PolicyServer, context_of
from support.result_shape import check_results
from support.servers import HOST, missing
from support.servers_dns import Dns
from support.servers_dovecot import Account
from support.servers_fixtures import MailLab

Serve = Callable[..., Dns]


class Outside:
    """An agent whose one sender goes straight to the MX, which has a dead one before the one that lives."""

    def __init__(self, directory: Path, lab: MailLab, serve_dns: Serve) -> None:
        self.lab = lab
        self.account: Account = lab.new_account()
        self.agent = AgentProcess(directory)
        self.parts = Parts(directory, lab.ca_file)
        port = lab.postfix.mx_port
        certificate = load_pem_x509_certificate((lab.ca_file.parent / "server.pem").read_bytes())
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.tlsa = f"3 1 1 {hashlib.sha256(key).hexdigest()}"
        zone = (
            "@ MX 10 dead\n@ MX 20 mail\ndead A 127.0.0.9\nmail A 127.0.0.1\nmta-sts A 127.0.0.1\n"
            f'_{port}._tcp.mail TLSA {self.tlsa}\n_mta-sts TXT "v=STSv1; id=7;"\n'
        )
        bogus = {"bogus.test": "@ MX 10 mail\nmail A 127.0.0.1\n"}
        self.dns = serve_dns({"lab.test": zone, **bogus}, signed={"lab.test"}, bogus={"bogus.test"})

    def configure(self, *, address: str | None = None, **sender: Any) -> None:
        standard = {
            "mx": True,
            "port": self.lab.postfix.mx_port,
            "from": "probe@outside.test",
            "ehlo": "probe.outside.test",
            "resolver": [f"{HOST}:{self.dns.port}"],
            "limits": {"connections": 5},
        }
        box = self.parts.mailbox(self.lab.dovecot, self.account)
        self.agent.configure(
            defaults={"interval": "500ms", "deadline": "20s", "late_until": "1m", "timeout": "3s"},
            senders={"out": standard | sender},
            mailboxes={"box": box | ({"address": address} if address else {})},
            routes={"r": {"from": "out", "to": "box", "retry": []}},
        )


@pytest.fixture
def outside(tmp_path: Path, mail_lab: MailLab, serve_dns: Serve) -> Outside:
    return Outside(tmp_path, mail_lab, serve_dns)


def test_try_all_goes_on_and_every_attempt_is_told(outside: Outside) -> None:
    outside.configure(try_all=True, dane="report", ca_file=str(outside.lab.ca_file), mta_sts="report")
    agent = outside.agent
    with agent.running():
        agent.until(lambda: agent.metrics().value("mailprobe_canaries_total", route="r", outcome="delivered") >= 2)
        agent.until(lambda: agent.metrics().has("mailprobe_dane_pass", route="r"), what="what DANE says")
        page, canary = agent.metrics(), agent.canaries("r")[-1]
        assert agent.stop() < 5
    refused = {"route": "r", "stage": "connect", "reason": "connection_refused"}
    assert page.value("mailprobe_failures_total", **refused) >= 2
    assert page.value("mailprobe_attempts_total") >= 4
    assert page.value("mailprobe_agent_errors_total") == 0
    assert page.nonzero("mailprobe_dane_policy") == [{"route": "r", "status": "usable"}]
    assert page.value("mailprobe_port25_blocked") == 0
    first, second = canary["attempts"]
    assert [one["peer"]["host"] for one in (first, second)] == ["dead.lab.test", "mail.lab.test"]
    assert [one["outcome"] for one in (first, second)] == ["unsent", "accepted"]
    assert second["dns"] == {
        "mx": [{"host": "dead.lab.test", "preference": 10}, {"host": "mail.lab.test", "preference": 20}],
        "implicit_mx": False,
        "mx_ttl": pytest.approx(150, abs=150),
        "addresses": ["127.0.0.1"],
        "address_ttl": pytest.approx(150, abs=150),
    }
    assert second["tls"]["verified"] is False
    assert "Traceback" not in agent.log()


def test_without_try_all_the_dead_one_is_all_there_is(outside: Outside) -> None:
    outside.configure()
    agent = outside.agent
    with agent.running():
        agent.until(lambda: agent.metrics().value("mailprobe_canaries_total", route="r", outcome="unsent") >= 2)
        page = agent.metrics()
    assert page.nonzero("mailprobe_canaries_total") == [{"route": "r", "outcome": "unsent"}]
    assert not page.has("mailprobe_dane_policy")
    assert not page.has("mailprobe_mta_sts_policy")


def test_a_broken_zone_is_said_as_such(outside: Outside) -> None:
    outside.configure(address="probe@bogus.test")
    agent = outside.agent
    with agent.running():
        agent.until(lambda: agent.metrics().value("mailprobe_canaries_total", route="r", outcome="unsent") >= 2)
        page = agent.metrics()
    failures = page.nonzero("mailprobe_failures_total")
    assert failures == [{"route": "r", "stage": "resolve", "reason": "dns_servfail"}]


@contextlib.contextmanager
def silence_at_port_25(*addresses: str) -> Iterator[None]:
    """Connections to port 25 of these addresses are neither taken nor refused: there is no room in the queue."""
    with contextlib.ExitStack() as stack:
        for address in addresses:
            deaf = stack.enter_context(socket.socket())
            try:
                deaf.bind((address, 25))
            except OSError as error:
                missing("port 25 of loopback", f"cannot be bound: {error}")
            deaf.listen(0)
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex((address, 25))
        yield


def test_a_network_that_lets_nobody_out_to_port_25_is_named(
    tmp_path: Path, mail_lab: MailLab, serve_dns: Serve
) -> None:
    addresses = {"one": "127.25.0.1", "two": "127.25.0.2"}
    zones = {f"{name}.test": f"@ MX 10 mx\nmx A {address}\n" for name, address in addresses.items()}
    dns, account, agent = serve_dns(zones), mail_lab.new_account(), AgentProcess(tmp_path)
    box = Parts(tmp_path, mail_lab.ca_file).mailbox(mail_lab.dovecot, account)
    agent.configure(
        defaults={"interval": "500ms", "deadline": "5s", "late_until": "1m", "timeout": "300ms"},
        senders={"out": {"mx": True, "from": "a@outside.test", "resolver": [f"{HOST}:{dns.port}"]}},
        mailboxes={name: box | {"address": f"probe@{name}.test"} for name in addresses},
        routes={name: {"from": "out", "to": name, "retry": []} for name in addresses},
    )
    with agent.running():
        with silence_at_port_25(*addresses.values()):
            agent.until(lambda: agent.metrics().value("mailprobe_port25_blocked") == 1, what="the suspicion")
            assert "seems to block it" in agent.get("/")[1]
            canary = agent.canaries("one")[0]
        agent.until(lambda: agent.metrics().value("mailprobe_port25_blocked") == 0, what="an answer")
    assert (canary["stage"], canary["reason"]) == ("connect", "timeout")
    assert "may block port 25" in canary["detail"]
    assert "port 25 blocked detail=" in agent.log()
    assert "port 25 open" in agent.log()


PATCHED = (
    "import sys; from mailprobe.net import mta_sts; mta_sts.HTTPS_PORT = int(sys.argv.pop(1)); "
    "from mailprobe.cli import main; main()"
)


async def test_the_document_of_a_one_shot_has_what_both_policies_say(outside: Outside) -> None:
    await asyncio.to_thread(
        outside.configure, try_all=True, dane="report", mta_sts="report", ca_file=str(outside.lab.ca_file)
    )
    files = [str(outside.lab.ca_file.parent / f"policy.{kind}") for kind in ("pem", "key")]
    context: ssl.SSLContext = await asyncio.to_thread(context_of, *files)
    async with PolicyServer(context) as web:
        command = [sys.executable, "-c", PATCHED, str(web.port), "probe", "-c", str(outside.agent.file)]
        ran = await asyncio.to_thread(
            subprocess.run,
            [*command, "--format", "json", "--timeout", "20s"],
            capture_output=True,
            text=True,
            timeout=50,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        )
    assert ran.returncode == 1, f"delivered after another attempt: {ran.stdout}{ran.stderr}"
    document = json.loads(ran.stdout)
    check_results(document)
    (result,) = document["results"]
    first, second = result["attempts"]
    assert (first["mta_sts"]["mode"], first["mta_sts"]["passed"]) == ("enforce", False)
    assert first["mta_sts"]["detail"] == "dead.lab.test is not among the policy's mx"
    assert second["mta_sts"] == {
        "mode": "enforce",
        "id": "7",
        "mx": ["mail.lab.test", "*.mx.lab.test"],
        "max_age": 86400,
        "passed": True,
        "detail": None,
    }
    assert second["dane"] == {"status": "usable", "records": [outside.tlsa], "passed": True, "detail": None}
    assert web.asked == ["mta-sts.lab.test/.well-known/mta-sts.txt"]
