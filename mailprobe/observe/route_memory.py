"""What is remembered of one route, and the rules by which it is ok, degraded or failing.

The theory is at the head of `states`. A canary is a `Mark` from the moment it is opened; it enters the window of
`decided` marks with its first evidence, in the order in which canaries were opened, and may change there until its
verdict. O(1) per event while all is well, a look over the window of `WINDOW` marks otherwise.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from math import inf
from operator import attrgetter
from typing import Final

from mailprobe.errors import Reason
from mailprobe.model import Attempt, AttemptOutcome, Bounce, Canary, Cause, Outcome, RouteState, Trend, Verdict
from mailprobe.observe.evidence import (
    FAILED,
    JUNKED,
    NO_CAUSE,
    NOT_EVIDENCE,
    OURS,
    SEEN,
    SLOW,
    Grade,
    Mark,
    attempt_is_ours,
    cause_of_attempt,
    cause_of_bounce,
    cause_of_verdict,
    dominating,
    is_hard,
    may_be_greylisting,
)
from mailprobe.observe.usual import Greylisting, UsualDelay, UsualInterval

WINDOW: Final = 30
"""Decided canaries in which two hard ones are a pattern."""
SHARE: Final = 10
"""Decided canaries of which the share affected is reckoned."""
NEWEST: Final = 4
"""Decided canaries that alone may make a route degraded, failing, or ok again."""
DEGRADED_NEWEST: Final = 2
DEGRADED_SHARE: Final = 3
DEGRADED_HARD: Final = 2
FAILING_SHARE: Final = 8
UNKNOWN_AFTER: Final = 3
CERTAIN_SHARE: Final = 5
CERTAIN_RECENT: Final = 7
CERTAIN_RECENT_PASSED: Final = 12
"""With those that were accepted at the second attempt, which a server may owe to greylisting now and then."""
RECENT: Final = 60
CERTAIN_AT_START: Final = 20
"""Canaries deferred one after the other that no greylisting explains any more, also on a route that was never ok."""
TREND: Final = 2
"""Canaries more or fewer among the newer half of `SHARE` that make a trend."""

_opened = attrgetter("opened")


class RouteMemory:
    """One route. `state` is what its canaries say; whether they can be seen at all is the business of `States`."""

    __slots__ = (
        "_bad",
        "_floor",
        "_greylisting",
        "_marks",
        "_ok_once",
        "_recent",
        "affected",
        "decided",
        "delay",
        "flying",
        "interval",
        "last_word",
        "news",
        "promise",
        "sign",
        "state",
        "without",
    )

    def __init__(self) -> None:
        self.state = RouteState.UNKNOWN
        self.decided: list[Mark] = []
        self.flying: dict[str, Mark] = {}
        """Marks of messages that are on their way, in the order of their final dots."""
        self.delay = UsualDelay()
        self.interval = UsualInterval()
        self.affected = 0
        self.without = 0
        self.last_word: float | None = None
        self.promise = 0.0
        self.sign: Mark | None = None
        """A first sign that nobody has taken yet."""
        self.news: list[Mark] = []
        """Canaries newly affected, which nobody has compared with those of other routes yet."""
        self._marks: dict[str, Mark] = {}
        self._greylisting = Greylisting()
        self._bad = 0
        self._floor = -inf
        self._recent = _nothing_recent()
        self._ok_once = False

    def was_ok(self) -> None:
        """An earlier process saw mail go through: who is deferred now is no newcomer."""
        self._ok_once = True

    # -- events

    def opened(self, canary: Canary) -> None:
        """A canary is expected."""
        self._learn(canary)
        self._marks[canary.id] = Mark(canary.opened)

    def expect(self, canary: Canary) -> None:
        """A canary of an earlier process is still to be judged."""
        self._marks.setdefault(canary.id, Mark(canary.opened))

    def forgotten(self, canary: Canary) -> None:
        """Nothing more will be said of a canary."""
        self._marks.pop(canary.id, None)
        self.flying.pop(canary.id, None)

    def dot_sent(self, canary: Canary, at: float) -> None:
        """The message may be on its way."""
        if mark := self._marks.get(canary.id):
            mark.dot = at
            self.flying.pop(canary.id, None)
            self.flying[canary.id] = mark

    def seen(self, canary: Canary) -> None:
        """The message has arrived; what that means is said by the verdict."""
        self.flying.pop(canary.id, None)

    def attempted(self, canary: Canary, attempt: Attempt) -> None:
        """An attempt ended: a failed one is evidence before any verdict."""
        mark = self._marks.get(canary.id)
        if mark is None:
            return
        mark.ours = attempt.outcome in FAILED and attempt_is_ours(attempt)
        if attempt.outcome not in FAILED:
            if mark.grade is Grade.AGAINST:
                mark.passed = attempt.number == 2 and not mark.odd
                self._decide(mark, Grade.TROUBLE, mark.cause, attempt.ended)
            return
        self.flying.pop(canary.id, None)
        if mark.ours:
            return
        if attempt.number > 1:
            self._greylisting.failed_again()
        elif self._greylisting.is_usual and attempt.outcome is AttemptOutcome.DEFERRED:
            return
        mark.odd += not may_be_greylisting(attempt)
        mark.confirmed = mark.confirmed or mark.odd > 1
        self._decide(mark, Grade.AGAINST, cause_of_attempt(attempt), attempt.ended)

    def bounced(self, canary: Canary, bounce: Bounce) -> None:
        """A report came in. A delay notice tells of a deferral behind a relay; a failure has its verdict."""
        if bounce.action.lower() != "failed" and (mark := self._marks.get(canary.id)):
            self._decide(mark, Grade.TROUBLE, cause_of_bounce(bounce), bounce.noticed)

    def judged(self, verdict: Verdict) -> None:
        """A verdict: the last word about a canary."""
        canary, outcome = verdict.canary, verdict.outcome
        self.last_word = verdict.at
        mark = self._marks.pop(canary.id, None)
        if mark is None:
            self._learn(canary)
            mark = Mark(canary.opened)
        self.flying.pop(canary.id, None)
        if outcome in NOT_EVIDENCE or (outcome not in SEEN and (mark.ours or verdict.reason in OURS)):
            self.without += 1
            return
        mark.judged = True
        if outcome in SEEN:
            grade, cause = self._of_seen(verdict, mark)
            mark.passed = verdict.retried and verdict.attempts == 2 and not mark.odd
        else:
            grade, cause = Grade.AGAINST, cause_of_verdict(verdict)
        self._recent.append(Grade.TROUBLE if grade and mark.passed else Grade.AGAINST if grade else Grade.GOOD)
        self._decide(mark, grade, cause, verdict.at)

    def troubled(self, at: float, cause: Cause) -> None:
        """Something else went wrong that mail on this route depends on."""
        self._recent.append(Grade.AGAINST)
        self._decide(Mark(at), Grade.TROUBLE, cause, at)
        self.news.clear()  # it is said of other routes too, and is one observation all the same

    def confirm(self) -> None:
        """Marks of this route were confirmed by those of others."""
        self._reconsider()

    def has_late(self, now: float) -> bool:
        """Whether a message is on its way for longer than is usual."""
        limit = self.delay.late_after
        if limit is None or not self.flying:
            return False
        dot = next(iter(self.flying.values())).dot
        return dot is not None and dot + limit <= now

    def late(self, now: float) -> None:
        """Time passes: messages that are on their way for too long are slow, whatever becomes of them."""
        while self.has_late(now):
            mark = self.flying.pop(next(iter(self.flying)))
            if not mark.grade:
                self._decide(mark, Grade.TROUBLE, SLOW, now)

    # -- questions

    @property
    def share(self) -> float:
        """Which part of the recent canaries is affected, 0..1."""
        return _bad(self.decided[-SHARE:]) / min(SHARE, len(self.decided)) if self._bad else 0.0

    @property
    def cause(self) -> Cause:
        """What dominates among the recent canaries that are affected; among older ones where no recent one is."""
        if not self._bad:
            return NO_CAUSE
        recent = dominating(self.decided[-SHARE:])
        return dominating(self.decided) if recent is NO_CAUSE else recent

    @property
    def trend(self) -> Trend:
        """Whether more or fewer of the newest canaries are affected than of those before them."""
        half = SHARE // 2
        if not self._bad or len(self.decided) < SHARE:
            return Trend.SAME
        more = _bad(self.decided[-half:]) - _bad(self.decided[-SHARE:-half])
        return Trend.WORSE if more >= TREND else Trend.BETTER if more <= -TREND else Trend.SAME

    @property
    def onset(self) -> Mark | None:
        """The first mark of the trouble that there is now, None if there is none."""
        if not self._bad:
            return None
        old = [mark for mark in self.decided[:-SHARE] if mark.hard and mark.grade]
        return next((mark for mark in (*old, *self.decided[-SHARE:]) if mark.grade), None)

    @property
    def is_certain(self) -> bool:
        """Whether chance cannot explain what there is: an incident, and no odd coincidence."""
        if self._may_be_greylisting:
            return False
        return (
            self.state is RouteState.FAILING
            or self._is_hard_enough
            or _bad(self.decided[-SHARE:]) >= CERTAIN_SHARE
            or self._recent.count(Grade.AGAINST) >= CERTAIN_RECENT
            or RECENT - self._recent.count(Grade.GOOD) >= CERTAIN_RECENT_PASSED
        )

    @property
    def _is_hard_enough(self) -> bool:
        """Two hard ones, or three where all that they say is that a message was not there: one is lost now and then."""
        reasons = [mark.cause.reason for mark in self.decided if mark.hard]
        return len(reasons) >= DEGRADED_HARD + all(reason is Reason.NOT_THERE for reason in reasons)

    @property
    def is_refused(self) -> bool:
        """Whether the newest canaries never got as far as the mailbox: known without looking into it."""
        return len(self.decided) >= NEWEST and all(
            mark.grade is Grade.AGAINST and mark.cause.stage not in (None, SLOW.stage)
            for mark in self.decided[-NEWEST:]
        )

    def affected_since(self, opened: float) -> int:
        """How many marks of the window are affected and not older."""
        return sum(1 for mark in self.decided if mark.grade and mark.opened >= opened)

    # -- inside

    def _learn(self, canary: Canary) -> None:
        self.interval.opened(canary.opened)
        self.promise = canary.deadline - canary.opened

    def _of_seen(self, verdict: Verdict, mark: Mark) -> tuple[Grade, Cause]:
        self._greylisting.passed(verdict.attempts)
        slow = mark.cause is SLOW
        if verdict.transit_seconds is not None:
            limit = self.delay.late_after
            slow = slow and limit is not None and verdict.transit_seconds >= limit
            if not verdict.upper_bound:
                slow = self.delay.took(verdict.transit_seconds)
        if verdict.outcome is Outcome.JUNKED:
            return Grade.TROUBLE, JUNKED
        if slow:
            return Grade.TROUBLE, SLOW
        if verdict.retried and not (verdict.attempts == 2 and self._greylisting.is_usual):
            return Grade.TROUBLE, _DEFERRED if mark.cause in (NO_CAUSE, SLOW) else mark.cause
        return Grade.GOOD, NO_CAUSE

    def _decide(self, mark: Mark, grade: Grade, cause: Cause, at: float) -> None:
        """The mark has evidence, or other evidence than before."""
        before, mark.grade, mark.cause = mark.grade, grade, cause
        self.without = 0
        mark.hard = bool(grade) and is_hard(cause)
        if before is None:
            mark.known = at
            self.last_word = at
            self.affected += bool(grade)
            if mark.opened >= self._floor:
                self._enter(mark)
                if grade:
                    self.news.append(mark)
        if grade or before or self._bad:
            self._bad = _bad(self.decided)
        if before is None and grade and mark.opened >= self._floor and _bad(self.decided[-SHARE:]) == 1:
            self.sign = mark
        self._reconsider()

    def _enter(self, mark: Mark) -> None:
        decided = self.decided
        if not decided or decided[-1].opened <= mark.opened:
            decided.append(mark)
        else:
            insort(decided, mark, key=_opened)
        if len(decided) > WINDOW:
            del decided[0]

    def _reconsider(self) -> None:
        if not self._bad:
            self._become_ok()
            return
        if self.state is RouteState.OK:
            self.state = self._worse() or RouteState.OK
        elif self._is_over:
            self._floor = self.decided[-NEWEST].opened
            del self.decided[:-NEWEST]
            self._bad = 0
            self._become_ok()
        else:
            self.state = self._worse() or self._at_least()

    def _worse(self) -> RouteState | None:
        """Failing or degraded if the window alone says so."""
        marks = self.decided
        if self._may_be_greylisting:
            return RouteState.DEGRADED if any(mark.judged and mark.grade for mark in marks) else None
        settled = [mark.grade is Grade.AGAINST for mark in self._settled]
        enough = FAILING_SHARE - (self.state is RouteState.FAILING)
        if (len(settled) >= NEWEST and all(settled[-NEWEST:])) or sum(settled[-SHARE:]) >= enough:
            return RouteState.FAILING
        newest = marks[-NEWEST:]
        if (
            sum(1 for mark in newest if mark.grade and not mark.passed) >= DEGRADED_NEWEST
            or _bad(newest[-DEGRADED_NEWEST:]) == DEGRADED_NEWEST
            or any(mark.grade and mark.confirmed for mark in newest)
            or _bad(marks[-SHARE:]) >= DEGRADED_SHARE
            or _hard(marks) >= DEGRADED_HARD
            or (not self._ok_once and any(mark.judged and mark.grade for mark in marks))
        ):
            return RouteState.DEGRADED
        return None

    def _at_least(self) -> RouteState:
        """What is to be said where the window says nothing by itself: what was said before, or that it begins."""
        if self.state is not RouteState.UNKNOWN:
            return RouteState.DEGRADED
        if any(mark.grade is Grade.GOOD for mark in self.decided):
            self._become_ok()
        return self.state

    def _become_ok(self) -> None:
        if not self._ok_once:  # what was before was the beginning, and no measure of what is usual
            self._ok_once = True
            self._recent = _nothing_recent()
        self.state = RouteState.OK

    @property
    def _is_over(self) -> bool:
        """The newest canaries are good, without one among them of which nothing is known yet."""
        newest = self.decided[-NEWEST:]
        if len(newest) < NEWEST or _bad(newest):
            return False
        first, last = newest[0].opened, newest[-1].opened
        return not any(mark.grade is None and first < mark.opened < last for mark in self._marks.values())

    @property
    def _settled(self) -> list[Mark]:
        """Canaries that are stopped or judged: a late one may still turn out to be either."""
        return [mark for mark in self.decided if mark.judged or mark.grade is Grade.AGAINST]

    @property
    def _may_be_greylisting(self) -> bool:
        """Nothing was ever better, and all that is wrong may be a server that does not know us yet."""
        return not self._ok_once and self.affected < CERTAIN_AT_START and not _hard(self.decided)


_DEFERRED: Final = Cause(reason=Reason.DEFERRED)


def _nothing_recent() -> deque[Grade]:
    return deque([Grade.GOOD] * RECENT, maxlen=RECENT)


def _bad(marks: list[Mark]) -> int:
    return sum(1 for mark in marks if mark.grade)


def _hard(marks: list[Mark]) -> int:
    return sum(1 for mark in marks if mark.hard)
