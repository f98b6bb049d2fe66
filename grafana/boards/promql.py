"""Pieces of PromQL that several panels need, and the words of mailprobe that they map to numbers and colours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

AGENTS: Final = 'job=~"$job", instance=~"$instance"'
"""Matchers of every query: Prometheus' own target labels."""

ROUTES: Final = f'{AGENTS}, route=~"$route"'
MAILBOXES: Final = f'{AGENTS}, mailbox=~"$mailbox"'

STATES: Final = {"ok": 0, "unknown": 1, "degraded": 2, "failing": 3}
"""The number that stands for a state where a panel can only draw numbers.

The worse, the greater, in the order of the status page: panels sort by it, and take the greatest of several vantage
points. One that does not know must not hide what another sees.
"""

STATE_COLOURS: Final = {"ok": "green", "unknown": "#8e8e8e", "degraded": "orange", "failing": "red"}

VENDOR_STATES: Final = {"ok": 0, "unknown": 1, "unreachable": 2, "maintenance": 3, "degraded": 4, "outage": 5}
"""The same for what a vendor says; `INCIDENT` is ours, beside it."""
INCIDENT: Final = 6

VENDOR_COLOURS: Final = {
    "ok": "green",
    "unknown": "#8e8e8e",
    "unreachable": "#5f5f5f",
    "maintenance": "#8ab8ff",
    "degraded": "orange",
    "outage": "red",
}

OUTCOME_COLOURS: Final = {
    "delivered": "green",
    "junked": "purple",
    "deferred": "orange",
    "rejected": "red",
    "unsent": "dark-red",
    "bounced": "#e0669f",
    "overdue": "blue",
    "unobserved": "#8e8e8e",
    "skipped": "#b0b0b0",
}

STAGE_COLOURS: Final = {
    "resolve": "#b877d9",
    "connect": "#8ab8ff",
    "tls": "#5794f2",
    "greeting": "#c0d8ff",
    "ehlo": "#96d98d",
    "starttls": "#3274d9",
    "auth": "#ffb357",
    "mail": "#fade2a",
    "rcpt": "#f2495c",
    "data": "#ff9830",
    "end_of_data": "#c4162a",
    "quit": "#8e8e8e",
    "fetch": "#a0a0a0",
    "transit": "#1f60c4",
}

DELIVERED: Final = 'outcome="delivered"'
NOT_DELIVERED: Final = 'outcome!="delivered"'
JUDGED: Final = 'outcome!~"unobserved|skipped"'
"""Availability is said of canaries about which something is known."""


COARSELY: Final = "$__range:$__interval"
"""The time range by a few samples of each series, for what has thousands of them: begin, end, and any reset between."""


def _window(text: str) -> str:
    """A window with its bracket; `1h] offset 2h` has it already."""
    return text if "]" in text else f"{text}]"


def _counting(window: str) -> str:
    """Within a step the speed is what matters, within a chosen window the number."""
    return "rate" if window == "$__rate_interval" else "increase"


def per_minute(metric: str, matchers: str, by: str) -> str:
    """A counter as events a minute, where there are any: what never happens would fill the legend."""
    return f"sum by ({by}) (rate({metric}{{{matchers}}}[$__rate_interval])) * 60 > 0"


def per_bucket(histogram: str, matchers: str) -> str:
    """A histogram as observations a minute up to each bound."""
    return f"sum by (le) (rate({histogram}_bucket{{{matchers}}}[$__rate_interval])) * 60"


def counted(metric: str, matchers: str, by: str, window: str = "$__range") -> str:
    """How often it happened within a window, as a whole number; `1h] offset 2h` is a window too."""
    return f"round(sum by ({by}) (increase({metric}{{{matchers}}}[{_window(window)})))"


def counted_from_first(metric: str, matchers: str, by: str) -> str:
    """As `counted`, of what has a series only once it happened: its first event counts too.

    Prometheus counts from the first sample on, and of a reply code that is its first refusal: what a series began with
    is added. Not its last value instead, which is too little where the agent was started anew since.
    """
    first = _of_begun(metric, matchers, "min_over_time", "$__range")
    added = f'label_replace({first}, "begun", "within", "", "")'
    return f"round(sum by ({by}) (increase({metric}{{{matchers}}}[$__range]) or {added}))"


def per_minute_from_first(metric: str, matchers: str, by: str) -> str:
    """As `per_minute`, of what has a series only once it happened: its first event counts too.

    A series that begins within a step has its last value for its increase, which would be extrapolated too far.
    """
    begun = _of_begun(metric, matchers, "max_over_time", "$__rate_interval")
    increase = f"increase({metric}{{{matchers}}}[$__rate_interval])"
    return f"sum by ({by}) ({begun} or {increase}) * 60000 / $__rate_interval_ms > 0"


def _of_begun(metric: str, matchers: str, function: str, window: str) -> str:
    """A function of each series that began within the window.

    One that was not there when the window began did so if its agent was scraped at that time; if not, nobody knows.
    """
    found = f"{metric}{{{matchers}}}"
    scraped = f"mailprobe_build_info{{{AGENTS}}} offset {window}"
    return f"{function}({found}[{window}]) unless {found} offset {window} and on (job, instance) {scraped}"


def availability(matchers: str, window: str = "$__range", by: str = "") -> str:
    """Delivered in time to the inbox, of all canaries about which something is known, within a window."""
    total = f"sum by ({by}) " if by else "sum"

    def count(outcome: str) -> str:
        return f"{total}({_counting(window)}(mailprobe_canaries_total{{{matchers}, {outcome}}}[{_window(window)}))"

    return f"{count(DELIVERED)} / {count(JUDGED)}"


def quantile(part: float, histogram: str, matchers: str, window: str = "$__rate_interval", by: str = "le") -> str:
    """A quantile of a classic histogram."""
    counts = f"{_counting(window)}({histogram}_bucket{{{matchers}}}[{_window(window)})"
    return f"histogram_quantile({part}, sum by ({by}) ({counts}))"


def state_number(matchers: str) -> str:
    """The state of each route as its number in `STATES`; the labels of its target and the route are kept."""
    return _numbered("mailprobe_route_state", matchers, STATES)


def routes_in_each_state(matchers: str) -> str:
    """How many routes are in each state, the worst first; a route that several agents probe is one, in its worst."""
    worst = f"max by (job, route) ({state_number(matchers)})"
    return " or ".join(
        f'label_replace(sum({worst} == bool {number}), "state", "{state}", "", "")'
        for state, number in reversed(STATES.items())
    )


def vendor_number(matchers: str) -> str:
    """What each feed says as its number in `VENDOR_STATES`; the labels of its target and the feed are kept."""
    return _numbered("mailprobe_vendor_status", matchers, VENDOR_STATES)


def _numbered(metric: str, matchers: str, states: Mapping[str, int]) -> str:
    """Matched one by one and not summed up, which takes twice as long."""

    def one(state: str) -> str:
        return f'{metric}{{{matchers}, state="{state}"}}'

    return " + ignoring (state) ".join(f"{number} * {one(state)}" for state, number in states.items() if number)


def mean(summary: str, matchers: str, by: str) -> str:
    """The mean of a summary or histogram; nothing, and not NaN, which a stack cannot bear, where there was nothing."""

    def total(part: str) -> str:
        return f"sum by ({by}) (rate({summary}_{part}{{{matchers}}}[$__rate_interval]))"

    return f"{total('sum')} / ({total('count')} > 0)"
