"""A session's IDLE: what ends it, that no news is slept through, and that it never hangs."""

from __future__ import annotations

import asyncio

import pytest
from support.imap_script import (
    PASSWORD_VARIABLE,
    Action,
    ImapServer,
    close,
    drip,
    failing,
    hang,
    reset,
    session_on,
    stocked,
    then,
)
from support.loops import both_loops

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.imap import IdleEnd

pytestmark = both_loops

IMPATIENT = 0.06


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "hunter2")


async def idling(server: ImapServer) -> None:
    """Returns when the server has answered IDLE."""
    async with asyncio.timeout(5):
        while "idle" not in server.commands():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("push", [b"* 1 EXISTS\r\n", b"* 0 RECENT\r\n* 1 EX", b"* 1 exists\r\n* 1 RECENT\r\n* 2 EXI"])
async def test_a_push_ends_idle(push: bytes) -> None:
    async with ImapServer().running() as server, session_on(server) as session:
        await session.select("INBOX")
        waiting = asyncio.ensure_future(session.idle(3600, asyncio.Event()))
        await idling(server)
        await server.push(push)
        if not push.endswith(b"\r\n"):
            await server.push(b"ISTS\r\n")
        assert await asyncio.wait_for(waiting, 5) is IdleEnd.PUSHED
        assert server.commands()[-1] == "done"
        await session.noop()


async def test_being_woken_ends_idle() -> None:
    async with ImapServer().running() as server, session_on(server) as session:
        await session.select("INBOX")
        wake = asyncio.Event()
        waiting = asyncio.ensure_future(session.idle(3600, wake))
        await idling(server)
        wake.set()
        assert await asyncio.wait_for(waiting, 5) is IdleEnd.WOKEN
        assert await session.idle(3600, wake) is IdleEnd.WOKEN  # still set: not even asked for
        assert server.commands().count("idle") == 1
        await session.noop()


async def test_a_quiet_idle() -> None:
    async with ImapServer().running() as server, session_on(server) as session:
        await session.select("INBOX")
        assert await session.idle(0.02, asyncio.Event()) is IdleEnd.QUIET
        await session.noop()


async def test_news_before_idle_end_it_before_it_begins() -> None:
    server = ImapServer(folders={"INBOX": stocked(1)})
    async with server.running(), session_on(server) as session:
        await session.select("INBOX")
        server.folders["INBOX"].deliver()
        await session.noop()
        assert await session.idle(3600, asyncio.Event()) is IdleEnd.PUSHED
        assert "idle" not in server.commands()


async def test_news_between_a_look_and_idle_are_not_slept_through() -> None:
    server = ImapServer(folders={"INBOX": stocked(1)})
    async with server.running(), session_on(server) as session:
        await session.select("INBOX")
        server.folders["INBOX"].deliver()
        assert await asyncio.wait_for(session.idle(3600, asyncio.Event()), 5) is IdleEnd.PUSHED


@pytest.mark.parametrize(
    ("idle", "reason"),
    [
        (then(b"+ idling\r\n", close, pause=0.02), Reason.CONNECTION_LOST),
        (then(b"+ idling\r\n", reset, pause=0.02), Reason.CONNECTION_LOST),
        (then(b"+ idling\r\n", b"* BYE Server shutting down.\r\n", pause=0.02), Reason.CONNECTION_LOST),
        (then(b"+ idling\r\n", b"* BYE [OVERQUOTA] x\r\n", pause=0.02), Reason.THROTTLED),
        (b"* BYE\r\n", Reason.CONNECTION_LOST),
        (b"%T NO not now\r\n", Reason.SERVER_REFUSED),
        (b"%T BAD what\r\n", Reason.UNEXPECTED_REPLY),
    ],
)
async def test_idle_raises_at_once_when_the_connection_ends(idle: Action, reason: Reason) -> None:
    why, alive = await failing({"idle": idle}, lambda session: session.idle(3600, asyncio.Event()), 3600)
    assert (why.stage, why.reason) == (Stage.FETCH, reason)
    assert not alive


async def test_an_idle_that_the_server_ends_by_itself() -> None:
    server = ImapServer(says={"idle": then(b"+ idling\r\n", b"%T OK enough\r\n", pause=0.02)})
    async with server.running(), session_on(server) as session:
        await session.select("INBOX")
        assert await session.idle(3600, asyncio.Event()) is IdleEnd.QUIET
        assert "done" not in server.commands()
        await session.noop()


@pytest.mark.parametrize("done", [hang, drip(b"* 1 RECENT* 1 RECENT* 1 RECENT", 0.03)])
async def test_a_half_open_connection_is_noticed_when_idle_ends(done: Action) -> None:
    why, alive = await failing({"done": done}, lambda session: session.idle(0.02, asyncio.Event()), IMPATIENT)
    assert (why.stage, why.reason) == (Stage.FETCH, Reason.TIMEOUT)
    assert not alive


async def test_a_cancelled_idle_ends_the_session() -> None:
    async with ImapServer().running() as server, session_on(server) as session:
        await session.select("INBOX")
        waiting = asyncio.ensure_future(session.idle(3600, asyncio.Event()))
        await idling(server)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(ProbeFailure):
            await session.noop()


async def test_without_idle_it_is_a_short_wait_that_ends_with_the_connection() -> None:
    async with ImapServer(capabilities="IMAP4rev1").running() as server, session_on(server) as session:
        await session.select("INBOX")
        assert await session.idle(0.02, asyncio.Event()) is IdleEnd.QUIET
        wake = asyncio.Event()
        waiting = asyncio.ensure_future(session.idle(3600, wake))
        await asyncio.sleep(0)
        wake.set()
        assert await waiting is IdleEnd.WOKEN
        assert "idle" not in server.commands()
        waiting = asyncio.ensure_future(session.idle(3600, asyncio.Event()))
        await asyncio.sleep(0)
        server.talks[0].writer.close()
        with pytest.raises(ProbeFailure) as caught:
            await asyncio.wait_for(waiting, 5)
        assert caught.value.reason is Reason.CONNECTION_LOST
