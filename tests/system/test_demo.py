"""`mailprobe demo` as a stranger runs it: in an empty directory, with an emptied environment."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.one_shot import TRACEBACK, command
from support.waiting import until

ROUTES = {
    f"demo-{sender}-{box}" for sender in ("office", "newsletter", "outside") for box in ("sales", "support", "alerts")
}
_LISTENING = "0A"
"""Source: include/net/tcp_states.h."""


@dataclass
class Demo:
    """A demo that runs: what it printed is collected as it comes."""

    process: subprocess.Popen[str]
    directory: Path
    out: str = ""
    err: str = ""

    def listen(self) -> None:
        def collect(name: str) -> None:
            for line in getattr(self.process, "std" + name):
                setattr(self, name, getattr(self, name) + line)

        self._threads = [threading.Thread(target=collect, args=(name,)) for name in ("out", "err")]
        for thread in self._threads:
            thread.start()

    @property
    def url(self) -> str:
        until(lambda: "the status page" in self.out or self.process.poll() is not None)
        found = re.search(r"http://127\.0\.0\.1:\d+/", self.out)
        assert found, self.out + self.err
        return found[0]

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def json(self, path: str) -> Any:
        return json.loads(self.get(path)[1])

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        status = self.process.wait(30)
        for thread in self._threads:
            thread.join()
        return status


@contextlib.contextmanager
def running(directory: Path, *options: str) -> Iterator[Demo]:
    pipe = subprocess.PIPE
    home = directory / "home"
    home.mkdir()
    (directory / "tmp").mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(directory / "tmp")}
    process = subprocess.Popen(
        command("demo", *options), stdout=pipe, stderr=pipe, text=True, env=environment, cwd=home
    )
    demo = Demo(process, directory)
    demo.listen()
    try:
        yield demo
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream
            stream.close()


def listening(pid: int) -> set[int]:
    """The TCP ports on which a process listens. Source: proc(5), /proc/net/tcp."""
    sockets = set[str]()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            sockets.add(os.readlink(link).removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == _LISTENING and row[9] in sockets}


def accepts(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(2)
        return client.connect_ex(("127.0.0.1", port)) == 0


def secrets_of(directory: Path) -> list[str]:
    """What nobody may ever read in an output or on a page: the passwords and the key of the canaries."""
    files = [*directory.glob("tmp/*/*.password"), *directory.glob("tmp/*/*key*")]
    texts = [file.read_text(errors="replace").strip() for file in files if file.is_file()]
    return [text for text in texts if text and "CERTIFICATE" not in text]


def test_a_whole_demo(tmp_path: Path) -> None:
    with running(tmp_path, "--port", "0") as demo:
        until(lambda: demo.get("-/ready")[0] == 200)
        delivered: set[str] = set()
        pages = ""

        def all_delivered() -> bool:
            for canary in demo.json("api/v1/canaries?limit=100")["canaries"]:
                if canary["outcome"] == "delivered":
                    delivered.add(canary["route"])
            return delivered >= ROUTES

        until(all_delivered)
        assert delivered == ROUTES
        newest = demo.json("api/v1/canaries?limit=1")["canaries"][0]["canary"]
        for path in ("", "metrics", "api/v1/routes", "api/v1/canaries?limit=500", f"canaries/{newest}"):
            status, page = demo.get(path)
            assert status == 200
            pages += page
        status, answer = demo.get("probe?route=demo-office-sales&debug=true")
        assert status == 200
        assert "probe_success 1" in answer
        secrets = secrets_of(tmp_path)
        assert len(secrets) >= 6, "the test knows the passwords"
        ports = listening(demo.process.pid)
        assert len(ports) >= 5, "SMTP, IMAP and the page"

        begun = time.monotonic()
        assert demo.end() == 0
        assert time.monotonic() - begun < 5
        for port in ports:
            assert not accepts(port)
        said = demo.out + demo.err
        assert TRACEBACK not in said
        assert [secret for secret in secrets if secret in said + pages + answer] == []
        assert [*(tmp_path / "tmp").iterdir()] == [], "nothing is left behind"
        assert [*(tmp_path / "home").iterdir()] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_ended_as_soon_as_it_is_there(tmp_path: Path, number: signal.Signals) -> None:
    with running(tmp_path, "--port", "0") as demo:
        assert demo.url
        assert demo.end(number) == 0
        assert TRACEBACK not in demo.err
        assert [*(tmp_path / "tmp").iterdir()] == []


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """Asked for by number it is that one or none; a free one is taken only where nobody asked."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(tmp_path, "--port", str(port)) as demo:
            assert demo.process.wait(30) == 2
            until(lambda: not any(thread.is_alive() for thread in demo._threads))
            assert demo.out == ""
            assert TRACEBACK not in demo.err
            assert f"127.0.0.1:{port}" in demo.err
            assert "in use" in demo.err
            assert [*(tmp_path / "tmp").iterdir()] == []


