"""One canary in the ledger: what may be said of it, what it then is, and which verdict it is owed.

Theory
======

Two streams speak about a canary and neither waits for the other. The *submitter* tells of attempts, and moves the
canary from phase to phase along `TRANSITIONS`. The *mailbox* tells of sightings, bounces and complete scans; these
move nothing, they are kept as evidence: `sighting`, `bounce`, and (in the ledger, one per mailbox) the start of the
last complete scan. After each word of either, `Entry.judge` is asked whether the evidence at hand is enough for the
one verdict. It is the only place where verdicts are made, so the order of the two streams cannot matter.

The rules of `judge`, in the order in which they are asked:

1. While the submitter has not spoken (`SPOKEN`), nothing is judged: a sighting or a bounce may overtake the reply and
   is held. Only if it stays silent until the grace after the deadline is over is it judged without it.
2. Seen is delivered, whatever the submitter said: in doubt, deferred after the final dot, even rejected.
   Unless a look that began at or after the deadline did not show it: then it was absent at the deadline, gets the
   verdict of rule 5 as if not seen, and the sighting is a late arrival.
3. A DSN with Action failed makes an accepted canary, or one in doubt, bounced. A delay notice judges nothing.
4. A refusal with no further attempt due before the deadline is its own verdict: deferred, rejected, unsent.
5. Not seen although a complete scan began at or after the deadline: overdue, if the message was accepted or may have
   been (`AWAITED`). A message of which we do not know whether it ever left is never overdue: unobserved.
6. Grace over: unobserved where a message may exist, else what the agent itself has to say for it (`_owed`).

Delays (seconds, never negative: the reply may be read after the sighting)

- Time starts at the flush of the final dot, not at the reply to it (RFC 5321 4.1.1.4). Of several dots (an earlier
  one was refused) it is the last one before the message was noticed.
- A delay is never more wrong than its error: the time since the look before, in which the message may have lain there.
- A gap in watching makes it an upper bound; so does a restart, since the earlier process had another clock.
- Nobody watched across the deadline: the message is there, its delay is not known, and no figure is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mailprobe.errors import Reason, Stage
from mailprobe.model import (
    Attempt,
    AttemptOutcome,
    Bounce,
    Canary,
    Outcome,
    RestoredAttempt,
    RestoredCanary,
    Sighting,
    StageReply,
    Verdict,
)

MessageKey = tuple[str, int, int]
"""What makes a message in a mailbox that message: folder, UIDVALIDITY, UID. Source: RFC 9051 2.3.1.1."""

KEYS_LIMIT: Final = 64
"""Messages remembered per canary. Two are rare; a mail loop must not fill our memory."""


class Phase(StrEnum):
    """How far the submitter has come with a canary that is not judged yet."""

    OPENED = "opened"
    TRYING = "trying"
    FLUSHED = "flushed"
    """The final dot is out, its reply is not in: the message may exist."""
    WAITING = "waiting"
    """Refused, and a further attempt is due before the deadline."""
    REFUSED = "refused"
    ACCEPTED = "accepted"
    IN_DOUBT = "in_doubt"
    UNKNOWN = "unknown"
    """An earlier process died in the middle of an attempt: whether a message was handed in is not known."""


class Said(StrEnum):
    """What the submitter may say."""

    BEGUN = "begun"
    FLUSHED = "flushed"
    ACCEPTED = "accepted"
    IN_DOUBT = "in_doubt"
    PUT_OFF = "put_off"
    """Deferred or unsent, and a further attempt is due before the deadline."""
    REFUSED = "refused"


_ENDED: Final[Mapping[Said, Phase]] = {
    Said.ACCEPTED: Phase.ACCEPTED,
    Said.IN_DOUBT: Phase.IN_DOUBT,
    Said.PUT_OFF: Phase.WAITING,
    Said.REFUSED: Phase.REFUSED,
}
TRANSITIONS: Final[Mapping[Phase, Mapping[Said, Phase]]] = {
    Phase.OPENED: {Said.BEGUN: Phase.TRYING},
    Phase.TRYING: {Said.FLUSHED: Phase.FLUSHED, **_ENDED},
    Phase.FLUSHED: _ENDED,
    # refused while it waits: our own limits left no room for the next attempt
    Phase.WAITING: {Said.BEGUN: Phase.TRYING, Said.REFUSED: Phase.REFUSED},
    # the submitter has nothing more to say: what it says nevertheless is a bug of ours
    Phase.REFUSED: {},
    Phase.ACCEPTED: {},
    Phase.IN_DOUBT: {},
    Phase.UNKNOWN: {},
}
AWAITED: Final = frozenset({Phase.ACCEPTED, Phase.IN_DOUBT, Phase.UNKNOWN})
"""Nothing is due but the message: the mailbox decides."""
SPOKEN: Final = AWAITED | {Phase.WAITING, Phase.REFUSED}
"""The submitter is not in the middle of an attempt: a sighting need not be held."""
MAY_EXIST: Final = AWAITED | {Phase.FLUSHED}
"""A message may be on its way: whether it is there is worth a scan."""

_REFUSALS: Final[Mapping[AttemptOutcome, Outcome]] = {
    AttemptOutcome.DEFERRED: Outcome.DEFERRED,
    AttemptOutcome.REJECTED: Outcome.REJECTED,
    AttemptOutcome.UNSENT: Outcome.UNSENT,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is kept of an attempt that did not hand the message in: as much as its verdict needs."""

    outcome: Outcome
    stage: Stage | None = None
    reason: Reason | None = None
    detail: str = ""
    reply: StageReply | None = None

    @classmethod
    def of(cls, attempt: Attempt | RestoredAttempt) -> Refusal | None:
        """The refusal in an attempt; None if it was accepted, is in doubt, or its end is not known."""
        outcome = _REFUSALS.get(attempt.outcome) if attempt.outcome else None
        if outcome is None:
            return None
        reply = attempt.last_reply if isinstance(attempt, Attempt) else None
        return cls(outcome, attempt.stage, attempt.reason, attempt.detail, reply)


