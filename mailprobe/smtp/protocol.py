"""aiosmtplib's protocol, made strict: no reply is ever taken for the answer to another command.

The library leans on well-behaved servers in places where a probe must not: it keeps the rest of a segment for
the next command, accepts codes like ` 25`, lets `250-` continue as `550`, drops what comes unasked, and after a
cancelled command pairs its reply with the following one. Here each of these ends the connection.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import Final, cast

from aiosmtplib import SMTPException, SMTPResponse, SMTPServerDisconnected
from aiosmtplib.protocol import SMTPProtocol

from mailprobe.auth.giveaways import HIDDEN, Scrubber
from mailprobe.errors import Reply
from mailprobe.net.connect import acknowledge_at_once
from mailprobe.smtp.reading import LINE_LIMIT, ReplyReader, cleaned, reply_of
from mailprobe.smtp.transcript import Transcript

PRIVATE_NAMES: Final = (
    "_loop",
    "_over_ssl",
    "_response_pending",
    "_response_waiter",
    "_set_response_exception",
)
"""What this adapter uses of aiosmtplib beside its public interface; a test looks whether it is still there."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
HANDSHAKE_TIMEOUT: Final = 3600.0
"""The event loop's own limit, out of the way of the attempt's: it would end as ConnectionAbortedError."""


class Surplus(SMTPException):
    """Bytes that nobody asked for: what comes next cannot be paired with a command."""


class PlaintextAfterStarttls(SMTPException):
    """Bytes between the reply to STARTTLS and the handshake: anyone may have put them there (CVE-2011-0411)."""


