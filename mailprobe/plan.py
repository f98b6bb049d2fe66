"""What is to be probed: the frozen slices of the configuration that actors are given.

Nobody below `app` holds "the configuration": an actor gets the sender, mailbox or route that it works for. Two
slices are equal exactly if nothing that matters to the actor changed, which is what a reload compares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path

from mailprobe.model import SenderKind, TlsMode


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine, so that nothing said to it can be overheard; nobody is asked."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")


class Family(StrEnum):
    """Which IP family may be used."""

    ANY = "any"
    IPV4 = "4"
    IPV6 = "6"


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret is; its value is read when it is needed and held by nobody. Exactly one is set."""

    file: Path | None = None
    env: str | None = None

    def __str__(self) -> str:
        return f"file {self.file}" if self.file else f"environment variable {self.env}"


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in, and where the password is."""

    username: str
    password: SecretReference


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server to connect to, and how to trust it.

    `server_name` is the name that the certificate must carry; None: `host`. `ca_file` None: the system's CAs.
    """

    host: str
    port: int
    tls: TlsMode
    verify: bool = True
    ca_file: Path | None = None
    server_name: str | None = None
    source_address: str | None = None
    family: Family = Family.ANY

    @property
    def tls_name(self) -> str:
        """The name to put into SNI and to look for in the certificate."""
        return self.server_name or self.host

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine, see `is_loopback`."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the provider allows us: connections at once, messages in a minute; None: no limit."""

    connections: int = 2
    messages_per_minute: int | None = None


@dataclass(frozen=True, slots=True)
class Sender:
    """Where canaries are handed in. For `mx` the endpoint's host is empty: it comes from the recipient's domain.

    `resolver`: DNS servers as (address, port); empty: the system's. `try_all`: go on to the next address at once
    where one cannot be reached. `mta_sts`, `dane`: whether the recipient's policy is reported.
    """

    name: str
    kind: SenderKind
    endpoint: Endpoint
    from_address: str
    ehlo: str
    login: Login | None = None
    limits: Limits = Limits()
    bounces_to: str | None = None
    resolver: tuple[tuple[str, int], ...] = ()
    try_all: bool = False
    mta_sts: bool = False
    dane: bool = False

    def bounces_come_to(self, mailbox: Mailbox) -> bool:
        """Whether reports about this sender's mail arrive there: it is `bounces_to`, or the sender's own mailbox."""
        own = (mailbox.address.casefold(), mailbox.login.username.casefold())
        return self.bounces_to == mailbox.name or self.from_address.casefold() in own


class Cleanup(StrEnum):
    """What becomes of our own proven canaries once they are recorded."""

    DELETE = "delete"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Mailbox:
    """An IMAP account in which canaries are looked for. `junk`: "auto", a folder's name, or None for no junk."""

    name: str
    address: str
    endpoint: Endpoint
    login: Login
    inbox: str = "INBOX"
    junk: str | None = "auto"
    cleanup: Cleanup = Cleanup.DELETE
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Route:
    """The promise under test: from one sender to one mailbox. All durations in seconds.

    `retry` are the pauses before attempts 2, 3, ... as an MTA's queue would make them; those that the deadline
    leaves no room for are never made.
    """

    name: str
    sender: Sender
    mailbox: Mailbox
    interval: float
    deadline: float
    late_until: float
    timeout: float
    retry: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to be probed. Mailboxes include those that only receive bounces."""

    routes: Mapping[str, Route] = field(default_factory=dict)
    senders: Mapping[str, Sender] = field(default_factory=dict)
    mailboxes: Mapping[str, Mailbox] = field(default_factory=dict)
