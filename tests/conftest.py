"""What every test may use: event loops, Hypothesis profiles, real servers, a guard against blocking calls."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Callable, Iterator, Mapping

import hypothesis
import pytest
from blockbuster import blockbuster_ctx
from support.loops import loop_name, loops_of

__all__ = ["loop_name", "nothing_blocks"]

IN_CI = os.environ.get("CI") == "true"

hypothesis.settings.register_profile("dev", deadline=None, max_examples=50)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=300, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if IN_CI else "dev")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # before pytest-asyncio asks for a default scope of fixtures' loops; the fixture's own scope is what we want
    warnings.filterwarnings("ignore", r"The configuration option .asyncio_default_fixture_loop_scope. is unset")
    config.addinivalue_line("markers", "both_loops: runs on asyncio's event loop and on uvloop (support.loops)")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return loops_of(item)


@pytest.fixture
def nothing_blocks() -> Iterator[None]:
    """A call in mailprobe's own code that blocks the event loop (sleep, file, socket, lock) raises BlockingError."""
    with blockbuster_ctx("mailprobe"):
        yield
