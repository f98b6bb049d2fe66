"""What an event says of its route: evidence for it, against it, or none; and the cause, as labels. Pure.

*Hard* is what does not happen to a healthy route even once in a while: a known address refused, a message that is not
there, a certificate that has expired, a password refused. *Soft* is everyday life if it happens once: a deferral,
a name server that did not answer, a connection lost, a slow message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from mailprobe.errors import EnhancedStatus, NoCredential, ProbeFailure, Reason, Reply, Stage
from mailprobe.message.replies import meaning_of
from mailprobe.model import Attempt, AttemptOutcome, Bounce, Cause, Outcome, Symptom, Verdict


class Grade(IntEnum):
    """What one canary says of its route."""

    GOOD = 0
    TROUBLE = 1
    """It got or gets through, and not as it should: junked, slow, after a deferral."""
    AGAINST = 2
    """It did not get through, as far as is known now."""


class Mark:
    """One canary, or one log-in refused, as evidence. `grade` None: nothing is known of it yet.

    `opened` orders marks: what a canary says, it says of the moment in which it was opened. `known` is when the
    first evidence came, `dot` when the final dot was flushed. `judged`: its verdict is in. `odd` counts
    the attempts that failed as greylisting does not fail them. `passed`: deferred once, as by greylisting, and
    accepted at the next attempt. `confirmed`: something else says the same, so that it is no coincidence: a second odd
    attempt, or canaries of other routes (`together`). `ours`: what its last attempt failed of is no evidence.
    """

    __slots__ = (
        "cause",
        "confirmed",
        "dot",
        "grade",
        "hard",
        "judged",
        "known",
        "odd",
        "opened",
        "ours",
        "passed",
    )

    def __init__(self, opened: float) -> None:
        self.opened = opened
        self.known = opened
        self.dot: float | None = None
        self.grade: Grade | None = None
        self.cause = NO_CAUSE
        self.hard = False
        self.judged = False
        self.odd = 0
        self.ours = False
        self.passed = False
        self.confirmed = False


NO_CAUSE: Final = Cause()
SLOW: Final = Cause(Stage.TRANSIT, None, None, Symptom.SLOW)
JUNKED: Final = Cause(Stage.TRANSIT, None, None, Symptom.JUNKED)

OURS: Final = frozenset(
    {
        Reason.THROTTLED,
        Reason.SENDER_BUSY,
        Reason.NOBODY_LOOKED,
        Reason.AGENT_LATE,
        Reason.AGENT_RESTARTED,
        Reason.AGENT_FAILED,
    }
)
"""Of the agent, or of limits meant for it alone: no evidence of the route."""


def is_ours(failure: ProbeFailure) -> bool:
    """Whether a failure says nothing of the mail: it is our own, or nobody gave us what we need to log in."""
    return failure.reason in OURS or isinstance(failure, NoCredential)


def attempt_is_ours(attempt: Attempt) -> bool:
    """The same of an attempt: one that ended at the login without a server had nothing to log in with."""
    return attempt.reason in OURS or (attempt.stage is Stage.AUTH and attempt.peer is None)


_SOFT: Final = frozenset(
    {
        Reason.DEFERRED,
        Reason.DNS_SERVFAIL,
        Reason.DNS_TIMEOUT,
        Reason.CONNECTION_REFUSED,
        Reason.UNREACHABLE,
        Reason.TIMEOUT,
        Reason.CONNECTION_LOST,
        Reason.TLS_HANDSHAKE,
        Reason.MALFORMED_REPLY,
        Reason.UNEXPECTED_REPLY,
        Reason.AUTH_UNAVAILABLE,
        Reason.TOKEN_EXPIRED,
        Reason.SERVER_REFUSED,
        Symptom.SLOW,
        Symptom.JUNKED,
        None,
    }
)

NOT_EVIDENCE: Final = frozenset({Outcome.UNOBSERVED, Outcome.SKIPPED})
SEEN: Final = frozenset({Outcome.DELIVERED, Outcome.JUNKED})
FAILED: Final = frozenset({AttemptOutcome.DEFERRED, AttemptOutcome.REJECTED, AttemptOutcome.UNSENT})
_DIAGNOSTIC: Final = re.compile(r"(?:smtp; ?)?([45]\d\d)(?=[ -])", re.IGNORECASE)


def is_hard(cause: Cause) -> bool:
    """Whether a healthy route never says this, not even once."""
    return cause.reason not in _SOFT


def cause_of_failure(failure: ProbeFailure) -> Cause:
    """The cause in a failure."""
    return Cause(failure.stage, *_codes(failure.reply), failure.reason)


def cause_of_attempt(attempt: Attempt) -> Cause:
    """Why an attempt did not hand the message in."""
    said = attempt.last_reply
    refused = said.reply if said and said.reply.is_refusal and said.stage is attempt.stage else None
    return Cause(attempt.stage, *_codes(refused), attempt.reason)


def may_be_greylisting(attempt: Attempt) -> bool:
    """Whether an attempt failed as one does that a greylisting server sees for the first time."""
    said = attempt.last_reply
    return said is not None and said.stage is attempt.stage and meaning_of(said.stage, said.reply).may_be_greylisting


def cause_of_bounce(bounce: Bounce) -> Cause:
    """What a report says; its codes were written by others and are taken where they are well-formed."""
    code = _DIAGNOSTIC.match(bounce.diagnostic)
    status = EnhancedStatus.parse(bounce.status)
    failed = bounce.action.lower() == "failed"
    return Cause(
        Stage.TRANSIT,
        int(code[1]) if code else None,
        _enhanced(status),
        Symptom.BOUNCED if failed else Reason.DEFERRED,
    )


def cause_of_verdict(verdict: Verdict) -> Cause:
    """Why a canary was not simply delivered."""
    if verdict.outcome is Outcome.JUNKED:
        return JUNKED
    if verdict.outcome is Outcome.BOUNCED and verdict.bounce:
        return cause_of_bounce(verdict.bounce)
    reason = Symptom.BOUNCED if verdict.outcome is Outcome.BOUNCED else verdict.reason
    return Cause(verdict.stage, *_codes(verdict.reply.reply if verdict.reply else None), reason)


def dominating(marks: Iterable[Mark]) -> Cause:
    """The cause that most of the affected marks have; of several the newest."""
    counts: dict[Cause, int] = {}
    for mark in marks:
        if mark.grade:
            counts[mark.cause] = counts.pop(mark.cause, 0) + 1
    return max(reversed(counts), key=counts.__getitem__) if counts else NO_CAUSE


def _codes(reply: Reply | None) -> tuple[int | None, str | None]:
    if reply is None or not reply.is_refusal:
        return None, None
    return reply.code, _enhanced(reply.enhanced)


def _enhanced(status: EnhancedStatus | None) -> str | None:
    return str(status) if status else None
