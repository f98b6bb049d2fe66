"""The ledger's rules, one by one."""

from __future__ import annotations

import pytest
from support.canaries import CANARY, GRACE, accept, attempt, begin, bounce, kinds, late_in, seen, verdict_in

from mailprobe.errors import Reason, Reply, Stage
from mailprobe.events import (
    ArrivedLate,
    AttemptEnded,
    BounceReceived,
    CanaryForgotten,
    CanaryLost,
    CanaryOpened,
    CanarySighted,
    DotSent,
    DuplicateSighted,
    Judged,
)
from mailprobe.model import (
    AttemptOutcome,
    Outcome,
    Scan,
    Sighting,
    StageReply,
    Verdict,
)
from mailprobe.probe.entry import KEYS_LIMIT, TRANSITIONS, Entry, Phase, Said
from mailprobe.probe.ledger import Ledger


@pytest.fixture
def ledger() -> Ledger:
    """A ledger that expects one canary; its attempt begins at 101, its dot is out at 102."""
    ledger = Ledger(GRACE)
    assert ledger.open(CANARY) == (CanaryOpened(CANARY),)
    return ledger


# -- what the submitter says


def test_a_sighting_after_the_reply_is_delivered(ledger: Ledger) -> None:
    accept(ledger)
    events = ledger.sighted(seen(104.0), 104.1)
    assert kinds(events) == [CanarySighted, Judged]
    verdict = verdict_in(events)
    assert (verdict.outcome, verdict.at, verdict.attempts) == (Outcome.DELIVERED, 104.1, 1)
    assert (verdict.delivery_seconds, verdict.transit_seconds, verdict.transit_error_seconds) == (3.0, 2.0, 0.5)
    assert not verdict.upper_bound
    assert not verdict.in_doubt
    assert verdict.sighting == seen(104.0)


def test_a_sighting_that_overtakes_the_reply_is_held(ledger: Ledger) -> None:
    begin(ledger)
    assert kinds(ledger.sighted(seen(102.5), 102.5)) == [CanarySighted]
    events = ledger.attempt_ended("c", attempt(AttemptOutcome.ACCEPTED), None)
    assert kinds(events) == [AttemptEnded, Judged]
    assert verdict_in(events).transit_seconds == 0.5


def test_junk_is_junked(ledger: Ledger) -> None:
    accept(ledger)
    assert verdict_in(ledger.sighted(seen(junk=True), 104.0)).outcome is Outcome.JUNKED


@pytest.mark.parametrize("outcome", list(AttemptOutcome))
def test_seen_is_delivered_whatever_the_reply(ledger: Ledger, outcome: AttemptOutcome) -> None:
    begin(ledger)
    ledger.sighted(seen(102.5), 102.5)
    events = ledger.attempt_ended("c", attempt(outcome), 110.0)
    assert verdict_in(events).outcome is Outcome.DELIVERED
    assert events[0] == AttemptEnded(CANARY, attempt(outcome), None), "no further attempt: it has been seen"
    assert not ledger.may_attempt("c")
    assert verdict_in(events).in_doubt == (outcome is AttemptOutcome.IN_DOUBT)


@pytest.mark.parametrize("outcome", [AttemptOutcome.DEFERRED, AttemptOutcome.REJECTED, AttemptOutcome.UNSENT])
def test_a_refusal_is_its_own_verdict(ledger: Ledger, outcome: AttemptOutcome) -> None:
    said = StageReply(Stage.RCPT, Reply.of(451, "4.3.2 later"))
    refused = attempt(outcome, stage=Stage.RCPT, reason=Reason.DEFERRED, detail="later", replies=(said,), dot_sent=None)
    ledger.attempt_begun("c", 1, 101.0)
    verdict = verdict_in(ledger.attempt_ended("c", refused, None))
    assert verdict.outcome.value == outcome.value
    assert (verdict.stage, verdict.reason, verdict.detail) == (Stage.RCPT, Reason.DEFERRED, "later")
    assert verdict.reply == said
    assert (verdict.at, verdict.attempts, verdict.retried) == (103.0, 1, False)


