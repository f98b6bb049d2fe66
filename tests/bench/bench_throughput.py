"""200 canaries a second through one agent on one core, the embedded servers on the other: is anything lost or late?

python tests/bench/bench_throughput.py [--rate 200] [--seconds 60] [--boxes 10]

Lag is read from the agent's own histograms, over the window alone; a quantile is the upper bound of its bucket. CPU of
both processes is shown: whichever is at 100 % of its core is the limit.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from workbench import Agent, agent, cpu_of, embedded_servers, machine, outcomes, write_configuration


def quantile(before: dict[str, float], after: dict[str, float], name: str, part: float) -> str:
    """The bucket in which that quantile of a histogram without labels lies, in ms."""
    start = f'{name}_bucket{{le="'
    buckets = {key[len(start) : -2]: after[key] - before.get(key, 0.0) for key in after if key.startswith(start)}
    total = buckets["+Inf"]
    bound = next(bound for bound, count in buckets.items() if count >= total * part)
    return "more than all buckets" if bound == "+Inf" else f"<= {float(bound) * 1e3:g} ms"


def report(running: Agent, servers: int, seconds: float, rate: int) -> None:
    before, cpu, others, began = running.metrics(), running.cpu(), cpu_of(servers), time.monotonic()
    time.sleep(seconds)
    cpu, others = running.cpu() - cpu, cpu_of(servers) - others
    after, took = running.metrics(), time.monotonic() - began
    were = outcomes(before)
    judged = {name: count - were.get(name, 0) for name, count in outcomes(after).items()}
    total = sum(judged.values())
    print(f"{total} canaries in {took:.0f} s ({total / took:.1f}/s of {rate}/s): {judged}")
    for name in ("mailprobe_schedule_lag_seconds", "mailprobe_loop_lag_seconds"):
        quantiles = ", ".join(f"p{part * 100:g} {quantile(before, after, name, part)}" for part in (0.5, 0.95, 0.99))
        print(f"  {name}: {quantiles}")
    print(f"  agent   {cpu / took * 100:5.1f} % of its core, {cpu / max(total, 1) * 1e3:.2f} ms a canary")
    print(f"  servers {others / took * 100:5.1f} % of theirs, {others / max(total, 1) * 1e3:.2f} ms a canary")
    print(f"  agent's RSS {running.memory():.1f} MiB, load {os.getloadavg()[0]:.1f}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rate", type=int, default=200)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--boxes", type=int, default=10)
    options.add_argument("--journal", choices=("yes", "no"), default="yes")
    chosen = options.parse_args()
    print(machine(), flush=True)
    with embedded_servers(chosen.boxes, core=0) as (grounds, servers), tempfile.TemporaryDirectory() as place:
        file = write_configuration(
            Path(place), grounds, routes=chosen.rate, interval="1s", journal=chosen.journal == "yes"
        )
        with agent(file, core=1) as running:
            time.sleep(5)
            report(running, servers, chosen.seconds, chosen.rate)
            time.sleep(1)


if __name__ == "__main__":
    main()
