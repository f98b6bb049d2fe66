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
OPEN = "open: imap cleans whole forms only, and only while it logs in; smtp.transcript.Scrubber does better"


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)


@pytest.mark.parametrize(
    "echo",
    [
        PASSWORD.encode(),
        SASL,
        pytest.param(base64.b64encode(PASSWORD.encode()), marks=pytest.mark.xfail(reason=OPEN)),
        pytest.param(PASSWORD.encode().hex().encode(), marks=pytest.mark.xfail(reason=OPEN)),
        pytest.param(PASSWORD.upper().encode(), marks=pytest.mark.xfail(reason=OPEN)),
        pytest.param(SASL[:24], marks=pytest.mark.xfail(reason=OPEN)),
    ],
    ids=["plain", "sasl", "base64", "hex", "upper", "a part"],
)
async def test_a_refused_login_does_not_show_the_password(echo: bytes) -> None:
    says: dict[str, Action | list[Action]] = {"authenticate": b"%T NO you said " + echo + b"\r\n"}
    async with ImapServer(says=says).running() as server:
        with pytest.raises(ProbeFailure) as caught:
            await Session.open(mailbox_at(server.port), clock=SystemClock(), resolver=Resolver())
    assert echo.decode() not in str(caught.value)


@pytest.mark.xfail(reason=OPEN)
async def test_what_is_refused_after_the_login_does_not_show_it_either() -> None:
    says: dict[str, Action | list[Action]] = {"select": b"%T NO the password was " + PASSWORD.encode() + b"\r\n"}
    async with ImapServer(says=says, users={"user": PASSWORD}).running() as server, session_on(server) as session:
        with pytest.raises(ProbeFailure) as caught:
            await session.select("INBOX")
    assert PASSWORD not in str(caught.value)