@pytest.mark.parametrize("outcome", [AttemptOutcome.DEFERRED, AttemptOutcome.UNSENT])
def test_a_refusal_with_an_attempt_to_come_is_no_verdict(ledger: Ledger, outcome: AttemptOutcome) -> None:
    begin(ledger)
    put_off = attempt(outcome)
    assert ledger.attempt_ended("c", put_off, 200.0) == (AttemptEnded(CANARY, put_off, 200.0),)
    assert ledger.may_attempt("c")
    assert ledger.wanted_scans(401.0) == frozenset(), "no scan decides about a canary that was refused"
    ledger.attempt_begun("c", 2, 200.0)
    ledger.dot_sent("c", 2, 201.0)
    ledger.attempt_ended("c", attempt(AttemptOutcome.ACCEPTED, 2, ended=202.0), None)
    verdict = verdict_in(ledger.sighted(seen(205.0), 205.0))
    assert (verdict.attempts, verdict.retried) == (2, True)
    assert (verdict.delivery_seconds, verdict.transit_seconds) == (104.0, 4.0), "from the first attempt, the last dot"


@pytest.mark.parametrize(
    ("outcome", "retry_at"),
    [(AttemptOutcome.DEFERRED, 400.0), (AttemptOutcome.DEFERRED, 500.0), (AttemptOutcome.REJECTED, 200.0)],
)
def test_a_retry_that_cannot_be_is_none(ledger: Ledger, outcome: AttemptOutcome, retry_at: float) -> None:
    ledger.attempt_begun("c", 1, 101.0)
    events = ledger.attempt_ended("c", attempt(outcome), retry_at)
    assert kinds(events) == [AttemptEnded, Judged]
    assert events[0] == AttemptEnded(CANARY, attempt(outcome), None)


def test_no_room_for_the_retry_is_a_verdict(ledger: Ledger) -> None:
    ledger.attempt_begun("c", 1, 101.0)
    ledger.attempt_ended("c", attempt(AttemptOutcome.DEFERRED), 200.0)
    no_room = attempt(AttemptOutcome.UNSENT, 2, reason=Reason.SENDER_BUSY)
    assert verdict_in(ledger.attempt_ended("c", no_room, None)).reason is Reason.SENDER_BUSY


def test_seen_while_a_retry_is_due_is_delivered_and_not_sent_again(ledger: Ledger) -> None:
    begin(ledger)
    ledger.attempt_ended("c", attempt(AttemptOutcome.DEFERRED), 200.0)
    assert verdict_in(ledger.sighted(seen(150.0), 150.0)).outcome is Outcome.DELIVERED
    assert not ledger.may_attempt("c")


@pytest.mark.parametrize("dot", [None, 102.0])
def test_an_accepted_message_is_looked_for_although_nobody_told_of_its_dot(ledger: Ledger, dot: float | None) -> None:
    ledger.attempt_begun("c", 1, 101.0)
    ledger.attempt_ended("c", attempt(AttemptOutcome.ACCEPTED, dot_sent=dot), None)
    assert ledger.wanted_scans(400.0) == {"box"}
    assert verdict_in(ledger.sighted(seen(104.0), 104.0)).transit_seconds == (None if dot is None else 2.0)


def test_a_message_seen_before_the_second_dot_is_counted_from_the_first(ledger: Ledger) -> None:
    begin(ledger)
    ledger.attempt_ended("c", attempt(AttemptOutcome.DEFERRED), 200.0)
    ledger.attempt_begun("c", 2, 200.0)
    ledger.sighted(seen(200.5), 200.5)
    ledger.dot_sent("c", 2, 201.0)
    events = ledger.attempt_ended("c", attempt(AttemptOutcome.ACCEPTED, 2, ended=202.0, dot_sent=201.0), None)
    assert verdict_in(events).transit_seconds == 98.5


def test_a_missed_slot_is_skipped() -> None:
    ledger = Ledger(GRACE)
    events = ledger.skip(CANARY, 130.0, Reason.SENDER_BUSY)
    assert events == (CanaryOpened(CANARY), Judged(Verdict(CANARY, Outcome.SKIPPED, 130.0, reason=Reason.SENDER_BUSY)))
    assert ledger.in_flight("route") == ledger.expecting("box") == 0


