"""The event loop of every command: uvloop where there is one."""

from __future__ import annotations

import asyncio
import os


def runner() -> asyncio.Runner:
    """A runner on uvloop, or on asyncio's own loop where uvloop is not installed."""
    _open_standard_streams()
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _open_standard_streams() -> None:
    """Where we were begun without one (`>&-`), a socket would take its number, and libuv aborts on such a one."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
