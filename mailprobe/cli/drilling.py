"""The scene of a drill: mail servers that play an outage, and the agent's own actors on them, on the outage's clock."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import socket
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mailprobe.cli.drill_findings import Knowledge
from mailprobe.events import Bus
from mailprobe.lab.behaviour import Context
from mailprobe.lab.outage import MINUTE, At, Do, Outage, Through
from mailprobe.lab.pace import PacedClock
from mailprobe.lab.player import OutageBehaviour, Truth
from mailprobe.lab.servers import Lab, lab
from mailprobe.lab.smtp import HOST_NAME
from mailprobe.message import Key
from mailprobe.model import SenderKind, TlsMode
from mailprobe.observe.states import States
from mailprobe.plan import Endpoint, Family, Limits, Login, Mailbox, Plan, Route, SecretReference, Sender
from mailprobe.probe.crew import Crew
from mailprobe.probe.supervisor import Supervisor

AGENT: Final = "drill"
DOMAIN: Final = "lab.test"
INTERVAL: Final = 60.0
ROUTES: Final = 3
"""Routes that the outage may strike: as those who run mail have more than one."""
DEADLINE: Final = 300.0
LATE_UNTIL: Final = 7200.0
LEAD_IN: Final = 20 * MINUTE
"""A healthy while before the impact: without it nobody knows what is usual."""
TIMEOUT: Final = 30.0
SHORTEST_TIMEOUT: Final = 0.25
"""Seconds of this machine: less, and a busy one is taken for a dead server."""
RETRY: Final = (60.0, 120.0, 300.0, 600.0)
QUIET: Final = sum(RETRY[:2]) + 5.0
"""Seconds before the clock jumps in which nothing is sent: an attempt that falls due in between is made too late."""
USUAL_DELAY: Final = 4.0
"""Seconds that mail takes in good times, give or take half; what this machine adds should be little beside it."""
TICK: Final = 2.0
"""Seconds of the outage between two looks at states that change by nothing happening."""
_OTHER_SOURCE: Final = "127.0.0.2"
_UNTOUCHED: Final = "untouched"


@dataclass(frozen=True, slots=True)
class Settings:
    """How an outage is played."""

    speed: float
    seed: int = 1
    interval: float = INTERVAL
    lead_in: float = LEAD_IN
    routes: int = ROUTES

    @property
    def timeout(self) -> float:
        """The network's time-outs, in this machine's seconds, which is what the adapters measure them in."""
        return max(TIMEOUT / self.speed, SHORTEST_TIMEOUT)


Watch = Callable[[Knowledge, PacedClock, Truth], "contextlib.AbstractAsyncContextManager[None]"]


@contextlib.asynccontextmanager
async def nobody_watching(knowledge: Knowledge, clock: PacedClock, truth: Truth) -> AsyncIterator[None]:
    """Plays to an empty house."""
    yield


async def drill(outage: Outage, settings: Settings, watch: Watch = nobody_watching) -> tuple[Knowledge, Truth]:
    """Plays an outage from its lead-in to its end; what the agent knew, and what happened. `watch` runs meanwhile."""
    async with set_scene(outage, settings) as scene:
        states = States()
        knowledge = Knowledge()
        bus = Bus()
        bus.subscribe(states)
        bus.subscribe(knowledge)
        async with watch(knowledge, scene.clock, scene.truth):
            await _play(scene, bus, states)
    return knowledge, scene.truth


@dataclass(frozen=True, slots=True)
class Scene:
    """Servers that play an outage, and what an agent is to do on them."""

    outage: Outage
    clock: PacedClock
    truth: Truth
    plan: Plan
    directory: Path

    async def send(self, crew: Crew, route: Route, until: float = math.inf) -> None:
        """A canary in each interval that is played, except just before the clock jumps.

        The agent's own scheduler would have to give account of every slot that is passed over.
        """
        names = list(self.plan.routes)
        share = (names.index(route.name) + 1) / (len(names) + 1)
        for slot in _slots(self.clock.now(), until, route.interval, share):
            if not any(skip.begin - QUIET <= slot < skip.end for skip in self.outage.skips):
                await self.clock.sleep_until(slot)
                crew.send_now(route)


@contextlib.asynccontextmanager
async def set_scene(outage: Outage, settings: Settings) -> AsyncIterator[Scene]:
    """The scene of an outage, whose clock runs from now on; nothing is left of it after the block."""
    clock = PacedClock(settings.speed, begin=-settings.lead_in, zero_wall=outage.zero_wall, skips=outage.skips)
    cast = Cast.of(outage, settings.routes)
    behaviour = OutageBehaviour(outage, clock, settings.seed, tagged=cast.tagged, usual_delay=USUAL_DELAY)
    with tempfile.TemporaryDirectory(prefix="mailprobe-drill-") as name:
        directory = Path(name)
        users = await asyncio.to_thread(_passwords, cast, directory)
        async with lab(users, behaviour=behaviour, directory=directory, wall=clock.wall) as servers:
            plan = cast.plan(servers, directory, settings)
            clock.start()
            yield Scene(outage, clock, behaviour.truth, plan, directory)


async def _play(scene: Scene, bus: Bus, states: States) -> None:
    clock, plan = scene.clock, scene.plan
    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, clock, bus.publish)
        crew = Crew(supervisor, clock, bus.publish, key=Key.generate(), agent=AGENT, scheduled=False)
        try:
            await crew.begin(plan)
            await crew.watching(plan.mailboxes)
            looking = group.create_task(_tick(states, clock, bus))
            for route in plan.routes.values():
                group.create_task(scene.send(crew, route, scene.outage.end))
            await clock.sleep_until(scene.outage.end + DEADLINE)
            await crew.stop()
            looking.cancel()
        finally:
            supervisor.cancel_all()


def _slots(begin: float, end: float, interval: float, share: float) -> Iterator[float]:
    number = int(begin // interval) + 1
    while (slot := (number + share) * interval) < end:
        yield slot
        number += 1


async def _tick(states: States, clock: PacedClock, bus: Bus) -> None:
    while True:
        await clock.sleep_until(clock.now() + TICK)
        for event in states.tick(clock.now()):
            bus.publish(event)


@dataclass(frozen=True, slots=True)
class Cast:
    """Who takes part: routes of one sender, and one more where the outage strikes only some traffic, untouched."""

    outage: Outage
    tag: str | None
    other_source: str | None
    routes: int = ROUTES

    @classmethod
    def of(cls, outage: Outage, routes: int = ROUTES) -> Cast:
        """The cast that shows what the outage has to show, on so many routes that it may strike."""
        tags = sorted({effect.only for phase in outage.phases for effect in phase.effects if effect.only})
        source = _OTHER_SOURCE if tags and _may_bind(_OTHER_SOURCE) else None
        return cls(outage, tags[0] if tags else None, source, routes)

    @property
    def senders(self) -> dict[str, tuple[str, ...]]:
        """The senders by name, and the routes of each."""
        struck = "inbound" if self.outage.through is Through.MX else "outbound"
        names = tuple(f"{struck}-{number}" for number in range(1, self.routes + 1)) if self.routes > 1 else (struck,)
        return {struck: names} | ({_UNTOUCHED: (_UNTOUCHED,)} if self.tag else {})

    @property
    def names(self) -> tuple[str, ...]:
        """The routes, one for each name."""
        return tuple(name for names in self.senders.values() for name in names)

    @property
    def users(self) -> tuple[str, ...]:
        """The accounts of all."""
        parts = (*(f"sender-{name}" for name in self.senders), *(f"canary-{name}" for name in self.names))
        return tuple(f"{part}@{DOMAIN}" for part in parts)

    def tagged(self, context: Context, tag: str) -> bool:
        """Whether traffic carries the tag: all but that of the route `untouched`."""
        if context.peer == self.other_source:
            return False
        known = (context.sender, context.recipient, context.user)
        return not any(who and who.partition("@")[0].endswith(f"-{_UNTOUCHED}") for who in known)

    def plan(self, servers: Lab, directory: Path, settings: Settings) -> Plan:
        """What the agent is to do."""
        senders = {name: self._sender(name, servers, directory) for name in self.senders}
        mailboxes = {name: _mailbox(f"canary-{name}", name, servers, directory, settings) for name in self.names}
        bounces = {
            sender.bounces_to: _mailbox(f"sender-{name}", sender.bounces_to, servers, directory, settings)
            for name, sender in senders.items()
            if sender.bounces_to
        }
        routes = {
            name: _route(name, senders[sender], mailboxes[name], settings)
            for sender, names in self.senders.items()
            for name in names
        }
        return Plan(routes, senders, {**mailboxes, **bounces})

    def _sender(self, name: str, servers: Lab, directory: Path) -> Sender:
        address = f"sender-{name}@{DOMAIN}"
        mx = self.outage.through is Through.MX
        # whoever does not verify a certificate does not notice that it has expired
        verifies = not mx or self._plays(At.STARTTLS, Do.CERT)
        endpoint = Endpoint(
            host="" if mx else "127.0.0.1",
            port=servers.mx_port if mx else servers.submission_port,
            tls=TlsMode.STARTTLS if verifies else TlsMode.OPPORTUNISTIC,
            verify=verifies,
            ca_file=servers.ca_file,
            server_name=HOST_NAME,
            source_address=self.other_source if name == _UNTOUCHED else None,
            family=Family.IPV4,
        )
        return Sender(
            name=name,
            kind=SenderKind.MX if mx else SenderKind.SUBMISSION,
            endpoint=endpoint,
            from_address=address,
            ehlo="drill.lab.test",
            login=None if mx else _login(f"sender-{name}", directory),
            limits=Limits(connections=20),
            bounces_to=f"{name}-bounces" if self._plays(At.QUEUE, Do.BOUNCE) else None,
            resolver=(("127.0.0.1", servers.dns_port),),
        )

    def _plays(self, at: At, do: Do) -> bool:
        return any((effect.at, effect.do) == (at, do) for phase in self.outage.phases for effect in phase.effects)


def _route(name: str, sender: Sender, mailbox: Mailbox, settings: Settings) -> Route:
    return Route(
        name=name,
        sender=sender,
        mailbox=mailbox,
        interval=settings.interval,
        deadline=DEADLINE,
        late_until=LATE_UNTIL,
        timeout=settings.timeout,
        retry=RETRY if sender.kind is SenderKind.MX else (),
    )


def _mailbox(user: str, name: str, servers: Lab, directory: Path, settings: Settings) -> Mailbox:
    return Mailbox(
        name=name,
        address=f"{user}@{DOMAIN}",
        endpoint=Endpoint("127.0.0.1", servers.imaps_port, TlsMode.IMPLICIT, ca_file=servers.ca_file),
        login=_login(user, directory),
        timeout=settings.timeout,
    )


def _login(user: str, directory: Path) -> Login:
    return Login(f"{user}@{DOMAIN}", SecretReference(file=directory / f"{user}.password"))


def _passwords(cast: Cast, directory: Path) -> dict[str, str]:
    """A password for each account, written down where the agent reads it."""
    users = {user: secrets.token_urlsafe(12) for user in cast.users}
    for user, password in users.items():
        (directory / f"{user.partition('@')[0]}.password").write_text(password)
    return users


def _may_bind(address: str) -> bool:
    """Whether this machine has a second address of loopback, as Linux does and macOS does not."""
    with socket.socket() as sock:
        try:
            sock.bind((address, 0))
        except OSError:
            return False
    return True
