"""The adapter on the embedded server (pymap), which `mailprobe demo` runs: a second real implementation."""

from __future__ import annotations

import asyncio

import pytest
from support.imap_script import PASSWORD_VARIABLE, mailbox_at
from support.loops import both_loops

from mailprobe.clock import SystemClock
from mailprobe.imap import IdleEnd, MailboxView, Session
from mailprobe.lab.servers import Lab, lab
from mailprobe.model import TlsMode
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Mailbox

pytestmark = both_loops

USER = "probe@lab.test"


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "hunter2")


def box(servers: Lab, tls: TlsMode) -> Mailbox:
    port = servers.imaps_port if tls is TlsMode.IMPLICIT else servers.imap_port
    return mailbox_at(port, tls, user=USER, ca_file=servers.ca_file)


def message(subject: str) -> bytes:
    return f"From: a@lab.test\r\nSubject: {subject}\r\n\r\nhello\r\n".encode()


@pytest.mark.parametrize("tls", [TlsMode.IMPLICIT, TlsMode.STARTTLS])
async def test_a_whole_life(tls: TlsMode) -> None:
    async with lab({USER: "hunter2"}) as servers:
        session = await Session.open(box(servers, tls), clock=SystemClock(), resolver=Resolver())
        view = await MailboxView.open(session, box(servers, tls))
        assert view.junk == "Junk"
        assert (await view.scan()).found == ()
        await servers.deliver(USER, message("one"))
        await servers.deliver(USER, message("two"), "Junk")
        look = await view.look()
        assert look.complete
        assert [(found.folder, found.junk) for found in look.found] == [("INBOX", False), ("Junk", True)]
        assert [b"Subject: one" in found.headers for found in look.found] == [True, False]
        assert all(found.internaldate_wall for found in look.found)
        waiting = asyncio.ensure_future(view.idle(30, asyncio.Event()))
        await servers.deliver(USER, message("three"))
        assert await waiting is IdleEnd.PUSHED
        pushed = (await view.look()).found
        assert len(pushed) == 1
        for number in range(120):
            await servers.deliver(USER, message(f"foreign {number}"))
        assert len((await view.scan()).found) == 120
        ours = [(found.folder, found.uidvalidity, found.uid) for found in (*look.found, *pushed)]
        assert await view.delete(ours) == frozenset(ours)
        assert await servers.mailboxes.count(USER) == 120
        assert await servers.mailboxes.count(USER, "Junk") == 0
        whole = await view.fetch_message(look.found[0])
        assert whole is None
        await session.close()