@dataclass(frozen=True, slots=True)
class Delay:
    """From the flush of the final dot to the moment at which the message was noticed.

    Units: seconds. Both are None if the flush is not known. `upper_bound`: not measured, it was at most this.
    """

    transit_seconds: float | None
    error_seconds: float | None
    upper_bound: bool

    @classmethod
    def of(cls, sighting: Sighting, dot: float | None, restored: bool) -> Delay:
        """The delay of a message whose final dot was flushed at `dot`."""
        upper_bound = restored or not watched(sighting)
        if dot is None:
            return cls(None, None, upper_bound)
        transit = max(0.0, sighting.noticed - dot)
        if sighting.previous_look is None:
            return cls(transit, transit, upper_bound)
        return cls(transit, max(0.0, sighting.noticed - max(sighting.previous_look, dot)), upper_bound)


NO_DELAY: Final = Delay(None, None, upper_bound=False)
NOT_KNOWN: Final = Delay(None, None, upper_bound=True)


def watched(sighting: Sighting) -> bool:
    """The mailbox was watched without a gap from the look before to this one."""
    return sighting.continuous and sighting.previous_look is not None


def key_of(sighting: Sighting) -> MessageKey:
    """Which message was seen."""
    return sighting.folder, sighting.uidvalidity, sighting.uid


def with_key(seen: tuple[MessageKey, ...], key: MessageKey) -> tuple[tuple[MessageKey, ...], bool]:
    """The messages known of a canary after `key` was seen, and whether it is one that had not been known.

    A folder has one UIDVALIDITY at a time: where it changed, a message under the new one is taken for one that
    was known under the old one, as long as there are such. Otherwise a renumbered folder would be full of duplicates.
    """
    if key in seen:
        return seen, False
    for index, (folder, uidvalidity, _) in enumerate(seen):
        if folder == key[0] and uidvalidity != key[1]:
            return (*seen[:index], key, *seen[index + 1 :]), False
    return (*seen[1 - KEYS_LIMIT :], key), True


