"""Outage: the post-mortem. The time range is the outage; what came before and after it stands beside it."""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import dashboard as model

from boards import frame, overview
from boards.panels import (
    FINE_POINTS,
    STATE_STEPS,
    STATE_WORDS,
    Column,
    columns,
    instant,
    number,
    percentiles,
    prop,
    series,
    timeline,
)
from boards.promql import (
    AGENTS,
    COARSELY,
    JUDGED,
    NOT_DELIVERED,
    ROUTES,
    availability,
    counted,
    counted_from_first,
    quantile,
    state_number,
)

BEFORE = "$margin] offset $__range"
DURING = "$__range"
AFTER = "$margin] offset -$margin"
WINDOWS = (("before", BEFORE), ("during", DURING), ("after", AFTER))
LATE = "mailprobe_late_arrival_duration_seconds"
DELIVERY = "mailprobe_delivery_duration_seconds"


def build() -> model.Dashboard:
    """The dashboard."""
    board = frame.board(
        "outage",
        "mailprobe / Outage",
        "For the post-mortem. Choose the outage as the time range (zoom into it); before and after are as long as "
        "Margin says.",
    )
    board.with_variable(frame.routes())
    board.with_variable(
        frame.choice(
            "margin",
            "Margin",
            "How long before the begin and after the end of the time range to compare with.",
            ("1h", "15m", "3h", "6h", "12h", "1d", "7d"),
        )
    )
    board.annotation(frame.incidents())
    return frame.filled(
        board,
        ("What happened", [*tiles(), states(), *course()]),
        ("Before, during, after", [by_outcome(), by_route()]),
        ("What the servers said", [replies(), overview.reasons()]),
        ("What became of the rest, and what the vendor said", [late_by_route(), overview.vendor(), lag()]),
    )


def tiles() -> list[stat.Panel]:
    """The first sentence of the report."""
    failed = f"{ROUTES}, {JUDGED}, {NOT_DELIVERED}"
    moment = f"timestamp(mailprobe_incident_open{{{ROUTES}}} == 1)"
    step = "$__interval_ms / 1000"
    return [
        number(
            "Incident known since",
            "When the first incident within the time range was seen to be open. Its first affected canary came minutes "
            "earlier, when it could still be chance: the agent's page and report tell when.",
            instant(f"1000 * min(min_over_time({moment}[$__range:$__interval]))"),
            "dateTimeAsIso",
            no_value="no incident",
        ),
        number(
            "Last seen open",
            "When an incident was last seen to be open within the time range.",
            instant(f"1000 * max(max_over_time({moment}[$__range:$__interval]))"),
            "dateTimeAsIso",
            no_value="no incident",
        ),
        number(
            "Longest incident",
            "Time within the range in which the route that had it worst had an open incident.",
            instant(f"max(sum_over_time(mailprobe_incident_open{{{ROUTES}}}[$__range:$__interval])) * {step}"),
            "s",
            decimals=1,
        ).max_data_points(FINE_POINTS),
        number(
            "Routes affected",
            "Routes that had an open incident within the time range.",
            instant(f"sum(max by (route) (max_over_time(mailprobe_incident_open{{{ROUTES}}}[$__range])))"),
            steps=((None, "green"), (1, "red")),
        ),
        number(
            "Not delivered in time",
            "Within the time range; unobserved and skipped ones are left out.",
            instant(f"round(sum(increase(mailprobe_canaries_total{{{failed}}}[$__range])))"),
            steps=((None, "green"), (1, "red")),
        ),
        number(
            "Availability",
            "Canaries delivered in time within the time range, of all about which something is known.",
            instant(availability(ROUTES)),
            "percentunit",
            decimals=2,
            steps=((None, "red"), (0.99, "orange"), (0.999, "green")),
            no_value="no canaries",
        ),
    ]


