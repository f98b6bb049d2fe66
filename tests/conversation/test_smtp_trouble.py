"""Connections that end, stall or break the protocol; and every defect of the library that must not reach a user."""

from __future__ import annotations

import asyncio

import pytest
from support.loops import both_loops
from support.smtp_attempts import LOGIN, PASSWORD, attempt, said, sender_to
from support.smtp_script import Answer, SmtpScript, Wire, close, drip, endless, hang, reset, then

from mailprobe.errors import Reason, Stage
from mailprobe.model import AttemptOutcome, TlsMode

pytestmark = both_loops

STAGES = {
    "greeting": Stage.GREETING,
    "ehlo": Stage.EHLO,
    "mail": Stage.MAIL,
    "rcpt": Stage.RCPT,
    "data": Stage.DATA,
    "dot": Stage.END_OF_DATA,
}
FAULTS: dict[str, tuple[Answer, Reason]] = {
    "closes": (close, Reason.CONNECTION_LOST),
    "resets": (reset, Reason.CONNECTION_LOST),
    "hangs": (hang, Reason.TIMEOUT),
    "drips": (drip(b"250-" * 100, 0.05), Reason.TIMEOUT),
    "stops within": (then(b"250-one\r\n250-tw", close), Reason.CONNECTION_LOST),
    "garbage": (b"\x00\xff\r\n", Reason.MALFORMED_REPLY),
    "code of spaces": (b" 25 ok\r\n", Reason.MALFORMED_REPLY),
    "code of 999": (b"999 ok\r\n", Reason.MALFORMED_REPLY),
    "code of two": (b"25\r\n", Reason.MALFORMED_REPLY),
    "code of four": (b"2500 ok\r\n", Reason.MALFORMED_REPLY),
    "code and no space": (b"250ok\r\n", Reason.MALFORMED_REPLY),
    "code of other digits": ("２５０ ok\r\n".encode(), Reason.MALFORMED_REPLY),
    "empty line": (b"\r\n", Reason.MALFORMED_REPLY),
    "two codes": (b"250-yes\r\n550 no\r\n", Reason.MALFORMED_REPLY),
    "two codes reversed": (b"550-no\r\n250 yes\r\n", Reason.MALFORMED_REPLY),
    "long line": (b"250 " + b"x" * 100_000 + b"\r\n", Reason.REPLY_TOO_LONG),
    "long line without end": (endless(b"x" * 1000), Reason.REPLY_TOO_LONG),
    "endless lines": (endless(b"250-and\r\n" * 100), Reason.REPLY_TOO_LONG),
}


@pytest.mark.parametrize("verb", STAGES)
@pytest.mark.parametrize("fault", FAULTS)
async def test_fault(verb: str, fault: str) -> None:
    answer, reason = FAULTS[fault]
    async with SmtpScript(**{verb: answer}) as server:
        got = await attempt(sender_to(server), timeout=0.25 if reason is Reason.TIMEOUT else 5)
    assert (got.stage, got.reason) == (STAGES[verb], reason)
    assert got.outcome is (AttemptOutcome.IN_DOUBT if verb == "dot" else AttemptOutcome.UNSENT)
    assert (got.dot_sent is not None) == (verb == "dot")
    assert "QUIT" not in said(got, ">"), "nothing more is said on a connection that is spent"
    assert server.connections == 1
    assert all(line.text.isprintable() for line in got.transcript)
    assert got.detail.isprintable()


async def test_two_replies_in_one_segment_are_never_paired_wrongly() -> None:
    surplus = b"250 2.1.0 ok\r\n250 2.9.9 surplus\r\n"
    async with SmtpScript(mail=surplus, rcpt=b"550 5.1.1 no such user\r\n") as server:
        got = await attempt(sender_to(server))
    assert (got.outcome, got.stage, got.reason) == (AttemptOutcome.UNSENT, Stage.RCPT, Reason.UNEXPECTED_REPLY)
    assert server.lines[-1].startswith(b"MAIL"), "RCPT is not even said"
    assert any("2.9.9 surplus" in note for note in said(got, "*"))


async def test_a_reply_for_the_message_before_it_was_sent() -> None:
    async with SmtpScript(data=b"354 go\r\n250 2.0.0 queued as FALSE\r\n") as server:
        got = await attempt(sender_to(server))
    assert (got.outcome, got.reason) == (AttemptOutcome.UNSENT, Reason.UNEXPECTED_REPLY)
    assert got.queue_id is None
    assert server.contents == []


async def test_accepted_stands_whatever_follows_in_its_segment() -> None:
    for surplus in (b"421 4.3.2 closing\r\n", b"550 no\r\n", b"\xff"):
        async with SmtpScript(dot=b"250 2.0.0 ok\r\n" + surplus) as server:
            got = await attempt(sender_to(server))
        assert (got.outcome, got.reason) == (AttemptOutcome.ACCEPTED, None)


