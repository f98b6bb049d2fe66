"""`mailprobe run`: the agent, until SIGTERM or SIGINT; SIGHUP reads the configuration again."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from mailprobe.app import Agent
from mailprobe.cli.loops import runner
from mailprobe.config.apart import load_apart
from mailprobe.config.configuration import Configuration
from mailprobe.errors import ConfigurationError
from mailprobe.service import ServiceManager

GARBAGE: Final = (10_000, 20, 20)
"""When to look for cycles. With Python's own (700, 10, 10) an agent spends an eighth of its time on it."""


@click.command()
@click.option(
    "-c", "--config", "file", required=True, metavar="FILE", type=click.Path(path_type=Path), help="Configuration file."
)
def run(file: Path) -> None:
    """Run the agent: send canaries, look for them, serve metrics, until SIGTERM or SIGINT.

    SIGHUP or POST /-/reload reads the configuration again. Exit status: 0, or 2 where the agent cannot begin.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is something to reload; by itself it would end us
    try:
        run_agent(lambda: load_apart(file, os.environ))
    except ConfigurationError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(2)


def run_agent(load: Callable[[], Configuration]) -> None:
    """Runs an agent on a loop of its own. Raises ConfigurationError where it cannot begin."""
    configuration = load()

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
