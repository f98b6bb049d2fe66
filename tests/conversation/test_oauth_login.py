"""Logging in with a bearer token, on scripted servers: one mechanism, one try, challenges answered, nothing shown."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from support.imap_script import CAPABILITIES, ImapServer, Talk, mailbox_at
from support.loops import both_loops
from support.smtp_attempts import MESSAGE, USERNAME, said, sender_to, stages_of
from support.smtp_script import EHLO, Answer, SmtpScript

from mailprobe.auth.tokens import Token
from mailprobe.cli import connecting
from mailprobe.cli.connecting import _connect_all
from mailprobe.clock import SystemClock
from mailprobe.errors import NoCredential, ProbeFailure, Reason, Stage
from mailprobe.imap import Session
from mailprobe.model import Attempt, AttemptOutcome
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Login, OAuth2, Plan, Route
from mailprobe.smtp import submit

pytestmark = both_loops

TOKEN = "eyJhbGciOiJIUzI1NiJ9.c29tZS1jbGFpbXMtb2Ytc29tZWJvZHk.dGhlLXNpZ25hdHVyZS1vZi1pdA"
LOGIN = Login(USERNAME, oauth2=OAuth2(token_url="https://idp.example.com/token"))
MICROSOFT = EHLO.replace(b"AUTH CRAM-MD5 LOGIN PLAIN", b"AUTH LOGIN XOAUTH2")
GOOGLE = EHLO.replace(b"AUTH CRAM-MD5 LOGIN PLAIN", b"AUTH LOGIN PLAIN XOAUTH2 PLAIN-CLIENTTOKEN OAUTHBEARER")
SAID = base64.b64encode(b'{"status":"401","schemes":"bearer mac","scope":"https://mail.google.com/"}')
XOAUTH2 = base64.b64encode(f"user={USERNAME}\x01auth=Bearer {TOKEN}\x01\x01".encode())


class Given:
    """A source of the one token, which remembers who refused it."""

    def __init__(self, *, outlived: bool = False) -> None:
        self.refusals = 0
        self.token = Token(TOKEN, lambda: outlived, self._count)

    async def __call__(self, oauth2: OAuth2) -> Token:
        return self.token

    def _count(self, token: Token) -> None:
        self.refusals += 1


async def attempted(server: SmtpScript, given: object) -> Attempt:
    return await submit(
        sender_to(server, login=LOGIN),
        MESSAGE,
        number=1,
        timeout=5.0,
        clock=SystemClock(),
        resolver=Resolver(),
        dot_sent=lambda at: None,
        token_of=given,  # type: ignore[arg-type]
    )


def assert_clean(text: str) -> None:
    forms = (TOKEN, XOAUTH2.decode(), TOKEN.encode().hex())
    assert not any(form[at : at + 16] in text for form in forms for at in range(len(form) - 15))


# ---- SMTP


async def test_xoauth2_where_nothing_else_is_offered() -> None:
    async with SmtpScript(ehlo=MICROSOFT) as server:
        got = await attempted(server, Given())
    assert got.outcome is AttemptOutcome.ACCEPTED
    assert server.lines[1] == b"AUTH XOAUTH2 " + XOAUTH2 + b"\r\n"
    assert "AUTH XOAUTH2 ***" in said(got, ">")
    assert_clean(repr(got))


async def test_oauthbearer_where_both_are_offered() -> None:
    async with SmtpScript(ehlo=GOOGLE) as server:
        got = await attempted(server, Given())
    assert got.outcome is AttemptOutcome.ACCEPTED
    words = server.lines[1].split()
    assert words[:2] == [b"AUTH", b"OAUTHBEARER"]
    wanted = f"n,a={USERNAME},\x01host=127.0.0.1\x01port={server.port}\x01auth=Bearer {TOKEN}\x01\x01"
    assert base64.b64decode(words[2]) == wanted.encode()


REFUSALS: list[tuple[tuple[Answer, ...], bool, Reason]] = [
    ((b"535 5.7.3 Authentication unsuccessful\r\n",), False, Reason.AUTH_REJECTED),
    ((b"535 5.7.3 Authentication unsuccessful\r\n",), True, Reason.TOKEN_EXPIRED),
    ((b"334 " + SAID + b"\r\n", b"535 5.7.8 no\r\n"), False, Reason.AUTH_REJECTED),
    ((b"334 " + SAID + b"\r\n", b"535 5.7.8 no\r\n"), True, Reason.TOKEN_EXPIRED),
    ((b"334 \r\n", b"535 5.7.8 no\r\n"), False, Reason.AUTH_REJECTED),
    ((b"454 4.7.0 Temporary authentication failure\r\n",), True, Reason.AUTH_UNAVAILABLE),
    ((b"334 " + SAID + b"\r\n", b"454 4.7.0 Temporary\r\n"), True, Reason.AUTH_UNAVAILABLE),
    ((b"432 4.3.2 Concurrent connections limit exceeded\r\n",), False, Reason.THROTTLED),
    ((b"334 " + SAID + b"\r\n", b"334 more\r\n"), False, Reason.UNEXPECTED_REPLY),
]


@pytest.mark.parametrize(("answers", "outlived", "reason"), REFUSALS)
@pytest.mark.parametrize("ehlo", [MICROSOFT, GOOGLE])
async def test_refused_is_one_failed_login(
    ehlo: bytes, answers: tuple[Answer, ...], outlived: bool, reason: Reason
) -> None:
    given = Given(outlived=outlived)
    async with SmtpScript(ehlo=ehlo, auth=answers[0], replies_to_334=answers[1:]) as server:
        got = await attempted(server, given)
    assert (got.stage, got.reason) == (Stage.AUTH, reason)
    assert sum(line.startswith(b"AUTH") for line in server.lines) == 1
    assert not any(line.startswith(b"MAIL") for line in server.lines)
    assert given.refusals == (reason in (Reason.AUTH_REJECTED, Reason.TOKEN_EXPIRED))
    if len(answers) == 2:
        assert server.lines[2] == (b"AQ==\r\n" if ehlo is GOOGLE else b"\r\n")
    if answers[0] == b"334 " + SAID + b"\r\n":
        assert '"status": "401", "schemes": "bearer mac"' in got.detail
    assert_clean(repr(got))


async def test_neither_is_offered() -> None:
    async with SmtpScript() as server:
        got = await attempted(server, Given())
    assert (got.stage, got.reason) == (Stage.AUTH, Reason.AUTH_UNAVAILABLE)
    assert "needed is AUTH OAUTHBEARER or XOAUTH2" in got.detail
    assert not any(line.startswith(b"AUTH") for line in server.lines)


@pytest.mark.parametrize("reason", [Reason.AUTH_UNAVAILABLE, Reason.AUTH_REJECTED, Reason.THROTTLED])
async def test_without_a_token_nobody_is_connected_to_and_no_stage_is_timed(reason: Reason) -> None:
    async def none(oauth2: OAuth2) -> Token:
        raise NoCredential(reason, "token endpoint idp.example.com: no answer")

    async with SmtpScript(ehlo=MICROSOFT) as server:
        got = await attempted(server, none)
        assert server.connections == 0
    assert (got.outcome, got.stage, got.reason, got.peer) == (AttemptOutcome.UNSENT, Stage.AUTH, reason, None)
    assert stages_of(got) == []


@pytest.mark.parametrize(
    "answer",
    [
        b"535 5.7.8 no: %s\r\n",
        b"334 %s\r\n",
        b"235 2.7.0 welcome %s\r\n",
        b"%s\r\n",
        b"535-%s\r\n535 no\r\n",
    ],
)
@pytest.mark.parametrize("form", [TOKEN.encode(), XOAUTH2, TOKEN[5:60].encode(), TOKEN.encode().hex().encode()])
async def test_a_server_that_repeats_the_token(answer: bytes, form: bytes) -> None:
    more = (b"535 5.7.8 " + form + b"\r\n",)
    async with SmtpScript(
        ehlo=MICROSOFT, auth=answer % form, replies_to_334=more, rcpt=b"550 " + form + b"\r\n"
    ) as server:
        got = await attempted(server, Given())
    assert_clean(repr(got))


# ---- IMAP

WITH = CAPABILITIES.replace("AUTH=PLAIN", "AUTH=PLAIN AUTH=XOAUTH2")


async def opened(server: ImapServer, given: object) -> Session:
    mailbox = replace(mailbox_at(server.port), login=LOGIN)
    return await Session.open(mailbox, clock=SystemClock(), resolver=Resolver(), token_of=given)  # type: ignore[arg-type]


def refusing(*, challenge: bytes | None, text: bytes, heard: list[bytes]):  # type: ignore[no-untyped-def]
    """An AUTHENTICATE that asks for what it has not got, says its challenge, hears the answer, and says no."""

    async def act(talk: Talk) -> None:
        words = talk.line.split()
        if len(words) < 4:
            await talk.send(b"+ \r\n")
            words.append((await talk.reader.readline()).strip())
        heard.append(words[-1])
        if challenge is not None:
            await talk.send(b"+ " + challenge + b"\r\n")
            heard.append(await talk.reader.readline())
        await talk.send(b"%T " + text + b"\r\n")

    return act


IMAP_REFUSALS = [
    (SAID, b"NO [AUTHENTICATIONFAILED] no", False, Reason.AUTH_REJECTED),
    (SAID, b"NO [AUTHENTICATIONFAILED] no", True, Reason.TOKEN_EXPIRED),
    (None, b"NO AUTHENTICATE failed.", False, Reason.AUTH_REJECTED),
    (None, b"NO [EXPIRED] too old", False, Reason.TOKEN_EXPIRED),
    (None, b"NO [UNAVAILABLE] Temporary authentication failure", True, Reason.AUTH_UNAVAILABLE),
    (None, b"BAD what", False, Reason.UNEXPECTED_REPLY),
]


@pytest.mark.parametrize("initial", [True, False])
@pytest.mark.parametrize(("challenge", "text", "outlived", "reason"), IMAP_REFUSALS)
async def test_refused_by_imap(
    initial: bool, challenge: bytes | None, text: bytes, outlived: bool, reason: Reason
) -> None:
    heard: list[bytes] = []
    capabilities = WITH if initial else WITH.replace(" SASL-IR", "")
    action = refusing(challenge=challenge, text=text, heard=heard)
    server = ImapServer(capabilities=capabilities, says={"authenticate": action})
    async with server.running():
        with pytest.raises(ProbeFailure) as caught:
            await opened(server, Given(outlived=outlived))
    assert (caught.value.stage, caught.value.reason) == (Stage.AUTH, reason)
    assert heard == [XOAUTH2, *([b"\r\n"] if challenge else [])]
    assert server.commands().count("authenticate") == 1
    assert "login" not in server.commands()
    if challenge:
        assert json.loads(caught.value.detail.partition("; ")[2])["status"] == "401"
    assert_clean(repr(caught.value) + caught.value.detail)


async def test_let_in_by_imap() -> None:
    heard: list[bytes] = []
    says = {"authenticate": refusing(challenge=None, text=b"OK welcome " + TOKEN.encode(), heard=heard)}
    server = ImapServer(capabilities=WITH, says=says)
    async with server.running():
        session = await opened(server, Given())
        assert session.alive
        session.abort()
    assert heard == [XOAUTH2]


async def test_imap_without_either() -> None:
    server = ImapServer()
    async with server.running():
        with pytest.raises(ProbeFailure) as caught:
            await opened(server, Given())
    assert caught.value.reason is Reason.AUTH_UNAVAILABLE
    assert "AUTH=OAUTHBEARER" in caught.value.detail
    assert not {"authenticate", "login"} & set(server.commands())


# ---- check --connect


@pytest.mark.parametrize(
    ("refusal", "means"),
    [
        (b"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled", "SMTP AUTH is switched off"),
        (b"535 5.7.3 Authentication unsuccessful [AM0PR01CA0001.example 2026]", "New-ServicePrincipal"),
        (b"550 5.7.30 Basic authentication is not supported for Client Submission.", "no longer taken here"),
    ],
)
async def test_check_explains_the_usual_mistakes(refusal: bytes, means: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "Tokens", lambda clock, publish: _Tokens())
    imap = ImapServer(capabilities=WITH, says={"authenticate": b"%T NO AUTHENTICATE failed.\r\n"})
    said_of: list[str] = []
    async with SmtpScript(ehlo=MICROSOFT, auth=refusal + b"\r\n") as smtp, imap.running():
        sender = sender_to(smtp, login=LOGIN)
        mailbox = replace(mailbox_at(imap.port), login=LOGIN)
        route = Route("r", sender, mailbox, 60, 300, 86400, 5.0)
        a_plan = Plan({"r": route}, {sender.name: sender}, {mailbox.name: mailbox})
        assert not await _connect_all(a_plan, said_of.append, lambda ended, wanted: None)
    text = " ".join(" ".join(said_of).split())
    assert f"failed auth_rejected: {refusal.decode()[:10]}" in text
    assert " means " in text
    assert means in text
    assert_clean(text)


class _Tokens:
    """Stands in for the sources of tokens."""

    token_of = Given()

    def keep(self, users: object) -> dict[OAuth2, object]:
        return {}