class Entry:
    """A canary that is not judged yet. The ledger owns it; nobody else changes it."""

    __slots__ = ("attempts", "begun", "bounce", "canary", "dots", "phase", "refusal", "restored", "seen", "sighting")

    def __init__(self, canary: Canary) -> None:
        self.canary = canary
        self.phase = Phase.OPENED
        self.attempts = 0
        self.begun: float | None = None
        self.dots: tuple[float, ...] = ()
        self.refusal: Refusal | None = None
        self.sighting: Sighting | None = None
        self.bounce: Bounce | None = None
        self.seen: tuple[MessageKey, ...] = ()
        self.restored = False

    @classmethod
    def restore(cls, earlier: RestoredCanary) -> Entry:
        """The entry of a canary without a verdict, as an earlier process left it."""
        entry = cls(earlier.canary)
        entry.restored = True
        entry.seen, entry.sighting = earlier.sightings[-KEYS_LIMIT:], earlier.late
        if earlier.attempts:
            last = earlier.attempts[-1]
            entry.attempts, entry.begun, entry.refusal = last.number, earlier.attempts[0].begun, Refusal.of(last)
            entry.dots = tuple(tried.dot_sent for tried in earlier.attempts if tried.dot_sent is not None)
            entry.phase = _phase_after(last)
            if entry.phase is Phase.UNKNOWN:
                entry.dots = ()  # those of refused attempts: this message is none of theirs
        return entry

    @property
    def dot(self) -> float | None:
        """The last final dot that was flushed."""
        return self.dots[-1] if self.dots else None

    def hear(self, said: Said) -> None:
        """Moves on as the submitter says.

        Raises: ValueError if this cannot be said now, which is a bug of ours.
        """
        following = TRANSITIONS[self.phase].get(said)
        if following is None:
            raise ValueError(f"canary {self.canary.id} of {self.canary.route}: {said} cannot follow {self.phase}")
        self.phase = following

    def judge(self, at: float, *, absent: bool, over: bool, full: bool = False) -> Verdict | None:
        """The verdict that the evidence allows now, None if it is too early.

        `absent`: a complete scan that did not show it began at or after the deadline. `over`: so is the grace
        after the deadline, and a verdict is owed in any case.
        """
        if self.seen and (self.phase in SPOKEN or over):
            if self.sighting is None or self._in_time(self.sighting):
                return self._seen(self.sighting, at)
            absent = over = True
        if self.bounce is not None and (self.phase in AWAITED or (over and self.phase in MAY_EXIST)):
            detail = self.bounce.diagnostic
            return self._verdict(Outcome.BOUNCED, at, Stage.TRANSIT, detail=detail, bounce=self.bounce)
        if self.phase is Phase.REFUSED or over or (absent and self.phase in AWAITED):
            return self._owed(at, absent, full)
        return None

    def delay(self, sighting: Sighting) -> Delay:
        """How long the message took that was seen."""
        dot = self.dot
        if len(self.dots) > 1:
            dot = max((each for each in self.dots if each <= sighting.noticed), default=self.dots[0])
        return Delay.of(sighting, dot, self.restored)

    def _in_time(self, sighting: Sighting) -> bool:
        """It may have been there at the deadline: no look that began since has failed to show it."""
        return sighting.previous_look is None or sighting.previous_look < self.canary.deadline

    def _seen(self, sighting: Sighting | None, at: float) -> Verdict:
        if sighting is None:  # seen by an earlier process that did not live to judge it
            return self._verdict(Outcome.DELIVERED, at, delay=NOT_KNOWN)
        outcome = Outcome.JUNKED if sighting.junk else Outcome.DELIVERED
        if not watched(sighting) and sighting.noticed > self.canary.deadline:  # blind across the deadline
            return self._verdict(outcome, at, sighting=sighting, delay=NOT_KNOWN)
        delivery = None if self.begun is None else max(0.0, sighting.noticed - self.begun)
        return self._verdict(outcome, at, sighting=sighting, delay=self.delay(sighting), delivery_seconds=delivery)

    def _owed(self, at: float, absent: bool, full: bool) -> Verdict:
        """The verdict on a canary that was not seen, or too late (rules 4 to 6)."""
        match self.phase:
            case Phase.OPENED:
                reason = Reason.AGENT_RESTARTED if self.restored else Reason.AGENT_LATE
                return self._verdict(Outcome.SKIPPED, at, reason=reason)
            case Phase.TRYING:
                return self._verdict(Outcome.UNSENT, at, reason=Reason.TIMEOUT)
            case Phase.WAITING | Phase.REFUSED:
                said = self.refusal or Refusal(Outcome.UNSENT)
                return self._verdict(said.outcome, at, said.stage, said.reason, detail=said.detail, reply=said.reply)
            case Phase.UNKNOWN:
                return self._verdict(Outcome.UNOBSERVED, at, Stage.TRANSIT, Reason.AGENT_RESTARTED)
            case Phase.FLUSHED | Phase.ACCEPTED | Phase.IN_DOUBT if absent:
                reason = Reason.QUOTA_EXCEEDED if full else Reason.NOT_THERE
                return self._verdict(Outcome.OVERDUE, at, Stage.TRANSIT, reason)
            case Phase.FLUSHED | Phase.ACCEPTED | Phase.IN_DOUBT:
                return self._verdict(Outcome.UNOBSERVED, at, Stage.TRANSIT, Reason.NOBODY_LOOKED)

    def _verdict(
        self,
        outcome: Outcome,
        at: float,
        stage: Stage | None = None,
        reason: Reason | None = None,
        *,
        detail: str = "",
        reply: StageReply | None = None,
        sighting: Sighting | None = None,
        bounce: Bounce | None = None,
        delay: Delay = NO_DELAY,
        delivery_seconds: float | None = None,
    ) -> Verdict:
        return Verdict(
            canary=self.canary,
            outcome=outcome,
            at=at,
            stage=stage,
            reason=reason,
            detail=detail,
            reply=reply,
            delivery_seconds=delivery_seconds,
            transit_seconds=delay.transit_seconds,
            transit_error_seconds=delay.error_seconds,
            upper_bound=delay.upper_bound,
            attempts=self.attempts,
            retried=self.attempts > 1,
            in_doubt=self.phase in (Phase.FLUSHED, Phase.IN_DOUBT, Phase.UNKNOWN),
            sighting=sighting,
            bounce=bounce,
        )


