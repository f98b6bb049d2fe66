"""`mailprobe check`: everything that is wrong with a configuration; with --connect, what the servers say to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mailprobe.errors import ConfigurationError

if TYPE_CHECKING:
    from mailprobe.config.load import Configuration

WIDTH: Final = 80
SHOWN: Final = 20
"""Lines of one kind that a summary shows."""


@click.command()
@click.option(
    "-c", "--config", "file", required=True, metavar="FILE", type=click.Path(path_type=Path), help="Configuration file."
)
@click.option("--connect", is_flag=True, help="Log in to every server, send nothing, and print what each offers.")
def check(file: Path, connect: bool) -> None:
    """Say everything that is wrong with a configuration file.

    Exit status: 0, or 2 where the file is wrong, or 1 where only a --connect failed.
    """
    from mailprobe.config.load import load
    from mailprobe.web.settings import Settings  # only this command reads it without serving

    try:
        configuration = load(file, os.environ, read_web=Settings)
    except ConfigurationError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(2)
    for warning in configuration.warnings:
        click.echo(f"{warning} (warning)", err=True)
    click.echo(f"{file}: good")
    for line in summary(configuration):
        click.echo(line)
    if connect:
        from mailprobe.cli.connecting import connect_all

        waiting = Waiting(sys.stderr is not None and sys.stderr.isatty())
        sys.exit(0 if connect_all(configuration.plan, waiting.echo, waiting) else 1)


@dataclass(slots=True)
class Waiting:
    """A line on stderr that says how many servers have answered; none where stderr is no terminal."""

    shown: bool
    _text: str = ""

    def __call__(self, ended: int, wanted: int) -> None:
        """Shows how far it is."""
        self._draw(f"{ended} of {wanted} servers" if ended < wanted else "")

    def echo(self, text: str) -> None:
        """Prints a text on stdout, above the line."""
        line = self._text
        self._draw("")
        click.echo(text)
        self._draw(line)

    def _draw(self, text: str) -> None:
        if self.shown:
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)
            self._text = text


def summary(configuration: Configuration) -> list[str]:
    """What the configuration comes to, on lines of at most 80 columns."""
    from mailprobe.config.durations import duration_text

    plan = configuration.plan
    routes = []
    for route in plan.routes.values():
        promise = f"every {duration_text(route.interval)}, deadline {duration_text(route.deadline)}"
        retry = f", retry {' '.join(duration_text(pause) for pause in route.retry)}" if route.retry else ""
        routes.append((route.name, f"{route.sender.name} to {route.mailbox.name}", promise + retry))
    senders = []
    for sender in plan.senders.values():
        where = str(sender.endpoint) if sender.endpoint.host else f"mx, port {sender.endpoint.port}"
        senders.append((sender.name, where, f"{sender.endpoint.tls}, from {sender.from_address}"))
    mailboxes = [(box.name, str(box.endpoint), f"{box.endpoint.tls}, {box.address}") for box in plan.mailboxes.values()]
    feeds = [(each.name, each.kind.value, f"every {duration_text(each.interval)}") for each in plan.feeds.values()]
    parts = [("route", "routes", routes), ("sender", "senders", senders), ("mailbox", "mailboxes", mailboxes)]
    parts += [("status feed", "status feeds", feeds)] if feeds else []
    return [line for one, many, rows in parts for line in _table(one, many, rows)]


def _table(one: str, many: str, rows: list[tuple[str, str, str]]) -> Iterable[str]:
    shown = rows[:SHOWN]
    yield f"{len(rows)} {one if len(rows) == 1 else many}"
    widths = [max((len(row[column]) for row in shown), default=0) for column in (0, 1)]
    widths = [min(widths[0], 24), min(widths[1], 30)]
    for first, second, third in shown:
        line = f"  {_cut(first, widths[0]):{widths[0]}}  {_cut(second, widths[1]):{widths[1]}}  {third}"
        yield _cut(line, WIDTH).rstrip()
    if len(rows) > SHOWN:
        yield f"  and {len(rows) - SHOWN} more"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
