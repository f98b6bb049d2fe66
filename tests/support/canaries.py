"""One canary and what may be said of it, for the tests of the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mailprobe.events import (
    ArrivedLate,
    AttemptBegun,
    AttemptEnded,
    DotSent,
    Event,
    Judged,
)
from mailprobe.model import (
    Attempt,
    AttemptOutcome,
    Bounce,
    Canary,
    Sighting,
    Verdict,
)
from mailprobe.probe.ledger import Ledger

CANARY = Canary("c", "route", "out", "box", opened=100.0, deadline=400.0, late_until=4000.0)
GRACE = 60.0


def begin(ledger: Ledger) -> None:
    assert ledger.attempt_begun("c", 1, 101.0) == (AttemptBegun(CANARY, 1, 101.0),)
    assert ledger.dot_sent("c", 1, 102.0) == (DotSent(CANARY, 1, 102.0),)


def attempt(outcome: AttemptOutcome, number: int = 1, **facts: object) -> Attempt:
    return replace(Attempt(number, 101.0, 103.0, outcome, dot_sent=102.0), **facts)  # type: ignore[arg-type]


def accept(ledger: Ledger, outcome: AttemptOutcome = AttemptOutcome.ACCEPTED) -> None:
    begin(ledger)
    assert kinds(ledger.attempt_ended("c", attempt(outcome), None)) == [AttemptEnded]


def seen(noticed: float = 104.0, **facts: object) -> Sighting:
    sighting = Sighting("c", "box", "INBOX", False, 7, 1, noticed, noticed - 0.5, True)
    return replace(sighting, **facts)  # type: ignore[arg-type]


def bounce(action: str = "failed") -> Bounce:
    return Bounce("c", "home", action, "5.1.1", "no such user", "mx.example", 110.0)


def kinds(events: Iterable[Event]) -> list[type[Event]]:
    return [type(event) for event in events]


def verdict_in(events: Iterable[Event]) -> Verdict:
    (verdict,) = [event.verdict for event in events if isinstance(event, Judged)]
    return verdict


def late_in(events: Iterable[Event]) -> ArrivedLate:
    (late,) = [event for event in events if isinstance(event, ArrivedLate)]
    return late
