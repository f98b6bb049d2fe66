"""Canaries of the journal as the records that pages and documents are made of. All instants are wall time.

Everything read is doubted: a word or a number that makes no sense is left out, never raised. The journal keeps less
than a running agent knows: of an accepted attempt only the reply that decided, and transcripts of some failures only.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from typing import Any, Final, TypeVar

from mailprobe.errors import EnhancedStatus, Reason, Reply, Stage
from mailprobe.events import ArrivedLate
from mailprobe.model import (
    Attempt,
    AttemptOutcome,
    Bounce,
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
from mailprobe.observe.history import Record

_CANARY: Final = """
    SELECT id, route, sender, mailbox, opened, deadline, late_until, judged, outcome, stage, reason, code, enhanced,
    text, detail, delivery_seconds, transit_seconds, transit_error_seconds, upper_bound, attempts, retried, in_doubt,
    resolution, resolved, late_transit_seconds, late_transit_error_seconds, late_upper_bound
    FROM canary WHERE key = ?"""
_ATTEMPTS: Final = """
    SELECT number, begun, ended, outcome, stage, reason, code, enhanced, text, detail, queue_id, host, address, port,
    tls_version, tls_cipher, tls_verified, stages, replies, transcript, dot_sent
    FROM attempt WHERE canary = ? AND outcome IS NOT NULL ORDER BY number"""
_SIGHTING: Final = """
    SELECT folder, junk, uidvalidity, uid, noticed, previous_look, continuous, internaldate
    FROM sighting WHERE canary = ? ORDER BY noticed LIMIT 1"""
_BOUNCE: Final = """
    SELECT action, status, diagnostic, reporting_mta, noticed FROM bounce WHERE canary = ? ORDER BY noticed LIMIT 1"""

Word = TypeVar("Word", bound=StrEnum)


def record_of(database: sqlite3.Connection, key: int) -> Record | None:
    """A canary whole, None if there is none with this key. Raises sqlite3.Error."""
    row = database.execute(_CANARY, (key,)).fetchone()
    if row is None:
        return None
    canary = Canary(*row[:7])
    resolution, resolved, *late = row[22:]
    sighting, bounce = _sighting(database, key, canary), _bounce(database, key, canary)
    verdict = _verdict(canary, *row[7:22])
    record = Record(
        canary=canary,
        attempts=tuple(_attempt(*columns) for columns in database.execute(_ATTEMPTS, (key,))),
        sighting=sighting,
        bounce=bounce,
        verdict=replace(verdict, sighting=sighting, bounce=bounce) if verdict else None,
        lost_at=resolved if resolution == "lost" else None,
    )
    if resolution == "late" and verdict and sighting and resolved is not None:
        arrived = ArrivedLate(canary, verdict.outcome, sighting, resolved, late[0], late[1], bool(late[2]))
        return replace(record, late=arrived)
    return record


def word(words: type[Word], text: str | None) -> Word | None:
    """The word of a vocabulary that a text is, None if it is none of it."""
    try:
        return None if text is None else words(text)
    except ValueError:
        return None


def _verdict(
    canary: Canary,
    judged: float | None,
    outcome: str | None,
    stage: str | None,
    reason: str | None,
    code: int | None,
    enhanced: str | None,
    text: str | None,
    detail: str | None,
    delivery: float | None,
    transit: float | None,
    error: float | None,
    upper_bound: int | None,
    attempts: int | None,
    retried: int | None,
    in_doubt: int | None,
) -> Verdict | None:
    became = word(Outcome, outcome)
    if became is None:
        return None
    return Verdict(
        canary=canary,
        outcome=became,
        at=canary.deadline if judged is None else judged,
        stage=word(Stage, stage),
        reason=word(Reason, reason),
        detail=detail or "",
        reply=_said(stage, code, enhanced, text),
        delivery_seconds=delivery,
        transit_seconds=transit,
        transit_error_seconds=error,
        upper_bound=bool(upper_bound),
        attempts=attempts or 0,
        retried=bool(retried),
        in_doubt=bool(in_doubt),
    )


def _attempt(
    number: int,
    begun: float,
    ended: float | None,
    outcome: str,
    stage: str | None,
    reason: str | None,
    code: int | None,
    enhanced: str | None,
    text: str | None,
    detail: str | None,
    queue_id: str | None,
    host: str | None,
    address: str | None,
    port: int | None,
    tls_version: str | None,
    tls_cipher: str | None,
    tls_verified: int | None,
    stages: str | None,
    replies: str | None,
    transcript: str | None,
    dot_sent: float | None,
) -> Attempt:
    decided = _said(stage or Stage.END_OF_DATA, code, enhanced, text)
    return Attempt(
        number=number,
        begun=begun,
        ended=begun if ended is None else ended,
        outcome=word(AttemptOutcome, outcome) or AttemptOutcome.UNSENT,
        stages=tuple(_stage_times(stages)),
        replies=tuple(_replies(replies)) or ((decided,) if decided else ()),
        peer=Peer(host, address, port) if host and address and port else None,
        tls=TlsFacts(tls_version, tls_cipher or "", "", "", None, bool(tls_verified)) if tls_version else None,
        queue_id=queue_id,
        dot_sent=dot_sent,
        stage=word(Stage, stage),
        reason=word(Reason, reason),
        detail=detail or "",
        transcript=tuple(_lines(transcript)),
    )


def _sighting(database: sqlite3.Connection, key: int, canary: Canary) -> Sighting | None:
    row = database.execute(_SIGHTING, (key,)).fetchone()
    if row is None:
        return None
    folder, junk, uidvalidity, uid, noticed, before, continuous, internaldate = row
    return Sighting(
        canary.id,
        canary.mailbox,
        folder,
        bool(junk),
        uidvalidity,
        uid,
        noticed,
        before,
        bool(continuous),
        internaldate,
    )


def _bounce(database: sqlite3.Connection, key: int, canary: Canary) -> Bounce | None:
    row = database.execute(_BOUNCE, (key,)).fetchone()
    return Bounce(canary.id, canary.mailbox, *row) if row else None


def _said(stage: str | None, code: int | None, enhanced: str | None, text: str | None) -> StageReply | None:
    place = word(Stage, stage)
    return StageReply(place, Reply(code, _enhanced(enhanced), (text or "",))) if place and code is not None else None


def _enhanced(text: str | None) -> EnhancedStatus | None:
    return EnhancedStatus.parse(text) if text else None


def _stage_times(text: str | None) -> Iterator[StageTime]:
    for item in _list(text, 2):
        stage, seconds = word(Stage, item[0]), item[1]
        if stage and isinstance(seconds, int | float):
            yield StageTime(stage, float(seconds))


def _replies(text: str | None) -> Iterator[StageReply]:
    for stage, code, enhanced, said in _list(text, 4):
        if isinstance(code, int) and (reply := _said(stage, code, enhanced and str(enhanced), str(said or ""))):
            yield reply


def _lines(text: str | None) -> Iterator[TranscriptLine]:
    for seconds, direction, said in _list(text, 3):
        if isinstance(seconds, int | float):
            yield TranscriptLine(float(seconds), str(direction)[:1], str(said))


def _list(text: str | None, width: int) -> Iterator[list[Any]]:
    """The items of a JSON list of lists that are as long as they should be."""
    try:
        items = json.loads(text or "[]")
    except ValueError:
        return
    for item in items if isinstance(items, list) else ():
        if isinstance(item, list) and len(item) == width:
            yield item
