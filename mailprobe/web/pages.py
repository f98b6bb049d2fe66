"""The pages for people: plain HTML, everything escaped, no JavaScript, one style sheet known by its hash."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Final

from mailprobe.clock import Clock, wall_of
from mailprobe.model import Attempt, Cause, Incident, RouteState
from mailprobe.observe.history import History, Record
from mailprobe.observe.states import MailboxSeen, RouteReport, RouteSeen, States

_STYLE: Final = """
:root{color-scheme:light dark}
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;padding:0 1rem;max-width:70rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #8884;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}
pre{overflow-x:auto;padding:.75rem;border:1px solid #8884}
.ok,.delivered{color:#1a7f37}.degraded,.junked{color:#9a6700}
.failing,.overdue,.bounced,.rejected,.deferred,.unsent{color:#cf222e;font-weight:600}
.unknown,.unobserved,.skipped{color:#6e7781}
"""
STYLE_SOURCE: Final = "'sha256-" + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode() + "'"
"""What a Content-Security-Policy must allow for these pages."""

_CANARIES_SHOWN: Final = 50
_INCIDENTS_SHOWN: Final = 20
_ROUTES_SHOWN: Final = 2000
"""Rows of a page that a browser still likes; the API has all."""
_WORST_FIRST: Final = (RouteState.FAILING, RouteState.DEGRADED, RouteState.UNKNOWN, RouteState.OK)


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


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
    """What there is to show now."""
    rows = tuple(RouteRow(route, states.report(route.name, now), history.last(route.name)) for route in states.routes)
    recent, incidents = history.latest(limit=_CANARIES_SHOWN), states.incidents[:_INCIDENTS_SHOWN]
    return Overview(rows, states.mailboxes, recent, incidents, notice)


def status_page(clock: Clock, shown: Overview, version: str) -> str:
    """Routes, the worst first; mailboxes; the last canaries."""
    counts = Counter(row.state for row in shown.routes)
    summary = ", ".join(f"{counts[state]} {state}" for state in _WORST_FIRST if counts[state]) or "no routes"
    rows = sorted(shown.routes, key=lambda row: _WORST_FIRST.index(row.state))
    return _page(
        "mailprobe",
        f"<p>{summary}. Version {escape(version)}. "
        '<a href="/metrics">Metrics</a>, <a href="/api/v1/routes">routes</a>, '
        '<a href="/api/v1/canaries">canaries</a> and <a href="/api/v1/incidents">incidents</a> as JSON.</p>',
        f'<p class="failing">This machine: {escape(shown.notice)}.</p>' if shown.notice else "",
        "<h2>Routes</h2>",
        _table(
            ("Route", "State", "Why", "Sender", "Mailbox", "Last canary", "Outcome", "Transit", "Judged"),
            (_route(clock, row) for row in rows[:_ROUTES_SHOWN]),
        ),
        f"<p>And {len(rows) - _ROUTES_SHOWN} more.</p>" if len(rows) > _ROUTES_SHOWN else "",
        "<h2>Incidents</h2>",
        _table(
            ("Route", "Worst", "Began", "Noticed", "Ended", "Why", "Share"),
            (_incident(clock, incident) for incident in shown.incidents),
        ),
        "<h2>Mailboxes</h2>",
        _table(("Mailbox", "", "Since", "Last scan", "Why"), (_mailbox(clock, seen) for seen in shown.mailboxes)),
        "<h2>Last canaries</h2>",
        _table(
            ("Canary", "Route", "Outcome", "Transit", "Judged", "What was said"),
            (_canary(clock, record) for record in shown.recent),
        ),
    )


def canary_page(clock: Clock, record: Record) -> str:
    """One canary whole: what became of it, its attempts with their stages and replies, its way, its transcript."""
    canary = record.canary
    facts: list[tuple[str, str]] = [
        ("Route", canary.route),
        ("Outcome", _outcome(record)),
        ("Why", _said(record)),
        ("Begun", _time(clock, canary.opened)),
        ("Judged", _judged(clock, record)),
        ("Transit", _delay(record)),
    ]
    if record.sighting:
        facts.append(("Seen in", record.sighting.folder))
    if record.late:
        facts.append(("Arrived late", _time(clock, record.late.at)))
    if record.lost_at is not None:
        facts.append(("Lost", f"not there when looked for until {_time(clock, record.lost_at)}"))
    return _page(
        f"Canary {canary.id}",
        '<p><a href="/">All routes</a></p>',
        _table(("", ""), facts),
        *(_attempt(clock, attempt) for attempt in record.attempts),
        _hops(record),
    )


def _attempt(clock: Clock, attempt: Attempt) -> str:
    peer = f" to {attempt.peer.host} ({attempt.peer.address}) port {attempt.peer.port}" if attempt.peer else ""
    lines = "\n".join(f"{line.seconds:9.3f} {line.direction} {line.text}" for line in attempt.transcript)
    return "".join(
        (
            f"<h2>Attempt {attempt.number}: {_marked(attempt.outcome)}</h2>",
            f"<p>{_time(clock, attempt.begun)}{escape(peer)}</p>",
            *(f"<p>{escape(line)}</p>" for line in _asked_for(attempt)),
            _table(("Stage", "Seconds"), ((time.stage, _number(time.seconds)) for time in attempt.stages)),
            _table(
                ("Stage", "Code", "Enhanced", "Text"),
                (
                    (said.stage, str(said.reply.code), str(said.reply.enhanced or ""), said.reply.text)
                    for said in attempt.replies
                ),
            ),
            f"<pre>{escape(lines)}</pre>" if lines else "",
        )
    )


def _asked_for(attempt: Attempt) -> Iterable[str]:
    """What the DNS said of where to go, and what the recipient's side asks of senders."""
    dns, policy = attempt.dns, attempt.policy
    if dns and (dns.exchangers or dns.implicit):
        hosts = ", ".join(f"{host} ({preference})" for host, preference in dns.exchangers)
        yield f"Mail exchangers: {hosts or 'none, so the domain itself'}"
    if policy and (sts := policy.mta_sts):
        yield f"MTA-STS: {sts.mode}{_passed(sts.passed, sts.detail)}"
    if policy and (dane := policy.dane):
        yield f"DANE: {dane.status}{_passed(dane.passed, dane.detail)}"


def _passed(passed: bool | None, detail: str) -> str:
    verdict = {None: "", True: ", kept", False: ", not kept"}[passed]
    return verdict + (f": {detail}" if detail else "")


def _hops(record: Record) -> str:
    hops = record.arrival.hops
    if not hops:
        return ""
    rows = ((hop.from_ or "", hop.by or "", Html() if hop.seconds is None else _number(hop.seconds)) for hop in hops)
    return "<h2>Way, by the clocks of others</h2>" + _table(("From", "By", "Seconds"), rows)


def _route(clock: Clock, row: RouteRow) -> Sequence[str]:
    route, last = row.route, row.last
    shown = (_link(last), _outcome(last), _delay(last), _judged(clock, last)) if last else ("", "", "", "")
    return (route.name, _marked(row.state), _why(row.report), route.sender, route.mailbox, *shown)


def _why(report: RouteReport) -> str:
    """Of a route that is not ok: what dominates, how much of it, where it is going."""
    if report.state is RouteState.OK or not (said := _cause(report.cause)):
        return ""
    return f"{said}, {report.share:.0%}, {report.trend}" if report.share else said


def _incident(clock: Clock, incident: Incident) -> Sequence[str]:
    end = _time(clock, incident.end) if incident.end is not None else "going on"
    return (
        incident.route,
        _marked(incident.state),
        _time(clock, incident.begin),
        _time(clock, incident.detected),
        end,
        _cause(incident.cause),
        f"{incident.share_worst:.0%}",
    )


def _cause(cause: Cause) -> str:
    return " ".join(str(part) for part in (cause.stage, cause.code, cause.enhanced_code, cause.reason) if part)


def _canary(clock: Clock, record: Record) -> Sequence[str]:
    route, judged = record.canary.route, _judged(clock, record)
    return (_link(record), route, _outcome(record), _delay(record), judged, _said(record))


def _judged(clock: Clock, record: Record) -> str:
    return _time(clock, record.verdict.at if record.verdict else None)


def _mailbox(clock: Clock, mailbox: MailboxSeen) -> Sequence[str]:
    state = {None: "unknown", True: "ok", False: "failing"}[mailbox.up]
    words = {None: "not looked at yet", True: "watched", False: "blind"}[mailbox.up]
    return (
        mailbox.name,
        Html(f'<span class="{state}">{words}</span>'),
        _time(clock, mailbox.since),
        _time(clock, mailbox.last_scan),
        str(mailbox.failure or ""),
    )


def _page(title: str, *parts: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width"><meta name="robots" content="noindex">'
        f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{''.join(parts)}</body></html>"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    heads = "".join(f"<th>{escape(name)}</th>" for name in head) if any(head) else ""
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table>" if cells else "<p>None.</p>"


def _cell(value: str) -> str:
    return f"<td>{value if isinstance(value, Html) else escape(value)}</td>"


def _marked(word: str) -> Html:
    return Html(f'<span class="{escape(word)}">{escape(word)}</span>')


def _outcome(record: Record) -> str:
    return _marked(record.verdict.outcome) if record.verdict else "in flight"


def _link(record: Record) -> Html:
    name = escape(record.canary.id)
    return Html(f'<a href="/canaries/{name}">{name[:12]}</a>')


def _delay(record: Record) -> str:
    verdict = record.verdict
    if verdict is None or verdict.transit_seconds is None:
        return ""
    return Html(("at most " if verdict.upper_bound else "") + _number(verdict.transit_seconds) + " s")


def _said(record: Record) -> str:
    verdict = record.verdict
    if verdict is None:
        return ""
    reply = str(verdict.reply.reply) if verdict.reply else verdict.detail
    return ": ".join(part for part in (verdict.stage or "", verdict.reason or "", reply) if part)


def _number(seconds: float) -> Html:
    return Html(f"{seconds:.3f}")


def _time(clock: Clock, instant: float | None) -> str:
    if instant is None:
        return ""
    return datetime.fromtimestamp(wall_of(clock, instant), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
