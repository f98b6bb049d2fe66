"""Files of every age: brought up to date, or refused and left as they are."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.journalling import Desk

from mailprobe.errors import ConfigurationError
from mailprobe.observe.journal_schema import APPLICATION_ID, MIGRATIONS, migrate

RENAMED = ("ALTER TABLE canary RENAME COLUMN route TO road", "UPDATE canary SET road = upper(road)")
BROKEN = ("CREATE TABLE another (x TEXT) STRICT", "INSERT INTO nowhere VALUES (1)")
OPENED = "INSERT INTO canary (id, route, sender, mailbox, opened, deadline, late_until) VALUES ('c','r','s','m',1,2,3)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def database(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


def tables(database: sqlite3.Connection) -> set[str]:
    return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_an_empty_file_gets_all_versions(database: sqlite3.Connection, path: Path) -> None:
    migrate(database, path)
    assert pragma(database, "user_version") == len(MIGRATIONS)
    assert pragma(database, "application_id") == APPLICATION_ID
    assert tables(database) == {"canary", "attempt", "sighting", "bounce", "watermark", "incident", "acknowledgement"}
    migrate(database, path)  # and once more changes nothing


def test_an_older_file_keeps_what_is_in_it(database: sqlite3.Connection, path: Path) -> None:
    migrate(database, path)
    database.execute(OPENED)
    migrate(database, path, (*MIGRATIONS, RENAMED))
    assert pragma(database, "user_version") == len(MIGRATIONS) + 1
    assert database.execute("SELECT id, road FROM canary").fetchall() == [("c", "R")]


def test_a_migration_that_fails_leaves_the_file_as_it_was(database: sqlite3.Connection, path: Path) -> None:
    migrate(database, path)
    database.execute(OPENED)
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(database, path, (*MIGRATIONS, RENAMED, BROKEN))
    assert pragma(database, "user_version") == len(MIGRATIONS)
    assert database.execute("SELECT id, route FROM canary").fetchall() == [("c", "r")]
    assert "another" not in tables(database)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (f"PRAGMA user_version = {len(MIGRATIONS) + 1}", "was written by a newer mailprobe"),
        ("CREATE TABLE theirs (x)", "is a database of another program"),
    ],
)
async def test_a_file_that_is_not_ours_to_write_is_refused_and_untouched(
    database: sqlite3.Connection, path: Path, statement: str, message: str
) -> None:
    database.execute(statement)
    database.close()
    before = path.read_bytes()
    desk = Desk(path)
    async with desk.journal() as journal:
        with pytest.raises(ConfigurationError, match=message):
            await journal.restore()
    assert path.read_bytes() == before
    assert sorted(found.name for found in path.parent.iterdir()) == ["journal.db", "journal.db.lock"]
