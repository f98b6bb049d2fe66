"""The support for event loops: a marked test really runs on both."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from support.loops import both_loops


@pytest.fixture
async def loop_of_fixture() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def test_unmarked_runs_on_asyncio(loop_name: str) -> None:
    assert loop_name == "asyncio"
    assert not isinstance(asyncio.get_running_loop(), uvloop.Loop)


@both_loops
async def test_marked_runs_on_both(
    loop_of_fixture: asyncio.AbstractEventLoop, loop_name: str, request: pytest.FixtureRequest
) -> None:
    assert asyncio.get_running_loop() is loop_of_fixture
    assert isinstance(loop_of_fixture, uvloop.Loop) == (loop_name == "uvloop")
    assert loop_name in request.node.name


@both_loops
@pytest.mark.parametrize("number", [1, 2])
async def test_marked_with_parameters(number: int) -> None:
    await asyncio.sleep(0)
    assert number


@pytest.mark.usefixtures("nothing_blocks")
@both_loops
async def test_guard_lets_waiting_pass() -> None:
    await asyncio.sleep(0)
