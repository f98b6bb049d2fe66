"""`mailprobe drill`: what it concludes from what the agent said, and whole plays of short outages."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mailprobe.cli.drill import _row, _said, drill, head, summary
from mailprobe.cli.drill_findings import Findings, Knowledge
from mailprobe.cli.drilling import Cast, Settings
from mailprobe.errors import Reason, Stage
from mailprobe.events import IncidentChanged, IncidentOpened, RouteStateChanged, SignSeen
from mailprobe.lab.behaviour import Context
from mailprobe.lab.outage import Outage, find
from mailprobe.lab.player import Strike, Truth
from mailprobe.model import Cause, Incident, Outcome, RouteState

BUSY = Cause(Stage.RCPT, 451, "4.3.2", Reason.DEFERRED)
OUTAGE = find("m365-2026-01-22")
OK, DEGRADED, FAILING, UNKNOWN = RouteState.OK, RouteState.DEGRADED, RouteState.FAILING, RouteState.UNKNOWN

CONTRACT = {
    *("schema", "outage", "speed", "interval_seconds", "phases", "first_sign_seconds", "degraded_seconds"),
    *("failing_seconds", "recovering_seconds", "recovered_seconds", "vendor_acknowledged_seconds", "lead_seconds"),
    *("incidents", "canaries", "state_changes"),
}


def changed(at: float, before: RouteState, state: RouteState, route: str = "inbound") -> RouteStateChanged:
    return RouteStateChanged(route, before, state, at, BUSY, 0.5)


def incident(begin: float, end: float | None) -> Incident:
    return Incident("i1", "inbound", begin, begin, begin, FAILING, BUSY, 0.9, 12, end=end)


def findings(*words: object, struck: float | None = 10.0, outage: Outage = OUTAGE) -> Findings:
    knowledge, truth = Knowledge(), Truth()
    for word in words:
        knowledge(word)  # type: ignore[arg-type]
    if struck is not None:
        phase = outage.phases[0]
        truth.add(Strike(struck, phase, phase.effects[0], Context(1, "mx", "127.0.0.1")))
    return Findings.of(outage, 60, 60, knowledge, truth)


COURSE = (
    changed(-600, UNKNOWN, OK),
    SignSeen("inbound", -300, -301, BUSY),
    SignSeen("inbound", 20, 10, BUSY),
    changed(100, OK, DEGRADED),
    changed(160, DEGRADED, FAILING),
    IncidentOpened(incident(10, None), 170),
    changed(5000, FAILING, DEGRADED),
    changed(5200, DEGRADED, OK),
    IncidentChanged(incident(10, 5200), 5200),
)


def test_when_the_agent_knew_what() -> None:
    document = findings(*COURSE).document()
    assert document.keys() >= CONTRACT
    said = {key: value for key, value in document.items() if key.endswith("_seconds")}
    assert said == {
        "interval_seconds": 60,
        "first_affected_seconds": 10,
        "first_sign_seconds": 20,
        "degraded_seconds": 100,
        "failing_seconds": 160,
        "recovering_seconds": 5000,
        "recovered_seconds": 5200,
        "vendor_acknowledged_seconds": 37 * 60,
        "lead_seconds": 37 * 60 - 20,
    }
    assert document["state_changes"][0] == {"at": -600, "route": "inbound", "state": "ok"}
    assert document["phases"][0] == {"label": "onset", "from": 0, "to": 1800}
    (only,) = document["incidents"]
    assert {key: only[key] for key in ("route", "begin", "end", "state", "stage", "code", "enhanced_code")} == {
        "route": "inbound",
        "begin": 10,
        "end": 5200,
        "state": "failing",
        "stage": "rcpt",
        "code": 451,
        "enhanced_code": "4.3.2",
    }
    assert document["canaries"].keys() == {str(outcome) for outcome in Outcome}


def test_what_is_not_over_has_not_recovered() -> None:
    assert findings(*COURSE[:6]).recovered is None
    assert findings(*COURSE[:7]).recovered is None
    # it seems ok, and its incident is still open
    assert findings(*COURSE[:8]).recovered is None


def test_a_sign_before_anybody_was_struck_is_none_of_it() -> None:
    seen = findings(*COURSE[:2])
    assert seen.first_sign is None
    assert not seen.noticed


def test_a_sign_alone_is_not_noticed() -> None:
    seen = findings(*COURSE[:3])
    assert seen.first_sign == (20, BUSY)
    assert not seen.noticed
    assert findings(*COURSE[:4]).noticed


def test_an_outage_that_struck_nobody_cannot_be_noticed() -> None:
    assert not findings(*COURSE, struck=None).noticed


def test_no_lead_where_the_vendors_hour_is_not_known() -> None:
    document = findings(*COURSE, outage=find("postmark-2024-09-16")).document()
    assert document["vendor_acknowledged_seconds"] is None
    assert document["lead_seconds"] is None


def test_the_summary_of_a_vendor_whose_hour_is_not_known() -> None:
    said = "\n".join(summary(findings(*COURSE, outage=find("postmark-2024-09-16")), Truth()))
    assert "the vendor's first word  at an hour that is not known" in said
    assert "mailprobe knew" not in said


def test_the_summary_says_of_each_thing_known_how_long_before_the_vendor() -> None:
    said = list(summary(findings(*COURSE), Truth()))
    text = " ".join(" ".join(said).split())
    before = "before the vendor's first word"
    assert f"first sign 0:00:20 0:36:40 {before} 451 4.3.2 at rcpt" in text
    assert f"degraded 0:01:40 0:35:20 {before}" in text
    assert f"incident opened 0:02:50 0:34:10 {before}" in text
    assert f"failing 0:02:40 0:34:20 {before}" in text
    assert f"mailprobe knew 0:35:20 {before}" in text, "the change of state, not the first sign"


def test_failing_at_once_is_known_as_well() -> None:
    assert findings(changed(100, OK, FAILING), changed(200, FAILING, DEGRADED)).known == 100


def test_a_change_of_state_in_words() -> None:
    assert _said(changed(100, OK, DEGRADED)) == "inbound: DEGRADED, 50 % of the last canaries: 451 4.3.2 at rcpt"
    assert _said(changed(100, DEGRADED, OK)) == "inbound: OK"


@pytest.mark.parametrize(("columns", "widest"), [("80", 80), ("100", 100), ("300", 120)])
def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: str, widest: int) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    truth = "  100% of each connection rcpt reply 451 4.3.2 Temporary server error. Please try again later (some only)"
    lines = list(_row("0:00:10", truth, _said(changed(100, OK, DEGRADED))))
    lines += [*summary(findings(*COURSE), Truth()), *head(OUTAGE, Settings(60))]
    assert widest - 20 < max(len(line) for line in lines) <= widest
    row = "".join("".join(lines[:5]).split())
    assert "Temporaryservererror" in row or "Please" in row


def test_the_vendor_may_be_first() -> None:
    early = replace(OUTAGE, acknowledged=replace(OUTAGE.acknowledged, seconds=0.0))
    assert findings(*COURSE, outage=early).lead == -20


def test_an_outage_of_some_traffic_has_a_route_beside_it() -> None:
    assert Cast.of(OUTAGE).names == ("inbound-1", "inbound-2", "inbound-3")
    assert Cast.of(find("postmark-2024-09-16"), routes=1).names == ("outbound",)
    cast = Cast.of(find("exo-2023-10-11"), routes=2)
    assert cast.names == ("inbound-1", "inbound-2", "untouched")
    assert cast.senders == {"inbound": ("inbound-1", "inbound-2"), "untouched": ("untouched",)}
    assert cast.tagged(Context(1, "mx", "127.0.0.1", sender="sender-inbound@lab.test"), "listed-source")
    assert not cast.tagged(Context(1, "mx", "127.0.0.1", sender="sender-untouched@lab.test"), "listed-source")


def test_timeouts_keep_pace() -> None:
    assert Settings(speed=60).timeout == 0.5
    assert Settings(speed=3600).timeout == 0.25


# ---- whole plays

SHORT = """\
id: short
title: Eight minutes of refusals
acknowledged: {at: 2026-01-22T19:05:00Z, minutes: 5, where: a page}
replay:
  zero: 2026-01-22T19:00:00Z
  through: mx
  phases:
    - {label: full, from: 0, to: 8, effects: [EFFECT]}
    - {label: recovered, from: 8, to: 70, effects: []}
  skip:
    - {from: 13, to: 68}
