"""`mailprobe run` as a process of its own: configured, started, asked over HTTP, reloaded, killed, its journal read.

    agent = AgentProcess(tmp_path)
    agent.configure(routes=..., senders=..., mailboxes=...)
    with agent.running(): agent.metrics().value("mailprobe_canaries_total", route="a", outcome="delivered")

All calls block; a test that has an event loop to keep turning uses `asyncio.to_thread`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from support.servers import HOST, free_ports
from support.servers_dovecot import Account, Dovecot
from support.servers_postfix import Postfix

Found = TypeVar("Found")
Settings = dict[str, Any]

AGENT = "tests"
_SAMPLE = re.compile(r"^([a-z_0-9]+)(?:\{(.*)\})? (\S+)(?: .*)?$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def samples_of(text: str) -> Iterator[tuple[str, float]]:
    """Name with labels, and value, of every sample of an exposition in text."""
    for line in text.splitlines():
        if match := _SAMPLE.match(line):
            yield f"{match[1]}{{{match[2]}}}" if match[2] else match[1], float(match[3])


class Page:
    """A page of metrics, read."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[tuple[dict[str, str], float]]] = {}
        for line in text.splitlines():
            if match := _SAMPLE.match(line):
                labels = dict(_LABEL.findall(match[2] or ""))
                self._samples.setdefault(match[1], []).append((labels, float(match[3])))

    def value(self, name: str, **labels: str) -> float:
        """The sum of the series of this name that carry these labels; 0 if there is none."""
        return sum(value for _, value in self._matching(name, labels))

    def has(self, name: str, **labels: str) -> bool:
        """Whether there is such a series."""
        return any(True for _ in self._matching(name, labels))

    def nonzero(self, name: str, **labels: str) -> list[dict[str, str]]:
        """The labels of all such series that are not 0."""
        return [found for found, value in self._matching(name, labels) if value]

    def _matching(self, name: str, labels: Mapping[str, str]) -> Iterator[tuple[dict[str, str], float]]:
        for found, value in self._samples.get(name, ()):
            if labels.items() <= found.items():
                yield found, value


