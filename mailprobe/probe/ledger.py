"""The ledger: every canary from the moment it is due until nothing more will be said of it.

Theory
======

A canary outlives the interval: a route may open one a minute while each takes an hour. So there is no loop that sends,
waits and judges, but this book, into which the submitter and the watcher write what they learn, each in its own
time. What one canary is, and which verdict it is owed, is in `entry`; here is what many of them need.

- Pure: no I/O, no clock, no log. Time comes in as arguments (instants of `clock.Clock`); what follows from a word
  comes back as events, in order, to be published by the caller. The same words always give the same events.
- Exactly one verdict each. A canary is an `Entry` until its verdict and a `Past` after it; nothing turns a `Past` back.
- "Not seen" needs "looked". Absence is evidence from the start of a complete scan only: a message that comes in
  while it runs may lie in a folder already looked at. A scan of a mailbox speaks of all its canaries, also of
  those whose submitter has not spoken yet; hence the start of the last one is kept per mailbox. The caller
  reports the sightings of a scan before the scan.
- After the verdict: seen for the first time is a late arrival; overdue and not there in a scan that began at or after
  `late_until` is lost. Nothing else can happen, and after `late_until` the canary is forgotten; sooner where nothing
  but a duplicate can still come (`DUPLICATES_WITHIN`).
- Everything is idempotent. The same message again is nothing, another one is a duplicate, a word about a canary that
  is not known (any more) is nothing: the mailbox may repeat itself after every reconnect. The wire cannot
  raise here; only our own submitter can, by speaking out of turn.

The grace: `observation_grace` seconds after the deadline are left to the watcher for a scan, and to the submitter for
its last word. Then whatever is known is judged (`Entry.judge`, rule 6). The same again after `late_until`.

A word costs O(log n). Two heaps hold one item a canary, (instant, id): `_agenda`, when `tick` has something to say, and
`_looks`, from when on a scan would. An item whose canary has moved on is dropped when it comes to the top.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from heapq import heappop, heappush, heapreplace
from math import inf
from typing import Final

from mailprobe.errors import Reason, Stage
from mailprobe.events import (
    ArrivedLate,
    AttemptBegun,
    AttemptEnded,
    BounceReceived,
    CanaryForgotten,
    CanaryLost,
    CanaryOpened,
    CanarySighted,
    DotSent,
    DuplicateSighted,
    Event,
    Judged,
)
from mailprobe.model import Attempt, AttemptOutcome, Bounce, Canary, Outcome, RestoredCanary, Scan, Sighting, Verdict
from mailprobe.probe.entry import MAY_EXIST, Delay, Entry, Past, Phase, Refusal, Said, key_of, with_key

OBSERVATION_GRACE: Final = 60.0
"""Seconds after a deadline in which a mailbox may still be scanned: a reconnect with back-off and a scan fit in."""
DUPLICATES_WITHIN: Final = 600.0
"""Seconds after a deadline for which a canary that was seen, or never handed in, is still known: duplicates come at
once or not at all, and a day of them all would be a gigabyte at 1,000 routes."""

_Heap = list[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class PendingRetry:
    """An attempt that an earlier process had put off and did not live to make; `done` were made."""

    canary: Canary
    done: int
    retry_at: float


class _Box:
    """What is known of a mailbox: the last complete scan, and the canaries that need another."""

    __slots__ = ("full", "opened", "scanned", "unseen", "wanting")

    def __init__(self) -> None:
        self.scanned = -inf
        self.full = False
        self.unseen = 0
        self.wanting: dict[str, float] = {}
        self.opened: _Heap = []


class _Lane:
    """The canaries of a route in flight."""

    __slots__ = ("in_flight", "opened")

    def __init__(self) -> None:
        self.in_flight = 0
        self.opened: _Heap = []


class Ledger:
    """All canaries in flight, and those judged that may still be seen.

    Methods that tell it something return the events that follow, in order. `observation_grace` in seconds.
    """

    def __init__(self, observation_grace: float = OBSERVATION_GRACE) -> None:
        self._grace = observation_grace
        self._records: dict[str, Entry | Past] = {}
        self._boxes: dict[str, _Box] = {}
        self._lanes: dict[str, _Lane] = {}
        self._candidates: set[str] = set()  # mailboxes whose `wanting` is not empty
        self._agenda: _Heap = []
        self._looks: _Heap = []
        self._retries: list[PendingRetry] = []

    # -- what the scheduler and the submitter say

    def open(self, canary: Canary) -> tuple[Event, ...]:
        """Expects a canary; to be called, and journalled, before any byte of it leaves.

        Raises: ValueError if the id is already known, which is a bug of ours.
        """
        self._enter(Entry(canary))
        return (CanaryOpened(canary),)

    def skip(self, canary: Canary, at: float, reason: Reason) -> tuple[Event, ...]:
        """Judges a canary whose slot was missed: nothing of it was sent. Raises: ValueError as `open`."""
        entry = Entry(canary)
        self._enter(entry)
        return (CanaryOpened(canary), *self._close(entry, Verdict(canary, Outcome.SKIPPED, at, reason=reason)))

    def attempt_begun(self, id: str, number: int, at: float) -> tuple[Event, ...]:
        """An SMTP transaction begins. Raises: ValueError if none may, see `may_attempt`."""
        record = self._records.get(id)
        if record is None:
            return ()
        if isinstance(record, Entry):
            record.hear(Said.BEGUN)
            record.attempts = number
            record.bounce = None  # that of a refused message is none of this one's
            record.begun = at if record.begun is None else record.begun
        return (AttemptBegun(record.canary, number, at),)

    def dot_sent(self, id: str, number: int, at: float) -> tuple[Event, ...]:
        """The final dot is flushed: from now on the message may exist. Raises: ValueError outside an attempt."""
        record = self._records.get(id)
        if record is None:
            return ()
        if isinstance(record, Entry):
            record.hear(Said.FLUSHED)
            record.dots += (at,)
            self._look_from(record.canary.deadline, record.canary)
        else:
            record.dot = at
        return (DotSent(record.canary, number, at),)

    def attempt_ended(self, id: str, attempt: Attempt, retry_at: float | None) -> tuple[Event, ...]:
        """An SMTP transaction is over; a deferred or unsent canary may be tried again before its deadline.

        A `retry_at` that the deadline leaves no room for is none, and neither is one for a canary that was seen
        or refused for good: the event says what holds. Raises: ValueError if no attempt had begun.
        """
        record = self._records.get(id)
        if record is None:
            return ()
        if isinstance(record, Past):
            return (AttemptEnded(record.canary, attempt, None),)
        due = retry_at if record.sighting is None and _may_retry(record.canary, attempt, retry_at) else None
        record.hear(_said(attempt, due))
        record.attempts = max(record.attempts, attempt.number)
        record.refusal = Refusal.of(attempt)
        if record.phase in MAY_EXIST and (not record.dots or attempt.dot_sent not in (None, *record.dots)):
            self._adopt_dot(record, attempt)
        return (AttemptEnded(record.canary, attempt, due), *self._consider(record, attempt.ended))

    def may_attempt(self, id: str) -> bool:
        """Whether an attempt may begin now: asked before each, since a canary that was seen is never sent again."""
        record = self._records.get(id)
        return isinstance(record, Entry) and record.phase in (Phase.OPENED, Phase.WAITING)

    # -- what the watcher says

    def sighted(self, sighting: Sighting, at: float) -> tuple[Event, ...]:
        """A proven canary was found in its mailbox. One in another mailbox than its route's is nothing."""
        record = self._records.get(sighting.canary)
        if record is None or record.canary.mailbox != sighting.mailbox:
            return ()
        first = not record.seen
        record.seen, new = with_key(record.seen, key_of(sighting))
        if not new:
            return ()
        if not first:
            return (DuplicateSighted(record.canary, sighting),)
        box = self._boxes[sighting.mailbox]
        if isinstance(record, Past):
            self._looked_for(record.canary)
            delay = Delay.of(sighting, record.dot, record.restored)
            return CanarySighted(record.canary, sighting), _late(record, sighting, at, delay)
        record.sighting = sighting
        box.unseen -= 1
        return (CanarySighted(record.canary, sighting), *self._consider(record, at))

    def bounced(self, bounce: Bounce) -> tuple[Event, ...]:
        """A DSN about a canary came in, in whichever mailbox."""
        record = self._records.get(bounce.canary)
        if record is None:
            return ()
        received = BounceReceived(record.canary, bounce)
        if isinstance(record, Past) or bounce.action.lower() != "failed":
            return (received,)
        if record.phase in MAY_EXIST:
            record.bounce = record.bounce or bounce
        return (received, *self._consider(record, bounce.noticed))

    def scanned(self, scan: Scan) -> tuple[Event, ...]:
        """A complete look at a mailbox ended: evidence of absence for whatever was not reported before it."""
        box = self._boxes.get(scan.mailbox)
        if box is None:
            return ()
        self._advance_looks(scan.started)
        box.scanned = max(box.scanned, scan.started)
        box.full = scan.full
        events: list[Event] = []
        for id in [id for id, since in box.wanting.items() if since <= scan.started]:
            record = self._records[id]
            self._looked_for(record.canary)
            if isinstance(record, Entry):
                events += self._consider(record, scan.finished)
            else:
                events.append(CanaryLost(record.canary, scan.finished))
                events.append(self._forget(record, scan.finished))
        return tuple(events)

    def abandon(self, mailbox: str, at: float) -> tuple[Event, ...]:
        """From now on another mailbox has this name: nobody can look for what was sent to the one before.

        What was not seen yet is unobserved, and never lost.
        """
        events: list[Event] = []
        for record in [record for record in self._records.values() if record.canary.mailbox == mailbox]:
            canary = record.canary
            if isinstance(record, Past):
                events += [self._forget(record, at)] if record.missing else []
            elif not record.seen:
                verdict = Verdict(canary, Outcome.UNOBSERVED, at, Stage.TRANSIT, Reason.NOBODY_LOOKED)
                events += self._close(record, replace(verdict, attempts=record.attempts, retried=record.attempts > 1))
        return tuple(events)

    # -- time

    def tick(self, now: float) -> tuple[Event, ...]:
        """Says what follows from nothing having been said until `now`."""
        events: list[Event] = []
        while self._agenda and self._agenda[0][0] <= now:
            _, id = heappop(self._agenda)
            record = self._records.get(id)
            if isinstance(record, Entry):
                events += self._consider(record, now, over=True)
                judged = self._records[id]
                if isinstance(judged, Past):
                    heappush(self._agenda, (self._forget_at(judged), id))
            elif record is not None and self._forget_at(record) <= now:
                events.append(self._forget(record, now))
            elif record is not None:
                heappush(self._agenda, (self._forget_at(record), id))
        self._advance_looks(now)
        return tuple(events)

    def wanted_scans(self, now: float) -> frozenset[str]:
        """The mailboxes in which a complete scan begun now would decide something."""
        self._advance_looks(now)
        return frozenset(self._candidates)

    def next_due(self) -> float | None:
        """When `tick` and `wanted_scans` should be asked next, None while the ledger is empty.

        Scans that are already wanted do not count: they are waited for, not their time.
        """
        while self._agenda:
            instant, id = self._agenda[0]
            record = self._records.get(id)
            if record is None:
                heappop(self._agenda)
            elif isinstance(record, Past) and self._forget_at(record) > instant:
                heapreplace(self._agenda, (self._forget_at(record), id))
            else:
                break
        looks = _first(self._looks, self._is_look)
        agenda = self._agenda[0][0] if self._agenda else None
        return agenda if looks is None else looks if agenda is None else min(looks, agenda)

    # -- questions

    def canary(self, id: str) -> Canary | None:
        """The canary of that id, None if it is not known (any more)."""
        record = self._records.get(id)
        return record.canary if record else None

    def in_flight(self, route: str) -> int:
        """How many canaries of the route have no verdict yet."""
        lane = self._lanes.get(route)
        return lane.in_flight if lane else 0

    def oldest(self, route: str) -> float | None:
        """When the oldest canary of the route without a verdict was opened."""
        lane = self._lanes.get(route)
        return _first(lane.opened, self._is_in_flight) if lane else None

    def expecting(self, mailbox: str) -> int:
        """How many canaries have neither been seen in the mailbox nor judged."""
        box = self._boxes.get(mailbox)
        return box.unseen if box else 0

    def earliest_opened(self, mailbox: str) -> float | None:
        """When the oldest canary was opened that may still be seen for the first time in the mailbox.

        Judged ones count until they are forgotten: nothing older than this needs to be looked at for us.
        """
        box = self._boxes.get(mailbox)
        return _first(box.opened, self._is_unseen) if box else None

    # -- restart

    def restore(self, earlier: Iterable[RestoredCanary], at: float) -> tuple[Event, ...]:
        """Takes over the canaries of an earlier process; to be called before anything else.

        Judges at once what that process owed: canaries never begun are skipped, those refused or seen without a
        verdict get theirs. `CanaryOpened` is not repeated. Raises: ValueError if an id comes twice.
        """
        events: list[Event] = []
        for canary in earlier:
            if canary.outcome is None:
                events += self._resume(canary, at)
            else:
                self._keep(Past.restore(canary, canary.outcome))
        return tuple(events)

    def pending_retries(self) -> tuple[PendingRetry, ...]:
        """The attempts an earlier process had put off and that are still to be made, for the submitter."""
        return tuple(retry for retry in self._retries if self._is_pending(retry))

    # -- inside

    def _resume(self, earlier: RestoredCanary, at: float) -> tuple[Event, ...]:
        entry = Entry.restore(earlier)
        self._enter(entry)
        if entry.phase in MAY_EXIST:
            self._look_from(entry.canary.deadline, entry.canary)
        if entry.phase is Phase.WAITING and at < entry.canary.deadline:
            self._retries.append(PendingRetry(entry.canary, entry.attempts, earlier.attempts[-1].retry_at or at))
            return self._consider(entry, at)
        return self._consider(entry, at, over=entry.phase in (Phase.OPENED, Phase.WAITING))

    def _is_pending(self, retry: PendingRetry) -> bool:
        entry = self._records.get(retry.canary.id)
        return isinstance(entry, Entry) and entry.phase is Phase.WAITING and entry.attempts == retry.done

    def _enter(self, entry: Entry) -> None:
        canary = entry.canary
        self._add(entry, canary.deadline + self._grace)
        lane = self._lanes.setdefault(canary.route, _Lane())
        lane.in_flight += 1
        heappush(lane.opened, (canary.opened, canary.id))
        self.oldest(canary.route)  # drops what is over, so that the heap stays short when nobody asks
        self._boxes[canary.mailbox].unseen += not entry.seen

    def _keep(self, past: Past) -> None:
        self._add(past, past.canary.late_until)
        if past.missing:
            self._look_from(past.canary.late_until, past.canary)

    def _add(self, record: Entry | Past, due: float) -> None:
        canary = record.canary
        if canary.id in self._records:
            raise ValueError(f"canary {canary.id} of {canary.route} is already in the ledger")
        self._records[canary.id] = record
        heappush(self._agenda, (due, canary.id))
        box = self._boxes.setdefault(canary.mailbox, _Box())
        if not record.seen:
            heappush(box.opened, (canary.opened, canary.id))
            self.earliest_opened(canary.mailbox)

    def _consider(self, entry: Entry, at: float, *, over: bool = False) -> tuple[Event, ...]:
        """Judges the entry if that is possible now."""
        box = self._boxes[entry.canary.mailbox]
        absent = box.scanned >= entry.canary.deadline
        verdict = entry.judge(at, absent=absent, over=over, full=box.full)
        return self._close(entry, verdict) if verdict else ()

    def _close(self, entry: Entry, verdict: Verdict) -> tuple[Event, ...]:
        canary = entry.canary
        past = Past(canary, verdict.outcome, entry.dot, entry.seen, entry.restored)
        self._records[canary.id] = past
        self._lanes[canary.route].in_flight -= 1
        box = self._boxes[canary.mailbox]
        box.unseen -= not entry.seen
        self._looked_for(canary)
        if past.missing:
            self._look_from(canary.late_until, canary)
        if entry.sighting is None or entry.sighting is verdict.sighting:
            return (Judged(verdict),)
        return Judged(verdict), _late(past, entry.sighting, verdict.at, entry.delay(entry.sighting))

    def _adopt_dot(self, entry: Entry, attempt: Attempt) -> None:
        """Makes sure that a message that may exist is looked for, also if nobody told of its final dot."""
        if attempt.dot_sent is not None:
            entry.dots += (attempt.dot_sent,)
        self._look_from(entry.canary.deadline, entry.canary)

    def _is_in_flight(self, item: tuple[float, str]) -> bool:
        return isinstance(self._records.get(item[1]), Entry)

    def _is_unseen(self, item: tuple[float, str]) -> bool:
        record = self._records.get(item[1])
        return record is not None and not record.seen

    def _is_look(self, item: tuple[float, str]) -> bool:
        """Whether a scan begun at that instant would decide something; not if the canary has moved on since."""
        instant, id = item
        record = self._records.get(id)
        if isinstance(record, Entry):
            canary = record.canary
            return record.phase in MAY_EXIST and self._boxes[canary.mailbox].scanned < canary.deadline
        return record is not None and record.missing and instant >= record.canary.late_until

    def _look_from(self, instant: float, canary: Canary) -> None:
        heappush(self._looks, (instant, canary.id))

    def _advance_looks(self, now: float) -> None:
        while self._looks and self._looks[0][0] <= now:
            item = heappop(self._looks)
            if self._is_look(item):
                since, id = item
                mailbox = self._records[id].canary.mailbox
                self._boxes[mailbox].wanting[id] = since
                self._candidates.add(mailbox)

    def _looked_for(self, canary: Canary) -> None:
        """The canary needs no scan any more, or has had it."""
        wanting = self._boxes[canary.mailbox].wanting
        if wanting.pop(canary.id, None) is not None and not wanting:
            self._candidates.discard(canary.mailbox)

    def _forget_at(self, past: Past) -> float:
        canary = past.canary
        if past.missing:
            return canary.late_until + self._grace
        return min(canary.late_until, canary.deadline + DUPLICATES_WITHIN) if past.settled else canary.late_until

    def _forget(self, past: Past, at: float) -> CanaryForgotten:
        canary = past.canary
        del self._records[canary.id]
        self._looked_for(canary)
        return CanaryForgotten(canary, at)


