"""Exit statuses and the Nagios line."""

from __future__ import annotations

import pytest
from support.observing import Watch

from mailprobe.cli.explain import Explanation
from mailprobe.cli.verdicts import Status, nagios, status_of, worst
from mailprobe.model import Outcome
from mailprobe.observe.history import Record

STATUSES = {
    "delivered": 0,
    "junked": 1,
    "deferred": 2,
    "rejected": 2,
    "unsent": 2,
    "bounced": 2,
    "overdue": 2,
    "unobserved": 3,
    "skipped": 3,
}


def record(outcome: str = "delivered", **facts: object) -> Record:
    watch = Watch()
    canary = watch.opened()
    watch.judged(canary, Outcome(outcome), **facts)
    return watch.history[canary.id]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_each_outcome_has_its_status(outcome: Outcome) -> None:
    assert status_of(record(outcome), None) == STATUSES[outcome]


@pytest.mark.parametrize(
    ("seconds", "warning", "status"),
    [(29.9, 30.0, 0), (30.0, 30.0, 0), (30.1, 30.0, 1), (1000.0, None, 0), (None, 30.0, 0)],
)
def test_slow_is_a_warning(seconds: float | None, warning: float | None, status: int) -> None:
    assert status_of(record(delivery_seconds=seconds), warning) == status


def test_delivered_only_after_a_deferral_is_a_warning() -> None:
    assert status_of(record(retried=True, attempts=2), None) == Status.WARNING


def test_slow_makes_no_failure_better() -> None:
    assert status_of(record("rejected", delivery_seconds=99.0), 1.0) == Status.CRITICAL


def test_not_judged_is_unknown() -> None:
    watch = Watch()
    assert status_of(watch.history[watch.opened().id], None) == Status.UNKNOWN


@pytest.mark.parametrize(
    ("statuses", "status"),
    [((0, 0), 0), ((0, 1), 1), ((1, 3), 3), ((3, 2), 2), ((2, 3, 1, 0), 2), ((), 3)],
)
def test_the_worst_of_several(statuses: tuple[int, ...], status: int) -> None:
    """3 ranks below 2 and above 1."""
    assert worst(map(Status, statuses)) == status


def test_what_a_server_says_cannot_forge_performance_data() -> None:
    said = Explanation("rejected at rcpt", "SMTP server x: 550 no | 'inbound_delivery'=0.1s")
    line = nagios([(record("rejected"), said)], None, 60.0, interrupted=False)
    assert line.count("|") == 1
    assert line.endswith("| 'inbound_delivery'=U;;60;0;60 'inbound_transit'=U;;;0;60")


def test_interrupted_is_unknown_whatever_came_before() -> None:
    good = (record(delivery_seconds=0.5), Explanation("delivered in 500 ms"))
    assert nagios([good], None, 60.0, interrupted=True).startswith("MAILPROBE UNKNOWN - inbound: delivered")
    assert nagios([], None, 60.0, interrupted=True) == "MAILPROBE UNKNOWN - interrupted"
    assert nagios([], None, 60.0, interrupted=False) == "MAILPROBE UNKNOWN - no route was probed"
