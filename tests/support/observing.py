"""A canary's life as the events that actors would publish, for tests of those who listen."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from mailprobe.errors import Reason, Reply, Stage
from mailprobe.events import (
    AttemptBegun,
    AttemptEnded,
    CanaryOpened,
    CanarySighted,
    DotSent,
    Event,
    Judged,
    RoutesChanged,
)
from mailprobe.model import (
    Attempt,
    AttemptOutcome,
    Canary,
    Outcome,
    Peer,
    Sighting,
    StageReply,
    StageTime,
    TlsFacts,
    TranscriptLine,
    Verdict,
)
from mailprobe.observe.agent_metrics import JournalFigures
from mailprobe.observe.history import History
from mailprobe.observe.metrics import Metrics
from mailprobe.observe.states import States
from support.clocks import VirtualClock

HEADERS = (
    b"Received: from mx.example.net (mx.example.net [192.0.2.7]) by imap.example.org with LMTP id 2;\r\n"
    b" Thu, 22 Jan 2026 19:00:05 +0000\r\n"
    b"Received: from probe.example.com by mx.example.net with ESMTPS id 1; Thu, 22 Jan 2026 19:00:02 +0000\r\n"
    b"Authentication-Results: mx.example.net; spf=pass smtp.mailfrom=probe.example.com; dkim=fail\r\n"
    b"Subject: mailprobe canary\r\n"
)
TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", "CN=mx", "CN=ca", datetime(2027, 1, 1, tzinfo=UTC), True)
ROUTE = ("inbound", "outside", "contoso", "mx")


class Watch:
    """States, metrics and history on one bus, with a clock that stands still."""

    def __init__(
        self, *routes: tuple[str, str, str, str], journal: JournalFigures | None = None, **history: Any
    ) -> None:
        self.clock = VirtualClock()
        self.states = States()
        self.metrics = Metrics(self.clock, "1.2.3", self.states, journal)
        self.history = History(**history)
        self._numbers = itertools.count(1)
        self.publish(RoutesChanged(added=routes or (ROUTE,)))

    def publish(self, *events: Event) -> None:
        for event in events:
            self.states(event)
            self.metrics(event)
            self.history(event)

    def canary(self, route: str = "inbound", mailbox: str = "contoso") -> Canary:
        now = self.clock.now()
        return Canary(f"id{next(self._numbers)}", route, "outside", mailbox, now, now + 60, now + 3600)

    def opened(self, route: str = "inbound") -> Canary:
        canary = self.canary(route)
        self.publish(CanaryOpened(canary))
        return canary

    def attempted(self, canary: Canary, *replies: StageReply, **facts: Any) -> Attempt:
        attempt = an_attempt(self.clock.now(), *replies, **facts)
        self.publish(AttemptBegun(canary, attempt.number, attempt.begun))
        if attempt.dot_sent is not None:
            self.publish(DotSent(canary, attempt.number, attempt.dot_sent))
        self.publish(AttemptEnded(canary, attempt))
        return attempt

    def judged(self, canary: Canary, outcome: Outcome = Outcome.DELIVERED, **facts: Any) -> Verdict:
        verdict = Verdict(canary, outcome, self.clock.now(), **facts)
        self.publish(Judged(verdict))
        return verdict

    def delivered(self, route: str = "inbound", transit: float = 1.5, delivery: float = 2.5, **facts: Any) -> Canary:
        canary = self.opened(route)
        self.attempted(canary)
        sighting = a_sighting(canary, self.clock.now())
        self.publish(CanarySighted(canary, sighting))
        facts = {"transit_seconds": transit, "delivery_seconds": delivery, "sighting": sighting, "attempts": 1} | facts
        self.judged(canary, **facts)
        return canary

    def failed(self, outcome: Outcome = Outcome.REJECTED, route: str = "inbound", **facts: Any) -> Canary:
        canary = self.opened(route)
        said = StageReply(Stage.RCPT, Reply.of(550, "5.1.1 no such user"))
        self.attempted(
            canary, said, outcome=AttemptOutcome.REJECTED, stage=Stage.RCPT, reason=Reason.REJECTED, dot_sent=None
        )
        self.judged(canary, outcome, **({"stage": Stage.RCPT, "reason": Reason.REJECTED, "reply": said} | facts))
        return canary


def an_attempt(now: float, *replies: StageReply, **facts: Any) -> Attempt:
    standard: dict[str, Any] = {
        "number": 1,
        "begun": now,
        "ended": now + 0.5,
        "outcome": AttemptOutcome.ACCEPTED,
        "stages": (StageTime(Stage.CONNECT, 0.25), StageTime(Stage.RCPT, 0.125)),
        "replies": replies or (StageReply(Stage.RCPT, Reply.of(250, "2.1.5 Ok")),),
        "peer": Peer("mx.example.org", "192.0.2.1", 25),
        "tls": TLS,
        "queue_id": "4XyZ",
        "dot_sent": now + 0.4,
        "transcript": (TranscriptLine(0.1, "<", "220 <mx> & co"), TranscriptLine(0.2, ">", "EHLO probe")),
    }
    return Attempt(**(standard | facts))


def a_sighting(canary: Canary, noticed: float) -> Sighting:
    return Sighting(
        canary.id, canary.mailbox, "INBOX", False, 1, 7, noticed, noticed - 0.01, True, 1_769_108_405.0, HEADERS
    )


OWNERS = ("route", "mailbox", "endpoint", "feed")


def values(watch: Watch, name: str, openmetrics: bool = False) -> dict[tuple[str, ...], float]:
    """The samples of a name by their labels' values, without the owner, which comes first."""
    parse = parse_openmetrics if openmetrics else parse_text
    families = parse(watch.metrics.render(openmetrics).decode())
    found = [sample for family in families for sample in family.samples if sample.name == name]
    return {_without_owner(sample.labels): sample.value for sample in found}


def _without_owner(labels: dict[str, str]) -> tuple[str, ...]:
    first = next(iter(labels), None)
    return tuple(value for label, value in labels.items() if not (label == first and label in OWNERS))
