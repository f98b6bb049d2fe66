"""`mailprobe probe` as a user runs it: a process of its own, with an emptied environment, on pipes or on a terminal."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from support.servers_dovecot import Account
from support.servers_fixtures import MailLab

WITHIN = 30.0
"""Seconds after which a process that ought to end is taken for one that hangs."""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[78=>]")
_LINES = re.compile(r"[\r\n]+")
TRACEBACK = "Traceback (most recent call last)"


def command(*arguments: str) -> list[str]:
    """The command line; what it would be in a shell."""
    return [sys.executable, "-m", "mailprobe", *arguments]


def environment(smtp: str | None = None, imap: str | None = None, **more: str) -> dict[str, str]:
    """An environment with nothing in it but what a shell gives, and the two passwords."""
    passwords = {"MAILPROBE_SMTP_PASSWORD": smtp, "MAILPROBE_IMAP_PASSWORD": imap}
    given = {name: value for name, value in passwords.items() if value is not None}
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TERM": "xterm-256color"} | given | more


def passwords_of(account: Account) -> dict[str, str]:
    """The environment in which an account of the lab logs in on both sides."""
    return environment(account.password, account.password)


@dataclass(frozen=True, slots=True)
class Ran:
    """What a process that ended had to say."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """Standard output, which holds one JSON document and nothing else."""
        return json.loads(self.stdout)

    @property
    def result(self) -> Any:
        """The one result of it."""
        (result,) = self.document["results"]
        return result


def probe(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, within: float = WITHIN
) -> Ran:
    """Runs it to its end on pipes."""
    done = subprocess.run(
        command("probe", *arguments),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment() if env is None else dict(env),
        cwd=cwd,
        timeout=within,
    )
    assert TRACEBACK not in done.stderr + done.stdout, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


def by_url(
    lab: MailLab,
    account: Account,
    *,
    to: str | None = None,
    smtp: str = "smtp",
    smtp_host: str = "127.0.0.1",
    smtp_port: int | None = None,
    smtp_query: str = "",
    imap: str = "imaps",
    imap_host: str = "127.0.0.1",
    imap_port: int | None = None,
    ca_file: Path | None = None,
) -> list[str]:
    """The options of a probe from the lab's submission port to the account's mailbox, each changed where asked for."""
    user = quote(account.address, safe="")
    submission = {"smtp": lab.postfix.submission_port, "smtps": lab.postfix.submissions_port}[smtp]
    reading = {"imap": lab.dovecot.imap_port, "imaps": lab.dovecot.imaps_port}[imap]
    return [
        f"--smtp={smtp}://{user}@{smtp_host}:{smtp_port or submission}{smtp_query}",
        f"--imap={imap}://{user}@{imap_host}:{imap_port or reading}",
        f"--to={to or account.address}",
        f"--ca-file={ca_file or lab.ca_file}",
    ]


def configuration(lab: MailLab, account: Account, *, routes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A configuration with one sender, one mailbox and one route, for a test to change before it is written."""
    auth = {"username": account.address, "password_file": "password"}
    trusted = {"ca_file": str(lab.ca_file), "tls_server_name": "mail.lab.test"}
    return {
        "agent": {"name": "one-shot"},
        "senders": {
            "postfix": {
                "submission": f"127.0.0.1:{lab.postfix.submission_port}",
                "tls": "starttls",
                "from": account.address,
                "auth": dict(auth),
                **trusted,
            }
        },
        "mailboxes": {
            "dovecot": {
                "address": account.address,
                "imap": f"127.0.0.1:{lab.dovecot.imaps_port}",
                "tls": "implicit",
                "auth": dict(auth),
                **trusted,
            }
        },
        "routes": dict(routes or {"home": {"from": "postfix", "to": "dovecot"}}),
    }


def written(directory: Path, document: Mapping[str, Any], account: Account) -> Path:
    """The configuration as a file, the account's password beside it."""
    (directory / "password").write_text(account.password + "\n")
    file = directory / "mailprobe.yaml"
    file.write_text(yaml.safe_dump(dict(document), sort_keys=False))
    return file


def gives_away(account: Account, text: str) -> bool:
    """Whether a text holds the account's password, plain or as SASL would write it."""
    secret = account.password.encode()
    users = [account.address.encode(), account.user.encode()]
    forms = [secret, base64.b64encode(secret), *(base64.b64encode(b"\0" + user + b"\0" + secret) for user in users)]
    return any(form in text.encode() for form in forms)


class Terminal:
    """A process on a terminal: what it shows, and what a person does to it."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.raw = b""
        self._master = master

    @property
    def text(self) -> str:
        """Everything that was ever shown, without control sequences."""
        return _LINES.sub("\n", _CONTROL.sub("", self.raw.decode("utf-8", "replace")))

    def wait_for(self, text: str) -> None:
        """Until the text has been shown. Raises TimeoutError, EOFError if the process ended without it."""
        end = time.monotonic() + WITHIN
        while text not in self.text:
            if not self._read(end):
                raise EOFError(f"ended without {text!r}: {self.text}")

    def resize(self, columns: int, rows: int = 24) -> None:
        """As if the window's edge were dragged."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    def interrupt(self) -> None:
        """Ctrl-C, as the terminal sends it."""
        os.write(self._master, b"\x03")

    def end(self) -> int:
        """Reads to the end; the exit status."""
        end = time.monotonic() + WITHIN
        while self._read(end):
            pass
        status = self.process.wait(WITHIN)
        assert TRACEBACK not in self.text
        return status

    def _read(self, end: float) -> bool:
        readable, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
        if not readable:
            raise TimeoutError(f"nothing more within {WITHIN} s: {self.text}")
        try:
            data = os.read(self._master, 65536)
        except OSError:  # EIO: nobody holds the other end any more
            return False
        self.raw += data
        return bool(data)


@contextlib.contextmanager
def on_terminal(
    arguments: Sequence[str], env: Mapping[str, str], *, columns: int = 80, rows: int = 24
) -> Iterator[Terminal]:
    """Begins a process whose input, output and errors are a terminal of this size."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        ["setsid", "--ctty", *command(*arguments)], stdin=slave, stdout=slave, stderr=slave, env=dict(env)
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.wait()
        os.close(master)
