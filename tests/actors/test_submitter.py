"""A canary's attempts: on the route's schedule, within the sender's limits, never again once it may have arrived."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from support.acting import MAILBOX, ROUTE, SENDER, Bench, Service, answered
from support.clocks import settle
from support.loops import both_loops

from mailprobe.errors import Reason, Stage
from mailprobe.events import AttemptBegun, AttemptEnded, CanaryOpened, DotSent, Throttled
from mailprobe.model import Attempt, AttemptOutcome, Canary, Outcome, SenderKind, Sighting
from mailprobe.plan import Limits, Route, Sender
from mailprobe.probe.submitter import Attempts, Submitter
from mailprobe.smtp import Message

pytestmark = both_loops

ACCEPTED, DEFERRED, UNSENT = AttemptOutcome.ACCEPTED, AttemptOutcome.DEFERRED, AttemptOutcome.UNSENT
RETRYING = replace(ROUTE, retry=(10.0, 20.0, 40.0, 400.0))


async def settled() -> None:
    return


class Desk(Bench):
    """A submitter and the service that it hands its canaries to."""

    def __init__(
        self,
        *plan: AttemptOutcome,
        sender: Sender = SENDER,
        settle: Callable[[], Awaitable[None]] = settled,
        seconds: float = 1.0,
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__()
        self.service = Service(self.clock, *plan, seconds=seconds)
        self.departed: list[tuple[str, float]] = []
        self.attempts = Attempts()
        self.ended: list[tuple[Canary, str, Attempt]] = []
        self.submitter = Submitter(
            sender,
            self.judge,
            self.clock,
            self.events.append,
            submit=self.service,
            settle=settle,
            departed=lambda canary, at: self.departed.append((canary.id, at)),
            attempts=self.attempts,
            ready=ready,
            ended=lambda *told: self.ended.append(told),
        )

    def send(self, route: Route = ROUTE, until: float | None = None) -> tuple[Canary, asyncio.Task[None]]:
        canary = self.canary(route)
        message = Message(SENDER.from_address, MAILBOX.address, b"Subject: x\r\n\r\n", canary.id)
        work = self.submitter.send(route, canary, message, until or canary.opened + route.interval)
        return canary, asyncio.create_task(work)

    def sight(self, canary: Canary) -> None:
        now = self.clock.now()
        self.judge.sighted(Sighting(canary.id, "box", "INBOX", False, 7, 1, now, now - 0.1, True))

    @property
    def times(self) -> list[float]:
        """When attempts began, in seconds."""
        return [at - 1000 for _, at in self.service.begun]


async def test_accepted_is_one_attempt_and_departs() -> None:
    desk = Desk()
    canary, task = desk.send()
    await desk.clock.advance(500)
    await task
    assert desk.service.begun == [(1, 1000.0)]
    assert desk.departed == [(canary.id, 1001.0)]
    assert [type(event) for event in desk.events] == [CanaryOpened, AttemptBegun, DotSent, AttemptEnded]


async def test_a_canary_that_cannot_be_made_ready_is_skipped() -> None:
    async def broken() -> None:
        raise TypeError

    desk = Desk(ready=broken)
    _, task = desk.send()
    await desk.clock.advance(5)
    with pytest.raises(TypeError):
        await task
    (verdict,) = desk.verdicts
    assert (verdict.outcome, verdict.reason) == (Outcome.SKIPPED, Reason.AGENT_FAILED)
    assert desk.service.begun == []


async def test_certificates_are_for_the_policies_alone() -> None:
    desk = Desk()
    desk.service.chain = (b"leaf", b"authority")
    canary, task = desk.send()
    await desk.clock.advance(5)
    await task
    assert [(told.id, recipient, attempt.chain) for told, recipient, attempt in desk.ended] == [
        (canary.id, MAILBOX.address, (b"leaf", b"authority"))
    ]
    assert [event.attempt.chain for event in desk.of(AttemptEnded)] == [()]
    assert isinstance(desk.events[-1], AttemptEnded), "who looks policies up comes after everything else"


async def test_a_deferred_one_is_tried_again_on_the_schedule_until_it_is_taken() -> None:
    desk = Desk(DEFERRED, DEFERRED, ACCEPTED)
    _, task = desk.send(RETRYING)
    await desk.clock.advance(1000)
    await task
    assert desk.times == [0, 11, 32]  # each pause begins when the attempt before it has ended
    assert [number for number, _ in desk.service.begun] == [1, 2, 3]
    assert len(set(desk.service.contents)) == 1
    assert [event.retry_at for event in desk.of(AttemptEnded)] == [1011.0, 1032.0, None]


async def test_a_pause_that_the_deadline_leaves_no_room_for_is_the_end() -> None:
    desk = Desk(DEFERRED)
    _, task = desk.send(RETRYING)
    await desk.clock.advance(1000)
    await task
    assert desk.times == [0, 11, 32, 73]
    (verdict,) = desk.verdicts
    assert (verdict.outcome, verdict.stage, verdict.reason) == (Outcome.DEFERRED, Stage.RCPT, Reason.DEFERRED)
    assert (verdict.at, verdict.attempts, verdict.retried) == (1074.0, 4, True)


async def test_without_a_schedule_there_is_one_attempt() -> None:
    desk = Desk(DEFERRED)
    _, task = desk.send()
    await desk.clock.advance(1000)
    await task
    assert (desk.times, desk.outcomes) == ([0], [Outcome.DEFERRED])


@pytest.mark.parametrize(
    ("outcome", "reason", "attempts"),
    [
        (UNSENT, Reason.CONNECTION_REFUSED, 4),
        (UNSENT, Reason.DNS_SERVFAIL, 4),
        (UNSENT, Reason.AUTH_UNAVAILABLE, 4),
        (DEFERRED, Reason.THROTTLED, 4),
        (UNSENT, Reason.AUTH_REJECTED, 1),
        (UNSENT, Reason.CERTIFICATE_EXPIRED, 1),
        (UNSENT, Reason.DNS_NXDOMAIN, 1),
        (AttemptOutcome.REJECTED, Reason.REJECTED, 1),
        (AttemptOutcome.IN_DOUBT, Reason.CONNECTION_LOST, 1),
    ],
)
async def test_only_what_time_may_mend_is_tried_again(outcome: AttemptOutcome, reason: Reason, attempts: int) -> None:
    desk = Desk(outcome)
    desk.service.reason = reason
    _, task = desk.send(RETRYING)
    await desk.clock.advance(1000)
    await task
    assert len(desk.times) == attempts
    assert len(desk.of(Throttled)) == (attempts if reason is Reason.THROTTLED else 0)


async def test_each_attempt_goes_to_the_next_address() -> None:
    desk = Desk(DEFERRED)
    _, task = desk.send(RETRYING)
    await desk.clock.advance(1000)
    await task
    assert desk.service.targets == [1, 2, 3, 4]


TRY_ALL = replace(RETRYING, sender=replace(SENDER, kind=SenderKind.MX, try_all=True))


@pytest.mark.parametrize(
    ("stage", "reason", "outcome", "times", "targets"),
    [
        (Stage.CONNECT, Reason.TIMEOUT, UNSENT, [0, 1, 2, 13, 14, 15, 36], [1, 2, 3, 1, 2, 3, 1]),
        (Stage.CONNECT, Reason.CONNECTION_REFUSED, UNSENT, [0, 1, 2, 13, 14, 15, 36], [1, 2, 3, 1, 2, 3, 1]),
        (Stage.GREETING, Reason.DEFERRED, DEFERRED, [0, 1, 2, 13, 14, 15, 36], [1, 2, 3, 1, 2, 3, 1]),
        (Stage.RCPT, Reason.DEFERRED, DEFERRED, [0, 11, 32, 73], [1, 1, 1, 1]),
        (Stage.GREETING, Reason.REJECTED, AttemptOutcome.REJECTED, [0], [1]),
        (Stage.RESOLVE, Reason.DNS_SERVFAIL, UNSENT, [0, 11, 32, 73], [1, 1, 1, 1]),
    ],
)
async def test_try_all_goes_on_at_once_where_nobody_is_there(
    stage: Stage, reason: Reason, outcome: AttemptOutcome, times: list[float], targets: list[int]
) -> None:
    desk = Desk(outcome)
    desk.service.reason, desk.service.stage, desk.service.servers = reason, stage, 3
    canary, task = desk.send(TRY_ALL)
    await desk.clock.advance(1000)
    await task
    seen = len(times)
    assert desk.times[:seen] == times
    assert desk.service.targets[:seen] == targets
    ended = [event.attempt.number for event in desk.of(AttemptEnded)]
    assert ended == list(range(1, len(desk.times) + 1)), "each is an attempt of its own"
    assert len(desk.verdicts) == 1
    assert max(at + 1000 for at in desk.times) < canary.deadline


async def test_without_try_all_nobody_else_is_asked_before_the_schedule_says_so() -> None:
    desk = Desk(UNSENT)
    desk.service.reason, desk.service.servers = Reason.TIMEOUT, 3
    _, task = desk.send()
    await desk.clock.advance(1000)
    await task
    assert (desk.times, desk.outcomes) == ([0], [Outcome.UNSENT])


async def test_try_all_that_finds_a_server_has_been_retried() -> None:
    desk = Desk(UNSENT, ACCEPTED)
    desk.service.reason, desk.service.servers = Reason.TIMEOUT, 2
    canary, task = desk.send(replace(TRY_ALL, retry=()))
    await desk.clock.advance(10)
    await task
    desk.sight(canary)
    (verdict,) = desk.verdicts
    assert (verdict.outcome, verdict.attempts, verdict.retried) == (Outcome.DELIVERED, 2, True)


async def test_try_all_keeps_the_senders_limits() -> None:
    desk = Desk(UNSENT, sender=replace(SENDER, limits=Limits(messages_per_minute=2)))
    desk.service.reason, desk.service.servers = Reason.TIMEOUT, 4
    _, task = desk.send(replace(TRY_ALL, retry=()))
    await desk.clock.advance(30)
    within = len(desk.times)
    await desk.clock.advance(1000)
    await task
    assert (within, len(desk.times)) == (2, 4)


async def test_after_a_restart_try_all_begins_at_the_first_address() -> None:
    desk = Desk(ACCEPTED)
    canary = desk.canary(TRY_ALL)
    desk.judge.open(canary)
    desk.judge.attempt_begun(canary, 1, desk.clock.now())
    refused = answered(1, desk.clock.now(), desk.clock.now(), DEFERRED, None, Reason.DEFERRED)
    desk.judge.attempt_ended(canary, refused, desk.clock.now() + 10)
    message = Message(SENDER.from_address, MAILBOX.address, b"Subject: x\r\n\r\n", canary.id)
    task = asyncio.create_task(desk.submitter.go_on(TRY_ALL, canary, message, 1, desk.clock.now() + 10))
    await desk.clock.advance(50)
    await task
    assert (desk.service.begun, desk.service.targets) == ([(2, 1010.0)], [1])


async def test_what_was_seen_meanwhile_is_not_sent_again() -> None:
    desk = Desk(DEFERRED)
    canary, task = desk.send(RETRYING)
    await desk.clock.advance(5)
    desk.sight(canary)
    await desk.clock.advance(1000)
    await task
    assert (desk.times, desk.outcomes) == ([0], [Outcome.DELIVERED])


async def test_a_sighting_before_the_reply_is_held_until_the_reply() -> None:
    desk = Desk()
    canary, task = desk.send()
    desk.service.after_dot = lambda: desk.sight(canary)
    await desk.clock.advance(500)
    await task
    kinds = [type(event).__name__ for event in desk.events]
    assert kinds[-4:] == ["DotSent", "CanarySighted", "AttemptEnded", "Judged"]
    assert desk.outcomes == [Outcome.DELIVERED]


async def test_nothing_leaves_before_the_journal_has_it() -> None:
    on_disk = asyncio.Event()

    async def slow_disk() -> None:
        assert [type(event) for event in desk.events] == [CanaryOpened, AttemptBegun]
        await on_disk.wait()

    desk = Desk(settle=slow_disk)
    _, task = desk.send()
    await settle()
    assert desk.service.begun == []
    on_disk.set()
    await desk.clock.advance(5)
    await task
    assert len(desk.service.begun) == 1


async def test_connections_are_limited_and_waiting_is_not_the_mail_systems_time() -> None:
    desk = Desk(sender=replace(SENDER, limits=Limits(connections=2)), seconds=10)
    sent = [desk.send() for _ in range(5)]
    await desk.clock.advance(100)
    await asyncio.gather(*(task for _, task in sent))
    assert desk.service.most == 2
    assert desk.times == [0, 0, 10, 10, 20]
    opened = [event.canary for event in desk.of(CanaryOpened)]
    assert [canary.opened - 1000 for canary in opened] == [0, 0, 10, 10, 20]
    assert {canary.deadline - canary.opened for canary in opened} == {ROUTE.deadline}


async def test_who_finds_no_room_before_its_slot_is_over_is_skipped() -> None:
    desk = Desk(sender=replace(SENDER, limits=Limits(connections=1)), seconds=100)
    first, second = desk.send(), desk.send()
    await desk.clock.advance(500)
    await asyncio.gather(first[1], second[1])
    (verdict,) = desk.verdicts
    assert (verdict.canary.id, verdict.outcome, verdict.reason) == (
        second[0].id,
        Outcome.SKIPPED,
        Reason.SENDER_BUSY,
    )
    assert len(desk.times) == 1


async def test_a_retry_that_finds_no_room_before_the_deadline_is_judged_by_that() -> None:
    desk = Desk(DEFERRED, ACCEPTED, sender=replace(SENDER, limits=Limits(connections=1)))
    _, task = desk.send(RETRYING)
    await desk.clock.advance(5)
    desk.service.seconds = 1000
    _, other = desk.send()
    await desk.clock.advance(500)
    await task
    other.cancel()
    (verdict,) = desk.verdicts
    assert (verdict.outcome, verdict.reason) == (Outcome.UNSENT, Reason.SENDER_BUSY)
    assert len(desk.times) == 2


async def test_once_closed_nothing_new_begins() -> None:
    desk = Desk(DEFERRED, sender=replace(SENDER, limits=Limits(connections=1)), seconds=5)
    _, retried = desk.send(RETRYING)
    _, waiting = desk.send()
    await desk.clock.advance(1)
    assert len(desk.attempts.running) == 1
    desk.attempts.closed = True
    await desk.clock.advance(500)
    await asyncio.gather(retried, waiting)
    assert desk.times == [0]
    assert desk.verdicts == [], "the one goes on after the restart, the other was never begun"
    assert desk.attempts.running == set()


async def test_cancelled_in_the_middle_says_nothing_of_the_mail() -> None:
    desk = Desk(seconds=50)
    _, task = desk.send()
    await desk.clock.advance(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert desk.attempts.running == set()
    assert desk.of(AttemptEnded) == []
    assert desk.verdicts == []


@pytest.mark.parametrize(
    ("after_dot", "outcome"), [(False, AttemptOutcome.UNSENT), (True, AttemptOutcome.IN_DOUBT)], ids=["before", "after"]
)
async def test_a_bug_of_ours_ends_the_attempt_and_is_passed_on(after_dot: bool, outcome: AttemptOutcome) -> None:
    desk = Desk()

    async def broken(sender: Sender, message: Message, **given: Any) -> Attempt:
        if after_dot:
            given["dot_sent"](desk.clock.now())
        raise ZeroDivisionError("hunter2")

    desk.submitter._submit = broken
    _, task = desk.send(RETRYING)
    await desk.clock.advance(5)
    with pytest.raises(ZeroDivisionError):
        await task
    (told,) = desk.of(AttemptEnded)
    assert (told.attempt.outcome, told.attempt.reason, told.retry_at) == (outcome, Reason.AGENT_FAILED, None)
    assert told.attempt.detail == "ZeroDivisionError", "its words may hold anything"
    assert desk.outcomes == ([] if after_dot else [Outcome.UNSENT])
