"""The report as Markdown, as trackers and chats show it (GitHub's tables and fenced code)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from mailprobe.report import words
from mailprobe.report.words import Report

_SPECIAL: Final = re.compile(r"[\\`*_\[\]<>#|~@&]|:(?=//)|(?<=www)\.", re.IGNORECASE)
"""What means something, and of which trackers make names, numbers and links."""


def markdown_report(report: Report) -> Iterator[str]:
    """The lines of it."""
    yield f"# {_text(words.title(report))}"
    yield ""
    yield from _facts(words.head(report))
    yield from _headed("Routes")
    yield from _table((*words.ROUTES, "Not delivered"), ((*row, more) for row, more in words.route_rows(report)))
    if report.findings.refusals:
        yield from _headed("What stopped attempts")
        yield from _table((*words.REFUSALS, "For example"), ((*row, text) for row, text in words.refusal_rows(report)))
    yield from _headed("Incidents")
    if not report.findings.incidents:
        yield words.NO_INCIDENTS
    for story in report.findings.incidents:
        yield from ("", f"### {_text(words.incident_title(story))}", "")
        yield from _facts(words.incident_facts(story, report))
        for name, record in words.failures(story):
            yield from ("", f"#### {name}", "")
            yield from _facts(words.failure_facts(record))
            for title, lines in words.transcripts(record):
                yield from ("", _text(f"{title}:"), "")
                yield from _code(lines)


def _headed(title: str) -> tuple[str, str, str]:
    return ("", f"## {title}", "")


def _facts(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, value in rows:
        yield f"- **{name}**: {_text(value or '-')}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(_text(cell) for cell in row)} |"


def _code(lines: Sequence[str]) -> Iterator[str]:
    """A block that no line in it can end: its fence is longer than any run of backquotes."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    yield fence
    yield from lines
    yield fence


def _text(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)
