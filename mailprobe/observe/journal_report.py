"""What the journal has to say of a period: figures of routes, refusals, incidents with their first and worst failure.

Read in one transaction of a connection that cannot write, so that the agent may go on meanwhile. A canary belongs to
the period in which it was opened. All times are wall time (Unix seconds).
"""

from __future__ import annotations

import json
import sqlite3
from array import array
from bisect import insort
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mailprobe.clock import WrittenTime
from mailprobe.errors import ConfigurationError, Stage
from mailprobe.model import Incident, Outcome
from mailprobe.observe.evidence import NOT_EVIDENCE
from mailprobe.observe.findings import (
    SLOTS,
    Findings,
    IncidentStory,
    Refusals,
    RouteFigures,
    Slot,
    Wanted,
    quantiles,
)
from mailprobe.observe.journal_read import ALL_INCIDENTS, REASONS, incident_of, reading
from mailprobe.observe.journal_records import record_of, word
from mailprobe.observe.journal_schema import APPLICATION_ID, MIGRATIONS
from mailprobe.vendor import Acknowledgement

REFUSALS: Final = 50
TOLD: Final = 100
"""Incidents of which the failures are told, the longest first; of the others the figures are."""
_LOOKED_AT: Final = 20
"""Failures of an incident of which the worst is chosen."""
_CLOCKS: Final = 1.0
"""Seconds by which a wall time may differ from another of the same instant: the machine's clock was set."""

_ANY_ROUTE: Final = "(:routes = 0 OR route IN (SELECT value FROM json_each(:names)))"
_CANARIES: Final = f"""
    SELECT key, route, sender, mailbox, opened, outcome, resolution, retried, delivery_seconds, transit_seconds,
    upper_bound, judged, late_transit_seconds FROM canary
    WHERE opened >= :begin AND opened < :until AND {_ANY_ROUTE} ORDER BY key"""  # noqa: S608
_OF_PERIOD: Final = f"{ALL_INCIDENTS} WHERE began < :until AND (ended IS NULL OR ended >= :since) AND {_ANY_ROUTE}"
_REFUSALS: Final = f"""
    SELECT attempt.stage, attempt.code, attempt.enhanced, attempt.reason, count(*), count(DISTINCT route),
    min(attempt.ended), max(attempt.ended), min(attempt.text)
    FROM attempt JOIN canary ON canary.key = attempt.canary
    WHERE attempt.canary BETWEEN :low AND :high AND attempt.outcome NOT IN ('accepted', 'in_doubt')
    AND opened >= :since AND opened < :until AND {_ANY_ROUTE}
    GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC LIMIT {REFUSALS}"""  # noqa: S608
_VENDOR: Final = """
    SELECT incident, feed, vendor_incident, title, posted, noticed, lag_seconds FROM acknowledgement WHERE incident = ?
    ORDER BY posted"""
_GRAVITY: Final = {
    Outcome.BOUNCED: 5,
    Outcome.REJECTED: 5,
    Outcome.OVERDUE: 4,
    Outcome.UNSENT: 3,
    Outcome.DEFERRED: 3,
    Outcome.JUNKED: 2,
}
"""Outcomes from bad to less bad; what is lost is worst, what was only retried least bad."""


@dataclass(slots=True)
class _Gathered:
    """One route while its canaries are read."""

    sender: str
    mailbox: str
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    waiting: int = 0
    late: int = 0
    lost: int = 0
    delivery: array[float] = field(default_factory=lambda: array("d"))
    transit: array[float] = field(default_factory=lambda: array("d"))
    slots: list[Slot] = field(default_factory=lambda: [Slot() for _ in range(SLOTS)])


@dataclass(slots=True)
class _Story:
    """One incident while its canaries are read. `worst` are (gravity, seconds, key), the best known last."""

    incident: Incident
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    first: tuple[float, int] | None = None
    worst: list[tuple[int, float, int]] = field(default_factory=list)

    def take(self, opened: float, key: int, gravity: int, seconds: float) -> None:
        """Takes in a failure."""
        if self.first is None or opened < self.first[0]:
            self.first = (opened, key)
        insort(self.worst, (gravity, seconds, key))
        del self.worst[:-_LOOKED_AT]


