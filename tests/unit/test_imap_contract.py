"""What we use of aioimaplib beyond its documentation: an upgrade that changes it fails here, before a user does."""

from __future__ import annotations

import asyncio
import importlib.metadata
import inspect
import logging

import pytest
from aioimaplib import aioimaplib as library

from mailprobe.imap.protocol import Exchange, Protocol

COMMANDS = set(
    "CAPABILITY STARTTLS AUTHENTICATE LOGIN LIST SELECT STATUS NOOP FETCH "  # noqa: SIM905 - a list to read
    "SEARCH STORE EXPUNGE IDLE GETQUOTAROOT LOGOUT".split()
)


class FakeTransport:
    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        """As a transport's."""


async def protocol_on(transport: FakeTransport) -> Protocol:
    protocol = Protocol(asyncio.get_running_loop(), lambda: 0.0)
    protocol.connection_made(transport)
    protocol.data_received(b"* OK hello\r\n")
    return protocol


def test_the_version_is_one_that_was_looked_at() -> None:
    assert importlib.metadata.version("aioimaplib").startswith("2.0.")


async def test_private_names_are_there() -> None:
    protocol = library.IMAP4ClientProtocol(asyncio.get_running_loop())
    for name in ("pending_sync_command", "pending_async_commands", "state", "transport", "tagnum", "tagpre"):
        assert hasattr(protocol, name), name
    assert protocol.pending_async_commands == {}
    for name in ("execute", "send", "new_tag", "connection_made", "connection_lost", "data_received", "_response_done"):
        assert callable(getattr(protocol, name)), name
    assert list(inspect.signature(protocol.execute).parameters) == ["command", "scrub"]
    assert list(inspect.signature(protocol.send).parameters) == ["line", "scrub"]
    command = library.Command("NOOP", "A1")
    for name in ("_event", "_exception", "_resp_result", "_resp_lines"):
        assert hasattr(command, name), name
    assert {library.NONAUTH, library.AUTH, library.SELECTED, library.LOGOUT}
    assert issubclass(library.Abort, library.AioImapException)


def test_the_library_knows_every_command_that_we_send() -> None:
    assert set(library.Commands) >= COMMANDS


def test_what_is_overridden_is_still_what_the_library_calls() -> None:
    source = inspect.getsource(library.IMAP4ClientProtocol)
    assert "self.send(str(command), scrub=scrub)" in source
    assert "self._response_done(line)" in source
    assert "await command.wait()" in source


@pytest.mark.parametrize("name", ["NOOP", "SELECT", "LIST", "STATUS", "AUTHENTICATE"])
async def test_a_command_is_paired_with_its_answer(name: str) -> None:
    transport = FakeTransport()
    protocol = await protocol_on(transport)
    protocol.state = library.NONAUTH if name == "AUTHENTICATE" else library.AUTH
    exchange = Exchange(name, protocol.new_tag(), "x")
    protocol.begin(exchange)
    waiting = asyncio.ensure_future(protocol.execute(exchange))
    await asyncio.sleep(0)
    assert transport.written == [f"{exchange.tag} {name} x\r\n".encode()]
    protocol.data_received(b"* LIST 1\r\n* STATUS 2\r\n" + exchange.tag.encode() + b" NO [X] y\r\n")
    await waiting
    assert (exchange.result, exchange.text) == ("NO", b"[X] y")
    if name != "NOOP":
        assert [heard.parts for heard in exchange.untagged] == [(b"LIST 1",), (b"STATUS 2",)]


async def test_a_lost_connection_wakes_who_waits() -> None:
    protocol = await protocol_on(FakeTransport())
    protocol.state = library.AUTH
    exchange = Exchange("NOOP", protocol.new_tag())
    waiting = asyncio.ensure_future(protocol.execute(exchange))
    await asyncio.sleep(0)
    protocol.connection_lost(None)
    with pytest.raises(Exception, match="connection lost"):
        await asyncio.wait_for(waiting, 5)


async def test_a_command_shows_no_argument() -> None:
    exchange = Exchange("LOGIN", "A1", '"user" "hunter2"', answers=(b"hunter2",))
    assert "hunter2" not in repr(exchange)
    assert "hunter2" not in repr([exchange])


def test_the_library_is_kept_quiet() -> None:
    for name in ("aioimaplib", "aioimaplib.aioimaplib"):
        assert not logging.getLogger(name).isEnabledFor(logging.DEBUG)