def test_what_the_submitter_says_after_the_verdict_judges_nothing(ledger: Ledger) -> None:
    ledger.attempt_begun("c", 1, 101.0)
    assert verdict_in(ledger.tick(460.0)).outcome is Outcome.UNSENT
    assert kinds(ledger.dot_sent("c", 1, 461.0)) == [DotSent]
    assert kinds(ledger.attempt_ended("c", attempt(AttemptOutcome.ACCEPTED), None)) == [AttemptEnded]
    late = late_in(ledger.sighted(seen(470.0), 470.0))
    assert (late.after, late.transit_seconds) == (Outcome.UNSENT, 9.0)


def test_transitions_are_total() -> None:
    assert set(TRANSITIONS) == set(Phase)
    for phase in Phase:
        for said in Said:
            entry = Entry(CANARY)
            entry.phase = phase
            if said in TRANSITIONS[phase]:
                entry.hear(said)
                assert entry.phase is TRANSITIONS[phase][said]
            else:
                with pytest.raises(ValueError, match=f"{said} cannot follow {phase}"):
                    entry.hear(said)


def test_speaking_out_of_turn_is_a_bug_of_ours(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="already in the ledger"):
        ledger.open(CANARY)
    with pytest.raises(ValueError, match="flushed cannot follow opened"):
        ledger.dot_sent("c", 1, 101.0)
    accept(ledger)
    with pytest.raises(ValueError, match="begun cannot follow accepted"):
        ledger.attempt_begun("c", 2, 110.0)


def test_words_about_an_unknown_canary_are_nothing() -> None:
    ledger = Ledger(GRACE)
    assert ledger.attempt_begun("c", 1, 1.0) == ledger.dot_sent("c", 1, 1.0) == ()
    assert ledger.attempt_ended("c", attempt(AttemptOutcome.ACCEPTED), None) == ()
    assert ledger.sighted(seen(), 1.0) == ledger.bounced(bounce()) == ledger.scanned(Scan("box", 1.0, 2.0)) == ()
    assert ledger.canary("c") is ledger.oldest("route") is ledger.earliest_opened("box") is ledger.next_due() is None
    assert not ledger.may_attempt("c")


# -- what the watcher says


def test_the_same_message_again_is_nothing_and_another_a_duplicate(ledger: Ledger) -> None:
    accept(ledger)
    ledger.sighted(seen(), 104.0)
    assert ledger.sighted(seen(105.0), 105.0) == ()
    for other in (seen(uid=2), seen(folder="Junk")):
        assert ledger.sighted(other, 105.0) == (DuplicateSighted(CANARY, other),)
        assert ledger.sighted(other, 106.0) == ()


def test_a_renumbered_folder_holds_no_duplicates(ledger: Ledger) -> None:
    accept(ledger)
    ledger.sighted(seen(uid=1), 104.0)
    ledger.sighted(seen(uid=2), 104.0)
    assert ledger.sighted(seen(uidvalidity=8, uid=1), 105.0) == ()
    assert ledger.sighted(seen(uidvalidity=8, uid=2), 105.0) == ()
    assert kinds(ledger.sighted(seen(uidvalidity=8, uid=3), 105.0)) == [DuplicateSighted]


def test_a_mail_loop_does_not_fill_the_memory(ledger: Ledger) -> None:
    accept(ledger)
    for uid in range(1, 3 * KEYS_LIMIT):
        ledger.sighted(seen(uid=uid), 104.0)
    assert len(ledger._records["c"].seen) == KEYS_LIMIT


def test_a_sighting_in_another_mailbox_is_nothing(ledger: Ledger) -> None:
    accept(ledger)
    assert ledger.sighted(seen(mailbox="home"), 104.0) == ()


@pytest.mark.parametrize("outcome", [AttemptOutcome.ACCEPTED, AttemptOutcome.IN_DOUBT])
def test_not_there_after_the_deadline_is_overdue(ledger: Ledger, outcome: AttemptOutcome) -> None:
    accept(ledger, outcome)
    assert ledger.scanned(Scan("box", 399.9, 402.0)) == (), "a message may have come while it ran"
    assert ledger.wanted_scans(399.9) == frozenset()
    assert ledger.wanted_scans(400.0) == {"box"}
    assert ledger.scanned(Scan("home", 400.0, 401.0)) == ()
    verdict = verdict_in(ledger.scanned(Scan("box", 400.0, 401.0)))
    assert (verdict.outcome, verdict.at) == (Outcome.OVERDUE, 401.0)
    assert (verdict.stage, verdict.reason) == (Stage.TRANSIT, Reason.NOT_THERE)
    assert verdict.in_doubt == (outcome is AttemptOutcome.IN_DOUBT)
    assert ledger.wanted_scans(402.0) == frozenset()


