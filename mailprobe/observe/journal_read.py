"""What is read from the journal: the canaries of an earlier process, and the past for pages.

Everything read is doubted: what does not make sense is left out and counted, never raised.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from mailprobe.clock import Clock, instant_of
from mailprobe.errors import Reason, Stage
from mailprobe.model import (
    AttemptOutcome,
    Canary,
    Cause,
    Incident,
    Outcome,
    RestoredAttempt,
    RestoredCanary,
    RouteState,
    Sighting,
    Symptom,
)
from mailprobe.observe.evidence import NOT_EVIDENCE
from mailprobe.observe.journal_rows import Watermark
from mailprobe.observe.trace import SLOTS, WIDEST, Trace
from mailprobe.vendor import Acknowledgement

_UNFINISHED: Final = """
    awaited = 1 AND (outcome IS NULL OR resolution IS NULL AND (late_until > :now OR outcome = 'overdue')
    AND NOT EXISTS (SELECT 1 FROM sighting WHERE sighting.canary = canary.key))"""
_RESTORED: Final = f"""
    SELECT key, id, route, sender, mailbox, opened, deadline, late_until, outcome FROM canary WHERE {_UNFINISHED}
    ORDER BY key"""  # noqa: S608
_RECORDED: Final = """
    SELECT key, id, route, sender, mailbox, opened, outcome, stage, reason, code, enhanced, text, detail,
    delivery_seconds, transit_seconds, resolution FROM canary"""
_ATTEMPTS: Final = """
    SELECT number, begun, dot_sent, ended, outcome, stage, reason, code, enhanced, text, detail, queue_id, host,
    address, port, stages, replies, transcript FROM attempt WHERE canary = ? ORDER BY number"""

ALL_INCIDENTS: Final = """
    SELECT id, route, began, first_sign, detected, ended, closed, state, stage, code, enhanced, reason, share_worst,
    affected, relapses FROM incident"""
_INCIDENTS: Final = (
    f"{ALL_INCIDENTS} WHERE closed = 0 OR id IN (SELECT id FROM incident ORDER BY began DESC LIMIT ?) "  # noqa: S608
    "ORDER BY began"
)
_LATE_SIGHTING: Final = """
    SELECT folder, junk, uidvalidity, uid, noticed, previous_look, continuous, internaldate
    FROM (SELECT * FROM sighting WHERE canary = ? ORDER BY noticed LIMIT 1) WHERE previous_look >= ?"""
_INCIDENTS_KEPT: Final = 200
_ACKNOWLEDGED: Final = """
    SELECT incident, feed, vendor_incident, title, posted, noticed, lag_seconds FROM acknowledgement
    ORDER BY posted DESC LIMIT 1000"""
_ONCE_OK: Final = "SELECT DISTINCT route FROM canary WHERE outcome = 'delivered' AND retried = 0"
_TOLD: Final = f"outcome NOT IN {tuple(map(str, NOT_EVIDENCE))}"
"""What says something of the mail; not what is not judged."""
_BEFORE: Final = "SELECT key FROM canary WHERE opened < ? ORDER BY key DESC LIMIT 1"
_EARLIEST: Final = f"SELECT min(opened) FROM canary WHERE key > ? AND opened <= ? AND {_TOLD}"  # noqa: S608
_LATELY: Final = f"""
    SELECT route, CAST((opened - :begin) / :width AS INTEGER) AS slot, max(delivery_seconds), count(*),
    total(outcome <> '{Outcome.DELIVERED}' OR retried = 1) FROM canary
    WHERE key > :before AND opened BETWEEN :begin AND :now AND {_TOLD} GROUP BY route, slot"""  # noqa: S608
REASONS: Final = {str(reason): reason for reason in (*Reason, *Symptom)}

FINISH_OTHERS: Final = f"UPDATE canary SET awaited = 0 WHERE awaited = 1 AND NOT ({_UNFINISHED})"  # noqa: S608


@dataclass(frozen=True, slots=True)
class Lately:
    """Traces by route that begin with the same instant."""

    begin: float = 0.0
    traces: Mapping[str, Trace] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Restored:
    """What an earlier process left: canaries of which something is still to be said, and how far folders were read.

    `incidents`: those not closed, and the last that were. `once_ok`: routes through which mail is known to have gone.
    `acknowledgements`: what vendors said of incidents. `unreadable`: what is in the file and makes no sense.
    `lately`: the last hours of each route.
    """

    canaries: tuple[RestoredCanary, ...] = ()
    watermarks: tuple[Watermark, ...] = ()
    unreadable: int = 0
    incidents: tuple[Incident, ...] = ()
    once_ok: frozenset[str] = frozenset()
    acknowledgements: tuple[Acknowledgement, ...] = ()
    lately: Lately = field(default_factory=Lately)


@dataclass(frozen=True, slots=True)
class RecordedAttempt:
    """An attempt as the journal has it. All times are wall time; `stages`, `replies`, `transcript` are JSON."""

    number: int
    begun: float
    dot_sent: float | None
    ended: float | None
    outcome: str | None
    stage: str | None
    reason: str | None
    code: int | None
    enhanced: str | None
    text: str | None
    detail: str | None
    queue_id: str | None
    host: str | None
    address: str | None
    port: int | None
    stages: str | None
    replies: str | None
    transcript: str | None


@dataclass(frozen=True, slots=True)
class RecordedCanary:
    """A canary as the journal has it. `opened` is wall time; `outcome` None: not judged."""

    id: str
    route: str
    sender: str
    mailbox: str
    opened: float
    outcome: str | None
    stage: str | None
    reason: str | None
    code: int | None
    enhanced: str | None
    text: str | None
    detail: str | None
    delivery_seconds: float | None
    transit_seconds: float | None
    resolution: str | None
    attempts: tuple[RecordedAttempt, ...] = ()


def read_restored(database: sqlite3.Connection, clock: Clock, now_wall: float) -> Restored:
    """What an earlier process left, on the clock of this one. Raises sqlite3.Error."""
    canaries: list[RestoredCanary] = []
    unreadable = 0
    for key, *columns in database.execute(_RESTORED, {"now": now_wall}).fetchall():
        try:
            canaries.append(_restored(database, clock, key, *columns))
        except ValueError:  # a word that is none of ours
            unreadable += 1
    marks = database.execute("SELECT mailbox, folder, uidvalidity, uidnext FROM watermark").fetchall()
    incidents: list[Incident] = []
    for columns in database.execute(_INCIDENTS, (_INCIDENTS_KEPT,)).fetchall():
        try:
            incidents.append(incident_of(clock, *columns))
        except (ValueError, KeyError):
            unreadable += 1
    return Restored(
        tuple(canaries),
        tuple(Watermark(*mark) for mark in marks),
        unreadable,
        tuple(incidents),
        frozenset(route for (route,) in database.execute(_ONCE_OK)),
        tuple(Acknowledgement(*columns) for columns in database.execute(_ACKNOWLEDGED).fetchall()),
        _lately(database, clock, now_wall),
    )


def _lately(database: sqlite3.Connection, clock: Clock, now_wall: float) -> Lately:
    """The last hours, as far as a trace shows them. Keys rise with time: what is before them is not read."""
    before = (database.execute(_BEFORE, (now_wall - SLOTS * WIDEST,)).fetchone() or (0,))[0]
    begin = database.execute(_EARLIEST, (before, now_wall)).fetchone()[0]
    if begin is None:
        return Lately()
    now, start = clock.now(), instant_of(clock, begin)
    width = Trace(start).width(start + now_wall - begin)
    traces: dict[str, Trace] = {}
    span = {"before": before, "begin": begin, "now": now_wall, "width": width}
    for route, slot, slowest, judged, affected in database.execute(_LATELY, span):
        trace = traces.get(route) or traces.setdefault(route, Trace(start))
        trace.add(start + (slot + 0.5) * width, now, slowest, int(affected), judged)
    return Lately(start, traces)


def incident_of(
    clock: Clock,
    id: str,
    route: str,
    began: float,
    first_sign: float,
    detected: float,
    ended: float | None,
    closed: int,
    state: str,
    stage: str | None,
    code: int | None,
    enhanced: str | None,
    reason: str | None,
    share_worst: float,
    affected: int,
    relapses: int,
) -> Incident:
    """An incident from a row of `ALL_INCIDENTS`. Raises ValueError or KeyError for words that are none of ours."""
    cause = Cause(Stage(stage) if stage else None, code, enhanced, REASONS[reason] if reason else None)
    return Incident(
        id=id,
        route=route,
        begin=instant_of(clock, began),
        first_sign=instant_of(clock, first_sign),
        detected=instant_of(clock, detected),
        state=RouteState(state),
        cause=cause,
        share_worst=share_worst,
        affected=affected,
        relapses=relapses,
        end=None if ended is None else instant_of(clock, ended),
        closed=bool(closed),
    )


def _restored(
    database: sqlite3.Connection,
    clock: Clock,
    key: int,
    id: str,
    route: str,
    sender: str,
    mailbox: str,
    opened: float,
    deadline: float,
    late_until: float,
    outcome: str | None,
) -> RestoredCanary:
    canary = Canary(id, route, sender, mailbox, *(instant_of(clock, wall) for wall in (opened, deadline, late_until)))
    attempts = database.execute(
        "SELECT number, begun, outcome, dot_sent, retry_at, stage, reason, detail FROM attempt WHERE canary = ? "
        "ORDER BY number",
        (key,),
    )
    sightings = database.execute("SELECT folder, uidvalidity, uid FROM sighting WHERE canary = ?", (key,))
    late = None if outcome else database.execute(_LATE_SIGHTING, (key, deadline)).fetchone()
    return RestoredCanary(
        canary,
        tuple(
            RestoredAttempt(
                number,
                instant_of(clock, begun),
                None if ended_as is None else AttemptOutcome(ended_as),
                None if dot_sent is None else instant_of(clock, dot_sent),
                None if retry_at is None else instant_of(clock, retry_at),
                None if stage is None else Stage(stage),
                None if reason is None else Reason(reason),
                detail or "",
            )
            for number, begun, ended_as, dot_sent, retry_at, stage, reason, detail in attempts
        ),
        tuple(sightings),
        None if outcome is None else Outcome(outcome),
        _late(canary, clock, *late) if late else None,
    )


def _late(
    canary: Canary,
    clock: Clock,
    folder: str,
    junk: int,
    uidvalidity: int,
    uid: int,
    noticed: float,
    previous_look: float,
    continuous: int,
    internaldate: float | None,
) -> Sighting:
    place = (canary.id, canary.mailbox, folder, bool(junk), uidvalidity, uid)
    times = (instant_of(clock, noticed), instant_of(clock, previous_look))
    return Sighting(*place, *times, bool(continuous), internaldate)


def read_recent(path: Path, route: str, limit: int) -> tuple[RecordedCanary, ...]:
    """The newest canaries of a route, newest first, without their attempts. Raises sqlite3.Error. Blocks."""
    with closing(reading(path)) as database:
        found = database.execute(f"{_RECORDED} WHERE route = ? ORDER BY key DESC LIMIT ?", (route, limit))
        return tuple(RecordedCanary(*columns) for _key, *columns in found)


def read_canary(path: Path, id: str) -> RecordedCanary | None:
    """A canary and its attempts. Raises sqlite3.Error. Blocks, for a while if the file is large."""
    with closing(reading(path)) as database:
        found = database.execute(f"{_RECORDED} WHERE id = ? ORDER BY key DESC LIMIT 1", (id,)).fetchone()
        if found is None:
            return None
        key, *columns = found
        attempts = database.execute(_ATTEMPTS, (key,)).fetchall()
        return replace(RecordedCanary(*columns), attempts=tuple(RecordedAttempt(*attempt) for attempt in attempts))


def reading(path: Path) -> sqlite3.Connection:
    """A connection that cannot write; the agent's own may write meanwhile. Raises sqlite3.Error."""
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    database.text_factory = lambda text: text.decode("utf-8", "replace")
    database.execute("PRAGMA temp_store = MEMORY")  # a container may have no other place for what is sorted
    return database
