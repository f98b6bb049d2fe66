"""Overview: is mail flowing, on which route, and if not, since when, how badly and with which code?"""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.builders import bargauge, heatmap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import dashboard as model

from boards import frame
from boards.panels import (
    CODE_SHADES,
    STATE_STEPS,
    STATE_WORDS,
    VENDOR_STEPS,
    VENDOR_WORDS,
    Column,
    bars,
    bridged,
    coloured_cell,
    colours_of,
    columns,
    fixed,
    heat_map,
    instant,
    lines,
    number,
    percentiles,
    prop,
    series,
    shades_of,
    stacked,
    stepped,
    timeline,
    words,
)
from boards.promql import (
    AGENTS,
    COARSELY,
    INCIDENT,
    NOT_DELIVERED,
    OUTCOME_COLOURS,
    ROUTES,
    STATE_COLOURS,
    availability,
    counted,
    counted_from_first,
    per_bucket,
    per_minute,
    per_minute_from_first,
    routes_in_each_state,
    state_number,
    vendor_number,
)

PERCENT = prop("unit", "percentunit")
ROUTE_LINK = {
    "title": "This route",
    "url": "/d/mailprobe-route?${__url_time_range}&${datasource:queryparam}&var-route=${__data.fields.Route}",
}

_ON_THE_WAY: Final = "resolve|connect|greeting|transit"
_ENCRYPTION: Final = "starttls|tls"
_PARTS: Final = (
    ("B", f'stage=~"{_ON_THE_WAY}"'),
    ("C", f'stage=~"{_ENCRYPTION}"'),
    ("D", f'stage!~"{_ON_THE_WAY}|{_ENCRYPTION}"'),
)
"""Three queries, since each route has 42 series of what gets no reply, and one of all would take half a second."""


def build() -> model.Dashboard:
    """The dashboard."""
    board = frame.board(
        "overview",
        "mailprobe / Overview",
        "Is mail flowing, on which route? If not: since when, how badly, where does it stop and with which code?",
    )
    board.with_variable(frame.routes())
    board.with_variable(
        frame.choice(
            "objective",
            "Objective",
            "Which part of the canaries is to be delivered in time.",
            ("0.999", "0.9999", "0.995", "0.99", "0.95"),
        )
    )
    board.annotation(frame.incidents())
    return frame.filled(
        board,
        ("Is mail flowing?", [*tiles(), routes_now(), states(), vendor()]),
        ("Where does it stop?", [outcomes(), codes(), reasons(), affected()]),
        ("How late is it?", [latency(), late(), availability_over_time(), delivery()]),
    )


def tiles() -> list[stat.Panel]:
    """The answer in numbers."""
    by_state = number(
        "Routes by state",
        "How many routes are in each state now. degraded: some canaries are late, junked or not delivered; failing: "
        "most are not; unknown: nobody could look, or nothing was judged yet. Of several vantage points, the worst "
        "state.",
        instant(routes_in_each_state(ROUTES), "{{state}}"),
        size=(8, 4),
    )
    budget = f"1 - (1 - ({availability(ROUTES)})) / (1 - $objective)"
    return [
        colours_of(by_state, STATE_COLOURS),
        number(
            "Open incidents",
            "Routes with an incident that is going on: a period in which a route was not ok.",
            instant(f"sum(max by (job, route) (mailprobe_incident_open{{{ROUTES}}}))"),
            size=(4, 4),
            steps=((None, "green"), (1, "red")),
        ),
        number(
            "Availability",
            "Canaries delivered to the inbox in time, of all canaries about which something is known, within the "
            "time range. unobserved and skipped ones are left out: they say nothing about the mail.",
            instant(availability(ROUTES)),
            "percentunit",
            size=(4, 4),
            decimals=2,
            steps=((None, "red"), (0.99, "orange"), (0.999, "green")),
            no_value="no canaries",
        ),
        number(
            "Error budget left",
            "What is left of the failures that the objective allows within the time range: 100 % is untouched, below "
            "0 % the objective is missed.",
            instant(budget),
            "percentunit",
            size=(4, 4),
            decimals=0,
            steps=((None, "red"), (0, "orange"), (0.5, "green")),
            no_value="no canaries",
        ),
        number(
            "Blind mailboxes",
            "Mailboxes into which nobody is looking now. Their routes cannot be judged: the probe's trouble, perhaps "
            "not the mail's.",
            instant(f"sum(1 - max by (job, mailbox) (mailprobe_mailbox_up{{{AGENTS}}}))"),
            size=(4, 4),
            steps=((None, "green"), (1, "orange")),
        ),
    ]


