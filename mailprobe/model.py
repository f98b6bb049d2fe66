"""The words of mailprobe as types: stages, replies, attempts, sightings, scans, verdicts.

No I/O and nothing of mailprobe below this file but `errors`. Every instant (`at`, `noticed`, ...) is a float of
seconds on the monotonic clock of `clock.Clock`; every `*_seconds` is a duration; wall times are named `*_wall`
(Unix seconds) or are `datetime` in UTC, and were written by another machine unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mailprobe.errors import Reason, Reply, Stage


class Outcome(StrEnum):
    """The one judgement on a canary; exactly one per canary."""

    DELIVERED = "delivered"
    JUNKED = "junked"
    DEFERRED = "deferred"
    REJECTED = "rejected"
    UNSENT = "unsent"
    BOUNCED = "bounced"
    OVERDUE = "overdue"
    UNOBSERVED = "unobserved"
    SKIPPED = "skipped"


class AttemptOutcome(StrEnum):
    """How one SMTP transaction ended."""

    ACCEPTED = "accepted"
    IN_DOUBT = "in_doubt"
    """The connection failed after the final dot and before its reply: the message may exist. Never re-sent."""
    DEFERRED = "deferred"
    REJECTED = "rejected"
    UNSENT = "unsent"


class RouteState(StrEnum):
    """What may be said of a route at one moment; exactly one holds."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILING = "failing"
    UNKNOWN = "unknown"


class Symptom(StrEnum):
    """What is wrong with a route where no failure of a stage says it; beside `Reason` in a `Cause`."""

    BOUNCED = "bounced"
    JUNKED = "junked"
    SLOW = "slow"


class Trend(StrEnum):
    """Where a route that is not ok is going."""

    WORSE = "worse"
    SAME = "same"
    BETTER = "better"


class SenderKind(StrEnum):
    """Where a canary is handed in."""

    SUBMISSION = "submission"
    MX = "mx"


class TlsMode(StrEnum):
    """When TLS begins on a connection; never guessed from the port."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    OPPORTUNISTIC = "opportunistic"
    PLAINTEXT = "plaintext"


@dataclass(frozen=True, slots=True)
class StageReply:
    """A reply and the stage that it answered."""

    stage: Stage
    reply: Reply


@dataclass(frozen=True, slots=True)
class StageTime:
    """How long one stage of an attempt took."""

    stage: Stage
    seconds: float


@dataclass(frozen=True, slots=True)
class Peer:
    """The server of one connection: the name asked for and the one address chosen."""

    host: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """What TLS came to on one connection. `not_after` is UTC; `verified` is false where the user said so."""

    version: str
    cipher: str
    subject: str
    issuer: str
    not_after: datetime | None
    verified: bool


@dataclass(frozen=True, slots=True)
class DnsFacts:
    """What the DNS said on the way to one attempt's address.

    `exchangers` are (host, preference) in the order to try them, none for a submission service; `implicit`: there is
    no MX, and it is the domain itself (RFC 5321 5.1). `addresses` are those of the host that was chosen. Both `ttl`
    in seconds, None where no DNS was asked. `last`: no address is left that the same slot could go on to.
    """

    exchangers: tuple[tuple[str, int], ...] = ()
    implicit: bool = False
    ttl: int | None = None
    addresses: tuple[str, ...] = ()
    address_ttl: int | None = None
    last: bool = True


class MtaStsMode(StrEnum):
    """What a domain's MTA-STS policy asks for. Source: RFC 8461 5."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"
    ABSENT = "absent"
    """The domain has no policy."""
    ERROR = "error"
    """The domain says that it has one, and it cannot be had or not be read."""


@dataclass(frozen=True, slots=True)
class MtaStsFacts:
    """A domain's MTA-STS policy, and whether an attempt was as it asks; `passed` None: none asks, or nobody knows.

    `exchangers` are the policy's patterns of hosts, `max_age` seconds.
    """

    mode: MtaStsMode
    id: str = ""
    exchangers: tuple[str, ...] = ()
    max_age: int | None = None
    passed: bool | None = None
    detail: str = ""


class DaneStatus(StrEnum):
    """What a mail exchanger's TLSA records are good for. Source: RFC 7672 2."""

    USABLE = "usable"
    UNUSABLE = "unusable"
    """Validated, but of no usage that mail knows: TLS is asked for, and no certificate."""
    ABSENT = "absent"
    """There are none that DNSSEC vouches for."""
    ERROR = "error"
    """They cannot be had: a sender that keeps to DANE would not deliver."""


@dataclass(frozen=True, slots=True)
class DaneFacts:
    """A mail exchanger's TLSA records as text, and whether an attempt was as they ask; `passed` as in MtaStsFacts."""

    status: DaneStatus
    records: tuple[str, ...] = ()
    passed: bool | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """What the recipient's side asks of senders, looked up beside an attempt; None: not asked for by the user."""

    mta_sts: MtaStsFacts | None = None
    dane: DaneFacts | None = None


