"""Mailboxes and agent: can the answer be trusted? Is the probe blind, throttled, late, or broken itself?"""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat, statetimeline, timeseries
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as model

from boards import frame
from boards.panels import instant, lines, number, percentiles, prop, series, shades_of, stacked, timeline, words
from boards.promql import AGENTS, MAILBOXES, per_minute, quantile

DAY = 86400
RIGHT_SECONDS = [prop("custom.axisPlacement", "right"), prop("unit", "s")]
RIGHT_COUNT = [prop("custom.axisPlacement", "right"), prop("unit", "short")]
ALARM = ((None, "green"), (1, "red"))
WATCHED = words({"0": ("blind", "red"), "1": ("watching", "green")})


def build() -> model.Dashboard:
    """The dashboard."""
    board = frame.board(
        "mailboxes",
        "mailprobe / Mailboxes and agent",
        "Can the answer be trusted? Whether somebody looks into the mailboxes, whether providers limit the probe, and "
        "whether the agent itself is late or in trouble.",
    )
    board.with_variable(frame.mailboxes())
    board.annotation(frame.incidents(AGENTS))
    return frame.filled(
        board,
        ("Now", tiles()),
        ("Mailboxes", [watching(), blindness(), scans(), reconnects(), quota(), strangers()]),
        ("Providers", [throttling(), certificates(), tokens(), token_time(), token_ends(), feeds_read()]),
        ("Agent", [schedule_lag(), loop_lag(), in_flight(), skipped(), journal(), journal_errors(), memory(), cpu()]),
    )


def tiles() -> list[stat.Panel]:
    """Trouble in numbers."""
    return [
        number(
            "Agents",
            "Agents that Prometheus reached at the last scrape.",
            instant(f"count(mailprobe_build_info{{{AGENTS}}})"),
            steps=((None, "red"), (1, "green")),
            no_value="0",
        ),
        number(
            "Blind mailboxes",
            "Mailboxes into which nobody is looking now.",
            instant(f"sum(1 - max by (job, mailbox) (mailprobe_mailbox_up{{{MAILBOXES}}}))"),
            steps=((None, "green"), (1, "orange")),
        ),
        number(
            "Fullest mailbox",
            "Storage used of what the mailbox may hold, where the server tells.",
            instant(f"max(mailprobe_mailbox_quota_used_ratio{{{MAILBOXES}}})"),
            "percentunit",
            steps=((None, "green"), (0.8, "orange"), (0.95, "red")),
            no_value="not told",
        ),
        number(
            "Configurations refused",
            "Agents whose last reload failed: they go on with the configuration they had.",
            instant(f"sum(1 - mailprobe_config_last_reload_successful{{{AGENTS}}})"),
            steps=ALARM,
        ),
        number(
            "Port 25 blocked",
            "Agents whose own network seems to let nobody out to port 25: their mx routes say nothing about mail.",
            instant(f"sum(mailprobe_port25_blocked{{{AGENTS}}})"),
            steps=ALARM,
        ),
        number(
            "Bugs",
            "Tasks of the agent that ended with what is no fact about the world, within the time range. Please report "
            "them, with the log.",
            instant(f"round(sum(increase(mailprobe_agent_errors_total{{{AGENTS}}}[$__range])))"),
            steps=ALARM,
        ),
    ]


def watching() -> statetimeline.Panel:
    """Whether somebody looks."""
    return timeline(
        "Watching",
        "Whether each agent is looking into each mailbox. While it is not, its canaries there can be neither delivered "
        "nor overdue: they become unobserved.",
        [series(f"min by (instance, mailbox) (mailprobe_mailbox_up{{{MAILBOXES}}})", "{{mailbox}} from {{instance}}")],
        WATCHED,
        ((None, "red"), (1, "green")),
    )


def blindness() -> timeseries.Panel:
    """How much of the time nobody looked."""
    panel = lines(
        "Blind",
        "Part of the time in which an agent was not looking into the mailbox, of the agent that looked least; only "
        "mailboxes with such a time.",
        [
            series(
                f"max by (mailbox) (rate(mailprobe_mailbox_blind_seconds_total{{{MAILBOXES}}}[$__rate_interval])) > 0",
                "{{mailbox}}",
            )
        ],
        "percentunit",
        calcs=("max", "mean"),
        no_value="Somebody was always looking",
    )
    return shades_of(panel.max(1), {".": "red"})


