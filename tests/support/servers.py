"""What all real servers share: where they live, on which ports, how they are started, killed and missed.

A server runs as a child of the test process, in a process group of its own, from a private directory and on loopback
ports chosen for this run, so that several test processes can each have theirs. It is killed with SIGKILL: there is
nothing to save.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HOST = "127.0.0.1"
DOMAIN = "lab.test"
TLS_NAME = "mail.lab.test"
TEMPLATES = Path(__file__).parent / "servers_conf"

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin", "TZ": "UTC", "LC_ALL": "C"}

_WORKERS = 8
"""Of one test run, at most."""
# below the ports that the kernel gives to outgoing connections (ip(7), ip_local_port_range)
_PORTS = range(20_000, 32_000)
_PLACEHOLDER = re.compile(r"%%(\w+)%%")


class PortTaken(Exception):
    """Somebody took one of the chosen ports before the server could."""


def missing(server: str, what: str) -> None:
    """Skip the test, naming the server and what would make it run (a failure under CI=true, see conftest)."""
    pytest.skip(f"no {server}: {what}")


def require_root(server: str) -> None:
    if os.geteuid() != 0:
        missing(server, "its daemons start as root; run the tests as root (tests/README.md)")


def require_programs(server: str, programs: Sequence[str], packages: str) -> None:
    absent = [program for program in programs if shutil.which(program, path=ENVIRONMENT["PATH"]) is None]
    if absent:
        missing(server, f"{', '.join(absent)} not found; apt-get install {packages}, or tests/run as root")


def proxies() -> dict[str, str]:
    """What the environment says of proxies, for what fetches packages."""
    return {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}


@contextlib.contextmanager
def workspace() -> Iterator[Path]:
    """A directory that daemons of other users can enter, short enough for Unix sockets below it; removed at the end."""
    sweep(Path("/tmp"))
    directory = Path(tempfile.mkdtemp(prefix=f"mailprobe-tests-{os.getpid()}-", dir="/tmp"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove from `parent` the workspaces that killed test processes left behind."""
    for left in parent.glob("mailprobe-tests-*-*"):
        # another worker may be removing its own at this moment
        with contextlib.suppress(FileNotFoundError):
            if left.stat().st_uid == os.geteuid() and not Path("/proc", left.name.split("-")[2]).exists():
                shutil.rmtree(left, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 on which nobody listens now; drawn at random so that two test runs rarely meet.

    The workers of one run never do: each draws from a part of its own.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ours = _PORTS[worker % _WORKERS :: _WORKERS]
    found: list[int] = []
    for port in random.sample(ours, len(ours)):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                listener.bind((HOST, port))
                found.append(port)
        if len(found) == count:
            return found
    raise PortTaken(f"fewer than {count} free ports in {_PORTS}")


def fill_in(template: str, target: Path, values: Mapping[str, object]) -> None:
    """Write a configuration file from `servers_conf/<template>`; `%%name%%` becomes its value."""
    text = (TEMPLATES / template).read_text()
    target.write_text(_PLACEHOLDER.sub(lambda found: str(values[found[1]]), text))


def run(command: Sequence[str], *, check: bool = True) -> str:
    """What a program prints. Raises RuntimeError with all that it said if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


@dataclass(slots=True)
class Daemon:
    """A server process and all its children."""

    name: str
    command: Sequence[str]
    output: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    _guard: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**ENVIRONMENT, **self.environment},
                start_new_session=True,
            )
        # the guard's input ends with the test process, however that ends
        self._guard = subprocess.Popen(
            ["sh", "-c", f"read -r _; kill -9 -{self.process.pid}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def kill(self) -> None:
        """End the whole group at once; the ports are free when this returns."""
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def wait_for(self, port: int, banner: bytes | None, within: float = 15.0) -> None:
        """Until `port` greets with `banner` (None: accepts a connection). Connecting alone is no proof of a greeting.

        Raises RuntimeError with the daemon's output if it ended, PortTaken if that was because of a port.
        """
        end = time.monotonic() + within
        while not _greets(port, banner):
            ended = self.process is None or self.process.poll() is not None
            if ended or time.monotonic() > end:
                said = self.output.read_text(errors="replace")[-2000:]
                self.kill()
                error = PortTaken if "address already in use" in said.lower() else RuntimeError
                raise error(f"{self.name} {'ended' if ended else f'does not greet on port {port}'}: {said}")
            time.sleep(0.005)


def _greets(port: int, banner: bytes | None) -> bool:
    try:
        with socket.create_connection((HOST, port), 5) as connection:
            connection.settimeout(5)
            return banner is None or connection.recv(len(banner)) == banner
    except OSError:
        return False