def states() -> statetimeline.Panel:
    """All of the chosen routes: that some were spared tells something too."""
    return timeline(
        "States",
        "The state of every chosen route over the time range; also of those that were spared.",
        [series(f"max by (route) ({state_number(ROUTES)})", "{{route}}")],
        STATE_WORDS,
        STATE_STEPS,
        size=(24, 9),
    )


def course() -> list[timeseries.Panel]:
    """How it went: the panels of the overview, over the outage."""
    return [overview.outcomes(), overview.codes(), by_latency(), overview.affected()]


def by_outcome() -> table.Panel:
    """Counts."""
    found = [
        Column(f"Value #{ref}", name, counted("mailprobe_canaries_total", ROUTES, "outcome", window))
        for ref, (name, window) in zip("ABC", WINDOWS, strict=True)
    ]
    return columns(
        "Canaries by outcome",
        "How many canaries came to which end in the margin before, within the time range, and in the margin after it.",
        (Column("outcome", "Outcome"), *found),
        size=(12, 9),
        sort="during",
    )


def by_route() -> table.Panel:
    """Who suffered, and who has not recovered."""
    found = [
        Column(f"Value #{ref}", name, availability(ROUTES, window, "route"))
        for ref, (name, window) in zip("ABC", WINDOWS, strict=True)
    ]
    panel = columns(
        "Availability by route",
        "Canaries delivered in time before, within and after the time range, of all about which something is known.",
        (Column("route", "Route"), *found),
        size=(12, 9),
        unit="percentunit",
    )
    return panel.decimals(1)


def by_latency() -> timeseries.Panel:
    """Slow before it broke, slow after it was mended."""
    return percentiles(
        "Delivery time",
        "Of the mail that came in time: half was quicker than p50, 95 % than p95. It says nothing of what did not "
        "come.",
        DELIVERY,
        ROUTES,
    )


def replies() -> table.Panel:
    """The codes, counted."""
    kinds = (("A", "Deferred", "mailprobe_deferrals_total"), ("B", "Rejected", "mailprobe_rejections_total"))
    found = [
        Column(f"Value #{ref}", title, counted_from_first(metric, ROUTES, "stage, code, enhanced_code") + " > 0")
        for ref, title, metric in kinds
    ]
    return columns(
        "Replies",
        "Refusals within the time range by stage, reply code and enhanced status code.",
        (Column("code", "Code"), Column("enhanced_code", "Enhanced"), Column("stage", "Stage"), *found),
        size=(12, 8),
        sort="Deferred",
        no_value="Nothing was refused",
    )


def late_by_route() -> table.Panel:
    """Mail that came after all, and mail that never did."""
    figure = (prop("custom.width", 100), prop("noValue", "-"))
    seconds = (prop("unit", "s"), *figure)
    by = "route, le"
    return columns(
        "Late and lost",
        "Canaries seen after their verdict within the time range, how long they took, and those not there when looked "
        "for at last.",
        (
            Column("route", "Route"),
            Column(
                "Value #A",
                "Late",
                f"round(sum by (route) (increase({LATE}_count{{{ROUTES}}}[$__range]))) > 0",
                figure,
            ),
            Column("Value #B", "Half within", quantile(0.5, LATE, ROUTES, COARSELY, by) + " > 0", seconds),
            Column("Value #C", "95 % within", quantile(0.95, LATE, ROUTES, COARSELY, by) + " > 0", seconds),
            Column("Value #D", "Lost", counted("mailprobe_lost_total", ROUTES, "route") + " > 0", figure),
        ),
        size=(10, 9),
        sort="Late",
        no_value="Nothing was late",
    )


def lag() -> stat.Panel:
    """We knew first?"""
    return number(
        "Vendor later than we, by",
        "From our first sign of an incident to the vendor's first post on it in its status feed, of its latest one. "
        "Below 0 the vendor was first.",
        instant(f"max by (feed) (mailprobe_vendor_acknowledgement_lag_seconds{{{AGENTS}}})", "{{feed}}"),
        "s",
        size=(4, 9),
        decimals=1,
        no_value="nothing said",
    )
