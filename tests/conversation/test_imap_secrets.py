"""A password is on the wire and nowhere else."""

from __future__ import annotations

import asyncio
import base64
import logging
import traceback

import pytest
from support.imap_script import (
    CAPABILITIES,
    PASSWORD_VARIABLE,
    Action,
    ImapServer,
    Talk,
    close,
    default,
    mailbox_at,
    named,
)
from support.loops import both_loops

from mailprobe.clock import SystemClock
from mailprobe.errors import ProbeFailure
from mailprobe.imap import Session
from mailprobe.net.resolve import Resolver

pytestmark = both_loops

WAYS = {
    "initial response": CAPABILITIES,
    "challenge": CAPABILITIES.replace(" SASL-IR", ""),
    "login": CAPABILITIES.replace("AUTH=PLAIN", ""),
}


async def echo(talk: Talk) -> None:
    """A server that says what it heard."""
    await talk.send(b"%T NO unknown: " + talk.line)


async def bye_and_echo(talk: Talk) -> None:
    await talk.send(b"* BYE unknown: " + talk.line)


@pytest.mark.parametrize("secret", ['hunter"2', "hünter2"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("answer", [default, close, echo, bye_and_echo, b"%T NO no\r\n", b"+ \r\n"], ids=named)
async def test_no_log_and_no_error_has_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, secret: str, way: str, answer: Action
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, secret)
    caplog.set_level(logging.DEBUG)
    for name in ("aioimaplib", "aioimaplib.aioimaplib", "asyncio"):  # even where somebody turns it on
        caplog.set_level(logging.DEBUG, name)
    asyncio.get_running_loop().set_debug(True)
    shown: list[str] = []
    server = ImapServer(capabilities=WAYS[way], says={"authenticate": answer, "login": answer}, users={"user": secret})
    async with server.running():
        try:
            mailbox = mailbox_at(server.port, timeout=0.3 if answer == b"+ \r\n" else 5.0)
            session = await Session.open(mailbox, clock=SystemClock(), resolver=Resolver())
            shown += [repr(session), repr(vars(session)), repr(vars(session._connection.protocol))]
            await session.close()
        except ProbeFailure as failure:
            shown += [str(failure), repr(failure), *traceback.format_exception(failure)]
    shown += [record.getMessage() for record in caplog.records] + [caplog.text]
    encoded = base64.b64encode(f"\0user\0{secret}".encode()).decode()
    assert any("authenticate" in verb or "login" in verb for verb in server.commands())
    for text in shown:
        for hidden in (secret, secret.replace('"', '\\"'), encoded, repr(secret)[1:-1]):
            assert hidden not in text
