"""The ledger in random worlds: one verdict each, no false overdue or lost, every delay right within its error."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, event, given, seed, settings
from support.worlds import DEADLINE, END, GRACE, Played, Truth, World, canary_of, judged, worlds

from mailprobe.errors import Reason
from mailprobe.events import (
    ArrivedLate,
    AttemptBegun,
    AttemptEnded,
    BounceReceived,
    CanaryForgotten,
    CanaryLost,
    CanaryOpened,
    CanarySighted,
    DotSent,
    DuplicateSighted,
    Event,
    Judged,
)
from mailprobe.model import AttemptOutcome, Outcome, Sighting, Verdict

EPSILON = 1e-9
Rule = Callable[[Played], None]
RULES: list[Rule] = []


def rule(check: Rule) -> Rule:
    """Registers what must hold in every world."""
    RULES.append(check)
    return check


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds)
def test_all_rules_hold_in_random_worlds(world: World) -> None:
    played = Played(world)
    for check in RULES:
        check(played)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds)
def test_questions_are_answered_as_by_counting(world: World) -> None:
    Played(world, check=_assert_answers)


@rule
def every_canary_is_judged_once_and_in_order(played: Played) -> None:
    for id in played.truths:
        events = played.events(id)
        kinds = [type(event) for event in events]
        assert isinstance(events[0], CanaryOpened)
        assert len(judged(events)) == 1, "exactly one verdict"
        assert kinds.count(CanarySighted) <= 1
        assert kinds.count(ArrivedLate) <= 1
        assert kinds.count(CanaryLost) <= 1
        verdict_at = kinds.index(Judged)
        for kind in (ArrivedLate, CanaryLost):
            assert kind not in kinds[:verdict_at], f"{kind.__name__} before the verdict"
        assert kinds.count(CanaryForgotten) == 1
        assert kinds[-1] is CanaryForgotten
        assert played.ledger.canary(id) is None
        event(judged(events)[0])


@rule
def absence_is_said_only_where_it_is_true(played: Played) -> None:
    for id, truth in played.truths.items():
        verdict, events = _verdict(played, id), played.events(id)
        first = min((message.arrived for message in truth.messages), default=END)
        if verdict.outcome is Outcome.OVERDUE:
            assert first > truth.canary.deadline, "overdue, and it was there at the deadline"
            assert any(isinstance(event, DotSent | AttemptEnded) for event in events), "overdue, and never sent"
        if any(isinstance(event, CanaryLost) for event in events):
            assert verdict.outcome is Outcome.OVERDUE
            assert first > truth.canary.late_until, "lost, and it was there"


@rule
def unobserved_means_that_nobody_looked(played: Played) -> None:
    for id, truth in played.truths.items():
        verdict = _verdict(played, id)
        if verdict.outcome is not Outcome.UNOBSERVED:
            continue
        event(f"unobserved: {verdict.reason}")
        if verdict.reason is Reason.NOBODY_LOOKED:
            assert not [
                scan
                for scan, alive in played.scans
                if alive == played.judged_in[id]
                and scan.mailbox == truth.canary.mailbox
                and scan.started >= truth.canary.deadline
                and scan.finished < verdict.at
            ]
        else:
            assert verdict.reason is Reason.AGENT_RESTARTED
            assert played.lives > 1


@rule
def a_watched_mailbox_leaves_nothing_unobserved(played: Played) -> None:
    """Overdue and lost are said as soon as a scan allows it, not only never wrongly."""
    if played.lives > 1 or played.world.ticks is not None:
        return
    for id, truth in played.truths.items():
        verdict, events = _verdict(played, id), played.events(id)
        if not any(isinstance(event, CanarySighted) for event in events) and verdict.outcome is Outcome.OVERDUE:
            is_lost = any(isinstance(event, CanaryLost) for event in events)
            if is_lost != bool(_scans_in(played, truth, truth.canary.late_until)):
                # a scan that ends at the very instant at which nobody waits any longer may count or not
                assert is_lost
                assert any(scan.finished == truth.canary.late_until + GRACE for scan, _ in played.scans)
        ended = [event.attempt for event in events if isinstance(event, AttemptEnded)]
        accepted = ended and ended[-1].outcome in (AttemptOutcome.ACCEPTED, AttemptOutcome.IN_DOUBT)
        if accepted and ended[-1].ended < truth.canary.deadline and _scans_in(played, truth, truth.canary.deadline):
            assert verdict.outcome is not Outcome.UNOBSERVED


@rule
def delays_are_right_within_their_error(played: Played) -> None:
    for id, truth in played.truths.items():
        for event_ in played.events(id):
            match event_:
                case Judged(verdict) if verdict.sighting:
                    figures = verdict.transit_seconds, verdict.transit_error_seconds, verdict.upper_bound
                    _assert_right(played, truth, verdict.sighting, *figures)
                    _assert_delivery(truth, verdict)
                case ArrivedLate(_, _, sighting, _, transit, error, upper_bound):
                    _assert_right(played, truth, sighting, transit, error, upper_bound)


@rule
def what_was_observed_is_reported_once(played: Played) -> None:
    for id in played.truths:
        events, verdict = played.events(id), _verdict(played, id)
        shown = {report.message for report in played.reports if report.message.canary == id}
        in_time = verdict.outcome in (Outcome.DELIVERED, Outcome.JUNKED)
        late = [event for event in events if isinstance(event, ArrivedLate)]
        assert in_time + len(late) == bool(shown)
        assert sum(isinstance(event, CanarySighted) for event in events) == bool(shown)
        assert sum(isinstance(event, DuplicateSighted) for event in events) == max(0, len(shown) - 1)
        for arrival in late:
            assert arrival.after is verdict.outcome
            event(f"late after {arrival.after}")


@rule
def the_outcome_is_the_one_the_facts_call_for(played: Played) -> None:
    for id, truth in played.truths.items():
        events, verdict = played.events(id), _verdict(played, id)
        before = events[: next(i for i, event in enumerate(events) if isinstance(event, Judged))]
        sightings = [event.sighting for event in before if isinstance(event, CanarySighted)]
        seen = bool(sightings) and (
            sightings[0].previous_look is None or sightings[0].previous_look < truth.canary.deadline
        )
        assert seen == (verdict.outcome in (Outcome.DELIVERED, Outcome.JUNKED))
        if seen and verdict.sighting:
            assert (verdict.outcome is Outcome.JUNKED) == verdict.sighting.junk
        ended = [event.attempt for event in before if isinstance(event, AttemptEnded)]
        if verdict.outcome in (Outcome.DEFERRED, Outcome.REJECTED):
            assert ended[-1].outcome.value == verdict.outcome.value
        if verdict.outcome is Outcome.BOUNCED:
            assert any(isinstance(event, BounceReceived) and event.bounce.action == "failed" for event in before)
        if verdict.outcome is Outcome.SKIPPED:
            assert not truth.dots
            assert not truth.messages
        if verdict.outcome is Outcome.UNSENT and verdict.reason is Reason.TIMEOUT:
            assert verdict.at >= truth.canary.deadline + GRACE


@rule
def nothing_is_judged_while_the_submitter_is_at_it(played: Played) -> None:
    for id, truth in played.truths.items():
        trying = False
        for event_ in played.events(id):
            match event_:
                case AttemptBegun():
                    trying = True
                case AttemptEnded():
                    trying = False
                case Judged(verdict) if trying:
                    assert verdict.at >= truth.canary.deadline + GRACE or played.judged_in[id] > 1


@rule
def a_seen_or_doubtful_canary_is_never_sent_again(played: Played) -> None:
    for id, truth in played.truths.items():
        for index, begun in enumerate(truth.begun):
            before = [report for report in played.reports if report.message.canary == id and report.at < begun]
            assert not before, "sent again although seen"
            earlier = truth.ended[:index]
            assert len(earlier) == index, "an attempt began while one was not over"
            assert all(attempt.ended <= begun for attempt in earlier)
            assert {attempt.outcome for attempt in earlier} <= {AttemptOutcome.DEFERRED, AttemptOutcome.UNSENT}
            assert begun < truth.canary.deadline + GRACE


def _assert_answers(played: Played, now: float) -> None:
    open_, unseen, kept = set(), set(), {}
    for event_ in played.log:
        match event_:
            case CanaryOpened(canary):
                kept[canary.id] = canary
                open_.add(canary.id)
                unseen.add(canary.id)
            case Judged(verdict):
                open_.discard(verdict.canary.id)
            case CanarySighted(canary, _):
                unseen.discard(canary.id)
            case CanaryForgotten(canary, _):
                kept.pop(canary.id)
    ledger = played.ledger
    for mailbox in {truth.canary.mailbox for truth in played.truths.values()}:
        mine = [canary for canary in kept.values() if canary.mailbox == mailbox]
        in_flight = [canary for canary in mine if canary.id in open_]
        assert ledger.in_flight(f"to-{mailbox}") == len(in_flight)
        assert ledger.oldest(f"to-{mailbox}") == min((canary.opened for canary in in_flight), default=None)
        assert ledger.expecting(mailbox) == sum(canary.id in unseen for canary in in_flight)
        assert ledger.earliest_opened(mailbox) == min((c.opened for c in mine if c.id in unseen), default=None)
        assert (mailbox in ledger.wanted_scans(now)) == any(_is_wanted(played, canary.id, now) for canary in mine)
    due = ledger.next_due()
    assert (due is not None) == bool(kept), "a canary that nothing is due for would stay for ever"


def _is_wanted(played: Played, id: str, now: float) -> bool:
    """A scan begun now would decide something about the canary, as far as its events tell."""
    canary, seen, outcome, may_exist, trying = played.truths[id].canary, False, None, False, False
    for position, event_ in enumerate((*played.log, None)):
        if trying and position in played.restarted:
            may_exist = True  # nobody knows whether it was handed in
        if event_ is None or canary_of(event_).id != id:
            continue
        match event_:
            case CanarySighted():
                seen = True
            case Judged(verdict):
                outcome = verdict.outcome
            case AttemptBegun():
                trying = True
            case DotSent():
                may_exist = True
            case AttemptEnded(_, attempt, _):
                trying = False
                may_exist = attempt.outcome in (AttemptOutcome.ACCEPTED, AttemptOutcome.IN_DOUBT)
    if outcome is not None:
        return outcome is Outcome.OVERDUE and not seen and now >= canary.late_until
    scanned = [
        scan.started
        for scan, alive in played.scans
        if alive == played.lives and scan.mailbox == canary.mailbox and scan.started >= canary.deadline
    ]
    return may_exist and not scanned and now >= canary.deadline


def _verdict(played: Played, id: str) -> Verdict:
    return next(event.verdict for event in played.events(id) if isinstance(event, Judged))


def _scans_in(played: Played, truth: Truth, since: float) -> list[object]:
    return [
        scan
        for scan, _ in played.scans
        if scan.mailbox == truth.canary.mailbox and since <= scan.started and scan.finished < since + GRACE
    ]


def _assert_right(
    played: Played,
    truth: Truth,
    sighting: Sighting,
    transit: float | None,
    error: float | None,
    upper_bound: bool,
) -> None:
    report = next(report for report in played.reports if report.sighting is sighting)
    message = report.message
    if transit is None:
        blind = sighting.previous_look is None or not sighting.continuous
        assert (blind and sighting.noticed > truth.canary.deadline) or played.lives > 1
        assert upper_bound
        return
    assert error is not None
    assert 0 <= error <= transit + EPSILON
    if any(message.dot < dot <= sighting.noticed for dot in truth.dots):
        return  # a message that was refused and came nevertheless, seen after the next dot: nobody can tell
    true = message.arrived - message.dot
    assert true <= transit + EPSILON
    if not upper_bound:
        assert transit - error - EPSILON <= true
        assert sighting.continuous


def _assert_delivery(truth: Truth, verdict: Verdict) -> None:
    if verdict.delivery_seconds is not None:
        assert verdict.sighting
        assert abs(verdict.delivery_seconds - (verdict.sighting.noticed - truth.begun[0])) < EPSILON
        gap = verdict.sighting.noticed > truth.canary.deadline and not verdict.sighting.continuous
        assert not gap, "a figure although nobody watched across the deadline"


def test_the_worlds_are_rich() -> None:
    """The properties above would hold in an empty world too: this one says that theirs is not."""
    outcomes: set[object] = set()
    kinds: set[type[Event]] = set()

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(worlds)
    def play(world: World) -> None:
        played = Played(world)
        outcomes.update(judged(played.log))
        kinds.update(type(event) for event in played.log)

    for round_ in range(20):  # a skipped canary is rare: killed between two words of the submitter
        seed(round_)(play)()
        if outcomes == set(Outcome):
            break
    assert outcomes == set(Outcome)
    assert {ArrivedLate, CanaryLost, DuplicateSighted, BounceReceived} <= kinds
    assert DEADLINE > GRACE