class AgentProcess:
    """One agent in a directory of its own; started and ended as often as a test wants."""

    def __init__(self, directory: Path, *, listen: int | None = None) -> None:
        self.directory = directory
        self.port = listen or free_ports(1)[0]
        self.file = directory / "mailprobe.yaml"
        self.journal_file = directory / "journal.db"
        self.log_file = directory / "agent.log"
        self.settings: Settings = {}
        self.process: subprocess.Popen[bytes] | None = None
        self._log_begin = 0

    def configure(self, **sections: Settings) -> None:
        """Writes the file; sections that are not named stay as they were."""
        own = {"name": AGENT, "listen": f"{HOST}:{self.port}", "journal": str(self.journal_file)}
        self.settings = {"agent": own} | self.settings | sections
        self.write(json.dumps(self.settings, indent=1))  # which is YAML too

    def write(self, text: str) -> None:
        """Writes the file as it is, in one step."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)

    # ---- the process

    def start(self, *, loop: str = "uvloop") -> None:
        """Starts it; returns at once. `loop`: with asyncio's own, as where uvloop is not installed."""
        without_uvloop = "import sys; sys.modules['uvloop'] = None; from mailprobe.cli import main; main()"
        program = ["-m", "mailprobe"] if loop == "uvloop" else ["-c", without_uvloop]
        with self.log_file.open("ab") as log:
            self._log_begin = log.tell()
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", sys.executable, *program, "-v", "run", "-c", str(self.file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={key: value for key, value in os.environ.items() if not key.startswith("MAILPROBE_")},
            )

    def wait_ready(self, within: float = 20.0) -> None:
        """Until every mailbox was looked at or is known to be down."""
        self.until(lambda: self.get("/-/ready")[0] == 200, within, "the agent to be ready")

    def wait_probing(self, within: float = 20.0) -> None:
        """Until it has begun to probe; nobody has looked into a mailbox yet."""
        self.until(lambda: b"mailprobe.app: probing" in self._log_since_start(), within, "the agent to begin")

    def outlives(self, seconds: float) -> bool:
        """Waits so long; whether it still runs then."""
        assert self.process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL: not one instruction more."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, within: float = 20.0) -> float:
        """SIGTERM; answers after how many seconds it had ended, in order."""
        assert self.process is not None
        begun = time.monotonic()
        self.process.terminate()
        status = self.process.wait(within)
        self.process = None
        assert status == 0, f"exit status {status}: {self.log()[-3000:]}"
        return time.monotonic() - begun

    def ended(self, within: float = 20.0) -> int:
        """Its exit status, once it has ended by itself."""
        assert self.process is not None
        status = self.process.wait(within)
        self.process = None
        return status

    @contextlib.contextmanager
    def running(self, *, loop: str = "uvloop", ready: bool = True) -> Iterator[AgentProcess]:
        """Started (and ready) within the block, killed after it if it still runs."""
        self.start(loop=loop)
        try:
            if ready:
                self.wait_ready()
            yield self
        finally:
            if self.process is not None:
                self.kill()

    def log(self) -> str:
        """All that it and its predecessors have logged."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def _log_since_start(self) -> bytes:
        with self.log_file.open("rb") as log:
            log.seek(self._log_begin)
            return log.read()

    # ---- HTTP

    def get(self, path: str, *, method: str = "GET", timeout: float = 20.0, **headers: str) -> tuple[int, str]:
        """Status and body; status 0 where nobody listens."""
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"the agent has ended ({self.process.returncode}): {self.log()[-3000:]}")
        request = urllib.request.Request(f"http://{HOST}:{self.port}{path}", method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return 0, ""

    def metrics(self) -> Page:
        """What /metrics says now."""
        status, text = self.get("/metrics")
        assert status == 200, f"/metrics: {status} {text}"
        return Page(text)

    def canaries(self, route: str) -> list[dict[str, Any]]:
        """The judged canaries of a route in the JSON API, the newest first."""
        status, text = self.get(f"/api/v1/canaries?route={route}")
        assert status == 200, text
        found: list[dict[str, Any]] = json.loads(text)["canaries"]
        return found

    def reload(self) -> tuple[int, str]:
        """POST /-/reload."""
        return self.get("/-/reload", method="POST")

    # ---- the journal

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What the journal has on disk; nothing where there is none yet."""
        if not self.journal_file.exists():
            return []
        with contextlib.closing(sqlite3.connect(f"file:{self.journal_file}?mode=ro", uri=True, timeout=10)) as database:
            return database.execute(query, values).fetchall()

    def unjudged(self) -> int:
        """How many canaries on disk have no verdict."""
        return int(self.rows("SELECT count(*) FROM canary WHERE outcome IS NULL")[0][0])

    def until(self, true: Callable[[], Found], within: float = 20.0, what: str = "") -> Found:
        """What `true` answers, once that is true. Raises AssertionError with the log's end."""
        end = time.monotonic() + within
        while not (found := true()):
            if time.monotonic() > end:
                raise AssertionError(f"waited {within} s for {what or true}; the log: {self.log()[-3000:]}")
            time.sleep(0.02)
        return found


class Parts:
    """Sections of a configuration for the servers of the tests."""

    def __init__(self, directory: Path, ca_file: Path) -> None:
        self.directory = directory
        self._ca_file = ca_file

    def password(self, account: Account, password: str | None = None) -> str:
        """A file with the account's password, or with another one."""
        file = self.directory / f"{account.user}.password"
        file.write_text(password or account.password)
        return str(file)

    def auth(self, account: Account) -> Settings:
        """A login."""
        return {"username": account.address, "password_file": self.password(account)}

    def sender(self, postfix: Postfix, account: Account, port: int | None = None, **more: Any) -> Settings:
        """A submission with STARTTLS, at another port than the usual one if given."""
        standard: Settings = {
            "submission": f"localhost:{port or postfix.submission_port}",
            "ip_family": 4,
            "from": account.address,
            "ca_file": str(self._ca_file),
            "auth": self.auth(account),
            "limits": {"connections": 10},
        }
        return standard | more

    def mailbox(self, dovecot: Dovecot, account: Account, *details: str, **more: Any) -> Settings:
        """A mailbox; the details of its address choose what becomes of mail to it."""
        standard: Settings = {
            "address": account.with_detail(*details),
            "imap": f"localhost:{dovecot.imaps_port}",
            "ip_family": 4,
            "ca_file": str(self._ca_file),
            "auth": self.auth(account),
        }
        return standard | more
