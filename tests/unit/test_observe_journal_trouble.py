"""Damaged files, full and vanished disks: said, survived, and nothing deleted."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from support.journalling import Desk, a_canary, verdict_on

from mailprobe.events import AttemptBegun, CanaryOpened, Judged
from mailprobe.model import Outcome
from mailprobe.observe import journal as journal_module
from mailprobe.observe.journal import Journal, ProblemKind


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "disk").mkdir()
    return Desk(tmp_path / "disk" / "journal.db")


def kinds(desk: Desk) -> list[ProblemKind]:
    return [problem.kind for problem in desk.problems]


def opened(journal: Journal, desk: Desk, count: int, name: str = "canary") -> None:
    for number in range(count):
        canary = a_canary(desk.clock, f"{name}-{number}")
        journal(CanaryOpened(canary))
        journal(AttemptBegun(canary, 1, desk.clock.now()))


async def filled(desk: Desk, count: int = 300) -> None:
    async with desk.journal() as journal:
        await journal.restore()
        opened(journal, desk, count)
    assert not desk.problems


# ---- damaged files


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def garbage(path: Path) -> None:
    path.write_bytes(b"this is not the database that you are looking for " * 300)


def page_flipped(path: Path) -> None:
    """Every page but the first, as after a controller's bad day."""
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(byte ^ 0xFF for byte in data[4096:])
    path.write_bytes(data)


