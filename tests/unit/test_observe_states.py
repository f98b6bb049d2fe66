"""The rules by which a route is ok, degraded, failing or unknown: histories and what they come to."""

from __future__ import annotations

import pytest
from support.histories import WORDS, Route
from support.observing import ROUTE, Watch

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.events import (
    BounceReceived,
    CanaryForgotten,
    CanaryOpened,
    CanarySighted,
    Judged,
    MailboxDown,
    MailboxScanned,
    MailboxUp,
    RoutesChanged,
    RouteStateChanged,
    SignSeen,
)
from mailprobe.model import (
    AttemptOutcome,
    Bounce,
    Canary,
    Cause,
    Outcome,
    RouteState,
    Scan,
    Sighting,
    Symptom,
    Trend,
    Verdict,
)
from mailprobe.observe.states import BLIND_SECONDS

OK, DEGRADED, FAILING, UNKNOWN = RouteState.OK, RouteState.DEGRADED, RouteState.FAILING, RouteState.UNKNOWN


@pytest.mark.parametrize(
    ("history", "state"),
    [
        # beginnings
        ("", UNKNOWN),
        (".", OK),
        ("R", DEGRADED),
        ("j", DEGRADED),
        ("?", UNKNOWN),
        ("R....", OK),
        # one odd failure is nothing, whatever it is
        ("......D", OK),
        ("......R", OK),
        ("......o", OK),
        ("......j", OK),
        ("......g", OK),
        ("......D......D", OK),
        # two of four, three of ten, two hard ones of thirty
        ("......DD", DEGRADED),
        ("......D..D", DEGRADED),
        ("......jj", DEGRADED),
        ("......D...D", OK),
        ("......D...D...D", DEGRADED),
        ("......R.........R", DEGRADED),
        ("......R" + 28 * "." + "R", DEGRADED),
        ("......R" + 30 * "." + "R", OK),
        # failing
        ("......RRR", DEGRADED),
        ("......RRRR", FAILING),
        ("......oooo", FAILING),
        ("......DDDD", FAILING),
        ("......jjjj", DEGRADED),
        (".....DDD.DDD.DD", FAILING),
        # leaving it, and being ok again
        ("......RRRR.", DEGRADED),
        ("......RRRRRRRR.", FAILING),
        ("......RRRR.jj", DEGRADED),
        ("......RRRR...", DEGRADED),
        ("......RRRR....", OK),
        ("......RRRR....R", OK),
        ("......RR...R....", OK),
        # no evidence
        ("...s", OK),
        ("...??", OK),
        ("...???", UNKNOWN),
        ("...sss", UNKNOWN),
        ("...???.", OK),
        ("......RRRR???", UNKNOWN),
        ("......RRRR???R", FAILING),
        # the provider's limits for us, and our own, are no outage
        ("......ty", OK),
        ("......tttt", UNKNOWN),
        ("......yyyy", UNKNOWN),
        # slow, once it is known what is usual
        (20 * "f" + "S", OK),
        (20 * "f" + "SS", DEGRADED),
        (20 * "f" + "SSSSSS", DEGRADED),
        (20 * "f" + "bb", OK),
        ("ffffSS", OK),
        # greylisting: now and then, often, always; and no greylisting
        ("......g..g", OK),
        ("......gg", DEGRADED),
        ("......g..g..g", DEGRADED),
        (25 * "g", OK),
        ("......r..r", DEGRADED),
        ("DDDD", DEGRADED),
        (20 * "D", FAILING),
    ],
)
def test_a_history_and_its_state(history: str, state: RouteState) -> None:
    assert Route(history).state is state


def test_a_deferral_is_a_sign_at_once_and_two_are_a_state_before_any_verdict() -> None:
    route = Route("......")
    route.states.tick(route.now)
    first = route.opened()
    route.attempted(first)
    (sign,) = route.states.tick(route.now + 1.0)
    cause = Cause(Stage.RCPT, 451, "4.7.500", Reason.DEFERRED)
    assert sign == SignSeen("inbound", first.opened + 1.0, first.opened, cause)
    assert route.state is OK
    second = route.opened()
    route.attempted(second)
    (change,) = route.states.tick(route.now + 1.0)
    assert change == RouteStateChanged("inbound", OK, DEGRADED, second.opened + 1.0, cause, 0.25)
    report = route.states.report("inbound", route.now + 1.0)
    assert (report.state, report.cause, report.share) == (DEGRADED, cause, 0.25)
    assert (report.since, report.first_sign) == (second.opened + 1.0, first.opened + 1.0)


