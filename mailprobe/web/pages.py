"""The status page: routes, the worst first; incidents; mailboxes; the last canaries."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from mailprobe.clock import Clock
from mailprobe.model import Cause, Incident, RouteState, Trend
from mailprobe.observe.history import TOTAL, History, Record
from mailprobe.observe.states import MailboxSeen, RouteReport, RouteSeen, States
from mailprobe.observe.wording import said, seconds_text
from mailprobe.web.html import Html, absolute, ago, marked, page, table

REFRESH: Final = 15
"""Seconds after which the browser asks for the page again."""
_CANARIES_SHOWN: Final = 50
_INCIDENTS_SHOWN: Final = 20
_ROUTES_SHOWN: Final = 2000
"""Rows of a page that a browser still likes; the API has all."""
_WORST_FIRST: Final = (RouteState.FAILING, RouteState.DEGRADED, RouteState.UNKNOWN, RouteState.OK)
_TRENDS: Final = {Trend.WORSE: "getting worse", Trend.SAME: "unchanged", Trend.BETTER: "getting better"}


@dataclass(frozen=True, slots=True)
class RouteRow:
    """A route as the status page shows it."""

    route: RouteSeen
    report: RouteReport
    last: Record | None

    @property
    def state(self) -> RouteState:
        """What may be said of it."""
        return self.report.state


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the status page shows, taken at one instant: the page itself may then be made in a thread."""

    routes: tuple[RouteRow, ...]
    mailboxes: tuple[MailboxSeen, ...]
    recent: tuple[Record, ...]
    incidents: tuple[Incident, ...]
    notice: str = ""


def overview(states: States, history: History, now: float, notice: str = "") -> Overview:
    """What there is to show now; `recent` are the canaries judged last, the newest verdict first."""
    rows = tuple(RouteRow(route, states.report(route.name, now), history.last(route.name)) for route in states.routes)
    recent = heapq.nlargest(_CANARIES_SHOWN, history.latest(limit=TOTAL), key=judged_at)
    return Overview(rows, states.mailboxes, tuple(recent), states.incidents[:_INCIDENTS_SHOWN], notice)


def status_page(clock: Clock, shown: Overview, version: str) -> str:
    """The page as it is now; the browser asks again by itself."""
    counts = Counter(row.state for row in shown.routes)
    summary = ", ".join(f"{counts[state]} {state}" for state in _WORST_FIRST if counts[state]) or "no routes"
    rows = sorted(shown.routes, key=lambda row: _WORST_FIRST.index(row.state))
    return page(
        "mailprobe",
        f"<p><strong>{summary}</strong> as of {absolute(clock, clock.now())}. "
        '<a href="/metrics">Metrics</a>; <a href="/api/v1/routes">routes</a>, '
        '<a href="/api/v1/canaries">canaries</a>, <a href="/api/v1/incidents">incidents</a> as JSON. '
        f"Version {escape(version)}.</p>",
        f'<p class="failing">This machine: {escape(shown.notice)}.</p>' if shown.notice else "",
        "<h2>Routes</h2>",
        table(
            (
                *("Route", "State|tight", "Since|medium", "Why|long", "Sender|wide", "Mailbox|wide"),
                *("Last canary|tight", "Transit|number medium", "Judged|medium"),
            ),
            (_route(clock, row) for row in rows[:_ROUTES_SHOWN]),
        ),
        f"<p>And {len(rows) - _ROUTES_SHOWN} more.</p>" if len(rows) > _ROUTES_SHOWN else "",
        "<h2>Incidents</h2>",
        table(
            ("Route", "Worst|tight medium", "Began", "Noticed|medium", "Ended", "Why|long", "Worst share|number wide"),
            (_incident(clock, incident) for incident in shown.incidents),
        ),
        "<h2>Mailboxes</h2>",
        table(
            ("Mailbox", "State", "Since", "Last scan|medium", "Why|long"),
            (_mailbox(clock, seen) for seen in shown.mailboxes),
        ),
        "<h2>Last canaries</h2>",
        table(
            (
                "Route",
                "Judged|tight",
                "Outcome|tight",
                "Transit|number medium",
                "What was said|long",
                "Canary|tight wide",
            ),
            (_canary(clock, record) for record in shown.recent),
        ),
        refresh=REFRESH,
    )


def judged_at(record: Record) -> float:
    """When a canary was judged; one that is not, when it was opened."""
    return record.verdict.at if record.verdict else record.canary.opened


def transit(record: Record) -> str:
    """How long a canary was on its way, or at most was."""
    verdict = record.verdict
    if verdict is None or verdict.transit_seconds is None:
        return ""
    return ("at most " if verdict.upper_bound else "") + seconds_text(verdict.transit_seconds)


def _route(clock: Clock, row: RouteRow) -> Sequence[str]:
    route, last = row.route, row.last
    shown = (_linked(last), transit(last), ago(clock, judged_at(last))) if last else ("none yet", "", "")
    since = "the start" if row.report.since is None else ago(clock, row.report.since)
    return (route.name, marked(row.state), since, _why(row.report), route.sender, route.mailbox, *shown)


def _why(report: RouteReport) -> str:
    """Of a route that is not ok: what dominates, how much of it, where it is going."""
    if report.state is RouteState.OK or not (words := _cause(report.cause)):
        return ""
    return f"{words}: {report.share:.0%} of canaries, {_TRENDS[report.trend]}" if report.share else words


def _incident(clock: Clock, incident: Incident) -> Sequence[str]:
    return (
        incident.route,
        marked(incident.state),
        ago(clock, incident.begin),
        ago(clock, incident.detected),
        "going on" if incident.end is None else ago(clock, incident.end),
        _cause(incident.cause),
        f"{incident.share_worst:.0%}",
    )


def _cause(cause: Cause) -> str:
    return " ".join(str(part) for part in (cause.stage, cause.code, cause.enhanced_code, cause.reason) if part)


def _mailbox(clock: Clock, mailbox: MailboxSeen) -> Sequence[str]:
    state = {None: "unknown", True: "ok", False: "failing"}[mailbox.up]
    words = {None: "not looked at yet", True: "watched", False: "blind"}[mailbox.up]
    since, scan = ago(clock, mailbox.since), ago(clock, mailbox.last_scan)
    return (mailbox.name, marked(state, words), since, scan, str(mailbox.failure or ""))


def _canary(clock: Clock, record: Record) -> Sequence[str]:
    canary = record.canary
    name = Html(f"<code>{escape(canary.id)}</code>")
    return (canary.route, ago(clock, judged_at(record)), _linked(record), transit(record), said(record), name)


def _linked(record: Record) -> Html:
    word = escape(record.verdict.outcome if record.verdict else "in flight")
    return Html(f'<a class="{word}" href="/canaries/{escape(record.canary.id)}">{word}</a>')
