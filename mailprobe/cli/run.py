"""`mailprobe run`: the agent, until SIGTERM or SIGINT; SIGHUP reads the configuration again."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mailprobe.cli.loops import runner
from mailprobe.config.apart import load_apart, reading
from mailprobe.config.configuration import Configuration
from mailprobe.errors import ConfigurationError
from mailprobe.service import ServiceManager

if TYPE_CHECKING:
    from mailprobe.app import Agent

GARBAGE: Final = (10_000, 20, 20)
"""When to look for cycles. With Python's own (700, 10, 10) an agent spends an eighth of its time on it."""


@click.command()
@click.option(
    "-c", "--config", "file", required=True, metavar="FILE", type=click.Path(path_type=Path), help="Configuration file."
)
def run(file: Path) -> None:
    """Run the agent: send canaries, look for them, serve metrics, until SIGTERM or SIGINT.

    SIGHUP or POST /-/reload reads the configuration again. Exit status: 0, 2 where the agent cannot begin,
    or 3 where it was stopped before it began.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload; by itself it would end us
    try:
        run_agent(_first(file), lambda: load_apart(file, os.environ))
    except ConfigurationError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(2)


def _first(file: Path) -> Configuration:
    """The configuration; while a child reads it, what the agent is made of is imported."""
    with reading(file, os.environ) as configuration:
        importlib.import_module("mailprobe.app")
        return configuration()


def run_agent(configuration: Configuration, load: Callable[[], Configuration]) -> None:
    """Runs an agent on a loop of its own; `load` reads the configuration again.

    Raises ConfigurationError where it cannot begin.
    """
    from mailprobe.app import Agent

    async def work() -> None:
        agent = Agent(configuration, load, service=ServiceManager.of(os.environ), started=_started)
        await agent.run()

    with runner() as loop:
        try:
            loop.run(work())
        except BaseExceptionGroup as errors:
            raise only_configuration_errors(errors) from None


def _started(agent: Agent) -> None:
    agent.handle_signals()
    # what is there now stays: no collection, which holds the loop, has to go through it
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)


def only_configuration_errors(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group that holds nothing but ConfigurationError; the group itself if it holds more."""
    _, others = errors.split(ConfigurationError)
    return errors if others else _leaves(errors)[0]


def _leaves(errors: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in errors.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
