"""A server that repeats the password in its answers, in whatever form: it must not get into a failure's text."""

from __future__ import annotations

import base64

import pytest
from support.imap_script import PASSWORD_VARIABLE, Action, ImapServer, mailbox_at, session_on

from mailprobe.clock import SystemClock
from mailprobe.errors import ProbeFailure
from mailprobe.imap import Session
from mailprobe.net.resolve import Resolver

PASSWORD = "correct-horse-battery"
SASL = base64.b64encode(f"\0user\0{PASSWORD}".encode())


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)


@pytest.mark.parametrize(
    "echo",
    [
        PASSWORD.encode(),
        SASL,
        base64.b64encode(PASSWORD.encode()),
        PASSWORD.encode().hex().encode(),
        PASSWORD.upper().encode(),
        SASL[:24],
    ],
    ids=["plain", "sasl", "base64", "hex", "upper", "a part"],
)
async def test_a_refused_login_does_not_show_the_password(echo: bytes) -> None:
    says: dict[str, Action | list[Action]] = {"authenticate": b"%T NO you said " + echo + b"\r\n"}
    async with ImapServer(says=says).running() as server:
        with pytest.raises(ProbeFailure) as caught:
            await Session.open(mailbox_at(server.port), clock=SystemClock(), resolver=Resolver())
    assert echo.decode() not in str(caught.value)


async def test_what_is_refused_after_the_login_does_not_show_it_either() -> None:
    says: dict[str, Action | list[Action]] = {"select": b"%T NO the password was " + PASSWORD.encode() + b"\r\n"}
    async with ImapServer(says=says, users={"user": PASSWORD}).running() as server, session_on(server) as session:
        with pytest.raises(ProbeFailure) as caught:
            await session.select("INBOX")
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("code", ["AUTHENTICATIONFAILED", "UNAVAILABLE"])
async def test_what_decides_is_read_all_the_same(code: str) -> None:
    refused = b"%T NO [" + code.encode() + b"] not " + PASSWORD.encode() + b"\r\n"
    async with ImapServer(says={"authenticate": refused}).running() as server:
        with pytest.raises(ProbeFailure) as caught:
            await Session.open(mailbox_at(server.port), clock=SystemClock(), resolver=Resolver())
    assert (str(caught.value.reason) == "auth_rejected") == (code == "AUTHENTICATIONFAILED")
    assert str(caught.value).endswith(f"NO [{code}] ***")


@pytest.mark.parametrize("echo", [PASSWORD.encode(), SASL, PASSWORD.encode().hex().encode()])
@pytest.mark.parametrize("said", [b"* BYE %b\r\n", b"%b is no response\r\n"], ids=["bye", "violation"])
async def test_nor_does_a_connection_that_ends(said: bytes, echo: bytes) -> None:
    says: dict[str, Action | list[Action]] = {"select": said % echo}
    async with ImapServer(says=says, users={"user": PASSWORD}).running() as server, session_on(server) as session:
        with pytest.raises(ProbeFailure) as caught:
            await session.select("INBOX")
    assert echo.decode() not in str(caught.value)
    assert "***" in str(caught.value)
