"""The scripted IMAP server produces the faults that it is asked for; a fake that does not would prove nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from support.imap_script import Action, ImapServer, close, default, drip, hang, reset, then
from support.loops import both_loops

pytestmark = both_loops

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(server: ImapServer) -> AsyncIterator[Connection]:
    async with server.running():
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            await reader.readline()
            yield reader, writer
        finally:
            writer.close()


async def segments(action: Action) -> list[bytes]:
    """What arrives in answer to NOOP, as it arrives, until nothing does for a moment or the connection ends."""
    heard: list[bytes] = []
    async with connected(ImapServer(says={"noop": action})) as (reader, writer):
        writer.write(b"A1 NOOP\r\n")
        while not heard or heard[-1]:
            try:
                heard.append(await asyncio.wait_for(reader.read(65536), 0.2))
            except TimeoutError:
                return [*heard, b"(silence)"]
    return heard


async def test_close_is_an_end_without_an_answer() -> None:
    assert await segments(close) == [b""]


async def test_reset_is_a_reset() -> None:
    with pytest.raises(ConnectionResetError):
        await segments(reset)


async def test_hang_is_silence_on_an_open_connection() -> None:
    assert await segments(hang) == [b"(silence)"]


async def test_one_answer_is_one_segment_with_the_tag_in_it() -> None:
    assert await segments(b"* BYE\r\n%T OK\r\n") == [b"* BYE\r\nA1 OK\r\n", b"(silence)"]


async def test_drip_comes_octet_by_octet() -> None:
    assert await segments(drip(b"abc", 0.02)) == [b"a", b"b", b"c", b"(silence)"]


async def test_then_does_one_after_the_other() -> None:
    assert await segments(then(b"+ x\r\n", close, pause=0.02)) == [b"+ x\r\n", b""]
    assert await segments(then(b"* 1 FETCH ()\r\n", default)) == [b"* 1 FETCH ()\r\nA1 OK done\r\n", b"(silence)"]


async def test_a_list_is_used_up_and_its_last_stays() -> None:
    server = ImapServer(says={"noop": [b"1\r\n", b"2\r\n"]})
    async with connected(server) as (reader, writer):
        heard = []
        for _ in range(3):
            writer.write(b"A1 NOOP\r\n")
            heard.append(await reader.readline())
    assert heard == [b"1\r\n", b"2\r\n", b"2\r\n"]
    assert server.commands() == ["noop", "noop", "noop"]


async def test_the_mailbox_behaves() -> None:
    server = ImapServer()
    dialogue = [
        (b'SELECT "INBOX"', b"* 1 EXISTS"),
        (b"UID SEARCH UID 5:*", b"* SEARCH 1"),  # `*` is the last message, even if that is older
        (b"UID STORE 1 +FLAGS.SILENT (\\Deleted)", b"A1 OK done"),
        (b"UID EXPUNGE 1", b"* 1 EXPUNGE"),
        (b"NOOP", b"A1 OK done"),
        (b"WHAT", b"A1 BAD unknown command"),
        (b'SELECT "nowhere"', b"A1 NO [NONEXISTENT] no such folder"),
    ]
    server.folders["INBOX"].deliver()
    async with connected(server) as (reader, writer):
        for line, first in dialogue:
            writer.write(b"A1 " + line + b"\r\n")
            answer = [await reader.readline()]
            while not answer[-1].startswith(b"A1"):
                answer.append(await reader.readline())
            assert answer[0].strip() == first


async def test_sequence_numbers_move_only_when_the_client_is_told() -> None:
    server = ImapServer()
    for _ in range(3):
        server.folders["INBOX"].deliver()
    async with connected(server) as (reader, writer):
        writer.write(b'A1 SELECT "INBOX"\r\n')
        while not (await reader.readline()).startswith(b"A1"):
            pass
        del server.folders["INBOX"].mails[0]
        server.folders["INBOX"].deliver()
        writer.write(b"A2 UID SEARCH UID 1:*\r\nA3 NOOP\r\n")
        heard = [await reader.readline() for _ in range(5)]
    assert heard == [b"* SEARCH 1 2 3\r\n", b"A2 OK done\r\n", b"* 1 EXPUNGE\r\n", b"* 3 EXISTS\r\n", b"A3 OK done\r\n"]