def read_findings(path: Path, wanted: Wanted) -> Findings:
    """What the journal says. Raises ConfigurationError if there is none, or it cannot be read. Blocks."""
    if not path.exists():
        raise ConfigurationError(f"journal {path}: there is none yet; an agent writes it (`mailprobe run`)")
    try:
        with closing(_opened(path)) as database:
            database.execute("BEGIN")
            return _Reader(database, wanted).findings()
    except sqlite3.Error as error:
        raise ConfigurationError(f"journal {path}: it cannot be read: {error}") from None


def _opened(path: Path) -> sqlite3.Connection:
    """The journal, known to be one. Raises sqlite3.Error, and ConfigurationError for what is none of ours."""
    database = reading(path)
    try:
        database.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        database.close()
        if path.with_name(f"{path.name}-wal").exists():
            raise
        # the log's index can neither be read nor made where the directory is not ours; without a log none is needed
        database = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, isolation_level=None)
    (application,), (version,) = (database.execute(f"PRAGMA {name}").fetchone() for name in _SAYS)
    if application != APPLICATION_ID or not version:
        raise ConfigurationError(f"journal {path} is no journal of mailprobe: name another file")
    if version > len(MIGRATIONS):
        raise ConfigurationError(f"journal {path} was written by a newer mailprobe: use that version")
    return database


_SAYS: Final = ("application_id", "user_version")


class _Reader:
    """Reads one period in one transaction."""

    def __init__(self, database: sqlite3.Connection, wanted: Wanted) -> None:
        self._database = database
        self._wanted = wanted
        self._values: dict[str, object] = {
            "since": wanted.since,
            "until": wanted.until,
            "routes": len(wanted.routes),
            "names": json.dumps(wanted.routes),
        }
        self._routes: dict[str, _Gathered] = {}
        self._keys: tuple[int, int] | None = None
        self._first: float | None = None
        self._unreadable = 0
        self._knows_vendors = self._knows("acknowledgement")

    def findings(self) -> Findings:
        """Everything. Raises sqlite3.Error."""
        incidents = sorted(self._incidents(), key=lambda each: each.begin, reverse=True)
        stories = [_Story(incident) for incident in incidents]
        self._read_canaries(stories)
        told = sorted(stories, key=lambda story: _length(story.incident, self._wanted.until), reverse=True)[:TOLD]
        shown = {id(story) for story in told}
        return Findings(
            self._wanted,
            tuple(_figures(name, self._routes[name]) for name in sorted(self._routes)),
            tuple(self._refusals()),
            tuple(self._told(story) if id(story) in shown else self._untold(story) for story in stories),
            self._first,
            self._unreadable,
        )

    def _knows(self, table: str) -> bool:
        """Whether there is a table: a journal that an older mailprobe wrote is read as it is."""
        found = self._database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,))
        return found.fetchone() is not None

    def _incidents(self) -> Iterator[Incident]:
        if not self._knows("incident"):
            return
        for columns in self._database.execute(_OF_PERIOD, self._values).fetchall():
            try:
                yield incident_of(WrittenTime(), *columns)
            except (ValueError, KeyError):
                self._unreadable += 1

    def _read_canaries(self, stories: list[_Story]) -> None:
        since, until = self._wanted.since, self._wanted.until
        of_route: dict[str, list[_Story]] = {}
        for story in stories:
            of_route.setdefault(story.incident.route, []).append(story)
        begin = min([since, *(story.incident.begin for story in stories)])
        width = max(until - since, 1.0) / SLOTS
        values = self._values | {"begin": begin}
        for key, route, sender, mailbox, opened, outcome, *facts in self._database.execute(_CANARIES, values):
            became = word(Outcome, outcome)
            bad = _gravity(became, facts[0], facts[1])
            if opened >= since:
                self._keys = (self._keys[0] if self._keys else key, key)
                self._first = opened if self._first is None else min(self._first, opened)
                if route not in self._routes:
                    self._routes[route] = _Gathered(sender, mailbox)
                slot = self._routes[route].slots[min(SLOTS - 1, int((opened - since) / width))]
                _gather(self._routes[route], slot, became, bad, *facts)
            for story in of_route.get(route, ()):
                _tell(story, key, opened, became, bad, facts, until)

    def _refusals(self) -> Iterator[Refusals]:
        if self._keys is None:
            return
        values = self._values | {"low": self._keys[0], "high": self._keys[1]}
        for stage, code, enhanced, reason, *rest in self._database.execute(_REFUSALS, values):
            count, routes, first, last, text = rest
            known = REASONS.get(reason)
            yield Refusals(word(Stage, stage), code, enhanced, known, count, routes, first, last, text or "")

    def _told(self, story: _Story) -> IncidentStory:
        first = record_of(self._database, story.first[1]) if story.first else None
        worst = None
        for gravity, _, key in reversed(story.worst):
            if gravity < story.worst[-1][0]:
                break
            record = record_of(self._database, key)
            worst = worst or record
            if record and any(attempt.transcript for attempt in record.attempts):
                worst = record
                break
        return IncidentStory(story.incident, _in_order(story.outcomes), first, worst, self._vendor(story))

    def _untold(self, story: _Story) -> IncidentStory:
        return IncidentStory(story.incident, _in_order(story.outcomes), None, None, self._vendor(story))

    def _vendor(self, story: _Story) -> tuple[Acknowledgement, ...]:
        if not self._knows_vendors:
            return ()
        return tuple(Acknowledgement(*row) for row in self._database.execute(_VENDOR, (story.incident.id,)))


