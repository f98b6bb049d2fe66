"""The facts that actors publish. Journal, metrics, history, log subscribe; no actor knows who listens.

Each fact is published once, by the one actor that establishes it. `at` is an instant of `clock.Clock`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from mailprobe.errors import ProbeFailure, Reason
from mailprobe.model import (
    Attempt,
    Bounce,
    Canary,
    Cause,
    Incident,
    Outcome,
    PolicyFacts,
    RouteState,
    Scan,
    Sighting,
    TlsFacts,
    Verdict,
)
from mailprobe.vendor import Acknowledgement, VendorStatus


@dataclass(frozen=True, slots=True)
class CanaryOpened:
    """A canary is expected from now on; published and journalled before any byte leaves."""

    canary: Canary


@dataclass(frozen=True, slots=True)
class CanaryRestored:
    """A canary that an earlier process opened is in flight again; published before anything else is said of it."""

    canary: Canary


@dataclass(frozen=True, slots=True)
class AttemptBegun:
    """An SMTP transaction begins."""

    canary: Canary
    number: int
    at: float


@dataclass(frozen=True, slots=True)
class DotSent:
    """The final dot of attempt `number` is flushed: from now on the message may exist."""

    canary: Canary
    number: int
    at: float


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An SMTP transaction is over. `retry_at`: when the next one is due, None if none is."""

    canary: Canary
    attempt: Attempt
    retry_at: float | None = None


@dataclass(frozen=True, slots=True)
class PolicyChecked:
    """What the recipient's side asks of senders was held against attempt `number`, which ended earlier."""

    canary: Canary
    number: int
    policy: PolicyFacts
    at: float


@dataclass(frozen=True, slots=True)
class CanarySighted:
    """A proven canary was seen for the first time."""

    canary: Canary
    sighting: Sighting


@dataclass(frozen=True, slots=True)
class DuplicateSighted:
    """A proven canary was seen once more, as another message."""

    canary: Canary
    sighting: Sighting


@dataclass(frozen=True, slots=True)
class BounceReceived:
    """A DSN about a canary came in (RFC 3464)."""

    canary: Canary
    bounce: Bounce


@dataclass(frozen=True, slots=True)
class Judged:
    """The one verdict on a canary."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class ArrivedLate:
    """A canary was seen after its verdict. `transit_seconds` None: the flush of its dot is not known."""

    canary: Canary
    after: Outcome
    sighting: Sighting
    at: float
    transit_seconds: float | None
    transit_error_seconds: float | None
    upper_bound: bool


@dataclass(frozen=True, slots=True)
class CanaryLost:
    """An overdue canary was not there when looked for after `late_until`."""

    canary: Canary
    at: float


@dataclass(frozen=True, slots=True)
class CanaryForgotten:
    """`late_until` is over and nothing more will be said of this judged canary."""

    canary: Canary
    at: float


@dataclass(frozen=True, slots=True)
class MailboxUp:
    """A session is established and the first scan of it is complete: from now on the mailbox is watched."""

    mailbox: str
    at: float
    tls: TlsFacts | None = None


@dataclass(frozen=True, slots=True)
class MailboxDown:
    """Nobody is looking any more; `failure` says why."""

    mailbox: str
    at: float
    failure: ProbeFailure


@dataclass(frozen=True, slots=True)
class MailboxScanned:
    """A complete look at a mailbox ended."""

    scan: Scan


@dataclass(frozen=True, slots=True)
class StrangersSeen:
    """Messages that no token proves ours; counted, never touched."""

    mailbox: str
    count: int


@dataclass(frozen=True, slots=True)
class QuotaSeen:
    """Storage used of what the mailbox may hold, 0..1. Source: RFC 9208."""

    mailbox: str
    used_ratio: float


@dataclass(frozen=True, slots=True)
class CertificateSeen:
    """A server's certificate. `endpoint` is `sender/<name>` or `mailbox/<name>`."""

    endpoint: str
    tls: TlsFacts


@dataclass(frozen=True, slots=True)
class Throttled:
    """The provider is limiting us, which is no outage. `endpoint` as in `CertificateSeen`."""

    endpoint: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class TokenRequested:
    """A source of tokens was asked for one, which took `seconds`. `ends`: the new token's end, as an instant."""

    source: str
    at: float
    seconds: float
    ends: float | None = None
    failure: ProbeFailure | None = None


