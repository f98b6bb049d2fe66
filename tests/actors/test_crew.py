"""Everybody who works for one agent, over restarts and reloads: nothing goes astray, is half done, or let loose."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from support.acting import AGENT, KEY, LOGIN, MAILBOX, ROUTE, SENDER, Bench, Mailboxes, Service
from support.clocks import settle
from support.loops import both_loops

from mailprobe.errors import Reason, Stage
from mailprobe.imap import Session
from mailprobe.model import AttemptOutcome, Canary, Outcome, RestoredAttempt, RestoredCanary
from mailprobe.plan import Limits, Mailbox, Plan, Route
from mailprobe.probe import crew as crew_module
from mailprobe.probe.crew import Crew
from mailprobe.probe.supervisor import Supervisor

pytestmark = both_loops

A, B = replace(MAILBOX, name="a", address="a@y.test"), replace(MAILBOX, name="b", address="b@y.test")


def plan_of(*routes: Route) -> Plan:
    return Plan(
        {route.name: route for route in routes},
        {route.sender.name: route.sender for route in routes},
        {route.mailbox.name: route.mailbox for route in routes},
    )


class World(Bench):
    """A mail service, mailboxes that can be slow to let in, and a crew between them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.service = Service(self.clock, seconds=25.0)
        self.recipients: list[str] = []
        self.hangs = False
        monkeypatch.setattr(crew_module, "submit", self.submit)
        monkeypatch.setattr(Session, "open", self.open)

    async def submit(self, sender: Any, message: Any, *, clock: Any, resolver: Any, token_of: Any, **how: Any) -> Any:
        self.recipients.append(message.recipient)
        return await self.service(sender, message, **how)

    async def open(self, mailbox: Mailbox, **how: Any) -> Any:
        if self.hangs:
            await self.clock.sleep_until(self.clock.now() + 1000)
        return await Mailboxes(self.clock).open(mailbox)

    def crew(self, group: asyncio.TaskGroup, scheduled: bool = False) -> Crew:
        self.supervisor = Supervisor(group, self.clock, self.events.append)
        return Crew(self.supervisor, self.clock, self.events.append, key=KEY, agent=AGENT, scheduled=scheduled)


@pytest.mark.parametrize("mailbox", [A, B])
async def test_a_retry_goes_on_only_to_the_mailbox_that_is_searched(
    monkeypatch: pytest.MonkeyPatch, mailbox: Mailbox
) -> None:
    world = World(monkeypatch)
    now = world.clock.now()
    canary = Canary("abcdefghijklmnop", "r", SENDER.name, "a", now - 30, now + 270, now + 3600)
    said = (None, now + 30, Stage.RCPT, Reason.DEFERRED, "451")
    earlier = RestoredCanary(canary, (RestoredAttempt(1, now - 30, AttemptOutcome.DEFERRED, *said),))
    async with asyncio.TaskGroup() as group:
        crew = world.crew(group)
        routes = replace(ROUTE, name="r", mailbox=mailbox), replace(ROUTE, name="other", mailbox=A)
        await crew.begin(plan_of(*routes), [earlier])
        await world.clock.advance(2000)
        world.supervisor.cancel_all()
    assert world.recipients == ([A.address] if mailbox is A else [])
    if mailbox is B:
        assert world.outcomes == [Outcome.DEFERRED]


async def test_a_mailbox_is_put_back_while_its_farewell_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.hangs = True
    first, second, third = (replace(ROUTE, name=name, mailbox=box) for name, box in (("r", A), ("s", B), ("t", B)))
    async with asyncio.TaskGroup() as group:
        crew = world.crew(group, scheduled=True)
        await crew.begin(plan_of(first, second))
        await world.clock.advance(0.1)
        await crew.apply(plan_of(second))
        await settle()
        await crew.apply(plan_of(first, second, third))
        names = {"scheduler:r", "scheduler:s", "scheduler:t", "watcher:a", "watcher:b"}
        assert names <= world.supervisor.names
        world.supervisor.cancel_all()


async def test_the_next_reload_mends_one_that_failed_halfway(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    first, second = replace(ROUTE, name="r", mailbox=A), replace(ROUTE, name="s", mailbox=B)

    async def fails(*_: object) -> None:
        raise RuntimeError

    async with asyncio.TaskGroup() as group:
        crew = world.crew(group, scheduled=True)
        await crew.begin(plan_of(first))
        with monkeypatch.context() as broken:
            broken.setattr(crew, "_replace_watchers", fails)
            with pytest.raises(RuntimeError):
                await crew.apply(plan_of(second))
        await crew.apply(plan_of(second))
        await settle()
        assert "scheduler:s" in world.supervisor.names
        assert "scheduler:r" not in world.supervisor.names
        assert any(name.startswith("farewell:a") for name in world.supervisor.names)
        world.supervisor.cancel_all()


async def test_a_reload_lifts_no_limit_of_a_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    sender = replace(SENDER, limits=Limits(2, 4))
    route = replace(ROUTE, sender=sender)
    async with asyncio.TaskGroup() as group:
        crew = world.crew(group)
        await crew.begin(plan_of(route))
        for number in range(3):
            crew.send_now(route)
            crew.send_now(route)
            await world.clock.advance(2)
            route = replace(route, sender=replace(sender, login=replace(LOGIN, username=f"c{number}")))
            await crew.apply(plan_of(route))
        assert world.service.most == 2
        await world.clock.advance(50)
        assert len(world.service.begun) == 4
        world.supervisor.cancel_all()