def test_a_deferred_canary_that_gets_through_later_is_no_longer_against_the_route() -> None:
    route = Route("......")
    canaries = [route.opened() for _ in range(3)]
    for canary in canaries:
        route.attempted(canary)
        route.attempted(canary, 2)
    assert route.state is DEGRADED
    for canary in canaries:
        route.attempted(canary, 3, AttemptOutcome.ACCEPTED)
    route.attempted(route.opened())
    assert route.state is DEGRADED, "three of the newest four got through in the end"


def test_a_message_in_flight_for_long_is_a_sign_long_before_its_deadline() -> None:
    route = Route(20 * "f")
    canary = route.opened()
    route.sent(canary)
    route.states.tick(route.now)
    assert route.states.tick(route.now + 4.0) == ()
    (sign,) = route.states.tick(route.now + 5.5)
    assert isinstance(sign, SignSeen)
    assert sign.cause == Cause(Stage.TRANSIT, reason=Symptom.SLOW)
    route.sent(route.opened())
    assert route.states.of("inbound", route.now + 5.5) is DEGRADED


@pytest.mark.parametrize("why", ["seen", "judged", "forgotten", "blind", "not sent"])
def test_what_is_not_in_flight_or_cannot_be_seen_is_not_slow(why: str) -> None:
    route = Route(20 * "f")
    for _ in range(2):
        canary = route.opened()
        if why != "not sent":
            route.sent(canary)
        if why == "seen":
            route.states(CanarySighted(canary, Sighting(canary.id, "contoso", "INBOX", False, 1, 1, 0.0, 0.0, True)))
        elif why == "judged":
            route.states(Judged(Verdict(canary, Outcome.DELIVERED, route.now)))
        elif why == "forgotten":
            route.states(CanaryForgotten(canary, route.now))
        elif why == "blind":
            route.fail(Stage.FETCH, Reason.CONNECTION_LOST)
    assert route.states.report("inbound", route.now + 10.0).share == 0.0
    assert not any(isinstance(event, SignSeen) for event in route.states.tick(route.now + 10.0))


def test_a_verdict_on_the_time_before_a_recovery_is_no_relapse() -> None:
    route = Route("......")
    waiting = [route.opened() for _ in range(5)]
    route.live("oooo....")
    assert route.state is OK
    for canary in waiting:
        route.states(Judged(Verdict(canary, at=route.now + 2.0, **WORDS["o"])))
    assert route.state is OK


def test_a_route_is_not_ok_again_while_one_among_the_newest_is_unknown() -> None:
    route = Route("......oooo..")
    waiting = route.opened()
    route.live("..")
    assert route.state is DEGRADED
    route.states(Judged(Verdict(waiting, Outcome.DELIVERED, route.now)))
    assert route.state is OK


def test_a_delay_notice_tells_of_a_deferral_behind_a_relay() -> None:
    route = Route("......")
    for _ in range(2):
        canary = route.opened()
        notice = Bounce(canary.id, "home", "delayed", "4.3.2", "smtp; 451 4.3.2 busy", "relay.example", route.now)
        route.states(BounceReceived(canary, notice))
    assert route.state is DEGRADED
    assert route.states.report("inbound", route.now).cause == Cause(Stage.TRANSIT, 451, "4.3.2", Reason.DEFERRED)


def test_a_bounce_says_what_the_report_says() -> None:
    route = Route("......")
    for status, diagnostic in [("5.2.2", "smtp; 552 5.2.2 full"), ("nonsense", "x" * 500)]:
        canary = route.opened()
        bounce = Bounce(canary.id, "home", "failed", status, diagnostic, "", route.now)
        route.states(Judged(Verdict(canary, Outcome.BOUNCED, route.now, Stage.TRANSIT, bounce=bounce)))
        code = (552, "5.2.2") if status == "5.2.2" else (None, None)
        assert route.states.report("inbound", route.now).cause == Cause(Stage.TRANSIT, *code, Symptom.BOUNCED)


@pytest.mark.parametrize(
    ("history", "trend"),
    [
        (10 * ".", Trend.SAME),
        (".....RRRRR", Trend.WORSE),
        ("RRRRRjj.j.", Trend.BETTER),
        (".R.R.R.R.R", Trend.SAME),
        ("RR", Trend.SAME),
    ],
)
def test_whether_it_gets_worse_or_better(history: str, trend: Trend) -> None:
    assert Route(history).states.report("inbound", 600.0).trend is trend


def test_the_cause_is_what_dominates_and_of_several_the_newest() -> None:
    assert Route("......DDR").states.report("inbound", 600.0).cause.code == 451
    assert Route("......DR").states.report("inbound", 600.0).cause.code == 550
    assert Route("......").states.report("inbound", 600.0).cause == Cause()


# blindness


