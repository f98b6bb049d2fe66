"""What the benchmarks share: real servers without pytest, an agent as a process of its own, and how to weigh it.

An agent is `mailprobe run`, started as a user would; its CPU time is what the kernel says (utime + stime of
/proc/PID/stat), its canaries are what its own /metrics counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.servers import workspace
from support.servers_certificates import write_certificates
from support.servers_dovecot import running_dovecot
from support.servers_fixtures import MailLab, started
from support.servers_postfix import running_postfix

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def precede(pid: int | str = "self") -> None:
    """Puts a process' session before what else this machine does, if we may: neighbours are not what is measured.

    Linux weighs sessions, not processes, where autogroups are on: a nice value alone does nothing. Source: sched(7).
    """
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text("-15")


# ---- servers


@contextlib.contextmanager
def real_servers() -> Iterator[MailLab]:
    """Postfix delivering into Dovecot, killed at the end."""
    with workspace() as directory:
        write_certificates(certificates := directory / "certificates")
        with (
            started(directory, "dovecot", lambda place: running_dovecot(place, certificates)) as dovecot,
            started(directory, "postfix", lambda place: running_postfix(place, dovecot)) as postfix,
        ):
            precede()
            for daemon in (dovecot._daemon, postfix._master, postfix._log):
                assert daemon.process is not None
                precede(daemon.process.pid)
            yield MailLab(postfix, dovecot)


@dataclass(frozen=True, slots=True)
class Grounds:
    """Where an agent may probe: ports, a CA, and accounts as (address, password)."""

    submission_port: int
    imaps_port: int
    ca_file: Path
    accounts: Sequence[tuple[str, str]]


def grounds_of(servers: MailLab, accounts: int) -> Grounds:
    """Fresh accounts on the real servers."""
    users = [servers.new_account() for _ in range(accounts)]
    return Grounds(
        servers.postfix.submission_port,
        servers.dovecot.imaps_port,
        servers.ca_file,
        [(user.address, user.password) for user in users],
    )


@contextlib.contextmanager
def embedded_servers(accounts: int, *, core: int | None = None) -> Iterator[tuple[Grounds, int]]:
    """mailprobe's own servers in a process of their own, on one core if asked for; and the number of that process."""
    precede()
    command = [*pinned(core), sys.executable, str(Path(__file__).with_name("embedded.py")), str(accounts)]
    with process(command, stdout=subprocess.PIPE, environment=dict(os.environ)) as servers:
        assert servers.stdout is not None
        said = json.loads(servers.stdout.readline())
        accounts_ = [(user, said["password"]) for user in said["users"]]
        yield Grounds(said["submission_port"], said["imaps_port"], Path(said["ca_file"]), accounts_), servers.pid


def pinned(core: int | None) -> list[str]:
    """What makes a command stay on one core."""
    return [] if core is None else ["taskset", "-c", str(core)]


# ---- the agent


def write_configuration(
    directory: Path,
    grounds: Grounds,
    *,
    routes: int,
    interval: str,
    journal: bool = True,
    recipient: Callable[[int, str], str] = lambda number, address: address,
    extra: Mapping[str, object] | None = None,
) -> Path:
    """A file with one sender, a mailbox for each account, and so many routes over them. JSON is YAML."""
    for number, (_, password) in enumerate(grounds.accounts):
        secret = directory / f"{number}.password"
        secret.write_text(password)
    sender, _ = grounds.accounts[0]
    defaults = {"interval": interval, "deadline": "30s", "late_until": "2m", "timeout": "10s"}
    file = directory / "mailprobe.yaml"
    file.write_text(
        json.dumps(
            {
                "agent": {"name": "bench", "listen": "127.0.0.1:0"} | ({"journal": "journal.db"} if journal else {}),
                "defaults": defaults | dict(extra or {}),
                "senders": {
                    "out": {
                        "submission": f"127.0.0.1:{grounds.submission_port}",
                        "tls": "starttls",
                        "from": sender,
                        "ca_file": str(grounds.ca_file),
                        "auth": {"username": sender, "password_file": "0.password"},
                        "limits": {"connections": 100},
                    }
                },
                "mailboxes": {
                    f"box-{number}": {
                        "address": recipient(number, address),
                        "imap": f"127.0.0.1:{grounds.imaps_port}",
                        "tls": "implicit",
                        "ca_file": str(grounds.ca_file),
                        "auth": {"username": address, "password_file": f"{number}.password"},
                    }
                    for number, (address, _) in enumerate(grounds.accounts)
                },
                "routes": {
                    f"route-{number}": {"from": "out", "to": f"box-{number % len(grounds.accounts)}"}
                    for number in range(routes)
                },
            },
            indent=1,
        )
    )
    return file


