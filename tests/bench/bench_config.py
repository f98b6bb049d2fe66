"""How long a configuration takes to load: 1,000 routes, 50 senders, 50 mailboxes; imports not counted.

python tests/bench/bench_config.py [--repeat 7]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from support.config_files import many_routes
from workbench import machine, precede

from mailprobe.config.apart import load_apart
from mailprobe.config.load import load


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--repeat", type=int, default=7)
    repeat = options.parse_args().repeat
    precede()
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as place:
        for routes in (1, 1000, 10_000):
            file = many_routes(Path(place), routes, senders=min(routes, 50), mailboxes=min(routes, 50))
            for name, loader in (("here", load), ("by a child, as the agent does", load_apart)):
                walls, cpus = [], []
                for _ in range(repeat if routes < 10_000 else 2):
                    began, cpu = time.perf_counter(), time.process_time()
                    loader(file, os.environ)
                    walls.append(time.perf_counter() - began)
                    cpus.append(time.process_time() - cpu)
                print(
                    f"{routes:6} routes, {name:30} wall {statistics.median(walls):.3f} s (least {min(walls):.3f}), "
                    f"CPU of this process {statistics.median(cpus):.3f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
