"""Memory of the agent: RSS of `mailprobe run`, minute by minute.

python tests/bench/bench_memory.py [--minutes 10] [--one | --thousand]

--one: one route, one canary a second, on Postfix and Dovecot. --thousand: 1,000 routes at 60 s over 40 mailboxes, on
the embedded servers. Without either, both.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from workbench import Agent, agent, embedded_servers, grounds_of, machine, real_servers, write_configuration


def watch(running: Agent, minutes: float) -> None:
    for minute in range(int(minutes) + 1):
        print(f"  after {minute:2d} min: {running.memory():6.1f} MiB, {running.verdicts()}", flush=True)
        if minute < int(minutes):
            time.sleep(60)


def one_route(minutes: float) -> None:
    print("one route, a canary a second, Postfix and Dovecot, with a journal", flush=True)
    with real_servers() as servers, tempfile.TemporaryDirectory() as place:
        file = write_configuration(Path(place), grounds_of(servers, 1), routes=1, interval="1s")
        with agent(file) as running:
            watch(running, minutes)


def thousand_routes(minutes: float) -> None:
    print("1,000 routes, each every 60 s, 40 mailboxes, embedded servers, with a journal", flush=True)
    with embedded_servers(40) as (grounds, _), tempfile.TemporaryDirectory() as place:
        file = write_configuration(Path(place), grounds, routes=1000, interval="60s")
        with agent(file) as running:
            watch(running, minutes)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--minutes", type=float, default=10)
    options.add_argument("--one", action="store_true")
    options.add_argument("--thousand", action="store_true")
    chosen = options.parse_args()
    print(machine(), flush=True)
    if chosen.one or not chosen.thousand:
        one_route(chosen.minutes)
    if chosen.thousand or not chosen.one:
        thousand_routes(min(chosen.minutes, 5))


if __name__ == "__main__":
    main()
