"""What an earlier version left behind: its journal is opened, its configuration loads or says exactly what to change.

`tests/data/upgrades/<version>/` holds the journal and the configuration of each version that was released, or will be
next, as that version wrote them. A new format of the journal needs a new file: `write_journal` makes one.
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.journalling import Desk, a_canary, an_attempt, sighting_of, verdict_on

from mailprobe import __version__
from mailprobe.config.load import load
from mailprobe.errors import EnhancedStatus, Reason, Stage
from mailprobe.events import (
    AttemptBegun,
    AttemptEnded,
    BounceReceived,
    CanaryOpened,
    CanarySighted,
    DotSent,
    IncidentClosed,
    IncidentOpened,
    Judged,
)
from mailprobe.model import (
    AttemptOutcome,
    Bounce,
    Cause,
    Incident,
    Outcome,
    Reply,
    RestoredCanary,
    RouteState,
    StageReply,
)
from mailprobe.observe.journal_read import Restored
from mailprobe.observe.journal_schema import MIGRATIONS

UPGRADES = Path(__file__).parents[1] / "data" / "upgrades"
VERSIONS = sorted(directory.name for directory in UPGRADES.iterdir())
DEFERRED = (StageReply(Stage.RCPT, Reply(451, EnhancedStatus(4, 3, 2), ("4.3.2 try again",))),)
OPEN = Incident(
    *("open", "route", 4900.0, 4901.0, 4960.0, RouteState.FAILING),
    *(Cause(Stage.RCPT, 451, "4.3.2", Reason.DEFERRED), 1.0, 5),
)


async def write_journal(path: Path) -> None:
    """One canary of each kind, as the present version writes them: all that a later one has to understand."""
    desk = Desk(path)
    async with desk.journal() as journal:
        await journal.restore()
        for kind in ("open", "retried", "in-doubt", "delivered", "overdue", "bounced"):
            canary = a_canary(desk.clock, kind)
            journal(CanaryOpened(canary))
            if kind == "open":
                continue
            journal(AttemptBegun(canary, 1, 5000.0))
            if kind == "retried":
                refused = an_attempt(1, 5000.0, AttemptOutcome.DEFERRED, stage=Stage.RCPT, replies=DEFERRED)
                journal(AttemptEnded(canary, refused, retry_at=5030.0))
                continue
            journal(DotSent(canary, 1, 5000.5))
            if kind == "in-doubt":
                continue
            journal(AttemptEnded(canary, an_attempt(1, 5000.0)))
            if kind == "delivered":
                journal(CanarySighted(canary, sighting_of(canary)))
            if kind == "bounced":
                notice = Bounce(kind, "mailbox", "failed", "5.1.1", "550 5.1.1 no such user", "mx.lab.test", 5002.0)
                journal(BounceReceived(canary, notice))
            journal(Judged(verdict_on(canary, Outcome(kind))))
        journal(IncidentOpened(OPEN, 5000.0))
        journal(IncidentClosed(Incident(**_fields(OPEN) | {"id": "over", "end": 4990.0, "closed": True}), 5000.0))
        journal.save_watermark("mailbox", "INBOX", 1, 8)
        await journal.settle()
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = DELETE")  # one file


def _fields(incident: Incident) -> dict[str, object]:
    return {name: getattr(incident, name) for name in incident.__slots__}


async def restored(path: Path) -> Restored:
    desk = Desk(path)
    desk.clock.skip(100.0, wall=100.0)
    async with desk.journal() as journal:
        found = await journal.restore()
        recorded = await journal.recent("route")
        whole = await journal.canary("bounced")
    assert desk.problems == []
    assert {each.outcome for each in recorded} == {None, "delivered", "overdue", "bounced"}
    assert whole
    assert whole.attempts[0].host == "mx.example.org"
    return found


def judge(found: Restored) -> None:
    """That nothing of it was lost."""
    canaries: dict[str, RestoredCanary] = {each.canary.id: each for each in found.canaries}
    assert canaries.keys() == {"open", "retried", "in-doubt", "overdue", "bounced"}
    assert canaries["open"].attempts == ()
    (attempt,) = canaries["retried"].attempts
    assert (attempt.outcome, attempt.stage) == (AttemptOutcome.DEFERRED, Stage.RCPT)
    assert attempt.retry_at == pytest.approx(5030.0)
    (attempt,) = canaries["in-doubt"].attempts
    assert (attempt.outcome, attempt.dot_sent) == (None, pytest.approx(5000.5))
    assert canaries["overdue"].outcome is Outcome.OVERDUE
    assert [(each.mailbox, each.folder, each.uidvalidity, each.uidnext) for each in found.watermarks] == [
        ("mailbox", "INBOX", 1, 8)
    ]
    assert found.once_ok == {"route"}
    assert found.unreadable == 0


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_journal_of_a_version_is_taken_over(version: str, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    shutil.copy(UPGRADES / version / "journal.db", path)
    found = await restored(path)
    judge(found)
    assert {each.id: each.closed for each in found.incidents} == {"open": False, "over": True}
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


@pytest.mark.parametrize(("format_", "lacks"), [(1, ("incident", "acknowledgement")), (2, ("acknowledgement",))])
async def test_a_journal_of_before_there_was_a_table(format_: int, lacks: tuple[str, ...], tmp_path: Path) -> None:
    """As 0.1.0's, without these tables."""
    path = tmp_path / "journal.db"
    shutil.copy(UPGRADES / "0.1.0" / "journal.db", path)
    with closing(sqlite3.connect(path)) as database, database:
        for table in lacks:
            database.execute(f"DROP TABLE {table}")
        database.execute(f"PRAGMA user_version = {format_}")
    found = await restored(path)
    judge(found)
    assert bool(found.incidents) == ("incident" not in lacks)
    assert found.acknowledgements == ()


async def test_what_this_version_writes_is_kept_for_the_next_ones(tmp_path: Path) -> None:
    """If this fails, the format has changed: keep the new one under the version that brings it."""
    with closing(sqlite3.connect(UPGRADES / VERSIONS[-1] / "journal.db")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    path = tmp_path / "journal.db"
    await write_journal(path)
    judge(await restored(path))
    assert __version__ in VERSIONS


@pytest.mark.parametrize("version", VERSIONS)
def test_the_configuration_of_a_version_loads(version: str, tmp_path: Path) -> None:
    """Its example has every setting. One that is renamed is said by `config.explain`, and changed here then."""
    text = (UPGRADES / version / "mailprobe.yaml").read_text()
    for directory in ("/run/secrets", "/var/lib/mailprobe", "/etc/mailprobe"):
        text = text.replace(directory, str(tmp_path))
    for name in ("o365", "canary-key"):
        (tmp_path / name).write_text("0123456789abcdef0123456789abcdef")
    file = tmp_path / "mailprobe.yaml"
    file.write_text(text)
    configuration = load(file, {})
    assert {"inbound", "internal"} <= configuration.plan.routes.keys()
