"""Tokens that cannot be had say nothing of the mail; and what the metrics and the log say of them."""

from __future__ import annotations

import logging

import pytest
from support.observing import Watch

from mailprobe.errors import NoCredential, ProbeFailure, Reason, Reply, Stage
from mailprobe.events import MailboxDown, TokenRequested, TokenSourcesChanged
from mailprobe.model import AttemptOutcome, Outcome, Peer, RouteState, StageReply
from mailprobe.observe.evidence import is_ours
from mailprobe.observe.log import EventLog
from mailprobe.observe.states import BLIND_INCIDENT, BLIND_SECONDS
from mailprobe.observe.token_metrics import TokenResult, result_of

REASONS = (Reason.AUTH_UNAVAILABLE, Reason.AUTH_REJECTED, Reason.TOKEN_EXPIRED, Reason.THROTTLED)


def unsent(watch: Watch, reason: Reason, peer: Peer | None, *replies: StageReply) -> None:
    canary = watch.opened()
    facts = {"outcome": AttemptOutcome.UNSENT, "stage": Stage.AUTH, "reason": reason, "peer": peer}
    watch.attempted(canary, *replies, **facts)
    watch.judged(canary, Outcome.UNSENT, stage=Stage.AUTH, reason=reason)


@pytest.mark.parametrize("reason", REASONS)
async def test_a_route_whose_sender_has_no_token_is_not_failing(reason: Reason) -> None:
    watch = Watch()
    for _ in range(6):
        watch.delivered()
        await watch.clock.advance(60)
    for _ in range(10):
        unsent(watch, reason, None)
        await watch.clock.advance(60)
    assert watch.states.of("inbound", watch.clock.now()) not in (RouteState.FAILING, RouteState.DEGRADED)
    assert watch.states.incident("inbound") is None


@pytest.mark.parametrize(
    ("reason", "reply"),
    [
        (Reason.AUTH_UNAVAILABLE, "454 4.7.0 later"),
        (Reason.AUTH_REJECTED, "535 5.7.3 no"),
        (Reason.TOKEN_EXPIRED, "535 5.7.8 no"),
    ],
)
async def test_a_server_that_refuses_a_login_is(reason: Reason, reply: str) -> None:
    watch = Watch()
    for _ in range(6):
        watch.delivered()
        await watch.clock.advance(60)
    said = StageReply(Stage.AUTH, Reply.of(int(reply[:3]), reply[4:]))
    for _ in range(10):
        unsent(watch, reason, Peer("mail.example.com", "192.0.2.1", 587), said)
        await watch.clock.advance(60)
    assert watch.states.of("inbound", watch.clock.now()) is RouteState.FAILING


@pytest.mark.parametrize("reason", REASONS)
async def test_a_mailbox_for_which_there_is_no_token_is_no_incident(reason: Reason) -> None:
    watch = Watch()
    watch.delivered()
    watch.publish(MailboxDown("contoso", watch.clock.now(), NoCredential(reason, "token endpoint: no answer")))
    await watch.clock.advance(BLIND_SECONDS + BLIND_INCIDENT + 60)
    watch.states.tick(watch.clock.now())
    assert watch.states.of("inbound", watch.clock.now()) is RouteState.UNKNOWN
    assert watch.states.incident("inbound") is None


def test_whose_failure_it_is() -> None:
    assert is_ours(NoCredential(Reason.AUTH_UNAVAILABLE, ""))
    assert is_ours(ProbeFailure(Stage.AUTH, Reason.THROTTLED))
    assert not is_ours(ProbeFailure(Stage.AUTH, Reason.AUTH_UNAVAILABLE))
    assert not is_ours(ProbeFailure(Stage.AUTH, Reason.AUTH_REJECTED))


def requested(watch: Watch, source: str, failure: ProbeFailure | None = None) -> TokenRequested:
    now = watch.clock.now()
    return TokenRequested(source, now, 0.3, None if failure else now + 3600, failure)


def test_the_metrics_of_sources() -> None:
    watch = Watch()
    watch.publish(TokenSourcesChanged(("sender/a", "mailbox/b")))
    text = watch.metrics.render().decode()
    for source in ("sender/a", "mailbox/b"):
        for result in TokenResult:
            assert f'mailprobe_token_requests_total{{result="{result}",source="{source}"}} 0.0' in text
        assert f'mailprobe_token_expiry_timestamp_seconds{{source="{source}"}} 0.0' in text
    watch.publish(
        requested(watch, "sender/a"),
        requested(watch, "sender/a", NoCredential(Reason.AUTH_REJECTED, "no")),
        requested(watch, "not/configured"),
    )
    text = watch.metrics.render().decode()
    assert 'mailprobe_token_requests_total{result="ok",source="sender/a"} 1.0' in text
    assert 'mailprobe_token_requests_total{result="rejected",source="sender/a"} 1.0' in text
    assert 'mailprobe_token_request_duration_seconds_count{source="sender/a"} 2.0' in text
    assert "not/configured" not in text
    watch.publish(TokenSourcesChanged(("mailbox/b",)))
    assert "sender/a" not in "".join(line for line in watch.metrics.render().decode().split() if "token" in line)


@pytest.mark.parametrize(
    ("reason", "result"),
    [
        (Reason.AUTH_REJECTED, TokenResult.REJECTED),
        (Reason.TOKEN_EXPIRED, TokenResult.REJECTED),
        (Reason.THROTTLED, TokenResult.THROTTLED),
        (Reason.AUTH_UNAVAILABLE, TokenResult.UNAVAILABLE),
    ],
)
def test_what_came_of_a_request(reason: Reason, result: TokenResult) -> None:
    assert result_of(NoCredential(reason, "")) is result
    assert result_of(None) is TokenResult.OK


def test_the_log_says_it_once_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    watch, log = Watch(), EventLog()
    caplog.set_level(logging.INFO, "mailprobe.events")
    for _ in range(3):
        log(requested(watch, "sender/a", NoCredential(Reason.AUTH_UNAVAILABLE, "no answer")))
    for _ in range(3):
        log(requested(watch, "sender/a"))
    assert [(record.levelname, record.getMessage().partition(" source=")[0]) for record in caplog.records] == [
        ("WARNING", "no token"),
        ("INFO", "token at hand"),
    ]
