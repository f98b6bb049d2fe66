"""Fixtures of the real servers; registered by tests/conftest.py. One instance of each per test process.

Each server is started when the first test asks for it. Tests share it: give each test an account of its own
(`dovecot.new_account()`) or a detail of its own (`account.with_detail("t17")`), and never wait for an empty queue. A
test that kills or restarts a server does so in a fixture of its own (`fresh_dovecot`), not in the shared one.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from support.servers import PortTaken, workspace
from support.servers_certificates import write_certificates
from support.servers_dns import Dns, running_dns
from support.servers_dovecot import Account, Dovecot, running_dovecot
from support.servers_others import Chasquid, Cyrus, Exim, running
from support.servers_postfix import Postfix, running_postfix
from support.servers_prometheus import HttpServer, Prometheus, running_alertmanager, running_prometheus

Server = TypeVar("Server")


@dataclass(frozen=True, slots=True)
class MailLab:
    """Postfix delivering into Dovecot."""

    postfix: Postfix
    dovecot: Dovecot

    @property
    def ca_file(self) -> Path:
        """What a client has to trust."""
        return self.dovecot.ca_file

    def new_account(self) -> Account:
        """A user with an empty mailbox who may also submit."""
        return self.dovecot.new_account()


@contextlib.contextmanager
def started(directory: Path, name: str, start: Callable[[Path], AbstractContextManager[Server]]) -> Iterator[Server]:
    """The server, on other ports if somebody was quicker."""
    with contextlib.ExitStack() as stack:
        for attempt in range(5):
            try:
                server = stack.enter_context(start(directory / f"{name}{attempt or ''}"))
                break
            except PortTaken:
                continue
        else:
            raise PortTaken(f"{name}: five times in a row")
        yield server


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Path]:
    """Where this process' servers live; `certificates/` is in it."""
    with workspace() as directory:
        write_certificates(directory / "certificates")
        yield directory


@pytest.fixture(scope="session")
def dovecot(server_directory: Path) -> Iterator[Dovecot]:
    """The shared Dovecot."""
    certificates = server_directory / "certificates"
    with started(server_directory, "dovecot", lambda place: running_dovecot(place, certificates)) as server:
        yield server


@pytest.fixture(scope="session")
def postfix(server_directory: Path, dovecot: Dovecot) -> Iterator[Postfix]:
    """The shared Postfix."""
    with started(server_directory, "postfix", lambda place: running_postfix(place, dovecot)) as server:
        yield server


@pytest.fixture(scope="session")
def mail_lab(postfix: Postfix, dovecot: Dovecot) -> MailLab:
    """The shared Postfix and Dovecot together."""
    return MailLab(postfix, dovecot)


@pytest.fixture
def fresh_dovecot() -> Iterator[Dovecot]:
    """A Dovecot for one test, which may kill and restart it."""
    with workspace() as directory:
        write_certificates(certificates := directory / "certificates")
        with started(directory, "dovecot", lambda place: running_dovecot(place, certificates)) as server:
            yield server


@pytest.fixture
def fresh_lab(fresh_dovecot: Dovecot) -> Iterator[MailLab]:
    """A Postfix and a Dovecot for one test, which may kill and restart them."""
    directory = fresh_dovecot.directory.parent
    with started(directory, "postfix", lambda place: running_postfix(place, fresh_dovecot)) as server:
        yield MailLab(server, fresh_dovecot)


@pytest.fixture(scope="session")
def exim(server_directory: Path, dovecot: Dovecot) -> Iterator[Exim]:
    """Exim, delivering into the shared Dovecot."""
    with started(server_directory, "exim", lambda place: running(Exim(place, dovecot))) as server:
        yield server


@pytest.fixture(scope="session")
def chasquid(server_directory: Path, dovecot: Dovecot) -> Iterator[Chasquid]:
    """chasquid, delivering into the shared Dovecot."""
    with started(server_directory, "chasquid", lambda place: running(Chasquid(place, dovecot))) as server:
        yield server


@pytest.fixture(scope="session")
def cyrus(server_directory: Path) -> Iterator[Cyrus]:
    """Cyrus IMAP."""
    ca_file = server_directory / "certificates" / "ca.pem"
    with started(server_directory, "cyrus", lambda place: running(Cyrus(place, ca_file))) as server:
        yield server


@pytest.fixture
def serve_dns(server_directory: Path) -> Iterator[Callable[..., Dns]]:
    """Starts an unbound with the zones of one test: `serve_dns({"lab.test": "@ MX 10 mail"}, signed={"lab.test"})`."""
    with contextlib.ExitStack() as stack:

        def serve(zones: Mapping[str, str], **which: Collection[str]) -> Dns:
            name = f"unbound-{secrets.token_hex(4)}"
            return stack.enter_context(
                started(server_directory, name, lambda place: running_dns(place, zones, **which))
            )

        yield serve


@pytest.fixture
def run_prometheus() -> Iterator[Callable[..., Prometheus]]:
    """Starts a Prometheus for one test: `run_prometheus(rules=[file], targets={"mailprobe": ["127.0.0.1:10587"]})`."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace())

        def start(**which: Any) -> Prometheus:
            name = f"prometheus-{secrets.token_hex(4)}"
            return stack.enter_context(started(directory, name, lambda place: running_prometheus(place, **which)))

        yield start


@pytest.fixture
def run_alertmanager() -> Iterator[Callable[[Path], HttpServer]]:
    """Starts an Alertmanager for one test, with the configuration in a file."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(workspace())

        def start(config: Path) -> HttpServer:
            name = f"alertmanager-{secrets.token_hex(4)}"
            return stack.enter_context(started(directory, name, lambda place: running_alertmanager(place, config)))

        yield start