@contextlib.contextmanager
def process(
    command: Sequence[str], *, environment: Mapping[str, str], **options: object
) -> Iterator[subprocess.Popen[str]]:
    """A child that ends with us, however we end, and with SIGTERM when the block does."""
    command = ["setpriv", "--pdeathsig=KILL", *command]
    child = subprocess.Popen(command, env=dict(environment), text=True, **options)  # type: ignore[call-overload]
    try:
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@dataclass(frozen=True, slots=True)
class Agent:
    """A running `mailprobe run`."""

    pid: int
    url: str

    def cpu(self) -> float:
        """Seconds of CPU time that it has used."""
        return cpu_of(self.pid)

    def threads(self) -> dict[str, float]:
        """Seconds of CPU time by the name of its threads."""
        found: dict[str, float] = {}
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            name = "the loop" if int(task.name) == self.pid else (task / "comm").read_text().strip()
            found[name] = found.get(name, 0.0) + int((task / "schedstat").read_text().split()[0]) / 1e9
        return found

    def memory(self) -> float:
        """MiB of RSS."""
        return rss_of(self.pid)

    def get(self, path: str, **headers: str) -> bytes:
        """What an HTTP path answers."""
        request = urllib.request.Request(self.url + path, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.read()  # type: ignore[no-any-return]

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics by its text up to the value."""
        lines = self.get("/metrics").decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def verdicts(self) -> dict[str, int]:
        """Canaries by their outcome."""
        return outcomes(self.metrics())

    def wait_ready(self, within: float = 30.0) -> None:
        """Until /-/ready says so."""
        end = time.monotonic() + within
        while True:
            with contextlib.suppress(OSError):
                self.get("/-/ready")
                return
            if time.monotonic() > end:
                raise TimeoutError("the agent is not ready")
            time.sleep(0.01)


def outcomes(metrics: Mapping[str, float]) -> dict[str, int]:
    """Canaries by their outcome, over all routes; those that never occurred left out."""
    found: dict[str, int] = {}
    for name, value in metrics.items():
        if name.startswith("mailprobe_canaries_total{") and value:
            outcome = name.split('outcome="')[1].split('"')[0]
            found[outcome] = found.get(outcome, 0) + int(value)
    return found


@contextlib.contextmanager
def agent(
    file: Path,
    *,
    core: int | None = None,
    program: Sequence[str] = ("-m", "mailprobe"),
    tree: Path | None = None,
    under: Sequence[str] = (),
) -> Iterator[Agent]:
    """`mailprobe run` on a configuration that listens on port 0; its log goes beside the file.

    `tree`: another checkout, whose code it runs. `under`: a program that runs it and is slow, such as valgrind.
    """
    log = file.with_name("agent.log")
    command = [*pinned(core), *under, sys.executable, *program, "run", "-c", str(file)]
    environment = dict(os.environ) | ({"UV_USE_IO_URING": "0"} if under else {})
    patience = 200.0 if under else 30.0
    if tree is not None:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(tree), environment.get("PYTHONPATH"))))
    with log.open("w") as output, process(command, environment=environment, stderr=output, cwd=tree) as child:
        running = Agent(child.pid, _url(log, child, patience))
        running.wait_ready(patience)
        yield running


def _url(log: Path, child: subprocess.Popen[str], within: float) -> str:
    end = time.monotonic() + within
    while time.monotonic() < end and child.poll() is None:
        for line in log.read_text().splitlines():
            if "serving on " in line:
                return line.split("serving on ")[1].split(";")[0].rstrip("/")
        time.sleep(0.02)
    raise RuntimeError(f"the agent did not begin: {log.read_text()[-2000:]}")


# ---- figures


def cpu_of(pid: int) -> float:
    """Seconds of CPU time of a process: utime + stime."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_of(pid: int) -> float:
    """MiB of resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 2**20


def share(values: Sequence[float], part: float) -> float:
    """The quantile of some values, e.g. 0.99."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def spread(values: Sequence[float], unit: float = 1e3) -> str:
    """p50, p95, p99 and max as columns, by default seconds as milliseconds."""
    return "".join(f"{share(values, part) * unit:9.2f}" for part in (0.5, 0.95, 0.99, 1.0))


def machine() -> str:
    """Where this is run."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "?")
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"Python {platform.python_version()}, {os.cpu_count()} cores {model}, load {load}"
