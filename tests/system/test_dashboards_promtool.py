"""What the dashboards' queries answer to metrics made by hand, in promtool: several vantage points, first events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.dashboards import ALL_QUERIES, values
from support.rules import promtool

pytestmark = pytest.mark.server("prometheus")
STATES = ("ok", "unknown", "degraded", "failing")
VENDOR_STATES = ("ok", "unknown", "unreachable", "maintenance", "degraded", "outage")
HOUR = 3600
Series = dict[str, str]
"""Samples a minute by series, as promtool writes them."""
Answer = Mapping[str, float]
"""Numbers by labels."""


def at(instance: str, metric: str, labels: str = "") -> str:
    return f'{metric}{{job="mailprobe",instance="{instance}"{"," if labels else ""}{labels}}}'


def one_hot(instance: str, metric: str, labels: str, names: tuple[str, ...], state: str) -> Series:
    """A series for each state, of which one is 1, for two hours."""
    return {at(instance, metric, f'{labels},state="{name}"'): f"{int(name == state)}+0x120" for name in names}


def states(seen: Mapping[tuple[str, str], str]) -> Series:
    """The state of routes by vantage point and route."""
    return {
        series: samples
        for (instance, route), state in seen.items()
        for series, samples in one_hot(instance, "mailprobe_route_state", f'route="{route}"', STATES, state).items()
    }


def expression(board: str, panel: str, ref: str = "A", seconds: int = HOUR) -> str:
    """A query as Grafana would ask it."""
    (query,) = [each for each in ALL_QUERIES if (each.board, each.panel, each.ref) == (board, panel, ref)]
    return query.filled(values(rate_interval="5m", seconds=seconds))


def check(place: Path, series: Series, expected: Mapping[str, Answer], minute: int = 120) -> None:
    """That each of the expressions gives these numbers after so many minutes."""
    document = {
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": samples} for name, samples in series.items()],
                "promql_expr_test": [
                    {
                        "expr": asked,
                        "eval_time": f"{minute}m",
                        "exp_samples": [{"labels": labels, "value": value} for labels, value in answer.items()],
                    }
                    for asked, answer in expected.items()
                ],
            }
        ],
    }
    file = place / "dashboards.yml"
    file.write_text(json.dumps(document))
    promtool("test", "rules", str(file))


# ---- several vantage points


def test_who_does_not_know_hides_no_trouble(tmp_path: Path) -> None:
    """The colours and words of a number are its state's; of several the worst is taken."""
    seen = states({("a", "one"): "failing", ("b", "one"): "unknown", ("a", "two"): "ok", ("b", "two"): "unknown"})
    seen |= one_hot("a", "mailprobe_vendor_status", 'feed="m365"', VENDOR_STATES, "outage")
    seen |= one_hot("b", "mailprobe_vendor_status", 'feed="m365"', VENDOR_STATES, "unreachable")
    check(
        tmp_path,
        seen,
        {
            expression("route", "State"): {"{}": 3},
            expression("outage", "States"): {'{route="one"}': 3, '{route="two"}': 1},
            expression("overview", "What vendors say, beside what we see"): {'{feed="m365"}': 5},
        },
    )


def test_what_two_agents_see_is_counted_once(tmp_path: Path) -> None:
    """Two agents probe one and two, each a route of its own; only one of them looks into the mailbox `seen`."""
    everything = states(
        {
            ("a", "one"): "failing",
            ("b", "one"): "degraded",
            ("a", "two"): "ok",
            ("b", "two"): "unknown",
            ("a", "shard-a"): "ok",
            ("b", "shard-b"): "degraded",
        }
    )
    for instance, route in (("a", "one"), ("b", "one"), ("b", "shard-b")):
        everything[at(instance, "mailprobe_incident_open", f'route="{route}"')] = "1+0x120"
    for instance, mailbox, up in (("a", "seen", 1), ("b", "seen", 0), ("a", "blind", 0), ("b", "blind", 0)):
        everything[at(instance, "mailprobe_mailbox_up", f'mailbox="{mailbox}"')] = f"{up}+0x120"
    counts = {"failing": 1, "degraded": 1, "unknown": 1, "ok": 1}
    check(
        tmp_path,
        everything,
        {
            expression("overview", "Routes by state"): {f'{{state="{state}"}}': n for state, n in counts.items()},
            expression("overview", "Open incidents"): {"{}": 2},
            expression("overview", "Blind mailboxes"): {"{}": 1},
            expression("mailboxes", "Blind mailboxes"): {"{}": 1},
        },
    )


def test_a_state_without_routes_is_counted_too(tmp_path: Path) -> None:
    counts = {"failing": 0, "degraded": 0, "unknown": 0, "ok": 1}
    answer = {f'{{state="{state}"}}': count for state, count in counts.items()}
    check(tmp_path, states({("a", "one"): "ok"}), {expression("overview", "Routes by state"): answer})


# ---- first events


def refused(first: str, again: str, usual: str) -> Series:
    """An agent with a route on which three codes were said, one as deferral and rejection of each series."""
    found = {at("a", "mailprobe_build_info"): "1+0x120"}
    for metric, stage in (("deferrals", "rcpt"), ("rejections", "data")):
        for code, samples in (("1", first), ("2", again), ("3", usual)):
            whole = f"{'4' if metric == 'deferrals' else '5'}5{code}"
            labels = f'route="one",stage="{stage}",code="{whole}",enhanced_code=""'
            found[at("a", f"mailprobe_{metric}_total", labels)] = samples
    return found


