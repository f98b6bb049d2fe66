"""The ledger after a restart, its questions, and what it keeps."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.canaries import CANARY, GRACE, attempt, late_in, seen, verdict_in

from mailprobe.errors import Reason, Stage
from mailprobe.events import (
    Event,
    Judged,
)
from mailprobe.model import (
    AttemptOutcome,
    Outcome,
    RestoredAttempt,
    RestoredCanary,
    Scan,
    Verdict,
)
from mailprobe.probe.ledger import Ledger

# -- restart


def restored(*attempts: RestoredAttempt, **facts: object) -> tuple[Ledger, tuple[Event, ...]]:
    ledger = Ledger(GRACE)
    return ledger, ledger.restore([RestoredCanary(CANARY, attempts, **facts)], 150.0)  # type: ignore[arg-type]


def test_never_begun_is_skipped() -> None:
    _, events = restored()
    assert events == (Judged(Verdict(CANARY, Outcome.SKIPPED, 150.0, reason=Reason.AGENT_RESTARTED)),)


def test_begun_and_nothing_more_known_is_never_overdue() -> None:
    ledger, events = restored(RestoredAttempt(1, 101.0))
    assert events == ()
    assert not ledger.may_attempt("c"), "it may have been sent"
    verdict = verdict_in(ledger.scanned(Scan("box", 400.0, 401.0)))
    assert (verdict.outcome, verdict.reason) == (Outcome.UNOBSERVED, Reason.AGENT_RESTARTED)


def test_begun_and_nothing_more_known_and_seen_is_delivered() -> None:
    ledger, _ = restored(RestoredAttempt(1, 101.0))
    verdict = verdict_in(ledger.sighted(seen(160.0), 160.0))
    assert (verdict.outcome, verdict.transit_seconds, verdict.delivery_seconds) == (Outcome.DELIVERED, None, 59.0)
    assert verdict.upper_bound


def test_a_dot_without_an_end_is_in_doubt() -> None:
    ledger, _ = restored(RestoredAttempt(1, 101.0, dot_sent=102.0))
    verdict = verdict_in(ledger.scanned(Scan("box", 400.0, 401.0)))
    assert (verdict.outcome, verdict.in_doubt) == (Outcome.OVERDUE, True)


def test_every_delay_of_a_restored_canary_is_an_upper_bound() -> None:
    ledger, _ = restored(RestoredAttempt(1, 101.0, AttemptOutcome.ACCEPTED, 102.0))
    verdict = verdict_in(ledger.sighted(seen(160.0), 160.0))
    assert (verdict.transit_seconds, verdict.upper_bound) == (58.0, True)


def test_a_deferred_canary_is_tried_again() -> None:
    ledger, events = restored(RestoredAttempt(1, 101.0, AttemptOutcome.DEFERRED, None, 200.0))
    assert events == ()
    (retry,) = ledger.pending_retries()
    assert (retry.canary, retry.done, retry.retry_at) == (CANARY, 1, 200.0)
    assert ledger.may_attempt("c")
    ledger.attempt_begun("c", 2, 200.0)
    assert ledger.pending_retries() == ()


@pytest.mark.parametrize("outcome", [AttemptOutcome.DEFERRED, AttemptOutcome.UNSENT, AttemptOutcome.REJECTED])
def test_a_verdict_owed_by_the_earlier_process_is_given(outcome: AttemptOutcome) -> None:
    ledger, events = restored(RestoredAttempt(1, 101.0, outcome, None, None, Stage.RCPT, Reason.DEFERRED, "later"))
    verdict = verdict_in(events)
    assert (verdict.outcome.value, verdict.stage, verdict.reason) == (outcome.value, Stage.RCPT, Reason.DEFERRED)
    assert ledger.pending_retries() == ()


def test_a_retry_whose_deadline_passed_meanwhile_is_none() -> None:
    ledger = Ledger(GRACE)
    put_off = RestoredAttempt(1, 101.0, AttemptOutcome.DEFERRED, None, 200.0)
    assert verdict_in(ledger.restore([RestoredCanary(CANARY, (put_off,))], 400.0)).outcome is Outcome.DEFERRED
    assert ledger.pending_retries() == ()


def test_seen_without_a_verdict_is_delivered_and_known() -> None:
    accepted = RestoredAttempt(1, 101.0, AttemptOutcome.ACCEPTED, 102.0)
    ledger, events = restored(accepted, sightings=(("INBOX", 7, 1),))
    verdict = verdict_in(events)
    assert (verdict.outcome, verdict.transit_seconds, verdict.upper_bound) == (Outcome.DELIVERED, None, True)
    assert ledger.sighted(seen(), 160.0) == (), "it is the same message"
    assert ledger.expecting("box") == 0


def test_seen_too_late_without_a_verdict_is_overdue_and_a_late_arrival() -> None:
    """A look that began after the deadline had not shown it; the process that saw it then did not live to judge it."""
    accepted = RestoredAttempt(1, 101.0, AttemptOutcome.ACCEPTED, 102.0)
    late = seen(500.0)
    earlier = RestoredCanary(CANARY, (accepted,), (("INBOX", 7, 1),), late=replace(late, previous_look=CANARY.deadline))
    ledger = Ledger(GRACE)
    events = ledger.restore([earlier], 510.0)
    assert verdict_in(events).outcome is Outcome.OVERDUE
    assert (late_in(events).after, late_in(events).upper_bound) == (Outcome.OVERDUE, True)
    assert ledger.sighted(late, 520.0) == (), "it is the same message"


def test_judged_canaries_go_on_where_they_were() -> None:
    accepted = RestoredAttempt(1, 101.0, AttemptOutcome.ACCEPTED, 102.0)
    ledger, events = restored(accepted, outcome=Outcome.OVERDUE)
    assert events == ()
    assert ledger.in_flight("route") == 0
    assert ledger.wanted_scans(4000.0) == {"box"}
    late = late_in(ledger.sighted(seen(500.0), 500.0))
    assert (late.after, late.transit_seconds, late.upper_bound) == (Outcome.OVERDUE, 398.0, True)


# -- questions


def test_questions_count_each_canary_once() -> None:
    ledger = Ledger(GRACE)
    canaries = [replace(CANARY, id=str(n), opened=100.0 + n, deadline=400.0 + n) for n in range(3)]
    for canary in reversed(canaries):
        ledger.open(canary)
    assert (ledger.in_flight("route"), ledger.oldest("route")) == (3, 100.0)
    assert (ledger.expecting("box"), ledger.earliest_opened("box")) == (3, 100.0)
    assert ledger.canary("1") == canaries[1]
    ledger.attempt_begun("0", 1, 101.0)
    ledger.sighted(seen(canary="0"), 104.0)
    assert (ledger.in_flight("route"), ledger.oldest("route")) == (3, 100.0), "held: not judged yet"
    assert (ledger.expecting("box"), ledger.earliest_opened("box")) == (2, 101.0)
    ledger.attempt_ended("0", attempt(AttemptOutcome.ACCEPTED), None)
    assert (ledger.in_flight("route"), ledger.oldest("route")) == (2, 101.0)
    ledger.tick(462.0)
    assert (ledger.in_flight("route"), ledger.oldest("route")) == (0, None)
    assert (ledger.expecting("box"), ledger.earliest_opened("box")) == (0, 101.0), "both may still come late"


def test_nothing_is_kept_of_what_is_forgotten() -> None:
    ledger = Ledger(GRACE)
    for n in range(500):
        canary = replace(CANARY, id=str(n), opened=100.0 + n, deadline=110.0 + n, late_until=120.0 + n)
        ledger.open(canary)
        ledger.attempt_begun(canary.id, 1, canary.opened)
        ledger.dot_sent(canary.id, 1, canary.opened)
        ledger.attempt_ended(canary.id, attempt(AttemptOutcome.ACCEPTED), None)
        ledger.sighted(seen(canary=canary.id), canary.opened + 1)
        ledger.tick(canary.opened)
    assert len(ledger._records) <= 100
    heaps = [ledger._agenda, ledger._looks, ledger._boxes["box"].opened, ledger._lanes["route"].opened]
    assert max(len(heap) for heap in heaps) <= 100
