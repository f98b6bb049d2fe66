"""Why a server said nothing: a service with implicit TLS waits for the client to speak first."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

_TLS_RECORDS = (b"\x16\x03", b"\x15\x03")
"""A handshake or an alert, of any version. Source: RFC 8446 5.1."""


async def speaks_tls(transport: asyncio.Transport, limit: float = 1.0) -> bool:
    """True if the server at the end of a connection that is otherwise given up answers a ClientHello with TLS.

    For a greeting that never came. Takes at most `limit` seconds; the connection is of no use afterwards and is
    the caller's to abort.
    """
    if transport.is_closing():
        return False
    listener = _FirstBytes(asyncio.get_running_loop().create_future())
    transport.set_protocol(listener)
    transport.write(_client_hello())
    try:
        async with asyncio.timeout(limit):
            return (await listener.heard)[:2] in _TLS_RECORDS
    except TimeoutError:
        return False


class _FirstBytes(asyncio.Protocol):
    def __init__(self, heard: asyncio.Future[bytes]) -> None:
        self.heard = heard

    def data_received(self, data: bytes) -> None:
        if not self.heard.done():
            self.heard.set_result(data)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.heard.done():
            self.heard.set_result(b"")


def _client_hello() -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()