"""
REFUSED = "{at: rcpt, do: reply, reply: '550 5.1.1 no such user'}"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lead-in of five minutes; no time-out that a busy machine could exceed."""
    monkeypatch.setattr("mailprobe.cli.drill.LEAD_IN", 300.0)
    monkeypatch.setattr("mailprobe.cli.drilling.SHORTEST_TIMEOUT", 5.0)


def play(directory: Path, effect: str, *options: str) -> Result:
    file = directory / "short.yaml"
    file.write_text(SHORT.replace("EFFECT", effect))
    return CliRunner().invoke(drill, [str(file), "--speed", "240", *options])


@pytest.mark.usefixtures("quick")
def test_a_short_outage_is_noticed_on_each_route(tmp_path: Path) -> None:
    result = play(tmp_path, REFUSED, "--format", "json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document.keys() >= CONTRACT
    assert 0 < document["first_affected_seconds"] <= document["first_sign_seconds"] < 480
    assert document["degraded_seconds"] or document["failing_seconds"]
    assert document["canaries"]["rejected"] >= 6
    assert document["canaries"]["delivered"] >= 3
    # nobody gives account of the slots of a stretch that was not played
    assert document["canaries"]["skipped"] == 0
    assert {each["route"] for each in document["incidents"]} == {"inbound-1", "inbound-2", "inbound-3"}
    assert {(each["stage"], each["code"], each["reason"]) for each in document["incidents"]} == {
        ("rcpt", 550, "rejected")
    }


@pytest.mark.usefixtures("quick")
def test_the_time_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    result = play(tmp_path, REFUSED, "--routes", "1")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    truth = [line for line in lines if "FULL" in line or "THE VENDOR'S FIRST WORD" in line or "(nothing new" in line]
    assert [line.split()[0] for line in truth] == ["0:00:00", "0:05:00", "0:13:00"]
    assert any("inbound: a sign, 550 5.1.1 at rcpt" in line for line in lines)
    assert any("the vendor's first word  0:05:00" in line for line in lines)


@pytest.mark.usefixtures("quick")
def test_what_strikes_nobody_is_not_noticed(tmp_path: Path) -> None:
    # mail from outside needs no log-in
    result = play(tmp_path, "{at: auth, do: drop}", "--format", "json", "--routes", "1")
    assert json.loads(result.stdout)["first_affected_seconds"] is None
    assert result.exit_code == 2


def test_a_bad_file(tmp_path: Path) -> None:
    result = play(tmp_path, "{at: rcpt, do: bounce}")
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "short.yaml:8:" in result.stderr


def test_an_outage_nobody_heard_of() -> None:
    result = CliRunner().invoke(drill, ["m365-2027"])
    assert result.exit_code == 3
    assert "m365-2026-01-22" in result.stderr
