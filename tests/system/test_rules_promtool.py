"""The shipped rules in promtool: every case by hand, and every outage of the catalogue as an agent's metrics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.rules import CASES, DEPLOY, RULES, metrics_used, promtool, seconds, write_tests
from support.scrapes import LEAD_IN, Played, record

from mailprobe.lab.outage import catalogue, find

pytestmark = [pytest.mark.server("prometheus"), pytest.mark.timeout(300)]
TARGET = 'job="mailprobe",instance="a:10587",site="fra1"'
MINUTE = 60.0
FOUNDING = "m365-2026-01-22"


def test_prometheus_takes_the_rules() -> None:
    promtool("check", "rules", "--lint-fatal", *map(str, RULES))


def test_cases() -> None:
    promtool("test", "rules", str(CASES))


@dataclass(frozen=True)
class Told:
    """What has to fire in an outage: alert, severity, and minutes after the impact at which it does.

    `step` in seconds, of scrapes and evaluations: hours of an outage are played in larger ones.
    """

    fires: tuple[tuple[str, str, float], ...]
    until: int
    routes: int = 3
    seed: int = 1
    step: float = 30.0


OUTAGES = {
    FOUNDING: Told((("MailProviderTrouble", "page", 10), ("MailRouteFailing", "page", 44)), 45),
    "exo-2021-02-03": Told((("MailOverdue", "ticket", 60), ("MailProviderTrouble", "page", 70)), 75, step=60.0),
    "exo-2023-10-11": Told((("MailProviderTrouble", "page", 10), ("MailDeferralsRising", "ticket", 29)), 30),
    "exo-imap-2026-01-02": Told((("MailboxRefusing", "ticket", 120),), 121, routes=1, step=60.0),
    "gmail-2020-12-15": Told((("MailRouteDegraded", "page", 12), ("MailErrorBudgetBurn", "page", 30)), 35),
    "postmark-2024-09-16": Told((("MailProviderTrouble", "page", 5), ("MailRouteFailing", "page", 8)), 10),
}


def firing(alert: str, severity: str, minute: float, fires: bool = True) -> dict[str, Any]:
    """That an alert of the provider in trouble fires at a minute, or does not."""
    selector = f'ALERTS{{alertname="{alert}",alertstate="firing",severity="{severity}",provider="contoso"}}'
    return {
        "expr": f"count({selector}) > bool 0 or vector(0)",
        "eval_time": f"{LEAD_IN + minute * MINUTE:.0f}s",
        "exp_samples": [{"labels": "{}", "value": int(fires)}],
    }


def silent(selector: str, minute: float) -> dict[str, Any]:
    """That no such alert fires at a minute."""
    return {
        "expr": f'count(ALERTS{{alertstate="firing",alertname!="MailprobeWatchdog",{selector}}}) or vector(0)',
        "eval_time": f"{LEAD_IN + minute * MINUTE:.0f}s",
        "exp_samples": [{"labels": "{}", "value": 0}],
    }


def test_every_outage_is_told() -> None:
    assert set(OUTAGES) == set(catalogue())


@pytest.mark.parametrize("name", sorted(OUTAGES))
def test_an_outage(name: str, tmp_path: Path) -> None:
    """Silent before it, told in it; a healthy provider beside it is never spoken of."""
    told = OUTAGES[name]
    ill = [Played(f"inbound{number}", "contoso", find(name)) for number in range(told.routes)]
    recording = record([*ill, Played("other", "fabrikam", None)], told.until * MINUTE, step=told.step, seed=told.seed)
    expected = [silent("", minute) for minute in (-10, -5, -0.5)]
    expected += [silent('provider="fabrikam"', minute) for minute in range(0, told.until, 5)]
    expected += [firing(*fires) for fires in told.fires]
    write_tests(
        tmp_path / "outage.yml", list(recording.input_series(TARGET, metrics_used())), expected, f"{told.step:.0f}s"
    )
    promtool("test", "rules", str(tmp_path / "outage.yml"))


def test_the_founding_outage_pages_within_three_minutes(tmp_path: Path) -> None:
    """Five routes to the provider, a canary a minute on each; from the first minute of the impact to the notification.

    Between the two lie at most a scrape and an evaluation, of all that the alert hangs on, and the time for which
    Alertmanager waits for more. Two seeds: who is struck is chance.
    """
    settings = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["global"]
    routing = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text())["route"]["routes"]
    (pages,) = [route for route in routing if 'severity="page"' in route["matchers"]]
    delays = seconds(settings["evaluation_interval"]) + seconds(pages["group_wait"])
    assert settings["scrape_interval"] == "15s"
    for seed in (1, 2):
        routes = [Played(f"inbound{number}", "contoso", find(FOUNDING)) for number in range(5)]
        series = record(routes, 4 * MINUTE, seed=seed).input_series(TARGET, metrics_used())
        at = (180.0 - delays) / MINUTE
        expected = [silent("", -0.25), firing("MailProviderTrouble", "page", at)]
        write_tests(tmp_path / "onset.yml", list(series), expected, "15s")
        promtool("test", "rules", str(tmp_path / "onset.yml"))


def test_nothing_begins_to_page_when_an_outage_is_over(tmp_path: Path) -> None:
    """The window of half an hour outlasts the alert about the provider, which kept it back."""
    name = "postmark-2024-09-16"
    series = record([Played(f"inbound{number}", "contoso", find(name)) for number in range(3)], 620 * MINUTE, step=60.0)
    expected = [firing("MailProviderTrouble", "page", 585)]
    expected += [silent('severity="page"', minute) for minute in range(596, 620)]
    write_tests(tmp_path / "over.yml", list(series.input_series(TARGET, metrics_used())), expected, "60s")
    promtool("test", "rules", str(tmp_path / "over.yml"))


def test_no_page_waits_until_prometheus_looks_back_three_minutes(tmp_path: Path) -> None:
    """Four canaries on two of three routes, in the first two and a half minutes that Prometheus has seen."""
    affected = {"first": "0+0x2 0.1+0x2 0.2+0x60", "second": "0+0x4 0.1+0x3 0.2+0x60", "third": "0+0x60"}
    series = []
    for route, values in affected.items():
        where = f'{TARGET},route="{route}"'
        info = f'mailprobe_route_info{{{where},sender="outside",mailbox="contoso",kind="mx"}}'
        series.append({"series": info, "values": "1+0x60"})
        series.append({"series": f"mailprobe_route_affected_ratio{{{where}}}", "values": values})
    expected = [firing("MailProviderTrouble", "page", 2.5 - LEAD_IN / MINUTE)]
    write_tests(tmp_path / "young.yml", series, expected, "15s")
    promtool("test", "rules", str(tmp_path / "young.yml"))


def test_everyday_life_is_silent(tmp_path: Path) -> None:
    """Two hours of four routes on which one attempt in 200 is deferred."""
    routes = [Played(f"inbound{number}", ("contoso", "fabrikam")[number % 2], None) for number in range(4)]
    recording = record(routes, 120 * MINUTE, step=60.0)
    expected = [silent("", minute) for minute in range(-10, 120, 2)]
    write_tests(tmp_path / "quiet.yml", list(recording.input_series(TARGET, metrics_used())), expected, "60s")
    promtool("test", "rules", str(tmp_path / "quiet.yml"))


def test_prometheus_takes_the_scrape_examples(tmp_path: Path) -> None:
    """Debian's Prometheus is built without Kubernetes discovery: that job is checked with a list in its place."""
    promtool("check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))
    example = yaml.safe_load((DEPLOY / "prometheus" / "prometheus-kubernetes.yml").read_text())
    (job,) = example["scrape_configs"]
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump({"scrape_configs": [job | {"static_configs": [{"targets": ["a:10587"]}]}]}))
    promtool("check", "config", str(file))
