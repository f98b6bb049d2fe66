"""Logging in: one mechanism, one try, and nothing of the password anywhere."""

from __future__ import annotations

import base64
from dataclasses import replace
from ipaddress import ip_address

import pytest
from support.loops import both_loops
from support.smtp_attempts import LOGIN, PASSWORD, USERNAME, attempt, certificates, said, sender_to, stages_of
from support.smtp_script import EHLO, Answer, SmtpScript, Wire

from mailprobe.errors import Reason, Stage
from mailprobe.model import Attempt, AttemptOutcome, TlsMode
from mailprobe.plan import Login, SecretReference

pytestmark = both_loops

LOGIN_ONLY = EHLO.replace(b"CRAM-MD5 LOGIN PLAIN", b"CRAM-MD5 LOGIN")
ASKS_USER, ASKS_PASSWORD = b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n"
WELCOME = b"235 2.7.0 ok\r\n"


def encoded(text: str) -> bytes:
    return base64.b64encode(text.encode())


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILPROBE_TEST_PASSWORD", PASSWORD)


def logins(server: SmtpScript) -> list[bytes]:
    return [line for line in server.lines if line.upper().startswith(b"AUTH")]


async def test_plain_is_preferred_and_is_one_command() -> None:
    async with SmtpScript() as server:
        got = await attempt(sender_to(server, login=LOGIN))
    assert got.outcome is AttemptOutcome.ACCEPTED
    assert logins(server) == [b"AUTH PLAIN " + encoded(f"\0{USERNAME}\0{PASSWORD}") + b"\r\n"]
    assert "auth" in stages_of(got)
    assert "AUTH PLAIN ***" in said(got, ">")


@pytest.mark.parametrize("line", [b"AUTH CRAM-MD5 LOGIN", b"AUTH=LOGIN CRAM-MD5"])
async def test_login_where_there_is_no_plain(line: bytes) -> None:
    ehlo = LOGIN_ONLY.replace(b"AUTH CRAM-MD5 LOGIN", line)
    async with SmtpScript(ehlo=ehlo, auth=ASKS_USER, replies_to_334=(ASKS_PASSWORD, WELCOME)) as server:
        got = await attempt(sender_to(server, login=LOGIN))
    assert got.outcome is AttemptOutcome.ACCEPTED
    assert server.lines[1:4] == [b"AUTH LOGIN\r\n", encoded(USERNAME) + b"\r\n", encoded(PASSWORD) + b"\r\n"]
    assert said(got, ">")[1:4] == ["AUTH LOGIN", "***", "***"]


REFUSALS = [
    (b"535 5.7.8 wrong\r\n", AttemptOutcome.UNSENT, Reason.AUTH_REJECTED),
    (b"534 5.7.9 too weak\r\n", AttemptOutcome.UNSENT, Reason.AUTH_REJECTED),
    (b"454 4.7.0 try later\r\n", AttemptOutcome.UNSENT, Reason.AUTH_UNAVAILABLE),
    (b"432 4.7.12 new password needed\r\n", AttemptOutcome.UNSENT, Reason.AUTH_UNAVAILABLE),
    (b"421 4.7.0 go away\r\n", AttemptOutcome.DEFERRED, Reason.DEFERRED),
    (b"334 \r\n", AttemptOutcome.UNSENT, Reason.UNEXPECTED_REPLY),
]


@pytest.mark.parametrize(("answer", "outcome", "reason"), REFUSALS)
async def test_refused_is_one_failed_login(answer: bytes, outcome: AttemptOutcome, reason: Reason) -> None:
    async with SmtpScript(auth=answer, replies_to_334=(b"501 5.5.4 cancelled\r\n",)) as server:
        got = await attempt(sender_to(server, login=LOGIN))
    assert (got.outcome, got.stage, got.reason) == (outcome, Stage.AUTH, reason)
    assert len(logins(server)) == 1
    assert not any(line.startswith(b"MAIL") for line in server.lines)


