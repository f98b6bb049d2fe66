"""Markup for people: everything escaped, no JavaScript, one style sheet known by its hash."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from mailprobe.clock import Clock, wall_of
from mailprobe.web.style import STYLE


def source_of(style: str) -> str:
    """What a Content-Security-Policy must allow for pages with this style sheet."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() + "'"


STYLE_SOURCE: Final = source_of(STYLE)


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def page(
    title: str, *parts: str, tab: str = "", refresh: int | None = None, style: str = "", alone: bool = False
) -> str:
    """A whole page; `tab`: its title in the browser's tab, if another one.

    `refresh`: seconds after which the browser asks for it again; `style` is added to ours.

    `alone`: it is a file of its own, so that it has to bring the policy that a server would send with it.
    """
    style = STYLE + style
    again = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    policy = f"default-src 'none'; style-src {source_of(style)}" if alone else ""
    rules = f'<meta http-equiv="Content-Security-Policy" content="{policy}">' if alone else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{rules}{again}'
        f"<title>{escape(tab or title)}</title>"
        '<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">'
        f"<style>{style}</style></head><body><main><h1>{escape(title)}</h1>{''.join(parts)}</main></body></html>"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", none: str = "None.") -> str:
    """A table; what names a row is in its first column. `caption` is for whoever cannot see what it is about.

    A name in `head` may be followed by classes of its column: `Delay|number wide`. Where there is little room, columns
    that are `wide` go, then those that are `medium`; then what is `long` gets a line of its own, below the three
    columns that may be left.
    """
    return "".join(table_parts(head, rows, caption=caption, none=none))


def table_parts(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", none: str = "None."
) -> Iterator[str]:
    """A table as `table` makes it, row by row, for whoever must not do much at once."""
    names, classes = zip(*((name, f' class="{of}"' if of else "") for name, _, of in _columns(head)), strict=True)
    heads = "".join(f'<th scope="col"{of}>{escape(name)}</th>' for name, of in zip(names, classes, strict=True))
    kind = ' class="list"' if any("long" in of for of in classes) else ""
    about = f"<caption>{escape(caption)}</caption>" if caption else ""
    begin = f"<table{kind}>{about}<thead><tr>{heads}</tr></thead><tbody>"
    end = f"<p>{none}</p>"
    for row in rows:
        cells = "".join(map(_cell, row[1:], classes[1:]))
        yield f"{begin}<tr>{_row_head(row[0], classes[0])}{cells}</tr>"
        begin, end = "", "</tbody></table>"
    yield end


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values; what has no value is left out."""
    cells = "".join(f'<tr><th scope="row">{escape(name)}</th>{_cell(value, "")}</tr>' for name, value in rows if value)
    return f'<table class="facts"><tbody>{cells}</tbody></table>' if cells else ""


def marked(word: str, text: str | None = None) -> Html:
    """A word in its colour and with its sign, or another text with those of that word."""
    return Html(f'<span class="{escape(word)}">{escape(word if text is None else text)}</span>')


def ago(clock: Clock, instant: float | None) -> Html:
    """How long ago, and when exactly for whoever points at it."""
    return timed(clock, instant, " ago")


def timed(clock: Clock, instant: float | None, words: str = "") -> Html:
    """How long it has been, and since when exactly for whoever points at it."""
    if instant is None:
        return Html()
    length = _length(clock.now() - instant)
    return Html(f'<time class="tight" title="{absolute(clock, instant)}">{length}{words}</time>')


def absolute(clock: Clock, instant: float) -> str:
    """The time in UTC."""
    return datetime.fromtimestamp(wall_of(clock, instant), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _length(seconds: float) -> str:
    if seconds < 99.5:
        return f"{max(0.0, seconds):.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"


def _columns(head: Sequence[str]) -> Iterable[tuple[str, str, str]]:
    return (name.partition("|") for name in head)


def _row_head(value: str, classes: str) -> str:
    return f'<th scope="row"{classes}>{_shown(value)}</th>'


def _cell(value: str, classes: str) -> str:
    return f"<td{classes}>{_shown(value)}</td>"


def _shown(value: str) -> str:
    return value if isinstance(value, Html) else escape(value)
