"""Incidents: what is one, when it began and ended, and that a recovery that relapses is the same one."""

from __future__ import annotations

import pytest
from support.histories import Route

from mailprobe.errors import Reason, Stage
from mailprobe.events import (
    IncidentChanged,
    IncidentClosed,
    IncidentOpened,
    MailboxUp,
    RoutesChanged,
    RouteStateChanged,
)
from mailprobe.model import Cause, Incident, RouteState, Symptom
from mailprobe.observe.incidents import BLIND_INCIDENT, KEPT, QUIET_SECONDS, Incidents, Situation

HEALTHY = 20 * "."
QUIET = int(QUIET_SECONDS // 60 + 10) * "."
REJECTED = Cause(Stage.RCPT, 550, "5.1.1", Reason.REJECTED)


def incident(route: Route) -> Incident:
    (found,) = route.states.incidents
    return found


@pytest.mark.parametrize(
    ("history", "count"),
    [
        ("", 0),
        # odd failures, and a coincidence of two
        ("D", 0),
        ("R", 0),
        ("DD", 0),
        ("D..D....", 0),
        ("jj....", 0),
        ("g..g..g..gg....", 0),
        # what chance cannot explain
        ("DDDD", 1),
        ("D.DD.DD", 1),
        ("RR", 1),
        ("R.........R", 1),
        ("jjjjj", 1),
        ("D......D......D......D......D......D......DD", 1),
        # the agent's own
        ("ssssss", 0),
        ("??????", 0),
        ("tttttt", 0),
        ("yyyyyy", 0),
        # relapses
        ("RRRR....RRRR....RRRR....", 1),
        ("RRRR" + 60 * "." + "RRRR", 1),
        ("RRRR" + QUIET + "RRRR", 2),
        ("RRRR" + 100 * "." + "R" + 100 * "." + "RR", 1),
    ],
)
def test_a_history_and_its_incidents(history: str, count: int) -> None:
    assert len(Route(HEALTHY + history).states.incidents) == count


def test_a_route_that_was_never_ok_may_be_greylisted_for_a_while() -> None:
    assert Route(19 * "D").states.incidents == ()
    assert len(Route(20 * "D").states.incidents) == 1
    assert len(Route("RR").states.incidents) == 1


def test_a_restart_in_the_middle_of_an_outage_does_not_hide_it() -> None:
    assert Route(3 * "D", once_ok=True).states.incidents == ()
    route = Route(4 * "D", once_ok=True)
    assert len(route.states.incidents) == 1
    assert route.states.of("inbound", route.now) is RouteState.FAILING


def test_an_incident_began_before_it_was_certain() -> None:
    route = Route(HEALTHY)
    route.tick()
    route.live("DDDDD")
    events = [event for event in route.tick() if isinstance(event, RouteStateChanged | IncidentOpened)]
    assert [type(event) for event in events] == [RouteStateChanged, RouteStateChanged, IncidentOpened]
    found = incident(route)
    first = 21 * 60.0
    assert (found.begin, found.first_sign, found.detected) == (first, first + 2.0, first + 62.0)
    assert (found.state, found.end, found.closed) == (RouteState.FAILING, None, False)
    assert found.cause == Cause(Stage.RCPT, 451, "4.7.500", Reason.DEFERRED)
    assert (found.share_worst, found.affected) == (0.5, 5)


def test_it_is_over_relapses_is_over_and_is_closed() -> None:
    route = Route(HEALTHY + "RRRR")
    route.tick()
    route.live("....")
    over = route.now + 2.0
    assert [type(event) for event in route.tick()] == [RouteStateChanged, RouteStateChanged, IncidentChanged]
    assert (incident(route).end, incident(route).closed) == (over, False)
    route.live("RR")
    assert (incident(route).end, incident(route).relapses) == (None, 1)
    route.live("....")
    route.tick()
    assert incident(route).end == route.now + 2.0
    route.live(QUIET)
    (closed,) = route.tick()
    assert isinstance(closed, IncidentClosed)
    assert incident(route) == closed.incident
    assert closed.incident.closed
    assert route.states.incident("inbound") is None


def test_an_affected_canary_begins_the_quiet_time_anew() -> None:
    route = Route(HEALTHY + "RRRR....")
    route.live(QUIET[:-20] + "D" + QUIET[:-20])
    assert not incident(route).closed
    route.live(20 * ".")
    assert incident(route).closed


def test_time_in_which_nothing_was_probed_is_not_quiet() -> None:
    route = Route(HEALTHY + "RRRR....")
    route.now += 100 * QUIET_SECONDS
    route.live("..")
    assert not incident(route).closed


def test_the_worst_state_and_what_dominated_then_are_kept() -> None:
    route = Route(HEALTHY + 10 * "R" + "...jj...jj")
    assert incident(route).state is RouteState.FAILING
    assert incident(route).cause == REJECTED
    assert incident(route).share_worst == 1.0
    assert incident(route).affected == 14


@pytest.mark.parametrize(
    ("letter", "cause"),
    [
        ("j", Cause(Stage.TRANSIT, reason=Symptom.JUNKED)),
        ("o", Cause(Stage.TRANSIT, reason=Reason.NOT_THERE)),
        ("R", REJECTED),
    ],
)
def test_the_cause_of_an_incident(letter: str, cause: Cause) -> None:
    assert incident(Route(HEALTHY + 6 * letter)).cause == cause


def test_slow_mail_is_an_incident_of_a_degraded_route() -> None:
    found = incident(Route(20 * "f" + 6 * "S"))
    assert (found.state, found.cause.reason) == (RouteState.DEGRADED, Symptom.SLOW)


def test_a_server_that_does_not_let_us_look_is_an_incident_of_an_unknown_state() -> None:
    route = Route(HEALTHY)
    route.fail(Stage.CONNECT, Reason.TIMEOUT)
    down = route.now
    route.states.tick(down + BLIND_INCIDENT - 1.0)
    assert route.states.incidents == ()
    route.states.tick(down + BLIND_INCIDENT)
    found = incident(route)
    assert (found.begin, found.state) == (down, RouteState.UNKNOWN)
    assert found.cause == Cause(Stage.CONNECT, reason=Reason.TIMEOUT)
    route.states(MailboxUp("contoso", down + 400.0))
    assert incident(route).end == down + 400.0


@pytest.mark.parametrize("reason", [Reason.THROTTLED, Reason.AGENT_FAILED])
def test_blindness_of_our_own_making_is_none(reason: Reason) -> None:
    route = Route(HEALTHY)
    route.fail(Stage.AUTH, reason)
    for seconds in range(0, 1000, 10):
        route.states.tick(route.now + seconds)
    assert route.states.of("inbound", route.now + 1000.0) is RouteState.UNKNOWN
    assert route.states.incidents == ()


def test_a_route_that_is_no_longer_probed_has_none_that_goes_on() -> None:
    route = Route(HEALTHY + "RRRR")
    route.tick()
    route.states(RoutesChanged(removed=("inbound",)))
    (closed,) = route.tick()
    assert isinstance(closed, IncidentClosed)
    assert incident(route).closed


def test_a_restart_takes_over_what_was_not_closed() -> None:
    before = Route(HEALTHY + "RRRR")
    after = Route()
    after.states.restore(before.states.incidents)
    after.live("RR")
    assert (incident(after).end, incident(after).affected) == (None, 6)
    after.live("....")
    assert incident(after).end == after.now + 2.0
    after.live(QUIET)
    assert incident(after).closed


def test_a_restart_closes_those_of_routes_that_are_gone() -> None:
    before = Route(HEALTHY + "RRRR")
    after = Route()
    after.states.restore(before.states.incidents)
    after.states(RoutesChanged(removed=("inbound",)))
    assert incident(after).closed


def test_only_so_many_are_remembered() -> None:
    incidents = Incidents()
    for number in range(KEPT + 50):
        incidents.follow(
            Situation(
                route=f"route{number}",
                at=float(number),
                state=RouteState.FAILING,
                in_trouble=True,
                certain=True,
                begin=float(number),
                first_sign=float(number),
                cause=REJECTED,
                share=1.0,
                affected=4,
                affected_now=4,
                interval=60.0,
            )
        )
        incidents.forget(f"route{number}")
    assert [each.route for each in incidents.all] == [f"route{n}" for n in range(KEPT + 49, 49, -1)]
    assert len({each.id for each in incidents.all}) == KEPT
