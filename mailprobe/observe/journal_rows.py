"""What the journal writes down of each event: rows for the statements below, with instants made wall time.

Rows of one transaction are grouped by statement, in the order of STATEMENTS; for one canary that is also an order
in which things happen, so grouping changes nothing. No statement can conflict: what is there already is kept or
completed, and what belongs to a canary that is not in the file is left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from mailprobe.errors import Reply
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
    IncidentChanged,
    IncidentClosed,
    IncidentOpened,
    Judged,
    VendorAcknowledged,
)
from mailprobe.model import Attempt, AttemptOutcome, Canary, Sighting, Verdict

TRANSCRIPT_PAUSE: Final = 600.0
"""Seconds in which a route's failures of one kind get one transcript: enough to show, too few to fill a disk."""
TRANSCRIPT_LINES: Final = 200
_TRANSCRIPTS_REMEMBERED: Final = 10_000

Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far a folder has been read: what has a UID below `uidnext` is known. Source: RFC 9051 2.3.1.1."""

    mailbox: str
    folder: str
    uidvalidity: int
    uidnext: int


def _columns(names: str) -> tuple[str, ...]:
    return tuple(names.split())


_CANARY: Final = _columns("id route sender mailbox opened deadline late_until")
_VERDICT: Final = _columns(
    "judged outcome stage reason code enhanced text detail delivery_seconds transit_seconds transit_error_seconds "
    "upper_bound attempts retried in_doubt"
)
_ATTEMPT: Final = _columns(
    "number begun ended retry_at outcome stage reason code enhanced text detail queue_id host address port "
    "tls_version tls_cipher tls_verified stages replies transcript dot_sent"
)
_SIGHTING: Final = _columns("folder uidvalidity uid junk noticed previous_look continuous internaldate")
_BOUNCE: Final = _columns("noticed action status diagnostic reporting_mta")
_INCIDENT: Final = _columns(
    "id route began first_sign detected ended closed state stage code enhanced reason share_worst affected relapses"
)
_ACKNOWLEDGEMENT: Final = _columns("incident feed vendor_incident title posted noticed lag_seconds")
_LATE: Final = _columns("resolved late_transit_seconds late_transit_error_seconds late_upper_bound")

_AWAITED: Final = "id = ? AND awaited = 1"


def _marks(columns: Iterable[str]) -> str:
    return ", ".join("?" for _ in columns)


def _update(columns: Iterable[str]) -> str:
    return ", ".join(f"{column} = excluded.{column}" for column in columns)


def _of_canary(table: str, columns: Iterable[str], conflict: str = "") -> str:
    """An insertion of one row that belongs to the canary named by the last parameter; none if it is unknown."""
    columns = tuple(columns)
    return (
        f"INSERT INTO {table} (canary, {', '.join(columns)}) "  # noqa: S608 - names from this file
        f"SELECT key, {_marks(columns)} FROM canary WHERE {_AWAITED} {conflict}"
    )


OPEN: Final = f"INSERT INTO canary ({', '.join(_CANARY)}) VALUES ({_marks(_CANARY)}) ON CONFLICT DO NOTHING"  # noqa: S608
JUDGE: Final = (
    f"INSERT INTO canary ({', '.join((*_CANARY, *_VERDICT))}) VALUES ({_marks((*_CANARY, *_VERDICT))}) "  # noqa: S608
    f"ON CONFLICT (id) WHERE awaited = 1 DO UPDATE SET {_update(_VERDICT)}"
)
BEGIN_ATTEMPT: Final = _of_canary("attempt", ("number", "begun"), "ON CONFLICT DO NOTHING")
DOT: Final = (
    "UPDATE attempt SET dot_sent = ? WHERE number = ? "  # noqa: S608
    f"AND canary = (SELECT key FROM canary WHERE {_AWAITED})"
)
END_ATTEMPT: Final = _of_canary(
    "attempt",
    _ATTEMPT,
    f"ON CONFLICT (canary, number) DO UPDATE SET {_update(_ATTEMPT[2:-1])}, "
    "dot_sent = coalesce(excluded.dot_sent, dot_sent)",
)
SIGHT: Final = _of_canary("sighting", _SIGHTING, "ON CONFLICT DO NOTHING")
BOUNCE: Final = _of_canary("bounce", _BOUNCE)
LATE: Final = (
    f"UPDATE canary SET resolution = 'late', {', '.join(f'{column} = ?' for column in _LATE)} WHERE {_AWAITED}"  # noqa: S608
)
LOSE: Final = f"UPDATE canary SET resolution = 'lost', resolved = ?, awaited = 0 WHERE {_AWAITED}"  # noqa: S608
FORGET: Final = f"UPDATE canary SET awaited = 0 WHERE {_AWAITED}"  # noqa: S608
MARK: Final = (
    "INSERT INTO watermark VALUES (?, ?, ?, ?) ON CONFLICT (mailbox, folder) DO UPDATE SET "
    "uidvalidity = excluded.uidvalidity, uidnext = excluded.uidnext"
)

INCIDENT: Final = (
    f"INSERT INTO incident ({', '.join(_INCIDENT)}) VALUES ({_marks(_INCIDENT)}) "  # noqa: S608
    f"ON CONFLICT (id) DO UPDATE SET {_update(_INCIDENT[1:])}"
)

ACKNOWLEDGE: Final = (
    f"INSERT INTO acknowledgement ({', '.join(_ACKNOWLEDGEMENT)}) VALUES ({_marks(_ACKNOWLEDGEMENT)}) "  # noqa: S608
    f"ON CONFLICT (incident, feed) DO UPDATE SET {_update(_ACKNOWLEDGEMENT[2:])}"
)

STATEMENTS: Final = (
    *(OPEN, JUDGE, BEGIN_ATTEMPT, DOT, END_ATTEMPT, SIGHT, BOUNCE, LATE, LOSE, FORGET, MARK),
    *(INCIDENT, ACKNOWLEDGE),
)
COUNTED: Final = frozenset((OPEN, BEGIN_ATTEMPT, SIGHT, BOUNCE))
"""The statements that add a row whenever they change anything."""

Rows = dict[str, list[Row]]
"""The rows of one transaction, by statement."""
Entry = Watermark | Any
"""A watermark or an event; events are told apart by their type alone."""


class RowMaker:
    """Turns entries into rows; remembers which failures have been shown in full."""

    def __init__(self) -> None:
        self._shown: dict[tuple[object, ...], float] = {}
        self._makers: dict[type, Callable[[Any, float], Iterable[tuple[str, Row]]]] = {
            AttemptEnded: self._attempt_ended,
            **_MAKERS,
        }

    def rows_of(self, entry: Entry, shift: float) -> Iterable[tuple[str, Row]]:
        """What is to be written of `entry`, as statements and rows; `shift` is the wall time of its instant zero."""
        return self._makers[type(entry)](entry, shift)

    def _attempt_ended(self, event: AttemptEnded, shift: float) -> Iterable[tuple[str, Row]]:
        attempt = event.attempt
        last = attempt.last_reply
        said = last.reply if last else None
        failed = attempt.outcome is not AttemptOutcome.ACCEPTED
        transcript = _transcript(attempt) if failed and self._shows(event.canary, attempt, said) else None
        yield (
            END_ATTEMPT,
            (
                attempt.number,
                attempt.begun + shift,
                attempt.ended + shift,
                _wall(event.retry_at, shift),
                attempt.outcome.value,
                attempt.stage and attempt.stage.value,
                attempt.reason and attempt.reason.value,
                *_reply(said),
                attempt.detail,
                attempt.queue_id,
                *((peer.host, peer.address, peer.port) if (peer := attempt.peer) else (None,) * 3),
                *((tls.version, tls.cipher, tls.verified) if (tls := attempt.tls) else (None,) * 3),
                "[" + ",".join([f'["{stage.stage}",{stage.seconds:.6f}]' for stage in attempt.stages]) + "]",
                _replies(attempt) if failed else None,
                transcript,
                _wall(attempt.dot_sent, shift),
                event.canary.id,
            ),
        )

    def _shows(self, canary: Canary, attempt: Attempt, said: Reply | None) -> bool:
        kind = (canary.route, attempt.stage, attempt.reason, said and said.code, said and said.enhanced)
        before = self._shown.get(kind)
        if before is not None and before <= attempt.ended < before + TRANSCRIPT_PAUSE:
            return False
        if len(self._shown) >= _TRANSCRIPTS_REMEMBERED:
            self._shown.clear()
        self._shown[kind] = attempt.ended
        return True


def _wall(instant: float | None, shift: float) -> float | None:
    return None if instant is None else instant + shift


def _reply(reply: Reply | None) -> tuple[int | None, str | None, str | None]:
    if reply is None:
        return (None, None, None)
    return (reply.code, str(reply.enhanced) if reply.enhanced else None, reply.text)


def _replies(attempt: Attempt) -> str:
    return json.dumps([[said.stage, *_reply(said.reply)] for said in attempt.replies], ensure_ascii=False)


def _transcript(attempt: Attempt) -> str:
    """The first and the last lines: how it began and how it ended."""
    lines, half = attempt.transcript, TRANSCRIPT_LINES // 2
    if len(lines) > TRANSCRIPT_LINES:
        lines = lines[:half] + lines[-half:]
    return json.dumps([[round(line.seconds, 6), line.direction, line.text] for line in lines], ensure_ascii=False)


def _canary(canary: Canary, shift: float) -> Row:
    return (
        canary.id,
        canary.route,
        canary.sender,
        canary.mailbox,
        canary.opened + shift,
        canary.deadline + shift,
        canary.late_until + shift,
    )


def _verdict(verdict: Verdict, shift: float) -> Row:
    return (
        verdict.at + shift,
        verdict.outcome.value,
        verdict.stage and verdict.stage.value,
        verdict.reason and verdict.reason.value,
        *_reply(verdict.reply.reply if verdict.reply else None),
        verdict.detail,
        verdict.delivery_seconds,
        verdict.transit_seconds,
        verdict.transit_error_seconds,
        verdict.upper_bound,
        verdict.attempts,
        verdict.retried,
        verdict.in_doubt,
    )


def _sighting(sighting: Sighting, shift: float) -> Row:
    return (
        sighting.folder,
        sighting.uidvalidity,
        sighting.uid,
        sighting.junk,
        sighting.noticed + shift,
        _wall(sighting.previous_look, shift),
        sighting.continuous,
        sighting.internaldate_wall,
    )


def _opened(event: CanaryOpened, shift: float) -> Iterable[tuple[str, Row]]:
    return ((OPEN, _canary(event.canary, shift)),)


def _attempt_begun(event: AttemptBegun, shift: float) -> Iterable[tuple[str, Row]]:
    return ((BEGIN_ATTEMPT, (event.number, event.at + shift, event.canary.id)),)


def _dot_sent(event: DotSent, shift: float) -> Iterable[tuple[str, Row]]:
    return ((DOT, (event.at + shift, event.number, event.canary.id)),)


def _sighted(event: CanarySighted | DuplicateSighted, shift: float) -> Iterable[tuple[str, Row]]:
    return ((SIGHT, (*_sighting(event.sighting, shift), event.canary.id)),)


def _bounced(event: BounceReceived, shift: float) -> Iterable[tuple[str, Row]]:
    bounce = event.bounce
    row = (bounce.noticed + shift, bounce.action, bounce.status, bounce.diagnostic, bounce.reporting_mta)
    return ((BOUNCE, (*row, event.canary.id)),)


def _judged(event: Judged, shift: float) -> Iterable[tuple[str, Row]]:
    return ((JUDGE, _canary(event.verdict.canary, shift) + _verdict(event.verdict, shift)),)


def _arrived_late(event: ArrivedLate, shift: float) -> Iterable[tuple[str, Row]]:
    row = (event.at + shift, event.transit_seconds, event.transit_error_seconds, event.upper_bound)
    return (
        (SIGHT, (*_sighting(event.sighting, shift), event.canary.id)),
        (LATE, (*row, event.canary.id)),
    )


def _lost(event: CanaryLost, shift: float) -> Iterable[tuple[str, Row]]:
    return ((LOSE, (event.at + shift, event.canary.id)),)


def _forgotten(event: CanaryForgotten, shift: float) -> Iterable[tuple[str, Row]]:
    return ((FORGET, (event.canary.id,)),)


def _incident(event: IncidentOpened | IncidentChanged | IncidentClosed, shift: float) -> Iterable[tuple[str, Row]]:
    incident, cause = event.incident, event.incident.cause
    row = (
        incident.id,
        incident.route,
        incident.begin + shift,
        incident.first_sign + shift,
        incident.detected + shift,
        _wall(incident.end, shift),
        incident.closed,
        incident.state.value,
        cause.stage and cause.stage.value,
        cause.code,
        cause.enhanced_code,
        cause.reason and cause.reason.value,
        incident.share_worst,
        incident.affected,
        incident.relapses,
    )
    return ((INCIDENT, row),)


def _acknowledged(event: VendorAcknowledged, shift: float) -> Iterable[tuple[str, Row]]:
    """Its times are wall time already."""
    known = event.acknowledgement
    row = (known.incident, known.feed, known.vendor_incident, known.title, known.posted, known.noticed)
    return ((ACKNOWLEDGE, (*row, known.lag_seconds)),)


def _marked(mark: Watermark, shift: float) -> Iterable[tuple[str, Row]]:
    return ((MARK, (mark.mailbox, mark.folder, mark.uidvalidity, mark.uidnext)),)


_MAKERS: Final[dict[type, Callable[[Any, float], Iterable[tuple[str, Row]]]]] = {
    CanaryOpened: _opened,
    AttemptBegun: _attempt_begun,
    DotSent: _dot_sent,
    CanarySighted: _sighted,
    DuplicateSighted: _sighted,
    BounceReceived: _bounced,
    Judged: _judged,
    ArrivedLate: _arrived_late,
    CanaryLost: _lost,
    CanaryForgotten: _forgotten,
    IncidentOpened: _incident,
    IncidentChanged: _incident,
    IncidentClosed: _incident,
    VendorAcknowledged: _acknowledged,
    Watermark: _marked,
}
JOURNALLED: Final = frozenset((*_MAKERS, AttemptEnded))
"""The types of what is written down; all else passes by."""
