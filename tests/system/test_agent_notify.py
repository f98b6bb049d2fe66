"""The agent as a service: what it tells its manager, on a real socket, and what a SIGTERM does at every moment."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.agents import AgentProcess
from support.servers import HOST, free_ports

from mailprobe.cli import main


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "600000")
        yield listening


@pytest.fixture
def agent(tmp_path: Path) -> AgentProcess:
    """One whose servers are not there: it probes, and knows that its mailbox is down."""
    smtp, imap = free_ports(2)
    (tmp_path / "password").write_text("hunter2")
    login = {"username": "user", "password_file": str(tmp_path / "password")}
    agent = AgentProcess(tmp_path)
    agent.configure(
        senders={"out": {"submission": f"{HOST}:{smtp}", "tls": "plaintext", "from": "a@lab.test"}},
        mailboxes={"box": {"imap": f"{HOST}:{imap}", "tls": "plaintext", "address": "b@lab.test", "auth": login}},
        routes={"r": {"from": "out", "to": "box"}},
    )
    return agent


def heard(manager: socket.socket, wanted: str) -> str:
    """The next message that begins so; those before it are watchdog messages."""
    while not (said := manager.recv(4096).decode()).startswith(wanted):
        assert said == "WATCHDOG=1"
    return said


def test_a_life_as_its_manager_hears_it(agent: AgentProcess, manager: socket.socket) -> None:
    with agent.running(ready=False):
        assert f"STATUS=probing 1 routes, serving on http://{HOST}:{agent.port}/" in heard(manager, "READY=1")
        heard(manager, "WATCHDOG=1")
        heard(manager, "WATCHDOG=1")
        agent.signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in heard(manager, "RELOADING=1")
        assert "NOT reloaded" not in heard(manager, "READY=1")
        agent.write("routes: {}")
        agent.signal(signal.SIGHUP)
        heard(manager, "RELOADING=1")
        assert "NOT reloaded" in heard(manager, "READY=1")
        agent.signal(signal.SIGTERM)
        heard(manager, "STOPPING=1")
        assert agent.ended() == 0


def test_healthcheck_of_a_running_agent(agent: AgentProcess) -> None:
    listen = {"MAILPROBE_AGENT__LISTEN": f"{HOST}:{agent.port}"}
    with agent.running():
        result = CliRunner().invoke(main, ["healthcheck"], env=listen)
        assert (result.exit_code, result.output) == (0, "answered 200\n")
    result = CliRunner().invoke(main, ["healthcheck"], env=listen)
    assert (result.exit_code, result.output) == (1, "no answer: [Errno 111] Connection refused\n")


WAITS = """
import signal, sys, time
signal.signal(signal.SIGINT, getattr(signal, sys.argv[1]))
from mailprobe import __main__, cli
def waiting(**_):
    print("waiting", flush=True)
    time.sleep(60)
cli.main = waiting
__main__.main()
"""


@pytest.mark.parametrize("interrupt", ["default_int_handler", "SIG_IGN"])
def test_sigterm_before_there_is_an_agent(interrupt: str) -> None:
    """Also in the background of a shell, where an interrupt is ignored."""
    command = [sys.executable, "-c", WAITS, interrupt]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"waiting\n"
        process.terminate()
        assert process.wait(30) == 3
        assert process.stderr.read() == b""
