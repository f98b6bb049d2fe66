"""Every metric of a route, a mailbox and an endpoint: name, type, labels, help, and what exists from the start.

What exists from the start is enumerated here from the closed vocabularies, so that a counter's first step is seen by
`rate()`. Only a server's reply codes cannot be known before; they are checked digits, and bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Final

from mailprobe.errors import Reason, Stage
from mailprobe.message.authres import Authenticated
from mailprobe.model import Outcome, RouteState
from mailprobe.observe.chunks import Family, Kind, Labels
from mailprobe.vendor import VendorState

DELAY_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Seconds. From a local delivery to the ten minutes after which somebody telephones."""

LATE_BUCKETS: Final = (60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 43200.0, 86400.0)
"""Seconds. From a minute to the day for which a route waits unless it says otherwise."""

CODE_PAIRS: Final = 50
"""Pairs of code and enhanced code a route may show before the rest is `other`: more than any outage has had."""

METHODS: Final = ("spf", "dkim", "dmarc", "arc")
RESULTS: Final = tuple(map(str, Authenticated))
HOPS: Final = 12

_CERTIFICATE: Final = (
    Reason.CERTIFICATE_EXPIRED,
    Reason.CERTIFICATE_UNTRUSTED,
    Reason.CERTIFICATE_NAME,
    Reason.CERTIFICATE_INVALID,
)
_LOST: Final = (Reason.TIMEOUT, Reason.CONNECTION_LOST)
_REPLIES: Final = (*_LOST, Reason.DEFERRED, Reason.REJECTED)

FAILURES: Final[dict[Stage, tuple[Reason, ...]]] = {
    Stage.RESOLVE: (
        Reason.DNS_NXDOMAIN,
        Reason.DNS_NO_ADDRESS,
        Reason.DNS_SERVFAIL,
        Reason.DNS_TIMEOUT,
        Reason.NO_MX,
        Reason.NULL_MX,
    ),
    Stage.CONNECT: (Reason.CONNECTION_REFUSED, Reason.UNREACHABLE, Reason.TIMEOUT),
    Stage.TLS: (*_LOST, Reason.TLS_HANDSHAKE, Reason.WRONG_TLS_MODE, *_CERTIFICATE),
    Stage.GREETING: (*_REPLIES, Reason.WRONG_TLS_MODE),
    Stage.EHLO: _REPLIES,
    Stage.STARTTLS: (*_REPLIES, Reason.STARTTLS_UNAVAILABLE, Reason.PLAINTEXT_AFTER_STARTTLS),
    Stage.AUTH: (*_REPLIES, Reason.AUTH_REJECTED, Reason.AUTH_UNAVAILABLE, Reason.TOKEN_EXPIRED),
    Stage.MAIL: _REPLIES,
    Stage.RCPT: _REPLIES,
    Stage.DATA: _REPLIES,
    Stage.END_OF_DATA: _REPLIES,
    Stage.TRANSIT: (Reason.NOT_THERE, Reason.NOBODY_LOOKED, Reason.AGENT_RESTARTED),
}
"""What usually stops a canary, and where.

All pairs would be 500 series a route. One that is not here (violations of the protocol, throttling) is counted all
the same and appears when it happens; `mailprobe_canaries_total` has what an alert needs.
"""

RECONNECTS: Final = tuple(
    dict.fromkeys(
        (
            *(reason for reason in FAILURES[Stage.RESOLVE] if reason not in (Reason.NO_MX, Reason.NULL_MX)),
            *FAILURES[Stage.CONNECT],
            *FAILURES[Stage.TLS],
            Reason.STARTTLS_UNAVAILABLE,
            Reason.PLAINTEXT_AFTER_STARTTLS,
            Reason.MALFORMED_REPLY,
            Reason.REPLY_TOO_LONG,
            Reason.UNEXPECTED_REPLY,
            Reason.AUTH_REJECTED,
            Reason.AUTH_UNAVAILABLE,
            Reason.TOKEN_EXPIRED,
            Reason.THROTTLED,
            Reason.MAILBOX_MISSING,
            Reason.QUOTA_EXCEEDED,
            Reason.SERVER_REFUSED,
        )
    )
)
"""Why nobody looks into a mailbox."""

_LATE_AFTER: Final = tuple(
    outcome for outcome in Outcome if outcome not in (Outcome.DELIVERED, Outcome.JUNKED, Outcome.SKIPPED)
)


def _each(values: Iterable[str]) -> tuple[Labels, ...]:
    return tuple((str(value),) for value in values)


def _route(name: str, kind: Kind, text: str, *labels: str, zeros: tuple[Labels, ...] = ((),)) -> Family:
    return Family(f"mailprobe_{name}", kind, ("route", *labels), text, zeros)


