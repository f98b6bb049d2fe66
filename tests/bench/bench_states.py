"""How soon a route is called degraded when a share of the attempts on it begins to be deferred: by simulation.

One simulation is one beginning: routes to one mailbox, a canary a minute on each, retries as an MTA makes them, healthy
for half an hour, then every attempt is deferred with the probability `share` (451 4.3.2). What is counted is how many
intervals pass until the first route is degraded or failing, and how much of it is a matter of luck.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from random import Random

from support.simulations import INTERVAL, RETRY, Fate, Refused, Simulation, World, healthy

from mailprobe.errors import Reason, Stage
from mailprobe.model import RouteState

BUSY = Refused(Stage.RCPT, Reason.DEFERRED, "451 4.3.2 temporary server issue")
SHARES = (0.3, 0.4, 0.46, 0.6, 0.8, 0.95)
ROUTES = (1, 2, 3, 4)
LONGEST = 60
"""Intervals after which nobody waits any longer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="beginnings simulated for each line")
    parser.add_argument("--within", type=int, default=3, help="intervals")
    asked = parser.parse_args()
    print(f"{'routes':>6} {'retry':>5} {'share':>5}  within {asked.within} intervals   p50   p90  (intervals)")
    for routes in ROUTES:
        for retry in ((), RETRY) if routes == 1 else (RETRY,):
            for share in SHARES:
                waits = sorted(_wait(share, seed, routes, retry) for seed in range(asked.runs))
                soon = sum(wait <= asked.within for wait in waits) / len(waits)
                p50, p90 = (waits[int(len(waits) * part)] for part in (0.5, 0.9))
                retried = "yes" if retry else "no"
                print(f"{routes:>6} {retried:>5} {share:>5.0%}  {soon:>18.0%} {p50:>5.1f} {p90:>5.1f}", flush=True)


def _wait(share: float, seed: int, routes: int, retry: Sequence[float]) -> float:
    """Intervals from the beginning until a route is degraded or failing."""
    simulation = Simulation(_deferring(share), seed=seed, routes=routes, retry=retry, warm_up=1800.0)
    changed = simulation.run(LONGEST * INTERVAL).first(RouteState.DEGRADED, RouteState.FAILING)
    return LONGEST if changed is None else changed / INTERVAL


def _deferring(share: float) -> World:
    def world(at: float, random: Random) -> Fate:
        return BUSY if random.random() < share else healthy(at, random)

    return world


if __name__ == "__main__":
    main()