@pytest.mark.parametrize("how", [then, lambda *answers: b"".join(answers)])
async def test_a_421_said_unasked_is_the_answer_to_the_next_command(how) -> None:  # type: ignore[no-untyped-def]
    async with SmtpScript(mail=how(b"250 2.1.0 ok\r\n", b"421 4.3.2 shutting down\r\n")) as server:
        got = await attempt(sender_to(server))
    assert (got.outcome, got.stage, got.reason) == (AttemptOutcome.DEFERRED, Stage.RCPT, Reason.DEFERRED)
    assert got.last_reply
    assert str(got.last_reply.reply) == "421 4.3.2 shutting down"


async def test_a_421_while_idle_and_then_the_end() -> None:
    told = asyncio.Event()

    async def goodbye(wire: Wire) -> None:
        await wire.say(b"250 2.1.0 ok\r\n")
        await wire.say(b"421 4.4.2 idle too long\r\n")
        told.set()
        await close(wire)

    async with SmtpScript(mail=goodbye) as server:
        got = await attempt(sender_to(server))
    assert told.is_set()
    # whether it is read before RCPT is said is a race that both ways end the same
    assert (got.outcome, got.stage) == (AttemptOutcome.DEFERRED, Stage.RCPT)


async def test_latin_1_is_shown_and_can_be_encoded() -> None:
    async with SmtpScript(rcpt="550 5.1.1 Empfänger unbekannt\r\n".encode("latin-1")) as server:
        got = await attempt(sender_to(server))
    assert got.outcome is AttemptOutcome.REJECTED
    assert "Empf�nger" in got.detail
    "".join([got.detail, *(line.text for line in got.transcript)]).encode("utf-8")


async def test_bare_line_feeds_end_lines_too() -> None:
    async with SmtpScript(mail=b"250-one\n250 two\n") as server:
        assert (await attempt(sender_to(server))).outcome is AttemptOutcome.ACCEPTED


async def test_reply_in_many_segments() -> None:
    async with SmtpScript(ehlo=drip(b"250-x\r\n250 DSN\r\n", 0.001), mail=drip(b"250 ok\r\n", 0.001)) as server:
        got = await attempt(sender_to(server))
    assert got.outcome is AttemptOutcome.ACCEPTED
    assert b"RET=HDRS" in b"".join(server.lines)


@pytest.mark.parametrize("verb", STAGES)
async def test_cancel_closes_the_connection(verb: str) -> None:
    reached, closed = asyncio.Event(), asyncio.Event()

    async def waits(wire: Wire) -> None:
        reached.set()
        await wire.reader.read(-1)
        closed.set()

    async with SmtpScript(**{verb: waits}) as server:
        submitting = asyncio.create_task(attempt(sender_to(server)))
        async with asyncio.timeout(5):
            await reached.wait()
            submitting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await submitting
            await closed.wait()


@pytest.mark.parametrize("mode", [TlsMode.STARTTLS, TlsMode.IMPLICIT])
async def test_cancel_within_the_handshake_closes_the_connection(mode: TlsMode) -> None:
    reached, closed = asyncio.Event(), asyncio.Event()

    async def waits(wire: Wire) -> None:
        if mode is TlsMode.STARTTLS:
            await wire.say(b"220 2.0.0 go\r\n")
        await wire.reader.readexactly(5)
        reached.set()
        await wire.reader.read(-1)
        closed.set()

    says = {"starttls" if mode is TlsMode.STARTTLS else "greeting": waits}
    async with SmtpScript(ehlo=b"250-script.test\r\n250 STARTTLS\r\n", **says) as server:
        submitting = asyncio.create_task(attempt(sender_to(server, mode)))
        async with asyncio.timeout(5):
            await reached.wait()
            submitting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await submitting
            await closed.wait()


async def test_the_name_for_ehlo_is_never_asked_of_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.getfqdn", lambda *_: pytest.fail("getfqdn"))
    async with SmtpScript() as server:
        assert (await attempt(sender_to(server))).outcome is AttemptOutcome.ACCEPTED


async def test_a_partial_reply_is_evidence() -> None:
    async with SmtpScript(rcpt=then(b"451-4.3.2 busy\r\n451-4.3", close)) as server:
        got = await attempt(sender_to(server))
    assert any("4.3.2 busy" in note for note in said(got, "*"))


async def test_a_credential_in_what_comes_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILPROBE_TEST_PASSWORD", PASSWORD)
    for echo in (b"235 ok\r\n" + PASSWORD.encode(), b"235-" + PASSWORD.encode(), PASSWORD.encode() + b"\r\n"):
        async with SmtpScript(auth=then(echo, close)) as server:
            got = await attempt(sender_to(server, login=LOGIN))
        assert "battery" not in repr(got)
