"""Where somebody may decide that the embedded servers misbehave, and how.

At every moment of a mail's life the servers ask a `Behaviour` what is to happen. To be late it simply takes its
time; to interfere it answers. The words are those in which outages are described.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol


class Moment(StrEnum):
    """When a behaviour is asked."""

    DNS = "dns"
    """A query: of the lab's DNS server alone. `Say` is a response code, `Drop` silence."""
    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    """Before TLS begins, also where it begins at once."""
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    END_OF_DATA = "end_of_data"
    QUEUE = "queue"
    """After acceptance, for each recipient."""
    MAILBOX = "mailbox"
    """On arrival in the mailbox."""
    IMAP_CONNECT = "imap_connect"
    IMAP_LOGIN = "imap_login"
    IMAP_FETCH = "imap_fetch"
    """Everything after the log-in that would show mail: SELECT, IDLE, NOOP, SEARCH, FETCH ..."""


class Credential(StrEnum):
    """Which certificate a server shows."""

    GOOD = "good"
    EXPIRED = "expired"
    UNTRUSTED = "untrusted"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Context:
    """Whom a moment concerns, as far as is known by then.

    `connection` counts all connections of a lab; at `dns` it counts the attempts of which a query may be a part.
    """

    connection: int
    server: str
    peer: str
    user: str | None = None
    sender: str | None = None
    recipient: str | None = None

    def about(self, *, user: str | None = None, sender: str | None = None, recipient: str | None = None) -> Context:
        """The same with more known."""
        return replace(
            self,
            user=user or self.user,
            sender=self.sender if sender is None else sender,
            recipient=recipient or self.recipient,
        )


@dataclass(frozen=True, slots=True)
class Say:
    """Answer this in place of the usual; each line as it stands. SMTP: a 421 also closes. IMAP: `NO ...`, `BYE ...`."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """Close without an answer; `reset`: by a TCP reset."""

    reset: bool = False


@dataclass(frozen=True, slots=True)
class Stall:
    """At `end_of_data`: the mail is taken, and its answer comes `seconds` later (None: never)."""

    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Show:
    """At `starttls` and `imap_connect`: show this certificate."""

    credential: Credential


@dataclass(frozen=True, slots=True)
class Lose:
    """At `queue` and `mailbox`: the mail is never seen again."""


@dataclass(frozen=True, slots=True)
class Junk:
    """At `mailbox`: into the junk folder."""


@dataclass(frozen=True, slots=True)
class Bounce:
    """At `queue`: a delivery status notification (RFC 3464) to the sender with this reply as its diagnostic."""

    reply: str


Answer = Say | Drop | Stall | Show | Lose | Junk | Bounce


class Behaviour(Protocol):
    """Decides what happens; one object for a whole lab."""

    async def at(self, moment: Moment, context: Context) -> Answer | None:
        """What is to happen now; None: the usual. May take its time, which delays just this connection or mail."""
        ...


class Flawless:
    """Nothing ever goes wrong."""

    async def at(self, moment: Moment, context: Context) -> Answer | None:
        """Always the usual."""
        return None
