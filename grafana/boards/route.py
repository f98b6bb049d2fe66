"""Route: one route whole. Where its time goes, where it stops, what the servers said of it."""

from __future__ import annotations

from grafana_foundation_sdk.builders import bargauge, heatmap, stat, statetimeline, timeseries
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as model

from boards import frame
from boards.panels import (
    CODE_SHADES,
    STATE_STEPS,
    STATE_WORDS,
    bars,
    bridged,
    colours_of,
    fixed,
    heat_map,
    instant,
    lines,
    number,
    series,
    shades_of,
    stacked,
    timeline,
    words,
)
from boards.promql import (
    AGENTS,
    OUTCOME_COLOURS,
    ROUTES,
    STAGE_COLOURS,
    availability,
    counted,
    mean,
    per_bucket,
    per_minute,
    per_minute_from_first,
    quantile,
    state_number,
)

DELIVERY = "mailprobe_delivery_duration_seconds"
DAY = 86400
POLICY_WORDS = words({"0": ("not as asked", "red"), "1": ("as asked", "green")})


def build() -> model.Dashboard:
    """The dashboard."""
    board = frame.board(
        "route",
        "mailprobe / Route",
        "One route: what became of its canaries, where their time goes, what the servers said, and how trustworthy "
        "the way is (TLS, authentication).",
    )
    board.with_variable(frame.one_route())
    board.annotation(frame.incidents())
    return frame.filled(
        board,
        ("Now", [*tiles(), states()]),
        ("What became of the canaries", [outcomes(), replies(), failures(), second_thoughts()]),
        ("Where the time goes", [last_canaries(), stages(), hops(), delivery_map()]),
        ("How trustworthy the way is", [authentication(), policies(), certificates()]),
    )


def tiles() -> list[stat.Panel]:
    """The route in numbers."""
    state = number(
        "State",
        "ok, degraded (some canaries late, junked or not delivered), failing (most are not), or unknown.",
        instant(f"max({state_number(ROUTES)})"),
        size=(4, 4),
        steps=STATE_STEPS,
    )
    return [
        state.mappings(STATE_WORDS),
        number(
            "In this state since",
            "When the state last changed; nothing if it has been so since the agent started.",
            instant(f"1000 * max(mailprobe_route_state_since_timestamp_seconds{{{ROUTES}}} > 0)"),
            "dateTimeFromNow",
            no_value="the start",
        ),
        number(
            "Affected",
            "Part of the last 10 canaries that was late, junked or not delivered.",
            instant(f"max(mailprobe_route_affected_ratio{{{ROUTES}}})"),
            "percentunit",
            steps=((None, "green"), (0.1, "orange"), (0.5, "red")),
        ),
        number(
            "Availability",
            "Canaries delivered to the inbox in time within the time range, of all about which something is known.",
            instant(availability(ROUTES)),
            "percentunit",
            decimals=2,
            steps=((None, "red"), (0.99, "orange"), (0.999, "green")),
            no_value="no canaries",
        ),
        number(
            "Last delivered",
            "How long ago a canary was last seen in the mailbox in time.",
            instant(f"time() - max(mailprobe_last_delivered_timestamp_seconds{{{ROUTES}}} > 0)"),
            "s",
            decimals=0,
            steps=((None, "green"), (600, "orange"), (1800, "red")),
            no_value="never",
        ),
        number(
            "In flight",
            "Canaries without a verdict now.",
            instant(f"sum(mailprobe_in_flight{{{ROUTES}}})"),
        ),
    ]


def states() -> statetimeline.Panel:
    """One line for each vantage point."""
    return timeline(
        "State over time",
        "The state of the route, from each vantage point.",
        [series(state_number(ROUTES), "{{instance}}")],
        STATE_WORDS,
        STATE_STEPS,
        size=(24, 4),
    )


def outcomes() -> timeseries.Panel:
    """All verdicts."""
    panel = lines(
        "Outcomes",
        "Verdicts a minute by outcome: exactly one for each canary.",
        [series(per_minute("mailprobe_canaries_total", ROUTES, "outcome"), "{{outcome}}")],
        "cpm",
        calcs=("lastNotNull", "max"),
        no_value="no canaries",
    )
    return colours_of(stacked(panel, bars=True), OUTCOME_COLOURS)


def replies() -> timeseries.Panel:
    """A refusal is stage, code and enhanced code."""
    by, legend = "stage, code, enhanced_code", "{{code}} {{enhanced_code}} at {{stage}}"
    panel = lines(
        "Refusals by reply",
        "Refusals a minute by reply code, enhanced status code and the stage in which they were said: 4yz are "
        "temporary, 5yz permanent.",
        [
            series(per_minute_from_first("mailprobe_deferrals_total", ROUTES, by), legend),
            series(per_minute_from_first("mailprobe_rejections_total", ROUTES, by), legend, "B"),
        ],
        "cpm",
        no_value="Nothing was refused",
    )
    return shades_of(stacked(panel, bars=True), CODE_SHADES)


def failures() -> timeseries.Panel:
    """What is no reply has a reason too."""
    panel = lines(
        "Failures by reason",
        "What stopped attempts, and what kept accepted canaries from arriving, a minute by stage and reason.",
        [series(per_minute("mailprobe_failures_total", ROUTES, "stage, reason"), "{{reason}} at {{stage}}")],
        "cpm",
        no_value="Nothing failed",
    )
    return shades_of(stacked(panel, bars=True), {".": "purple", "^deferred ": "orange", "^rejected ": "red"})


