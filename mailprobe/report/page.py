"""The report as one HTML file that needs no other: to be read on a screen, printed, or attached to a ticket."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from mailprobe.report import words
from mailprobe.report.timeline import timeline
from mailprobe.report.words import Report
from mailprobe.web.html import facts, page, table

STYLE: Final = """
.drawn{overflow-x:auto}.timeline{width:100%;min-width:45rem;height:auto;font-size:12px}.timeline text{fill:var(--text)}
.timeline .tick{stroke:var(--line)}.timeline .good{fill:var(--good)}.timeline .bad{fill:var(--bad)}
.timeline .silent{fill:var(--dim)}.timeline .incident{fill:var(--warn)}
section{break-inside:auto}h2,h3,h4{break-after:avoid}h3{font-size:1rem;margin:1.5rem 0 .5rem}h4{margin:1rem 0 .25rem}
pre{font-size:12px}
@media print{@page{size:A4;margin:14mm}
:root{color-scheme:light;--page:#fff;--text:#000;--link:#000;--line:#bbb;--good:#1a7f37;--warn:#8a5a00;--bad:#c11c28;
--dim:#444;--bar:#0969da}body{font-size:10pt;margin:0;padding:0;max-width:none}tr{break-inside:avoid}
thead{display:table-header-group}.wide,.medium{display:table-cell}pre{font-size:8pt}.drawn{overflow:visible}
.timeline{min-width:0}}
"""
_CLASSES: Final = ("", "number medium", "number", "number medium", "number medium", "number", "number medium")
"""Of the columns of `words.ROUTES`: on a telephone there is room for three."""
_LEGEND: Final = (
    "Red bars: the share of canaries that were late, junked or not delivered. Thin green line: all were delivered. "
    "Grey: nobody could look. Below a route: its incidents. Times are UTC."
)


def html_report(report: Report) -> str:
    """The file."""
    return page(words.title(report), "".join(_parts(report)), style=STYLE, alone=True)


def _parts(report: Report) -> Iterator[str]:
    yield facts(words.head(report))
    if drawing := timeline(report.findings):
        yield '<h2>Time line</h2><div class="drawn" role="group" aria-label="Time line" tabindex="0">'
        yield f"{drawing}</div><p>{_LEGEND}</p>"
    yield "<h2>Routes</h2>"
    yield table(
        (*map("|".join, zip(words.ROUTES, _CLASSES, strict=True)), "Not delivered|long"),
        ((*row, more) for row, more in words.route_rows(report)),
        caption="Canaries judged, and how long delivery took: first attempt begun to noticed",
    )
    if report.findings.refusals:
        yield "<h2>What stopped attempts</h2>"
        yield table(
            ("Attempts|number", "Why", "Routes|number", "First|tight", "Last|tight", "For example|long"),
            ((*row, text) for row, text in words.refusal_rows(report)),
            caption="Attempts that failed, by stage, reply and reason",
        )
    yield "<h2>Incidents</h2>"
    if not report.findings.incidents:
        yield f"<p>{words.NO_INCIDENTS}</p>"
    for story in report.findings.incidents:
        yield f"<section><h3>{escape(words.incident_title(story))}</h3>"
        yield facts(words.incident_facts(story, report))
        for name, record in words.failures(story):
            yield f"<h4>{name}</h4>{facts(words.failure_facts(record))}"
            for title, lines in words.transcripts(record):
                yield f"<p>{escape(title)}</p><pre>{escape(chr(10).join(lines))}</pre>"
        yield "</section>"