def test_a_scan_before_the_reply_is_evidence_after_it(ledger: Ledger) -> None:
    begin(ledger)
    assert ledger.wanted_scans(400.0) == {"box"}
    assert ledger.scanned(Scan("box", 400.0, 401.0)) == ()
    assert ledger.wanted_scans(401.0) == frozenset()
    events = ledger.attempt_ended("c", attempt(AttemptOutcome.ACCEPTED, ended=402.0), None)
    assert verdict_in(events).outcome is Outcome.OVERDUE
    assert ledger.wanted_scans(402.0) == frozenset(), "the wish of the deadline is not one of late_until"
    assert ledger.scanned(Scan("box", 403.0, 404.0)) == (), "nor does a scan before late_until say lost"


def test_a_canary_that_comes_due_while_a_scan_runs_waits_for_the_next(ledger: Ledger) -> None:
    accept(ledger)
    assert ledger.wanted_scans(400.0) == {"box"}
    assert ledger.scanned(Scan("box", 399.9, 402.0)) == ()
    assert ledger.wanted_scans(402.0) == {"box"}
    assert kinds(ledger.scanned(Scan("box", 402.0, 403.0))) == [Judged]
    ledger.wanted_scans(4000.0)
    assert ledger.scanned(Scan("box", 3999.9, 4002.0)) == (), "not lost either"
    assert ledger.wanted_scans(4002.0) == {"box"}


def test_handed_in_after_the_scan_that_missed_it_is_overdue_and_not_lost(ledger: Ledger) -> None:
    ledger.attempt_begun("c", 1, 101.0)
    ledger.scanned(Scan("box", 400.0, 401.0))
    ledger.dot_sent("c", 1, 401.5)
    events = ledger.attempt_ended("c", attempt(AttemptOutcome.ACCEPTED, dot_sent=401.5, ended=402.0), None)
    assert verdict_in(events).outcome is Outcome.OVERDUE
    assert ledger.scanned(Scan("box", 403.0, 404.0)) == ()
    assert late_in(ledger.sighted(seen(405.0), 405.0)).transit_seconds == 3.5


def test_overdue_then_late(ledger: Ledger) -> None:
    accept(ledger)
    ledger.scanned(Scan("box", 400.0, 401.0))
    events = ledger.sighted(seen(500.0), 500.1)
    assert kinds(events) == [CanarySighted, ArrivedLate]
    late = late_in(events)
    assert (late.after, late.at, late.transit_seconds) == (Outcome.OVERDUE, 500.1, 398.0)
    assert (late.transit_error_seconds, late.upper_bound) == (0.5, False)
    assert ledger.wanted_scans(4000.0) == frozenset(), "it is not missing any more"
    assert ledger.scanned(Scan("box", 4000.0, 4001.0)) == ()
    assert ledger.tick(4000.0) == (CanaryForgotten(CANARY, 4000.0),)


def test_overdue_then_lost(ledger: Ledger) -> None:
    accept(ledger)
    ledger.scanned(Scan("box", 400.0, 401.0))
    assert ledger.scanned(Scan("box", 3999.9, 4000.5)) == ()
    assert ledger.tick(4000.0) == ()
    assert ledger.wanted_scans(4000.0) == {"box"}
    events = ledger.scanned(Scan("box", 4000.0, 4001.0))
    assert events == (CanaryLost(CANARY, 4001.0), CanaryForgotten(CANARY, 4001.0))
    assert ledger.wanted_scans(4001.0) == frozenset()
    assert ledger.sighted(seen(4002.0), 4002.0) == ()


def test_late_at_the_last_moment_needs_no_scan_any_more(ledger: Ledger) -> None:
    accept(ledger)
    ledger.scanned(Scan("box", 400.0, 401.0))
    assert ledger.wanted_scans(4000.0) == {"box"}
    assert kinds(ledger.sighted(seen(4000.5), 4000.5)) == [CanarySighted, ArrivedLate]
    assert ledger.wanted_scans(4000.5) == frozenset()
    assert ledger.scanned(Scan("box", 4000.2, 4001.0)) == ()


