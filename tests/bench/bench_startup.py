"""How long until something happens: --help, a one-shot probe beyond its mail conversation, the demo's readiness.

python tests/bench/bench_startup.py [--repeat 9]

`probe`: wall time of the whole command less what it says itself that the mail took (from the begin of the attempt to
the sighting, and QUIT). Includes the removal of the canary and the log-out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

from workbench import Grounds, grounds_of, machine, precede, process, real_servers

MAILPROBE = [sys.executable, "-m", "mailprobe"]


def run(*arguments: str, **environ: str) -> tuple[float, float, str]:
    """Wall seconds, CPU seconds and output of one command."""
    used, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([*MAILPROBE, *arguments], env={**os.environ, **environ}, capture_output=True, text=True)
    took, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{arguments}: status {done.returncode}: {done.stderr}{done.stdout}")
    return took, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime, done.stdout


def probe(grounds: Grounds) -> tuple[float, float, float]:
    """Wall seconds of a one-shot probe, those of its mail conversation, CPU seconds."""
    address, password = grounds.accounts[0]
    user = address.replace("@", "%40")
    took, cpu, output = run(
        "probe",
        *("--smtp", f"smtp://{user}@127.0.0.1:{grounds.submission_port}?tls=starttls"),
        *("--imap", f"imaps://{user}@127.0.0.1:{grounds.imaps_port}"),
        *("--to", address, "--from", address, "--ca-file", str(grounds.ca_file), "--format", "json"),
        MAILPROBE_SMTP_PASSWORD=password,
        MAILPROBE_IMAP_PASSWORD=password,
    )
    (result,) = json.loads(output)["results"]
    assert result["outcome"] == "delivered", result
    stages = sum(stage["seconds"] for attempt in result["attempts"] for stage in attempt["stages"])
    quit_ = sum(s["seconds"] for a in result["attempts"] for s in a["stages"] if s["stage"] == "quit")
    return took, max(stages, result["delivery_seconds"] + quit_), cpu


def demo() -> float:
    """Seconds from the start of `mailprobe demo` to a 200 of /-/ready."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    began = time.perf_counter()
    command = [*MAILPROBE, "demo", "--port", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with process(command, environment=dict(os.environ), **quiet):
        while time.perf_counter() - began < 30:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5).close()
                return time.perf_counter() - began
            except OSError:
                time.sleep(0.005)
    raise TimeoutError("the demo is not ready")


def line(name: str, walls: list[float], cpus: list[float] | None = None, bar: str = "") -> None:
    cpu = f"CPU {statistics.median(cpus):.3f} s (least {min(cpus):.3f})" if cpus else ""
    print(f"{name:42} wall {statistics.median(walls):.3f} s (least {min(walls):.3f})  {cpu}  {bar}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--repeat", type=int, default=9)
    repeat = options.parse_args().repeat
    precede()
    print(machine(), flush=True)
    run("--help")
    for arguments in (("--help",), ("--version",), ("probe", "--help")):
        runs = [run(*arguments) for _ in range(repeat)]
        line(f"mailprobe {' '.join(arguments)}", [each[0] for each in runs], [each[1] for each in runs], "bar: CPU 0.1")
    with real_servers() as servers:
        grounds = grounds_of(servers, 1)
        probe(grounds)
        probes = [probe(grounds) for _ in range(repeat)]
    line("mailprobe probe, all", [each[0] for each in probes], [each[2] for each in probes])
    line("mailprobe probe, beyond the conversation", [all_ - mail for all_, mail, _ in probes], bar="bar: 0.25")
    line("mailprobe demo, until ready", [demo() for _ in range(max(3, repeat // 2))], bar="bar: 2")


if __name__ == "__main__":
    main()
