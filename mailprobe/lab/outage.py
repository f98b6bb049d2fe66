"""An outage of mail as data: what was seen, in which phases, and what a fake mail system has to do to resemble it.

The files of the catalogue beside this module are read by their id, any other by its path. Times of a phase are
minutes from the beginning of the impact, as in the files; all else is in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Final

from mailprobe.errors import ConfigurationError

MINUTE: Final = 60.0


class At(StrEnum):
    """The moment in a mail's life at which an effect strikes."""

    DNS = "dns"
    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    STARTTLS = "starttls"
    END_OF_DATA = "end_of_data"
    QUEUE = "queue"
    MAILBOX = "mailbox"
    IMAP_CONNECT = "imap_connect"
    IMAP_LOGIN = "imap_login"
    IMAP_FETCH = "imap_fetch"


class Do(StrEnum):
    """What happens then."""

    REPLY = "reply"
    DELAY = "delay"
    STALL = "stall"
    DROP = "drop"
    SERVFAIL = "servfail"
    REFUSE = "refuse"
    CERT = "cert"
    BOUNCE = "bounce"
    LOSE = "lose"
    JUNK = "junk"


class Per(StrEnum):
    """What a share is of."""

    ATTEMPT = "attempt"
    MESSAGE = "message"
    SOURCE = "source"
    SERVER = "server"
    RECIPIENT = "recipient"
    MAILBOX = "mailbox"
    SENDER = "sender"


class Label(StrEnum):
    """What a phase is in the course of an outage."""

    ONSET = "onset"
    FULL = "full"
    PARTIAL = "partial"
    RECOVERING = "recovering"
    RECOVERED = "recovered"


class Through(StrEnum):
    """Whose servers are ill: those that receive mail for a domain, or those that take it from their own users."""

    MX = "mx"
    SUBMISSION = "submission"


_SAID: Final = frozenset({Do.REPLY, Do.DELAY, Do.STALL, Do.DROP})
_TCP: Final = frozenset({Do.REFUSE, Do.STALL, Do.DROP, Do.DELAY})
GOES_TOGETHER: Final[Mapping[At, frozenset[Do]]] = {
    At.DNS: frozenset({Do.SERVFAIL, Do.REPLY, Do.DELAY, Do.STALL}),
    At.CONNECT: _TCP,
    At.GREETING: _SAID,
    At.EHLO: _SAID,
    At.AUTH: _SAID,
    At.MAIL: _SAID,
    At.RCPT: _SAID,
    At.DATA: _SAID,
    At.STARTTLS: _SAID | {Do.CERT},
    At.END_OF_DATA: _SAID,
    At.QUEUE: frozenset({Do.DELAY, Do.BOUNCE, Do.LOSE}),
    At.MAILBOX: frozenset({Do.JUNK, Do.DELAY, Do.LOSE}),
    At.IMAP_CONNECT: _TCP | {Do.CERT},
    At.IMAP_LOGIN: _SAID,
    At.IMAP_FETCH: _SAID,
}
"""What may happen where."""

SMTP_SAYS: Final = frozenset(
    {At.GREETING, At.EHLO, At.AUTH, At.MAIL, At.RCPT, At.DATA, At.STARTTLS, At.END_OF_DATA, At.QUEUE}
)
"""Where a `reply` is an SMTP reply."""


RESPONSE_CODES: Final = ("NXDOMAIN", "REFUSED", "SERVFAIL", "FORMERR", "NOTIMP", "NOERROR")
"""What a `reply` at `dns` may be; NOERROR is an answer with nothing in it. Source: RFC 1035 4.1.1."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Something that happens to a share of the traffic. `seconds` None: until the phase ends, or at once."""

    at: At
    do: Do
    fraction: float = 1.0
    per: Per = Per.ATTEMPT
    only: str | None = None
    reply: str | None = None
    seconds: float | None = None
    assumed: bool = False
    why: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of `reply`; a newline at its end begins no further one."""
        return tuple((self.reply or "").removesuffix("\n").split("\n"))

    def __str__(self) -> str:
        said = f" {self.lines[0]}" if self.reply else ""
        lasting = f" {self.seconds:g} s" if self.seconds is not None else ""
        return f"{self.at}: {self.do}{lasting}{said}"


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch in which the same effects are at work; `begin` and `end` in seconds from zero."""

    label: Label
    begin: float
    end: float
    effects: tuple[Effect, ...] = ()
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """A stretch in which nothing changes and that need not be played; in seconds from zero."""

    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The first public word of the vendor. `seconds` after zero, None where its hour is not known."""

    seconds: float | None
    where: str = ""


@dataclass(frozen=True, slots=True)
class Outage:
    """One outage. `zero_wall`: the beginning of its impact, Unix seconds; all other times count from it."""

    id: str
    title: str
    acknowledged: Acknowledged
    zero_wall: float
    through: Through
    phases: tuple[Phase, ...]
    skips: tuple[Skip, ...] = ()
    note: str = ""

    @property
    def end(self) -> float:
        """When there is nothing more to watch."""
        return self.phases[-1].end

    @property
    def played(self) -> float:
        """Seconds of the outage's clock that are played, skipped stretches left out."""
        return self.end - sum(skip.end - skip.begin for skip in self.skips)

    def phase_at(self, instant: float) -> Phase | None:
        """The phase of an instant; None before the impact and after everything."""
        return next((phase for phase in self.phases if phase.begin <= instant < phase.end), None)


def catalogue() -> tuple[str, ...]:
    """The ids of the outages that come with mailprobe, by name."""
    files = resources.files("mailprobe.lab").joinpath("catalogue").iterdir()
    return tuple(sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")))


def find(id_or_path: str | Path) -> Outage:
    """The outage of this id in the catalogue, or the one in the file at this path.

    Raises ConfigurationError with all that is wrong with it, each with file and line.
    """
    from mailprobe.lab.outage_file import read

    names = catalogue()
    if isinstance(id_or_path, str) and id_or_path in names:
        with resources.as_file(resources.files("mailprobe.lab").joinpath("catalogue", f"{id_or_path}.yaml")) as file:
            return read(file)
    path = Path(id_or_path)
    if not path.exists():
        raise ConfigurationError(f"{id_or_path}: no such file, and no outage of that id; there are {', '.join(names)}")
    return read(path)
