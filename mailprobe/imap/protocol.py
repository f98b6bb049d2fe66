"""aioimaplib's protocol made safe to keep open for days: a lost connection wakes whoever waits, at once.

Subclasses aioimaplib (GPL-3.0-only by its metadata), which is why mailprobe as a whole is handed out under the GPL.
Kept of it: tags, the states in which a command is legal, the pairing of a command with its tagged response.
Replaced: everything from bytes to responses (recursive and quadratic there), greeting and continuations, what
happens when the connection ends (nothing, there), and whatever would log a secret. The private names that this
touches are listed in a test, so that an upgrade fails there first.

One command at a time. After any failure the connection is spent.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from aioimaplib import aioimaplib as library

from mailprobe.auth.giveaways import HIDDEN, Scrubber
from mailprobe.errors import plain_text
from mailprobe.imap import parse
from mailprobe.imap.arrivals import Arrivals
from mailprobe.imap.framing import Framer, FramingError, Parts

# it prints what it sends; nothing of ours goes through its logging calls, but a subclass method overlooked might
logging.getLogger("aioimaplib").setLevel(logging.WARNING)
logging.getLogger("aioimaplib.aioimaplib").setLevel(logging.WARNING)

library.Commands["UNSELECT"] = library.Cmd("UNSELECT", (library.SELECTED,), library.Exec.is_sync)
"""Which the library does not know. Source: RFC 3691."""

COMMAND_LIMIT: Final = 32 << 20
"""Octets that may come in answer to one command: a hundred headers of 64 KiB each, five times over."""
LINES_LIMIT: Final = 2 << 20
"""Octets of that outside of literals, where each may cost time: a SEARCH that finds 200,000 messages."""
RESPONSES_LIMIT: Final = 20_000
"""Responses that are kept of one command: to read more of them at once would hold up everybody else."""

_OVERHEAD: Final = 200
"""Octets that one part of a response takes in our memory beside its own."""
_TAGGED: Final = re.compile(rb"([A-Za-z]+\d+) (OK|NO|BAD)(?: |$)", re.IGNORECASE)


class ConnectionLost(Exception):
    """The connection is gone. `bye` is what the server said before, without `* BYE `; None if it said nothing."""

    def __init__(self, error: BaseException | None = None, bye: bytes | None = None) -> None:
        super().__init__("connection lost")
        self.error = error
        self.bye = bye


class GivenUp(ConnectionLost):
    """We ended the connection ourselves, after a time-out, a cancellation or a violation."""


class Violation(Exception):
    """What came is not IMAP, or came when nothing may come; the argument is text for people."""


class PlaintextAfterStarttls(Violation):
    """Octets came in the clear after the server had agreed to STARTTLS: an injection, or a broken server."""


class TooMuch(Violation):
    """More came than we are ready to hold."""


@dataclass(frozen=True, slots=True)
class Untagged:
    """One untagged response: when it came, its parts without `* `; for a FETCH, when its message was announced."""

    at: float
    parts: Parts
    noticed: float


class Exchange(library.Command):  # type: ignore[misc]
    """A command as it goes out and all that came in answer. Its repr shows no argument: some are secrets.

    `answers` are sent one at a time when the server asks for more with `+`: the rest of a line after a literal, or
    SASL responses (RFC 3501 4.3, 6.2.2).
    """

    def __init__(self, name: str, tag: str, arguments: str = "", *, uid: bool = False, answers: tuple[bytes, ...] = ()):
        super().__init__(name, tag)
        self.line = " ".join(filter(None, (tag, "UID" if uid else "", name, arguments)))
        self.answers = deque(answers)
        self.untagged: list[Untagged] = []
        self.text = b""
        self.challenge = b""
        """What the server asked last, uncleaned."""
        self.size = self.lines = 0
        self.continued = asyncio.Event()

    def __str__(self) -> str:
        return self.line

    def __repr__(self) -> str:
        return f"{self.tag} {self.name}"

    @property
    def result(self) -> str:
        """OK, NO or BAD."""
        return cast(str, self.response.result)

    def finish(self, error: BaseException) -> None:
        """Ends the wait for this command with an exception."""
        self._exception = error
        self._event.set()


class Protocol(library.IMAP4ClientProtocol):  # type: ignore[misc]
    """One connection's protocol: `lost` is done as soon as it is over, with the reason."""

    def __init__(self, loop: asyncio.AbstractEventLoop, now: Callable[[], float]) -> None:
        super().__init__(loop)
        self.lost: asyncio.Future[None] = loop.create_future()
        self.lost.add_done_callback(lambda lost: lost.exception())  # nobody has to ask for it
        self.greeting: asyncio.Future[bytes] = loop.create_future()
        self.greeting.add_done_callback(lambda greeting: greeting.cancelled() or greeting.exception())
        self.arrivals = Arrivals()
        self.pushed = asyncio.Event()
        """Set by whatever the server says about the selected folder's size."""
        self.bye: bytes | None = None
        self.scrub = Scrubber()
        """Finds what must not be shown to people although a server repeats it."""
        self._now = now
        self._framer = Framer()
        self._sealed = False
        """STARTTLS is agreed and TLS has not begun: nothing may come in the clear."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the transport when the connection is there; ended at once if it was given up meanwhile."""
        super().connection_made(transport)
        if self.lost.done():
            self.transport.abort()

    # ---- what we say

    def begin(self, exchange: Exchange) -> None:
        """The one command that may be under way from now on. ConnectionLost if there is nobody to hear it."""
        if self.lost.done():
            raise self.lost.exception() or ConnectionLost()
        if self._current is not None:
            raise RuntimeError("two commands at a time on one IMAP connection")

    def send(self, line: str, scrub: str | None = None) -> None:
        """Writes one line; unlike the library's, it is not logged."""
        self.write(line.encode() + b"\r\n")

    def write(self, data: bytes) -> None:
        """Writes octets, or nothing on a connection that is over: `lost` says so to whoever waits."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def unseal(self) -> None:
        """TLS begins now. Source: RFC 3501 6.2.1."""
        self._sealed = False

    @property
    def logged_in(self) -> bool:
        """Whether the server takes us for somebody: after a login, or a PREAUTH greeting."""
        return self.state in (library.AUTH, library.SELECTED)

    # ---- what we hear

    def data_received(self, data: bytes) -> None:
        """Cuts, dispatches, and ends the connection on the first thing that is wrong."""
        at = self._now()
        try:
            self._must_be_open()
            for parts in self._framer.feed(data):
                self._must_be_open()
                self._dispatch(parts, at)
            if self._framer.pending:
                self._must_be_open()
            if self.bye is not None and (self._current is None or self._current.name != "LOGOUT"):
                raise ConnectionLost(bye=self.bye)  # after the tagged reply that came with it
        except FramingError as error:
            self.fail(TooMuch(str(error)))
        except parse.Malformed as error:
            self.fail(Violation(f"malformed {error}"))
        except library.AioImapException as error:
            self.fail(Violation(self._cleaned(str(error).encode()).decode()))
        except Exception as error:  # ours, or a bug of ours, which a transport would log and go on
            self.fail(error)

    def _must_be_open(self) -> None:
        if self._sealed:
            raise PlaintextAfterStarttls("octets in the clear after STARTTLS")

    def _dispatch(self, parts: Parts, at: float) -> None:
        line = parts[0]
        if not self.greeting.done():
            self._greeted(line)
        elif line.startswith(b"* "):
            self._untagged((line[2:], *parts[1:]), at)
        elif line.startswith(b"+"):
            self._continuation(line)
        elif match := _TAGGED.match(line):
            self._tagged(match[1], match[2].decode().upper(), line[match.end() :])
        elif line:
            raise Violation("neither tagged nor untagged: " + plain_text(self._cleaned(line), 100))

    def _greeted(self, line: bytes) -> None:
        """Source: RFC 3501 7.1. Only `* OK` and `* PREAUTH` are a welcome, whatever else is in the line."""
        status, _, text = line[2:].partition(b" ")
        match status.upper() if line.startswith(b"* ") else b"":
            case b"OK":
                self.state = library.NONAUTH
            case b"PREAUTH":
                self.state = library.AUTH
            case b"BYE":
                raise ConnectionLost(bye=text)
            case _:
                raise Violation("no IMAP greeting: " + plain_text(line, 100))
        self.greeting.set_result(text)

    def _untagged(self, parts: Parts, at: float) -> None:
        line, current = parts[0], self._current
        noticed = at
        if heard := parse.numbered(line):
            noticed = self._size_changed(*heard, at)
        elif line[:4].upper() == b"BYE " or line.upper() == b"BYE":
            self.bye = self._cleaned(line[4:])
        if current is not None:
            self._keep(current, Untagged(at, parts, noticed), told=heard is not None and heard[1] != b"FETCH")

    def _keep(self, current: Exchange, response: Untagged, *, told: bool) -> None:
        """Counts a response, and keeps it unless nobody will read it: `told` are those of which `arrivals` has all."""
        current.size += sum(map(len, response.parts)) + _OVERHEAD * len(response.parts)
        if current.size > COMMAND_LIMIT:
            raise TooMuch(f"more than {COMMAND_LIMIT} octets in answer to {current.name}")
        if told or current.name == "IDLE" or current.name == "NOOP":
            return
        current.lines += sum(map(len, response.parts[::2]))
        if current.lines > LINES_LIMIT or len(current.untagged) >= RESPONSES_LIMIT:
            raise TooMuch(f"more than {RESPONSES_LIMIT} responses, or {LINES_LIMIT} octets, to {current.name}")
        current.untagged.append(response)

    def _size_changed(self, number: int, name: bytes, at: float) -> float:
        """Keeps `arrivals` up to date; when the message of this number was announced."""
        match name:
            case b"EXISTS":
                self.arrivals.heard_exists(number, at)
                self.pushed.set()
            case b"EXPUNGE":
                self.arrivals.heard_expunge(number)
            case b"FETCH":
                return self.arrivals.noticed(number, at)
        return at

    def _continuation(self, line: bytes) -> None:
        current = self._current
        if current is None:
            raise Violation("a continuation that nobody asked for")
        current.challenge = line[2:]
        if current.answers:
            self.write(current.answers.popleft() + b"\r\n")
        elif current.name == "AUTHENTICATE":
            self.write(b"*\r\n")  # a further challenge, where our mechanism has nothing more to say: cancelled
        else:
            current.continued.set()

    def _tagged(self, tag: bytes, result: str, text: bytes) -> None:
        current = self._current
        if current is None:
            raise Violation("a tagged response that nobody waits for")
        current.text = self._cleaned(text)
        self._response_done(tag + b" " + result.encode() + b" " + current.text)
        match current.name, result:
            case "STARTTLS", "OK":
                self._sealed = True
            case "AUTHENTICATE" | "LOGIN", "OK":
                self.state = library.AUTH
            case "UNSELECT", "OK":
                self.state, self.arrivals = library.AUTH, Arrivals()
            case "SELECT", _:  # one that failed leaves nothing selected: RFC 3501 6.3.1
                self.state = library.SELECTED if result == "OK" else library.AUTH
                self.arrivals = Arrivals(self.arrivals.exists if result == "OK" else 0)

    def _cleaned(self, text: bytes) -> bytes:
        """The text of a response; only its code, which decides, if a server repeats a password in it."""
        if not self.scrub.finds_in(text.decode("utf-8", "replace")):
            return text
        code, _ = parse.response_code(text) or ("", "")
        kept = f"[{code}] " if code and not self.scrub.finds_in(code) else ""
        return (kept + HIDDEN).encode("latin-1")

    # ---- how it ends

    @property
    def _current(self) -> Exchange | None:
        pending: Exchange | None = self.pending_sync_command
        return pending or next(iter(self.pending_async_commands.values()), None)

    def fail(self, error: BaseException) -> None:
        """The connection is over, for this reason: whoever waits is woken, now."""
        if not self.lost.done():
            self.lost.set_exception(error)
        if not self.greeting.done():
            self.greeting.set_exception(error)
        if current := self._current:
            current.finish(error)
        self.pending_sync_command = None
        self.pending_async_commands.clear()
        self.state = library.LOGOUT
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport when the connection is over."""
        self.fail(ConnectionLost(exc, self.bye))