def _gravity(outcome: Outcome | None, resolution: str | None, retried: int | None) -> int:
    """How bad it was, 0: not at all, or nobody knows."""
    if outcome is None or outcome in NOT_EVIDENCE:
        return 0
    if resolution == "lost":
        return 6
    return _GRAVITY.get(outcome, 1 if retried else 0)


def _gather(
    route: _Gathered,
    slot: Slot,
    outcome: Outcome | None,
    gravity: int,
    resolution: str | None,
    retried: int | None,
    delivery: float | None,
    transit: float | None,
    upper_bound: int | None,
    *_: object,
) -> None:
    if outcome is None:
        route.waiting += 1
        return
    route.outcomes[outcome] += 1
    route.late += resolution == "late"
    route.lost += resolution == "lost"
    slot.silent += outcome in NOT_EVIDENCE
    slot.affected += gravity > 0
    slot.good += not gravity and outcome not in NOT_EVIDENCE
    if outcome is Outcome.DELIVERED and delivery is not None:
        route.delivery.append(delivery)
    if outcome is Outcome.DELIVERED and transit is not None and not upper_bound:
        route.transit.append(transit)


def _tell(
    story: _Story,
    key: int,
    opened: float,
    outcome: Outcome | None,
    gravity: int,
    facts: list[float | None],
    until: float,
) -> None:
    incident = story.incident
    if not incident.begin - _CLOCKS <= opened <= (until if incident.end is None else incident.end):
        return
    if outcome is not None:
        story.outcomes[outcome] += 1
    if gravity:
        *_, judged, late = facts
        story.take(opened, key, gravity, late if late is not None else max(0.0, (judged or opened) - opened))


def _figures(name: str, found: _Gathered) -> RouteFigures:
    return RouteFigures(
        route=name,
        sender=found.sender,
        mailbox=found.mailbox,
        outcomes=_in_order(found.outcomes),
        waiting=found.waiting,
        late=found.late,
        lost=found.lost,
        delivery=quantiles(found.delivery),
        transit=quantiles(found.transit),
        slots=tuple(found.slots),
    )


def _in_order(outcomes: Counter[Outcome]) -> Mapping[Outcome, int]:
    return {outcome: outcomes[outcome] for outcome in Outcome if outcomes[outcome]}


def _length(incident: Incident, until: float) -> float:
    return (until if incident.end is None else incident.end) - incident.begin