_NEVER_LEFT: Final = frozenset({Outcome.SKIPPED, Outcome.DEFERRED, Outcome.REJECTED, Outcome.UNSENT})


class Past:
    """A judged canary that may still be seen: as little as late arrivals and duplicates need, since there are many."""

    __slots__ = ("canary", "dot", "outcome", "restored", "seen")

    def __init__(
        self, canary: Canary, outcome: Outcome, dot: float | None, seen: tuple[MessageKey, ...], restored: bool
    ) -> None:
        self.canary = canary
        self.outcome = outcome
        self.dot = dot
        self.seen = seen
        self.restored = restored

    @classmethod
    def restore(cls, earlier: RestoredCanary, outcome: Outcome) -> Past:
        """The rest of a canary that an earlier process judged."""
        dots = [tried.dot_sent for tried in earlier.attempts if tried.dot_sent is not None]
        return cls(earlier.canary, outcome, dots[-1] if dots else None, earlier.sightings[-KEYS_LIMIT:], restored=True)

    @property
    def missing(self) -> bool:
        """Overdue and not seen: it is still to be found out whether it is late or lost."""
        return self.outcome is Outcome.OVERDUE and not self.seen

    @property
    def settled(self) -> bool:
        """Seen, or no message of it can exist: at most a duplicate can still come."""
        return bool(self.seen) or (self.dot is None and self.outcome in _NEVER_LEFT and not self.restored)


def _phase_after(last: RestoredAttempt) -> Phase:
    """Where an earlier process left a canary whose last attempt is `last`."""
    match last.outcome:
        case AttemptOutcome.ACCEPTED:
            return Phase.ACCEPTED
        case AttemptOutcome.IN_DOUBT:
            return Phase.IN_DOUBT
        case AttemptOutcome.DEFERRED | AttemptOutcome.UNSENT if last.retry_at is not None:
            return Phase.WAITING
        case AttemptOutcome.DEFERRED | AttemptOutcome.UNSENT | AttemptOutcome.REJECTED:
            return Phase.REFUSED
        case None:
            return Phase.UNKNOWN if last.dot_sent is None else Phase.IN_DOUBT
