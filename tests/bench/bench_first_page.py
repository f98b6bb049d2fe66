"""How long after its impact an outage pages, in real time, with the rules and the Alertmanager example as shipped.

PYTHONPATH=tests python tests/bench/bench_first_page.py [--outage m365-2026-01-22] [--providers 4] [--routes 5]

Each provider is a draw of its own: who is struck, and when in the minute its canaries are sent. Takes seven minutes, in
which the machine has little to do.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import yaml
from support.replay import Received, Replay, serving, write_copies
from support.rules import DEPLOY
from support.scrapes import Played, record
from support.servers import HOST
from support.servers_prometheus import running_alertmanager, running_prometheus
from workbench import machine

from mailprobe.lab.outage import find

MINUTE = 60.0
BEFORE, AFTER = 3.5 * MINUTE, 3.5 * MINUTE
"""Everyday life before the impact, as long as the rules look back, and how long after it is waited."""


def report(received: Received, provider: str) -> None:
    """When a provider was spoken of first, and how often."""
    pages = [(post, at) for path, post, at in received.about(provider) if path.startswith("/pager.")]
    groups = {post["groupKey"] for _, post, _ in received.about(provider)}
    if not pages:
        print(f"{provider}: no page within {AFTER:.0f} s")
        return
    first, at = pages[0]
    names = ", ".join(sorted({alert["labels"]["alertname"] for alert in first["alerts"]}))
    print(f"{provider}: first page {at:.0f} s after the impact ({names}); groups {len(groups)}, pages {len(pages)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outage", default="m365-2026-01-22")
    parser.add_argument("--providers", type=int, default=4)
    parser.add_argument("--routes", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(machine(), flush=True)
    providers = [f"provider{number}" for number in range(given.providers)]
    outage = find(given.outage)
    routes = [Played(f"{name}-{number}", name, outage) for name in providers for number in range(given.routes)]
    replay = Replay(record(routes, AFTER + MINUTE, step=2.0, seed=given.seed), 1.0, -BEFORE)
    interval = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["global"]["scrape_interval"]
    with tempfile.TemporaryDirectory(prefix="mailprobe-bench-") as name, serving(replay) as (address, received):
        config, rules = write_copies(Path(name), address, 1)
        with running_alertmanager(Path(name) / "alertmanager", config) as alertmanager:
            replay.start()
            with running_prometheus(
                Path(name) / "prometheus",
                rules=rules,
                targets={"mailprobe": [address]},
                alertmanagers=[f"{HOST}:{alertmanager.port}"],
                interval=interval,
            ) as prometheus:
                prometheus.until(lambda: replay.now > AFTER, BEFORE + AFTER + MINUTE, "the outage to be played")
    for provider in providers:
        report(received, provider)


if __name__ == "__main__":
    main()
