"""Event loops for tests: asyncio's own by default, uvloop too where a test says so.

    from support.loops import both_loops

    @both_loops
    async def test_something(): ...          # runs as test_something[asyncio] and test_something[uvloop]

A whole module: `pytestmark = both_loops`. Tests without the mark run on asyncio's loop alone. Async fixtures run on
the loop of the test that asks for them. A test that needs to know asks for the fixture `loop_name`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

both_loops = pytest.mark.both_loops

LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}


def loops_of(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loops that a test is to run on, by name; what pytest-asyncio's hook wants."""
    names = LOOPS if item.get_closest_marker("both_loops") else ("asyncio",)
    return {name: LOOPS[name] for name in names}


@pytest.fixture
async def loop_name() -> str:
    """`asyncio` or `uvloop`: the loop that this test runs on."""
    return "uvloop" if isinstance(asyncio.get_running_loop(), uvloop.Loop) else "asyncio"
