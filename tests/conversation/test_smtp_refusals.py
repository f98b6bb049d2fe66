"""Refusals: which reply, at which stage, and what an attempt makes of it."""

from __future__ import annotations

import pytest
from support.loops import both_loops
from support.smtp_attempts import attempt, said, sender_to
from support.smtp_script import SmtpScript

from mailprobe.errors import EnhancedStatus, Reason, Stage
from mailprobe.model import AttemptOutcome

pytestmark = both_loops

STAGES = {
    "greeting": Stage.GREETING,
    "ehlo": Stage.EHLO,
    "mail": Stage.MAIL,
    "rcpt": Stage.RCPT,
    "data": Stage.DATA,
    "dot": Stage.END_OF_DATA,
}


@pytest.mark.parametrize("verb", STAGES)
@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [
        (b"451 4.3.2 temporary server issue\r\n", AttemptOutcome.DEFERRED, Reason.DEFERRED),
        (b"421 4.3.2 too many connections\r\n", AttemptOutcome.DEFERRED, Reason.DEFERRED),
        (b"432 4.3.2 concurrent connections limit\r\n", AttemptOutcome.DEFERRED, Reason.THROTTLED),
        (b"550-5.1.1 no such user\r\n550 5.1.1 see elsewhere\r\n", AttemptOutcome.REJECTED, Reason.REJECTED),
    ],
)
async def test_refused(verb: str, answer: bytes, outcome: AttemptOutcome, reason: Reason) -> None:
    async with SmtpScript(**{verb: answer}) as server:
        got = await attempt(sender_to(server))
    assert (got.outcome, got.stage, got.reason) == (outcome, STAGES[verb], reason)
    assert got.last_reply
    assert (got.last_reply.stage, got.last_reply.reply.code) == (STAGES[verb], int(answer[:3]))
    assert got.last_reply.reply.enhanced == EnhancedStatus.parse(answer[4:].decode())
    assert got.detail == str(got.last_reply.reply)
    assert (got.dot_sent is not None) == (verb == "dot")
    polite = said(got, ">")[-1:] == ["QUIT"]
    assert polite == (not answer.startswith(b"421")), "QUIT after a refusal, but not to who has gone"


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"421 4.7.0 mx.test Error: too many connections from 192.0.2.1\r\n", Reason.THROTTLED),
        (b"421 4.3.2 mx.test Service not available\r\n", Reason.DEFERRED),
        (b"421 mx.test Service not available\r\n", Reason.DEFERRED),
        (b"450 4.7.1 mx.test greylisted\r\n", Reason.DEFERRED),
    ],
)
async def test_a_greeting_that_limits_us_is_told_from_one_of_a_server_in_trouble(
    greeting: bytes, reason: Reason
) -> None:
    async with SmtpScript(greeting=greeting) as server:
        got = await attempt(sender_to(server))
    assert (got.outcome, got.stage, got.reason) == (AttemptOutcome.DEFERRED, Stage.GREETING, reason)


@pytest.mark.parametrize("verb", STAGES)
async def test_a_digit_that_was_not_due(verb: str) -> None:
    async with SmtpScript(**{verb: b"354 go\r\n" if verb != "data" else b"250 ok\r\n"}) as server:
        got = await attempt(sender_to(server))
    assert (got.stage, got.reason) == (STAGES[verb], Reason.UNEXPECTED_REPLY)
    assert got.outcome is (AttemptOutcome.IN_DOUBT if verb == "dot" else AttemptOutcome.UNSENT)
    assert server.contents == [] or verb == "dot"


async def test_an_enhanced_code_that_contradicts_the_reply() -> None:
    async with SmtpScript(rcpt=b"451 5.1.1 who knows\r\n") as server:
        got = await attempt(sender_to(server))
    assert got.last_reply
    assert got.last_reply.reply.enhanced == EnhancedStatus(4, 0, 0)


async def test_a_refusal_in_the_middle_of_the_message() -> None:
    async def refuses_early(wire):  # type: ignore[no-untyped-def]
        await wire.say(b"354 go\r\n")
        await wire.reader.readline()
        await wire.say(b"451 4.3.0 disk full\r\n")

    async with SmtpScript(data=refuses_early) as server:
        got = await attempt(sender_to(server))
    assert (got.outcome, got.stage) == (AttemptOutcome.DEFERRED, Stage.END_OF_DATA)