def routes_now() -> table.Panel:
    """The matrix: routes by what is known of them now."""
    mapped = prop("mappings", STATE_WORDS)
    ago = prop("unit", "dateTimeFromNow")
    return columns(
        "Routes now, the worst first",
        "State of each route, since when, the part of its last 10 canaries that was late, junked or not delivered, "
        "and when one was last delivered. A click leads to the route.",
        (
            Column("route", "Route", properties=(prop("links", [ROUTE_LINK]),)),
            Column("instance", "Seen from"),
            Column(
                "Value #A",
                "State",
                f"max by (instance, route) ({state_number(ROUTES)})",
                coloured_cell(mapped, stepped(*STATE_STEPS), prop("custom.width", 110)),
            ),
            Column(
                "Value #B",
                "Since",
                f"1000 * (max by (instance, route) (mailprobe_route_state_since_timestamp_seconds{{{ROUTES}}}) > 0)",
                (ago,),
            ),
            Column(
                "Value #C",
                "Affected",
                f"max by (instance, route) (mailprobe_route_affected_ratio{{{ROUTES}}})",
                coloured_cell(PERCENT, stepped((None, "transparent"), (0.1, "orange"), (0.5, "red"))),
            ),
            Column(
                "Value #D",
                "Incident",
                f"max by (instance, route) (mailprobe_incident_open{{{ROUTES}}})",
                (prop("mappings", words({"0": ("", "text"), "1": ("open", "red")})),),
            ),
            Column(
                "Value #E",
                "Last delivered",
                f"1000 * (max by (instance, route) (mailprobe_last_delivered_timestamp_seconds{{{ROUTES}}}) > 0)",
                (ago,),
            ),
        ),
        sort="State",
    )


def states() -> statetimeline.Panel:
    """Only routes that had trouble: 200 green bars would say nothing."""
    healthy = f'mailprobe_route_state{{{ROUTES}, state="ok"}}'
    troubled = f"min by (route) (min_over_time({healthy}[$__range] @ end())) == 0"
    return timeline(
        "States over time, of routes that were not always ok",
        "Each route that was degraded, failing or unknown within the time range. Of several vantage points, the worst "
        "state: the Route dashboard has a line for each.",
        [series(f"max by (route) ({state_number(ROUTES)}) and ({troubled})", "{{route}}")],
        STATE_WORDS,
        STATE_STEPS,
        size=(14, 9),
        no_value="Every route was ok all the time",
    )


def vendor() -> statetimeline.Panel:
    """Their word beside what is measured."""
    return timeline(
        "What vendors say, beside what we see",
        "What each vendor's own status feed says, above whether we have an incident. unreachable: the feed could not "
        "be read, as happens when its vendor is in trouble. Only the last line is there without feeds.",
        [
            series(f"max by (feed) ({vendor_number(AGENTS)})", "{{feed}} says"),
            series(f"{INCIDENT} * max(mailprobe_incident_open{{{ROUTES}}})", "we see", "B"),
        ],
        VENDOR_WORDS,
        VENDOR_STEPS,
        size=(10, 9),
    )


def outcomes() -> timeseries.Panel:
    """Everything but what went well, which would hide it."""
    panel = lines(
        "Canaries that were not delivered in time",
        "Verdicts a minute by outcome, without those delivered.",
        [series(per_minute("mailprobe_canaries_total", f"{ROUTES}, {NOT_DELIVERED}", "outcome"), "{{outcome}}")],
        "cpm",
        calcs=("max", "mean"),
        no_value="All were delivered in time",
    )
    return colours_of(stacked(panel, bars=True), OUTCOME_COLOURS)


