"""The report as text, Markdown, HTML and JSON: what it says, how it is laid out, and what hostile text does to it."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.reporting import BEGIN, a_report, findings, written

from mailprobe.clock import WrittenTime
from mailprobe.model import Incident, Outcome
from mailprobe.observe.document import incident_document
from mailprobe.observe.findings import SLOTS, Findings, Quantiles, RouteFigures, Slot, Wanted
from mailprobe.observe.wording import percent_text
from mailprobe.report import markdown
from mailprobe.report.document import report_document
from mailprobe.report.markdown import markdown_report
from mailprobe.report.page import html_report
from mailprobe.report.text import WIDTH, text_report
from mailprobe.report.timeline import timeline
from mailprobe.report.words import Report
from mailprobe.web.html import source_of

STORY = "." * 30 + "DDDDxDDD" + "." * 10
LONG = ("a-route-whose-name-is-as-long-as-any-may-be-" + "x" * 19, "outside", "contoso", "mx")


@pytest.fixture
async def report(tmp_path: Path) -> Report:
    await written(tmp_path / "journal.db", STORY, "....o")
    return a_report(findings(tmp_path / "journal.db"))


def text(report: Report) -> str:
    return "\n".join(text_report(report))


# ---- text


async def test_text_is_aligned_at_80_columns(report: Report) -> None:
    lines = text(report).splitlines()
    assert max(map(len, lines)) <= WIDTH
    head, inbound, *_ = lines[lines.index("Routes") + 2 :]
    assert head == "Route                       Judged Available     Half      90%      99%  Slowest"
    assert inbound == "inbound                         48    83.33%   2.20 s   2.44 s   2.48 s   2.48 s"


async def test_text_says_what_happened(report: Report) -> None:
    said = text(report)
    for part in (
        "Mail flow as seen by fra1\n",
        "Available    83.01%: delivered to the inbox in time, of those judged",
        "  7 deferred, 1 overdue, of which 1 is lost\n",
        "1. inbound: failing from 2027-01-15 08:30:00\n",
        "   Stopped at   rcpt 451 4.3.2 deferred\n",
        "   Worst        80% of recent canaries; 8 affected in all\n",
        "   Canaries     4 delivered, 7 deferred, 1 overdue\n",
        "   First failure\n   Canary       canary0030, begun 2027-01-15 08:30:00\n",
        "       0.100 < 220 <mx> & `co`\n       0.200 < 451 4.3.2 Temporary | `server` <error> @all\n",
        "   Worst failure\n   Canary       canary0034",
        "   Lost         not there when looked for until 2027-01-15 09:34:00",
        "queued as 4XyZ",
    ):
        assert part in said, part


def test_a_long_name_has_a_line_of_its_own() -> None:
    figures = RouteFigures(LONG[0], "s", "m", {}, 0, 0, 0, None, None, ())
    lines = text(Report("a", "1", 0.0, Findings(Wanted(0.0, 1.0), (figures,), (), ()))).splitlines()
    at = lines.index(LONG[0])
    assert lines[at + 1].split() == ["0"]


@pytest.mark.parametrize("seconds", [0.0003, 99.9, 100.0, 5996.0, 86_399.0])
def test_every_delay_fits_its_column(seconds: float) -> None:
    quantiles = Quantiles(1, seconds, seconds, seconds, seconds)
    figures = RouteFigures("inbound", "s", "m", {Outcome.DELIVERED: 1_234_567}, 0, 0, 0, quantiles, None, ())
    lines = text(Report("a", "1", 0.0, Findings(Wanted(0.0, 1.0), (figures,), (), ()))).splitlines()
    row = next(line for line in lines if line.startswith("inbound"))
    assert len(row) <= WIDTH
    assert len(re.split(r" +(?=\d)", row)) == 7


async def test_nothing_happened(tmp_path: Path) -> None:
    await written(tmp_path / "journal.db", "..")
    report = a_report(findings(tmp_path / "journal.db", until=BEGIN - 1.0, since=BEGIN - 2.0))
    assert "None began, went on or ended in this time." in text(report)
    assert "Available" not in text(report).partition("Routes")[0]
    assert "None began" in html_report(report)
    assert timeline(report.findings) == ""
    assert report_document(report)["incidents"] == []


async def test_availability_is_never_rounded_up(tmp_path: Path) -> None:
    await written(tmp_path / "journal.db", "." * 3 + "?" * 3)
    assert "100.00%" in text(a_report(findings(tmp_path / "journal.db")))
    assert percent_text(0.99999) == "99.99%"


# ---- Markdown


async def test_markdown_is_not_broken_by_what_servers_say(report: Report) -> None:
    lines = list(markdown_report(report))
    tables = [line for line in lines if line.startswith("|")]
    assert {len(re.split(r"(?<!\\)\|", line)) for line in tables} == {10, 8}
    assert r"Temporary \| \`server\` \<error\> \@all" in "\n".join(lines)
    assert "### inbound: failing from 2027-01-15 08:30:00" in lines


async def test_no_line_of_a_transcript_ends_its_block(report: Report) -> None:
    lines = list(markdown_report(report))
    begin = next(number for number, line in enumerate(lines) if line.startswith("```"))
    assert lines[begin] == "```"
    assert "    0.100 < 220 <mx> & `co`" in lines[begin + 1 : lines.index("```", begin + 1)]


@pytest.mark.parametrize(("said", "fence"), [("`", "```"), ("a ``` b", "````"), ("`````", "``````")])
def test_fences_are_longer_than_what_is_in_them(said: str, fence: str) -> None:
    assert list(markdown._code(["x", said])) == [fence, "x", said, fence]


# ---- HTML


class Outline(HTMLParser):
    """What is in a page: its tags, and what refers to something else."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [str(value) for name, value in attrs if name in ("src", "href", "data", "srcset", "style")]


