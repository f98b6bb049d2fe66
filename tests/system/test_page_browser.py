"""The status page, the page of a canary and the report in a real browser: an outage on it, and who can use it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from support import browser as browsers
from support.browser import GUISES, Guise, opened, running_browser
from support.observing import Watch
from support.staging import BUSY, Stage, staged
from support.waiting import until

from mailprobe.cli import main
from mailprobe.web.overview import Choice, overview, rows
from mailprobe.web.pages import status_page, status_parts

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.server("chromium")

CHECKS = (Path(__file__).parents[1] / "support" / "accessibility.js").read_text(encoding="utf-8")
LIGHT = Guise(1280, "light")
FOCUSED = """(([element]) => [element.tagName, getComputedStyle(element).outlineStyle, element.textContent])
([document.activeElement])"""
HIT = ("demo-office-sales", "demo-outside-sales")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if browsers.program() is None:
        pytest.skip("no Chromium; on Debian: apt-get install chromium")
    with running_browser() as found:
        yield found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """An agent whose mail to `sales` is refused, except from `newsletter`."""
    with staged(tmp_path_factory.mktemp("stage"), interval="1s", deadline="30s") as stage:
        until(lambda: _states(stage) == {"ok": 9}, 150)
        stage.break_mail("sales", untouched="newsletter")
        until(lambda: _states(stage) == {"ok": 7, "failing": 2}, 150)
        yield stage


def _states(stage: Stage) -> dict[str, int]:
    agent = stage.agent
    assert agent
    found = [str(agent.states.of(route.name, agent.clock.now())) for route in agent.states.routes]
    return {state: found.count(state) for state in found}


def _section(page: Page, title: str) -> str:
    """The text of the table below a heading."""
    return page.locator(f"h2:text-is('{title}') ~ table").first.inner_text()


# ---- an outage


def test_the_page_shows_an_outage_and_its_recovery(browser: Browser, tmp_path: Path) -> None:
    with staged(tmp_path, interval="1s", deadline="30s") as stage, opened(browser, LIGHT) as page:
        until(lambda: _states(stage) == {"ok": 9}, 150)
        page.goto(stage.url)
        assert page.locator(".counts").inner_text().split() == ["0", "failing", "9", "ok"]
        assert page.get_by_role("heading", name="Not ok").count() == 0
        stage.break_mail("sales", untouched="newsletter")
        # nobody loads it again: it does so by itself, without JavaScript
        page.get_by_role("link", name="2 failing").wait_for(timeout=150_000)
        assert page.title() == "2 failing - demo - mailprobe"
        page.goto(f"{stage.url}?refresh=off")
        for title in ("Not ok", "Incidents"):
            table = _section(page, title)
            assert all(route in table for route in HIT)
            assert "rcpt 451 4.3.2 deferred" in table
        assert _section(page, "Incidents").count("going on") == 2
        sales = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name="sales", exact=True)).first
        assert [cell.split()[1] for cell in sales.get_by_role("cell").all_inner_texts()] == ["ok", "failing", "failing"]
        page.get_by_role("link", name="deferred").first.click()
        assert f"rcpt: {BUSY}" in page.locator("table.facts").first.inner_text()
        assert f"< {BUSY}" in page.locator("pre").inner_text()
        stage.mend()
        until(lambda: _states(stage) == {"ok": 9}, 150)
        page.goto(stage.url)
        assert page.locator(".counts").inner_text().split() == ["0", "failing", "9", "ok"]
        incidents = _section(page, "Incidents")
        assert all(route in incidents for route in HIT)
        assert "going on" not in incidents


def test_the_report_says_what_the_api_says(stage: Stage) -> None:
    """One is read from the journal, the other from the agent's memory."""
    with urllib.request.urlopen(f"{stage.url}api/v1/incidents", timeout=20) as answer:
        told = {incident["id"]: incident for incident in json.load(answer)["incidents"]}
    # the journal is a moment behind
    until(lambda: {incident["id"] for incident in _report(stage)["incidents"]} == told.keys(), 150)
    document = _report(stage)
    for incident in document["incidents"]:
        api = told[incident["id"]]
        assert api.keys() <= incident.keys()
        for name in ("route", "state", "stage", "code", "enhanced_code", "reason", "end", "relapses"):
            assert incident[name] == api[name], name
        for name in ("begin", "first_sign", "detected"):
            apart = datetime.fromisoformat(incident[name]) - datetime.fromisoformat(api[name])
            assert abs(apart.total_seconds()) < 0.5, name
        failure = incident["first_failure"]
        with urllib.request.urlopen(f"{stage.url}api/v1/canaries/{failure['canary']}", timeout=20) as answer:
            canary = json.load(answer)["canary"]
        assert canary.keys() == failure.keys()
        for name in ("outcome", "stage", "reason", "transcript", "delivery_seconds", "resolution"):
            assert canary[name] == failure[name], name
        assert canary["attempts"][0]["replies"] == failure["attempts"][0]["replies"]
    with urllib.request.urlopen(f"{stage.url}api/v1/routes", timeout=20) as answer:
        assert {each["route"] for each in json.load(answer)["routes"]} == {each["route"] for each in document["routes"]}


def _report(stage: Stage) -> dict[str, Any]:
    result = CliRunner().invoke(main, ["report", "-c", str(stage.file), "--since", "1h", "--format", "json"])
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


# ---- who can use it