def test_overdue_and_nobody_looked_again_is_forgotten_not_lost(ledger: Ledger) -> None:
    accept(ledger)
    ledger.scanned(Scan("box", 400.0, 401.0))
    assert ledger.tick(4059.9) == ()
    assert ledger.tick(4060.0) == (CanaryForgotten(CANARY, 4060.0),)
    assert ledger.wanted_scans(4060.0) == frozenset()
    assert ledger.next_due() is None


def test_a_look_after_the_deadline_that_missed_it_makes_it_overdue_and_late(ledger: Ledger) -> None:
    accept(ledger)
    events = ledger.sighted(seen(401.0, previous_look=400.0), 401.0)
    assert kinds(events) == [CanarySighted, Judged, ArrivedLate]
    assert verdict_in(events).outcome is Outcome.OVERDUE
    assert verdict_in(events).sighting is None
    assert (late_in(events).after, late_in(events).transit_seconds) == (Outcome.OVERDUE, 299.0)


def test_refused_and_seen_too_late_keeps_its_refusal(ledger: Ledger) -> None:
    begin(ledger)
    assert kinds(ledger.sighted(seen(401.0, previous_look=400.0), 401.0)) == [CanarySighted]
    events = ledger.attempt_ended("c", attempt(AttemptOutcome.REJECTED, ended=402.0), None)
    assert kinds(events) == [AttemptEnded, Judged, ArrivedLate]
    assert verdict_in(events).outcome is Outcome.REJECTED


# -- delays


@pytest.mark.parametrize(
    ("sighting", "transit", "error", "upper_bound"),
    [
        pytest.param(seen(110.0, previous_look=109.0), 8.0, 1.0, False, id="watched"),
        pytest.param(seen(102.4, previous_look=101.0), 0.4, 0.4, False, id="look before the dot"),
        pytest.param(seen(110.0, previous_look=109.0, continuous=False), 8.0, 1.0, True, id="after a gap"),
        pytest.param(seen(110.0, previous_look=None, continuous=False), 8.0, 8.0, True, id="first look ever"),
        pytest.param(seen(101.9, previous_look=101.8), 0.0, 0.0, False, id="noticed before the flush was"),
        pytest.param(seen(401.0, previous_look=399.0), 299.0, 2.0, False, id="watched across the deadline"),
        pytest.param(seen(401.0, previous_look=399.0, continuous=False), None, None, True, id="blind across it"),
        pytest.param(seen(401.0, previous_look=None, continuous=False), None, None, True, id="never looked before"),
        pytest.param(seen(400.0, previous_look=None, continuous=False), 298.0, 298.0, True, id="just in time"),
    ],
)
def test_delays(
    ledger: Ledger, sighting: Sighting, transit: float | None, error: float | None, upper_bound: bool
) -> None:
    accept(ledger)
    verdict = verdict_in(ledger.sighted(sighting, sighting.noticed))
    assert verdict.outcome is Outcome.DELIVERED
    assert verdict.transit_seconds == (None if transit is None else pytest.approx(transit))
    assert verdict.transit_error_seconds == (None if error is None else pytest.approx(error))
    assert verdict.upper_bound == upper_bound
    assert (verdict.delivery_seconds is None) == (transit is None)


def test_a_late_arrival_after_a_gap_carries_an_upper_bound(ledger: Ledger) -> None:
    accept(ledger)
    ledger.tick(460.0)
    late = late_in(ledger.sighted(seen(900.0, previous_look=300.0, continuous=False), 900.0))
    assert (late.after, late.transit_seconds, late.transit_error_seconds) == (Outcome.UNOBSERVED, 798.0, 600.0)
    assert late.upper_bound


# -- bounces


@pytest.mark.parametrize("outcome", [AttemptOutcome.ACCEPTED, AttemptOutcome.IN_DOUBT])
def test_a_bounce_is_a_verdict(ledger: Ledger, outcome: AttemptOutcome) -> None:
    accept(ledger, outcome)
    assert kinds(ledger.bounced(bounce("delayed"))) == [BounceReceived]
    events = ledger.bounced(bounce("failed"))
    assert kinds(events) == [BounceReceived, Judged]
    verdict = verdict_in(events)
    assert (verdict.outcome, verdict.at, verdict.bounce) == (Outcome.BOUNCED, 110.0, bounce("failed"))
    assert verdict.detail == "no such user"
    assert kinds(ledger.bounced(bounce("failed"))) == [BounceReceived]
    assert late_in(ledger.sighted(seen(120.0), 120.0)).after is Outcome.BOUNCED