class AttemptProtocol(SMTPProtocol):
    """One connection of one attempt. Once `spent`, nothing more can be said on it.

    `text` is the last reply's, uncut and as it was said: to be understood, never to be kept or shown. An EHLO may have
    more lines than a `Reply` keeps. `challenge` is what the last 334 asked, as it was said. `sock` is what the
    connection runs on, once there is one: what is heard on it is acknowledged at once.
    """

    def __init__(self, transcript: Transcript, scrub: Scrubber) -> None:
        super().__init__(asyncio.get_running_loop())
        self.spent = False
        self._transcript = transcript
        self._scrub = scrub
        self._surplus = bytearray()
        self._reader = ReplyReader(scrub)
        self._flushed: Callable[[], None] | None = None
        self.text = self.challenge = ""
        self.sock: socket.socket | None = None

    # what an attempt says

    async def greeting(self) -> Reply:
        """What the server says first."""
        return self._reply(await self._answer())

    async def command(self, *words: str, hidden: bool = False) -> Reply:
        """Says one line and returns the reply to it; a 421 said before, unasked, is that reply (RFC 5321 3.8).

        `hidden`: a credential; only the first two words of `AUTH` are shown.
        """
        if farewell := self._farewell():
            return farewell
        line = " ".join(words)
        if _CONTROL.search(line):
            raise ValueError("a command with a control character, which could make it two")
        self._transcript.sent(_shown(words) if hidden else line)
        self._response_pending = True  # before it is said: what comes from now on may be the reply
        self.write(line.encode() + b"\r\n")
        return self._reply(await self._answer())

    async def content(self, content: bytes, flushed: Callable[[], None]) -> Reply:
        """Says the message with its final dot; `flushed` is called once the kernel has all of it.

        With TLS: once the TLS layer has it. `content` has CRLF everywhere (RFC 5321 2.3.8).
        """
        if farewell := self._farewell():
            return farewell
        self._transcript.sent(f"<{len(content)} bytes>")
        self._flushed = flushed
        self._response_pending = True
        self.write(dot_stuffed(content))
        if self._transport.get_write_buffer_size() == 0:
            self._dot_is_out()
        reply = self._reply(await self._answer())
        if 200 <= reply.code <= 299:
            self._dot_is_out()  # who takes the message has the dot, whatever our buffers say
        return reply

    async def upgrade(self, context: ssl.SSLContext, server_name: str) -> None:
        """TLS from here on. Raises PlaintextAfterStarttls where the server went on talking."""
        if self._surplus:
            self._say_surplus()
            raise PlaintextAfterStarttls("plaintext after the reply to STARTTLS")
        self.spent = True
        transport = await self._loop.start_tls(
            self._transport, self, context, server_hostname=server_name, ssl_handshake_timeout=HANDSHAKE_TIMEOUT
        )
        assert transport is not None
        self.transport = transport
        self._over_ssl = True
        transport.set_write_buffer_limits(high=0)
        self.spent = False

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        """The TLS layer, None without."""
        return self._transport.get_extra_info("ssl_object")  # type: ignore[no-any-return]

    def abort(self) -> None:
        """Ends the connection at once, without a word."""
        self.spent = True
        if self.transport is not None:
            self._transport.abort()

    @property
    def heard_nothing(self) -> bool:
        """True as long as not one byte has come that is not yet part of a reply."""
        return self._reader.between_replies and not self._surplus

    # what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Makes `resume_writing` mean: all of it is handed over."""
        super().connection_made(transport)
        self._transport.set_write_buffer_limits(high=0)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing can be said any more."""
        self.spent = True
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """The buffer is empty."""
        super().resume_writing()
        self._dot_is_out()

    def data_received(self, data: bytes) -> None:
        """Collects the lines of the reply that is waited for; anything else is surplus."""
        waiter = self._response_waiter
        if waiter is None or not self._response_pending or waiter.done():
            self._surplus += data[: max(0, LINE_LIMIT - len(self._surplus))]
            return
        try:
            reply = self._reader.feed(data)
        except SMTPException as error:
            self._set_response_exception(waiter, error)
        else:
            if reply:
                waiter.set_result(reply)

    # parts

    def write(self, data: bytes) -> None:
        """Refuses to speak on a connection on which replies can no longer be paired."""
        if self._surplus:
            self._say_surplus()
            self.spent = True
            raise Surplus("the server said more than its reply")
        if self.spent:
            raise SMTPServerDisconnected("the connection is spent")
        super().write(data)
        if self.sock:
            acknowledge_at_once(self.sock)

    async def _answer(self) -> SMTPResponse:
        """The reply; after anything else the connection is spent, since a reply is still owed."""
        waiter = self._response_waiter
        if waiter is None:
            raise SMTPServerDisconnected("Connection lost")
        self._response_pending = True
        try:
            reply = await waiter
        except BaseException:
            self.spent = True
            self._say_fragment()
            raise
        finally:
            self._response_pending = False
            self._response_waiter = None if self.transport is None else self._loop.create_future()
        if left := self._reader.buffer:
            self._surplus[:0] = left  # that reply stands; but nothing can be said any more
            left.clear()
        return reply

    @property
    def _transport(self) -> asyncio.Transport:
        if self.transport is None:
            raise SMTPServerDisconnected("the connection is gone")
        return cast(asyncio.Transport, self.transport)

    def _reply(self, response: SMTPResponse) -> Reply:
        """The reply as it may be kept: a challenge may hold anything, other text no credential."""
        text = self.text = response.message
        if response.code == 334:
            self.challenge = text
            reply = reply_of(response.code, HIDDEN)
        elif self._scrub.finds_in(text):
            # what a password shares with the server's own name hides its words, not what it means
            enhanced = Reply.of(response.code, text).enhanced
            known = None if enhanced and self._scrub.finds_in(str(enhanced)) else enhanced
            reply = replace(reply_of(response.code, HIDDEN), enhanced=known)
        else:
            reply = reply_of(response.code, text)
        self._transcript.heard(reply)
        if reply.code == 421:
            self.spent = True
        return reply

    def _farewell(self) -> Reply | None:
        if not self._surplus.startswith(b"421"):
            return None
        said = bytes(self._surplus)
        self._surplus.clear()
        try:
            response = self._reader.feed(said)
        except SMTPException:
            response = None
        return self._reply(response) if response else None

    def _dot_is_out(self) -> None:
        if self._flushed:
            flushed, self._flushed = self._flushed, None
            flushed()

    def _say_surplus(self) -> None:
        self._transcript.note(f"unasked: {cleaned(bytes(self._surplus), self._scrub)}")

    def _say_fragment(self) -> None:
        if fragment := self._reader.fragment():
            self._transcript.note(f"only a part of a reply: {fragment}")


def dot_stuffed(content: bytes) -> bytes:
    """The message as DATA wants it, with the final dot. Source: RFC 5321 4.5.2.

    Raises ValueError for a bare CR or LF, which servers read differently.
    """
    if not content.count(b"\r\n") == content.count(b"\n") == content.count(b"\r"):
        raise ValueError("the message has a bare CR or LF")
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    return stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n")


def _shown(words: tuple[str, ...]) -> str:
    if words[0] != "AUTH":
        return HIDDEN
    return " ".join([*words[:2], HIDDEN] if len(words) > 2 else words)
