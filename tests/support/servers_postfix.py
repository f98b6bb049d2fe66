"""A real Postfix that delivers into Dovecot, with faults chosen by the recipient's detail or by the port."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support import servers_greypolicy, servers_postlog
from support.servers import Daemon, fill_in, free_ports, require_programs, require_root, run
from support.servers_dovecot import Dovecot
from support.waiting import until

GREYLIST_SECONDS = 3
_RECORD = re.compile(r"^(\d+\.\d{6}) (\S+?)\[\d+\]: ([0-9A-Za-z]{6,}): (.*)$")

_PRIVATE_PLACES = (
    *("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold"),
    *("incoming", "private", "saved", "trace"),
)


@dataclass(frozen=True, slots=True)
class Record:
    """A line that Postfix logged about one queue id. `at`: Unix seconds, to the microsecond."""

    at: float
    process: str
    queue_id: str
    text: str


class Postfix:
    """A running Postfix. Each port is a different experience:

    mx_port          as an MX: no AUTH, optional STARTTLS
    submission_port  STARTTLS and AUTH required; submissions_port: the same over implicit TLS
    plaintext_port   AUTH and no TLS at all
    expiring_port (5 days left), expired_port, wrongname_port, unknown_ca_port   submission with such a certificate
    greylist_port    submission behind greylisting: 450 4.7.1 for GREYLIST_SECONDS after the first try
    throttled_port   421 4.7.0 at connect from the third connection in a minute on
    slow_dot_port    submission that answers the final dot 1 s late, whether or not anybody waits for it

    Recipient details: +tempfail 451, +grey 450, +full 452, +nouser 550, +policy 554, +throttle 421 and close (all at
    RCPT); +datafail 451 at DATA; accepted and then: +hold (until `release()`), +slow (one in 20 s), +dead and +defer
    (never), +bounce (DSN 5.1.1), +swallow or @blackhole.test (silently lost), nobody@ (LMTP 550, DSN). Subject
    `[JUNKME]`: into Junk; `[VANISH]`: lost by Sieve.
    """

    mx_port: int
    submission_port: int
    submissions_port: int
    plaintext_port: int
    expiring_port: int
    expired_port: int
    wrongname_port: int
    unknown_ca_port: int
    greylist_port: int
    throttled_port: int
    slow_dot_port: int

    def __init__(self, directory: Path, dovecot: Dovecot) -> None:
        for name, port in zip(_PORTS, free_ports(len(_PORTS)), strict=True):
            setattr(self, name, port)
        self.directory = directory
        self.queue = directory / "queue"
        self.log_file = directory / "log" / "mail.log"
        self.ca_file = dovecot.ca_file
        self._configuration = directory / "conf"
        log = [sys.executable, "-S", servers_postlog.__file__, str(self.queue / "public" / "postlog")]
        self._log = Daemon("postlog", [*log, str(self.log_file)], directory / "log" / "postlog.output")
        master = ["/usr/lib/postfix/sbin/master", "-d", "-c", str(self._configuration)]
        environment = {"MAIL_CONFIG": str(self._configuration)}
        self._master = Daemon("postfix", master, directory / "log" / "output", environment)
        self._write(dovecot)

    def start(self) -> None:
        """Start; greets on its ports when this returns."""
        (self.queue / "public" / "postlog").unlink(missing_ok=True)
        self._log.start()
        until((self.queue / "public" / "postlog").exists)
        self._master.start()
        for port in (self.mx_port, self.submission_port):
            self._master.wait_for(port, b"220 ")
        self._master.wait_for(self.submissions_port, None)

    def kill(self) -> None:
        """Cut every connection at once and free the ports; the queue survives until `start`."""
        self._master.kill()
        self._log.kill()

    def restart(self) -> None:
        """As a crash and a quick recovery."""
        self.kill()
        self.start()

    def release(self) -> None:
        """Deliver what `+hold` kept; it is in the mailbox within a second."""
        self._run("postsuper", "-H", "ALL")
        self.flush()

    def flush(self) -> None:
        """Try everything that is deferred now."""
        self._run("postqueue", "-f")

    def forget_greylist(self) -> None:
        """Greylisting starts anew for everybody."""
        for seen in (self.directory / "grey").iterdir():
            seen.unlink()

    def queued(self) -> str:
        """What mailq shows."""
        return self._run("postqueue", "-p")

    def records(self, queue_id: str) -> list[Record]:
        """Every line about a queue id, oldest first."""
        lines = self.log_file.read_text(errors="replace").splitlines() if self.log_file.exists() else []
        matches = filter(None, map(_RECORD.match, lines))
        return [Record(float(found[1]), found[2], found[3], found[4]) for found in matches if found[3] == queue_id]

    def accepted_at(self, queue_id: str) -> float | None:
        """When the message was safely queued, just before the 250 for the final dot: Unix seconds."""
        return next((record.at for record in self.records(queue_id) if "(queue active)" in record.text), None)

    def delivered_at(self, queue_id: str) -> float | None:
        """When the downstream server had answered for it (`status=sent`): Unix seconds.

        Dovecot's own word, `Dovecot.saved_at(message_id(queue_id))`, is a little earlier and nearer to the truth.
        """
        return next((record.at for record in self.records(queue_id) if "status=sent" in record.text), None)

    def message_id(self, queue_id: str) -> str | None:
        """The Message-ID (with its angle brackets) that a queue id stands for."""
        found = (record.text for record in self.records(queue_id) if record.text.startswith("message-id="))
        return next((text.removeprefix("message-id=") for text in found), None)

    def wait_logged(self, queue_id: str, text: str, within: float = 10.0) -> Record:
        """The first line about a queue id that contains `text`; waits for it. Raises TimeoutError."""
        found: list[Record] = []

        def logged() -> bool:
            found[:] = [record for record in self.records(queue_id) if text in record.text]
            return bool(found)

        until(logged, within)
        return found[0]

    def _run(self, program: str, *arguments: str) -> str:
        command = [f"/usr/sbin/{program}", "-c", str(self._configuration), *arguments]
        return run(command)

    def _write(self, dovecot: Dovecot) -> None:
        for place in ("conf", "queue", "data", "log", "grey"):
            (self.directory / place).mkdir(parents=True)
        shutil.chown(self.directory / "data", "postfix")
        shutil.chown(self.directory / "grey", "nobody")
        greypolicy = Path(shutil.copy(servers_greypolicy.__file__, self._configuration))
        values: dict[str, object] = {name: getattr(self, name) for name in _PORTS} | {
            "directory": self.directory,
            "queue": self.queue,
            "configuration": self._configuration,
            "certificates": dovecot.ca_file.parent,
            "lmtp_socket": dovecot.run / "lmtp",
            "auth_socket": dovecot.run / "auth-postfix",
            "greypolicy": greypolicy,
            "greylist_seconds": GREYLIST_SECONDS,
        }
        for name in ("main.cf", "master.cf", "rcpt_access", "data_access", "transport"):
            fill_in(name, self._configuration / name, values)
        # Postfix waits 2 s for a main.cf that is still warm
        warm = time.time() - 60
        for path in self._configuration.iterdir():
            os.utime(path, (warm, warm))
        self._make_queue()

    def _make_queue(self) -> None:
        # what `postfix check` does, whose scripts take 0.2 s
        (self.queue / "pid").mkdir()
        for place in _PRIVATE_PLACES:
            (self.queue / place).mkdir(mode=0o700)
            shutil.chown(self.queue / place, "postfix")
        for place, mode in (("maildrop", 0o730), ("public", 0o710)):
            (self.queue / place).mkdir()
            shutil.chown(self.queue / place, "postfix", "postdrop")
            (self.queue / place).chmod(mode)


_PORTS = tuple(name for name in Postfix.__annotations__ if name.endswith("_port"))


@contextlib.contextmanager
def running_postfix(directory: Path, dovecot: Dovecot) -> Iterator[Postfix]:
    """Postfix in `directory`, killed at the end. Skips where it cannot run."""
    require_programs("postfix", ["postfix", "postsuper"], "postfix")
    require_root("postfix")
    postfix = Postfix(directory, dovecot)
    try:
        postfix.start()
        yield postfix
    finally:
        postfix.kill()
