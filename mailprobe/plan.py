"""What is to be probed: the frozen slices of the configuration that actors are given.

Nobody below `app` holds "the configuration": an actor gets the sender, mailbox or route that it works for. Two
slices are equal exactly if nothing that matters to the actor changed, which is what a reload compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


class Grant(StrEnum):
    """What an identity provider is shown for a token."""

    CLIENT_CREDENTIALS = "client_credentials"
    """The application's own secret or certificate. Source: RFC 6749 4.4, RFC 7523 2.2."""
    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - a grant, not a token
    """What somebody's consent left behind. Source: RFC 6749 6."""
    JWT_BEARER = "jwt_bearer"
    """A service account's signature, in the name of a user. Source: RFC 7523 2.1."""


@dataclass(frozen=True, slots=True)
class OAuth2:
    """Where a bearer token comes from: `token_url`, `token_file` or `token_command`, exactly one of them.

    Equal ones share one token. `certificate`: PEM with a private key and its certificate, instead of a secret.
    `service_account`: a key file as Google gives it; `subject`: the user in whose name it asks. `ca_file` None: the
    system's CAs. `save_refresh_token`: a new refresh token is written into the file of the old one.
    """

    token_url: str = ""
    grant: Grant = Grant.CLIENT_CREDENTIALS
    client_id: str = ""
    client_secret: SecretReference | None = None
    certificate: SecretReference | None = None
    refresh_token: SecretReference | None = None
    service_account: SecretReference | None = None
    subject: str = ""
    scope: str = ""
    save_refresh_token: bool = False
    ca_file: Path | None = None
    token_file: Path | None = None
    token_command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in, and where the password is, or the bearer token in its place. Exactly one of them is set."""

    username: str
    password: SecretReference | None = None
    oauth2: OAuth2 | None = None


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


class FeedKind(StrEnum):
    """How a vendor tells how its service is."""

    MICROSOFT_GRAPH = "microsoft_graph"
    GOOGLE_WORKSPACE = "google_workspace"
    STATUSPAGE = "statuspage"
    RSS = "rss"


@dataclass(frozen=True, slots=True)
class StatusFeed:
    """A vendor's status feed. `services`: which of the vendor's matter, casefolded; none: all. Durations in seconds.

    `mailboxes` and `senders`: names of those that are this vendor's. `plaintext`: http is allowed, to this machine or
    because it was said in so many words.
    """

    name: str
    kind: FeedKind
    url: str
    interval: float
    timeout: float
    services: frozenset[str] = frozenset()
    mailboxes: tuple[str, ...] = ()
    senders: tuple[str, ...] = ()
    ca_file: Path | None = None
    plaintext: bool = False
    oauth2: OAuth2 | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to be probed. Mailboxes include those that only receive bounces."""

    routes: Mapping[str, Route] = field(default_factory=dict)
    senders: Mapping[str, Sender] = field(default_factory=dict)
    mailboxes: Mapping[str, Mailbox] = field(default_factory=dict)
    feeds: Mapping[str, StatusFeed] = field(default_factory=dict)

    def token_users(self) -> Iterator[tuple[OAuth2, str]]:
        """Who needs which bearer token, as `sender/<name>`, `mailbox/<name>` or `feed/<name>`."""
        for sender in self.senders.values():
            if sender.login and sender.login.oauth2:
                yield sender.login.oauth2, f"sender/{sender.name}"
        for mailbox in self.mailboxes.values():
            if mailbox.login.oauth2:
                yield mailbox.login.oauth2, f"mailbox/{mailbox.name}"
        for feed in self.feeds.values():
            if feed.oauth2:
                yield feed.oauth2, f"feed/{feed.name}"
