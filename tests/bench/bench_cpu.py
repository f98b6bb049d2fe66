"""CPU time of the agent per canary: fresh STARTTLS, verified over IMAPS, deleted; against Postfix and Dovecot.

python tests/bench/bench_cpu.py [--rates 1,5,20] [--canaries 500] [--journal both|yes|no] [--beside CHECKOUT]

Measured over a window of at least so many canaries, after a warm-up; start-up is not in it. At 1 canary a second
that takes long: fewer are enough there (--slow). Before and after each window the yardstick is taken: what the barest
client spends on the SMTP part alone; the ratio to it is what a busy machine changes least. --beside runs the agent of
another checkout at the same time, and the yardstick at the same rate: what is compared has had the same machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path

import yardstick
from workbench import Agent, MailLab, agent, grounds_of, machine, real_servers, write_configuration

ROUTES = {1: 1, 5: 5, 20: 20}


def window(running: Agent, canaries: int, limit: float) -> tuple[int, float, dict[str, float], float]:
    """Verdicts, CPU seconds, those by thread, and wall seconds of a stretch of that many canaries."""
    time.sleep(3)
    before, threads, cpu, began = sum(running.verdicts().values()), running.threads(), running.cpu(), time.monotonic()
    count = 0
    while count < canaries and time.monotonic() - began < limit:
        time.sleep(min(5.0, limit / 20))
        cpu_now, threads_now = running.cpu(), running.threads()
        count = sum(running.verdicts().values()) - before
    by_thread = {name: seconds - threads.get(name, 0.0) for name, seconds in threads_now.items()}
    return count, cpu_now - cpu, by_thread, time.monotonic() - began


def measure(servers: MailLab, rate: int, journal: bool, canaries: int, program: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        routes, boxes = max(1, rate), max(1, rate // 5)
        file = write_configuration(
            Path(place), grounds_of(servers, boxes), routes=routes, interval=f"{routes / rate:g}s", journal=journal
        )
        grounds = grounds_of(servers, 1)
        bare = [yardstick.yardstick(grounds)]
        with agent(file, program=program or ("-m", "mailprobe")) as running:
            count, cpu, threads, took = window(running, canaries, canaries / rate + 30)
            outcomes = running.verdicts()
        bare.append(yardstick.yardstick(grounds))
    wrong = {name: number for name, number in outcomes.items() if name != "delivered"}
    parts = ", ".join(f"{name} {seconds / count * 1e3:.2f}" for name, seconds in threads.items())
    print(
        f"{rate:4d}/s  {boxes:3d} boxes  journal {'yes' if journal else 'no ':3}  {count:5d} canaries  "
        f"{cpu / count * 1e3:6.2f} ms a canary  ({parts})  bare {bare[0] * 1e3:.2f} {bare[1] * 1e3:.2f} "
        f"ratio {cpu / count / (sum(bare) / 2):.2f}  {count / took:5.1f}/s"
        + (f"  NOT DELIVERED: {wrong}" if wrong else ""),
        flush=True,
    )


def beside(servers: MailLab, rate: int, journal: bool, canaries: int, other: Path) -> None:
    """This agent, that of another checkout and the yardstick, all at the same time and rate."""
    trees = {"this": None, "other": other}
    with contextlib.ExitStack() as stack:
        agents: dict[str, Agent] = {}
        for name, tree in trees.items():
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            grounds = grounds_of(servers, max(1, rate // 5))
            file = write_configuration(place, grounds, routes=rate, interval="1s", journal=journal)
            agents[name] = stack.enter_context(agent(file, tree=tree))
        time.sleep(5)
        before = {name: (sum(one.verdicts().values()), one.cpu()) for name, one in agents.items()}
        bare = yardstick.yardstick(grounds_of(servers, 1), canaries, 1 / rate)
        print(f"{rate:4d}/s  journal {'yes' if journal else 'no ':3}  bare {bare * 1e3:.2f}", end="")
        for name, one in agents.items():
            cpu, count = one.cpu() - before[name][1], sum(one.verdicts().values()) - before[name][0]
            print(f"  {name} {cpu / count * 1e3:.2f} ms, ratio {cpu / count / bare:.2f} ({count})", end="")
        print(f"  load {os.getloadavg()[0]:.1f}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rates", default="1,5,20")
    options.add_argument("--canaries", type=int, default=500)
    options.add_argument("--slow", type=int, default=100, help="canaries of the window at 1 a second")
    options.add_argument("--journal", choices=("both", "yes", "no"), default="both")
    options.add_argument("--repeat", type=int, default=1)
    options.add_argument("--beside", metavar="CHECKOUT", type=Path, help="compare with the agent of another checkout")
    options.add_argument("--profile", metavar="FILE", help="profile the agent into FILE; times are then meaningless")
    chosen = options.parse_args()
    print(machine(), flush=True)
    program = [str(Path(__file__).with_name("profiled.py")), chosen.profile] if chosen.profile else []
    with real_servers() as servers:
        for _ in range(chosen.repeat):
            for rate in map(int, chosen.rates.split(",")):
                for journal in {"both": (True, False), "yes": (True,), "no": (False,)}[chosen.journal]:
                    canaries = chosen.slow if rate == 1 else chosen.canaries
                    if chosen.beside:
                        beside(servers, rate, journal, canaries, chosen.beside.resolve())
                    else:
                        measure(servers, rate, journal, canaries, program)


if __name__ == "__main__":
    sys.exit(main())
