"""The event loop of every command: uvloop where there is one."""

from __future__ import annotations

import asyncio


def runner() -> asyncio.Runner:
    """A runner on uvloop, or on asyncio's own loop where uvloop is not installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
