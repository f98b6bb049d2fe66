"""Everything that may lie in a mailbox beside a canary, or instead of it, and what the ledger makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from support.acting import AGENT, KEY, MAILBOX, ROUTE, SENDER, Bench, Mailboxes, answered, lost_connection
from support.clocks import settle
from support.samples import TEN, expected_report, fact, names, sample

from mailprobe.errors import Reason
from mailprobe.events import BounceReceived, DuplicateSighted, StrangersSeen
from mailprobe.message import Action, Composer, hops
from mailprobe.model import AttemptOutcome, Canary, Outcome
from mailprobe.plan import Route
from mailprobe.probe.supervisor import Supervisor
from mailprobe.probe.watcher import Watcher

NOT_SIGHTED = Action.FAILED, Action.DELAYED


class Post(Bench):
    """A watcher, its mailbox, and a canary that has left for it."""

    def __init__(self) -> None:
        super().__init__()
        senders = {SENDER.name: replace(SENDER, bounces_to=MAILBOX.name)}
        self.server = Mailboxes(self.clock)
        self.watcher = Watcher(
            MAILBOX,
            self.judge,
            self.clock,
            self.events.append,
            key=KEY,
            agent=AGENT,
            open_session=self.server.open,  # type: ignore[arg-type]
            settle=settle,
            sender_of=senders.get,
        )
        self.judge.ask_for_scan = lambda mailbox: self.watcher.want_scan()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            supervisor = Supervisor(group, self.clock, self.events.append)
            supervisor.start("watcher:box", self.watcher.run)
            supervisor.start("judge", self.judge.run)
            await settle()
            yield
            supervisor.cancel_all()

    def departs(self, canary: Canary | None = None) -> Canary:
        canary, now = canary or self.canary(), self.clock.now()
        self.judge.open(canary)
        self.judge.attempt_begun(canary, 1, now)
        self.judge.dot_sent(canary, 1, now)
        self.watcher.expect(canary, now)
        self.judge.attempt_ended(canary, answered(1, now, now, AttemptOutcome.ACCEPTED, now, Reason.DEFERRED), None)
        return canary

    def comes(self, message: bytes) -> None:
        """A message is there."""
        head, _, _ = message.partition(b"\r\n\r\n")
        self.server.deliver(head + b"\r\n\r\n", content=message)

    @property
    def strangers(self) -> int:
        return sum(event.count for event in self.of(StrangersSeen))


def letter(canary: Canary, sent: float = TEN, route: Route = ROUTE) -> bytes:
    return Composer(KEY, AGENT, route.name, "a@x.test", "b@y.test").compose(canary.id, sent).content


def about_a_canary(name: str) -> bool:
    proven = KEY.prove(KEY.sign(AGENT, ROUTE.name, "c", TEN))
    assert proven
    report = expected_report(name, proven)
    return report is not None and report.token is not None


def token(canary: Canary) -> str:
    return KEY.sign(AGENT, ROUTE.name, canary.id, TEN)


async def test_a_report_that_cannot_be_read_hides_no_canary_behind_it() -> None:
    """The session ends while it is fetched; the next one begins behind all that the look had found."""
    post = Post()
    async with post.watching():
        await post.clock.advance(100)
        first = post.departs()
        await post.clock.advance(1)
        post.comes(b"From: MAILER-DAEMON@x.test\r\nSubject: anything\r\n\r\n")
        post.comes(letter(first))
        post.server.fails["fetch message"] = lost_connection()
        await post.clock.advance(1000)
    assert post.outcomes == [Outcome.DELIVERED]
    assert len(post.server.logins) == 2
    assert len(post.server.left()) == 1


@pytest.mark.parametrize("name", names("reports"))
async def test_of_all_that_may_come_only_the_canary_is_a_delivery_and_only_a_report_a_bounce(name: str) -> None:
    name = f"reports/{name}"
    said, ours = fact(name, "report") if about_a_canary(name) else "none", fact(name, "recognised") == "ours"
    post = Post()
    async with post.watching():
        canary = post.departs()
        post.comes(sample(name, token=token(canary)))
        await post.clock.advance(30)
        first = post.outcomes
        await post.clock.advance(400)

    told = [str(event.bounce.action) for event in post.of(BounceReceived)]
    assert told == ([said] if said in NOT_SIGHTED else [])
    assert first == ([Outcome.DELIVERED] if ours else [Outcome.BOUNCED] if said == Action.FAILED else [])
    assert post.outcomes == (first or [Outcome.OVERDUE])
    understood = ours or bool(told)
    assert (len(post.server.left()), post.strangers) == ((0, 0) if understood else (1, 1))


@pytest.mark.parametrize("name", names("reports"))
async def test_what_is_about_nobody_is_counted_and_left_alone(name: str) -> None:
    post = Post()
    async with post.watching():
        canary = post.departs()
        post.comes(sample(f"reports/{name}", token=token(canary)[:-1] + "7"))
        await post.clock.advance(30)

    assert (post.verdicts, post.strangers, len(post.server.left())) == ([], 1, 1)


@pytest.mark.parametrize("name", names("reports"))
async def test_a_report_that_was_cut_off_does_no_harm(name: str) -> None:
    post = Post()
    async with post.watching():
        canary = post.departs()
        whole = sample(f"reports/{name}", token=token(canary))
        for end in range(len(whole) // 7, len(whole), len(whole) // 7 + 1):
            post.comes(whole[:end])
        await post.clock.advance(30)

    harmless = {Outcome.BOUNCED} if fact(f"reports/{name}", "report") == "failed" else set()
    delivered = {Outcome.DELIVERED} if fact(f"reports/{name}", "recognised") == "ours" else set()
    assert set(post.outcomes) <= harmless | delivered


async def test_a_replayed_canary_is_a_duplicate_and_never_a_second_verdict() -> None:
    post = Post()
    async with post.watching():
        canary = post.departs()
        for _ in range(3):
            post.comes(letter(canary))
            await post.clock.advance(10)

    assert post.outcomes == [Outcome.DELIVERED]
    assert len(post.of(DuplicateSighted)) == 2


async def test_a_replayed_canary_of_another_mailbox_or_route_or_time_delivers_nothing() -> None:
    post = Post()
    async with post.watching():
        waiting = post.departs()
        elsewhere = post.departs(replace(post.canary(), mailbox="another"))
        unknown = post.canary()
        post.comes(letter(elsewhere))
        post.comes(letter(waiting, route=replace(ROUTE, name="another")))
        post.comes(letter(unknown, sent=post.clock.wall() + 1))
        await post.clock.advance(30)

    assert post.verdicts == []
    assert len(post.server.left()) == 3


async def test_a_replayed_report_of_an_old_canary_says_nothing_of_a_new_one() -> None:
    post = Post()
    async with post.watching():
        old, new = post.canary(), post.departs()
        post.comes(sample("reports/postfix-failed", token=token(old)))
        await post.clock.advance(30)
        assert post.verdicts == []
        post.comes(letter(new))
        await post.clock.advance(30)

    assert post.outcomes == [Outcome.DELIVERED]


async def test_a_report_after_the_delivery_changes_nothing() -> None:
    post = Post()
    async with post.watching():
        canary = post.departs()
        post.comes(letter(canary))
        await post.clock.advance(10)
        post.comes(sample("reports/postfix-failed", token=token(canary)))
        await post.clock.advance(30)

    assert post.outcomes == [Outcome.DELIVERED]


async def test_a_canary_with_ten_thousand_hops_arrived_and_fifty_of_them_are_read() -> None:
    post = Post()
    async with post.watching():
        canary = post.departs()
        received = b"Received: by a; Mon, 23 Nov 2026 10:00:00 +0000\r\n"
        message = letter(canary).replace(b"\r\nMIME-Version:", b"\r\n" + received * 10_000 + b"MIME-Version:", 1)
        post.comes(message)
        await post.clock.advance(30)

    assert post.outcomes == [Outcome.DELIVERED]
    assert len(hops(message)) == 50


BOMBS = {
    "received": b"Received: by a\r\n" * 10_000,
    "long": b"X-Long: " + b"x" * 400_000 + b"\r\n",
    "folds": b"X-Folded: a" + b"\r\n b" * 100_000 + b"\r\n",
    "canaries": b"X-Mailprobe-Canary: v1.a.b.c.d.e\r\n" * 10_000,
    "froms": b"From: a@b\r\n" * 20_000,
    "comments": b"Authentication-Results: " + b"(" * 100_000 + b"\r\n",
    "charset": b'Content-Type: text/plain; charset="klingon\xff"\r\nSubject: =?utf-7?Q?+AAA?=\r\n',
    "nested": b"Return-Path: <>\r\n"
    + b"".join(
        b"Content-Type: multipart/report; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(3_000)
    ),
    "prose": b"Return-Path: <>\r\n\r\nHi. This is the qmail-send program at a.\n" + b"<a@b>:\n550 5.1.1 x\n" * 20_000,
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_bomb_is_a_stranger_and_the_watch_goes_on(name: str) -> None:
    post = Post()
    async with post.watching():
        canary = post.departs()
        post.comes(BOMBS[name])
        await post.clock.advance(10)
        assert (post.verdicts, post.strangers) == ([], 1)
        post.comes(letter(canary))
        await post.clock.advance(10)

    assert post.outcomes == [Outcome.DELIVERED]
    assert len(post.server.logins) == 1