def _histogram(name: str, text: str, buckets: tuple[float, ...]) -> Family:
    return Family(f"mailprobe_{name}", Kind.HISTOGRAM, ("route",), text, buckets=buckets)


CANARIES = _route(
    "canaries_total",
    Kind.COUNTER,
    "Canaries judged, by their one outcome.",
    "outcome",
    zeros=_each(Outcome),
)
SENT = _route("canaries_sent_total", Kind.COUNTER, "Attempts that reached the final dot: the mail may exist.")
ATTEMPTS = _route("attempts_total", Kind.COUNTER, "SMTP transactions begun.")
DEFERRALS = _route(
    "deferrals_total",
    Kind.COUNTER,
    "Temporary refusals (4yz replies) by stage, reply code and enhanced status code, empty if the reply had none.",
    "stage",
    "code",
    "enhanced_code",
    zeros=(),
)
REJECTIONS = _route(
    "rejections_total",
    Kind.COUNTER,
    "Permanent refusals (5yz replies) by stage, reply code and enhanced status code, empty if the reply had none.",
    "stage",
    "code",
    "enhanced_code",
    zeros=(),
)
FAILURES_TOTAL = _route(
    "failures_total",
    Kind.COUNTER,
    "What stopped attempts, and what kept accepted canaries from arriving.",
    "stage",
    "reason",
    zeros=tuple((str(stage), str(reason)) for stage, reasons in FAILURES.items() for reason in reasons),
)
LATE = _route(
    "late_arrivals_total",
    Kind.COUNTER,
    "Canaries seen after their verdict, by that verdict's outcome.",
    "after",
    zeros=_each(_LATE_AFTER),
)
LATE_DURATION = _histogram(
    "late_arrival_duration_seconds",
    "From the final dot to being noticed, of canaries seen after their verdict.",
    LATE_BUCKETS,
)
LOST = _route("lost_total", Kind.COUNTER, "Overdue canaries that were not there when looked for after late_until.")
DUPLICATES = _route("duplicates_total", Kind.COUNTER, "Canaries seen once more, as another message.")
DELIVERY = _histogram(
    "delivery_duration_seconds",
    "From the begin of the first attempt to being noticed: what a person waits. Upper bounds are left out.",
    DELAY_BUCKETS,
)
TRANSIT = _histogram(
    "transit_duration_seconds",
    "From the final dot to being noticed. Upper bounds are left out.",
    DELAY_BUCKETS,
)
UPPER_BOUNDS = _route(
    "transit_upper_bounds_total",
    Kind.COUNTER,
    "Canaries delivered while nobody was looking for a time, so that their delay is a bound and no measurement.",
)
STAGES = _route(
    "stage_duration_seconds",
    Kind.SUMMARY,
    "Time that attempts spent in each stage.",
    "stage",
    zeros=tuple(product((str(stage) for stage in Stage if stage is not Stage.TRANSIT), ("_count", "_sum"))),
)
HOP_DELAY = _route(
    "hop_delay_seconds",
    Kind.GAUGE,
    "Delay of each hop of the last canary seen, from Received headers: the clocks of others.",
    "hop",
    zeros=(),
)
AUTHENTICATION = _route(
    "authentication_results_total",
    Kind.COUNTER,
    "What the receiving server said of canaries' authentication.",
    "method",
    "result",
    zeros=tuple(product(METHODS, RESULTS)),
)
STATE = _route("route_state", Kind.GAUGE, "State of the route: exactly one is 1.", "state", zeros=_each(RouteState))
STATE_SINCE = _route(
    "route_state_since_timestamp_seconds", Kind.GAUGE, "Since when the state is what it is, in Unix time; 0: the start."
)
AFFECTED = _route(
    "route_affected_ratio", Kind.GAUGE, "Part of the last 10 canaries that were late, junked, or not delivered, 0 to 1."
)
INCIDENT = _route("incident_open", Kind.GAUGE, "1 while an incident is going on; it may still relapse after that.")
INCIDENTS = _route("incidents_total", Kind.COUNTER, "Incidents; one that relapses is counted once.")
INFO = _route("route_info", Kind.GAUGE, "What is probed.", "sender", "mailbox", "kind", zeros=())
IN_FLIGHT = _route("in_flight", Kind.GAUGE, "Canaries without a verdict.")
OLDEST = _route(
    "oldest_in_flight_seconds", Kind.GAUGE, "Age of the oldest canary without a verdict, 0 if there is none."
)
LAST_CANARY = _route(
    "last_canary_timestamp_seconds", Kind.GAUGE, "When the last canary was begun, in Unix time; 0 if none was."
)
LAST_DELIVERED = _route(
    "last_delivered_timestamp_seconds", Kind.GAUGE, "When a canary was last delivered, in Unix time; 0 if none was."
)

