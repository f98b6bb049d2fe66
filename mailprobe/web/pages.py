"""The status page, what a duty engineer opens first: how many routes are how, what is wrong, and everything else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from mailprobe.clock import Clock
from mailprobe.model import Incident, RouteState, Trend
from mailprobe.observe.history import Record
from mailprobe.observe.states import MailboxSeen, RouteReport
from mailprobe.observe.wording import cause_words, said, seconds_text, span_text
from mailprobe.web.html import Html, absolute, ago, marked, page, table_parts
from mailprobe.web.matrix import DETAILED, matrix
from mailprobe.web.overview import NOT_OK, WORST_FIRST, Choice, Overview, RouteRow
from mailprobe.web.sparkline import sparkline
from mailprobe.web.vendors import vendors

REFRESH: Final = 15
"""Seconds after which the browser asks for the page again."""
REFRESH_CHOSEN: Final = 60
"""The same where something was chosen: who reads that, or types, is disturbed less often."""
ROWS: Final = 50
"""Routes that are not ok, and mailboxes, that are told in full; of more the matrix and the API tell."""
_TRENDS: Final = {Trend.WORSE: "getting worse", Trend.SAME: "unchanged", Trend.BETTER: "getting better"}
_STATES: Final = {"": "any", NOT_OK: "not ok", **{str(state): str(state) for state in WORST_FIRST}}


def status_page(shown: Overview, parts: Sequence[str], agent: str = "") -> str:
    """The page of its parts; the browser asks again by itself, unless told not to. `agent` is who says all this."""
    bad = [f"{shown.counts[state]} {state}" for state in WORST_FIRST[:2] if shown.counts[state]]
    refresh = _refresh(shown.choice) if shown.choice.refresh else None
    tab = " - ".join(part for part in (*bad[:1], agent, "mailprobe") if part)
    return page(f"mailprobe {agent}".strip(), *parts, tab=tab, refresh=refresh)


def status_parts(clock: Clock, shown: Overview, version: str) -> Iterator[str]:
    """What is on the page, in pieces that each take little time to make."""
    yield _counts(shown)
    yield _about(clock, shown, version)
    if shown.notice:
        yield f'<p class="failing">This machine: {escape(shown.notice)}.</p>'
    yield _form(shown.choice)
    yield from _not_ok(clock, shown)
    yield f'<h2 id="routes">Routes{_of(shown)}</h2>{_legend(clock, shown)}'
    yield from matrix(clock, shown)
    yield '<h2 id="incidents">Incidents</h2>'
    yield from _incidents(clock, shown)
    yield '<h2 id="mailboxes">Mailboxes</h2>'
    yield from _mailboxes(clock, shown)
    yield from vendors(clock, shown.feeds)
    failed = shown.choice.failed
    yield f'<h2 id="canaries">Last canaries{" that failed" * failed}</h2>'
    other = escape(shown.choice.link(failed=not failed))
    yield f'<p class="small"><a href="{other}#canaries">{"All of them" if failed else "Only those that failed"}</a>'
    yield "; what is older is in <code>mailprobe report</code>.</p>" if failed else ".</p>"
    yield from _canaries(clock, shown)


def _refresh(choice: Choice) -> int:
    return REFRESH if choice.is_all and not choice.failed else REFRESH_CHOSEN


def judged_at(record: Record) -> float:
    """When a canary was judged; one that is not, when it was opened."""
    return record.verdict.at if record.verdict else record.canary.opened


def transit(record: Record) -> str:
    """How long a canary was on its way, or at most was."""
    verdict = record.verdict
    if verdict is None or verdict.transit_seconds is None:
        return ""
    return ("at most " if verdict.upper_bound else "") + seconds_text(verdict.transit_seconds)


def _counts(shown: Overview) -> str:
    items = "".join(
        f'<li><a class="{state}" href="{escape(shown.choice.other(state=state))}">'
        f"<strong>{shown.counts[state]}</strong> {state}</a></li>"
        for state in WORST_FIRST
        if shown.counts[state] or state in (RouteState.OK, RouteState.FAILING)
    )
    return f'<ul class="counts" aria-label="Routes by state">{items}</ul>'


def _about(clock: Clock, shown: Overview, version: str) -> str:
    choice = shown.choice
    again = f"refreshed every {_refresh(choice)} s" if choice.refresh else "not refreshed"
    other = "pause" if choice.refresh else "refresh again"
    vendors_link = '<a href="#vendors">vendors</a>, ' if shown.feeds else ""
    return (
        f"<p>As of {absolute(clock, clock.now())}, {again} "
        f'(<a href="{escape(choice.link(refresh=not choice.refresh))}">{other}</a>). '
        '<a href="#incidents">Incidents</a>, <a href="#mailboxes">mailboxes</a>, '
        f'{vendors_link}<a href="#canaries">last canaries</a>. '
        '<a href="/metrics">Metrics</a>; <a href="/api/v1/routes">routes</a>, '
        '<a href="/api/v1/canaries">canaries</a>, <a href="/api/v1/incidents">incidents</a> as JSON. '
        f"Version {escape(version)}.</p>"
    )


def _form(choice: Choice) -> str:
    states = "".join(
        f'<option value="{value}"{" selected" * (value == choice.state)}>{text}</option>'
        for value, text in _STATES.items()
    )
    rows = "".join(
        f'<option value="{by}"{" selected" * (by == choice.by)}>{by}</option>' for by in ("mailbox", "sender")
    )
    everything = "" if choice.is_all else f'<a href="{escape(choice.other())}">All routes</a>'
    paused = "" if choice.refresh else '<input type="hidden" name="refresh" value="off">'
    return (
        '<form role="search" aria-label="Routes">'
        f'<label>Route, sender, mailbox, code<br><input name="text" value="{escape(choice.text)}"></label>'
        f'<label>State<br><select name="state">{states}</select></label>'
        f'<label>A row for each<br><select name="by">{rows}</select></label>'
        f"{paused}<button>Show</button>{everything}</form>"
    )


def _of(shown: Overview) -> str:
    total = sum(shown.counts.values())
    return "" if shown.choice.is_all else f": {len(shown.rows)} of {total}"


def _legend(clock: Clock, shown: Overview) -> str:
    """What the signs and the small pictures show, where there are any."""
    now = clock.now()
    begin = next((row.trace.since(now) for row in shown.rows if row.trace), None)
    signs = ", ".join(marked(state) for state in WORST_FIRST) if len(shown.rows) > DETAILED else ""
    about = f'<p class="small">A sign is a route, and leads to it: {signs}.</p>' if signs else ""
    if begin is None:
        return about
    return (
        f'{about}<p class="small">Drawn: the last {span_text(now - begin)}. Line: how long delivery took, '
        "from 0.1 s to 1 h; bars: the share of canaries that were late, junked or not delivered.</p>"
    )


def _not_ok(clock: Clock, shown: Overview) -> Iterator[str]:
    wrong = shown.not_ok
    if not wrong:
        return
    yield "<h2>Not ok</h2>"
    yield from table_parts(
        (
            *("Route", "State|tight", "Since|tight", "Why|long", "Last hours|medium"),
            *("Sender|wide", "Mailbox|wide", "Last canary|tight medium"),
        ),
        (_route(clock, row, shown.choice) for row in wrong[:ROWS]),
        caption="Routes that are not ok, the worst first",
    )
    if len(wrong) > ROWS:
        yield f"<p>And {len(wrong) - ROWS} more, which are below.</p>"


def _route(clock: Clock, row: RouteRow, choice: Choice) -> Sequence[str]:
    route, last = row.route, row.last
    name = _link_to(route.name, choice.other(routes=(route.name,)))
    since = "the start" if row.report.since is None else ago(clock, row.report.since)
    drawn = sparkline(row.trace, clock.now())
    shown = _linked(last) if last else "none yet"
    return (name, marked(row.state), since, why(row.report), drawn, route.sender, route.mailbox, shown)


def why(report: RouteReport) -> str:
    """Of a route that is not ok: what dominates, how much of it, where it is going."""
    if report.state is RouteState.OK or not (words := cause_words(report.cause)):
        return ""
    return f"{words}: {report.share:.0%} of canaries, {_TRENDS[report.trend]}" if report.share else words


def _incidents(clock: Clock, shown: Overview) -> Iterator[str]:
    return table_parts(
        (
            *("Route", "Worst|tight medium", "Began|tight", "Noticed|medium", "Ended|tight", "Why|long"),
            *("Worst share|number wide", "Affected|number wide"),
        ),
        (_incident(clock, incident, shown.choice) for incident in shown.incidents),
        caption="Incidents, those that go on first",
    )


def _incident(clock: Clock, incident: Incident, choice: Choice) -> Sequence[str]:
    """Its route leads to the canaries that failed there: each has its transcript."""
    evidence = choice.other(routes=(incident.route,), failed=True) + "#canaries"
    over = marked("failing", "going on") if incident.end is None else ago(clock, incident.end)
    return (
        _link_to(incident.route, evidence),
        marked(incident.state),
        ago(clock, incident.begin),
        ago(clock, incident.detected),
        over,
        cause_words(incident.cause),
        f"{incident.share_worst:.0%}",
        f"{incident.affected:,}",
    )


def _mailboxes(clock: Clock, shown: Overview) -> Iterator[str]:
    up_last = sorted(shown.mailboxes, key=lambda mailbox: mailbox.up is True)
    yield from table_parts(
        ("Mailbox", "State|tight", "Since|tight", "Last scan|medium", "Why|long"),
        (_mailbox(clock, seen) for seen in up_last[:ROWS]),
        caption="Mailboxes, those that nobody can look into first",
    )
    if len(up_last) > ROWS:
        yield f"<p>And {len(up_last) - ROWS} more.</p>"


def _mailbox(clock: Clock, mailbox: MailboxSeen) -> Sequence[str]:
    state = {None: "unknown", True: "ok", False: "failing"}[mailbox.up]
    words = {None: "not looked at yet", True: "watched", False: "blind"}[mailbox.up]
    since, scan = ago(clock, mailbox.since), ago(clock, mailbox.last_scan)
    return (mailbox.name, marked(state, words), since, scan, str(mailbox.failure or ""))


def _canaries(clock: Clock, shown: Overview) -> Iterator[str]:
    return table_parts(
        (
            *("Route", "Judged|tight", "Outcome|tight", "Transit|number medium"),
            *("What was said|long", "Canary|tight wide"),
        ),
        (_canary(clock, record) for record in shown.recent),
        caption="The canaries judged last" + ", of those that failed" * shown.choice.failed,
    )


def _canary(clock: Clock, record: Record) -> Sequence[str]:
    canary = record.canary
    name = Html(f"<code>{escape(canary.id)}</code>")
    return (canary.route, ago(clock, judged_at(record)), _linked(record), transit(record), said(record), name)


def _link_to(text: str, url: str) -> Html:
    return Html(f'<a href="{escape(url)}">{escape(text)}</a>')


def _linked(record: Record) -> Html:
    word = escape(record.verdict.outcome if record.verdict else "in flight")
    return Html(f'<a class="{word}" href="/canaries/{escape(record.canary.id)}">{word}</a>')
