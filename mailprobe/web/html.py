"""Markup for people: everything escaped, no JavaScript, one style sheet known by its hash."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final

from mailprobe.clock import Clock, wall_of

STYLE: Final = """
:root{color-scheme:light dark;--page:#ffffff;--text:#1f2328;--link:#0550ae;--line:#d1d9e0;
--good:#1a7f37;--warn:#8a5a00;--bad:#c11c28;--dim:#59636e;--bar:#0969da}
@media(prefers-color-scheme:dark){:root{--page:#15181d;--text:#e6e9ed;--link:#79b8ff;--line:#3a414a;
--good:#56d364;--warn:#e3b341;--bad:#ff8a80;--dim:#a3acb6;--bar:#58a6ff}}
body{font:15px/1.45 system-ui,sans-serif;margin:1.5rem auto;padding:0 1rem;max-width:78rem;
background:var(--page);color:var(--text);overflow-wrap:anywhere}
a{color:var(--link)}
h1{font-size:1.4rem;margin:0 0 .5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
table{border-collapse:collapse;width:100%;margin:0 0 1.25rem}
th,td{text-align:left;padding:.3rem 1rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--dim);overflow-wrap:normal}
table.facts{width:auto}table.facts th{white-space:nowrap}
.tight{white-space:nowrap;overflow-wrap:normal}
.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
code,pre{font:13px/1.45 ui-monospace,monospace}
pre{white-space:pre-wrap;padding:.75rem;margin:0 0 1.25rem;border:1px solid var(--line)}
svg{display:block;width:12rem;height:1.3em}rect{fill:var(--bar)}
.ok,.delivered,.accepted{color:var(--good)}.degraded,.junked{color:var(--warn);font-weight:600}
.failing,.overdue,.bounced,.rejected,.deferred,.unsent{color:var(--bad);font-weight:600}
.unknown,.unobserved,.skipped,.dim{color:var(--dim)}
@media(max-width:60rem){.wide{display:none}}
@media(max-width:40rem){body{margin:.75rem auto;padding:0 .6rem;font-size:14px}th,td{padding-right:.5rem}
.medium{display:none}.list tr{display:grid;grid-template-columns:minmax(0,1fr) 5.5rem 6rem;
grid-auto-flow:dense;border-bottom:1px solid var(--line)}.list :is(th,td){border:0}.list .long{grid-column:1/-1}
.list .long:empty{display:none}svg{width:4rem}table.facts th{white-space:normal}pre{padding:.4rem}}
"""
STYLE_SOURCE: Final = "'sha256-" + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode() + "'"
"""What a Content-Security-Policy must allow for these pages."""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def page(title: str, *parts: str, refresh: int | None = None) -> str:
    """A whole page; `refresh`: seconds after which the browser asks for it again."""
    again = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>{again}'
        '<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">'
        f"<style>{STYLE}</style></head><body><h1>{escape(title)}</h1>{''.join(parts)}</body></html>"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table. A name in `head` may be followed by classes of its column: `Delay|number wide`.

    Where there is little room, columns that are `wide` go, then those that are `medium`; then what is `long` gets a
    line of its own, below the three columns that may be left.
    """
    names, classes = zip(*((name, f' class="{of}"' if of else "") for name, _, of in _columns(head)), strict=True)
    cells = "".join(f"<tr>{''.join(map(_cell, row, classes))}</tr>" for row in rows)
    heads = "".join(f'<th scope="col"{of}>{escape(name)}</th>' for name, of in zip(names, classes, strict=True))
    kind = ' class="list"' if any("long" in of for of in classes) else ""
    return f"<table{kind}><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table>" if cells else "<p>None.</p>"


def facts(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values; what has no value is left out."""
    cells = "".join(f'<tr><th scope="row">{escape(name)}</th>{_cell(value, "")}</tr>' for name, value in rows if value)
    return f'<table class="facts"><tbody>{cells}</tbody></table>' if cells else ""


def marked(word: str, text: str | None = None) -> Html:
    """A word in its colour, or another text in the colour of that word."""
    return Html(f'<span class="{escape(word)}">{escape(word if text is None else text)}</span>')


def ago(clock: Clock, instant: float | None) -> Html:
    """How long ago, and when exactly for whoever points at it."""
    if instant is None:
        return Html()
    return Html(f'<time class="tight" title="{absolute(clock, instant)}">{_ago(clock.now() - instant)}</time>')


def absolute(clock: Clock, instant: float) -> str:
    """The time in UTC."""
    return datetime.fromtimestamp(wall_of(clock, instant), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _ago(seconds: float) -> str:
    if seconds < 99.5:
        return f"{max(0.0, seconds):.0f} s ago"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min ago"
    return f"{seconds / 3600:.0f} h ago" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days ago"


def _columns(head: Sequence[str]) -> Iterable[tuple[str, str, str]]:
    return (name.partition("|") for name in head)


def _cell(value: str, classes: str) -> str:
    return f"<td{classes}>{value if isinstance(value, Html) else escape(value)}</td>"
