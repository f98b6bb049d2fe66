"""The status page at 1,000 routes that probe: how long, how large, and how late the agent's loop is meanwhile.

python tests/bench/bench_page.py [--routes 1000] [--looks 15] [--seconds 70]

The agent runs as usual, every route once a minute on the embedded servers, 25 routes to each mailbox. A second agent
with the same routes cannot log in anywhere, so that every route of it has something to tell.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from bench_metrics import lag_during
from workbench import Agent, Grounds, agent, embedded_servers, machine, write_configuration

PATHS = ("", "?state=not-ok", "?text=route-99", "?by=sender", "?route=route-1")


def looks(running: Agent, path: str, count: int, found: list[tuple[float, float, int]]) -> None:
    for _ in range(count):
        time.sleep(0.5)
        cpu, began = running.cpu(), time.perf_counter()
        page = running.get("/" + path)
        found.append((time.perf_counter() - began, running.cpu() - cpu, len(page)))


def measure(running: Agent, what: str, count: int) -> None:
    print(f"{what}: {running.verdicts()}, RSS {running.memory():.1f} MiB")
    print(f"{'no look':16} loop lag {lag_during(running, lambda: time.sleep(count * 0.5))}")
    for path in PATHS:
        found: list[tuple[float, float, int]] = []
        lag = lag_during(running, lambda: looks(running, path, count, found))  # noqa: B023
        walls = [each[0] for each in found]
        print(
            f"/{path:15} {statistics.median(walls) * 1e3:6.1f} ms (most {max(walls) * 1e3:.1f}), "
            f"{found[-1][2] / 1e3:.0f} kB, loop lag {lag}",
            flush=True,
        )
    print(f"RSS {running.memory():.1f} MiB")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--routes", type=int, default=1000)
    options.add_argument("--looks", type=int, default=15)
    options.add_argument("--seconds", type=float, default=70, help="before the first look: every route has a canary")
    chosen = options.parse_args()
    print(machine(), flush=True)
    with embedded_servers(40, core=0) as (grounds, _):
        strangers = Grounds(
            grounds.submission_port,
            grounds.imaps_port,
            grounds.ca_file,
            [(user, "wrong") for user, _ in grounds.accounts],
        )
        for what, where, seconds in (("all ok", grounds, chosen.seconds), ("none ok", strangers, 4 * chosen.seconds)):
            with tempfile.TemporaryDirectory() as place:
                file = write_configuration(Path(place), where, routes=chosen.routes, interval="60s")
                with agent(file, core=1) as running:
                    time.sleep(seconds)
                    measure(running, what, chosen.looks)


if __name__ == "__main__":
    main()
