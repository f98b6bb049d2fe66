"""The report as text, aligned, on lines of 80 columns; only a transcript's line may be longer."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from mailprobe.report import words
from mailprobe.report.words import Report

WIDTH: Final = 80
_NAME: Final = 13
_FIRST: Final = 24
"""Columns of a route's name; a longer one has a line of its own."""
_ROUTES: Final = (10, 10, 9, 9, 9, 9)
_IN: Final = " " * 10


def text_report(report: Report) -> Iterator[str]:
    """The lines of it."""
    yield words.title(report)
    yield "=" * WIDTH
    yield from _facts(words.head(report))
    yield from _headed("Routes")
    yield from _routes(report)
    if report.findings.refusals:
        yield from _headed("What stopped attempts")
        yield from _refusals(report)
    yield from _headed("Incidents")
    if not report.findings.incidents:
        yield words.NO_INCIDENTS
    for number, story in enumerate(report.findings.incidents, 1):
        if number > 1:
            yield ""
        yield from textwrap.wrap(f"{number}. {words.incident_title(story)}", WIDTH, subsequent_indent="   ")
        yield from _facts(words.incident_facts(story, report), "   ")
        for name, record in words.failures(story):
            yield ""
            yield f"   {name}"
            yield from _facts(words.failure_facts(record), "   ")
            for title, lines in words.transcripts(record):
                yield f"   {title}:"
                yield from (f"   {line}" for line in lines)


def _headed(title: str) -> tuple[str, str, str]:
    return ("", title, "-" * WIDTH)


def _facts(rows: Iterable[tuple[str, str]], indent: str = "") -> Iterator[str]:
    following = indent + " " * _NAME
    for name, value in rows:
        yield from textwrap.wrap(
            value or "-", WIDTH, initial_indent=f"{indent}{name:<{_NAME}}", subsequent_indent=following
        )


def _routes(report: Report) -> Iterator[str]:
    yield from _row(words.ROUTES)
    for row, more in words.route_rows(report):
        yield from _row(row)
        yield from textwrap.wrap(more, WIDTH, initial_indent="  ", subsequent_indent="  ")


def _row(cells: Sequence[str]) -> Iterator[str]:
    name, *figures = cells
    if len(name) > _FIRST:
        yield name
        name = ""
    yield f"{name:<{_FIRST}}" + "".join(f"{cell:>{width}}" for cell, width in zip(figures, _ROUTES, strict=True))


def _refusals(report: Report) -> Iterator[str]:
    for row, text in (*[(words.REFUSALS, "")], *words.refusal_rows(report)):
        count, cause, routes, first, last = row
        yield f"{count:>8}  {routes:>6}  {first:<21}{last:<21}".rstrip()
        if row is words.REFUSALS:
            continue
        yield from textwrap.wrap(
            f"{cause}: {text}" if text else cause, WIDTH, initial_indent=_IN, subsequent_indent=_IN
        )