def test_the_usual_port_taken(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # somebody else has it: that serves as well
            stack.enter_context(socket.create_server(("127.0.0.1", 10587)))
        demo = stack.enter_context(running(tmp_path))
        assert not demo.url.endswith(":10587/")
        until(lambda: demo.get("-/healthy")[0] == 200)
        assert demo.end() == 0
        assert TRACEBACK not in demo.err


# ---- an outage

OUTAGE = """\
id: short
title: Ten minutes of refusals
acknowledged: {at: 2026-01-22T19:05:00Z, minutes: 5, where: a page}
replay:
  zero: 2026-01-22T19:00:00Z
  through: mx
  phases:
    - {label: full, from: 0, to: 10, effects: [{at: rcpt, do: reply, reply: '550 5.1.1 no such user'}]}
    - {label: recovered, from: 10, to: 70, effects: []}
  skip:
    - {from: 16, to: 68}
"""


def test_an_outage_on_the_status_page(tmp_path: Path) -> None:
    file = tmp_path / "short.yaml"
    file.write_text(OUTAGE)
    with running(tmp_path, "--outage", str(file), "--speed", "200", "--port", "0") as demo:
        until(lambda: any(route["code"] == 550 for route in demo.json("api/v1/routes")["routes"]), 60)
        until(lambda: "The outage is over." in demo.out, 60)
        incidents = demo.json("api/v1/incidents")["incidents"]
        assert {incident["route"] for incident in incidents} == {"inbound-1", "inbound-2", "inbound-3"}
        for incident in incidents:
            assert (incident["stage"], incident["code"], incident["enhanced_code"]) == ("rcpt", 550, "5.1.1")
            assert incident["begin"].startswith("2026-01-22T1"), "the outage's own time"
        status, page = demo.get("")
        assert status == 200
        assert "2026-01-22" in page
        secrets = secrets_of(tmp_path)
        assert len(secrets) >= 4, "the test knows the passwords"
        assert demo.end() == 0
        assert [line.split()[0] for line in demo.out.splitlines() if "FULL" in line] == ["0:00:00"]
        assert "FAILING" in demo.out
        assert TRACEBACK not in demo.err
        assert [secret for secret in secrets if secret in demo.out + demo.err + page] == []
        assert [*(tmp_path / "tmp").iterdir()] == [], "nothing is left behind"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--outage", "m365-2027"), "m365-2026-01-22"),
        (("--speed", "10"), "--outage"),
        (("--outage", "m365-2026-01-22", "--speed", "0"), "--speed"),
    ],
    ids=["no such outage", "the speed of nothing", "no speed"],
)
def test_an_outage_that_cannot_be_played(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    with running(tmp_path, *options) as demo:
        assert demo.process.wait(30) == 2
        until(lambda: not any(thread.is_alive() for thread in demo._threads))
        assert demo.out == ""
        assert said in demo.err
        assert TRACEBACK not in demo.err
