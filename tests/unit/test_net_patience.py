"""One timer for many waits: each has its time, none has more, and what is no time-out passes through."""

from __future__ import annotations

import asyncio

import pytest
from support.loops import both_loops

from mailprobe.net.patience import Patience

pytestmark = both_loops
LONG = 60.0


async def test_a_wait_that_takes_too_long_ends_the_block_with_timeout_error() -> None:
    with pytest.raises(TimeoutError):
        async with Patience(0.01):
            await asyncio.sleep(LONG)
    current = asyncio.current_task()
    assert current is not None
    assert not current.cancelling()


async def test_a_timer_that_rings_early_goes_on_and_one_that_rings_in_time_ends_the_wait() -> None:
    async def renewed() -> None:
        patience = Patience(LONG)
        async with patience:
            patience.renew()
            patience._ring()
            await asyncio.sleep(0)  # nothing is cancelled: there is time left
            rung.append(True)
            patience._due = asyncio.get_running_loop().time()
            patience._ring()
            await asyncio.sleep(LONG)

    rung: list[bool] = []
    with pytest.raises(TimeoutError):
        await renewed()
    assert rung


async def test_renewing_moves_the_end() -> None:
    patience = Patience(LONG)
    async with patience:
        before = patience._due = patience._due - 1
        patience.renew()
        assert patience._due >= before + 1


async def test_it_can_be_used_again_and_leaves_no_timer_behind() -> None:
    patience = Patience(0.05)
    for _ in range(3):
        async with patience:
            await asyncio.sleep(0)
    await asyncio.sleep(0.1)  # were a timer left, it would cancel this
    with pytest.raises(TimeoutError):
        async with patience:
            await asyncio.sleep(LONG)


async def test_a_cancellation_and_an_error_are_what_they_are() -> None:
    async def waits() -> None:
        async with Patience(LONG):
            await asyncio.sleep(LONG)

    task = asyncio.ensure_future(waits())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ZeroDivisionError):
        async with Patience(LONG):
            raise ZeroDivisionError
