"""dnspython's sockets, none of which is left open."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

from dns._asyncio_backend import Backend


class Sockets(Backend):
    """As dnspython has them, for whoever is cancelled while one is made: uvloop would leave that one open for ever."""

    async def make_socket(self, af: int, socktype: int, *rest: Any, **named: Any) -> Any:
        """A socket; closed at once where nobody waits for it any more."""
        made: Coroutine[Any, Any, Any] = super().make_socket(af, socktype, *rest, **named)  # type: ignore[no-untyped-call]
        making = asyncio.create_task(made)
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            if socktype == socket.SOCK_STREAM:  # which may take long, and ends well
                making.cancel()
            await asyncio.wait([making])
            if not making.cancelled() and making.exception() is None:
                await making.result().close()
            raise
