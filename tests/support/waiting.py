"""Waiting, in a test that blocks, for what another process or thread does."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(true: Callable[[], bool], within: float = 30.0) -> None:
    """Returns when it is true; fails where it is not within so many seconds."""
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, f"it did not come about within {within:g} s"
        time.sleep(0.02)
