"""Outages made up for a test, and a lab that plays them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mailprobe.lab.outage import Acknowledged, Effect, Label, Outage, Phase, Through
from mailprobe.lab.pace import PacedClock
from mailprobe.lab.player import OutageBehaviour
from mailprobe.lab.servers import Lab, lab
from mailprobe.model import Attempt, SenderKind, TlsMode
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Endpoint, Family, Login, Mailbox, SecretReference, Sender
from mailprobe.smtp import Message, submit

SENDER, RECIPIENT = "sender@lab.test", "canary@lab.test"
USERS = {SENDER: "pw-sender", RECIPIENT: "pw-canary"}
MESSAGE = Message(SENDER, RECIPIENT, b"Subject: canary\r\n\r\nhello\r\n")


def outage_of(*effects: Effect, seconds: float = 300.0, through: Through = Through.MX) -> Outage:
    """One phase with these effects, and a second one in which all is well again."""
    phases = (
        Phase(Label.FULL, 0.0, seconds, effects),
        Phase(Label.RECOVERED, seconds, seconds + 1800.0),
    )
    return Outage("example", "An example", Acknowledged(None), 1769108400.0, through, phases)


class Scene:
    """A lab that plays an outage, and clients for it."""

    def __init__(self, servers: Lab, behaviour: OutageBehaviour, clock: PacedClock, directory: Path) -> None:
        self.servers = servers
        self.behaviour = behaviour
        self.clock = clock
        self._directory = directory

    async def attempt(self, timeout: float, *, mx: bool = False, implicit: bool = False) -> Attempt:
        """One attempt with log-in and STARTTLS, or to the domain's MX, looked up; `timeout` in real seconds."""
        servers = self.servers
        port = servers.mx_port if mx else servers.submissions_port if implicit else servers.submission_port
        endpoint = Endpoint(
            "" if mx else "mail.lab.test",
            port,
            TlsMode.IMPLICIT if implicit else TlsMode.STARTTLS,
            ca_file=servers.ca_file,
            family=Family.IPV4,
        )
        kind = SenderKind.MX if mx else SenderKind.SUBMISSION
        login = None if mx else self.login(SENDER)
        return await submit(
            Sender("sender", kind, endpoint, SENDER, "probe.test", login=login),
            MESSAGE,
            number=1,
            timeout=timeout,
            clock=self.clock,
            resolver=self.resolver,
            dot_sent=lambda at: None,
        )

    @property
    def resolver(self) -> Resolver:
        """A resolver that asks the lab."""
        return Resolver((("127.0.0.1", self.servers.dns_port),))

    def mailbox(self, timeout: float) -> Mailbox:
        """The recipient's mailbox over implicit TLS."""
        endpoint = Endpoint("127.0.0.1", self.servers.imaps_port, TlsMode.IMPLICIT, ca_file=self.servers.ca_file)
        return Mailbox("canary", RECIPIENT, endpoint, self.login(RECIPIENT), timeout=timeout)

    def login(self, user: str) -> Login:
        file = self._directory / user
        if not file.exists():
            file.write_text(USERS[user])
        return Login(user, SecretReference(file=file))


@asynccontextmanager
async def playing(outage: Outage, directory: Path, *, speed: float, seed: int = 1) -> AsyncIterator[Scene]:
    """The outage, from its minute zero on."""
    clock = PacedClock(speed, zero_wall=outage.zero_wall)
    behaviour = OutageBehaviour(outage, clock, seed)
    async with lab(USERS, behaviour=behaviour, directory=directory, wall=clock.wall) as servers:
        clock.start()
        yield Scene(servers, behaviour, clock, directory)
