"""What is settled survives `kill -9` at any moment, and nothing is half written."""

from __future__ import annotations

import os
import random
import selectors
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from support.journalling import Desk

WRITER = """
import asyncio, os, sys
from pathlib import Path
from mailprobe.clock import SystemClock
from mailprobe.events import AttemptBegun, AttemptEnded, CanaryOpened, CanarySighted, DotSent, Judged
from mailprobe.observe.journal import Journal
from support.journalling import a_canary, an_attempt, sighting_of, verdict_on
from mailprobe.model import Outcome

async def life(journal, clock, number, generation):
    canary = a_canary(clock, f"{generation}-{number}")
    journal(CanaryOpened(canary))
    journal(AttemptBegun(canary, 1, clock.now()))
    await journal.settle()
    os.write(1, f"opened {canary.id}\\n".encode())
    journal(DotSent(canary, 1, clock.now()))
    journal(AttemptEnded(canary, an_attempt(1, clock.now())))
    if number % 2:
        journal(CanarySighted(canary, sighting_of(canary, noticed=clock.now())))
        journal(Judged(verdict_on(canary, Outcome.DELIVERED)))
        await journal.settle()
        os.write(1, f"judged {canary.id}\\n".encode())

async def main(path, generation):
    clock = SystemClock()
    journal = Journal(Path(path), clock=clock, retention_seconds=1e6, on_problem=lambda problem: print(problem))
    await journal.restore()
    number = 0
    while True:
        await asyncio.gather(*(life(journal, clock, number + part, generation) for part in range(10)))
        number += 10

sys.stdin.read()
asyncio.run(main(*sys.argv[1:]))
"""


def writer(path: Path, generation: int) -> subprocess.Popen[bytes]:
    """A process that begins to write when it is told to; started beforehand, since starting takes long."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    command = [sys.executable, "-c", WRITER, str(path), str(generation)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def said_until_killed(writer: subprocess.Popen[bytes], seconds: float) -> list[tuple[str, str]]:
    """What a writer says is settled before it is killed, `seconds` after its first word."""
    with writer, selectors.DefaultSelector() as ears:
        assert writer.stdin
        assert writer.stdout
        writer.stdin.close()
        ears.register(writer.stdout, selectors.EVENT_READ)
        assert ears.select(20), "the writer says nothing"
        end, said = time.monotonic() + seconds, b""
        while (left := end - time.monotonic()) > 0:
            if ears.select(left):
                said += os.read(writer.stdout.fileno(), 1 << 16)
        writer.kill()
        said += writer.stdout.read()
    lines = said.decode().splitlines(keepends=True)
    return [(what, id) for what, id in (line.split() for line in lines if line.endswith("\n"))]


async def test_what_was_settled_is_there_after_each_of_twenty_kills(tmp_path: Path) -> None:
    path, chance = tmp_path / "journal.db", random.Random(20)
    opened: set[str] = set()
    judged: set[str] = set()
    next_one = writer(path, 0)
    try:
        for generation in range(20):
            this_one, next_one = next_one, writer(path, generation + 1)
            said = said_until_killed(this_one, chance.uniform(0.0, 0.1))
            assert said
            opened |= {id for what, id in said if what == "opened"}
            judged |= {id for what, id in said if what == "judged"}
            with closing(sqlite3.connect(path)) as database:
                rows = dict(database.execute("SELECT id, outcome FROM canary"))
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert opened <= rows.keys()
            assert all(rows[id] == "delivered" for id in judged)
    finally:
        next_one.kill()
        next_one.communicate()
    assert len(judged) > 20
    desk = Desk(path)
    desk.clock.skip(0, wall=time.time() - desk.clock.wall())
    async with desk.journal() as journal:
        restored = {found.canary.id: found for found in (await journal.restore()).canaries}
    assert desk.problems == []
    unfinished = {id for id, outcome in rows.items() if outcome is None}
    assert restored.keys() == unfinished
    assert all(found.attempts for id, found in restored.items() if id in opened)
