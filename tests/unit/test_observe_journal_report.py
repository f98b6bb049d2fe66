"""What the journal says of a period: figures, refusals, incidents and their failures; other files refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.journalling import Desk
from support.reporting import BEGIN, BUSY, PEER, Story, findings, written

from mailprobe.errors import ConfigurationError, Stage
from mailprobe.model import Canary, Outcome, RouteState
from mailprobe.observe.findings import SLOTS, quantiles
from mailprobe.observe.journal_read import reading
from mailprobe.observe.journal_schema import MIGRATIONS, migrate

GOOD = "." * 30
OUTAGE = GOOD + "D" * 12 + "." * 10


async def test_figures_of_routes(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await written(path, GOOD + "DDox?B", "..")
    inbound, internal = findings(path).routes
    assert (inbound.route, inbound.sender, inbound.mailbox) == ("inbound", "outside", "contoso")
    assert inbound.outcomes == {
        Outcome.DELIVERED: 30,
        Outcome.DEFERRED: 2,
        Outcome.BOUNCED: 1,
        Outcome.OVERDUE: 2,
        Outcome.UNOBSERVED: 1,
    }
    assert (inbound.judged, inbound.late, inbound.lost, inbound.waiting) == (35, 1, 1, 0)
    assert inbound.availability == 30 / 35
    assert inbound.delivery
    assert (inbound.delivery.count, inbound.delivery.p50, inbound.delivery.most) == (30, 2.15, 2.30)
    assert internal.availability == 1.0


async def test_what_is_sorted_needs_no_file(tmp_path: Path) -> None:
    """A container that may write its journal only has no place for one."""
    path = tmp_path / "journal.db"
    await written(path, "..")
    with closing(reading(path)) as database:
        assert database.execute("PRAGMA temp_store").fetchone() == (2,)


async def test_a_canary_belongs_to_the_period_in_which_it_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await written(path, "." * 10)
    (route,) = findings(path, since=BEGIN + 120.0, until=BEGIN + 300.0).routes
    assert route.outcomes == {Outcome.DELIVERED: 3}
    assert [number for number, slot in enumerate(route.slots) if slot.good] == [0, SLOTS // 3, 2 * SLOTS // 3]
    assert findings(path, since=BEGIN + 3600.0).routes == ()


async def test_only_the_routes_that_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await written(path, OUTAGE, "..")
    found = findings(path, "internal")
    assert [route.route for route in found.routes] == ["internal"]
    assert (found.refusals, found.incidents) == ((), ())


async def test_what_stopped_attempts(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await written(path, OUTAGE, "D")
    (refused,) = findings(path).refusals
    assert (refused.stage, refused.code, refused.enhanced_code, refused.reason) == (
        Stage.RCPT,
        451,
        "4.3.2",
        "deferred",
    )
    assert (refused.count, refused.routes, refused.text) == (13, 2, BUSY)
    assert refused.first == pytest.approx(BEGIN + 30 * 60 + 0.5)
    assert refused.last == pytest.approx(BEGIN + 52 * 60 + 0.5)


async def test_an_incident_with_its_first_and_its_worst_failure(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    story = await written(path, GOOD + "DDDDxDDD" + "." * 10)
    (told,) = findings(path).incidents
    incident = told.incident
    assert (incident.route, incident.state, incident.cause.code) == ("inbound", RouteState.FAILING, 451)
    assert incident.begin == pytest.approx(BEGIN + 1800.0)
    assert incident.end == pytest.approx(BEGIN + 1800.0 + 11 * 60, abs=6)
    assert told.outcomes == {Outcome.DELIVERED: 4, Outcome.DEFERRED: 7, Outcome.OVERDUE: 1}
    first, worst = told.first, told.worst
    assert first
    assert worst
    assert first.canary == _wall(story, 30)
    assert first.attempts[0].transcript[1].text == f"451 {BUSY}"
    assert first.attempts[0].peer == PEER
    assert (worst.canary.id, worst.lost_at) == ("canary0034", BEGIN + 34 * 60 + 3600.0)
    assert worst.attempts[0].queue_id == "4XyZ"


def _wall(story: Story, number: int) -> Canary:
    """A canary on the wall clock."""
    canary, shift = story.canaries[number], story.desk.wall_at_start - story.desk.start
    instants = {name: getattr(canary, name) + shift for name in ("opened", "deadline", "late_until")}
    return replace(canary, **instants)


async def test_of_equally_bad_failures_the_one_with_a_transcript_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await written(path, OUTAGE)
    (told,) = findings(path).incidents
    assert told.worst
    assert told.worst.attempts[0].transcript


async def test_an_incident_that_began_earlier_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await written(path, OUTAGE)
    (told,) = findings(path, since=BEGIN + 35 * 60.0).incidents
    assert told.incident.begin == pytest.approx(BEGIN + 1800.0)
    assert told.outcomes[Outcome.DEFERRED] == 12
    assert findings(path, until=BEGIN + 1700.0).incidents == ()


async def test_an_incident_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await written(path, GOOD + "D" * 12)
    (told,) = findings(path).incidents
    assert told.incident.end is None
    assert told.until(7.0) == 7.0


async def test_bounces_and_late_arrivals_are_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await written(path, GOOD + "BBBB")
    (told,) = findings(path).incidents
    assert told.first
    assert told.first.bounce
    assert told.first.bounce.diagnostic == "smtp; 550 5.1.1 <no> such user"
    await written(tmp_path / "late.db", GOOD + "oooo")
    (told,) = findings(tmp_path / "late.db").incidents
    assert told.first
    assert told.first.late
    assert told.first.late.transit_seconds == 900.0


async def test_it_is_read_while_the_agent_writes(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    story = Story(Desk(path))
    await story.journal.restore()
    await story.live("...")
    assert findings(path).routes[0].outcomes == {Outcome.DELIVERED: 3}
    await story.live("..")
    assert findings(path).routes[0].outcomes == {Outcome.DELIVERED: 5}
    assert story.desk.problems == []
    await story.end()


async def test_words_that_are_none_of_ours_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await written(path, OUTAGE)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE attempt SET stages = '[[1,2,3],[\"x\",1],7]', replies = '{', transcript = '[[1]]'")
        database.execute("UPDATE attempt SET reason = 'made up', stage = 'nowhere', outcome = 'odd' WHERE canary = 31")
        database.execute("UPDATE canary SET outcome = 'strange' WHERE key = 32")
        database.execute(
            "INSERT INTO incident SELECT 'bad', route, began, first_sign, detected, ended, closed, 'sad', "
            "stage, code, enhanced, reason, share_worst, affected, relapses FROM incident"
        )
    found = findings(path)
    (told,) = found.incidents
    assert found.unreadable == 1
    assert found.routes[0].waiting == 1
    assert told.first
    assert told.first.attempts[0].stages == ()
    assert told.first.attempts[0].transcript == ()


# ---- other files


def test_no_journal(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"journal .*none.db: there is none yet"):
        findings(tmp_path / "none.db")


def test_no_database(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(ConfigurationError, match="cannot be read: file is not a database"):
        findings(path)


def test_the_database_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE cats (name)")
    with pytest.raises(ConfigurationError, match="no journal of mailprobe"):
        findings(path)


async def test_the_journal_of_a_newer_mailprobe(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    await written(path, ".")
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(ConfigurationError, match="newer mailprobe"):
        findings(path)


def test_the_journal_of_a_mailprobe_that_knew_no_incidents(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        migrate(database, path, MIGRATIONS[:1])
        database.execute(
            "INSERT INTO canary (id, route, sender, mailbox, opened, deadline, late_until, outcome) "
            "VALUES ('a', 'inbound', 's', 'm', ?, 0, 0, 'delivered')",
            (BEGIN,),
        )
    found = findings(path)
    assert found.routes[0].outcomes == {Outcome.DELIVERED: 1}
    assert found.incidents == ()


async def test_a_journal_in_a_directory_that_nobody_may_write_to(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    path = place / "journal.db"
    await written(path, "..")
    assert not (place / "journal.db-wal").exists()
    (place / "journal.db-shm").mkdir()  # root may write everywhere: so the index cannot be made, as it could not there
    assert findings(path).routes[0].outcomes == {Outcome.DELIVERED: 2}


# ---- quantiles


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [((5.0,), (1, 5.0, 5.0, 5.0, 5.0)), ((2.0, 1.0), (2, 1.0, 2.0, 2.0, 2.0)), (range(1, 101), (100, 50, 90, 99, 100))],
)
def test_quantiles_by_nearest_rank(seconds: tuple[float, ...], expected: tuple[float, ...]) -> None:
    found = quantiles(seconds)
    assert found
    assert (found.count, found.p50, found.p90, found.p99, found.most) == expected


def test_quantiles_of_nothing() -> None:
    assert quantiles(()) is None