def _canary(stage: Stage, *, failed: bool) -> str:
    """The address of one that was judged just now: it is not remembered for long."""
    agent = stage.agent
    assert agent
    record = next(record for record in agent.history.judged_last() if record.is_failure is failed)
    return f"{stage.url}canaries/{record.canary.id}"


def _pages(stage: Stage, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """What is looked at, by name: addresses. None of them is loaded again by itself."""
    report = tmp_path / "report.html"
    result = CliRunner().invoke(main, ["report", "-c", str(stage.file), "--since", "1h", "--format", "html"])
    assert result.exit_code == 0, result.output
    report.write_text(result.stdout, encoding="utf-8")
    large = tmp_path / "large.html"
    large.write_text(_large(), encoding="utf-8")
    yield "report", report.as_uri()
    yield "large", large.as_uri()
    yield "status", f"{stage.url}?refresh=off"
    yield "nothing", f"{stage.url}?text=no-such-route&refresh=off"
    yield "one route", f"{stage.url}?route={HIT[0]}&refresh=off"
    yield "failed", _canary(stage, failed=True)
    yield "delivered", _canary(stage, failed=False)


def _large() -> str:
    """200 routes, of which some are not ok."""
    sizes = (10, 20)
    names = [
        (f"all-{one:02}-to-{two:02}", f"sender-{one:02}", f"box-{two:02}", "mx")
        for one in range(sizes[0])
        for two in range(sizes[1])
    ]
    watch = Watch(*names)
    for number, (name, *_) in enumerate(names):
        for _ in range(4):
            watch.delivered(name) if number % 9 else watch.failed(route=name)
    choice = Choice(refresh=False)
    found = tuple(choice.marked(rows(watch.states, watch.history, watch.clock.now())))
    shown = overview(found, watch.states, watch.history, choice)
    return status_page(shown, tuple(status_parts(watch.clock, shown, "1.2.3")))


def test_the_checks_find_what_is_wrong(browser: Browser) -> None:
    with opened(browser, LIGHT, javascript=True) as page:
        page.set_content(
            "<h1>one</h1><h3>three</h3><a href='#x'></a><input><svg></svg><p style='color:#999'>pale</p>"
            "<table><tr><th>a<td>b<tr><td>c</table>"
        )
        found = page.evaluate(CHECKS)
    for words in (
        *("language", "no title", "not one main part", "skips a level", "no name", "leads nowhere", "no label"),
        *("without words", "no caption", "heading of nothing", "different length", "no heading names", "contrast 2.8"),
    ):
        assert any(words in line for line in found), (words, found)


@pytest.mark.parametrize("guise", GUISES, ids=lambda guise: guise.name)
def test_everybody_can_use_it(browser: Browser, stage: Stage, tmp_path: Path, guise: Guise) -> None:
    with opened(browser, guise, javascript=True) as page:
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        for name, address in _pages(stage, tmp_path):
            page.goto(address)
            assert page.evaluate(CHECKS) == [], name
            wide = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
            assert wide[0] <= wide[1], name
            dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 29)"
            assert dark is (guise.scheme == "dark")
        assert said == []  # of a policy that is broken, for one


@pytest.mark.parametrize("guise", [GUISES[0], LIGHT], ids=lambda guise: guise.name)
def test_tables_are_tables_for_whoever_is_read_to(browser: Browser, stage: Stage, guise: Guise) -> None:
    with opened(browser, guise) as page:
        page.goto(f"{stage.url}?refresh=off")
        incidents = page.get_by_role("table", name="Incidents, those that go on first")
        assert incidents.get_by_role("columnheader", name="Route").count() == 1
        assert set(incidents.get_by_role("rowheader").all_inner_texts()) == set(HIT)
        matrix = page.get_by_role("table", name="Routes, mailbox by sender")
        assert matrix.get_by_role("rowheader").all_inner_texts() == ["alerts", "sales", "support"]
        assert matrix.get_by_role("img").count() == 9


def test_it_can_be_used_by_keyboard_alone(browser: Browser, stage: Stage) -> None:
    with opened(browser, LIGHT, javascript=True) as page:
        page.goto(f"{stage.url}?refresh=off")
        walked: list[list[str]] = []
        for _ in range(40):
            page.keyboard.press("Tab")
            walked.append(page.evaluate(FOCUSED))
            if walked[-1][0] == "INPUT":
                break
        assert walked[0][2] == "2 failing"
        assert {outline for _, outline, _ in walked} == {"solid"}
        assert "refresh again" in [text for *_, text in walked]
        page.keyboard.type("support 451")
        page.keyboard.press("Enter")
        page.wait_for_url("**/?text=support+451*refresh=off")
        assert "Routes: 0 of 9" in page.locator("main").inner_text()
        page.goto(f"{stage.url}?text=451+sales&by=sender&refresh=off")
        assert page.locator("meta[http-equiv=refresh]").count() == 0
        assert "Routes: 2 of 9" in page.locator("main").inner_text()
        assert page.get_by_label("A row for each").input_value() == "sender"
        page.get_by_role("link", name="All routes").press("Enter")
        page.wait_for_url("**/?by=sender&refresh=off")


def test_the_report_can_be_printed(browser: Browser, stage: Stage, tmp_path: Path) -> None:
    with opened(browser, LIGHT) as page:
        page.goto(dict(_pages(stage, tmp_path))["report"])
        assert page.get_by_role("img", name="Time line of 9 routes").count() == 1
        assert page.locator("h3").all_inner_texts()
        assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
