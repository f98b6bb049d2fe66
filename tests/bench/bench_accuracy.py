"""Is the reported transit true? mailprobe's word against the logs of Postfix and Dovecot, by the clock of one machine.

python tests/bench/bench_accuracy.py [--kinds prompt,held,junk] [--prompt 500] [--held 50] [--junk 100]

The truth is the time from the flush of the final dot, which the agent's journal has as wall time, to the servers' word
that the message is saved: Dovecot's, or Postfix' on Dovecot's answer, whichever was written first (the writers of logs
have to wait for a core too). Too high = the agent noticed it later than it was there. Three kinds of canaries:

prompt   delivered at once, several a second
held     kept in Postfix' queue for up to ten seconds, one in flight at a time in each mailbox
junk     put into Junk by a Sieve script
"""

from __future__ import annotations

import argparse
import re
import shutil
import sqlite3
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from workbench import MailLab, agent, grounds_of, machine, real_servers, share, spread, write_configuration

SENT = re.compile(r"^(\d+\.\d{6}) \S+: ([0-9A-Za-z]{6,}): .*status=sent", re.MULTILINE)
SAVED = re.compile(
    r"^(\d+\.\d{6}) .*msgid= ?<?v1\.[^.>]+\.[^.>]+\.([a-z0-9]+)\.[^>]*>?: "
    r"(?:saved mail to|(?:fileinto action: )?stored mail into mailbox)",
    re.MULTILINE,
)
BOXES = {"prompt": 4, "held": 16, "junk": 4}
RATES = {"prompt": 6.0, "held": 1.6, "junk": 4.0}
"""Canaries a second over all mailboxes of the kind."""
HOLD_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A canary: what was said and what was so, in seconds."""

    kind: str
    transit: float
    error: float
    truth: float

    @property
    def too_high(self) -> float:
        return self.transit - self.truth


def configure(place: Path, servers: MailLab, kind: str) -> Path:
    """A route for each mailbox."""
    boxes = BOXES[kind]
    grounds = grounds_of(servers, boxes)
    if kind == "junk":
        for address, _ in grounds.accounts:
            home = servers.dovecot.directory / "mail" / address
            home.mkdir(parents=True)
            (home / ".dovecot.sieve").write_text('require ["fileinto"];\nfileinto "Junk";\n')
        own(servers.dovecot.directory / "mail")

    def recipient(_: int, address: str) -> str:
        return address.replace("@", "+hold@") if kind == "held" else address

    interval = f"{boxes / RATES[kind] * 1e3:.0f}ms"
    return write_configuration(place, grounds, routes=boxes, interval=interval, recipient=recipient)


def own(directory: Path) -> None:
    """As Dovecot's mail processes need it."""
    for path in (directory, *directory.rglob("*")):
        shutil.chown(path, "mail", "mail")


def release(servers: MailLab, ended: threading.Event) -> None:
    """Lets go what is held, every so often."""
    while not ended.wait(HOLD_SECONDS):
        servers.postfix.release()
    servers.postfix.release()


def measured(kind: str, journal: Path, servers: MailLab) -> list[Measured]:
    """What both say of the canaries delivered."""
    saved = {id: float(at) for at, id in SAVED.findall(servers.dovecot.log())}
    sent = {id: float(at) for at, id in SENT.findall(servers.postfix.log_file.read_text(errors="replace"))}
    query = """SELECT canary.id, transit_seconds, transit_error_seconds, attempt.dot_sent, queue_id
        FROM canary JOIN attempt ON attempt.canary = canary.key
        WHERE canary.outcome IN ('delivered', 'junked') AND transit_seconds IS NOT NULL AND upper_bound = 0"""
    with sqlite3.connect(f"file:{journal}?mode=ro", uri=True) as database:
        rows = database.execute(query).fetchall()
    return [
        Measured(kind, transit, error, min(saved[id], sent.get(queue_id, saved[id])) - dot)
        for id, transit, error, dot, queue_id in rows
        if id in saved
    ]


def table(found: list[Measured]) -> None:
    outside = sum(not -0.002 <= each.too_high <= each.error + 0.002 for each in found)
    share_of_truth = [each.too_high / max(each.truth, 0.001) for each in found]
    lowest, late = min(each.too_high for each in found), sum(each.too_high > 0.015 for each in found)
    print(f"{found[0].kind:7}{len(found):6} transit by the logs {spread([each.truth for each in found])}")
    high = spread([each.too_high for each in found])
    print(f"{'':13} said is too high by {high}   lowest {lowest * 1e3:.2f}, over 15 ms: {late}")
    print(f"{'':13} error it states    {spread([each.error for each in found])}   outside it: {outside}")
    print(f"{'':13} too high, % of truth: {share(share_of_truth, 0.5) * 100:.1f} p50", flush=True)


def run(servers: MailLab, kind: str, count: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        file = configure(Path(place), servers, kind)
        ended = threading.Event()
        releasing = threading.Thread(target=release, args=(servers, ended))
        with agent(file) as running:
            if kind == "held":
                releasing.start()
            time.sleep(count / RATES[kind] + 2)
            ended.set()
            if kind == "held":
                releasing.join()
            time.sleep(2)
            outcomes = running.verdicts()

        table(measured(kind, Path(place, "journal.db"), servers))
        print(f"{'':13} {outcomes}", flush=True)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--kinds", default="prompt,held,junk")
    options.add_argument("--prompt", type=int, default=500, help="canaries of that kind")
    options.add_argument("--held", type=int, default=50)
    options.add_argument("--junk", type=int, default=100)
    chosen = options.parse_args()
    print(machine(), flush=True)
    print(f"{'':34}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}   (ms)")
    with real_servers() as servers:
        for kind in chosen.kinds.split(","):
            run(servers, kind, getattr(chosen, kind))


if __name__ == "__main__":
    main()
