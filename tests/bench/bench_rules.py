"""How long each query of each shipped rule takes in Prometheus, with 30 days of history of 200 routes.

python tests/bench/bench_rules.py [--routes 200] [--days 30]

The history is dense where the rules look: every 30 s in the last hours, as far as each metric's longest window, and
thin before, so that blocks of 30 days are there. What the rules record is there every minute for three days.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from support.rules import expressions
from support.servers_prometheus import running_prometheus

from mailprobe.model import Outcome, RouteState
from mailprobe.observe import families

HOUR, DAY = 3600, 86400
PROVIDERS = 10
TARGET = 'job="mailprobe",site="fra1",instance="a:10587"'
RUNS = 5


def series(routes: int) -> Iterator[tuple[str, str, float, int]]:
    """Name, labels, step of each counter (0: a gauge), and for how many seconds it is dense."""
    for number in range(routes):
        route, place = f'route="r{number}"', f'sender="s{number % 5}",mailbox="m{number % PROVIDERS}",kind="mx"'
        yield "mailprobe_route_info", f"{route},{place}", 0, HOUR
        yield "mailprobe_route_affected_ratio", route, 0, HOUR
        yield "mailprobe_attempts_total", route, 0.5, HOUR
        yield "mailprobe_lost_total", route, 0.0001, 6 * HOUR
        for state in RouteState:
            yield "mailprobe_route_state", f'{route},state="{state}"', 0, HOUR
        for outcome in Outcome:
            yield "mailprobe_canaries_total", f'{route},outcome="{outcome}"', 0.1, 2 * HOUR
        for stage, reason in families.FAILURES_TOTAL.zeros:
            yield "mailprobe_failures_total", f'{route},stage="{stage}",reason="{reason}"', 0.01, HOUR
        for code in ("451", "450", "421"):
            labels = f'{route},stage="rcpt",code="{code}",enhanced_code="4.3.2"'
            yield "mailprobe_deferrals_total", labels, 0.05, HOUR
        for bound in (*map(repr, families.DELAY_BUCKETS), "+Inf"):
            yield "mailprobe_delivery_duration_seconds_bucket", f'{route},le="{bound}"', 0.5, HOUR


def recorded(routes: int) -> Iterator[tuple[str, str]]:
    """Name and labels of what the rules themselves look back at."""
    for number in range(routes):
        labels = f'route="r{number}",sender="s{number % 5}",mailbox="m{number % PROVIDERS}",kind="mx"'
        labels += f',provider="m{number % PROVIDERS}"'
        for name in ("judged", "bad"):
            yield f"route:mailprobe_canaries_{name}:rate5m", labels
        yield "route:mailprobe_delivery_duration_seconds:quantile15m", f'{labels},quantile="0.9"'
    for number in range(PROVIDERS):
        provider = f'provider="m{number}"'
        for name in ("judged", "bad"):
            yield f"provider:mailprobe_canaries_{name}:rate5m", f'{provider},kind="mx"'
        for code in ("451", "450", "421"):
            labels = f'{provider},stage="rcpt",code="{code}",enhanced_code="4.3.2"'
            yield "provider_code:mailprobe_deferrals:ratio15m", labels


def write_history(file: Path, routes: int, days: int, end: int) -> int:
    """OpenMetrics text of all; how many samples."""
    count = 0
    with file.open("w") as text:
        for name, labels, step, dense in series(routes):
            times = [*range(end - days * DAY, end - dense, 6 * HOUR), *range(end - dense, end + 1, 30)]
            value = 0.0
            for at in times:
                value = value + (random.random() < step) if step else 1.0
                text.write(f"{name}{{{TARGET},{labels}}} {value} {at}\n")
            count += len(times)
        for name, labels in recorded(routes):
            for at in range(end - 3 * DAY, end + 1, 60):
                text.write(f'{name}{{job="mailprobe",{labels}}} {random.random():.3f} {at}\n')
            count += 3 * DAY // 60
        text.write("# EOF\n")
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routes", type=int, default=200)
    parser.add_argument("--days", type=int, default=30)
    given = parser.parse_args()
    end = int(time.time()) // 60 * 60
    with tempfile.TemporaryDirectory(prefix="mailprobe-bench-") as name:
        directory = Path(name)
        count = write_history(directory / "history", given.routes, given.days, end)
        print(f"{count} samples of {given.routes} routes over {given.days} days", flush=True)
        create = ["promtool", "tsdb", "create-blocks-from", "--max-block-duration=720h", "openmetrics"]
        subprocess.run([*create, str(directory / "history"), str(directory / "data")], check=True, capture_output=True)
        with running_prometheus(directory / "prometheus", data=directory / "data") as prometheus:
            found = []
            for expression in sorted({" ".join(text.split()) for text in expressions()}):
                query = re.sub("%s", "r1", expression)
                runs = []
                for _ in range(RUNS):
                    begun = time.perf_counter()
                    prometheus.query(query, float(end))
                    runs.append((time.perf_counter() - begun) * 1000)
                found.append((sorted(runs)[RUNS // 2], min(runs), query))
    for median, least, query in sorted(found, reverse=True)[:12]:
        print(f"{median:7.1f} ms (least {least:6.1f})  {query[:110]}")
    print(f"{len(found)} queries; the slowest took {max(found)[0]:.1f} ms, median of {RUNS} runs; the bar is 200 ms")


if __name__ == "__main__":
    main()
