"""From an endpoint to a session: what is said and done on the way, and how each step fails."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import socket
import ssl
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from support.imap_script import (
    CAPABILITIES,
    PASSWORD_VARIABLE,
    Action,
    ImapServer,
    Talk,
    close,
    drip,
    hang,
    mailbox_at,
    named,
    reset,
    session_on,
    then,
)
from support.loops import both_loops

from mailprobe.clock import SystemClock
from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.imap import Session
from mailprobe.lab.certificates import Authority
from mailprobe.model import TlsMode
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Mailbox

pytestmark = both_loops

NO_PLAIN = CAPABILITIES.replace("AUTH=PLAIN", "")


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "hunter2")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("imap-ca"))
    authority.issue("good", ("localhost", "127.0.0.1"))
    authority.issue("expired", ("localhost",), begins=timedelta(days=-9), ends=timedelta(days=-1))
    authority.issue("wrongname", ("elsewhere.test",))
    return authority


def server_context(authority: Authority, label: str = "good") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.directory / f"{label}.pem", authority.directory / f"{label}.key")
    return context


async def opened(mailbox: Mailbox) -> Session:
    return await Session.open(mailbox, clock=SystemClock(), resolver=Resolver())


async def failure(mailbox: Mailbox) -> ProbeFailure:
    with pytest.raises(ProbeFailure) as caught:
        (await opened(mailbox)).abort()
    assert "hunter" not in str(caught.value)
    return caught.value


async def failing(says: Mapping[str, Action], timeout: float = 5.0) -> ProbeFailure:
    async with ImapServer(says=dict(says)).running() as server:
        return await failure(mailbox_at(server.port, timeout=timeout))


# ---- logging in


async def test_plain_with_initial_response() -> None:
    async with ImapServer().running() as server, session_on(server) as session:
        assert server.commands() == ["capability", "authenticate", "capability"]
        assert server.heard[1].split(b" ", 1)[1] == b"AUTHENTICATE PLAIN %s\r\n" % base64.b64encode(b"\0user\0hunter2")
        assert session.capabilities >= {"IDLE", "UIDPLUS"}
        assert session.tls is None
        assert session.alive


async def test_plain_without_initial_response() -> None:
    async def ask_for_it(talk: Talk) -> None:
        await talk.send(b"+ \r\n")
        response = base64.b64decode(await talk.reader.readline())
        await talk.send(b"%T OK in\r\n" if response == b"\0user\0hunter2" else b"%T NO out\r\n")

    server = ImapServer(capabilities=CAPABILITIES.replace(" SASL-IR", ""), says={"authenticate": ask_for_it})
    async with server.running(), session_on(server) as session:
        assert session.alive


async def test_capabilities_are_asked_again_after_login() -> None:
    before = b"* CAPABILITY IMAP4rev1 auth=plain sasl-ir\r\n%T OK\r\n"
    after = b"* CAPABILITY IMAP4rev1 idle\r\n%T OK\r\n"
    server = ImapServer(says={"capability": [before, after]})
    async with server.running(), session_on(server) as session:
        assert session.capabilities == {"IMAP4REV1", "IDLE"}  # Cyrus offers IDLE only now


@pytest.mark.parametrize(
    ("user", "secret"),
    [
        ("user", "hunter2"),
        ("a user", 'p "q" \\ ('),
        ("ü@ä", "geheim"),
        ("user", "pässwört"),
        ("ü", "ß"),
        ("u", "\x7f%T"),
    ],
)
async def test_login_quotes_or_sends_literals(monkeypatch: pytest.MonkeyPatch, user: str, secret: str) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, secret)
    said: list[bytes] = []

    async def login(talk: Talk) -> None:
        line: bytes = talk.line
        said.append(line)
        while line.endswith(b"}\r\n"):
            await talk.send(b"+ more\r\n")
            said.append(await talk.reader.readexactly(int(line.rsplit(b"{", 1)[1][:-3])))
            line = await talk.reader.readline()
            said.append(line)
        await talk.send(b"%T OK in\r\n")

    server = ImapServer(capabilities=NO_PLAIN, says={"login": login})
    async with server.running():
        session = await opened(mailbox_at(server.port, user=user))
        session.abort()
    words: list[str] = []
    text = b"".join(said).split(b" ", 2)[2].removesuffix(b"\r\n")
    while text:
        if text.startswith(b'"'):
            end = next(at for at in range(1, len(text)) if text[at : at + 1] == b'"' and not _escaped(text, at))
            words.append(text[1:end].decode().replace('\\"', '"').replace("\\\\", "\\"))
            text = text[end + 1 :].lstrip()
        else:
            head, _, rest = text.partition(b"}\r\n")
            size = int(head[1:])
            words.append(rest[:size].decode())
            text = rest[size:].lstrip()
    assert words == [user, secret]


def _escaped(text: bytes, at: int) -> bool:
    before = text[:at]
    return (len(before) - len(before.rstrip(b"\\"))) % 2 == 1


@pytest.mark.parametrize("capabilities", [CAPABILITIES, NO_PLAIN])
async def test_one_wrong_password_is_one_failed_login(monkeypatch: pytest.MonkeyPatch, capabilities: str) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "hunter3")
    server = ImapServer(capabilities=capabilities)
    async with server.running():
        why = await failure(mailbox_at(server.port))
    assert (why.stage, why.reason) == (Stage.AUTH, Reason.AUTH_REJECTED)
    assert sum(verb in ("login", "authenticate") for verb in server.commands()) == 1
    assert server.connections == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"%T NO [AUTHENTICATIONFAILED] no\r\n", Reason.AUTH_REJECTED),
        (b"%T NO no\r\n", Reason.AUTH_REJECTED),
        (b"%T no [authorizationfailed] no\r\n", Reason.AUTH_REJECTED),
        (b"%T NO [UNAVAILABLE] Temporary authentication failure.\r\n", Reason.AUTH_UNAVAILABLE),
        (b"%T NO [INUSE] \r\n", Reason.AUTH_UNAVAILABLE),
        (b"%T NO [LIMIT] too many\r\n", Reason.THROTTLED),
        (b"%T NO [OVERQUOTA] bandwidth\r\n", Reason.THROTTLED),
        (b"%T BAD what?\r\n", Reason.UNEXPECTED_REPLY),
        (b"* BYE [UNAVAILABLE] later\r\n", Reason.AUTH_UNAVAILABLE),
        (b"* BYE go\r\n", Reason.CONNECTION_LOST),
        (b"* BYE go\r\n%T NO [AUTHENTICATIONFAILED] no\r\n", Reason.AUTH_REJECTED),
        (b"+ more\r\n", Reason.TIMEOUT),
        (close, Reason.CONNECTION_LOST),
        (reset, Reason.CONNECTION_LOST),
        (hang, Reason.TIMEOUT),
    ],
)
async def test_what_a_refused_login_means(answer: Action, reason: Reason) -> None:
    why = await failing({"authenticate": answer}, 5.0 if reason is not Reason.TIMEOUT else 0.25)
    assert (why.stage, why.reason) == (Stage.AUTH, reason)


async def test_login_disabled_is_honoured() -> None:
    server = ImapServer(capabilities="IMAP4rev1 LOGINDISABLED AUTH=SCRAM-SHA-256")
    async with server.running():
        why = await failure(mailbox_at(server.port))
    assert (why.stage, why.reason) == (Stage.AUTH, Reason.AUTH_UNAVAILABLE)
    assert server.commands() == ["capability"]


async def test_a_missing_password_is_no_failed_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_VARIABLE)
    server = ImapServer()
    async with server.running():
        why = await failure(mailbox_at(server.port))
    assert (why.stage, why.reason) == (Stage.AUTH, Reason.AUTH_UNAVAILABLE)
    assert server.commands() == ["capability"]


async def test_preauth_needs_no_login() -> None:
    server = ImapServer(says={"greeting": b"* PREAUTH welcome\r\n"})
    async with server.running(), session_on(server) as session:
        assert session.alive
        assert "authenticate" not in server.commands()


# ---- greeting


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"* BYE TOKEN limit\r\n", Reason.SERVER_REFUSED),
        (b"* bye [LIMIT] Too many connections\r\n", Reason.THROTTLED),
        (b"* BYE [OVERQUOTA] Account exceeded command or bandwidth limits.\r\n", Reason.THROTTLED),
        (b"* BYE [UNAVAILABLE] OK PREAUTH\r\n", Reason.SERVER_REFUSED),
        (b"* NO OK\r\n", Reason.MALFORMED_REPLY),
        (b"220 mail ESMTP OK\r\n", Reason.MALFORMED_REPLY),
        (b"* OKAY\r\n", Reason.MALFORMED_REPLY),
        (b"\xff\x00\x1b[31m\r\n", Reason.MALFORMED_REPLY),
        (b"x" * (2 << 20), Reason.REPLY_TOO_LONG),
        (close, Reason.CONNECTION_LOST),
        (reset, Reason.CONNECTION_LOST),
        (hang, Reason.TIMEOUT),
        (drip(b"* OK ready\r\n", 0.04), Reason.TIMEOUT),
    ],
    ids=named,
)
async def test_greetings_that_are_none(greeting: Action, reason: Reason) -> None:
    why = await failing({"greeting": greeting}, 5.0 if reason is not Reason.TIMEOUT else 0.2)
    assert (why.stage, why.reason) == (Stage.GREETING, reason)
    assert "\x1b" not in why.detail


@pytest.mark.parametrize(("answer", "reason"), [(b"%T BAD\r\n", Reason.UNEXPECTED_REPLY), (hang, Reason.TIMEOUT)])
async def test_no_capabilities(answer: Action, reason: Reason) -> None:
    why = await failing({"capability": answer}, 0.2)
    assert (why.stage, why.reason) == (Stage.GREETING, reason)


async def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        why = await failure(mailbox_at(unused.getsockname()[1]))
    assert (why.stage, why.reason) == (Stage.CONNECT, Reason.CONNECTION_REFUSED)


# ---- TLS


async def test_implicit_tls(authority: Authority) -> None:
    server = ImapServer(tls=server_context(authority))
    async with server.running():
        session = await opened(mailbox_at(server.port, TlsMode.IMPLICIT, ca_file=authority.ca_file))
        assert session.tls is not None
        assert session.tls.verified
        assert session.tls.version == "TLSv1.3"
        assert "localhost" in session.tls.subject
        await session.select("INBOX")
        await session.close()
        assert not session.alive


async def test_starttls(authority: Authority) -> None:
    server = ImapServer(starttls=server_context(authority))
    async with server.running():
        session = await opened(mailbox_at(server.port, TlsMode.STARTTLS, ca_file=authority.ca_file))
        assert session.tls is not None
        assert server.commands() == ["capability", "starttls", "capability", "authenticate", "capability"]
        await session.close()


@pytest.mark.parametrize(
    ("label", "reason"), [("expired", Reason.CERTIFICATE_EXPIRED), ("wrongname", Reason.CERTIFICATE_NAME)]
)
@pytest.mark.parametrize("tls", [TlsMode.IMPLICIT, TlsMode.STARTTLS])
async def test_certificates_that_do_not_hold(authority: Authority, label: str, reason: Reason, tls: TlsMode) -> None:
    context = server_context(authority, label)
    implicit = tls is TlsMode.IMPLICIT
    server = ImapServer(tls=context if implicit else None, starttls=None if implicit else context)
    async with server.running():
        why = await failure(mailbox_at(server.port, tls, ca_file=authority.ca_file))
    assert (why.stage, why.reason) == (Stage.TLS, reason)
    assert "authenticate" not in server.commands()


async def test_an_unknown_authority(authority: Authority, tmp_path: Path) -> None:
    server = ImapServer(tls=server_context(authority))
    async with server.running():
        why = await failure(mailbox_at(server.port, TlsMode.IMPLICIT, ca_file=Authority(tmp_path).ca_file))
    assert (why.stage, why.reason) == (Stage.TLS, Reason.CERTIFICATE_UNTRUSTED)


async def test_implicit_tls_on_a_port_that_speaks_first(authority: Authority) -> None:
    async with ImapServer().running() as server:
        why = await failure(mailbox_at(server.port, TlsMode.IMPLICIT, ca_file=authority.ca_file))
    assert (why.stage, why.reason) == (Stage.TLS, Reason.WRONG_TLS_MODE)


@pytest.mark.parametrize("tls", [TlsMode.STARTTLS, TlsMode.PLAINTEXT])
async def test_a_port_that_waits_for_tls(authority: Authority, tls: TlsMode) -> None:
    async with ImapServer(tls=server_context(authority)).running() as server:
        why = await failure(mailbox_at(server.port, tls, ca_file=authority.ca_file, timeout=0.2))
    assert (why.stage, why.reason) == (Stage.GREETING, Reason.WRONG_TLS_MODE)


async def test_a_handshake_that_stalls(authority: Authority) -> None:
    async with ImapServer(says={"greeting": hang}).running() as server:
        why = await failure(mailbox_at(server.port, TlsMode.IMPLICIT, ca_file=authority.ca_file, timeout=0.2))
    assert (why.stage, why.reason) == (Stage.TLS, Reason.TIMEOUT)


async def test_starttls_that_is_not_offered(authority: Authority) -> None:
    async with ImapServer().running() as server:
        why = await failure(mailbox_at(server.port, TlsMode.STARTTLS, ca_file=authority.ca_file))
    assert (why.stage, why.reason) == (Stage.STARTTLS, Reason.STARTTLS_UNAVAILABLE)
    assert server.commands() == ["capability"]


async def test_a_preauth_does_not_talk_us_out_of_tls(authority: Authority) -> None:
    server = ImapServer(starttls=server_context(authority), says={"greeting": b"* PREAUTH hello\r\n"})
    async with server.running():
        why = await failure(mailbox_at(server.port, TlsMode.STARTTLS, ca_file=authority.ca_file))
    assert (why.stage, why.reason) == (Stage.STARTTLS, Reason.STARTTLS_UNAVAILABLE)


async def test_opportunistic_goes_on_in_the_clear() -> None:
    async with ImapServer().running() as server:
        session = await opened(mailbox_at(server.port, TlsMode.OPPORTUNISTIC))
        assert session.tls is None
        session.abort()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"%T OK go\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n", Reason.PLAINTEXT_AFTER_STARTTLS),
        (b"%T OK go\r\n* CAPA", Reason.PLAINTEXT_AFTER_STARTTLS),
        (then(b"%T OK go\r\n", b"* BYE ha\r\n", hang, pause=0.05), Reason.PLAINTEXT_AFTER_STARTTLS),
        (then(b"%T OK go\r\n", b"* OK injected, and long enough to look like a record\r\n", hang), None),
        (then(b"%T OK go\r\n", close), Reason.CONNECTION_LOST),
        (then(b"%T OK go\r\n", hang), Reason.TIMEOUT),
        (b"%T NO later\r\n", Reason.STARTTLS_UNAVAILABLE),
        (b"%T BAD what\r\n", Reason.UNEXPECTED_REPLY),
    ],
)
async def test_starttls_gone_wrong(authority: Authority, answer: Action, reason: Reason | None) -> None:
    server = ImapServer(starttls=server_context(authority), says={"starttls": answer})
    async with server.running():
        timeout = 0.3 if reason is Reason.TIMEOUT else 5.0
        why = await failure(mailbox_at(server.port, TlsMode.STARTTLS, ca_file=authority.ca_file, timeout=timeout))
    in_handshake = reason in (Reason.CONNECTION_LOST, Reason.TIMEOUT)
    assert why.stage is (Stage.TLS if in_handshake else Stage.STARTTLS)
    assert why.reason is (reason or Reason.PLAINTEXT_AFTER_STARTTLS)
    assert "authenticate" not in server.commands()


# ---- ends


@pytest.mark.parametrize("at", ["greeting", "capability", "authenticate"])
async def test_a_cancelled_opening_leaves_no_connection(at: str) -> None:
    reached = asyncio.Event()

    async def stall(talk: Talk) -> None:
        reached.set()
        await hang(talk)

    server = ImapServer(says={at: stall})
    async with server.running():
        opening = asyncio.ensure_future(opened(mailbox_at(server.port)))
        await asyncio.wait_for(reached.wait(), 5)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(server.talks[0].reader.read(), 5)  # ends only when we are gone


async def test_what_ends_before_the_handshake_leaves_no_socket_open(tmp_path: Path) -> None:
    async with ImapServer().running() as server:
        why = await failure(mailbox_at(server.port, TlsMode.IMPLICIT, ca_file=tmp_path / "missing"))
    assert (why.stage, why.reason) == (Stage.TLS, Reason.CERTIFICATE_UNTRUSTED)
    gc.collect()  # a socket left to the collector is a ResourceWarning, and that an error
