"""`mailprobe demo`: the agent on mail servers of its own, in this process; nothing to set up, nothing left behind."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Final

import click
import yaml

from mailprobe.app import Agent
from mailprobe.cli.loops import runner
from mailprobe.cli.run import only_configuration_errors
from mailprobe.config.load import load
from mailprobe.config.types import HostPort
from mailprobe.errors import ConfigurationError
from mailprobe.lab.lively import Lively
from mailprobe.lab.servers import Lab, lab

PORT: Final = 10587
DOMAIN: Final = "lab.test"
SENDERS: Final = ("office", "newsletter", "outside")
MAILBOXES: Final = ("sales", "support", "alerts")
INTERVAL: Final = "5s"
SPEED: Final = 60.0
FASTEST: Final = 600.0
"""Beyond that the page is a blur."""
LISTEN: Final = "MAILPROBE_AGENT__LISTEN"


@click.command()
@click.option("--outage", metavar="ID|FILE", help="Play this outage, of the catalogue of `drill` or from a file.")
@click.option(
    "--speed",
    type=click.FloatRange(1, FASTEST),
    help=f"With --outage: its seconds in one second. Default: {SPEED:g}.",
)
@click.option("--port", type=click.IntRange(0, 65535), help=f"Port of the page. Default: {PORT}, or a free one.")
def demo(outage: str | None, speed: float | None, port: int | None) -> None:
    """Run the agent on mail servers of its own: three senders, three mailboxes, nine routes. No network, no account.

    With --outage on servers that play a real outage, to watch it on the status page. Exit status: 0, or 2 where it
    cannot begin.
    """
    if speed is not None and outage is None:
        raise click.UsageError("--speed is the speed of an outage: name one by --outage")
    try:
        work = _healthy(port) if outage is None else _ill(outage, speed or SPEED, port)
        with runner() as loop:
            try:
                loop.run(work)
            except BaseExceptionGroup as errors:
                raise only_configuration_errors(errors) from None
    except ConfigurationError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(2)


def _ill(outage: str, speed: float, port: int | None) -> Coroutine[object, object, None]:
    from mailprobe.cli.demo_outage import demo_outage
    from mailprobe.lab.outage import find

    return demo_outage(find(outage), speed, where_to_listen(port))


async def _healthy(port: int | None) -> None:
    users = {f"{name}@{DOMAIN}": secrets.token_urlsafe(12) for name in (*SENDERS, *MAILBOXES)}
    with tempfile.TemporaryDirectory(prefix="mailprobe-demo-") as name:
        directory = Path(name)
        async with lab(users, behaviour=Lively(), directory=directory) as servers:
            file = directory / "mailprobe.yaml"
            await asyncio.to_thread(_write, file, settings(servers, where_to_listen(port)), users)
            await Agent(load(file, {}), lambda: load(file, {}), started=_started).run()


def where_to_listen(port: int | None) -> HostPort:
    """Loopback, or what the environment says, as the container image's does, unless a port is asked for.

    Raises ConfigurationError if that is no address.
    """
    said = os.environ.get(LISTEN, "") if port is None else ""
    if not said:
        return HostPort("127.0.0.1", _usual_port() if port is None else port)
    host, _, number = said.rpartition(":")
    if not (number.isascii() and number.isdigit() and int(number) < 65536):
        raise ConfigurationError(f"{LISTEN}: must be an address and a port, such as [::]:{PORT}")
    return HostPort(host.strip("[]"), int(number))


def _usual_port() -> int:
    """The usual port, or 0 for any where somebody has it."""
    try:
        with socket.create_server(("127.0.0.1", PORT)):
            return PORT
    except OSError:
        return 0


def settings(servers: Lab, listen: HostPort) -> dict[str, object]:
    """The demo's configuration, as a user would write it."""
    ca_file = str(servers.ca_file)

    def login(name: str) -> dict[str, str]:
        return {"username": f"{name}@{DOMAIN}", "password_file": f"{name}.password"}

    mailboxes = {
        name: {
            "address": f"{name}@{DOMAIN}",
            "imap": f"127.0.0.1:{servers.imaps_port if name != 'alerts' else servers.imap_port}",
            "tls": "implicit" if name != "alerts" else "starttls",
            "ca_file": ca_file,
            "auth": login(name),
        }
        for name in MAILBOXES
    }
    senders: dict[str, dict[str, object]] = {
        "office": {"submission": f"127.0.0.1:{servers.submission_port}", "tls": "starttls", "auth": login("office")},
        "newsletter": {
            "submission": f"127.0.0.1:{servers.submissions_port}",
            "tls": "implicit",
            "auth": login("newsletter"),
        },
        "outside": {"submission": f"127.0.0.1:{servers.mx_port}", "tls": "starttls"},
    }
    for name, sender in senders.items():
        sender |= {"from": f"{name}@{DOMAIN}", "ca_file": ca_file}
    return {
        "agent": {"name": "demo", "listen": str(listen), "journal": "journal.db"},
        "defaults": {"interval": INTERVAL, "deadline": "30s", "late_until": "10m", "timeout": "10s"},
        "senders": senders,
        "mailboxes": mailboxes,
        "meshes": {"demo": {"senders": list(SENDERS), "mailboxes": list(MAILBOXES)}},
    }


def _write(file: Path, configuration: dict[str, object], users: dict[str, str]) -> None:
    for address, password in users.items():
        file.with_name(f"{address.partition('@')[0]}.password").write_text(password)
    file.write_text(yaml.safe_dump(configuration, sort_keys=False))


def _started(agent: Agent) -> None:
    agent.handle_signals()
    for line in _words(agent):
        click.echo(line)


def _words(agent: Agent) -> Iterator[str]:
    url = agent.web.url
    routes = list(agent.crew.plan.routes)
    yield ""
    yield f"mailprobe demo: {len(SENDERS)} senders, {len(MAILBOXES)} mailboxes, {len(routes)} routes, a canary on each"
    yield f"every {INTERVAL[:-1]} s, through SMTP and IMAP servers in this process."
    yield ""
    yield f"  the status page       {url}"
    yield f"  for Prometheus        {url}metrics"
    yield f"  one canary, now       {url}probe?route={routes[0]}"
    yield f"  the last canaries     {url}api/v1/canaries?limit=5"
    yield ""
    yield "Ctrl-C ends it. Nothing is left behind."
    yield ""
