"""The least that a client can do: one message over a fresh STARTTLS, with nothing recorded and nothing checked.

What it costs on this machine at this moment is the measure for what the agent costs: a shared virtual machine is
twice as slow when its neighbours are busy.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import time

import uvloop
from workbench import Grounds

CONTENT = b"Subject: yardstick\r\n\r\n" + b"a line of text as in any other canary of ours, of some length\r\n" * 20


class _Client(asyncio.Protocol):
    def __init__(self) -> None:
        self.buffer = b""
        self.reply = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        last = self.buffer[:-2].rpartition(b"\r\n")[2]
        if self.buffer.endswith(b"\r\n") and last[3:4] == b" ":
            self.buffer = b""
            self.reply.set_result(None)

    async def heard(self) -> None:
        await self.reply
        self.reply = asyncio.get_running_loop().create_future()

    async def say(self, line: bytes) -> None:
        self.transport.write(line + b"\r\n")
        await self.heard()


async def _one(grounds: Grounds, context: ssl.SSLContext) -> None:
    loop = asyncio.get_running_loop()
    (user, password), (recipient, _) = grounds.accounts[0], grounds.accounts[-1]
    _, client = await loop.create_connection(_Client, "127.0.0.1", grounds.submission_port)
    await client.heard()
    await client.say(b"EHLO bench.test")
    await client.say(b"STARTTLS")
    client.transport = await loop.start_tls(client.transport, client, context, server_hostname="localhost")  # type: ignore[assignment]
    await client.say(b"EHLO bench.test")
    await client.say(b"AUTH PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()))
    await client.say(f"MAIL FROM:<{user}>".encode())
    await client.say(f"RCPT TO:<{recipient}>".encode())
    await client.say(b"DATA")
    await client.say(CONTENT + b".")
    await client.say(b"QUIT")
    client.transport.abort()


async def _measure(grounds: Grounds, count: int, pause: float) -> float:
    context = ssl.create_default_context(cafile=grounds.ca_file)
    await _one(grounds, context)
    cpu = time.process_time()
    for _ in range(count):
        await _one(grounds, context)
        await asyncio.sleep(pause)
    return (time.process_time() - cpu) / count


def yardstick(grounds: Grounds, count: int = 100, pause: float = 0.01) -> float:
    """Seconds of CPU time of one message, with so many seconds between two."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(grounds, count, pause))
