"""When our own network is suspected to block port 25: a table of lives."""

from __future__ import annotations

import pytest
from support.clocks import VirtualClock
from support.observing import an_attempt

from mailprobe.errors import Reason, Stage
from mailprobe.events import AttemptEnded, Event, Port25Changed
from mailprobe.model import AttemptOutcome, Canary, Peer
from mailprobe.observe.port25 import WINDOW, Port25, operator_of

CANARY = Canary("id", "inbound", "outside", "contoso", 0, 60, 3600)
HOW = {
    "silent": (AttemptOutcome.UNSENT, Stage.CONNECT, Reason.TIMEOUT),
    "refused": (AttemptOutcome.UNSENT, Stage.CONNECT, Reason.CONNECTION_REFUSED),
    "unreachable": (AttemptOutcome.UNSENT, Stage.CONNECT, Reason.UNREACHABLE),
    "mute": (AttemptOutcome.UNSENT, Stage.GREETING, Reason.TIMEOUT),
    "deferred": (AttemptOutcome.DEFERRED, Stage.RCPT, Reason.DEFERRED),
    "accepted": (AttemptOutcome.ACCEPTED, None, None),
}


def told(*life: str) -> Port25:
    """What is thought after a life, of words `<seconds> <host>[:port] <how>`."""
    events: list[Event] = []
    suspicion = Port25(events.append)
    for word in life:
        at, host, how = word.split()
        name, _, port = host.partition(":")
        outcome, stage, reason = HOW[how]
        peer = Peer(name, "192.0.2.1", int(port or 25))
        attempt = an_attempt(float(at) - 0.5, outcome=outcome, stage=stage, reason=reason, peer=peer)
        suspicion(AttemptEnded(CANARY, attempt))
    changes = [event.blocked for event in events if isinstance(event, Port25Changed)]
    assert changes == [number % 2 == 0 for number in range(len(changes))], "each change is said once"
    assert (changes or [False])[-1] is suspicion.blocked
    return suspicion


A, B, C = "0 mx.a.example.com silent", "1 mx.b.example.net silent", "2 mx.c.example.org silent"


@pytest.mark.parametrize(
    ("life", "blocked"),
    [
        ((), False),
        ((A,), False),
        ((A, B), False),
        ((A, B, C), True),
        ((A, B, "60 mx.a.example.com silent"), True),
        # one operator, whatever the number of its hosts and domains
        ((A, A, A, "3 mx2.a.example.com silent", "4 mx3.b.example.com silent"), False),
        (("0 a-com.mail.protection.outlook.com silent", "1 b-com.mail.protection.outlook.com silent") * 9, False),
        # somebody has answered
        ((A, B, C, "3 mx.d.example.edu accepted"), False),
        ((A, B, C, "3 mx.d.example.edu deferred"), False),
        ((A, B, C, "3 mx.d.example.edu refused"), False),
        ((A, B, C, "3 mx.d.example.edu mute"), False),
        ((A, B, "2 mx.d.example.edu accepted", C), False),
        ((A, B, "2 mx.d.example.edu accepted", "3 mx.a.example.com silent", "4 mx.a.example.com silent"), False),
        # and has not since
        (("0 mx.d.example.edu accepted", "1 mx.d.example.edu silent", B, C), True),
        # a network that says that it is not there is another matter, and no answer either
        ((A, "1 mx.b.example.net unreachable", "2 mx.c.example.org unreachable"), False),
        ((A, B, "2 mx.d.example.edu unreachable", C), True),
        # other ports say nothing
        ((A, B, C, "3 smtp.d.example.edu:587 accepted"), True),
        (("0 a.example.com:587 silent", "1 b.example.net:587 silent", "2 c.example.org:587 silent"), False),
        # evidence grows old
        ((A, B, f"{WINDOW + 10} mx.c.example.org silent"), False),
    ],
)
def test_when_it_is_suspected(life: tuple[str, ...], blocked: bool) -> None:
    assert told(*life).blocked is blocked


def test_it_says_what_it_is_based_on_and_is_over_with_the_first_answer() -> None:
    assert told(A, B, C).detail == (
        "no connection to port 25 is answered, of 3 operators (example.com, example.net, example.org): "
        "this machine's own network seems to block it, as clouds and access networks do"
    )
    over = told(A, B, C, "3 mx.a.example.com refused")
    assert (over.blocked, over.detail) == (False, "")


def test_attempts_that_never_had_a_peer_and_other_events_are_nothing() -> None:
    suspicion = Port25()
    for _ in range(5):
        suspicion(AttemptEnded(CANARY, an_attempt(VirtualClock().now(), peer=None, outcome=AttemptOutcome.UNSENT)))
    suspicion(Port25Changed(True, 0.0))
    assert not suspicion.blocked


def test_memory_is_bounded() -> None:
    suspicion = told(*(f"{number} mx.operator{number}.test silent" for number in range(1500)))
    assert suspicion.blocked
    assert len(suspicion._silent) <= 1000


@pytest.mark.parametrize(
    ("host", "operator"),
    [
        ("Contoso-com.mail.protection.Outlook.com.", "outlook.com"),
        ("mx.example", "mx.example"),
        ("example", "example"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_operators(host: str, operator: str) -> None:
    assert operator_of(host) == operator
