"""Incidents on disk: written, taken over by the next process, forgotten in time; and files that had none."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.journalling import Desk, a_canary

from mailprobe.errors import Reason, Stage
from mailprobe.events import CanaryOpened, IncidentChanged, IncidentClosed, IncidentOpened, VendorAcknowledged
from mailprobe.model import Cause, Incident, RouteState, Symptom
from mailprobe.observe.journal_schema import MIGRATIONS, migrate
from mailprobe.vendor import Acknowledgement

CAUSE = Cause(Stage.RCPT, 451, "4.3.2", Reason.DEFERRED)
INCIDENT = Incident("one", "route", 4900.0, 4901.0, 4960.0, RouteState.DEGRADED, CAUSE, 0.4, 5)
OVER = replace(INCIDENT, id="two", cause=Cause(Stage.TRANSIT, reason=Symptom.SLOW), end=4990.0, closed=True)


async def test_what_was_not_closed_and_what_was_come_back_as_they_were(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "journal.db")
    worse = replace(INCIDENT, state=RouteState.FAILING, share_worst=1.0, affected=20, relapses=2)
    async with desk.journal() as journal:
        await journal.restore()
        journal(IncidentOpened(INCIDENT, 5000.0))
        journal(IncidentOpened(replace(OVER, end=None, closed=False), 5000.0))
        journal(IncidentChanged(worse, 5000.0))
        journal(IncidentClosed(OVER, 5000.0))
    desk.clock.skip(60.0, wall=60.0)
    async with desk.journal() as journal:
        assert set((await journal.restore()).incidents) == {worse, OVER}
    desk.clock.restart()
    async with desk.journal() as journal:
        (restored,) = [each for each in (await journal.restore()).incidents if each.id == "one"]
        assert desk.clock.now() - restored.begin == 160.0


@pytest.mark.parametrize(
    ("outcome", "retried", "known"), [("delivered", 0, True), ("delivered", 1, False), ("deferred", 0, False)]
)
async def test_routes_that_mail_went_through_are_known_after_a_restart(
    tmp_path: Path, outcome: str, retried: int, known: bool
) -> None:
    path = tmp_path / "journal.db"
    desk = Desk(path)
    async with desk.journal() as journal:
        await journal.restore()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "INSERT INTO canary (id, route, sender, mailbox, opened, deadline, late_until, outcome, retried, awaited) "
            "VALUES ('c', 'inbound', 's', 'm', 1.0, 2.0, 3.0, ?, ?, 0)",
            (outcome, retried),
        )
    async with desk.journal() as journal:
        assert (await journal.restore()).once_ok == (frozenset({"inbound"}) if known else frozenset())


async def test_old_incidents_are_forgotten_unless_they_go_on(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "journal.db")
    async with desk.journal(retention_seconds=3600.0) as journal:
        await journal.restore()
        journal(IncidentOpened(INCIDENT, 5000.0))
        journal(IncidentClosed(OVER, 5000.0))
        await journal.settle()
        desk.clock.skip(86400.0, wall=86400.0)
        journal(CanaryOpened(a_canary(desk.clock)))

        def only_one() -> bool:
            with closing(sqlite3.connect(desk.path)) as database:
                return database.execute("SELECT id FROM incident").fetchall() == [("one",)]

        await desk.until(only_one)


async def test_words_that_are_none_of_ours_are_left_out_and_counted(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "journal.db")
    async with desk.journal() as journal:
        await journal.restore()
        for number, statement in enumerate(("state = 'splendid'", "reason = 'none of ours'", "stage = 'backstage'")):
            journal(IncidentOpened(replace(INCIDENT, id=f"odd{number}"), 5000.0))
            await journal.settle()
            with closing(sqlite3.connect(desk.path)) as database, database:
                database.execute(f"UPDATE incident SET {statement} WHERE id = ?", (f"odd{number}",))
        journal(IncidentOpened(INCIDENT, 5000.0))
    async with desk.journal() as journal:
        restored = await journal.restore()
    assert restored.incidents == (INCIDENT,)
    assert restored.unreadable == 3


async def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "journal.db")
    with closing(sqlite3.connect(desk.path, isolation_level=None)) as database:
        migrate(database, desk.path, MIGRATIONS[:1])
        database.execute(
            "INSERT INTO canary (id, route, sender, mailbox, opened, deadline, late_until) "
            "VALUES ('c', 'route', 's', 'm', ?, ?, ?)",
            [desk.clock.wall() + seconds for seconds in (0.0, 60.0, 3600.0)],
        )
    async with desk.journal() as journal:
        restored = await journal.restore()
        assert [canary.canary.id for canary in restored.canaries] == ["c"]
        assert restored.incidents == ()
        journal(IncidentOpened(INCIDENT, 5000.0))
    async with desk.journal() as journal:
        assert (await journal.restore()).incidents == (INCIDENT,)
    with closing(sqlite3.connect(desk.path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


SAID = Acknowledgement("one", "vendor", "EX1", "Mail is late", 1.8e9 + 900, 1.8e9 + 1000, 900.0)


async def test_what_vendors_said_of_incidents_comes_back_and_goes_with_them(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "journal.db")
    earlier = replace(SAID, posted=1.8e9 + 600, lag_seconds=600.0)
    async with desk.journal(retention_seconds=3600.0) as journal:
        await journal.restore()
        journal(IncidentOpened(INCIDENT, 5000.0))
        journal(IncidentClosed(OVER, 5000.0))
        for said in (SAID, replace(SAID, incident="two"), earlier):
            journal(VendorAcknowledged(said, said.lag_seconds))
        await journal.settle()
    async with desk.journal(retention_seconds=3600.0) as journal:
        assert set((await journal.restore()).acknowledgements) == {earlier, replace(SAID, incident="two")}
        desk.clock.skip(86400.0, wall=86400.0)
        journal(CanaryOpened(a_canary(desk.clock)))

        def only_one() -> bool:
            with closing(sqlite3.connect(desk.path)) as database:
                return database.execute("SELECT incident FROM acknowledgement").fetchall() == [("one",)]

        await desk.until(only_one)
