"""The door of the HTTP server, with real connections that ask for nothing, or half of something."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from support.loops import both_loops
from test_web_server import Site, no_probe, serving

from mailprobe.web import door

pytestmark = both_loops

HALF = b"GET / HTTP/1.1\r\nX: "


def port_of(site: Site) -> int:
    return int(site.server.url.rstrip("/").rpartition(":")[2])


async def half_sent(site: Site, stack: AsyncExitStack) -> asyncio.StreamReader:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(site))
    stack.callback(writer.close)
    writer.write(HALF)
    return reader


async def ended(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(5):
            return await reader.read() == b""
    except ConnectionError:
        return True


async def test_a_flood_of_half_sent_requests_holds_few_connections_and_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(door, "most_connections", lambda: 10)
    async with serving() as site, AsyncExitStack() as stack:
        readers = [await half_sent(site, stack) for _ in range(60)]
        assert (await site.get("/-/healthy"))[0] == 200
        assert all(await asyncio.gather(*(ended(reader) for reader in readers[:50])))


async def test_a_request_has_to_come_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "FIRST_REQUEST", 0.1)
    async with serving() as site, AsyncExitStack() as stack:
        assert await ended(await half_sent(site, stack))


async def test_a_second_request_that_stays_half_sent_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "KEEP_ALIVE", 0.1)
    async with serving() as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(site))
        writer.write(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n" + HALF)
        async with asyncio.timeout(5):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        try:
            async with asyncio.timeout(5):
                await reader.read()
        except ConnectionError:
            pass
        writer.close()


NAMES = [("localhost", 200), ("127.0.0.1:9", 200), ("[::1]:9", 200), ("a.localhost", 200), ("evil.example", 421)]


@pytest.mark.parametrize(("name", "status"), [*NAMES, ("localhost.evil.example", 421), ("127.0.0.1.nip.io", 421)])
async def test_on_loopback_no_other_name_is_answered(name: str, status: int) -> None:
    async with serving() as site:
        assert (await site.get("/", headers={"Host": name}))[0] == status


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}])
async def test_another_sites_page_neither_reloads_nor_sends_a_mail(headers: dict[str, str]) -> None:
    async with serving(probe=no_probe) as site:
        assert (await site.get("/-/reload", "POST", headers=headers))[0] == 403
        assert (await site.get("/probe?route=inbound", headers=headers))[0] == 403
        assert (await site.get("/-/reload", "POST", headers={"Origin": site.server.url.rstrip("/")}))[0] == 200
        assert (await site.get("/-/reload", "POST"))[0] == 200