def scans() -> timeseries.Panel:
    """A verdict needs a look."""
    age = f"time() - (mailprobe_mailbox_last_scan_timestamp_seconds{{{MAILBOXES}}} > 0)"
    return lines(
        "Time since the last complete look",
        "A canary is called overdue only after a complete look that ended after its deadline. The 10 mailboxes that "
        "wait longest.",
        [series(f"topk(10, max by (mailbox) ({age}))", "{{mailbox}}")],
        "s",
        calcs=("lastNotNull", "max"),
    )


def reconnects() -> timeseries.Panel:
    """Why nobody looks."""
    panel = lines(
        "Lost and refused connections",
        "Ends of and failures to get a connection to a mailbox, a minute by reason. A server that ends sessions now "
        "and then is ordinary.",
        [
            series(
                per_minute("mailprobe_mailbox_reconnects_total", MAILBOXES, "mailbox, reason"), "{{mailbox}} {{reason}}"
            )
        ],
        "cpm",
        calcs=("max", "mean"),
        no_value="No connection was lost",
    )
    return shades_of(stacked(panel, bars=True), {".": "orange"})


def quota() -> timeseries.Panel:
    """A full mailbox refuses canaries."""
    return lines(
        "Quota used",
        "Storage used of what the mailbox may hold, where the server tells. A full mailbox looks like an outage.",
        [series(f"max by (mailbox) (mailprobe_mailbox_quota_used_ratio{{{MAILBOXES}}})", "{{mailbox}}")],
        "percentunit",
        no_value="No server told",
    ).max(1)


def strangers() -> timeseries.Panel:
    """Mail that is not ours."""
    panel = lines(
        "Strangers",
        "Messages a minute that no token proves ours. They are counted and left alone; many make looking slow.",
        [series(per_minute("mailprobe_mailbox_strangers_total", MAILBOXES, "mailbox"), "{{mailbox}}")],
        "cpm",
        calcs=("max", "mean"),
        no_value="No other mail came",
    )
    return stacked(panel, bars=True)


def throttling() -> timeseries.Panel:
    """Not an outage."""
    panel = lines(
        "Throttled by the provider",
        "Times a minute that a provider limited the probe. That is no outage; give it fewer canaries or connections.",
        [series(per_minute("mailprobe_throttled_total", AGENTS, "endpoint, reason"), "{{endpoint}} {{reason}}")],
        "cpm",
        calcs=("max", "mean"),
        no_value="Nobody limited us",
    )
    return shades_of(stacked(panel, bars=True), {".": "orange"})


def certificates() -> stat.Panel:
    """The ten that expire first."""
    expiry = f"mailprobe_tls_certificate_not_after_timestamp_seconds{{{AGENTS}}}"
    panel = number(
        "Certificates that expire first",
        "Time until the certificate last shown by a server expires, of the 6 that expire first.",
        instant(f"bottomk(6, min by (endpoint) ({expiry} - time()))", "{{endpoint}}"),
        "s",
        size=(12, 8),
        decimals=0,
        steps=((None, "red"), (7 * DAY, "orange"), (21 * DAY, "green")),
        no_value="None was seen",
    )
    return panel.orientation(shapes.VizOrientation.HORIZONTAL)


def tokens() -> timeseries.Panel:
    """Without a token nobody looks, and nothing is sent."""
    panel = lines(
        "Requests for tokens",
        "Requests for OAuth2 tokens a minute by source and what came of them. rejected: the identity provider does not "
        "want us (secret, certificate or consent); unavailable: it did not answer.",
        [series(per_minute("mailprobe_token_requests_total", AGENTS, "source, result"), "{{source}} {{result}}")],
        "cpm",
        calcs=("max", "mean"),
        no_value="No token was asked for",
    )
    return shades_of(stacked(panel, bars=True), {".": "orange", " ok$": "green", " rejected$": "red"})


def token_time() -> timeseries.Panel:
    """Slow comes before down."""
    panel = percentiles(
        "Time to get a token",
        "How long identity providers took: half of the requests in each step less than p50, 95 % less than p95.",
        "mailprobe_token_request_duration_seconds",
        AGENTS,
    )
    points = panel.span_nulls(True).show_points(shapes.VisibilityMode.ALWAYS).point_size(6)  # one an hour
    return points.no_value("No token was asked for")


def token_ends() -> stat.Panel:
    """While it lasts, somebody can still do something."""
    ends = f"mailprobe_token_expiry_timestamp_seconds{{{AGENTS}}} > 0"
    panel = number(
        "Tokens end in",
        "Time until the token at hand ends, of the 6 that end first. Tokens are renewed ahead of that: one that has "
        "ended could not be.",
        instant(f"bottomk(6, min by (source) ({ends}) - time())", "{{source}}"),
        "s",
        size=(4, 8),
        decimals=0,
        steps=((None, "red"), (60, "orange"), (300, "green")),
        no_value="There are none",
    )
    return panel.orientation(shapes.VizOrientation.HORIZONTAL)