@dataclass(frozen=True, slots=True)
class TokenSourcesChanged:
    """The sources of tokens of the configuration now in use, all of them each time."""

    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Port25Changed:
    """Whether it looks as if this machine's own network lets nobody out to port 25. `detail` is text for people."""

    blocked: bool
    at: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SlotFired:
    """A slot of a route's grid was started `lag_seconds` after its time."""

    route: str
    lag_seconds: float


@dataclass(frozen=True, slots=True)
class LoopLagged:
    """How late a timer of the agent's event loop fired."""

    seconds: float


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """A bug of ours: a task ended with something that is not a fact about the world."""

    task: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class ConfigReloaded:
    """A configuration was read (again). `problems` is empty if it is now in use."""

    at: float
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoutesChanged:
    """The routes of the configuration now in use, as (route, sender, mailbox, kind).

    `mailboxes`: names of those that no route need end in, because they only receive bounces; all of them each time.
    """

    added: tuple[tuple[str, str, str, str], ...] = ()
    removed: tuple[str, ...] = ()
    mailboxes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SignSeen:
    """The first thing that is wrong on a route where nothing was lately; not yet a state. `begun`: since when."""

    route: str
    at: float
    begun: float
    cause: Cause


@dataclass(frozen=True, slots=True)
class RouteStateChanged:
    """Something else may be said of a route from `at` on. `share` (0..1) of its recent canaries are affected."""

    route: str
    before: RouteState
    state: RouteState
    at: float
    cause: Cause
    share: float


@dataclass(frozen=True, slots=True)
class IncidentOpened:
    """It is certain now: an incident, which began and was detected earlier."""

    incident: Incident
    at: float


@dataclass(frozen=True, slots=True)
class IncidentChanged:
    """An incident is worse than it was, is over for now, or has relapsed."""

    incident: Incident
    at: float


@dataclass(frozen=True, slots=True)
class IncidentClosed:
    """An incident has been over for so long that what comes will be another one."""

    incident: Incident
    at: float


@dataclass(frozen=True, slots=True)
class FeedsChanged:
    """The status feeds of the configuration now in use, as (feed, mailboxes, senders) that are its vendor's."""

    feeds: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class VendorStatusSeen:
    """A look at a vendor's status feed ended, were it that the feed could not be read."""

    feed: str
    at: float
    status: VendorStatus


@dataclass(frozen=True, slots=True)
class VendorAcknowledged:
    """A vendor's first word about an incident of ours is known. `lag_seconds`: what may be said of its feed now."""

    acknowledgement: Acknowledgement
    lag_seconds: float


Event = (
    CanaryOpened
    | CanaryRestored
    | AttemptBegun
    | DotSent
    | AttemptEnded
    | PolicyChecked
    | CanarySighted
    | DuplicateSighted
    | BounceReceived
    | Judged
    | ArrivedLate
    | CanaryLost
    | CanaryForgotten
    | MailboxUp
    | MailboxDown
    | MailboxScanned
    | StrangersSeen
    | QuotaSeen
    | CertificateSeen
    | Throttled
    | TokenRequested
    | TokenSourcesChanged
    | Port25Changed
    | SlotFired
    | LoopLagged
    | TaskFailed
    | ConfigReloaded
    | RoutesChanged
    | SignSeen
    | RouteStateChanged
    | IncidentOpened
    | IncidentChanged
    | IncidentClosed
    | FeedsChanged
    | VendorStatusSeen
    | VendorAcknowledged
)
Publish = Callable[[Event], None]


class Bus:
    """Hands each event to every subscriber, in order, at once. Publishing never waits and never raises."""

    def __init__(self) -> None:
        self._subscribers: list[Publish] = []
        self._failing = False

    def subscribe(self, subscriber: Publish) -> None:
        """From now on the subscriber is called with every event; it must not block."""
        self._subscribers.append(subscriber)

    def publish(self, event: Event) -> None:
        """Calls all subscribers; one that raises is a bug of ours, counted as a failed task `observe`."""
        for subscriber in self._subscribers:
            try:
                subscriber(event)
            except Exception as error:
                logging.getLogger(__name__).exception("a subscriber failed on %s", type(event).__name__)
                self._report(error)

    def _report(self, error: Exception) -> None:
        if self._failing:  # the report itself failed: said in the log, and not again
            return
        self._failing = True
        try:
            self.publish(TaskFailed("observe", error))
        finally:
            self._failing = False
