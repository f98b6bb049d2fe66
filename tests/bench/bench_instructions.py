"""Instructions of the agent per canary, and of the yardstick, by library: what no neighbour on the machine changes.

python tests/bench/bench_instructions.py [--seconds 40] [--tree CHECKOUT]

Counted by valgrind's callgrind (Debian's package valgrind), which runs both some fifty times slower and sees nothing of
the kernel. One route, a canary every 1.5 s, without a journal: what the agent does by itself in that time is in it.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from workbench import Agent, Grounds, MailLab, agent, grounds_of, machine, real_servers, write_configuration

BARE = """
import yardstick
from pathlib import Path
from workbench import Grounds
yardstick.yardstick(Grounds({ports}, Path({ca!r}), {accounts!r}), {count})
"""
_OBJECT = re.compile(r"c?ob=(\(\d+\))(?: (.*))?")


def counted(file: Path) -> Counter[str]:
    """Instructions by the program or library they are of, in a file of callgrind's."""
    found: Counter[str] = Counter()
    names: dict[str, str] = {}
    current, of_call = "?", False
    for line in file.read_text().splitlines():
        if match := _OBJECT.fullmatch(line):
            if match[2]:
                names[match[1]] = Path(match[2]).name
            if line.startswith("ob="):
                current = names[match[1]]
        elif line.startswith("calls="):
            of_call = True  # the next line is what the called function took, which is counted where it is
        elif line[:1].isdigit() or line[:1] in "+-*":
            _, _, cost = line.partition(" ")  # left out where it is none
            found[current] += 0 if of_call else int(cost or 0)
            of_call = False
    return found


def show(name: str, found: Counter[str], count: int) -> None:
    parts = ", ".join(f"{library} {number / count / 1e6:.2f}" for library, number in found.most_common(4))
    print(f"{name:10} {found.total() / count / 1e6:6.2f} million a canary: {parts}  ({count})", flush=True)


def control(running: Agent, what: str) -> None:
    subprocess.run(["callgrind_control", what, str(running.pid)], check=True, capture_output=True, timeout=120)


def of_agent(servers: MailLab, seconds: float, tree: Path | None) -> tuple[Counter[str], int]:
    """What an agent takes in a window, and its verdicts in it."""
    with tempfile.TemporaryDirectory() as place:
        file = write_configuration(Path(place), grounds_of(servers, 1), routes=1, interval="1500ms", journal=False)
        with agent(file, tree=tree, under=callgrind(Path(place) / "out")) as running:
            time.sleep(20)
            before = sum(running.verdicts().values())
            control(running, "-z")
            time.sleep(seconds)
            control(running, "-d")
            count = sum(running.verdicts().values()) - before
            return counted(Path(place) / "out.1"), count


def callgrind(output: Path) -> tuple[str, ...]:
    return "valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={output}"


def of_yardstick(grounds: Grounds, count: int) -> Counter[str]:
    """What the barest client takes for so many messages, with its start."""
    ports = f"{grounds.submission_port}, {grounds.imaps_port}"
    code = BARE.format(ports=ports, ca=str(grounds.ca_file), accounts=list(grounds.accounts), count=count)
    with tempfile.TemporaryDirectory() as place:
        path = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
        environment = dict(os.environ, PYTHONPATH=path, UV_USE_IO_URING="0")
        command = [*callgrind(Path(place) / "out"), sys.executable, "-c", code]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
        return counted(Path(place) / "out")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=40)
    options.add_argument("--tree", metavar="CHECKOUT", type=Path, help="the agent of another checkout")
    chosen = options.parse_args()
    print(machine(), flush=True)
    with real_servers() as servers:
        grounds = grounds_of(servers, 1)
        show("yardstick", of_yardstick(grounds, 35) - of_yardstick(grounds, 5), 30)
        show("agent", *of_agent(servers, chosen.seconds, chosen.tree and chosen.tree.resolve()))


if __name__ == "__main__":
    main()
