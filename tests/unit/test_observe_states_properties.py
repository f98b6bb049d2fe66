"""What holds of states and incidents whatever happens, in whatever order."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from support.histories import WORDS, Route

from mailprobe.errors import Reason, Stage
from mailprobe.events import (
    CanaryForgotten,
    CanarySighted,
    Event,
    IncidentChanged,
    IncidentClosed,
    IncidentOpened,
    Judged,
    MailboxUp,
    RoutesChanged,
    RouteStateChanged,
    SignSeen,
)
from mailprobe.model import AttemptOutcome, Canary, RouteState, Sighting, Verdict
from mailprobe.observe.states import BLIND_SECONDS

ACTIONS = (*WORDS, *("open", "dot", "deferred", "accepted", "seen", "forget", "late verdict"), *("down", "out", "up"))
LIVES = st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from((0.0, 1.0, 30.0, 400.0))), max_size=120)


@dataclass
class Life:
    """A route to which things happen, and all that was said of it."""

    route: Route = field(default_factory=Route)
    told: list[Event] = field(default_factory=list)
    open: list[Canary] = field(default_factory=list)
    down_since: float | None = None
    good: int = 0

    def live(self, life: list[tuple[str, float]]) -> Life:
        for action, pause in life:
            self.act(action)
            self.route.now += pause
            self.told += self.route.tick()
            self.check()
        return self

    def act(self, action: str) -> None:
        route = self.route
        if action in WORDS:
            route.live(action)
            self.good += action in ".fbSgrj"
        elif action == "open":
            self.open.append(route.opened())
        elif action in ("down", "out", "up"):
            route.now += 3.0  # a verdict of these lives is told two seconds ahead, and time does not run backwards
            self.watch(action)
        elif self.open:
            self.happen(action, self.open[-1])

    def watch(self, action: str) -> None:
        route = self.route
        if action in ("down", "out"):
            failing = (Stage.AUTH, Reason.AUTH_REJECTED) if action == "out" else (Stage.FETCH, Reason.CONNECTION_LOST)
            route.fail(*failing)
            self.down_since = route.now if self.down_since is None else self.down_since
        else:
            route.states(MailboxUp("contoso", route.now))
            self.down_since = None

    def happen(self, action: str, canary: Canary) -> None:
        route = self.route
        if action == "dot":
            route.sent(canary)
        elif action == "deferred":
            route.attempted(canary)
        elif action == "accepted":
            route.attempted(canary, 2, AttemptOutcome.ACCEPTED)
        elif action == "seen":
            route.states(CanarySighted(canary, Sighting(canary.id, "contoso", "INBOX", False, 1, 1, 0.0, 0.0, True)))
        elif action == "forget":
            route.states(CanaryForgotten(self.open.pop(), route.now))
        else:
            route.states(Judged(Verdict(self.open.pop(0), at=route.now, **WORDS["o"])))

    def check(self) -> None:
        now = self.route.now + 3.0
        state = self.route.states.of("inbound", now)
        assert state in RouteState
        blind = self.down_since is not None and now - self.down_since >= BLIND_SECONDS
        if blind:
            assert state is not RouteState.OK
        if state is RouteState.FAILING and blind:
            (seen,) = self.route.states.routes
            assert all(mark.cause.stage is Stage.RCPT for mark in seen.memory.decided[-4:])
        if state is RouteState.OK:
            assert self.good
        report = self.route.states.report("inbound", now)
        assert report.state is state
        assert 0.0 <= report.share <= 1.0


@given(LIVES)
def test_a_route_is_in_one_state_at_a_time_and_says_so_once(life: list[tuple[str, float]]) -> None:
    state, last = RouteState.UNKNOWN, 0.0
    for event in Life().live(life).told:
        if isinstance(event, RouteStateChanged):
            assert event.before is state
            assert event.state is not state
            assert event.at >= last - 5.0  # a verdict of these lives is told a few seconds ahead of the tick
            state, last = event.state, event.at


@given(LIVES)
def test_incidents_are_few_open_before_they_close_and_know_their_times(life: list[tuple[str, float]]) -> None:
    told = Life().live(life).told
    opened: set[str] = set()
    going_on: set[str] = set()
    for event in told:
        if isinstance(event, IncidentOpened | IncidentChanged | IncidentClosed):
            incident = event.incident
            if isinstance(event, IncidentOpened):
                assert incident.id not in opened
                assert not going_on
                opened.add(incident.id)
                going_on.add(incident.id)
            assert going_on == {incident.id}
            latest = event.at + 5.0  # a verdict of these lives is told a few seconds ahead of the tick
            assert incident.begin <= incident.first_sign <= incident.detected <= latest
            assert incident.end is None or incident.detected - 5.0 <= incident.end <= latest
            assert incident.closed == isinstance(event, IncidentClosed)
            assert incident.state is not RouteState.OK
            if incident.closed:
                going_on.clear()
    bad = sum(action not in ".fbts?y" for action, _ in life)
    assert len(opened) <= bad


@given(LIVES)
def test_the_same_events_say_the_same(life: list[tuple[str, float]]) -> None:
    assert Life().live(life).told == Life().live(life).told


@given(LIVES)
def test_after_whatever_happened_eight_good_canaries_are_ok(life: list[tuple[str, float]]) -> None:
    lived = Life().live(life)
    for canary in lived.open:
        lived.route.states(CanaryForgotten(canary, lived.route.now))
    lived.act("up")
    lived.route.live(8 * ".")
    assert lived.route.state is RouteState.OK


@given(st.text(alphabet="ts?y", max_size=40))
def test_the_agents_own_troubles_say_nothing_of_the_route(history: str) -> None:
    route = Route(10 * "." + history)
    assert route.state in (RouteState.OK, RouteState.UNKNOWN)
    assert route.states.incidents == ()
    assert not any(isinstance(event, SignSeen) for event in route.tick())


@given(LIVES)
def test_nothing_is_kept_of_a_route_that_is_gone(life: list[tuple[str, float]]) -> None:
    lived = Life().live(life)
    lived.route.states(RoutesChanged(removed=("inbound",)))
    assert lived.route.state is RouteState.UNKNOWN
    assert lived.route.states.incident("inbound") is None
    assert lived.route.states.routes == ()
    assert all(incident.closed for incident in lived.route.states.incidents)
