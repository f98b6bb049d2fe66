"""What the journal costs: microseconds on the loop per event, time to settle, CPU per canary, bytes per canary.

python tests/bench/bench_journal.py [directory]
"""

from __future__ import annotations

import asyncio
import platform
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

from mailprobe.clock import SystemClock
from mailprobe.errors import Reply, Stage
from mailprobe.events import (
    AttemptBegun,
    AttemptEnded,
    CanaryForgotten,
    CanaryOpened,
    CanarySighted,
    DotSent,
    Event,
    Judged,
)
from mailprobe.model import (
    Attempt,
    AttemptOutcome,
    Canary,
    Outcome,
    Peer,
    Sighting,
    StageReply,
    StageTime,
    TlsFacts,
    TranscriptLine,
    Verdict,
)
from mailprobe.observe.journal import Journal

CLOCK = SystemClock()
STAGES = tuple(StageTime(stage, 0.0012345) for stage in Stage if stage is not Stage.TRANSIT)
REPLIES = tuple(StageReply(time.stage, Reply.of(250, "2.0.0 Ok: queued as 4bXyZ123")) for time in STAGES)
TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", "mx.example.org", "Example CA", None, True)
LINES = tuple(TranscriptLine(number / 100, "<", "250 2.1.0 Ok") for number in range(30))
PEER = Peer("mx.example.org", "192.0.2.1", 25)


def life(route: int) -> tuple[list[Event], list[Event]]:
    """The events of a canary before its first byte leaves, and afterwards."""
    now = CLOCK.now()
    id = f"{random.getrandbits(100):025x}"
    canary = Canary(id, f"route-{route}", f"sender-{route}", f"mailbox-{route}", now, now + 60, now + 3600)
    attempt = Attempt(
        1, now, now + 1, AttemptOutcome.ACCEPTED, STAGES, REPLIES, PEER, TLS, "4bXyZ123", now, transcript=LINES
    )
    sighting = Sighting(id, canary.mailbox, "INBOX", False, 1700000000, route, now, now, True, 1.7e9)
    verdict = Verdict(canary, Outcome.DELIVERED, now, None, None, "", REPLIES[-1], 1.5, 1.2, 0.01, attempts=1)
    return [CanaryOpened(canary), AttemptBegun(canary, 1, now)], [
        DotSent(canary, 1, now),
        AttemptEnded(canary, attempt),
        CanarySighted(canary, sighting),
        Judged(verdict),
        CanaryForgotten(canary, now),
    ]


def new(directory: str, name: str) -> Journal:
    return Journal(Path(directory, name), clock=CLOCK, retention_seconds=1e9, on_problem=print, capacity=1_000_000)


async def on_the_loop(directory: str) -> None:
    """Only what the caller of a journal pays; its thread waits meanwhile."""
    journal = new(directory, "loop.db")
    events = [event for number in range(5000) for part in life(number) for event in part]
    began = time.perf_counter()
    for event in events:
        journal(event)
    print(f"on the loop: {(time.perf_counter() - began) / len(events) * 1e6:.2f} us an event (thread not running)")


async def waiting(directory: str, pause: float, count: int) -> None:
    """One canary after the other, with a pause."""
    journal = new(directory, f"settle-{pause}.db")
    await journal.restore()
    waits, cpu = [], time.process_time()
    for number in range(count):
        before, after = life(number)
        for event in before:
            journal(event)
        began = time.perf_counter()
        await journal.settle()
        waits.append(time.perf_counter() - began)
        for event in after:
            journal(event)
        await asyncio.sleep(pause)
    cpu = (time.process_time() - cpu) / count
    waits.sort()
    print(
        f"one by one, {pause * 1e3:g} ms apart: settled in p50 {statistics.median(waits) * 1e3:.2f} ms, "
        f"p99 {waits[int(count * 0.99)] * 1e3:.2f} ms, {cpu * 1e6:.0f} us CPU a canary (with making its events)"
    )
    await journal.close()


async def steady(directory: str, rate: int, seconds: float) -> None:
    """`rate` canaries a second, each with a life of a second; CPU of the whole process less that without journal."""
    figures: list[tuple[float, list[float], int]] = []
    for journal in (None, new(directory, f"steady-{rate}.db")):
        if journal:
            await journal.restore()
        waits: list[float] = []

        async def one(number: int, journal: Journal | None = journal, waits: list[float] = waits) -> None:
            before, after = life(number)
            for event in before:
                if journal:
                    journal(event)
            began = time.perf_counter()
            if journal:
                await journal.settle()
            waits.append(time.perf_counter() - began)
            for pause, event in zip((0.3, 0.02, 0.5, 0, 0.2), after, strict=True):
                await asyncio.sleep(pause)
                if journal:
                    journal(event)

        cpu, started, count = time.process_time(), time.perf_counter(), int(rate * seconds)
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
                group.create_task(one(number))
        figures.append(((time.process_time() - cpu) / count, sorted(waits), count))
        if journal:
            await journal.close()
    (without, _, _), (with_it, waits, count) = figures
    print(
        f"{rate} canaries/s: {(with_it - without) * 1e6:.0f} us CPU a canary of 7 events, settled in "
        f"p50 {waits[count // 2] * 1e3:.2f} ms, p99 {waits[int(count * 0.99)] * 1e3:.2f} ms"
    )


async def burst(directory: str, count: int = 20_000) -> None:
    """As fast as it goes, fifty canaries at a time."""
    lives = [life(number) for number in range(count)]
    path = Path(directory, "burst.db")
    journal = new(directory, path.name)
    await journal.restore()
    cpu, began = time.process_time(), time.perf_counter()
    for start in range(0, count, 50):
        for before, after in lives[start : start + 50]:
            for event in (*before, *after):
                journal(event)
        await journal.settle()
    cpu, took = time.process_time() - cpu, time.perf_counter() - began
    await journal.close()
    size = path.stat().st_size
    print(
        f"fifty at a time: {count / took:,.0f} canaries/s, {cpu / count * 1e6:.0f} us CPU a canary, "
        f"{size / count:.0f} bytes a canary"
    )
    again, began = new(directory, path.name), time.perf_counter()
    await again.restore()
    print(f"opening and checking {size / 1e6:.0f} MB: {(time.perf_counter() - began) * 1e3:.0f} ms")
    await again.close()


async def main(directory: str) -> None:
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.machine()}")
    await on_the_loop(directory)
    await waiting(directory, 0.0, 3000)
    await waiting(directory, 0.02, 200)
    await steady(directory, 50, 3)
    await steady(directory, 200, 3)
    await burst(directory)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as place:
        asyncio.run(main(place))
