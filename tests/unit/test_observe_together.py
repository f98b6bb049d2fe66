"""What is no coincidence: a canary that fails again at its next attempt, and routes that fail alike at one time."""

from __future__ import annotations

import pytest
from support.histories import BUSY, Route

from mailprobe.errors import Reason, Reply, Stage
from mailprobe.events import AttemptEnded, Judged, MailboxUp, RoutesChanged
from mailprobe.model import Attempt, AttemptOutcome, Canary, Cause, Outcome, RouteState, StageReply, Verdict
from mailprobe.observe.evidence import Grade, Mark
from mailprobe.observe.states import States
from mailprobe.observe.together import LARGEST, Together

TEMPORARY = Cause(Stage.RCPT, 451, "4.3.2", Reason.DEFERRED)
OTHER = Cause(Stage.RCPT, 451, "4.7.500", Reason.DEFERRED)
GREYLISTED = StageReply(Stage.RCPT, Reply.of(450, "4.2.0 Greylisted"))
INTERVAL = 60.0


def affected(at: float, cause: Cause = TEMPORARY) -> Mark:
    mark = Mark(at)
    mark.grade, mark.cause = Grade.AGAINST, cause
    return mark


def told(*what: tuple[str, float, Cause], routes: int = 4, sender: str = "outside") -> set[str]:
    """The routes that the last of these confirms; all share the sender and have mailboxes of their own."""
    together = Together()
    together.change((f"r{number}", sender, f"box{number}") for number in range(routes))
    confirmed: set[str] = set()
    for route, at, cause in what:
        confirmed = together.affected(route, affected(at, cause), INTERVAL)
    return confirmed


def test_three_alike_on_two_routes_within_three_intervals_confirm_each_other() -> None:
    assert told(("r1", 0, TEMPORARY), ("r1", 60, TEMPORARY), ("r2", 90, TEMPORARY)) == {"r1", "r2"}


@pytest.mark.parametrize(
    "what",
    [
        (("r1", 0, TEMPORARY), ("r2", 10, TEMPORARY)),
        (("r1", 0, TEMPORARY), ("r1", 60, TEMPORARY), ("r1", 120, TEMPORARY)),
        (("r1", 0, TEMPORARY), ("r2", 10, TEMPORARY), ("r3", 20, OTHER)),
        (("r1", 0, TEMPORARY), ("r2", 10, TEMPORARY), ("r3", 200, TEMPORARY)),
        (("r1", 0, TEMPORARY), ("r2", 10, TEMPORARY), ("gone", 20, TEMPORARY)),
    ],
    ids=["two", "one route", "another reply", "long ago", "a route that is not there"],
)
def test_what_may_be_coincidence(what: tuple[tuple[str, float, Cause], ...]) -> None:
    assert told(*what) == set()


def test_of_many_routes_more_have_to_fail_alike() -> None:
    three = [(f"r{number}", 10.0 * number, TEMPORARY) for number in range(3)]
    assert told(*three, routes=12) != set()
    assert told(*three, routes=13) == set()
    assert told(*three, ("r4", 40, TEMPORARY), routes=13) == {"r0", "r1", "r2", "r4"}
    all_of_them = [(f"r{number}", 0.1 * number, TEMPORARY) for number in range(LARGEST)]
    assert len(told(*all_of_them, routes=LARGEST)) >= LARGEST // 4
    assert told(*all_of_them, routes=LARGEST + 1) == set()


def test_routes_that_share_nothing_are_not_compared() -> None:
    together = Together()
    together.change((f"r{number}", f"sender{number}", f"box{number}") for number in range(4))
    assert [together.affected(f"r{number}", affected(number), INTERVAL) for number in range(4)] == [set()] * 4


def test_what_turned_out_to_be_good_confirms_nothing() -> None:
    together = Together()
    together.change((f"r{number}", "outside", "box") for number in range(4))
    marks = [affected(number) for number in range(3)]
    together.affected("r0", marks[0], INTERVAL)
    marks[0].grade = Grade.GOOD
    together.affected("r1", marks[1], INTERVAL)
    assert together.affected("r2", marks[2], INTERVAL) == set()
    assert not any(mark.confirmed for mark in marks)


# ---- what the states make of it


def states_of(*routes: tuple[str, str]) -> States:
    """Healthy routes from the sender `outside`, as (name, mailbox)."""
    states = States()
    states(RoutesChanged(added=tuple((name, "outside", box, "mx") for name, box in routes)))
    for name, box in routes:
        states(MailboxUp(box, 0.0))
        for number in range(6):
            canary = canary_of(name, box, INTERVAL * number)
            states(Judged(Verdict(canary, Outcome.DELIVERED, canary.opened + 2.0, attempts=1)))
    return states


def canary_of(route: str, box: str, at: float) -> Canary:
    return Canary(f"{route}{at}", route, "outside", box, at, at + 300.0, at + 3600.0)


def deferred(route: str, box: str, at: float) -> Judged:
    refused = {"stage": Stage.RCPT, "reason": Reason.DEFERRED, "reply": BUSY}
    return Judged(Verdict(canary_of(route, box, at), Outcome.DEFERRED, at + 2.0, attempts=1, **refused))  # type: ignore[arg-type]


def test_three_routes_with_one_deferral_each_are_degraded_and_a_fourth_without_is_not() -> None:
    states = states_of(("a", "one"), ("b", "two"), ("c", "three"), ("d", "four"))
    states(deferred("a", "one", 400.0))
    states(deferred("b", "two", 415.0))
    assert {states.of(name, 420.0) for name in "abcd"} == {RouteState.OK}
    states(deferred("c", "three", 430.0))
    assert [states.of(name, 435.0) for name in "abcd"] == [*[RouteState.DEGRADED] * 3, RouteState.OK]
    assert states.incidents == (), "certain it is not yet"


def test_a_log_in_refused_is_one_observation_on_however_many_routes() -> None:
    route = Route("......")
    route.states(RoutesChanged(added=tuple((name, "outside", "contoso", "mx") for name in "abc")))
    for name in "abc":
        for number in range(6):
            canary = canary_of(name, "contoso", INTERVAL * number)
            route.states(Judged(Verdict(canary, Outcome.DELIVERED, canary.opened + 2.0, attempts=1)))
    route.fail(Stage.AUTH, Reason.AUTH_REJECTED)
    assert {route.states.of(name, route.now + 2.0) for name in ("inbound", "a", "b", "c")} == {RouteState.OK}


@pytest.mark.parametrize(
    ("reply", "state"), [(BUSY, RouteState.DEGRADED), (GREYLISTED, RouteState.OK)], ids=["451 4.7.500", "450 4.2.0"]
)
def test_a_second_attempt_that_fails_too_is_no_coincidence_unless_it_is_greylisting(
    reply: StageReply, state: RouteState
) -> None:
    route = Route("......")
    canary = route.opened()
    for number, at in ((1, 0.0), (2, 60.0)):
        begun = route.now + at
        refused = Attempt(
            number,
            begun,
            begun + 1.0,
            AttemptOutcome.DEFERRED,
            replies=(reply,),
            stage=Stage.RCPT,
            reason=Reason.DEFERRED,
        )
        assert route.states.of("inbound", begun) is RouteState.OK
        route.states(AttemptEnded(canary, refused, begun + 120.0))
    assert route.states.of("inbound", route.now + 62.0) is state
