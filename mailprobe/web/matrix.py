"""Routes as a matrix of senders and mailboxes: a table where there are few columns, lists where there are many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Final
from urllib.parse import quote_plus

from mailprobe.clock import Clock
from mailprobe.model import RouteState
from mailprobe.observe.wording import cause_words
from mailprobe.web.html import marked, timed
from mailprobe.web.overview import Choice, Overview, RouteRow
from mailprobe.web.sparkline import sparkline

DETAILED: Final = 60
"""Routes up to which each is shown with everything; beyond, each is a sign that links to the rest."""
_COLUMNS: Final = {True: 6, False: 14}
"""Columns that a screen has room for, with everything and with signs alone."""

Cells = Mapping[str, Sequence[RouteRow]]


def matrix(clock: Clock, shown: Overview) -> Iterator[str]:
    """The matrix, piece by piece."""
    by_sender = shown.choice.by == "sender"
    groups: dict[str, dict[str, list[RouteRow]]] = {}
    for row in shown.rows:
        line, column = row.route.mailbox, row.route.sender
        line, column = (column, line) if by_sender else (line, column)
        groups.setdefault(line, {}).setdefault(column, []).append(row)
    if not groups:
        yield "<p>None.</p>"
        return
    columns = sorted({column for cells in groups.values() for column in cells})
    lines, other = ("Sender", "mailbox") if by_sender else ("Mailbox", "sender")
    cell = _Cell(clock, shown.choice, detailed=len(shown.rows) <= DETAILED)
    if len(columns) <= _COLUMNS[cell.detailed]:
        yield from _table(groups, columns, f"{lines} by {other}", cell)
    else:
        yield from _lists(groups, lines, cell)


class _Cell:
    """How a route is shown."""

    def __init__(self, clock: Clock, choice: Choice, *, detailed: bool) -> None:
        self._clock = clock
        self._kept = escape(choice.other().removeprefix("/").replace("?", "&"))
        self.detailed = detailed

    def __call__(self, row: RouteRow) -> str:
        return self._whole(row) if self.detailed else self._sign(row)

    def _whole(self, row: RouteRow) -> str:
        since = row.report.since
        length = "since the start" if since is None else f"for {timed(self._clock, since)}"
        why = "" if row.state is RouteState.OK else cause_words(row.report.cause)
        return (
            f'<div><p><a href="{self._link(row)}">{escape(row.route.name)}</a></p>'
            f'<p>{marked(row.state)} <span class="small">{length}</span></p>'
            f"{f'<p>{escape(why)}</p>' if why else ''}{sparkline(row.trace, self._clock.now())}</div>"
        )

    def _sign(self, row: RouteRow) -> str:
        """A sign for the state; the name is for narrow screens, and for whoever is read to."""
        return f'<a class="dot {row.state}" href="{self._link(row)}">{escape(row.route.name)}</a>'

    def _link(self, row: RouteRow) -> str:
        return f"?route={quote_plus(row.route.name)}{self._kept}"


def _table(groups: Mapping[str, Cells], columns: Sequence[str], caption: str, cell: _Cell) -> Iterator[str]:
    heads = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    yield (
        f'<table class="{"matrix" if cell.detailed else "matrix signs"}"><caption>Routes, {caption.lower()}</caption>'
        f'<thead><tr><th scope="col">{caption}</th>{heads}</tr></thead><tbody>'
    )
    for line in sorted(groups):
        yield f'<tr><th scope="row">{escape(line)}</th>'
        for column in columns:
            yield f'<td data-of="{escape(column)}">' if cell.detailed and column in groups[line] else "<td>"
            yield from map(cell, groups[line].get(column, ()))
            yield "</td>"
        yield "</tr>"
    yield "</tbody></table>"


def _lists(groups: Mapping[str, Cells], lines: str, cell: _Cell) -> Iterator[str]:
    for line in sorted(groups):
        yield f'<h3>{lines} {escape(line)}</h3><ul class="tiles">'
        for column in sorted(groups[line]):
            for row in groups[line][column]:
                yield f"<li>{cell(row)}</li>"
        yield "</ul>"
