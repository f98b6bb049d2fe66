"""Metrics of the identity providers that are asked for tokens: by source, which the configuration names."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from mailprobe.clock import Clock, wall_of
from mailprobe.errors import ProbeFailure, Reason
from mailprobe.events import TokenRequested, TokenSourcesChanged

BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class TokenResult(StrEnum):
    """What came of asking for a token."""

    OK = "ok"
    REJECTED = "rejected"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"


_RESULTS: Final = {
    Reason.AUTH_REJECTED: TokenResult.REJECTED,
    Reason.TOKEN_EXPIRED: TokenResult.REJECTED,
    Reason.THROTTLED: TokenResult.THROTTLED,
}


def result_of(failure: ProbeFailure | None) -> TokenResult:
    """The result that a request had; `failure` None: a token."""
    return TokenResult.OK if failure is None else _RESULTS.get(failure.reason, TokenResult.UNAVAILABLE)


class TokenMetrics:
    """Requests, how long they took, and when the tokens end. Sources that are not configured have no series."""

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self._clock = clock
        self._sources: frozenset[str] = frozenset()
        self._requests = Counter(
            "mailprobe_token_requests_total",
            "Requests for bearer tokens, by what came of them.",
            ["source", "result"],
            registry=registry,
        )
        self._duration = Histogram(
            "mailprobe_token_request_duration_seconds",
            "How long requests for bearer tokens took.",
            ["source"],
            buckets=BUCKETS,
            registry=registry,
        )
        self._expiry = Gauge(
            "mailprobe_token_expiry_timestamp_seconds",
            "When the bearer token at hand ends, in Unix time; 0 if there was none yet.",
            ["source"],
            registry=registry,
        )

    def changed(self, event: TokenSourcesChanged) -> None:
        """Makes the series of new sources and removes those of sources that are gone."""
        sources = frozenset(event.sources)
        for source in self._sources - sources:
            for result in TokenResult:
                self._requests.remove(source, result)
            self._duration.remove(source)
            self._expiry.remove(source)
        for source in sources - self._sources:
            for result in TokenResult:
                self._requests.labels(source, result)
            self._duration.labels(source)
            self._expiry.labels(source)
        self._sources = sources

    def requested(self, event: TokenRequested) -> None:
        """Counts a request."""
        if event.source not in self._sources:
            return
        self._requests.labels(event.source, result_of(event.failure)).inc()
        self._duration.labels(event.source).observe(event.seconds)
        if event.ends is not None:
            self._expiry.labels(event.source).set(wall_of(self._clock, event.ends))