MTA_STS_POLICY = _route(
    "mta_sts_policy",
    Kind.GAUGE,
    "MTA-STS policy of the recipient's domain: exactly one mode is 1; absent until it was looked up.",
    "mode",
    zeros=(),
)
MTA_STS_PASS = _route(
    "mta_sts_pass",
    Kind.GAUGE,
    "1 if the last attempt that got so far was as the MTA-STS policy asks; absent where none asks.",
    zeros=(),
)
DANE_POLICY = _route(
    "dane_policy",
    Kind.GAUGE,
    "TLSA records of the mail exchanger: exactly one status is 1; absent until they were looked up.",
    "status",
    zeros=(),
)
DANE_PASS = _route(
    "dane_pass",
    Kind.GAUGE,
    "1 if the last attempt that got so far was as the TLSA records ask; absent where none do.",
    zeros=(),
)
ROUTE_FAMILIES: Final = (
    CANARIES,
    SENT,
    ATTEMPTS,
    DEFERRALS,
    REJECTIONS,
    FAILURES_TOTAL,
    LATE,
    LATE_DURATION,
    LOST,
    DUPLICATES,
    DELIVERY,
    TRANSIT,
    UPPER_BOUNDS,
    STAGES,
    HOP_DELAY,
    AUTHENTICATION,
    STATE,
    STATE_SINCE,
    AFFECTED,
    INCIDENT,
    INCIDENTS,
    INFO,
    IN_FLIGHT,
    OLDEST,
    LAST_CANARY,
    LAST_DELIVERED,
    MTA_STS_POLICY,
    MTA_STS_PASS,
    DANE_POLICY,
    DANE_PASS,
)


def _mailbox(name: str, kind: Kind, text: str, *labels: str, zeros: tuple[Labels, ...] = ((),)) -> Family:
    return Family(f"mailprobe_mailbox_{name}", kind, ("mailbox", *labels), text, zeros)


MAILBOX_UP = _mailbox("up", Kind.GAUGE, "1 while somebody is looking into the mailbox.")
MAILBOX_SCAN = _mailbox(
    "last_scan_timestamp_seconds", Kind.GAUGE, "When the last complete look ended, in Unix time; 0 if none did."
)
MAILBOX_BLIND = _mailbox("blind_seconds_total", Kind.COUNTER, "Time in which nobody was looking into the mailbox.")
MAILBOX_RECONNECTS = _mailbox(
    "reconnects_total",
    Kind.COUNTER,
    "Ends of and failures to get a connection to the mailbox.",
    "reason",
    zeros=_each(RECONNECTS),
)
MAILBOX_STRANGERS = _mailbox("strangers_total", Kind.COUNTER, "Messages seen that no token proves ours.")
MAILBOX_QUOTA = _mailbox(
    "quota_used_ratio", Kind.GAUGE, "Storage used of what the mailbox may hold; absent until it is known.", zeros=()
)
MAILBOX_FAMILIES: Final = (
    MAILBOX_UP,
    MAILBOX_SCAN,
    MAILBOX_BLIND,
    MAILBOX_RECONNECTS,
    MAILBOX_STRANGERS,
    MAILBOX_QUOTA,
)

CERTIFICATE = Family(
    "mailprobe_tls_certificate_not_after_timestamp_seconds",
    Kind.GAUGE,
    ("endpoint",),
    "When the certificate last shown by the server expires, in Unix time; absent until one was seen.",
    zeros=(),
)
THROTTLED = Family(
    "mailprobe_throttled_total",
    Kind.COUNTER,
    ("endpoint", "reason"),
    "Times that the provider limited us, which is no outage.",
    zeros=_each((Reason.THROTTLED, Reason.QUOTA_EXCEEDED)),
)
ENDPOINT_FAMILIES: Final = (CERTIFICATE, THROTTLED)


def _feed(name: str, text: str, *labels: str, zeros: tuple[Labels, ...] = ()) -> Family:
    return Family(f"mailprobe_vendor_{name}", Kind.GAUGE, ("feed", *labels), text, zeros)


VENDOR_STATUS = _feed(
    "status",
    "What the vendor says of its service: exactly one state is 1; unreachable is the feed, which says nothing then.",
    "state",
    zeros=_each(VendorState),
)
VENDOR_INCIDENT = _feed(
    "incident_open", "1 while the vendor tells of an incident that goes on, as last known; absent until it was asked."
)
VENDOR_LAG = _feed(
    "acknowledgement_lag_seconds",
    "From our first sign of an incident to the vendor's first post on it, of its latest one; positive: we knew first.",
)
VENDOR_LOOKED = _feed("last_read_timestamp_seconds", "When the feed was last read, in Unix time; absent until it was.")
FEED_FAMILIES: Final = (VENDOR_STATUS, VENDOR_INCIDENT, VENDOR_LAG, VENDOR_LOOKED)