async def test_html_needs_nothing_else_and_escapes(report: Report) -> None:
    page = html_report(report)
    outline = Outline(page)
    assert outline.references == []
    assert not {"script", "link", "img", "iframe", "object", "error", "mx"} & set(outline.tags)
    assert {"svg", "pre", "table", "style"} <= set(outline.tags)
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert f"style-src {source_of(style)}" in page
    assert "220 &lt;mx&gt; &amp; `co`" in page


@pytest.mark.parametrize("days", [1 / 24, 1, 30, 365 * 50])
def test_a_time_line_of_any_length_has_few_times_on_it(days: float) -> None:
    figures = RouteFigures("inbound", "s", "m", {}, 0, 0, 0, None, None, (Slot(),) * SLOTS)
    drawing = timeline(Findings(Wanted(0.0, days * 86400), (figures,), (), ()))
    assert 1 < drawing.count('class="tick"') <= 10


@pytest.mark.parametrize(("days", "times"), [(1, ["00:00", "03:00"]), (3, ["01-01", "12:00", "01-02"]), (5, ["01-01"])])
def test_a_time_line_of_more_than_a_day_has_dates(days: float, times: list[str]) -> None:
    figures = RouteFigures("inbound", "s", "m", {}, 0, 0, 0, None, None, (Slot(),) * SLOTS)
    drawing = timeline(Findings(Wanted(0.0, days * 86400), (figures,), (), ()))
    assert re.findall(r'text-anchor="middle">([^<]*)<', drawing)[: len(times)] == times


async def test_html_has_a_time_line(report: Report) -> None:
    drawing = timeline(report.findings)
    assert 'aria-label="Time line of 2 routes from 2027-01-15 08:00:00 to 2027-01-16 08:00:00"' in drawing
    assert drawing.count("<title>Incident from 2027-01-15 08:30:00</title>") == 1
    assert drawing.index(">inbound<") < drawing.index(">internal<")
    assert 'class="bad"' in drawing


def drawn(slots: dict[int, Slot]) -> list[tuple[str, float, float]]:
    figures = RouteFigures(
        "inbound", "s", "m", {}, 0, 0, 0, None, None, tuple(slots.get(number, Slot()) for number in range(SLOTS))
    )
    drawing = timeline(Findings(Wanted(0.0, 86400.0), (figures,), (), ()))
    bars = re.findall(r'<rect class="(\w+)" x="([\d.]+)" y="\d+" width="([\d.]+)"', drawing)
    return [(kind, float(x), float(width)) for kind, x, width in bars]


def test_a_slow_route_has_no_gaps_and_a_silent_one_has() -> None:
    every_third = {number: Slot(good=1) for number in range(0, 60, 3)}
    assert [kind for kind, *_ in drawn(every_third)] == ["good"]
    pause = {number: slot for number, slot in every_third.items() if not 20 < number < 40}
    assert [kind for kind, *_ in drawn(pause)] == ["good", "good"]


def test_what_nobody_saw_is_neither_good_nor_bad() -> None:
    slots = {0: Slot(good=1), 1: Slot(silent=1), 2: Slot(good=1, affected=1)}
    assert [kind for kind, *_ in drawn(slots)] == ["good", "silent", "bad"]


# ---- JSON


async def test_json(report: Report) -> None:
    document = json.loads(json.dumps(report_document(report), allow_nan=False))
    assert document["schema"] == 1
    assert (document["since"], document["agent"]) == ("2027-01-15T08:00:00.000Z", "fra1")
    assert document["first_canary"] == document["since"]
    route = document["routes"][0]
    assert route["canaries"] == {"delivered": 40, "deferred": 7, "overdue": 1}
    assert route["availability"] == 0.833333
    assert route["delivery_seconds"] == {"count": 40, "p50": 2.2, "p90": 2.44, "p99": 2.48, "max": 2.48}
    assert document["refusals"][0]["code"] == 451
    (incident,) = document["incidents"]
    assert (incident["begin"], incident["code"]) == ("2027-01-15T08:30:00.000Z", 451)
    assert incident["first_failure"]["transcript"][0]["text"] == "220 <mx> & `co`"
    assert incident["worst_failure"]["resolution"] == "lost"
    assert incident["vendor"] == []


async def test_incidents_are_those_of_the_api(report: Report) -> None:
    (story,) = report.findings.incidents
    found = report_document(report)["incidents"][0]
    assert isinstance(story.incident, Incident)
    assert incident_document(story.incident, WrittenTime()).items() <= found.items()


# ---- the vendor


async def test_the_vendors_first_word_stands_beside_ours(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await written(path, STORY)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS acknowledgement "
            "(incident TEXT, feed TEXT, vendor_incident TEXT, title TEXT, posted REAL, noticed REAL, lag_seconds REAL)"
        )
        row: tuple[Any, ...] = ("incident-1", "statuspage", "MO1", "Delays", BEGIN + 4200.0, BEGIN + 4210.0, 2399.5)
        database.execute("INSERT INTO acknowledgement VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    report = a_report(findings(path))
    said = " ".join(text(report).split())
    assert "Vendor first word on statuspage at 2027-01-15 09:10:00, 40 min after our first sign: Delays" in said
    (word,) = report_document(report)["incidents"][0]["vendor"]
    assert (word["acknowledged"], word["lag_seconds"]) == ("2027-01-15T09:10:00.000Z", 2399.5)
