"""The container image: how long it takes to build and to start, how large it is, and whether two builds are the same.

PYTHONPATH=tests python tests/bench/bench_image.py [--starts 9] [--minutes 1]

Base and packages are there before the clock runs. A start is from `podman run` to the first 200 of /-/ready, with 10
routes on Postfix and Dovecot beside it; a container that does nothing is started beside each, for what podman takes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from support.containers import BASE, SAME_TIME, Engine, build, built_image, make_base, prepared_engine
from support.servers_fixtures import MailLab
from support.sidecars import Sidecar, configured_sidecar
from workbench import machine, real_servers, rss_of

ROUTES = 10
EVERY = "5s"


def builds(engine: Engine) -> None:
    """Two builds from nothing, compared layer by layer."""
    make_base(engine)
    layers = []
    for number in (1, 2):
        name = f"localhost/mailprobe-bench:{number}"
        begun = time.perf_counter()
        build(engine, name, "--no-cache", *SAME_TIME)
        took = time.perf_counter() - begun
        image = engine.inspect("image", name)
        size = (image["Size"] - engine.inspect("image", BASE)["Size"]) / 1e6
        print(f"build {number}: {took:.1f} s, {size:.0f} MB beyond the base", flush=True)
        layers.append(image["RootFS"]["Layers"])
        engine("podman", "rmi", "--force", name)
    same = sum(one == other for one, other in zip(*layers, strict=True))
    print(f"layers that are the same in both: {same} of {len(layers[0])}", flush=True)


def with_routes(sidecar: Sidecar) -> None:
    """Configures ten routes, all alike."""
    settings = json.loads(sidecar.agent.file.read_text())
    (route,) = settings["routes"].values()
    settings["routes"] = {f"route{number}": route for number in range(ROUTES)}
    settings["defaults"]["interval"] = EVERY
    sidecar.agent.write(json.dumps(settings))


def starts(engine: Engine, image: str, sidecar: Sidecar, count: int) -> None:
    """So many starts, one after the other."""
    ready, nothing = [], []
    for _ in range(count):
        begun = time.perf_counter()
        options = ("--rm", "--no-healthcheck", *sidecar.options)
        engine("podman", "run", *options, image, "--version")
        nothing.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        with engine.running(image, ("--no-healthcheck", *sidecar.options)):
            started = time.perf_counter() - begun
            sidecar.wait_ready()
            ready.append((time.perf_counter() - begun, started))
    wholes, returned = [whole for whole, _ in ready], statistics.median(started for _, started in ready)
    print(f"podman run to ready, {ROUTES} routes, {count} times: median {statistics.median(wholes):.2f} s, ", end="")
    print(f"least {min(wholes):.2f}, most {max(wholes):.2f}; podman had returned after {returned:.2f}")
    print(f"`podman run ... --version`, to its end: median {statistics.median(nothing):.2f} s", flush=True)


def memory(engine: Engine, image: str, sidecar: Sidecar, minutes: float) -> None:
    """RSS after some minutes."""
    with engine.running(image, ("--no-healthcheck", *sidecar.options)) as name:
        sidecar.wait_ready()
        time.sleep(60 * minutes)
        rss = rss_of(engine.inspect("container", name)["State"]["Pid"])
    print(
        f"memory with {ROUTES} routes, one canary every {EVERY} each, after {minutes:g} min: {rss:.1f} MiB", flush=True
    )


def measure(engine: Engine, lab: MailLab, given: argparse.Namespace) -> None:
    """All of it."""
    builds(engine)
    image = built_image(engine)
    with tempfile.TemporaryDirectory(prefix="mailprobe-bench-") as place:
        Path(place).chmod(0o755)
        sidecar = configured_sidecar(Path(place) / "sidecar", lab)
        with_routes(sidecar)
        starts(engine, image, sidecar, given.starts)
        memory(engine, image, sidecar, given.minutes)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--starts", type=int, default=9)
    options.add_argument("--minutes", type=float, default=1.0)
    given = options.parse_args()
    print(machine(), flush=True)
    engine = prepared_engine()
    built_image(engine)
    with real_servers() as lab:
        measure(engine, lab, given)


if __name__ == "__main__":
    main()
