"""Every query of every dashboard in a real Prometheus, on 30 days of generated history of many routes.

python tests/bench/bench_dashboards.py [--routes 200] [--hours 8] [--days 30] [--rounds 5] [--data DIRECTORY]

The last `--hours` have a sample a minute, as a scrape every minute leaves them; what lies before, which no query of a
dashboard's own time range reads, has one a day, so that 30 days of blocks with all series are there. Each
query is asked over its dashboard's own range, and over all the hours, at the step that Grafana would take.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support.dashboards import ALL_QUERIES, Query, load, values
from support.mail_history import BLOCK, HOUR, Story, plan, write_blocks
from support.servers_prometheus import Prometheus, running_prometheus
from workbench import cpu_of, machine

DAY = 1440
"""Minutes."""
BAR = 0.2
"""Seconds that a query may take."""


def routes(count: int) -> list[tuple[str, str, str, str]]:
    """Ten senders, and as many mailboxes as it takes."""
    senders = ("outside", *(f"office-{number}" for number in range(9)))
    return list(plan(senders, [f"box-{number}" for number in range(math.ceil(count / 10))]))[:count]


def history(count: int, hours: int, days: int, end: float) -> Iterator[tuple[int, str]]:
    """A page a day, and one a minute in the last hours."""
    story = Story(routes(count))
    yield from story.pages(end - hours * HOUR, days * DAY, step=DAY)
    yield from story.pages(end, hours * 60)


def ask(prometheus: Prometheus, query: Query, hours: float, end: float) -> None:
    """As Grafana does, for a time range of so many hours."""
    step = max(60, math.ceil(hours * HOUR / query.points))
    chosen = {"route": routes(1)[0][0]} if query.board == "route" else {}
    filled = query.filled(values(rate_interval=f"{max(4 * 60, step + 60)}s", seconds=int(hours * HOUR), **chosen))
    if query.instant:
        prometheus.query(filled, end)
    else:
        begin = repr(end - hours * HOUR)
        prometheus.get("/api/v1/query_range", query=filled, start=begin, end=repr(end), step=str(step))


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a query: until it was answered, and of processor time that Prometheus spent."""

    wall: float
    cpu: float


def measured(prometheus: Prometheus, query: Query, hours: float, end: float, rounds: int) -> Cost:
    """The median of the first, the mean of the second, since the kernel counts in hundredths."""
    assert prometheus.daemon.process is not None
    pid, took = prometheus.daemon.process.pid, []
    ask(prometheus, query, hours, end)
    cpu = cpu_of(pid)
    for _ in range(rounds):
        begun = time.perf_counter()
        ask(prometheus, query, hours, end)
        took.append(time.perf_counter() - begun)
    return Cost(statistics.median(took), (cpu_of(pid) - cpu) / rounds)


def own_hours(name: str) -> float:
    """The time range that a dashboard opens with."""
    return float(load(name)["time"]["from"].removeprefix("now-").removesuffix("h"))


def report(label: str, found: dict[Query, Cost]) -> None:
    """How many miss the bar, and the most expensive. The CPU time is what a busy machine tells truly."""
    over = [sum(getattr(cost, kind) > BAR for cost in found.values()) for kind in ("wall", "cpu")]
    middle = [statistics.median(getattr(cost, kind) for cost in found.values()) * 1e3 for kind in ("wall", "cpu")]
    print(f"{label}: {len(found)} queries; wall: median {middle[0]:.0f} ms, {over[0]} over {BAR * 1e3:.0f} ms;")
    print(f"  CPU: median {middle[1]:.0f} ms, {over[1]} over {BAR * 1e3:.0f} ms; the most expensive, wall and CPU:")
    for query, cost in itertools.islice(sorted(found.items(), key=lambda each: -each[1].cpu), 10):
        print(f"  {cost.wall * 1e3:6.0f} {cost.cpu * 1e3:6.0f} ms  {query}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--routes", type=int, default=200)
    options.add_argument("--hours", type=int, default=8)
    options.add_argument("--days", type=int, default=30)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--data", type=Path, help="keep the history here, and use it if it is there already")
    chosen = options.parse_args()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as place:
        data = chosen.data or Path(place) / "data"
        marker = data / "end"
        if not marker.exists():
            end = time.time() // BLOCK * BLOCK
            begun = time.perf_counter()
            write_blocks(data, history(chosen.routes, chosen.hours, chosen.days, end))
            marker.write_text(repr(end))
            print(f"history of {chosen.routes} routes written in {time.perf_counter() - begun:.0f} s", flush=True)
        end = float(marker.read_text())
        unmerged = ["--storage.tsdb.max-block-duration=2h"]
        with running_prometheus(Path(place) / "prometheus", data=data, interval="1m", options=unmerged) as prometheus:
            series = prometheus.query('count({job="mailprobe"})', end)[0]["value"][1]
            print(f"{series} series", flush=True)
            own = {
                query: measured(prometheus, query, own_hours(query.board), end, chosen.rounds) for query in ALL_QUERIES
            }
            report("the dashboard's own range", own)
            long = {query: measured(prometheus, query, chosen.hours, end, chosen.rounds) for query in ALL_QUERIES}
            report(f"{chosen.hours} hours", long)


if __name__ == "__main__":
    main()
