"""TLS in each mode: what is learned, what is refused, and a wrong mode said as such."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from support.loops import both_loops
from support.smtp_attempts import LOGIN, PASSWORD, attempt, certificates, said, sender_to, stages_of, with_endpoint
from support.smtp_script import EHLO, Answer, SmtpScript, Wire, close, hang, reset, then

from mailprobe.errors import Reason, Stage
from mailprobe.model import AttemptOutcome, TlsMode

pytestmark = both_loops

ENCRYPTED = [TlsMode.STARTTLS, TlsMode.IMPLICIT, TlsMode.OPPORTUNISTIC]


def server_with(context: ssl.SSLContext, mode: TlsMode, **says: Answer) -> SmtpScript:
    return SmtpScript(tls=context, implicit=mode is TlsMode.IMPLICIT, **says)


@pytest.mark.parametrize("mode", ENCRYPTED)
async def test_facts(mode: TlsMode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILPROBE_TEST_PASSWORD", PASSWORD)
    async with server_with(certificates().good, mode) as server:
        got = await attempt(sender_to(server, mode, login=LOGIN))
    assert got.outcome is AttemptOutcome.ACCEPTED
    assert got.tls
    assert got.tls.version == "TLSv1.3"
    assert got.tls.cipher.startswith("TLS_")
    assert (got.tls.subject, got.tls.issuer) == ("CN=mail.lab.test", "CN=mailprobe lab CA")
    assert got.tls.not_after
    assert timedelta(days=80) < got.tls.not_after - datetime.now(UTC) < timedelta(days=100)
    assert got.tls.verified is (mode is not TlsMode.OPPORTUNISTIC)
    begins = ["resolve", "connect", "tls", "greeting", "ehlo", "auth"]
    if mode is not TlsMode.IMPLICIT:
        begins = ["resolve", "connect", "greeting", "ehlo", "starttls", "tls", "auth"]
    assert stages_of(got)[: len(begins)] == begins
    assert server.lines[-2:] == [b"DATA\r\n", b"QUIT\r\n"]


async def test_verified_or_not_the_facts_are_the_same() -> None:
    async with server_with(certificates().good, TlsMode.STARTTLS) as server:
        checked = await attempt(sender_to(server, TlsMode.STARTTLS))
        unchecked = await attempt(with_endpoint(sender_to(server, TlsMode.STARTTLS), verify=False))
    assert checked.tls
    assert unchecked.tls
    assert (checked.tls.verified, unchecked.tls.verified) == (True, False)
    assert checked.tls.not_after == unchecked.tls.not_after
    assert (checked.tls.subject, checked.tls.issuer) == (unchecked.tls.subject, unchecked.tls.issuer)


@pytest.mark.parametrize("mode", [TlsMode.STARTTLS, TlsMode.IMPLICIT])
@pytest.mark.parametrize(
    ("which", "reason", "details"),
    [
        ("expired", Reason.CERTIFICATE_EXPIRED, ("expired", "valid from", "CN=mail.lab.test")),
        ("wrong_name", Reason.CERTIFICATE_NAME, ("127.0.0.1", "it is for other.lab.test, third.lab.test")),
        ("untrusted", Reason.CERTIFICATE_UNTRUSTED, ("issued by CN=nobody's CA", "ca_file")),
    ],
)
async def test_a_certificate_that_does_not_hold(
    mode: TlsMode, which: str, reason: Reason, details: tuple[str, ...]
) -> None:
    async with server_with(getattr(certificates(), which), mode) as server:
        got = await attempt(sender_to(server, mode))
        assert (got.outcome, got.stage, got.reason) == (AttemptOutcome.UNSENT, Stage.TLS, reason)
        assert [detail for detail in details if detail not in got.detail] == [], got.detail
        assert not any(line.startswith(b"MAIL") for line in server.lines)
        assert server.connections <= 1  # a handshake that failed is not counted
        accepted = await attempt(with_endpoint(sender_to(server, mode), verify=False))
        assert accepted.outcome is AttemptOutcome.ACCEPTED


async def test_the_name_to_look_for_may_be_another_than_the_host() -> None:
    async with server_with(certificates().wrong_name, TlsMode.STARTTLS) as server:
        sender = with_endpoint(sender_to(server, TlsMode.STARTTLS), server_name="third.lab.test")
        assert (await attempt(sender)).outcome is AttemptOutcome.ACCEPTED


@pytest.mark.parametrize("mode", [TlsMode.STARTTLS, TlsMode.IMPLICIT])
async def test_a_name_that_tls_cannot_say(mode: TlsMode) -> None:
    """As of a mail exchanger with twenty spaces in it, which the DNS allows and writes with four characters each."""
    async with server_with(certificates().good, mode) as server:
        got = await attempt(with_endpoint(sender_to(server, mode), server_name="\\032" * 20 + ".lab.test"))
    assert (got.outcome, got.stage, got.reason) == (AttemptOutcome.UNSENT, Stage.TLS, Reason.CERTIFICATE_NAME)


async def test_opportunistic_goes_on_without_only_where_none_is_offered() -> None:
    async with SmtpScript() as server:
        got = await attempt(sender_to(server, TlsMode.OPPORTUNISTIC))
        assert (got.outcome, got.tls) == (AttemptOutcome.ACCEPTED, None)
        assert "no STARTTLS offered: going on in plain text" in said(got, "*")
    async with SmtpScript(tls=certificates().good, starttls=then(b"220 go\r\n", close)) as server:
        got = await attempt(sender_to(server, TlsMode.OPPORTUNISTIC))
        assert (got.outcome, got.stage, got.reason) == (AttemptOutcome.UNSENT, Stage.TLS, Reason.CONNECTION_LOST)
        assert server.connections == 1, "no second connection without TLS"


async def test_opportunistic_takes_any_certificate() -> None:
    async with SmtpScript(tls=certificates().untrusted) as server:
        got = await attempt(sender_to(server, TlsMode.OPPORTUNISTIC))
    assert got.outcome is AttemptOutcome.ACCEPTED
    assert got.tls
    assert got.tls.issuer == "CN=nobody's CA"


async def test_starttls_that_is_not_offered() -> None:
    async with SmtpScript() as server:
        got = await attempt(sender_to(server, TlsMode.STARTTLS))
    assert (got.outcome, got.stage, got.reason) == (
        AttemptOutcome.UNSENT, Stage.STARTTLS, Reason.STARTTLS_UNAVAILABLE,
    )  # fmt: skip
    assert server.lines == [b"EHLO probe.test\r\n", b"QUIT\r\n"]


@pytest.mark.parametrize("code", [b"454", b"502"])
async def test_starttls_that_is_refused(code: bytes) -> None:
    async with SmtpScript(tls=certificates().good, starttls=code + b" not now\r\n") as server:
        got = await attempt(sender_to(server, TlsMode.STARTTLS))
    assert (got.outcome, got.stage, got.reason) == (
        AttemptOutcome.UNSENT, Stage.STARTTLS, Reason.STARTTLS_UNAVAILABLE,
    )  # fmt: skip
    assert got.last_reply
    assert got.last_reply.reply.code == int(code)


@pytest.mark.parametrize("how", [then, lambda *answers: b"".join(answers)])
async def test_plaintext_after_starttls(how) -> None:  # type: ignore[no-untyped-def]
    injected = how(b"220 2.0.0 go\r\n", b"250 injected.example\r\n")
    async with SmtpScript(tls=certificates().good, starttls=injected) as server:
        got = await attempt(sender_to(server, TlsMode.STARTTLS))
    assert (got.outcome, got.stage, got.reason) == (
        AttemptOutcome.UNSENT, Stage.STARTTLS, Reason.PLAINTEXT_AFTER_STARTTLS,
    )  # fmt: skip
    assert not any(b"MAIL" in line for line in server.lines)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(hang, Reason.TIMEOUT), (close, Reason.CONNECTION_LOST), (reset, Reason.CONNECTION_LOST)],
)
@pytest.mark.parametrize("mode", [TlsMode.STARTTLS, TlsMode.IMPLICIT])
async def test_a_handshake_that_does_not_end(mode: TlsMode, answer: Answer, reason: Reason) -> None:
    async def stalls(wire: Wire) -> None:
        if mode is TlsMode.STARTTLS:
            await wire.say(b"220 2.0.0 go\r\n")
        await wire.reader.readexactly(5)
        assert not isinstance(answer, bytes)
        await answer(wire)

    says = {"starttls" if mode is TlsMode.STARTTLS else "greeting": stalls}
    async with SmtpScript(ehlo=EHLO.replace(b"250-SIZE", b"250-STARTTLS\r\n250-SIZE"), **says) as server:
        got = await attempt(sender_to(server, mode), timeout=0.3 if reason is Reason.TIMEOUT else 5)
    assert (got.outcome, got.stage, got.reason) == (AttemptOutcome.UNSENT, Stage.TLS, reason)


async def test_a_handshake_that_is_refused() -> None:
    async def alert(wire: Wire) -> None:
        await wire.reader.readexactly(5)
        await wire.say(b"\x15\x03\x03\x00\x02\x02\x28")  # fatal, handshake_failure: RFC 8446 6
        await hang(wire)

    async with SmtpScript(greeting=alert) as server:
        got = await attempt(sender_to(server, TlsMode.IMPLICIT))
    assert (got.outcome, got.stage, got.reason) == (AttemptOutcome.UNSENT, Stage.TLS, Reason.TLS_HANDSHAKE)
    assert "HANDSHAKE_FAILURE" in got.detail


async def test_implicit_on_a_starttls_port_is_said_as_such() -> None:
    async with SmtpScript(tls=certificates().good) as server:
        got = await attempt(sender_to(server, TlsMode.IMPLICIT))
    assert (got.outcome, got.stage, got.reason) == (AttemptOutcome.UNSENT, Stage.TLS, Reason.WRONG_TLS_MODE)
    assert "starttls" in got.detail


@pytest.mark.parametrize("mode", [TlsMode.STARTTLS, TlsMode.PLAINTEXT, TlsMode.OPPORTUNISTIC])
async def test_another_mode_on_an_implicit_port_is_said_as_such(mode: TlsMode) -> None:
    async with SmtpScript(tls=certificates().good, implicit=True) as server:
        got = await attempt(sender_to(server, mode), timeout=0.2)
    assert (got.outcome, got.stage, got.reason) == (AttemptOutcome.UNSENT, Stage.GREETING, Reason.WRONG_TLS_MODE)
    assert "wants implicit TLS" in got.detail


async def test_a_server_that_is_just_slow_is_not_taken_for_tls() -> None:
    async def answers_tls_with_text(wire: Wire) -> None:
        await wire.reader.read(100)
        await wire.say(b"220 hello at last\r\n")
        await hang(wire)

    async with SmtpScript(greeting=answers_tls_with_text) as server:
        got = await attempt(sender_to(server), timeout=0.2)
    assert (got.stage, got.reason) == (Stage.GREETING, Reason.TIMEOUT)


async def test_two_at_once_share_a_context(monkeypatch: pytest.MonkeyPatch) -> None:
    async with server_with(certificates().good, TlsMode.STARTTLS) as server:
        sender = sender_to(server, TlsMode.STARTTLS)
        await attempt(sender)
        monkeypatch.setattr("mailprobe.net.tls._build", lambda *_: pytest.fail("built a context anew"))
        got = await asyncio.gather(*(attempt(sender) for _ in range(5)))
    assert {one.outcome for one in got} == {AttemptOutcome.ACCEPTED}