@pytest.mark.parametrize("at", [0, 1, 2])
async def test_login_refused_at_each_step(at: int) -> None:
    refusal = b"535 5.7.8 wrong\r\n"
    steps: list[Answer] = [ASKS_USER, ASKS_PASSWORD, WELCOME]
    steps[at] = refusal
    async with SmtpScript(ehlo=LOGIN_ONLY, auth=steps[0], replies_to_334=tuple(steps[1 : at + 1])) as server:
        got = await attempt(sender_to(server, login=LOGIN))
    assert (got.stage, got.reason) == (Stage.AUTH, Reason.AUTH_REJECTED)
    assert len(logins(server)) == 1
    assert server.lines[-1] == b"QUIT\r\n"
    assert len(server.lines) == at + 3


@pytest.mark.parametrize("ehlo", [b"250 script.test\r\n", b"250-script.test\r\n250 AUTH CRAM-MD5 XOAUTH2\r\n"])
async def test_nothing_that_we_speak_is_offered(ehlo: bytes) -> None:
    async with SmtpScript(ehlo=ehlo) as server:
        got = await attempt(sender_to(server, login=LOGIN))
    assert (got.outcome, got.stage, got.reason) == (AttemptOutcome.UNSENT, Stage.AUTH, Reason.AUTH_UNAVAILABLE)
    assert "needed is AUTH PLAIN or LOGIN" in got.detail
    assert logins(server) == []


async def test_no_password_over_an_unencrypted_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere:
        is_loopback = False

    monkeypatch.setattr("mailprobe.smtp.dialogue.ip_address", lambda _: Elsewhere())
    async with SmtpScript() as server:
        got = await attempt(sender_to(server, TlsMode.OPPORTUNISTIC, login=LOGIN))
    assert (got.outcome, got.reason) == (AttemptOutcome.UNSENT, Reason.AUTH_UNAVAILABLE)
    assert logins(server) == []
    async with SmtpScript() as server:  # the user said plaintext, and the configuration let it pass
        assert (await attempt(sender_to(server, login=LOGIN))).outcome is AttemptOutcome.ACCEPTED
    assert ip_address("127.0.0.1").is_loopback


async def test_mechanisms_are_those_offered_within_tls() -> None:
    async with SmtpScript(
        tls=certificates().good, ehlo=b"250-x\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n", secure_ehlo=b"250 x\r\n"
    ) as server:
        got = await attempt(sender_to(server, TlsMode.STARTTLS, login=LOGIN))
    assert (got.stage, got.reason) == (Stage.AUTH, Reason.AUTH_UNAVAILABLE)


async def test_a_missing_password_makes_no_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.delenv("MAILPROBE_TEST_PASSWORD")
    async with SmtpScript() as server:
        got = await attempt(sender_to(server, login=LOGIN))
    assert (got.outcome, got.stage, got.reason) == (AttemptOutcome.UNSENT, Stage.AUTH, Reason.AUTH_UNAVAILABLE)
    assert got.peer is None
    assert server.connections == 0


