"""`mailprobe report`: what the journal knows of a period, as the document that one sends to the vendor."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from mailprobe import __version__
from mailprobe.clock import unix_time
from mailprobe.errors import ConfigurationError

if TYPE_CHECKING:
    from mailprobe.report.words import Report

WRITERS: Final = ("text", "markdown", "html", "json")


def moment_of(text: str, now: float) -> float:
    """Unix seconds of what is so long ago (`24h`), or a time (RFC 3339; UTC where none is said); not before 1970.

    Raises ValueError for what is neither.
    """
    from mailprobe.config.durations import seconds_of

    with contextlib.suppress(ValueError):
        return max(0.0, now - seconds_of(text))
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a duration such as 24h nor a time such as 2026-01-22T19:00Z") from None
    return max(0.0, unix_time(at))


def _moment(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    try:
        return None if value is None else moment_of(value, time.time())
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.option(
    "-c", "--config", "file", required=True, metavar="FILE", type=click.Path(path_type=Path), help="Configuration file."
)
@click.option(
    "--since",
    callback=_moment,
    metavar="TIME",
    default="24h",
    show_default=True,
    help="So long ago, or a time: 24h, 2026-01-22.",
)
@click.option("--until", callback=_moment, metavar="TIME", help="The same; default: now.")
@click.option("--route", "routes", multiple=True, metavar="ROUTE", help="Only this route; may be repeated.")
@click.option("--format", "format_", type=click.Choice(WRITERS), default="text", show_default=True)
def report(file: Path, since: float, until: float | None, routes: tuple[str, ...], format_: str) -> None:
    """Print what the journal knows of a period: incidents, figures of routes, the first and the worst failure.

    The agent may be running meanwhile. Exit status: 0, or 2 where there is no journal or it cannot be read.
    """
    now = time.time()
    until = now if until is None else until
    if since >= until:
        raise click.UsageError("--since must be before --until")
    try:
        written = read_report(file, since, until, routes, now)
    except ConfigurationError as error:
        for problem in error.problems:
            click.echo(problem, err=True)
        sys.exit(2)
    _write_so_that_it_can_be_read(format_)
    for part in _parts(written, format_):
        click.echo(part)


def read_report(file: Path, since: float, until: float, routes: tuple[str, ...], now: float) -> Report:
    """The report. Raises ConfigurationError where it cannot be made."""
    from mailprobe.config.load import load
    from mailprobe.observe.findings import Wanted
    from mailprobe.observe.journal_report import read_findings
    from mailprobe.report.words import Report

    configuration = load(file, os.environ)
    own = configuration.agent
    if own.journal is None:
        raise ConfigurationError(
            f"{file}: agent.journal is not configured: without a journal nothing is remembered that could be reported"
        )
    findings = read_findings(own.journal, Wanted(since, until, routes))
    known = {*configuration.plan.routes, *(found.route for found in findings.routes)}
    if unknown := sorted(set(routes) - known):
        raise ConfigurationError(
            *(f"--route {name}: no such route, neither configured nor in the journal" for name in unknown)
        )
    return Report(own.name, __version__, now, findings)


def _write_so_that_it_can_be_read(format_: str) -> None:
    """What is a file says that it is UTF-8, whatever the terminal is; a terminal is spared what it cannot show."""
    if sys.stdout is None or not hasattr(sys.stdout, "reconfigure"):
        return
    if format_ == "text":
        sys.stdout.reconfigure(errors="replace")
    else:
        sys.stdout.reconfigure(encoding="utf-8")


def _parts(written: Report, format_: str) -> Iterable[str]:
    if format_ == "html":
        from mailprobe.report.page import html_report

        return (html_report(written),)
    if format_ == "json":
        from mailprobe.report.document import report_document

        return (json.dumps(report_document(written), indent=2),)
    if format_ == "markdown":
        from mailprobe.report.markdown import markdown_report

        return markdown_report(written)
    from mailprobe.report.text import text_report

    return text_report(written)
