"""The end of the embedded servers, however soon it comes: nothing is left open on the loop.

uvloop tells of each handle that is still open when it is closed. Where warnings are errors it then never closes that
one, and waits for it without end.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import warnings
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from threading import Event

import pytest

from mailprobe.cli.loops import runner
from mailprobe.lab.servers import Lab, lab
from mailprobe.net.resolve import Resolver

USERS = {"probe@lab.test": "secret"}


def left_open(work: Coroutine[object, object, None]) -> list[str]:
    """Run it to the end of its loop; what was left open then."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with runner() as loop:
            loop.run(work)
        gc.collect()
    return [str(warning.message) for warning in told]


@pytest.mark.parametrize("turns", range(5))
@pytest.mark.parametrize("door", ["submission_port", "submissions_port", "imap_port", "imaps_port", "dns_port"])
def test_it_ends_as_soon_as_somebody_has_come(door: str, turns: int) -> None:
    async def come_and_go(client: socket.socket) -> None:
        async with lab(USERS) as servers:
            client.connect_ex(("127.0.0.1", getattr(servers, door)))
            for _ in range(turns):
                await asyncio.sleep(0)

    with socket.socket() as client:
        client.setblocking(False)
        assert left_open(come_and_go(client)) == []


@contextmanager
def fallen_silent(servers: Lab, door: str) -> Iterator[None]:
    """A client that has secured its connection, and never says, reads or closes anything again."""
    context = ssl.create_default_context(cafile=str(servers.ca_file))
    with socket.create_connection(("127.0.0.1", getattr(servers, door)), timeout=60) as connection:
        if door in ("submission_port", "imap_port"):
            for line in (b"EHLO client\r\n", b"STARTTLS\r\n") if door == "submission_port" else (b"a STARTTLS\r\n",):
                connection.recv(4096)
                connection.sendall(line)
            connection.recv(4096)
        with context.wrap_socket(connection, server_hostname="mail.lab.test"):
            yield


@pytest.mark.parametrize("door", ["submission_port", "submissions_port", "imap_port", "imaps_port"])
def test_it_does_not_wait_for_a_client_that_fell_silent_inside_tls(door: str) -> None:
    silent, over = asyncio.Event(), Event()

    async def fall_silent() -> None:
        async with lab(USERS) as servers:
            loop = asyncio.get_running_loop()

            def stay() -> None:
                with fallen_silent(servers, door):
                    loop.call_soon_threadsafe(silent.set)
                    over.wait(60)

            staying = loop.run_in_executor(None, stay)
            await silent.wait()
        over.set()
        await staying

    assert left_open(fall_silent()) == []


@pytest.mark.parametrize("turns", range(6))
def test_whoever_asks_for_a_name_may_be_cancelled_at_any_time(turns: int) -> None:
    async def ask() -> None:
        async with lab(USERS) as servers:
            resolver = Resolver((("127.0.0.1", servers.dns_port),))
            await resolver.mail_exchangers("lab.test", timeout=60)  # what is read in threads is read now
            asking = asyncio.create_task(resolver.mail_exchangers("lab.test", timeout=60))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])

    assert left_open(ask()) == []
