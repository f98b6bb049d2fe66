"""One attempt that goes well: what is said, timed, kept, and when the dot is out."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace

import pytest
from support.loops import both_loops
from support.smtp_attempts import MESSAGE, attempt, certificates, said, sender_to, stages_of
from support.smtp_script import EHLO, SmtpScript, Wire, close, hang, reset

from mailprobe.errors import Reason, Stage
from mailprobe.model import AttemptOutcome, TlsMode
from mailprobe.smtp.transcript import LINES_KEPT, Transcript

pytestmark = [both_loops, pytest.mark.usefixtures("tls", "nothing_blocks")]


@pytest.fixture
def tls() -> ssl.SSLContext:
    """Made before blocking calls are watched for."""
    return certificates().good


BARE_EHLO = b"250 script.test\r\n"


async def test_accepted_with_every_stage_reply_and_line() -> None:
    async with SmtpScript() as server:
        got = await attempt(sender_to(server))
    assert got.outcome is AttemptOutcome.ACCEPTED
    assert (got.stage, got.reason, got.detail) == (None, None, "")
    assert stages_of(got) == [
        "resolve", "connect", "greeting", "ehlo", "mail", "rcpt", "data", "end_of_data", "quit",
    ]  # fmt: skip
    assert all(time.seconds > 0 for time in got.stages)
    assert sum(time.seconds for time in got.stages) <= got.ended - got.begun
    assert [(str(said.stage), said.reply.code) for said in got.replies] == [
        ("greeting", 220), ("ehlo", 250), ("mail", 250), ("rcpt", 250), ("data", 354), ("end_of_data", 250),
        ("quit", 221),
    ]  # fmt: skip
    assert got.peer
    assert (got.peer.host, got.peer.address, got.peer.port) == ("127.0.0.1", "127.0.0.1", server.port)
    assert got.queue_id == "4SCRIPT1"
    assert got.tls is None
    assert said(got, ">") == [
        "EHLO probe.test",
        "MAIL FROM:<from@lab.test> RET=HDRS ENVID=v1.a+2Bb+3Dc",
        "RCPT TO:<to@lab.test> NOTIFY=FAILURE,DELAY",
        "DATA",
        "<27 bytes>",
        "QUIT",
    ]
    assert "250-PIPELINING" in said(got, "<")
    assert said(got, "<")[-1] == "221 2.0.0 bye"


async def test_message_arrives_as_it_was() -> None:
    content = b"Subject: x\r\n\r\n.\r\n..two\r\nlast"
    async with SmtpScript() as server:
        await attempt(sender_to(server), replace(MESSAGE, content=content))
    assert server.contents == [b"Subject: x\r\n\r\n..\r\n...two\r\nlast\r\n"]


@pytest.mark.parametrize("content", [b"a\nb\r\n", b"a\rb\r\n", b"\n\r\r\n"])
async def test_bare_line_ends_are_a_bug_of_ours(content: bytes) -> None:
    async with SmtpScript() as server:
        with pytest.raises(ValueError, match="bare CR or LF"):
            await attempt(sender_to(server), replace(MESSAGE, content=content))
    assert server.contents == []


async def test_only_what_is_offered_is_used() -> None:
    async with SmtpScript(ehlo=BARE_EHLO) as server:
        await attempt(sender_to(server), replace(MESSAGE, content="Subject: ü\r\n".encode()))
    assert b"MAIL FROM:<from@lab.test>\r\n" in server.lines
    assert b"RCPT TO:<to@lab.test>\r\n" in server.lines


async def test_eight_bit_content_is_announced() -> None:
    async with SmtpScript() as server:
        await attempt(sender_to(server), replace(MESSAGE, content="Subject: ü\r\n".encode(), envid=""))
    assert b"MAIL FROM:<from@lab.test> RET=HDRS BODY=8BITMIME\r\n" in server.lines


async def test_an_address_beyond_ascii() -> None:
    message = replace(MESSAGE, recipient="bücher@lab.test", envid="")
    async with SmtpScript() as server:
        assert (await attempt(sender_to(server), message)).outcome is AttemptOutcome.ACCEPTED
        assert b"MAIL FROM:<from@lab.test> RET=HDRS SMTPUTF8\r\n" in server.lines
    async with SmtpScript(ehlo=BARE_EHLO) as server:
        got = await attempt(sender_to(server), message)
        assert (got.outcome, got.stage, got.reason) == (AttemptOutcome.UNSENT, Stage.MAIL, Reason.SERVER_REFUSED)
        assert server.lines[-1] == b"QUIT\r\n"


async def test_an_envid_that_is_too_long_is_left_out() -> None:
    async with SmtpScript() as server:
        await attempt(sender_to(server), replace(MESSAGE, envid="x" * 101))
    assert b"MAIL FROM:<from@lab.test> RET=HDRS\r\n" in server.lines


@pytest.mark.parametrize("mode", [TlsMode.PLAINTEXT, TlsMode.STARTTLS, TlsMode.IMPLICIT])
async def test_dot_is_told_before_the_reply_is_there(mode: TlsMode, tls: ssl.SSLContext) -> None:
    told = asyncio.get_running_loop().create_future()

    async def after_it_was_told(wire: Wire) -> None:
        await told
        await wire.say(b"250 2.0.0 ok\r\n")

    context = None if mode is TlsMode.PLAINTEXT else tls
    async with SmtpScript(tls=context, implicit=mode is TlsMode.IMPLICIT, dot=after_it_was_told) as server:
        got = await attempt(sender_to(server, mode), dot_sent=told.set_result)
    assert got.outcome is AttemptOutcome.ACCEPTED
    assert got.dot_sent == told.result()
    assert got.begun < got.dot_sent < got.ended


async def test_dot_of_a_large_message_is_told_when_the_server_has_read_it() -> None:
    read_on = asyncio.Event()
    told: list[float] = []

    async def reads_late(wire: Wire) -> None:
        wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await wire.say(b"354 go\r\n")
        await read_on.wait()
        assert not told
        wire.reader._transport.resume_reading()  # type: ignore[attr-defined]
        while await wire.reader.readline() != b".\r\n":
            pass
        await wire.say(b"250 2.0.0 ok\r\n")

    content = b"Subject: large\r\n\r\n" + (b"x" * 998 + b"\r\n") * 30_000
    async with SmtpScript(data=reads_late) as server:
        submitting = asyncio.create_task(
            attempt(sender_to(server), replace(MESSAGE, content=content), dot_sent=told.append)
        )
        while b"DATA\r\n" not in server.lines:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        read_on.set()
        got = await submitting
    assert got.outcome is AttemptOutcome.ACCEPTED
    assert told == [got.dot_sent]


async def test_a_dot_that_never_left_is_not_sent() -> None:
    async def reads_nothing(wire: Wire) -> None:
        wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await wire.say(b"354 go\r\n")
        await asyncio.sleep(30)

    content = b"Subject: large\r\n\r\n" + (b"x" * 998 + b"\r\n") * 30_000
    told: list[float] = []
    async with SmtpScript(data=reads_nothing) as server:
        got = await attempt(sender_to(server), replace(MESSAGE, content=content), timeout=0.3, dot_sent=told.append)
    assert (got.outcome, got.stage, got.reason) == (AttemptOutcome.UNSENT, Stage.END_OF_DATA, Reason.TIMEOUT)
    assert (got.dot_sent, told) == (None, [])


async def test_a_long_ehlo_counts_whole_and_is_shown_in_part() -> None:
    ehlo = b"".join(b"250-X%03d\r\n" % number for number in range(500)) + b"250 DSN\r\n"
    async with SmtpScript(ehlo=ehlo) as server:
        got = await attempt(sender_to(server))
    assert b"RCPT TO:<to@lab.test> NOTIFY=FAILURE,DELAY\r\n" in server.lines, "the 501st line counts too"
    assert said(got, "<")[:2] == ["220 script.test ESMTP", "250-X000"]
    assert len(got.transcript) < 50


async def test_transcript_is_bounded_and_keeps_both_ends() -> None:
    instants = iter(range(1000))
    transcript = Transcript(lambda: float(next(instants)))
    for number in range(500):
        transcript.note(f"line {number}")
    lines = transcript.lines()
    assert len(lines) == LINES_KEPT + 1
    assert (lines[0].text, lines[39].text, lines[-1].text) == ("line 0", "line 39", "line 499")
    assert lines[40].text == f"{500 - LINES_KEPT} lines left out"
    assert [line.seconds for line in lines] == sorted(line.seconds for line in lines)


async def test_quit_that_fails_spoils_nothing() -> None:
    for answer in (close, reset, b"", b"500 what\r\n", b"garbage\r\n"):
        async with SmtpScript(quit=answer) as server:
            got = await attempt(sender_to(server))
        assert (got.outcome, got.reason) == (AttemptOutcome.ACCEPTED, None)
        assert stages_of(got)[-1] == "quit"
        assert 221 not in [said.reply.code for said in got.replies], "nobody said it"


async def test_quit_that_hangs_spoils_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailprobe.smtp.dialogue.QUIT_TIMEOUT", 0.1)
    async with SmtpScript(quit=hang) as server:
        got = await attempt(sender_to(server))
    assert (got.outcome, got.reason) == (AttemptOutcome.ACCEPTED, None)
    assert "quit: timeout: no answer within 0.1 s" in said(got, "*")


async def test_each_attempt_has_a_connection_of_its_own() -> None:
    async with SmtpScript(ehlo=EHLO) as server:
        await asyncio.gather(*(attempt(sender_to(server)) for _ in range(10)))
    assert server.connections == 10
