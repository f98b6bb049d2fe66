"""One line per fact, at the level at which somebody wants it."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
from support.observing import Watch, a_sighting

from mailprobe.errors import ProbeFailure, Reason, Reply, Stage
from mailprobe.events import (
    ArrivedLate,
    CanaryLost,
    IncidentChanged,
    IncidentClosed,
    IncidentOpened,
    Judged,
    MailboxDown,
    MailboxUp,
    PolicyChecked,
    Port25Changed,
    RouteStateChanged,
    SignSeen,
    Throttled,
)
from mailprobe.model import (
    Cause,
    DaneFacts,
    DaneStatus,
    Incident,
    MtaStsFacts,
    MtaStsMode,
    Outcome,
    PolicyFacts,
    RouteState,
    StageReply,
    Verdict,
)
from mailprobe.observe.log import EventLog


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "mailprobe.events")
    return caplog


def lines(said: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in said.records]


def test_deliveries_are_for_debugging_and_failures_are_not(said: pytest.LogCaptureFixture) -> None:
    canary = Watch().canary()
    reply = StageReply(Stage.RCPT, Reply.of(550, '5.1.1 no "user" here'))
    log = EventLog()
    log(Judged(Verdict(canary, Outcome.DELIVERED, 1.0, transit_seconds=1.23456, attempts=1)))
    log(Judged(Verdict(canary, Outcome.DELIVERED, 1.0, attempts=2, retried=True)))
    log(Judged(Verdict(canary, Outcome.REJECTED, 1.0, Stage.RCPT, Reason.REJECTED, reply=reply, attempts=1)))
    assert lines(said) == [
        ("DEBUG", "verdict route=inbound canary=id1 outcome=delivered attempts=1 transit_seconds=1.235"),
        ("INFO", "verdict route=inbound canary=id1 outcome=delivered attempts=2"),
        (
            "INFO",
            "verdict route=inbound canary=id1 outcome=rejected stage=rcpt category=address attempts=1 "
            'reply="550 5.1.1 no \\"user\\" here"',
        ),
    ]


def test_a_mailbox_that_stays_down_is_said_once(said: pytest.LogCaptureFixture) -> None:
    log = EventLog()
    failure = ProbeFailure(Stage.CONNECT, Reason.TIMEOUT)
    for event in (
        MailboxDown("contoso", 1.0, failure),
        MailboxDown("contoso", 2.0, failure),
        MailboxUp("contoso", 3.0),
        MailboxDown("contoso", 4.0, failure),
    ):
        log(event)
    assert [level for level, _ in lines(said)] == ["WARNING", "DEBUG", "INFO", "WARNING"]
    assert lines(said)[0][1] == "mailbox down mailbox=contoso stage=connect reason=timeout"


def test_other_facts(said: pytest.LogCaptureFixture) -> None:
    canary = Watch().canary()
    log = EventLog()
    log(ArrivedLate(canary, Outcome.OVERDUE, a_sighting(canary, 1.0), 1.0, 700.0, 1.0, False))
    log(CanaryLost(canary, 1.0))
    log(Throttled("sender/outside", Reason.THROTTLED))
    assert lines(said) == [
        ("INFO", "late arrival route=inbound canary=id1 after=overdue transit_seconds=700.0"),
        ("INFO", "lost route=inbound canary=id1"),
        ("INFO", "throttled endpoint=sender/outside reason=throttled"),
    ]


def test_a_canary_is_one_line_whatever_the_server_says(said: pytest.LogCaptureFixture) -> None:
    reply = StageReply(Stage.RCPT, Reply.of(550, "5.1.1 a\r\x1b[31m\nb %s %(x)s"))
    EventLog()(Judged(Verdict(Watch().canary(), Outcome.REJECTED, 1.0, reply=reply, attempts=1)))
    (_, line) = lines(said)[0]
    assert line.isprintable()


def test_signs_states_and_incidents(said: pytest.LogCaptureFixture) -> None:
    log = EventLog()
    cause = Cause(Stage.RCPT, 451, "4.3.2", Reason.DEFERRED)
    incident = Incident("7f", "inbound", 1.0, 2.0, 3.0, RouteState.FAILING, cause, 1.0, 9)
    why = "stage=rcpt code=451 enhanced_code=4.3.2 reason=deferred"
    log(SignSeen("inbound", 2.0, 1.0, cause))
    log(RouteStateChanged("inbound", RouteState.OK, RouteState.DEGRADED, 3.0, cause, 0.25))
    log(IncidentOpened(incident, 4.0))
    log(IncidentChanged(replace(incident, end=9.0, relapses=1), 9.0))
    log(RouteStateChanged("inbound", RouteState.DEGRADED, RouteState.OK, 9.0, Cause(), 0.0))
    log(IncidentClosed(replace(incident, end=9.0, closed=True), 99.0))
    assert lines(said) == [
        ("INFO", f"first sign route=inbound {why}"),
        ("WARNING", f"route state route=inbound state=degraded before=ok share=0.25 {why}"),
        ("WARNING", f"incident opened route=inbound incident=7f state=failing affected=9 share_worst=1.0 {why}"),
        (
            "INFO",
            "incident changed route=inbound incident=7f state=failing over=yes affected=9 share_worst=1.0 relapses=1 "
            + why,
        ),
        ("INFO", "route state route=inbound state=ok before=degraded"),
        ("INFO", f"incident closed route=inbound incident=7f state=failing over=yes affected=9 share_worst=1.0 {why}"),
    ]


def test_a_policy_is_said_when_it_changes(said: pytest.LogCaptureFixture) -> None:
    canary = Watch().canary()
    log = EventLog()
    kept = PolicyFacts(MtaStsFacts(MtaStsMode.ENFORCE, passed=True), DaneFacts(DaneStatus.ABSENT))
    broken = PolicyFacts(MtaStsFacts(MtaStsMode.ENFORCE, passed=False, detail="no TLS was used"))
    for number, policy in enumerate((kept, kept, broken, broken), 1):
        log(PolicyChecked(canary, number, policy, 1.0))
    good = "policy route=inbound mta_sts=enforce mta_sts_passed=True dane=absent"
    bad = 'policy route=inbound mta_sts=enforce mta_sts_passed=False detail="no TLS was used"'
    assert lines(said) == [("INFO", good), ("DEBUG", good), ("INFO", bad), ("DEBUG", bad)]


def test_a_blocked_port_25_is_a_warning(said: pytest.LogCaptureFixture) -> None:
    log = EventLog()
    log(Port25Changed(True, 1.0, "no answer"))
    log(Port25Changed(False, 2.0))
    assert lines(said) == [("WARNING", 'port 25 blocked detail="no answer"'), ("INFO", "port 25 open")]


def test_nothing_is_said_twice(said: pytest.LogCaptureFixture) -> None:
    reply = StageReply(Stage.RCPT, Reply.of(451, "4.3.2 busy"))
    verdict = Verdict(Watch().canary(), Outcome.DEFERRED, 1.0, Stage.RCPT, Reason.DEFERRED, str(reply.reply), reply)
    log = EventLog()
    log(Judged(verdict))
    log(Judged(replace(verdict, reason=Reason.TIMEOUT, detail="no answer")))
    assert [text.partition("outcome=")[2] for _, text in lines(said)] == [
        'deferred stage=rcpt category=system attempts=0 reply="451 4.3.2 busy"',
        'deferred stage=rcpt reason=timeout category=system attempts=0 reply="451 4.3.2 busy" detail="no answer"',
    ]
