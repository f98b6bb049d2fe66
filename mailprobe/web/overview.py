"""What the status page shows: the routes as they are now, and which of them somebody wants to see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode

from mailprobe.model import Incident, RouteState
from mailprobe.observe.history import PER_ROUTE, History, Record
from mailprobe.observe.states import MailboxSeen, RouteReport, RouteSeen, States
from mailprobe.observe.trace import Trace
from mailprobe.observe.vendors import FeedSeen
from mailprobe.observe.wording import cause_words

WORST_FIRST: Final = (RouteState.FAILING, RouteState.DEGRADED, RouteState.UNKNOWN, RouteState.OK)
NOT_OK: Final = "not-ok"
"""What stands for all states but ok in a query."""
_LONGEST: Final = 100
_MOST: Final = 100
"""Characters of a text, and names of routes, that a query may have."""
_WORDS: Final = 8
"""Words of a text that are looked for: each is held against each of 10,000 routes."""
_CANARIES: Final = 30
_OF_ROUTE: Final = 2 * PER_ROUTE
"""Canaries of one route: the recent ones, and the failures before them."""
_INCIDENTS: Final = 20


@dataclass(frozen=True, slots=True)
class Choice:
    """Which routes are wanted, and how. `routes` none: all; `state` empty: any; `by`: what a row of the matrix is.

    `failed`: of the canaries only those that were not simply delivered.
    """

    text: str = ""
    state: str = ""
    routes: tuple[str, ...] = ()
    by: str = "mailbox"
    refresh: bool = True
    failed: bool = False

    @classmethod
    def of(cls, query: Iterable[tuple[str, str]]) -> Choice:
        """What a URL's parameters ask for; what makes no sense in them is left out."""
        pairs = tuple(query)
        given = dict(reversed(pairs))
        state = given.get("state", "")
        return cls(
            text=given.get("text", "").strip()[:_LONGEST],
            state=state if state in (NOT_OK, *RouteState) else "",
            routes=tuple(value for name, value in pairs if name == "route")[:_MOST],
            by="sender" if given.get("by") == "sender" else "mailbox",
            refresh=given.get("refresh") != "off",
            failed=given.get("canaries") == "failed",
        )

    @property
    def is_all(self) -> bool:
        """Whether every route is wanted."""
        return not (self.text or self.state or self.routes)

    def marked(self, rows: Iterable[RouteRow]) -> Iterator[tuple[RouteRow, bool]]:
        """The routes, one by one, and of each whether it is to be shown."""
        words = tuple(dict.fromkeys(self.text.casefold().split()))[:_WORDS]
        return ((row, self._wants(row, words)) for row in rows)

    def _wants(self, row: RouteRow, words: tuple[str, ...]) -> bool:
        if self.routes and row.route.name not in self.routes:
            return False
        if self.state == NOT_OK and row.state is RouteState.OK:
            return False
        if self.state not in ("", NOT_OK, row.state):
            return False
        text = row.text if words else ""
        return all(word in text for word in words)

    def other(self, **changes: object) -> str:
        """The URL of another choice of routes, shown in the same way."""
        return Choice(by=self.by, refresh=self.refresh).link(**changes)

    def link(self, **changes: object) -> str:
        """The URL of the same with changes."""
        other = replace(self, **changes)  # type: ignore[arg-type]
        pairs = [("route", route) for route in other.routes]
        pairs += [("text", other.text)] * bool(other.text) + [("state", other.state)] * bool(other.state)
        pairs += [("by", other.by)] * (other.by != "mailbox") + [("refresh", "off")] * (not other.refresh)
        pairs += [("canaries", "failed")] * other.failed
        return "/" + ("?" + urlencode(pairs) if pairs else "")


@dataclass(frozen=True, slots=True)
class RouteRow:
    """A route as the status page shows it; `trace` goes on while the page is made."""

    route: RouteSeen
    report: RouteReport
    last: Record | None
    trace: Trace | None

    @property
    def state(self) -> RouteState:
        """What may be said of it."""
        return self.report.state

    @property
    def text(self) -> str:
        """The words by which it is found."""
        route, why = self.route, "" if self.state is RouteState.OK else cause_words(self.report.cause)
        return f"{route.name} {route.sender} {route.mailbox} {route.kind} {self.state} {why}".casefold()


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the status page shows. `counts` are of all routes, `rows` those wanted, by name."""

    choice: Choice
    counts: Mapping[RouteState, int]
    rows: tuple[RouteRow, ...]
    mailboxes: tuple[MailboxSeen, ...]
    recent: tuple[Record, ...]
    incidents: tuple[Incident, ...]
    notice: str = ""
    feeds: tuple[FeedSeen, ...] = ()

    @property
    def not_ok(self) -> list[RouteRow]:
        """The routes that are not ok, the worst first."""
        rows = [row for row in self.rows if row.state is not RouteState.OK]
        return sorted(rows, key=lambda row: WORST_FIRST.index(row.state))


def rows(states: States, history: History, now: float) -> Iterator[RouteRow]:
    """All routes as they are now, one by one; those that are gone meanwhile are left out."""
    for route in states.routes:
        if states.has(route.name):
            report = states.report(route.name, now)
            yield RouteRow(route, report, history.last(route.name), history.trace(route.name))


def overview(
    found: Sequence[tuple[RouteRow, bool]],
    states: States,
    history: History,
    choice: Choice = Choice(),
    notice: str = "",
    feeds: tuple[FeedSeen, ...] = (),
) -> Overview:
    """What there is to show of what was found now, as `choice.marked` has it."""
    wanted = tuple(row for row, is_wanted in found if is_wanted)
    names, boxes = {row.route.name for row in wanted}, {row.route.mailbox for row in wanted}
    if len(choice.routes) == 1:
        recent = history.latest(choice.routes[0], _OF_ROUTE)
    else:
        recent = tuple(each for each in history.judged_last() if choice.is_all or each.canary.route in names)
    if choice.failed:
        recent = tuple(record for record in recent if record.is_failure)
    incidents = [each for each in states.incidents if choice.is_all or each.route in names]
    incidents.sort(key=lambda incident: incident.end is not None)
    return Overview(
        choice=choice,
        counts=Counter(row.state for row, _ in found),
        rows=wanted,
        mailboxes=tuple(each for each in states.mailboxes if choice.is_all or each.name in boxes),
        recent=recent[:_CANARIES],
        incidents=tuple(incidents[:_INCIDENTS]),
        notice=notice,
        feeds=feeds,
    )