def test_a_blind_mailbox_is_unknown_after_a_while() -> None:
    route = Route("......")
    route.fail(Stage.FETCH, Reason.CONNECTION_LOST)
    down = route.now
    assert route.states.of("inbound", down + BLIND_SECONDS - 1.0) is OK
    route.states(MailboxDown("contoso", down + 50.0, ProbeFailure(Stage.CONNECT, Reason.TIMEOUT)))
    assert route.states.of("inbound", down + BLIND_SECONDS) is UNKNOWN
    assert route.states.report("inbound", down + BLIND_SECONDS).cause == Cause(Stage.CONNECT, reason=Reason.TIMEOUT)
    route.states(MailboxUp("contoso", down + 70.0))
    assert route.states.of("inbound", down + 71.0) is OK


def test_overdue_canaries_and_a_blind_mailbox_are_unknown() -> None:
    route = Route("......oooo")
    route.fail(Stage.CONNECT, Reason.TIMEOUT)
    assert route.states.of("inbound", route.now + BLIND_SECONDS) is UNKNOWN


def test_a_route_whose_canaries_are_refused_fails_even_if_its_mailbox_is_blind() -> None:
    route = Route("......")
    route.fail(Stage.CONNECT, Reason.TIMEOUT)
    route.live("RRRR")
    assert route.states.of("inbound", route.now + 2.0) is FAILING


def test_logins_refused_again_and_again_are_trouble_even_if_mail_is_seen() -> None:
    route = Route("......")
    for _ in range(2):
        route.fail(Stage.AUTH, Reason.AUTH_REJECTED)
        route.fail(Stage.AUTH, Reason.AUTH_REJECTED)
        route.states(MailboxUp("contoso", route.now + 30.0))
        route.live("...")
    assert route.state is DEGRADED
    assert route.states.report("inbound", route.now).cause == Cause(Stage.AUTH, reason=Reason.AUTH_REJECTED)


def test_connections_lost_again_and_again_are_normal_life() -> None:
    route = Route("......")
    for _ in range(10):
        route.fail(Stage.FETCH, Reason.CONNECTION_LOST)
        route.fail(Stage.CONNECT, Reason.TIMEOUT)
        route.states(MailboxUp("contoso", route.now + 30.0))
        route.live(".")
        assert route.state is OK


def test_a_route_of_which_nothing_is_heard_is_unknown_unless_the_machine_slept() -> None:
    route = Route("......")
    route.states.tick(route.now)
    now = route.now + 36_000.0
    assert [type(event) for event in route.states.tick(now)] == []
    assert route.states.of("inbound", now) is OK
    for second in range(1000):
        route.states.tick(now + second)
    assert route.states.of("inbound", now + 1000.0) is UNKNOWN


# the plan


def test_routes_come_and_go() -> None:
    watch = Watch(ROUTE)
    watch.delivered()
    watch.publish(RoutesChanged(added=(("inbound", "inside", "other", "submission"),)))
    assert watch.states.of("inbound", watch.clock.now()) is OK
    assert [mailbox.name for mailbox in watch.states.mailboxes] == ["other"]
    watch.publish(RoutesChanged(removed=("inbound",)))
    assert watch.states.of("inbound", watch.clock.now()) is UNKNOWN
    assert (watch.states.routes, watch.states.mailboxes) == ((), ())
    with pytest.raises(KeyError):
        watch.states.report("inbound", watch.clock.now())


def test_words_about_what_is_not_in_the_plan_are_nothing() -> None:
    route = Route("......")
    other = Canary("x", "removed", "outside", "gone", 0.0, 60.0, 3600.0)
    failure = ProbeFailure(Stage.AUTH, Reason.AUTH_REJECTED)
    route.states(CanaryOpened(other))
    route.states(Judged(Verdict(other, Outcome.REJECTED, 1.0)))
    route.states(MailboxDown("gone", 1.0, failure))
    route.states(MailboxUp("gone", 2.0))
    assert route.state is OK


def test_what_is_known_of_a_mailbox() -> None:
    watch = Watch(ROUTE)
    assert watch.states.not_looked_at == ("contoso",)
    failure = ProbeFailure(Stage.AUTH, Reason.AUTH_REJECTED)
    watch.publish(MailboxDown("contoso", 5.0, failure), MailboxDown("contoso", 9.0, failure))
    assert watch.states.not_looked_at == ()
    assert (watch.states.mailboxes[0].since, watch.states.mailboxes[0].failure) == (5.0, failure)
    watch.publish(MailboxUp("contoso", 11.0), MailboxScanned(Scan("contoso", 11.0, 12.0)))
    assert (watch.states.mailboxes[0].up, watch.states.mailboxes[0].failure) == (True, None)
    assert watch.states.mailboxes[0].last_scan == 12.0
