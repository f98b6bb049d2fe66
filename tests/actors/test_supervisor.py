"""Tasks that fail by a bug of ours are counted, said with their traceback, and begun again; the others go on."""

from __future__ import annotations

import asyncio
import itertools

from support.clocks import VirtualClock, settle

from mailprobe.events import TaskFailed
from mailprobe.probe.supervisor import Supervisor


async def test_a_failing_task_is_begun_again_with_growing_pauses(caplog):
    clock = VirtualClock()
    events = []
    begun: list[float] = []

    async def work():
        begun.append(clock.now())
        raise ZeroDivisionError("a bug")

    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, clock, events.append)
        supervisor.start("watcher:contoso", work)
        await clock.advance(300)
        supervisor.cancel_all()
    pauses = [after - before for before, after in itertools.pairwise(begun)]
    assert all(0.5 * 2**n <= pause <= 2**n for n, pause in enumerate(pauses[:6]))
    assert all(30 <= pause <= 60 for pause in pauses[6:])
    assert all(isinstance(event, TaskFailed) and event.task == "watcher" for event in events)
    assert len(events) == len(begun)
    assert "Traceback" in caplog.text
    assert "ZeroDivisionError: a bug" in caplog.text


async def test_after_a_healthy_time_the_pauses_begin_anew():
    clock = VirtualClock()
    begun: list[float] = []

    async def work():
        begun.append(clock.now())
        await clock.sleep_until(clock.now() + 100)
        raise ValueError

    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, clock, lambda event: None)
        supervisor.start("watcher", work)
        await clock.advance(1000)
        supervisor.cancel_all()
    assert max(after - before for before, after in itertools.pairwise(begun)) <= 101


async def test_one_failing_task_does_not_end_the_others_and_once_is_once():
    clock = VirtualClock()
    events = []
    ran = []

    async def fails():
        ran.append("fails")
        raise KeyError("x")

    async def lives():
        ran.append("lives")
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, clock, events.append)
        supervisor.start("lives", lives)
        supervisor.once("submit:a", fails())
        await clock.advance(300)
        assert ran == ["lives", "fails"]
        assert supervisor.names == {"lives"}
        assert [event.task for event in events] == ["submit"]
        await supervisor.stop("lives", "never-started")
        assert supervisor.names == frozenset()


async def test_once_everything_is_cancelled_nothing_new_keeps_the_agent_from_ending():
    clock = VirtualClock()
    ran = []

    async def work():
        ran.append(1)
        await asyncio.Event().wait()

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, clock, lambda event: None)
        supervisor.start("early", work)
        await settle()
        supervisor.cancel_all()
        supervisor.start("late", work)
        supervisor.once("later", work())
    assert ran == [1]


async def test_a_task_that_returns_is_not_begun_again():
    clock = VirtualClock()
    ran = []

    async def work():
        ran.append(1)

    async with asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, clock, lambda event: None)
        supervisor.start("once", work)
        await settle()
    assert ran == [1]