def feeds_read() -> timeseries.Panel:
    """What a feed said long ago is worth little."""
    return lines(
        "Time since vendors' status feeds were read",
        "Feeds are read every few minutes. While one cannot be read it is unreachable, and says nothing.",
        [series(f"time() - max by (feed) (mailprobe_vendor_last_read_timestamp_seconds{{{AGENTS}}})", "{{feed}}")],
        "s",
        size=(20, 8),
        no_value="There are none",
    )


def _lag(title: str, description: str, histogram: str) -> timeseries.Panel:
    return lines(
        title,
        description,
        [
            series(quantile(0.5, histogram, AGENTS, by="instance, le"), "{{instance}} p50"),
            series(quantile(0.99, histogram, AGENTS, by="instance, le"), "{{instance}} p99", "B"),
        ],
        "s",
    )


def schedule_lag() -> timeseries.Panel:
    """Late canaries."""
    return _lag(
        "Schedule lag",
        "How late canaries were started. Beyond a second the agent has too much to do.",
        "mailprobe_schedule_lag_seconds",
    )


def loop_lag() -> timeseries.Panel:
    """Late timers."""
    return _lag(
        "Loop lag",
        "How late timers of the agent's event loop fired: the error of every time it measures.",
        "mailprobe_loop_lag_seconds",
    )


def in_flight() -> timeseries.Panel:
    """Waiting canaries."""
    return lines(
        "Canaries in flight, and the oldest",
        "Canaries without a verdict, and the age of the oldest of them (right axis).",
        [
            series(f"sum by (instance) (mailprobe_in_flight{{{AGENTS}}})", "{{instance}} in flight"),
            series(f"max by (instance) (mailprobe_oldest_in_flight_seconds{{{AGENTS}}})", "{{instance}} oldest", "B"),
        ],
    ).override_by_query("B", RIGHT_SECONDS)


def skipped() -> timeseries.Panel:
    """What the agent did not manage."""
    unseen = per_minute("mailprobe_canaries_total", f'{AGENTS}, outcome=~"skipped|unobserved"', "instance, outcome")
    untimed = per_minute("mailprobe_transit_upper_bounds_total", AGENTS, "instance")
    panel = lines(
        "Canaries skipped, unobserved or not timed",
        "Canaries a minute that the agent could not start in time (skipped), for which nobody could look (unobserved), "
        "or that came while nobody was looking, so that their delay is no measurement (not timed): the probe's "
        "failure, not the mail's.",
        [series(unseen, "{{instance}} {{outcome}}"), series(untimed, "{{instance}} not timed", "B")],
        "cpm",
        calcs=("max", "mean"),
        no_value="None",
    )
    return shades_of(panel, {".": "orange"})


def journal() -> timeseries.Panel:
    """Bounded, but bounds can be wrong."""
    return lines(
        "Journal",
        "Bytes of the journal on the disk, and its rows (right axis). It is bounded by age and size; 0: memory only.",
        [
            series(f"sum by (instance) (mailprobe_journal_size_bytes{{{AGENTS}}})", "{{instance}} size"),
            series(f"sum by (instance) (mailprobe_journal_rows{{{AGENTS}}})", "{{instance}} rows", "B"),
        ],
        "bytes",
    ).override_by_query("B", RIGHT_COUNT)


def journal_errors() -> timeseries.Panel:
    """A full disk."""
    panel = lines(
        "Journal writes that failed",
        "A minute: the disk is full, or the file is damaged. Probing goes on; a restart will have forgotten.",
        [series(per_minute("mailprobe_journal_write_errors_total", AGENTS, "instance"), "{{instance}}")],
        "cpm",
        calcs=("max", "mean"),
        no_value="None failed",
    )
    return shades_of(panel, {".": "red"})


def memory() -> timeseries.Panel:
    """RSS."""
    return lines(
        "Memory",
        "Resident memory of the agent's process.",
        [series(f"process_resident_memory_bytes{{{AGENTS}}}", "{{instance}}")],
        "bytes",
    )


def cpu() -> timeseries.Panel:
    """One core is the most."""
    return lines(
        "CPU",
        "Processor time of the agent, as part of one core: its loop cannot use more than one.",
        [series(f"sum by (instance) (rate(process_cpu_seconds_total{{{AGENTS}}}[$__rate_interval]))", "{{instance}}")],
        "percentunit",
    )
