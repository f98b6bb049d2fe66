"""The rules by which a route is ok, degraded, failing or unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.observing import ROUTE, Watch

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.events import MailboxDown, MailboxScanned, MailboxUp, RoutesChanged
from mailprobe.model import Canary, Outcome, RouteState, Scan, Verdict
from mailprobe.observe.states import BLIND_SECONDS, FAILING_RUN, RECOVERY_RUN, UNKNOWN_AFTER, RouteMemory

OK, DEGRADED, FAILING, UNKNOWN = RouteState.OK, RouteState.DEGRADED, RouteState.FAILING, RouteState.UNKNOWN
WORDS = {
    ".": {"outcome": Outcome.DELIVERED},
    "j": {"outcome": Outcome.JUNKED},
    "r": {"outcome": Outcome.DELIVERED, "retried": True},
    "F": {"outcome": Outcome.REJECTED},
    "o": {"outcome": Outcome.OVERDUE},
    "?": {"outcome": Outcome.UNOBSERVED},
    "s": {"outcome": Outcome.SKIPPED},
    "S": {"outcome": Outcome.DELIVERED, "transit_seconds": 60.0},
    "f": {"outcome": Outcome.DELIVERED, "transit_seconds": 1.0},
    "b": {"outcome": Outcome.DELIVERED, "transit_seconds": 60.0, "upper_bound": True},
}
CANARY = Canary("id", "inbound", "outside", "contoso", 0.0, 60.0, 3600.0)


def after(history: str) -> RouteState:
    memory = RouteMemory()
    for letter in history:
        memory.judged(Verdict(CANARY, at=1.0, **WORDS[letter]))  # type: ignore[arg-type]
    return memory.state


@pytest.mark.parametrize(
    ("history", "state"),
    [
        ("", UNKNOWN),
        (".", OK),
        ("j", DEGRADED),
        ("r", DEGRADED),
        ("F", DEGRADED),
        ("FF", DEGRADED),
        ("FFF", FAILING),
        ("ooF", FAILING),
        ("......F", DEGRADED),
        ("......FFF", FAILING),
        (".F.F.F", FAILING),
        ("F.F.F.", FAILING),
        ("FFF.", FAILING),
        ("FFF..", FAILING),
        ("FFF...", OK),
        ("FFF..F", FAILING),
        ("FFFjjj", DEGRADED),
        ("F...", OK),
        ("F..", DEGRADED),
        ("...s", OK),
        ("FFFs", FAILING),
        ("?", UNKNOWN),
        ("??F", DEGRADED),
        ("...??", OK),
        ("...???", UNKNOWN),
        ("FFF???", UNKNOWN),
        ("...???.", OK),
        ("fffff", OK),
        ("fffffS", DEGRADED),
        ("ffffS", OK),
        ("fffffb", OK),
    ],
)
def test_a_history_and_its_state(history: str, state: RouteState) -> None:
    assert after(history) is state


@given(st.text(alphabet="".join(WORDS), max_size=30))
def test_never_ok_without_evidence_and_never_failing_without_failures(history: str) -> None:
    state = after(history)
    evidence = [letter for letter in history if letter not in "?s"]
    if not evidence or set(history[-UNKNOWN_AFTER:]) <= set("?s"):
        assert state is UNKNOWN or (evidence and len(history) < UNKNOWN_AFTER)
    if state is FAILING:
        assert any(letter in "Fo" for letter in evidence[-RECOVERY_RUN:])
        assert sum(letter in "Fo" for letter in evidence) >= FAILING_RUN
    if state is OK:
        assert evidence[-1] in ".fbS"


def test_a_blind_mailbox_is_unknown_after_a_while() -> None:
    watch = Watch(ROUTE)
    watch.publish(MailboxUp("contoso", watch.clock.now()))
    watch.delivered()
    now = watch.clock.now()
    failure = ProbeFailure(Stage.CONNECT, Reason.TIMEOUT)
    watch.publish(MailboxDown("contoso", now, failure))
    assert watch.states.of("inbound", now + 1) is OK
    watch.publish(MailboxDown("contoso", now + BLIND_SECONDS - 1, failure))
    assert watch.states.of("inbound", now + BLIND_SECONDS) is UNKNOWN
    watch.publish(MailboxUp("contoso", now + 40))
    assert watch.states.of("inbound", now + 50) is OK


def test_a_route_whose_canaries_are_refused_fails_even_if_its_mailbox_is_blind() -> None:
    watch = Watch(ROUTE)
    watch.publish(MailboxDown("contoso", watch.clock.now(), ProbeFailure(Stage.CONNECT, Reason.TIMEOUT)))
    for _ in range(FAILING_RUN):
        watch.failed()
    assert watch.states.of("inbound", watch.clock.now() + 3600) is FAILING


def test_routes_come_and_go() -> None:
    watch = Watch(ROUTE)
    watch.delivered()
    watch.publish(RoutesChanged(added=(("inbound", "inside", "other", "submission"),)))
    assert watch.states.of("inbound", watch.clock.now()) is OK
    assert [mailbox.name for mailbox in watch.states.mailboxes] == ["other"]
    watch.publish(RoutesChanged(removed=("inbound",)))
    assert watch.states.of("inbound", watch.clock.now()) is UNKNOWN
    assert (watch.states.routes, watch.states.mailboxes) == ((), ())


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
