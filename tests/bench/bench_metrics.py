"""/metrics at 1,000 routes that probe: how long a scrape takes, and how late the agent's loop is meanwhile.

python tests/bench/bench_metrics.py [--routes 1000] [--scrapes 15] [--seconds 100]

The agent runs as usual, every route once a minute on the embedded servers. Its own histogram of loop lag, over the
scrapes alone and over as long a time without any, says what a scrape does to its timers.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench_throughput import quantile
from workbench import Agent, agent, embedded_servers, machine, write_configuration

KINDS = {
    "text": {},
    "text, gzip": {"Accept-Encoding": "gzip"},
    "OpenMetrics": {"Accept": "application/openmetrics-text; version=1.0.0"},
    "OpenMetrics, gzip": {"Accept": "application/openmetrics-text; version=1.0.0", "Accept-Encoding": "gzip"},
}
LAG = "mailprobe_loop_lag_seconds"


def lag_during(running: Agent, work: Callable[[], None]) -> str:
    before = running.metrics()
    work()
    after = running.metrics()
    quantiles = [f"p{part * 100:g} {quantile(before, after, LAG, part)}" for part in (0.5, 0.9, 1.0)]
    return ", ".join(quantiles)


def scrapes(running: Agent, headers: dict[str, str], count: int, found: list[tuple[float, float, int]]) -> None:
    for _ in range(count):
        time.sleep(0.5)  # in which some routes change: a second scrape at once has nothing to render
        cpu, began = running.cpu(), time.perf_counter()
        page = running.get("/metrics", **headers)
        took = time.perf_counter() - began
        found.append((took, running.cpu() - cpu, len(page)))
    if "Accept-Encoding" in headers:
        page = gzip.decompress(page)
    assert page.count(b"mailprobe_in_flight{") > 0


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--routes", type=int, default=1000)
    options.add_argument("--scrapes", type=int, default=15)
    options.add_argument("--seconds", type=float, default=70, help="before the first scrape: every route has a canary")
    chosen = options.parse_args()
    print(machine(), flush=True)
    with embedded_servers(40, core=0) as (grounds, _), tempfile.TemporaryDirectory() as place:
        file = write_configuration(Path(place), grounds, routes=chosen.routes, interval="60s")
        with agent(file, core=1) as running:
            time.sleep(chosen.seconds)
            print(f"{chosen.routes} routes, {running.verdicts()}, RSS {running.memory():.1f} MiB")
            print(f"no scrape           loop lag {lag_during(running, lambda: time.sleep(chosen.scrapes * 0.5))}")
            for name, headers in KINDS.items():
                found: list[tuple[float, float, int]] = []
                lag = lag_during(running, lambda: scrapes(running, headers, chosen.scrapes, found))  # noqa: B023
                walls = [each[0] for each in found]
                print(
                    f"{name:19} {statistics.median(walls) * 1e3:6.1f} ms (most {max(walls) * 1e3:.1f}), "
                    f"{found[-1][2] / 1e6:.2f} MB, loop lag {lag}",
                    flush=True,
                )
            print(f"RSS {running.memory():.1f} MiB")


if __name__ == "__main__":
    main()