@dataclass(frozen=True, slots=True)
class TranscriptLine:
    """One line said on a connection; credentials are `***` before they get here.

    `direction`: `>` we said, `<` the server said, `*` a note of ours. `seconds` since the attempt began.
    """

    seconds: float
    direction: str
    text: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One SMTP transaction for a canary: one address, one connection, no hidden help.

    `number` counts from 1. `dot_sent` is the instant at which the final dot was flushed, None if it never was;
    from then on the message may exist (RFC 5321 4.1.1.4). `stage` and `reason` say where and why it ended when
    the outcome is not accepted; `detail` is text for people: cut, redacted, never a label. `chain` holds the
    certificates shown, DER, the server's first, as long as a policy is to be held against them. `policy` is known
    later than the rest, if at all, and has changed nothing.
    """

    number: int
    begun: float
    ended: float
    outcome: AttemptOutcome
    stages: tuple[StageTime, ...] = ()
    replies: tuple[StageReply, ...] = ()
    peer: Peer | None = None
    tls: TlsFacts | None = None
    queue_id: str | None = None
    dot_sent: float | None = None
    stage: Stage | None = None
    reason: Reason | None = None
    detail: str = ""
    transcript: tuple[TranscriptLine, ...] = ()
    dns: DnsFacts | None = None
    chain: tuple[bytes, ...] = ()
    policy: PolicyFacts | None = None

    @property
    def last_reply(self) -> StageReply | None:
        """The reply that decided; None if something else did: a time-out, a certificate. Never that to QUIT."""
        said = [said for said in self.replies if said.stage is not Stage.QUIT]
        if self.stage is None:
            return said[-1] if said else None
        return next((said for said in reversed(said) if said.stage is self.stage and said.reply.is_refusal), None)


@dataclass(frozen=True, slots=True)
class Canary:
    """One probe message, from the moment it is due: known before any byte of it leaves.

    `id` is unguessable and unique in an agent's life; `opened` is when its first attempt was due to begin.
    `deadline` and `late_until` are instants too: `opened` plus the route's promise.
    """

    id: str
    route: str
    sender: str
    mailbox: str
    opened: float
    deadline: float
    late_until: float


@dataclass(frozen=True, slots=True)
class Sighting:
    """A proven canary found in a folder of a mailbox.

    `noticed` is when the server first told us; `previous_look` began the last look that would have shown it
    and did not (None: nobody had looked before). `continuous`: the session was alive from that look to this
    one. `internaldate_wall` is the server's own clock (RFC 9051 2.3.3).
    """

    canary: str
    mailbox: str
    folder: str
    junk: bool
    uidvalidity: int
    uid: int
    noticed: float
    previous_look: float | None
    continuous: bool
    internaldate_wall: float | None = None
    headers: bytes = b""


@dataclass(frozen=True, slots=True)
class Scan:
    """One complete look at all folders of a mailbox: what is not in it was not there at `started`.

    Absence is evidence from `started` only: what came later may lie in a folder already looked at.
    """

    mailbox: str
    started: float
    finished: float
    full: bool = False
    """The mailbox had no room left: why something is not there (RFC 9208)."""


@dataclass(frozen=True, slots=True)
class Bounce:
    """A DSN about a canary with Action failed or delayed (RFC 3464 2.3)."""

    canary: str
    mailbox: str
    action: str
    status: str
    diagnostic: str
    reporting_mta: str
    noticed: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """The one judgement on a canary.

    `delivery_seconds`: first attempt begun -> noticed, what a person waits. `transit_seconds`: flush of the final
    dot -> noticed; both None unless the canary was seen, and None also where watching was blind across the
    deadline. `transit_error_seconds`: how much of it may be our own lateness in looking; with `upper_bound` the
    mailbox was not watched for a while and the figure is a bound, not a measurement. `retried`: an earlier
    attempt had been deferred.
    """

    canary: Canary
    outcome: Outcome
    at: float
    stage: Stage | None = None
    reason: Reason | None = None
    detail: str = ""
    reply: StageReply | None = None
    delivery_seconds: float | None = None
    transit_seconds: float | None = None
    transit_error_seconds: float | None = None
    upper_bound: bool = False
    attempts: int = 0
    retried: bool = False
    in_doubt: bool = False
    sighting: Sighting | None = None
    bounce: Bounce | None = None


@dataclass(frozen=True, slots=True)
class RestoredAttempt:
    """An SMTP transaction as an earlier process left it; its instants are on the clock of this process.

    `outcome` None: that process ended before the attempt did. `dot_sent` None is then no proof that the dot never
    left, since the last moments of a process that was killed are not written down. `stage`, `reason` and `detail`
    as in `Attempt`: a verdict that is still owed for this attempt says them.
    """

    number: int
    begun: float
    outcome: AttemptOutcome | None = None
    dot_sent: float | None = None
    retry_at: float | None = None
    stage: Stage | None = None
    reason: Reason | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RestoredCanary:
    """A canary of an earlier process of which something is still to be said.

    `sightings` are (folder, uidvalidity, uid) in its mailbox; `outcome` None: not judged yet. `late`: the first of
    them, where a look that began at or after the deadline had not shown it.
    """

    canary: Canary
    attempts: tuple[RestoredAttempt, ...] = ()
    sightings: tuple[tuple[str, int, int], ...] = ()
    outcome: Outcome | None = None
    late: Sighting | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """What stops or delays mail, as labels: where, with which reply, why. None where nobody said."""

    stage: Stage | None = None
    code: int | None = None
    enhanced_code: str | None = None
    reason: Reason | Symptom | None = None


@dataclass(frozen=True, slots=True)
class Incident:
    """A period in which a route was not ok, however often it seemed to be over in between.

    `begin` is when the first affected canary was opened, `first_sign` when something was seen of it, `detected`
    when the state of the route changed. `end` is when the route was ok again, None while it is not; until `closed`
    it may still relapse, which makes it the same incident. `state` is the worst there was, `share_worst` (0..1) the
    greatest share of recent canaries that were affected, `cause` what dominated then. `affected` counts canaries.
    """

    id: str
    route: str
    begin: float
    first_sign: float
    detected: float
    state: RouteState
    cause: Cause
    share_worst: float
    affected: int
    relapses: int = 0
    end: float | None = None
    closed: bool = False