def type_flipped(path: Path) -> None:
    """A sound tree with a value in it that cannot be: caught since the tables are STRICT."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'opened REAL', 'opened ANY') WHERE name = 'canary'"
        )
        database.execute("PRAGMA writable_schema = RESET")
        database.execute("UPDATE canary SET opened = 'yesterday' WHERE key = 3")
        database.execute("PRAGMA writable_schema = ON")
        database.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'opened ANY', 'opened REAL') WHERE name = 'canary'"
        )


@pytest.mark.parametrize("damage", [truncated, garbage, page_flipped, type_flipped])
async def test_a_damaged_file_is_set_aside_and_a_new_one_begun(desk: Desk, damage: Callable[[Path], None]) -> None:
    await filled(desk)
    damage(desk.path)
    before = desk.path.read_bytes()
    async with desk.journal() as journal:
        assert (await journal.restore()).canaries == ()
        opened(journal, desk, 1)
        await journal.settle()
        assert journal.rows == 2
        assert journal.write_errors == 1
    aside = min(desk.path.parent.glob("journal.db.damaged-*"))  # the others are its log and its index
    assert aside.read_bytes() == before
    assert kinds(desk) == [ProblemKind.DAMAGED]
    assert aside.name in desk.problems[0].text
    async with desk.journal() as journal:
        assert len((await journal.restore()).canaries) == 1


async def test_a_damaged_file_takes_its_log_along(desk: Desk) -> None:
    await filled(desk)
    garbage(desk.path)
    wal = desk.path.with_name("journal.db-wal")
    wal.write_bytes(b"the log")
    async with desk.journal() as journal:
        await journal.restore()
        opened(journal, desk, 1)
        await journal.settle()
    aside = {path.name.removeprefix("journal.db.damaged-")[16:] for path in desk.path.parent.glob("*.damaged-*")}
    assert aside >= {"", "-wal"}
    assert journal.lost.total() == 0


async def test_a_file_damaged_under_our_hands_costs_nothing_given_afterwards(desk: Desk) -> None:
    await filled(desk)
    canary = a_canary(desk.clock, "in flight")
    async with desk.journal() as journal:
        await journal.restore()
        with closing(sqlite3.connect(desk.path, isolation_level=None)) as database:
            database.execute("INSERT INTO watermark VALUES ('m', 'f', 1, 1)")  # news: the journal must read again
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            garbage(desk.path)
        opened(journal, desk, 20, "after")
        await journal.settle()
        assert journal.rows == 40
        journal(Judged(verdict_on(canary, Outcome.DELIVERED)))
        await journal.settle()
        recorded = await journal.canary(canary.id)
        assert recorded is not None
        assert recorded.outcome == "delivered", "a verdict is written though the file knew nothing of its canary"
    assert kinds(desk) == [ProblemKind.DAMAGED]
    assert journal.lost.total() == 0


async def test_a_word_that_is_none_of_ours_costs_one_canary(desk: Desk) -> None:
    await filled(desk, 3)
    with closing(sqlite3.connect(desk.path, isolation_level=None)) as database:
        database.execute("UPDATE attempt SET outcome = 'vanished' WHERE canary = 2")
    async with desk.journal() as journal:
        restored = await journal.restore()
    assert [found.canary.id for found in restored.canaries] == ["canary-0", "canary-2"]
    assert restored.unreadable == 1
    assert kinds(desk) == [ProblemKind.UNREADABLE]


# ---- disks that will not have it


async def recovered(desk: Desk) -> None:
    await desk.until(lambda: ProblemKind.RECOVERED in kinds(desk))


async def test_a_vanished_directory_is_survived_and_what_was_given_meanwhile_is_kept(desk: Desk) -> None:
    async with desk.journal() as journal:
        await journal.restore()
        opened(journal, desk, 1, "before")
        await journal.settle()
        shutil.rmtree(desk.path.parent)
        opened(journal, desk, 1, "meanwhile")
        await journal.settle()
        await desk.until(lambda: kinds(desk) == [ProblemKind.UNWRITABLE])
        assert journal.write_errors >= 1
        opened(journal, desk, 1, "later")
        settling = journal.settle()
        with pytest.raises(StopIteration):  # nobody waits for a disk that is known to be gone
            settling.send(None)
        desk.path.parent.mkdir()
        await recovered(desk)
        await journal.settle()
        assert journal.rows == 4
    async with desk.journal() as journal:
        restored = await journal.restore()
    assert [found.canary.id for found in restored.canaries] == ["meanwhile-0", "later-0"]
    assert journal.lost.total() == 0


async def test_a_directory_that_was_never_there_does_not_stop_the_start(desk: Desk) -> None:
    desk.path = desk.path.parent / "not yet" / "journal.db"
    async with desk.journal() as journal:
        assert (await journal.restore()).canaries == ()
        opened(journal, desk, 1)
        await journal.settle()
        assert kinds(desk) == [ProblemKind.UNWRITABLE]
        desk.path.parent.mkdir()
        await recovered(desk)
        await desk.until(lambda: journal.rows == 2)


async def test_what_does_not_fit_into_memory_is_counted_by_name(desk: Desk) -> None:
    async with desk.journal(capacity=10) as journal:
        await journal.restore()
        shutil.rmtree(desk.path.parent)
        opened(journal, desk, 8)
        assert journal.lost == {"CanaryOpened": 3, "AttemptBegun": 3}
        await journal.settle()
    assert journal.lost == {"CanaryOpened": 8, "AttemptBegun": 8}, "closing gives up what cannot be written"
    assert sorted(set(kinds(desk))) == [ProblemKind.OVERFLOW, ProblemKind.UNWRITABLE]
    assert kinds(desk).count(ProblemKind.OVERFLOW) == 1


async def test_a_disk_that_hangs_holds_nobody_for_long(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "SETTLE_LIMIT", 0.05)
    monkeypatch.setattr(journal_module, "CLOSE_LIMIT", 0.05)
    journal, free = desk.new(), threading.Event()
    await journal.restore()
    write = journal._storage.write
    monkeypatch.setattr(journal._storage, "write", lambda rows: (free.wait(30), write(rows)))
    opened(journal, desk, 1)
    await journal.settle()
    await journal.settle()
    await journal.close()
    assert kinds(desk) == [ProblemKind.UNSETTLED]
    free.set()
    await desk.until(lambda: journal.rows == 2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 kB."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


async def test_a_full_disk_is_said_and_survived(small_disk: Path) -> None:
    desk = Desk(small_disk / "journal.db")
    async with desk.journal() as journal:
        await journal.restore()
        opened(journal, desk, 20)
        await journal.settle()
        (small_disk / "hog").write_bytes(b"x" * 380_000)
        given = 0
        while ProblemKind.UNWRITABLE not in kinds(desk):
            opened(journal, desk, 20, f"round-{(given := given + 1)}")
            assert given < 200
            await journal.settle()
            await asyncio.sleep(0)
        assert "full" in desk.problems[-1].text
        opened(journal, desk, 20, "last")
        (small_disk / "hog").unlink()
        await recovered(desk)
        await journal.settle()
        assert journal.lost.total() == 0
        assert journal.rows == 2 * 20 * (given + 2)
    async with desk.journal() as journal:
        assert len((await journal.restore()).canaries) == 20 * (given + 2)


async def test_a_full_disk_at_the_start_is_survived(small_disk: Path) -> None:
    desk = Desk(small_disk / "journal.db")
    with (small_disk / "hog").open("wb", buffering=0) as hog, suppress(OSError):
        while hog.write(b"x" * 4096):
            pass
    async with desk.journal() as journal:
        assert (await journal.restore()).canaries == ()
        opened(journal, desk, 1)
        await journal.settle()
        assert kinds(desk) == [ProblemKind.UNWRITABLE]
        (small_disk / "hog").unlink()
        await recovered(desk)
        await desk.until(lambda: journal.rows == 2)


async def test_a_disk_made_read_only_is_said_and_survived(small_disk: Path) -> None:
    desk = Desk(small_disk / "journal.db")
    await filled(desk, 1)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    async with desk.journal() as journal:
        await journal.restore()
        opened(journal, desk, 1, "later")
        await journal.settle()
        assert kinds(desk) == [ProblemKind.UNWRITABLE]
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
        await recovered(desk)
        await desk.until(lambda: journal.rows == 4)
