"""A sender's own limits are kept by waiting, and said when there is no room in time."""

from __future__ import annotations

import asyncio

import pytest
from support.clocks import VirtualClock, settle

from mailprobe.plan import Limits
from mailprobe.probe.limits import LimitKeeper, SenderBusyError


async def test_no_more_than_the_allowed_connections_at_once():
    clock = VirtualClock()
    keeper = LimitKeeper(Limits(connections=2), clock)
    running = most = 0
    gate = asyncio.Event()

    async def attempt():
        nonlocal running, most
        async with keeper.permit(clock.now() + 60):
            running += 1
            most = max(most, running)
            await gate.wait()
            running -= 1

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(attempt())
        await settle()
        assert running == 2
        gate.set()
    assert most == 2


async def test_who_finds_no_room_in_time_is_told_and_leaves_no_trace():
    clock = VirtualClock()
    keeper = LimitKeeper(Limits(connections=1), clock)

    async def late():
        with pytest.raises(SenderBusyError):
            async with keeper.permit(clock.now() + 5):
                pytest.fail("there was no room")

    async with keeper.permit(clock.now() + 5):
        waiting = asyncio.create_task(late())
        await clock.advance(6)
        await waiting
    async with keeper.permit(clock.now() + 5):
        pass


async def test_a_cancelled_waiter_gives_its_place_back():
    clock = VirtualClock()
    keeper = LimitKeeper(Limits(connections=1), clock)

    async def attempt():
        async with keeper.permit(clock.now() + 60):
            await asyncio.Event().wait()

    holder, waiter = asyncio.create_task(attempt()), asyncio.create_task(attempt())
    await settle()
    for task in (waiter, holder):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    async with keeper.permit(clock.now() + 1):
        pass


async def test_messages_a_minute_are_counted_in_every_window_of_60_s():
    clock = VirtualClock()
    keeper = LimitKeeper(Limits(connections=100, messages_per_minute=3), clock)
    begun: list[float] = []

    async def attempt():
        async with keeper.permit(clock.now() + 1000):
            begun.append(clock.now() - 1000)

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(attempt())
        await clock.advance(200)
    assert begun == [0, 0, 0, 60, 60, 60, 120, 120]


async def test_a_rate_that_leaves_no_room_in_time_is_said_at_once():
    clock = VirtualClock()
    keeper = LimitKeeper(Limits(messages_per_minute=1), clock)
    async with keeper.permit(clock.now() + 5):
        pass
    with pytest.raises(SenderBusyError):
        async with keeper.permit(clock.now() + 5):
            pytest.fail("the minute is not over")