def codes() -> timeseries.Panel:
    """The codes are what one searches the web for."""
    by = "code, enhanced_code"
    panel = lines(
        "Refusals by code",
        "Temporary (4yz) and permanent (5yz) refusals a minute by reply code and enhanced status code.",
        [
            series(
                per_minute_from_first("mailprobe_deferrals_total", ROUTES, by), "{{code}} {{enhanced_code}} deferred"
            ),
            series(
                per_minute_from_first("mailprobe_rejections_total", ROUTES, by),
                "{{code}} {{enhanced_code}} rejected",
                "B",
            ),
        ],
        "cpm",
        no_value="Nothing was refused",
    )
    return shades_of(stacked(panel, bars=True), CODE_SHADES)


def reasons() -> bargauge.Panel:
    """Where and why: also what got no reply."""
    return bars(
        "Failures, the most frequent",
        "What stopped attempts, and what kept accepted canaries from arriving, within the time range: refusals by code "
        "and stage, then what got no reply by reason and stage.",
        [
            instant(_most(_refusals()), "{{code}} at {{stage}}"),
            *(instant(_most(_without_reply(part)), "{{reason}} at {{stage}}", ref) for ref, part in _PARTS),
        ],
        size=(12, 8),
        no_value="Nothing failed",
    )


def _without_reply(part: str) -> str:
    matchers = f'{ROUTES}, {part}, reason!~"deferred|rejected"'
    return counted("mailprobe_failures_total", matchers, "stage, reason", COARSELY)


def _refusals() -> str:
    """By code, which begins with a 4 or with a 5, so that the two do not meet."""
    kinds = ("mailprobe_deferrals_total", "mailprobe_rejections_total")
    return " or ".join(counted_from_first(kind, ROUTES, "stage, code") for kind in kinds)


def _most(found: str) -> str:
    return f"sort_desc(topk(5, ({found}) > 0))"


def affected() -> timeseries.Panel:
    """Better or worse?"""
    share = f"mailprobe_route_affected_ratio{{{ROUTES}}}"
    panel = lines(
        "Affected part: getting better or worse?",
        "Part of each route's last 10 canaries that was late, junked or not delivered: the worst route and the mean.",
        [series(f"max({share})", "worst route"), series(f"avg({share})", "mean of all", "B")],
        "percentunit",
    )
    return colours_of(panel.max(1), {"worst route": "red", "mean of all": "blue"})


def latency() -> heatmap.Panel:
    """Every delay there was."""
    return heat_map(
        "Delivery time",
        "From the begin of the first attempt to being noticed, what a person waits: deliveries a minute in each range.",
        series(per_bucket("mailprobe_delivery_duration_seconds", ROUTES), "{{le}}"),
        size=(12, 9),
    )


def late() -> timeseries.Panel:
    """Silent delays and silent losses."""
    panel = lines(
        "What arrived late, what was lost",
        "Canaries seen after their verdict, a minute by that verdict; and those not there when looked for at last.",
        [
            series(per_minute("mailprobe_late_arrivals_total", ROUTES, "after"), "late, after {{after}}"),
            series(f"sum(rate(mailprobe_lost_total{{{ROUTES}}}[$__rate_interval])) * 60 > 0", "lost", "B"),
        ],
        "cpm",
        size=(12, 9),
        calcs=("max", "mean"),
        no_value="Nothing arrived late",
    )
    return colours_of(stacked(panel, bars=True), {"lost": "red", "late, after overdue": "blue"})


def availability_over_time() -> timeseries.Panel:
    """Against the objective."""
    panel = lines(
        "Availability against the objective",
        "Canaries delivered in time, of all about which something is known, in each step; the line is the objective.",
        [
            series(availability(ROUTES, "$__rate_interval"), "availability"),
            series("vector($objective)", "objective", "B"),
        ],
        "percentunit",
        calcs=("lastNotNull", "min"),
    )
    dashed = prop("custom.lineStyle", {"fill": "dash", "dash": [8, 8]})
    panel.override_by_name("objective", [fixed("red"), dashed])
    return colours_of(bridged(panel).max(1), {"availability": "green"})


def delivery() -> timeseries.Panel:
    """Usual and unusual."""
    return percentiles(
        "Delivery time, half and nearly all",
        "Half of the deliveries in each step were quicker than p50, 95 % than p95.",
        "mailprobe_delivery_duration_seconds",
        ROUTES,
    )
