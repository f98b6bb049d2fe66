"""How long each query of each shipped rule takes in Prometheus, with 30 days of history of 200 routes.

PYTHONPATH=tests python tests/bench/bench_rules.py [--routes 200] [--days 30]

A sample a day, so that 30 days of blocks with all series are there, and dense where the rules look back: of the agents'
metrics every 15 s as far as each one's longest window, of what the rules record every minute as far as that. The
present is scraped and the rules run, as in life, so that every query finds what it joins with.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from support.mail_history import write_blocks
from support.replay import serving_pages
from support.rules import RULES, expressions
from support.servers_prometheus import Prometheus, running_prometheus
from workbench import machine, precede

from mailprobe.model import Outcome, RouteState
from mailprobe.observe import families

MINUTE, HOUR, DAY = 60, 3600, 86400
PROVIDERS = 10
SITE = {"site": "fra1", "instance": "a:10587"}
TARGET = 'job="mailprobe",site="fra1",instance="a:10587"'
SCRAPES, EVALUATIONS = 15, 60
"""Seconds between two, of the metrics and of what is recorded."""
WINDOW = 35 * MINUTE
"""Of 15 minutes, 15 minutes ago, and some more."""
RUNS = 7
BAR = 200.0
"""Milliseconds."""


@dataclass(slots=True)
class Line:
    """A series: how far back it is dense, and how likely it counts on at a scrape (0: it stays 1, or as drawn)."""

    name: str
    dense: int
    rises: float = 0.0
    value: float = 1.0

    def next(self) -> str:
        self.value += random.random() < self.rises
        return f"{self.name} {self.value!r}\n"


def metrics(routes: int) -> Iterator[Line]:
    """What the rules use of the agents' metrics."""
    for number in range(routes):
        route, place = f'route="r{number}"', f'sender="s{number % 5}",mailbox="m{number % PROVIDERS}",kind="mx"'

        def line(metric: str, labels: str, rises: float = 0.0, dense: int = WINDOW) -> Line:
            return Line(f"mailprobe_{metric}{{{TARGET},{labels}}}", dense, rises, 0.0 if rises else 1.0)

        yield line("route_info", f"{route},{place}")
        yield line("route_affected_ratio", route)
        yield line("attempts_total", route, 0.5)
        yield line("lost_total", route, 0.0001, 6 * HOUR)
        for state in RouteState:
            yield line("route_state", f'{route},state="{state}"')
        for outcome in Outcome:
            yield line("canaries_total", f'{route},outcome="{outcome}"', 0.1, 2 * HOUR)
        for kind, (stage, reason) in enumerate(families.FAILURES_TOTAL.zeros):
            found = line("failures_total", f'{route},stage="{stage}",reason="{reason}"', 0.01)
            yield found if kind % 10 == 0 else replace(found, rises=0.0)  # most kinds never happen
        for code in ("451", "450", "421"):
            yield line("deferrals_total", f'{route},stage="rcpt",code="{code}",enhanced_code="4.3.2"', 0.05)
        for bound in (*map(repr, families.DELAY_BUCKETS), "+Inf"):
            yield line("delivery_duration_seconds_bucket", f'{route},le="{bound}"', 0.5)


def recorded(routes: int) -> Iterator[Line]:
    """What the rules themselves look back at."""

    def line(name: str, labels: str, dense: int) -> Line:
        return Line(f'{name}{{job="mailprobe",{labels}}}', dense, 0.0, random.random())

    for number in range(routes):
        provider = f'provider="m{number % PROVIDERS}"'
        labels = f'route="r{number}",sender="s{number % 5}",mailbox="m{number % PROVIDERS}",kind="mx",{provider}'
        for name in ("judged", "bad"):
            yield line(f"route:mailprobe_canaries_{name}:rate5m", labels, HOUR)
        yield line("route:mailprobe_delivery_duration_seconds:quantile15m", f'{labels},quantile="0.9"', DAY + HOUR)
    for number in range(PROVIDERS):
        provider = f'provider="m{number}"'
        for name in ("judged", "bad"):
            yield line(f"provider:mailprobe_canaries_{name}:rate5m", f'{provider},kind="mx"', 3 * DAY)
        for code in ("451", "450", "421"):
            labels = f'{provider},stage="rcpt",code="{code}",enhanced_code="4.3.2"'
            yield line("provider_code:mailprobe_deferrals:ratio15m", labels, DAY + HOUR)


