"""One connection to one address, and each way not to get it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket

import pytest
from support.loops import both_loops

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.net.connect import connect

pytestmark = both_loops


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_connected(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        server = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {address}")
    with server, await connect(address, server.getsockname()[1], timeout=5) as sock:
        assert sock.getpeername()[:2] == server.getsockname()[:2]
        assert sock.getblocking() is False


async def test_source_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with await connect("127.0.0.1", port, source_address="127.0.0.9", timeout=5) as sock:
            assert sock.getsockname()[0] == "127.0.0.9"


async def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ProbeFailure) as raised:
        await connect("127.0.0.1", port, timeout=5)
    assert (raised.value.stage, raised.value.reason) == (Stage.CONNECT, Reason.CONNECTION_REFUSED)
    assert raised.value.detail == f"127.0.0.1:{port}: Connection refused"


async def test_no_answer() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:  # what does not fit into the queue of the deaf one is dropped
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        with pytest.raises(ProbeFailure) as raised:
            (await connect("127.0.0.1", port, timeout=0.2)).close()
        for filler in fillers:
            filler.close()
    assert (raised.value.stage, raised.value.reason) == (Stage.CONNECT, Reason.TIMEOUT)
    assert raised.value.detail == f"127.0.0.1:{port} did not answer within 0.2 s"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EHOSTUNREACH, Reason.UNREACHABLE),
        (errno.ENETUNREACH, Reason.UNREACHABLE),
        (errno.EACCES, Reason.UNREACHABLE),
        (errno.ETIMEDOUT, Reason.TIMEOUT),
        (errno.ECONNRESET, Reason.CONNECTION_LOST),
    ],
)
async def test_what_the_kernel_says(number: int, reason: Reason, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: _Loop(number))
    with pytest.raises(ProbeFailure) as raised:
        await connect("192.0.2.1", 25, timeout=None)  # type: ignore[arg-type]
    assert raised.value.reason is reason
    assert os.strerror(number) in raised.value.detail


async def test_our_own_limits_are_no_fact_about_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: _Loop(errno.EMFILE))
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        await connect("192.0.2.1", 25, timeout=None)  # type: ignore[arg-type]


class _Loop:
    def __init__(self, number: int) -> None:
        self._number = number

    async def sock_connect(self, *_: object) -> None:
        raise OSError(self._number, os.strerror(self._number))


@pytest.mark.parametrize(("port", "suspected"), [(25, True), (2525, False), (125, False)])
async def test_silence_at_port_25_may_be_our_own_networks(
    port: int, suspected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: _Loop(errno.ETIMEDOUT))
    with pytest.raises(ProbeFailure) as raised:
        await connect("127.0.0.1", port, timeout=5)
    assert raised.value.reason is Reason.TIMEOUT
    assert ("this machine's own network may block port 25" in raised.value.detail) is suspected