@pytest.mark.usefixtures("nothing_blocks")
async def test_a_password_in_a_file_is_read_again(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("mailprobe.auth.passwords.FRESH_SECONDS", 0.0)
    file = tmp_path / "password"
    sender_login = Login(USERNAME, SecretReference(file=file))
    async with SmtpScript() as server:
        for word in ("first", "second"):
            file.write_text(word + "\n")
            await attempt(sender_to(server, login=sender_login))
    assert [base64.b64decode(line.split()[2]).split(b"\0")[2] for line in logins(server)] == [b"first", b"second"]


def echo(form: bytes) -> dict[str, bytes]:
    """Each way in which a server could bring a text back, by the answer that does it."""
    half = len(form) // 2
    return {
        "in a refusal": b"535 5.7.8 no: " + form + b"\r\n",
        "in a success": b"235 2.7.0 " + form + b"\r\n",
        "split over lines": b"535-" + form[:half] + b"\r\n535 " + form[half:] + b"\r\n",
        "spaced": b"535 " + b" ".join(form[at : at + 1] for at in range(len(form))) + b"\r\n",
        "half of it": b"535 " + form[half // 2 : half // 2 + half] + b"\r\n",
        "in another case": b"535 " + form.swapcase() + b"\r\n",
        "in a challenge": b"334 " + form + b"\r\n",
        "as no reply at all": form + b"\r\n",
        "in two codes": b"535-" + form + b"\r\n235 " + form + b"\r\n",
        "unasked": b"235 ok\r\n" + form,
        "in a reply too long": b"535-" + form + b"\r\n" + b"535-x\r\n" * 6000,
    }


FORMS = {
    "raw": PASSWORD.encode(),
    "base64": encoded(PASSWORD),
    "the answer": encoded(f"\0{USERNAME}\0{PASSWORD}"),
    "base64 of more": encoded(f"user={PASSWORD}&"),
    "hexadecimal": PASSWORD.encode().hex().encode(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", echo(b""))
async def test_a_server_that_echoes_the_password(form: str, how: str) -> None:
    answer = echo(FORMS[form])[how]
    for ehlo, says in (
        (EHLO, {"auth": answer}),
        (LOGIN_ONLY, {"auth": ASKS_USER, "replies_to_334": (ASKS_PASSWORD, answer)}),
        (EHLO, {"auth": WELCOME, "rcpt": answer.replace(b"535", b"550").replace(b"235", b"250")}),
    ):
        async with SmtpScript(ehlo=ehlo, **says) as server:  # type: ignore[arg-type]
            got = await attempt(sender_to(server, login=LOGIN))
        assert_clean(got)


def assert_clean(attempt: Attempt) -> None:
    """No five characters of any form of the password anywhere in all that is kept."""
    dense = "".join(repr(replace(attempt, peer=None)).split()).casefold()
    for form in FORMS.values():
        text = "".join(form.decode().split()).casefold()
        found = [text[at : at + 12] for at in range(len(text) - 11) if text[at : at + 12] in dense]
        assert not found, f"{found} in {dense}"


@pytest.mark.parametrize("tls", [TlsMode.PLAINTEXT, TlsMode.STARTTLS])
async def test_a_password_that_is_like_the_servers_own_name(tls: TlsMode) -> None:
    """What is shown is hidden; what it means is not."""
    name = b"250-mx.STAPLE.test\r\n"
    offered = EHLO.replace(b"250-script.test\r\n", name)
    plain = offered if tls is TlsMode.PLAINTEXT else name + b"250 STARTTLS\r\n"
    taken = b"250 2.0.0 staple.test has it, queued as 4Zx9\r\n"
    async with SmtpScript(tls=certificates().good, ehlo=plain, secure_ehlo=offered, dot=taken) as server:
        got = await attempt(sender_to(server, tls, login=LOGIN))
    assert (got.outcome, got.queue_id) == (AttemptOutcome.ACCEPTED, "4Zx9")
    assert (got.tls is not None) is (tls is TlsMode.STARTTLS)
    last = next(one.reply for one in got.replies if one.stage is Stage.END_OF_DATA)
    assert (last.code, str(last.enhanced), last.lines) == (250, "2.0.0", ("***",))
    assert "staple" not in repr(got).casefold()


async def test_a_password_as_queue_id_or_mechanism_is_not_shown() -> None:
    form = encoded(PASSWORD)
    async with SmtpScript(dot=b"250 queued as " + form + b"\r\n") as server:
        got = await attempt(sender_to(server, login=LOGIN))
    assert (got.outcome, got.queue_id) == (AttemptOutcome.ACCEPTED, None)
    assert_clean(got)
    async with SmtpScript(ehlo=b"250-x\r\n250 AUTH CRAM-MD5 " + form + b"\r\n") as server:
        got = await attempt(sender_to(server, login=LOGIN))
    assert got.reason is Reason.AUTH_UNAVAILABLE
    assert_clean(got)


async def test_what_a_challenge_says_is_never_kept() -> None:
    """It may hold the password in a form that nobody thought of."""
    async with SmtpScript(auth=b"334 " + PASSWORD[::-1].encode() + b"\r\n") as server:
        got = await attempt(sender_to(server, login=LOGIN))
    assert PASSWORD[::-1] not in repr(got)
    assert "334 ***" in said(got, "<")


async def test_the_password_is_in_no_text_of_what_is_kept() -> None:
    async with SmtpScript() as server:
        assert_clean(await attempt(sender_to(server, login=LOGIN)))

    async def lies(wire: Wire) -> None:
        await wire.say(b"334 " + server.lines[-1].strip() + b"\r\n")

    async with SmtpScript(auth=lies) as server:
        assert_clean(await attempt(sender_to(server, login=LOGIN)))