def test_a_bounce_that_overtakes_the_reply_is_held(ledger: Ledger) -> None:
    begin(ledger)
    assert kinds(ledger.bounced(bounce())) == [BounceReceived]
    events = ledger.attempt_ended("c", attempt(AttemptOutcome.ACCEPTED), None)
    assert verdict_in(events).outcome is Outcome.BOUNCED


def test_the_bounce_of_a_refused_message_is_not_one_of_the_next(ledger: Ledger) -> None:
    begin(ledger)
    ledger.bounced(bounce())
    ledger.attempt_ended("c", attempt(AttemptOutcome.DEFERRED), 200.0)
    ledger.attempt_begun("c", 2, 200.0)
    ledger.dot_sent("c", 2, 201.0)
    assert kinds(ledger.attempt_ended("c", attempt(AttemptOutcome.ACCEPTED, 2), None)) == [AttemptEnded]


def test_a_bounce_after_the_verdict_is_only_told(ledger: Ledger) -> None:
    accept(ledger)
    ledger.sighted(seen(), 104.0)
    assert kinds(ledger.bounced(bounce())) == [BounceReceived]


# -- time


def test_nobody_looked_is_unobserved(ledger: Ledger) -> None:
    accept(ledger)
    ledger.scanned(Scan("box", 399.0, 401.0))
    assert ledger.tick(459.9) == ()
    verdict = verdict_in(ledger.tick(460.0))
    assert (verdict.outcome, verdict.stage, verdict.reason) == (
        Outcome.UNOBSERVED,
        Stage.TRANSIT,
        Reason.NOBODY_LOOKED,
    )
    assert late_in(ledger.sighted(seen(470.0), 470.0)).after is Outcome.UNOBSERVED


def test_a_submitter_that_never_speaks_is_judged_all_the_same(ledger: Ledger) -> None:
    assert verdict_in(ledger.tick(460.0)).reason is Reason.AGENT_LATE


@pytest.mark.parametrize(
    ("steps", "outcome", "reason"),
    [
        pytest.param(["begun"], Outcome.UNSENT, Reason.TIMEOUT, id="no dot"),
        pytest.param(["begun", "dot"], Outcome.UNOBSERVED, Reason.NOBODY_LOOKED, id="dot"),
        pytest.param(["begun", "dot", "scan"], Outcome.OVERDUE, Reason.NOT_THERE, id="dot and scan"),
        pytest.param(["begun", "dot", "seen"], Outcome.DELIVERED, None, id="dot and seen"),
        pytest.param(["begun", "dot", "bounce"], Outcome.BOUNCED, None, id="dot and bounce"),
        pytest.param(["begun", "dot", "deferred"], Outcome.DEFERRED, Reason.DEFERRED, id="retry never made"),
        pytest.param(["begun", "dot", "deferred", "begun"], Outcome.UNSENT, Reason.TIMEOUT, id="second attempt hangs"),
    ],
)
def test_after_the_grace_a_verdict_is_owed(
    ledger: Ledger, steps: list[str], outcome: Outcome, reason: Reason | None
) -> None:
    deferred = attempt(AttemptOutcome.DEFERRED, reason=Reason.DEFERRED)
    words = {
        "begun": lambda: ledger.attempt_begun("c", 1, 101.0),
        "dot": lambda: ledger.dot_sent("c", 1, 102.0),
        "scan": lambda: ledger.scanned(Scan("box", 400.0, 401.0)),
        "seen": lambda: ledger.sighted(seen(), 104.0),
        "bounce": lambda: ledger.bounced(bounce()),
        "deferred": lambda: ledger.attempt_ended("c", deferred, 200.0),
    }
    for step in steps:
        assert Judged not in kinds(words[step]())
    verdict = verdict_in(ledger.tick(460.0))
    assert (verdict.outcome, verdict.reason) == (outcome, reason)
