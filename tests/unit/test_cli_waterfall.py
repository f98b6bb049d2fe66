"""A canary's way as text, and its verdict in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.observing import Watch, an_attempt

from mailprobe.cli import waterfall
from mailprobe.cli.explain import explain, place
from mailprobe.cli.waterfall import Paper
from mailprobe.errors import ProbeFailure, Reason, Reply, Stage
from mailprobe.events import AttemptEnded
from mailprobe.model import AttemptOutcome, Outcome, SenderKind, StageReply, StageTime, TlsMode
from mailprobe.observe.history import Record
from mailprobe.observe.wording import seconds_text
from mailprobe.plan import Endpoint, Login, Mailbox, Route, SecretReference, Sender

LOGIN = Login("u", SecretReference(env="X"))
SENDER = Sender("outside", SenderKind.MX, Endpoint("", 25, TlsMode.OPPORTUNISTIC), "a@b.example", "b.example")
MAILBOX = Mailbox("contoso", "c@contoso.example", Endpoint("imap.example.org", 993, TlsMode.IMPLICIT), LOGIN)
ROUTE = Route("inbound", SENDER, MAILBOX, 60.0, 60.0, 60.0, 30.0)


def lines(record: Record, paper: Paper | None = None) -> list[str]:
    return [line.text for line in waterfall.way(record, paper or Paper())]


def delivered(**facts: object) -> Record:
    watch = Watch()
    return watch.history[watch.delivered(**facts).id]  # type: ignore[arg-type]


def failed(outcome: Outcome = Outcome.UNSENT, **facts: object) -> Record:
    """One attempt, which ended as the facts say."""
    watch = Watch()
    canary = watch.opened()
    attempt = {"outcome": AttemptOutcome.UNSENT, "dot_sent": None, "queue_id": None} | facts
    watch.attempted(canary, **attempt)
    judged = {key: facts[key] for key in ("stage", "reason", "detail") if key in facts}
    watch.judged(canary, outcome, reply=watch.history[canary.id].attempts[0].last_reply, **judged)
    return watch.history[canary.id]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 ms"),
        (0.00034, "0.3 ms"),
        (0.0994, "99.4 ms"),
        (0.0996, "100 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (9.994, "9.99 s"),
        (9.996, "10.0 s"),
        (99.9, "99.9 s"),
        (99.96, "1 min 39 s"),
        (250.0, "4 min 10 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_the_way_of_a_delivered_canary() -> None:
    connect, rcpt, transit = lines(delivered(transit=0.375, transit_error_seconds=0.01))
    assert connect == "  connect        250 ms  ━━━━━━━━                  192.0.2.1 port 25"
    assert rcpt == "  rcpt           125 ms          ━━━━"
    assert transit == "  transit        375 ms              ━━━━━━━━━━━━  in INBOX, to within 10.0 ms"


def test_a_bound_is_said_to_be_one() -> None:
    assert lines(delivered(upper_bound=True))[-1].endswith("in INBOX, at most so long")
    assert "unknown" in lines(delivered(transit=None))[-1]


def test_bars_of_a_terminal_that_has_no_such_characters() -> None:
    text = "\n".join(lines(delivered(), Paper.of("ascii")))
    assert text.isascii()
    assert "===" in text


def test_no_bars_where_there_is_no_room() -> None:
    text = lines(delivered(), Paper.of("utf-8", 40))
    assert all(len(line) <= 40 for line in text)
    assert "━" not in "".join(text)


def test_no_wider_than_people_read() -> None:
    assert Paper.of("utf-8", 500).width == waterfall.WIDEST


@pytest.mark.parametrize("total", [0.0, 1e-9, 1.0, 1e9])
def test_bars_are_never_too_long(total: float) -> None:
    times = (StageTime(Stage.CONNECT, total), *(StageTime(Stage.MAIL, total / 7) for _ in range(9)))
    for line in waterfall.stages(times, Paper()):
        assert len(line.text) <= 80


def test_earlier_attempts_are_a_line_each() -> None:
    watch = Watch()
    canary = watch.opened()
    grey = StageReply(Stage.RCPT, Reply.of(450, "4.7.1 Greylisted"))
    begun = watch.clock.now()
    facts = {"stage": Stage.RCPT, "reason": Reason.DEFERRED, "outcome": AttemptOutcome.DEFERRED, "dot_sent": None}
    watch.attempted(canary, grey, **facts)
    last = replace(an_attempt(begun + 60), number=2)
    watch.publish(AttemptEnded(canary, last))
    watch.judged(canary, Outcome.DELIVERED, attempts=2, retried=True, delivery_seconds=61.0)
    first, second, *rest = lines(watch.history[canary.id])
    assert first == "  attempt 1: deferred at rcpt: 450 4.7.1 Greylisted"
    assert second == "  attempt 2, 60.0 s after the first"
    assert len(rest) == 2
    assert explain(watch.history[canary.id], ROUTE).verdict == "delivered in 61.0 s, after 2 attempts"


def test_names_say_where_they_are() -> None:
    assert place("imap.example.org", MAILBOX.endpoint) == "imap.example.org:993"
    assert place("contoso", MAILBOX.endpoint) == "contoso (imap.example.org:993)"
    assert place("outside", SENDER.endpoint) == "outside (MX, port 25)"


def test_the_server_that_said_it_is_named() -> None:
    said = StageReply(Stage.RCPT, Reply.of(550, "5.1.1 no such user"))
    record = failed(Outcome.REJECTED, replies=(said,), stage=Stage.RCPT, reason=Reason.REJECTED, detail="550 5.1.1")
    found = explain(record, ROUTE)
    assert found.verdict == "rejected at rcpt"
    assert found.facts == "SMTP server mx.example.org:25 (192.0.2.1): 550 5.1.1 no such user"


def test_a_reply_of_an_earlier_stage_is_not_the_reason() -> None:
    """STARTTLS was answered with 220; it is the handshake that failed."""
    said = StageReply(Stage.STARTTLS, Reply.of(220, "2.0.0 Ready to start TLS"))
    record = failed(replies=(said,), stage=Stage.TLS, reason=Reason.CERTIFICATE_EXPIRED, detail="it has expired")
    found = explain(record, ROUTE)
    assert found.verdict == "unsent at tls: certificate_expired"
    assert found.facts == "SMTP server mx.example.org:25 (192.0.2.1): it has expired"
    assert "new certificate" in found.advice


def test_no_server_was_found() -> None:
    record = failed(peer=None, tls=None, stage=Stage.RESOLVE, reason=Reason.NO_MX, detail="neither MX nor address")
    found = explain(record, ROUTE)
    assert found.facts == "MX of contoso.example: neither MX nor address"
    assert found.advice == "Check the domain of the recipient's address."


def test_nobody_could_look() -> None:
    watch = Watch()
    canary = watch.opened()
    watch.judged(canary, Outcome.UNOBSERVED, stage=Stage.TRANSIT, reason=Reason.NOBODY_LOOKED)
    down = ProbeFailure(Stage.CONNECT, Reason.CONNECTION_REFUSED, "192.0.2.2:993: Connection refused")
    found = explain(watch.history[canary.id], ROUTE, down=down)
    assert found.verdict == "unobserved at transit: nobody_looked"
    assert found.facts == "IMAP server imap.example.org:993: 192.0.2.2:993: Connection refused"
    assert "check host and port" in found.advice


def test_slower_than_wanted_is_said() -> None:
    assert explain(delivered(delivery=2.5), ROUTE, 1.0).verdict == "delivered in 2.50 s, slower than 1.00 s"
    assert explain(delivered(delivery=2.5), ROUTE, 3.0).verdict == "delivered in 2.50 s"


def test_what_was_sent_and_not_seen_is_said() -> None:
    watch = Watch()
    canary = watch.opened()
    watch.attempted(canary)
    assert "if it still arrives, it stays" in explain(watch.history[canary.id], ROUTE).facts


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("reason", [None, *Reason])
def test_every_verdict_can_be_explained(outcome: Outcome, reason: Reason | None) -> None:
    watch = Watch()
    canary = watch.opened()
    watch.judged(canary, outcome, stage=Stage.TRANSIT, reason=reason)
    record = watch.history[canary.id]
    found = explain(record, ROUTE)
    assert found.verdict.startswith(outcome)
    assert found.advice == "" or found.advice.endswith(".")
    assert [*waterfall.summary(record, found, Paper())]


def test_a_reason_that_says_its_stage_says_it_once() -> None:
    watch = Watch()
    canary = watch.opened()
    watch.judged(canary, Outcome.UNSENT, stage=Stage.AUTH, reason=Reason.AUTH_REJECTED)
    assert explain(watch.history[canary.id], ROUTE).verdict == "unsent at auth: auth_rejected"
    assert str(ProbeFailure(Stage.AUTH, Reason.AUTH_REJECTED, "535 no")) == "auth_rejected: 535 no"
    assert str(ProbeFailure(Stage.CONNECT, Reason.TIMEOUT)) == "connect: timeout"