def _first(heap: _Heap, alive: Callable[[tuple[float, str]], bool]) -> float | None:
    """The earliest instant whose item is still `alive`; drops those before it."""
    while heap:
        if alive(heap[0]):
            return heap[0][0]
        heappop(heap)
    return None


def _may_retry(canary: Canary, attempt: Attempt, retry_at: float | None) -> bool:
    again = attempt.outcome in (AttemptOutcome.DEFERRED, AttemptOutcome.UNSENT)
    return again and retry_at is not None and retry_at < canary.deadline


def _said(attempt: Attempt, retry_at: float | None) -> Said:
    match attempt.outcome:
        case AttemptOutcome.ACCEPTED:
            return Said.ACCEPTED
        case AttemptOutcome.IN_DOUBT:
            return Said.IN_DOUBT
        case AttemptOutcome.DEFERRED | AttemptOutcome.UNSENT | AttemptOutcome.REJECTED:
            return Said.REFUSED if retry_at is None else Said.PUT_OFF


def _late(past: Past, sighting: Sighting, at: float, delay: Delay) -> ArrivedLate:
    return ArrivedLate(
        canary=past.canary,
        after=past.outcome,
        sighting=sighting,
        at=at,
        transit_seconds=delay.transit_seconds,
        transit_error_seconds=delay.error_seconds,
        upper_bound=delay.upper_bound,
    )
