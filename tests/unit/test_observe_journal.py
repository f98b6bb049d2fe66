"""The journal: what is given is on disk after settle, and is given back after a restart."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.journalling import Desk, a_canary, an_attempt, sighting_of, verdict_on
from support.loops import both_loops

from mailprobe.errors import ConfigurationError, Reason, Reply, Stage
from mailprobe.events import (
    ArrivedLate,
    AttemptBegun,
    AttemptEnded,
    BounceReceived,
    CanaryForgotten,
    CanaryLost,
    CanaryOpened,
    CanarySighted,
    DotSent,
    DuplicateSighted,
    Judged,
    SlotFired,
)
from mailprobe.model import AttemptOutcome, Bounce, Outcome, RestoredAttempt, StageReply, StageTime, TranscriptLine
from mailprobe.observe.journal import ProblemKind, Watermark

pytestmark = [both_loops, pytest.mark.usefixtures("nothing_blocks")]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "journal.db")


def near(seconds: float | None) -> object:
    return None if seconds is None else pytest.approx(seconds, abs=1e-3)


async def test_an_open_canary_comes_back_with_its_attempts_and_sightings(desk: Desk) -> None:
    canary, clock = a_canary(desk.clock), desk.clock
    begun, dot = clock.now(), clock.now() + 0.2
    async with desk.journal() as journal:
        assert (await journal.restore()).canaries == ()
        journal(CanaryOpened(canary))
        journal(AttemptBegun(canary, 1, begun))
        deferred = an_attempt(1, begun, AttemptOutcome.DEFERRED, ended=begun + 0.1)
        journal(AttemptEnded(canary, deferred, retry_at=begun + 30))
        journal(AttemptBegun(canary, 2, begun + 30))
        journal(DotSent(canary, 2, dot))
        journal(CanarySighted(canary, sighting_of(canary, uid=7, noticed=dot + 1)))
        journal(SlotFired("route", 0.1))
        await journal.settle()
        assert journal.rows == 4
    clock.skip(1000, wall=1000)  # the machine was off for a while: the monotonic clock begins anew
    clock.restart()
    async with desk.journal() as journal:
        (restored,) = (await journal.restore()).canaries
        assert journal.rows == 4
    assert (restored.canary.id, restored.canary.route) == (canary.id, canary.route)
    age = clock.wall() - desk.wall_at_start - (canary.opened - desk.start)
    assert clock.now() - restored.canary.opened == near(age)
    assert restored.canary.deadline - restored.canary.opened == near(canary.deadline - canary.opened)
    assert restored.canary.late_until - restored.canary.opened == near(canary.late_until - canary.opened)
    first, second = restored.attempts
    opened = restored.canary.opened
    assert first == RestoredAttempt(1, near(opened), AttemptOutcome.DEFERRED, None, near(opened + 30))  # type: ignore[arg-type]
    assert second == RestoredAttempt(2, near(opened + 30), None, near(opened + 0.2), None)  # type: ignore[arg-type]
    assert restored.sightings == (("INBOX", 1, 7),)
    assert restored.outcome is None
    assert desk.problems == []


@pytest.mark.parametrize("look", [-1.0, 0.0, 1.0])
async def test_what_was_seen_too_late_comes_back_as_that(desk: Desk, look: float) -> None:
    canary = a_canary(desk.clock)
    first = replace(sighting_of(canary, 7, canary.deadline + 5), previous_look=canary.deadline + look)
    async with desk.journal() as journal:
        await journal.restore()
        journal(CanaryOpened(canary))
        journal(AttemptBegun(canary, 1, canary.opened))
        journal(CanarySighted(canary, first))
        journal(DuplicateSighted(canary, sighting_of(canary, 8, canary.deadline + 6)))
        await journal.settle()
    async with desk.journal() as journal:
        (restored,) = (await journal.restore()).canaries
    late = restored.late
    assert (late is not None) == (look >= 0)
    if late:
        assert (late.folder, late.uid, late.junk) == (first.folder, 7, first.junk)
        assert late.noticed - restored.canary.deadline == near(5)


async def test_what_is_finished_does_not_come_back(desk: Desk) -> None:
    ways = ("judged", "seen", "late", "lost", "forgotten", "overdue-over", "unobserved-over", "open-over")
    canaries = {way: a_canary(desk.clock, way) for way in ways}
    judged = {"judged": Outcome.OVERDUE, "seen": Outcome.DELIVERED, "late": Outcome.OVERDUE, "lost": Outcome.OVERDUE}
    judged |= {"forgotten": Outcome.REJECTED, "overdue-over": Outcome.OVERDUE, "unobserved-over": Outcome.UNOBSERVED}
    async with desk.journal() as journal:
        await journal.restore()
        for way, canary in canaries.items():
            if way.endswith("-over"):
                canary = a_canary(desk.clock, way, late_until=10)
            journal(CanaryOpened(canary))
            if way == "seen":
                journal(CanarySighted(canary, sighting_of(canary)))
            if way in judged:
                journal(Judged(verdict_on(canary, judged[way])))
        late, sighting = canaries["late"], sighting_of(canaries["late"], uid=9)
        journal(ArrivedLate(late, Outcome.OVERDUE, sighting, desk.clock.now(), 80.0, 0.1, False))
        journal(CanaryLost(canaries["lost"], desk.clock.now()))
        journal(CanaryForgotten(canaries["forgotten"], desk.clock.now()))
    desk.clock.skip(20, wall=20)
    for _ in range(2):  # reading changes nothing
        async with desk.journal() as journal:
            restored = {found.canary.id: found.outcome for found in (await journal.restore()).canaries}
        # an overdue canary is lost only when somebody looked for it after late_until: it still has to be looked for
        assert restored == {"judged": Outcome.OVERDUE, "overdue-over": Outcome.OVERDUE, "open-over": None}
    async with desk.journal() as journal:
        await journal.restore()
        recorded = await journal.canary("late")
        assert recorded is not None
        assert (recorded.outcome, recorded.resolution) == ("overdue", "late")
        lost = await journal.canary("lost")
        assert lost is not None
        assert lost.resolution == "lost"
    assert desk.problems == []


async def test_events_given_before_restore_are_written(desk: Desk) -> None:
    journal = desk.new()
    journal(CanaryOpened(a_canary(desk.clock)))
    await journal.settle()  # nobody takes anything yet: returns at once
    assert (await journal.restore()).canaries == ()
    await journal.settle()
    assert journal.rows == 1
    await journal.close()


async def test_a_canary_that_was_opened_twice_or_sighted_twice_is_there_once(desk: Desk) -> None:
    canary = a_canary(desk.clock)
    async with desk.journal() as journal:
        await journal.restore()
        for _ in range(2):
            journal(CanaryOpened(canary))
            journal(AttemptBegun(canary, 1, desk.clock.now()))
            journal(CanarySighted(canary, sighting_of(canary, uid=1)))
            await journal.settle()
        journal(DuplicateSighted(canary, sighting_of(canary, uid=2)))
    async with desk.journal() as journal:
        (restored,) = (await journal.restore()).canaries
    assert len(restored.attempts) == 1
    assert [uid for _, _, uid in restored.sightings] == [1, 2]
    assert desk.problems == []


async def test_an_attempt_is_recorded_with_its_replies_and_a_failure_with_its_transcript(desk: Desk) -> None:
    canary, now = a_canary(desk.clock), desk.clock.now()
    greeting = StageReply(Stage.GREETING, Reply.of(220, "mx.example.org"))
    refused = StageReply(Stage.RCPT, Reply.of(451, "4.3.2 temporary server issue"))
    failed = an_attempt(
        1,
        now,
        AttemptOutcome.DEFERRED,
        stages=(StageTime(Stage.CONNECT, 0.01), StageTime(Stage.RCPT, 0.02)),
        replies=(greeting, refused),
        stage=Stage.RCPT,
        reason=Reason.DEFERRED,
        transcript=(TranscriptLine(0.5, "<", "451 4.3.2 temporary server issue"),),
    )
    accepted = an_attempt(2, now, replies=(greeting,), transcript=(TranscriptLine(0.5, "<", "220"),), dot_sent=now)
    async with desk.journal() as journal:
        await journal.restore()
        journal(CanaryOpened(canary))
        for attempt in (failed, accepted):
            journal(AttemptBegun(canary, attempt.number, now))
            journal(DotSent(canary, attempt.number, now))
            journal(AttemptEnded(canary, attempt))
        journal(BounceReceived(canary, Bounce(canary.id, "m", "failed", "5.1.1", "no such user", "mta", now)))
        journal(Judged(verdict_on(canary, Outcome.BOUNCED)))
        await journal.settle()
        recorded = await journal.canary(canary.id)
        (newest,) = await journal.recent(canary.route, 1)
        assert await journal.recent("another route", 1) == ()
        assert await journal.canary("another") is None
    assert recorded is not None
    assert (newest.id, newest.outcome) == (recorded.id, recorded.outcome) == (canary.id, "bounced")
    first, second = recorded.attempts
    assert (first.stage, first.reason, first.code, first.enhanced) == ("rcpt", "deferred", 451, "4.3.2")
    assert first.stages == '[["connect",0.010000],["rcpt",0.020000]]'
    assert first.replies is not None
    assert "temporary server issue" in first.replies
    assert first.transcript == '[[0.5, "<", "451 4.3.2 temporary server issue"]]'
    assert first.dot_sent is not None, "said by an event, not by the attempt"
    assert (second.outcome, second.code, second.replies, second.transcript) == ("accepted", 220, None, None)


async def test_failures_of_one_kind_have_one_transcript_in_ten_minutes(desk: Desk) -> None:
    kept = []
    async with desk.journal() as journal:
        await journal.restore()
        for number, (pause, reason) in enumerate(
            [(0, Reason.TIMEOUT), (60, Reason.TIMEOUT), (60, Reason.DNS_SERVFAIL), (600, Reason.TIMEOUT)]
        ):
            desk.clock.skip(pause, wall=pause)
            canary, now = a_canary(desk.clock, f"canary-{number}"), desk.clock.now()
            lines = tuple(TranscriptLine(n / 1000, "<", str(n)) for n in range(1000))
            attempt = an_attempt(1, now, AttemptOutcome.UNSENT, reason=reason, transcript=lines)
            journal(CanaryOpened(canary))
            journal(AttemptEnded(canary, attempt))
            await journal.settle()
            recorded = await journal.canary(canary.id)
            assert recorded is not None
            (found,) = recorded.attempts
            kept.append(found.transcript and found.transcript.count("["))
    assert kept == [201, None, 201, 201]


async def test_watermarks_come_back_and_the_last_one_holds(desk: Desk) -> None:
    async with desk.journal() as journal:
        await journal.restore()
        journal.save_watermark("m", "INBOX", 1, 5)
        journal.save_watermark("m", "Junk", 1, 2)
        journal.save_watermark("m", "INBOX", 2, 1)
    async with desk.journal() as journal:
        marks = (await journal.restore()).watermarks
    assert set(marks) == {Watermark("m", "INBOX", 2, 1), Watermark("m", "Junk", 1, 2)}


async def test_many_who_wait_share_a_transaction(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async with desk.journal() as journal:
        await journal.restore()
        write, transactions = journal._storage.write, []
        monkeypatch.setattr(journal._storage, "write", lambda rows: (transactions.append(rows), write(rows)))

        async def one(number: int) -> None:
            journal(CanaryOpened(a_canary(desk.clock, f"canary-{number}")))
            await journal.settle()

        await asyncio.gather(*(one(number) for number in range(200)))
        assert journal.rows == 200
        assert len(transactions) <= 3


async def test_settling_with_nothing_to_write_does_not_ask_the_thread(desk: Desk) -> None:
    async with desk.journal() as journal:
        await journal.restore()
        journal(CanaryOpened(a_canary(desk.clock)))
        await journal.settle()
        settling = journal.settle()
        with pytest.raises(StopIteration):
            settling.send(None)


async def test_one_who_waits_may_be_cancelled(desk: Desk) -> None:
    async with desk.journal() as journal:
        await journal.restore()
        journal(CanaryOpened(a_canary(desk.clock)))
        task = asyncio.create_task(journal.settle())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await journal.settle()
        assert journal.rows == 1


async def test_the_file_is_for_our_eyes_only(desk: Desk) -> None:
    async with desk.journal() as journal:
        await journal.restore()
        journal(CanaryOpened(a_canary(desk.clock)))
        await journal.settle()
        parts = sorted(desk.path.parent.iterdir())
        assert [part.name for part in parts] == ["journal.db", "journal.db-shm", "journal.db-wal", "journal.db.lock"]
        assert {stat.S_IMODE(part.stat().st_mode) for part in parts} == {0o600}
    desk.path.chmod(0o644)
    async with desk.journal() as journal:
        await journal.restore()
        assert stat.S_IMODE(desk.path.stat().st_mode) == 0o600


async def test_the_thread_has_a_name_and_ends(desk: Desk) -> None:
    async with desk.journal() as journal:
        await journal.restore()
        assert "mailprobe-journal" in {thread.name for thread in threading.enumerate()}
        journal(CanaryOpened(a_canary(desk.clock)))
    assert "mailprobe-journal" not in {thread.name for thread in threading.enumerate()}
    journal(CanaryOpened(a_canary(desk.clock)))  # too late, and said so
    await journal.settle()
    assert journal.lost == {"CanaryOpened": 1}
    await journal.close()


async def test_a_second_agent_is_refused_and_the_first_goes_on(desk: Desk) -> None:
    async with desk.journal() as first:
        await first.restore()
        async with desk.journal() as second:
            with pytest.raises(ConfigurationError, match=r"in use by another mailprobe \(process \d+\)"):
                await second.restore()
            second(CanaryOpened(a_canary(desk.clock)))
            await second.settle()
        first(CanaryOpened(a_canary(desk.clock)))
        await first.settle()
        assert first.rows == 1
    async with desk.journal() as third:
        assert len((await third.restore()).canaries) == 1


async def test_a_second_agent_is_refused_while_the_first_cannot_write(desk: Desk) -> None:
    """Or it would take over what the first has in flight, and each canary had two verdicts."""
    async with desk.journal() as first:
        await first.restore()
        first(CanaryOpened(a_canary(desk.clock)))
        await first.settle()
        with closing(sqlite3.connect(desk.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            first(CanaryOpened(a_canary(desk.clock, "second")))
            await desk.until(lambda: bool(desk.problems))
            async with desk.journal() as second:
                with pytest.raises(ConfigurationError, match="in use by another mailprobe"):
                    await second.restore()


async def test_a_row_that_cannot_be_written_costs_no_other(desk: Desk) -> None:
    async with desk.journal() as journal:
        await journal.restore()
        journal(CanaryOpened(a_canary(desk.clock, "canary-1")))
        journal(CanaryOpened(a_canary(desk.clock, "canary-\ud800")))
        journal(CanaryOpened(None))  # type: ignore[arg-type]
        journal(CanaryOpened(a_canary(desk.clock, "canary-2")))
        await journal.settle()
        assert journal.rows == 2
        assert journal.lost == {"CanaryOpened": 2}
        assert journal.write_errors >= 2
        settling = journal.settle()
        with pytest.raises(StopIteration):  # nothing is left to wait for: what was given up is done with
            settling.send(None)
    assert {problem.kind for problem in desk.problems} == {ProblemKind.MISFIT}


async def test_retention_by_age_deletes_whole_canaries(desk: Desk) -> None:
    async with desk.journal(retention_seconds=3600) as journal:
        await journal.restore()
        for number in range(1200):
            canary = a_canary(desk.clock, f"old-{number}", late_until=60)
            journal(CanaryOpened(canary))
            journal(AttemptBegun(canary, 1, desk.clock.now()))
            journal(CanarySighted(canary, sighting_of(canary)))
        await journal.settle()
        assert journal.rows == 3600
        desk.clock.skip(3601 + 60, wall=3601 + 60)
        journal(CanaryOpened(a_canary(desk.clock, "new")))
        await desk.until(lambda: journal.rows == 1)
    with closing(sqlite3.connect(desk.path)) as database:
        assert database.execute("SELECT id FROM canary").fetchall() == [("new",)]
        assert database.execute("SELECT * FROM attempt").fetchall() == []
        assert database.execute("SELECT * FROM sighting").fetchall() == []


async def test_retention_by_size_keeps_the_newest_and_what_is_awaited(desk: Desk) -> None:
    async with desk.journal(max_bytes=200_000) as journal:
        await journal.restore()
        journal(CanaryOpened(a_canary(desk.clock, "awaited")))
        for number in range(2500):
            canary = a_canary(desk.clock, f"canary-{number}")
            journal(CanaryOpened(canary))
            journal(Judged(verdict_on(canary, Outcome.REJECTED)))
            journal(CanaryForgotten(canary, desk.clock.now()))
        await journal.settle()
        desk.clock.skip(30, wall=30)
        journal(CanaryOpened(a_canary(desk.clock, "last")))
        await desk.until(lambda: used_bytes(desk.path) <= 200_000)
        await journal.settle()
        newest = [found.id for found in await journal.recent("route", 5000)]
        assert journal.rows == len(newest)
        assert journal.size_bytes > 0
    assert newest[:2] == ["last", "canary-2499"]
    assert newest[-1] == "awaited"
    assert 1000 < len(newest) < 2000
    assert desk.problems == []


def used_bytes(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        pages, free = (database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    return (pages - free) * 4096