@dataclass(slots=True)
class History:
    """All series, and how many samples of them were made."""

    routes: int
    samples: int = 0
    scraped: list[Line] = field(default_factory=list)
    kept: list[Line] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scraped = sorted(metrics(self.routes), key=lambda line: -line.dense)
        self.kept = sorted(recorded(self.routes), key=lambda line: -line.dense)

    def pages(self, days: int, end: int) -> Iterator[tuple[int, str]]:
        """Unix time and samples, from the oldest on."""
        farthest = self.kept[0].dense
        for at in range(end - days * DAY, end - farthest, DAY):
            yield at, self._page([*self.scraped, *self.kept])
        for at in range(end - farthest, end + 1, SCRAPES):
            lines = self._dense(self.scraped, end - at)
            if at % EVALUATIONS == 0:
                lines += self._dense(self.kept, end - at)
            if lines:
                yield at, self._page(lines)

    def now(self) -> str:
        """What is scraped now."""
        return self._page(self.scraped)

    def _dense(self, lines: Sequence[Line], age: int) -> list[Line]:
        return list(itertools.takewhile(lambda line: line.dense >= age, lines))

    def _page(self, lines: Sequence[Line]) -> str:
        self.samples += len(lines)
        return "".join(line.next() for line in lines)


def in_target(page: str) -> str:
    """A page as the agent has it: without the labels that the scrape adds."""
    return page.replace(f"{TARGET},", "")


def groups_of(prometheus: Prometheus) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = prometheus.get("/api/v1/rules")["data"]["groups"]
    return found


def least_run(prometheus: Prometheus, seen: dict[str, set[str]]) -> int:
    """How often the group has run that has run least, as far as was `seen`."""
    for group in groups_of(prometheus):
        times = seen.setdefault(group["name"], set())
        if not group["lastEvaluation"].startswith("0001"):
            times.add(group["lastEvaluation"])
    return min(map(len, seen.values()))


def measured(prometheus: Prometheus) -> list[tuple[float, float, str]]:
    """Milliseconds of every query, the median of some runs and the least, the most expensive first."""
    found = []
    for expression in sorted({" ".join(text.split()) for text in expressions()}):
        query = re.sub("'%s'", "'m1'" if "provider='%s'" in expression else "'r1'", expression)
        runs = []
        for _ in range(RUNS):
            begun = time.perf_counter()
            prometheus.query(query)
            runs.append((time.perf_counter() - begun) * 1000)
        found.append((statistics.median(runs), min(runs), query))
    return sorted(found, reverse=True)


def report(prometheus: Prometheus) -> None:
    """The queries by themselves, and what Prometheus says of its own evaluation of the rules."""
    found = measured(prometheus)
    for median, least, query in found[:12]:
        print(f"{median:7.1f} ms (least {least:6.1f})  {query[:110]}")
    over = sum(median > BAR for median, _, _ in found)
    print(f"{len(found)} queries, median of {RUNS} runs each; slowest {found[0][0]:.1f} ms; over {BAR:.0f} ms: {over}")
    rules = [rule for group in groups_of(prometheus) for rule in group["rules"]]
    slowest = max(rules, key=lambda rule: float(rule["evaluationTime"]))
    print(
        f"{len(rules)} rules evaluated by Prometheus in {sum(rule['evaluationTime'] for rule in rules) * 1000:.0f} ms;"
    )
    print(f"  the slowest, {slowest['name']}, in {slowest['evaluationTime'] * 1000:.1f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routes", type=int, default=200)
    parser.add_argument("--days", type=int, default=30)
    given = parser.parse_args()
    print(machine(), flush=True)
    precede()
    history = History(given.routes)
    with tempfile.TemporaryDirectory(prefix="mailprobe-bench-") as name:
        directory = Path(name)
        begun = time.perf_counter()
        write_blocks(directory / "data", history.pages(given.days, int(time.time()) // EVALUATIONS * EVALUATIONS))
        took = time.perf_counter() - begun
        series = len(history.scraped) + len(history.kept)
        print(f"{series} series, {history.samples} samples over {given.days} days, written in {took:.0f} s", flush=True)
        with (
            serving_pages(lambda: in_target(history.now())) as address,
            running_prometheus(
                directory / "prometheus",
                rules=RULES,
                targets={"mailprobe": [(address, SITE)]},
                data=directory / "data",
                interval="15s",
            ) as prometheus,
        ):
            assert prometheus.daemon.process is not None
            precede(prometheus.daemon.process.pid)
            seen: dict[str, set[str]] = {}
            prometheus.until(lambda: least_run(prometheus, seen) >= 2, 400, "every rule to have run twice")
            report(prometheus)


if __name__ == "__main__":
    main()