def test_the_first_refusal_of_a_code_is_shown(tmp_path: Path) -> None:
    """Said once half an hour ago; three times, of which the first an hour and a half ago; twice within the hour."""
    once = "_x90 1+0x30"
    before = "_x30 1+0x50 2+0x20 3+0x20"
    twice = "_x80 1+0x20 2+0x20"
    counts = {"451": 1, "452": 2, "453": 2}
    check(
        tmp_path,
        refused(once, before, twice),
        {
            expression("outage", "Replies", ref): {
                f'{{stage="{stage}",code="{code.replace("4", first, 1)}"}}': count for code, count in counts.items()
            }
            for ref, stage, first in (("A", "rcpt", "4"), ("B", "data", "5"))
        },
    )


def test_the_first_refusal_of_a_code_has_a_bar(tmp_path: Path) -> None:
    """Said two minutes ago and once more, in a step that looks back five: two fifths of a refusal a minute."""
    series = refused("_x118 1 2 2", "1+0x120", "1+0x120")
    at_stage = {"A": 'stage="rcpt",code="451"', "B": 'stage="data",code="551"'}
    codes = {
        expression("overview", "Refusals by code", ref): {f'{{code="{c}"}}': 0.4} for ref, c in (("A", 451), ("B", 551))
    }
    replies = {
        expression("route", "Refusals by reply", ref): {f"{{{labels}}}": 0.4} for ref, labels in at_stage.items()
    }
    check(tmp_path, series, codes | replies)


def test_refusals_before_and_after_a_restart_are_counted(tmp_path: Path) -> None:
    """Three times, then the agent was away for ten minutes, then twice more."""
    series = refused("_x80 1 2 3+0x10 _x10 1 2+0x20", "1+0x120", "1+0x120")
    check(tmp_path, series, {expression("outage", "Replies", "A"): {'{stage="rcpt",code="451"}': 5}})


def test_what_was_refused_before_the_agent_was_scraped_is_not_shown(tmp_path: Path) -> None:
    """The agent has counted 40 when Prometheus finds it, and one more since."""
    series = refused("_x90 40+0x10 41+0x20", "_x90 40+0x30", "_x90 40+0x30")
    series[at("a", "mailprobe_build_info")] = "_x90 1+0x30"
    check(
        tmp_path,
        series,
        {
            expression("outage", "Replies", "A"): {'{stage="rcpt",code="451"}': 1},
            expression("outage", "Replies", "B"): {'{stage="data",code="551"}': 1},
        },
    )


def test_the_most_frequent_failures_have_first_refusals(tmp_path: Path) -> None:
    series = refused("_x90 1+0x30", "1+0x120", "1+0x120")
    answer = {'{stage="rcpt",code="451"}': 1, '{stage="data",code="551"}': 1}
    check(tmp_path, series, {expression("overview", "Failures, the most frequent"): answer})


# ---- how long, how late


def test_the_longest_incident_is_no_longer_than_it_was(tmp_path: Path) -> None:
    """Half an hour of an agent that was there for forty minutes; the range is six hours."""
    series = {at("a", "mailprobe_incident_open", 'route="one"'): "_x80 0+0x10 1+0x29"}
    longest = expression("outage", "Longest incident", seconds=6 * HOUR)
    check(tmp_path, series, {longest: {"{}": 1800}})


def test_an_incident_is_known_later_than_it_began(tmp_path: Path) -> None:
    """Degraded for five minutes before it was certain; the tile tells what it can, and is not called its begin."""
    series = states({("a", "one"): "degraded"})
    series[at("a", "mailprobe_incident_open", 'route="one"')] = "0+0x94 1+0x30"
    check(tmp_path, series, {expression("outage", "Incident known since"): {"{}": 95 * 60 * 1000}})


def test_where_nothing_was_delivered_there_is_no_delay(tmp_path: Path) -> None:
    """Of none the quantile is no number, and a line of that is no gap."""
    buckets = "mailprobe_delivery_duration_seconds_bucket"
    series = {at("a", buckets, f'route="one",le="{bound}"'): "3+0x120" for bound in ("1", "5", "+Inf")}
    panels = (("overview", "Delivery time, half and nearly all"), ("route", "Delivery time, and the last canaries"))
    check(tmp_path, series, {expression(*panel, ref): {} for panel in panels for ref in "AB"})


# ---- rows


def test_one_answer_is_one_row(tmp_path: Path) -> None:
    """Two agents probe the route, and one of them looks away half of the time."""
    series = states({("a", "one"): "failing", ("b", "one"): "ok"})
    for agent, value in (("a", 0), ("b", 1)):
        series[at(agent, "mailprobe_mta_sts_pass", 'route="one"')] = f"{value}+0x120"
        series[at(agent, "mailprobe_dane_pass", 'route="one"')] = f"{value}+0x120"
        series[at(agent, "mailprobe_mailbox_blind_seconds_total", 'mailbox="box"')] = f"0+{30 * (1 - value)}x120"
    check(
        tmp_path,
        series,
        {
            expression("overview", "States over time, of routes that were not always ok"): {'{route="one"}': 3},
            expression("route", "MTA-STS and DANE", "A"): {"{}": 0},
            expression("route", "MTA-STS and DANE", "B"): {"{}": 0},
            expression("mailboxes", "Blind"): {'{mailbox="box"}': 0.5},
        },
    )
