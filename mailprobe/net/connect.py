"""One TCP connection to one address that the caller chose."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.net.failure import failure_of

_MAYBE_BLOCKED: Final = " (this machine's own network may block port 25, as many clouds do)"


async def connect(address: str, port: int, *, source_address: str | None = None, timeout: float) -> socket.socket:
    """A connected, non-blocking socket, which is the caller's to close.

    No second address is tried. Raises ProbeFailure(CONNECT, ...) after at most `timeout` seconds.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    sock: socket.socket | None = None
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        # Nagle's algorithm and the server's delayed ACK would put 40 ms into a stage that had nothing to do with it
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source_address:
            _bind(sock, source_address)
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException as error:
        if sock:
            sock.close()
        failure = failure_of(error, Stage.CONNECT)
        if failure is None:
            raise
        raise ProbeFailure(Stage.CONNECT, failure.reason, _explained(failure, where, timeout)) from error
    return sock


def acknowledge_at_once(sock: socket.socket) -> None:
    """Has the kernel acknowledge what comes next without waiting, where it can (Linux); after each write.

    A server that sends in two parts waits, by Nagle's algorithm, for the acknowledgement of the first. After a TLS 1.3
    handshake that is the session tickets: our own delayed ACK would show as 40 ms in the server's EHLO.
    """
    if hasattr(socket, "TCP_QUICKACK"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _bind(sock: socket.socket, source_address: str) -> None:
    try:
        sock.bind((source_address, 0))
    except OSError as error:
        raise ProbeFailure(
            Stage.CONNECT, Reason.UNREACHABLE, f"source_address {source_address}: {error.strerror or error}"
        ) from error


def _explained(failure: ProbeFailure, where: str, timeout: float) -> str:
    if failure.reason is not Reason.TIMEOUT:
        return f"{where}: {failure.detail}"
    said = f"{where}: {failure.detail}" if failure.detail else f"{where} did not answer within {timeout:g} s"
    # who is cut off is the last to think of it
    return said + _MAYBE_BLOCKED if where.endswith(":25") else said
