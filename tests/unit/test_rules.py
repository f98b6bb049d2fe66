"""The rules and the registry agree: every metric, label and value that a rule uses exists, every alert is explained."""

from __future__ import annotations

import re

import pytest
import yaml
from support.rules import ALERTS, CASES, DEPLOY, RULES, alerts, expressions, faster, groups, metrics_used, rules
from test_observe_metrics import CONTRACT

from mailprobe.errors import Reason, Stage
from mailprobe.model import Outcome, RouteState
from mailprobe.observe.token_metrics import TokenResult

LABELS = {name: set(labels) for name, _, *labels in map(str.split, CONTRACT.strip().splitlines())}
SUFFIXES = re.compile(r"_(bucket|count|sum)$")
TARGET = {"job", "instance", "site"}
"""Of the scrape; `provider` may be set there too."""
DERIVED = {"provider", "quantile", "le"}
VALUES = {
    "state": {str(state) for state in RouteState},
    "outcome": {str(outcome) for outcome in Outcome},
    "stage": {str(stage) for stage in Stage},
    "reason": {str(reason) for reason in Reason},
    "result": {str(result) for result in TokenResult},
}
EXPRESSIONS = sorted({" ".join(expression.split()) for expression in expressions()})
RECORDED = {rule["record"] for rule in rules() if "record" in rule}
SELECTOR = re.compile(r"(?<![\w:])((?:\w+:)?mailprobe_[\w:]+|\w+:mailprobe_[\w:]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*[\"']([^\"']*)[\"']")
CLAUSE = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")


def labels_of(metric: str) -> set[str]:
    """The labels of one of the agent's metrics; `le` of a histogram's buckets."""
    base = SUFFIXES.sub("", metric)
    return LABELS[base if base in LABELS else metric] | ({"le"} if metric.endswith("_bucket") else set())


KNOWN = set().union(*(labels_of(name) for name in metrics_used())) | TARGET | DERIVED


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_rule_uses_only_what_exists(expression: str) -> None:
    names = {name for name, _ in SELECTOR.findall(expression)}
    assert names or expression.startswith("up{")
    assert {name for name in names if ":" in name} <= RECORDED
    for name, matchers in SELECTOR.findall(expression):
        for label, value in MATCHER.findall(matchers):
            if ":" not in name:
                assert label in labels_of(name) | TARGET | {"provider"}, f"{name} has no label {label}"
            for pattern in value.split("|") if label in VALUES and value != "%s" else ():
                assert any(re.fullmatch(pattern, one) for one in VALUES[label]), f"{name} has no {label} {pattern}"
    for clause in CLAUSE.findall(expression):
        assert {label.strip() for label in clause.split(",") if label.strip()} <= KNOWN


def test_the_metrics_are_found_in_the_rules() -> None:
    """Or the test above would be content with anything."""
    assert {"mailprobe_route_state", "mailprobe_deferrals_total", "mailprobe_mailbox_up"} <= metrics_used()
    assert len(metrics_used()) > 20


def test_every_recorded_series_is_named_by_level_metric_and_operation() -> None:
    assert all(re.fullmatch(r"[a-z_]+:mailprobe_[a-z_]+:[a-z0-9]+", name) for name in RECORDED)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: f"{rule['alert']}-{rule['labels'].get('window', '')}")
def test_an_alert_is_explained(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket", "none"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    file, _, section = rule["annotations"]["runbook_url"].partition("#")
    text = (DEPLOY.parent / file).read_text(encoding="utf-8")
    assert section in {heading.lower() for heading in re.findall(r"^## (\w+)$", text, re.MULTILINE)}


def test_every_section_of_the_runbook_is_an_alert() -> None:
    text = (DEPLOY / "RUNBOOK.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)$", text, re.MULTILINE) == list(dict.fromkeys(rule["alert"] for rule in alerts()))


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    """Every rule of an alert: by its severity and window."""
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    fires = {
        (case["alertname"], alert["exp_labels"]["severity"], alert["exp_labels"].get("window"))
        for case in cases
        for alert in case["exp_alerts"]
    }
    assert silent == {rule["alert"] for rule in alerts()}
    assert fires == {(rule["alert"], rule["labels"]["severity"], rule["labels"].get("window")) for rule in alerts()}


def test_rule_files_are_plain() -> None:
    """No anchors, no templating of other tools: they are packed as they are."""
    for file in RULES:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r": [&*]\w+$", text, re.MULTILINE)
        assert all(set(group) <= {"name", "interval", "rules"} for group in groups(file))


def test_faster() -> None:
    assert faster('for: 5m\nexpr: x[1h] offset 45s > 14 * 86400 {le="60.0"} ratio1h', 60) == (
        'for: 5000ms\nexpr: x[60000ms] offset 750ms > 14 * 86400 {le="60.0"} ratio1h'
    )
    assert yaml.safe_load(faster(ALERTS.read_text(), 60))