def second_thoughts() -> timeseries.Panel:
    """After the verdict."""
    panel = lines(
        "Late, lost, twice",
        "After the verdict: canaries seen after all, those not there when looked for at last, and those that came "
        "more than once; a minute.",
        [
            series(per_minute("mailprobe_late_arrivals_total", ROUTES, "after"), "late, after {{after}}"),
            series(per_minute("mailprobe_lost_total", ROUTES, "route"), "lost", "B"),
            series(per_minute("mailprobe_duplicates_total", ROUTES, "route"), "twice", "C"),
        ],
        "cpm",
        calcs=("max",),
        no_value="Nothing of the kind",
    )
    return colours_of(stacked(panel, bars=True), {"lost": "red", "late, after overdue": "blue", "twice": "purple"})


def last_canaries() -> timeseries.Panel:
    """Each point is a canary: its label leads to its page."""
    return bridged(
        lines(
            "Delivery time, and the last canaries",
            "What a person waits. The points are single canaries (exemplars) with their id, which leads to the "
            "canary's page, stages and transcript. Needs a Prometheus with exemplar storage.",
            [
                series(f"{quantile(0.5, DELIVERY, ROUTES)} > 0", "p50", exemplar=True),
                series(f"{quantile(0.95, DELIVERY, ROUTES)} > 0", "p95", "B", exemplar=True),
            ],
            "s",
        )
    )


def stages() -> timeseries.Panel:
    """Stacked: the height is the whole."""
    panel = lines(
        "Stages",
        "Mean time of each stage, on top of each other: the conversation by its stages, then the transit from the "
        "final dot to the mailbox.",
        [
            series(mean("mailprobe_stage_duration_seconds", ROUTES, "stage"), "{{stage}}"),
            series(mean("mailprobe_transit_duration_seconds", ROUTES, "route"), "transit", "B"),
        ],
        "s",
        calcs=("mean", "max"),
    )
    return colours_of(bridged(stacked(panel)), STAGE_COLOURS)


def hops() -> timeseries.Panel:
    """By the clocks of others."""
    return bridged(
        stacked(
            lines(
                "Hops",
                "Delay of each hop of the last canary, from its Received headers: by the clocks of others, to the "
                "second, and never below 0. The first hop is the one nearest to the sender.",
                [series(f"max by (hop) (mailprobe_hop_delay_seconds{{{ROUTES}}})", "hop {{hop}}")],
                "s",
                calcs=("mean", "max"),
                no_value="No Received headers seen",
            )
        )
    )


def delivery_map() -> heatmap.Panel:
    """Every delay there was."""
    return heat_map(
        "Delivery time, all of them",
        "Deliveries a minute in each range of delay.",
        series(per_bucket(DELIVERY, ROUTES), "{{le}}"),
        size=(12, 8),
    )


def authentication() -> bargauge.Panel:
    """What the receiving server wrote."""
    expr = counted("mailprobe_authentication_results_total", ROUTES, "method, result") + " > 0"
    panel = bars(
        "Authentication results",
        "What the receiving server said of the canaries' SPF, DKIM, DMARC and ARC within the time range. missing: it "
        "said nothing.",
        [instant(expr, "{{method}} {{result}}")],
        size=(8, 8),
        no_value="No canary seen",
    )
    panel.override_by_regexp("/ pass$/", [fixed("green")]).override_by_regexp("/ (soft)?fail$/", [fixed("red")])
    return panel.override_by_regexp("/ (missing|none)$/", [fixed("#8e8e8e")])


def policies() -> statetimeline.Panel:
    """MTA-STS and DANE."""
    return timeline(
        "MTA-STS and DANE",
        "Whether the last attempt was as the recipient domain's MTA-STS policy and the mail exchanger's TLSA records "
        "ask, from all vantage points. Empty where they are not looked up or ask for nothing.",
        [
            series(f"min(mailprobe_mta_sts_pass{{{ROUTES}}})", "MTA-STS"),
            series(f"min(mailprobe_dane_pass{{{ROUTES}}})", "DANE", "B"),
        ],
        POLICY_WORDS,
        ((None, "red"), (1, "green")),
        size=(8, 8),
        no_value="No policy asks for anything",
    )


def certificates() -> stat.Panel:
    """Of both ends of the route."""
    expiry = f"mailprobe_tls_certificate_not_after_timestamp_seconds{{{AGENTS}}}"
    panel = number(
        "Certificates expire in",
        "Time until the certificate last shown by the sender's and by the mailbox's server expires.",
        instant(f"min by (endpoint) ({expiry} and on (job, instance, endpoint) ({ends()})) - time()", "{{endpoint}}"),
        "s",
        size=(8, 8),
        decimals=0,
        steps=((None, "red"), (7 * DAY, "orange"), (21 * DAY, "green")),
        no_value="None was seen",
    )
    return panel.orientation(shapes.VizOrientation.HORIZONTAL)


def ends() -> str:
    """The endpoints of the route, from its info."""
    info = f"mailprobe_route_info{{{ROUTES}}}"
    return " or ".join(
        f'label_replace({info}, "endpoint", "{end}/$1", "{end}", "(.+)")' for end in ("sender", "mailbox")
    )
