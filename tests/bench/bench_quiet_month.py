"""How often MailProviderTrouble pages in quiet months in which nothing is wrong, by the shipped rules in promtool.

PYTHONPATH=tests python tests/bench/bench_quiet_month.py [--seeds 1 2 3] [--days 30] [--routes 20] [--providers 5]

A month (`support.simulations.Month`) gives each route's state and affected share at every scrape. Where fewer than
three canaries or two routes to a provider are affected the rules do not fire; the rest, with minutes around, goes
through promtool.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from support.rules import RULES, groups
from support.scrapes import notation
from support.simulations import Month
from workbench import machine

from mailprobe.model import Canary, RouteState

SCRAPE = 15.0
AROUND = 360.0
"""Seconds before and after that are played too, more than the rules look back."""
TARGET = 'job="mailprobe",instance="a:10587",site="fra1"'


@dataclass(slots=True)
class Steps:
    """A value that changes at instants."""

    at: list[float] = field(default_factory=lambda: [0.0])
    values: list[float] = field(default_factory=lambda: [0.0])

    def become(self, at: float, value: float) -> None:
        if value != self.values[-1]:
            self.at.append(max(at, self.at[-1]))
            self.values.append(value)

    def get(self, at: float) -> float:
        return self.values[bisect_right(self.at, at) - 1]


class NotedMonth(Month):
    """A month that notes each route's affected share."""

    def __post_init__(self) -> None:
        Month.__post_init__(self)
        self.shares = {f"route{number}": Steps() for number in range(self.routes)}

    def _attempt(self, canary: Canary, number: int, attempt: int, at: float) -> None:
        super()._attempt(canary, number, attempt, at)
        route = f"route{number}"
        self.shares[route].become(at, self.states.share(route))


def spells(shares: list[Steps]) -> Iterator[tuple[float, float]]:
    """When three canaries on two routes of a provider were affected, with the time around, joined where they touch."""
    changes = sorted({at for steps in shares for at in steps.at})
    found: tuple[float, float] | None = None
    for begin, end in zip(changes, [*changes[1:], changes[-1]], strict=True):
        now = [steps.get(begin) for steps in shares]
        if sum(share > 0.0 for share in now) < 2 or sum(now) < 0.25:
            continue
        if found and begin - AROUND <= found[1]:
            found = found[0], end + AROUND
        else:
            if found:
                yield found
            found = begin - AROUND, end + AROUND
    if found:
        yield found


def series(month: NotedMonth, routes: list[str], instants: list[float]) -> Iterator[dict[str, str]]:
    """What would have been scraped of these routes."""
    for route in routes:
        label = f'route="{route}"'
        states = Steps(values=[1.0])
        for change in month.told.changes:
            if change.route == route:
                states.become(change.at, list(RouteState).index(change.state))
        place = f'{label},sender="outside",mailbox="box",kind="mx"'
        yield {"series": f"mailprobe_route_info{{{TARGET},{place}}}", "values": notation([1.0] * len(instants))}
        affected = [month.shares[route].get(at) for at in instants]
        yield {"series": f"mailprobe_route_affected_ratio{{{TARGET},{label}}}", "values": notation(affected)}
        for number, state in enumerate(RouteState):
            values = [float(states.get(at) == number) for at in instants]
            yield {
                "series": f'mailprobe_route_state{{{TARGET},{label},state="{state}"}}',
                "values": notation(values),
            }


def write_rules(file: Path, alert: str) -> None:
    """The shipped rules that the alert hangs on, and it."""
    kept = [
        group for path in RULES for group in groups(path) if group["name"] in ("mailprobe-routes", "mailprobe-mail")
    ]
    only = [
        {"name": group["name"], "rules": [rule for rule in group["rules"] if rule.get("alert", alert) == alert]}
        for group in kept
    ]
    file.write_text(json.dumps({"groups": only}))


def case(month: NotedMonth, routes: Sequence[str], begin: float, end: float, alert: str) -> dict[str, object]:
    """That the alert never fires from one instant to another."""
    count = int((end - begin) // SCRAPE)
    instants = [begin + number * SCRAPE for number in range(count)]
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    return {
        "name": f"at {begin:.0f}",
        "interval": f"{SCRAPE:.0f}s",
        "input_series": list(series(month, routes, instants)),
        "promql_expr_test": [
            {
                "expr": f"max_over_time(({firing})[{count * SCRAPE:.0f}s:{SCRAPE:.0f}s])",
                "eval_time": f"{(count - 1) * SCRAPE:.0f}s",
                "exp_samples": [{"labels": "{}", "value": 0}],
            }
        ],
    }


def pages(month: NotedMonth, directory: Path, alert: str) -> tuple[int, int]:
    """How many spells were played, and in how many of them the alert fired."""
    write_rules(directory / "rules.json", alert)
    by_provider = [[f"route{n}" for n in range(p, month.routes, month.providers)] for p in range(month.providers)]
    cases = [
        case(month, routes, begin, end, alert)
        for routes in by_provider
        for begin, end in spells([month.shares[route] for route in routes])
    ]
    document = {
        "rule_files": ["rules.json"],
        "evaluation_interval": f"{SCRAPE:.0f}s",
        "group_eval_order": ["mailprobe-routes", "mailprobe-mail"],
        "tests": cases,
    }
    file = directory / "month.json"
    file.write_text(json.dumps(document))
    memory = {"TMPDIR": "/dev/shm"} if Path("/dev/shm").is_dir() else {}
    done = subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, env=os.environ | memory
    )
    said = done.stdout + done.stderr
    fired = len(re.findall(r"expr: \"max_over_time", said))
    assert (done.returncode == 0) is (fired == 0), said[:2000]
    return len(cases), fired


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--routes", type=int, default=20)
    parser.add_argument("--providers", type=int, default=5)
    parser.add_argument("--alert", default="MailProviderTrouble")
    given = parser.parse_args()
    print(machine(), flush=True)
    for seed in given.seeds:
        begun = time.perf_counter()
        month = NotedMonth(seed, given.days, given.routes, given.providers)
        month.run()
        with tempfile.TemporaryDirectory(prefix="mailprobe-bench-") as name:
            played, fired = pages(month, Path(name), given.alert)
        took = time.perf_counter() - begun
        print(f"seed {seed}: {given.alert} {fired} times; {played} spells played, in {took:.0f} s", flush=True)


if __name__ == "__main__":
    main()
