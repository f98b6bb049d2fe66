"""A mailbox's watcher in virtual time: when it looks, what it makes of what it finds, what it removes, how it ends."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from support.acting import (
    AGENT,
    KEY,
    MAILBOX,
    ROUTE,
    SENDER,
    Bench,
    Mailboxes,
    answered,
    content_of,
    headers_of,
    lost_connection,
)
from support.clocks import settle
from support.loops import both_loops
from support.samples import sample

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.events import (
    ArrivedLate,
    BounceReceived,
    CanarySighted,
    DuplicateSighted,
    MailboxDown,
    MailboxScanned,
    MailboxUp,
    StrangersSeen,
    TaskFailed,
    Throttled,
)
from mailprobe.imap import Watermark
from mailprobe.message import Composer
from mailprobe.model import AttemptOutcome, Canary, Outcome
from mailprobe.plan import Cleanup, Mailbox, Sender
from mailprobe.probe.supervisor import Supervisor
from mailprobe.probe.watcher import Watcher

pytestmark = both_loops
STRANGER = b"From: <somebody@x.test>\r\nSubject: hello\r\n\r\n"


class Post(Bench):
    """A watcher, its mailbox, and canaries that have left for it."""

    def __init__(
        self, mailbox: Mailbox = MAILBOX, *, watermarks: Mapping[str, Watermark] | None = None, before: float = 0.0
    ) -> None:
        super().__init__()
        self.server = Mailboxes(self.clock)
        self.senders = {SENDER.name: replace(SENDER, bounces_to=MAILBOX.name)}
        self.settled: list[int] = []
        self.remembered: list[dict[str, Watermark]] = []
        self.watcher = Watcher(
            mailbox,
            self.judge,
            self.clock,
            self.events.append,
            key=KEY,
            agent=AGENT,
            open_session=self.server.open,  # type: ignore[arg-type]
            watermarks=watermarks,
            settle=self.settle,
            sender_of=lambda name: self.senders.get(name),
            remember=lambda mailbox, marks: self.remembered.append(dict(marks)),
        )
        self.judge.ask_for_scan = lambda mailbox: self.watcher.want_scan()

    async def settle(self) -> None:
        self.settled.append(len(self.of(CanarySighted)))

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[asyncio.Task[None]]:
        """The watcher under a supervisor, and the judge; the yielded task is the watcher's."""
        async with asyncio.TaskGroup() as group:
            supervisor = Supervisor(group, self.clock, self.events.append)
            supervisor.start("watcher:box", self.watcher.run)
            supervisor.start("judge", self.judge.run)
            await settle()
            yield supervisor._tasks["watcher:box"]
            supervisor.cancel_all()

    def departs(self, canary: Canary | None = None) -> Canary:
        """A canary is accepted; its message is not there yet."""
        canary, now = canary or self.canary(), self.clock.now()
        self.judge.open(canary)
        self.judge.attempt_begun(canary, 1, now)
        self.judge.dot_sent(canary, 1, now)
        self.watcher.expect(canary, now)
        self.judge.attempt_ended(canary, answered(1, now, now, AttemptOutcome.ACCEPTED, now, Reason.DEFERRED), None)
        return canary

    def arrives(self, canary: Canary, folder: str = "INBOX") -> None:
        """Its message is there."""
        self.server.deliver(self.headers(canary), folder)

    def headers(self, canary: Canary, agent: str = AGENT) -> bytes:
        return headers_of(canary, self.wall_of(canary), agent)

    def wall_of(self, canary: Canary) -> float:
        return self.clock.wall() - (self.clock.now() - canary.opened)

    def looks(self, since: float = 0.0) -> list[float]:
        """When it looked, in seconds after `since`."""
        return [at - since for at, command in self.server.asked if command in ("noop", "select INBOX") and at > since]


async def test_at_rest_it_idles_and_looks_only_now_and_then() -> None:
    post = Post()
    async with post.watching():
        await post.clock.advance(590)
        assert post.server.count("idle") == 5
        assert len(post.of(MailboxScanned)) == 5, "the one of the beginning, and one after each IDLE"
        assert post.server.count("noop") == 0
    assert len(post.server.logins) == 1


async def test_after_a_departure_it_looks_actively_with_growing_pauses_and_then_idles() -> None:
    post = Post()
    async with post.watching():
        await post.clock.advance(100)
        begun = post.clock.now()
        post.departs()
        await post.clock.advance(20)
        looks = post.looks(begun)
        pauses = [after - before for before, after in itertools.pairwise(looks)]
        assert looks[0] <= 0.011, "Dovecot has it there after 7 ms"
        assert all(pause <= max(0.021 * look, 0.0051) for look, pause in zip(looks, pauses, strict=False))
        assert len(looks) < 500
        assert post.server.count("idle") == 1
        await post.clock.advance(30)
        assert post.server.count("idle") > 1, "nothing comes: back to waiting for a push"


async def test_a_canary_is_sighted_with_its_error_and_removed() -> None:
    post = Post()
    async with post.watching():
        canary = post.departs()
        await post.clock.advance(2)
        post.arrives(canary)
        await post.clock.advance(3)
        (verdict,) = post.verdicts
        assert verdict.outcome is Outcome.DELIVERED
        assert verdict.transit_seconds == pytest.approx(2, abs=0.05)
        assert verdict.transit_error_seconds is not None
        assert 2 <= verdict.transit_seconds <= 2 + verdict.transit_error_seconds + 0.001
        assert not verdict.upper_bound
        assert post.server.left() == []
        assert post.settled == [1], "the sighting was on disk before the message was gone"


async def test_one_in_junk_is_found_too() -> None:
    post = Post()
    async with post.watching():
        canary = post.departs()
        await post.clock.advance(1)
        post.arrives(canary, "Junk")
        await post.clock.advance(3)
        assert post.outcomes == [Outcome.JUNKED]
        assert post.server.left("Junk") == []


async def test_overdue_only_after_a_scan_that_began_after_the_deadline() -> None:
    post = Post()
    post.server.scan_seconds = 2.0
    async with post.watching():
        await post.clock.advance(10)
        canary = post.departs()
        await post.clock.advance(ROUTE.deadline + 1)
        assert post.outcomes == []
        await post.clock.advance(5)
        (verdict,) = post.verdicts
        assert (verdict.outcome, verdict.reason) == (Outcome.OVERDUE, Reason.NOT_THERE)
        scans = [event.scan for event in post.of(MailboxScanned)]
        assert scans[-1].started >= canary.deadline
        assert sum(scan.started >= canary.deadline for scan in scans) == 1
        await post.clock.advance(100)
        post.arrives(canary)
        await post.clock.advance(20)
        assert [event.after for event in post.of(ArrivedLate)] == [Outcome.OVERDUE]
        assert post.server.left() == []


async def test_a_connection_that_ends_is_opened_again_at_once_and_later_with_growing_pauses() -> None:
    post = Post()
    async with post.watching():
        await post.clock.advance(10)
        post.server.fails["idle ends"] = lost_connection()
        post.server.pushed.set()
        await post.clock.advance(2)
        assert len(post.server.logins) == 2
        assert [event.failure.reason for event in post.of(MailboxDown)] == [Reason.CONNECTION_LOST]
        assert len(post.of(MailboxUp)) == 2
        assert post.server.sessions[0].ended == "aborted"


async def test_a_server_that_is_down_is_asked_with_growing_pauses() -> None:
    post = Post()
    refused = ProbeFailure(Stage.CONNECT, Reason.CONNECTION_REFUSED)

    async def down(mailbox: Mailbox) -> None:
        post.server.logins.append(post.clock.now() - 1000)
        raise refused

    post.watcher._open_session = down  # type: ignore[assignment]
    async with post.watching():
        await post.clock.advance(600)
        tries = post.server.logins
        pauses = [after - before for before, after in itertools.pairwise(tries)]
        assert all(0.5 * 2**n <= pause <= 2**n for n, pause in enumerate(pauses[:6]))
        assert all(30 <= pause <= 60 for pause in pauses[6:])
        assert post.watcher._decided.is_set()


async def test_a_session_that_ends_as_soon_as_it_began_is_not_begun_again_and_again() -> None:
    post = Post()
    async with post.watching():
        for _ in range(3000):
            post.server.fails["idle ends"] = lost_connection()
            post.server.pushed.set()
            await post.clock.advance(0.2)
    assert len(post.server.logins) <= 6 + 600 / 30, "the shortest pauses that chance may draw: 6 that double, then 30 s"


async def test_after_a_session_that_lasted_the_pauses_begin_anew() -> None:
    post = Post()
    async with post.watching():
        for _ in range(8):
            await post.clock.advance(40)
            before = len(post.server.logins)
            post.server.fails["idle ends"] = lost_connection()
            post.server.pushed.set()
            await post.clock.advance(1)
            assert len(post.server.logins) == before + 1


@pytest.mark.parametrize("reason", [Reason.AUTH_REJECTED, Reason.THROTTLED])
async def test_a_wrong_password_is_not_hammered(reason: Reason) -> None:
    post = Post()

    async def refuses(mailbox: Mailbox) -> None:
        post.server.logins.append(post.clock.now())
        raise ProbeFailure(Stage.AUTH, reason)

    post.watcher._open_session = refuses  # type: ignore[assignment]
    async with post.watching():
        await post.clock.advance(299)
        assert 5 <= len(post.server.logins) <= 10
        assert len(post.of(Throttled)) == (len(post.server.logins) if reason is Reason.THROTTLED else 0)
        before = len(post.server.logins)
        post.watcher.hurry()
        await settle()
        assert len(post.server.logins) == before + 1, "the configuration was read again"


async def test_a_bug_of_ours_is_said_and_the_watch_goes_on() -> None:
    post = Post()
    async with post.watching():
        await post.clock.advance(10)
        post.server.fails["idle ends"] = ZeroDivisionError("a bug")
        post.server.pushed.set()
        await post.clock.advance(3)
        assert [event.failure.reason for event in post.of(MailboxDown)] == [Reason.AGENT_FAILED]
        assert [event.task for event in post.of(TaskFailed)] == ["watcher"]
        assert len(post.of(MailboxUp)) == 2
        canary = post.departs()
        post.arrives(canary)
        await post.clock.advance(3)
        assert post.outcomes == [Outcome.DELIVERED]


async def test_a_bug_at_the_log_in_is_said_too() -> None:
    post = Post()
    post.server.fails["login"] = ZeroDivisionError("a bug")
    async with post.watching():
        assert [event.failure.reason for event in post.of(MailboxDown)] == [Reason.AGENT_FAILED]
        async with asyncio.timeout(1):
            await post.watcher.decided()
        await post.clock.advance(3)
        assert len(post.of(MailboxUp)) == 1


async def test_what_came_while_nobody_watched_is_found_and_its_delay_is_a_bound() -> None:
    post = Post()
    async with post.watching():
        await post.clock.advance(10)
        canary = post.departs()
        await post.clock.advance(1)
        post.server.fails["noop"] = lost_connection()
        post.server.fails["login"] = lost_connection()
        await post.clock.advance(0.1)
        post.arrives(canary)
        await post.clock.advance(10)
        (verdict,) = post.verdicts
        assert (verdict.outcome, verdict.upper_bound) == (Outcome.DELIVERED, True)
        assert verdict.transit_seconds is not None
        assert verdict.transit_seconds > 1.1


async def test_strangers_are_counted_once_and_never_touched() -> None:
    post = Post()
    post.server.deliver(STRANGER)  # before our time
    async with post.watching():
        await post.clock.advance(1)
        for _ in range(3):
            post.server.deliver(STRANGER)
        await post.clock.advance(2000)
        assert sum(event.count for event in post.of(StrangersSeen)) == 3
        assert len(post.server.left()) == 4
        assert not any(command.startswith("delete") for _, command in post.server.asked)


async def test_another_agents_canaries_are_left_alone() -> None:
    post = Post()
    async with post.watching():
        theirs = post.canary()
        post.server.deliver(post.headers(theirs, "ams1"))
        beside_us = post.canary()  # of an agent of our name: not in our ledger, and sent after we began
        await post.clock.advance(2)
        post.server.deliver(post.headers(beside_us))
        elsewhere = post.departs(replace(post.canary(), mailbox="another"))
        post.server.deliver(post.headers(elsewhere))
        await post.clock.advance(30)
        assert len(post.server.left()) == 3
        assert post.verdicts == []
        assert post.of(StrangersSeen) == []


async def test_a_forged_token_is_a_stranger() -> None:
    post = Post()
    async with post.watching():
        canary = post.departs()
        forged = Composer(KEY.generate(), AGENT, ROUTE.name, "a@x.test", "b@y.test").compose(canary.id, 1.7e9)
        post.server.deliver(forged.content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        await post.clock.advance(5)
        assert post.verdicts == []
        assert len(post.server.left()) == 1


async def test_exactly_the_proven_are_removed() -> None:
    post = Post()
    async with post.watching():
        await post.clock.advance(1)
        canaries = []
        for _ in range(5):
            post.server.deliver(STRANGER)
            canaries.append(post.departs())
            post.arrives(canaries[-1])
        await post.clock.advance(5)
        assert [mail.headers for mail in post.server.left()] == [STRANGER] * 5
        deletions = [command for _, command in post.server.asked if command.startswith("delete")]
        assert deletions == ["delete [2, 4, 6, 8, 10]"]


async def test_a_second_copy_is_a_duplicate_and_removed_too() -> None:
    post = Post()
    async with post.watching():
        canary = post.departs()
        post.arrives(canary)
        await post.clock.advance(5)
        post.arrives(canary)
        await post.clock.advance(5)
        assert post.outcomes == [Outcome.DELIVERED]
        assert len(post.of(DuplicateSighted)) == 1
        assert post.server.left() == []


async def test_kept_where_that_is_asked_for() -> None:
    post = Post(replace(MAILBOX, cleanup=Cleanup.KEEP))
    async with post.watching():
        canary = post.departs()
        post.arrives(canary)
        await post.clock.advance(1500)
        assert len(post.server.left()) == 1
        assert post.of(DuplicateSighted) == []


async def test_what_an_earlier_run_left_behind_is_removed() -> None:
    post = Post(watermarks={"INBOX": Watermark(7, 1)})
    earlier = post.canary()
    await post.clock.advance(3600)
    post.server.deliver(headers_of(earlier, post.clock.wall() - 3600))
    post.server.deliver(STRANGER)
    post.watcher._begun_wall = post.clock.wall()
    async with post.watching():
        await post.clock.advance(300)
        assert [mail.headers for mail in post.server.left()] == [STRANGER]
        assert post.verdicts == []


async def test_a_report_about_a_canary_is_a_bounce_and_removed_but_no_other() -> None:
    post = Post()
    async with post.watching():
        canary = post.departs()
        token = Composer(KEY, AGENT, ROUTE.name, "a@x.test", "b@y.test").compose(canary.id, post.wall_of(canary)).token
        for about in (token, "nobody-knows"):
            report = sample("reports/postfix-failed", token=about)
            post.server.deliver(report.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", content=report)
        await post.clock.advance(5)
        assert post.outcomes == [Outcome.BOUNCED]
        assert len(post.of(BounceReceived)) == 1
        assert len(post.server.left()) == 1
        assert sum(event.count for event in post.of(StrangersSeen)) == 1


def bounce_of(post: Post, canary: Canary) -> bytes:
    return sample("reports/postfix-failed", token=KEY.sign(AGENT, ROUTE.name, canary.id, post.wall_of(canary)))


OF_THE_LOGIN = replace(MAILBOX, address="inbox@y.test", login=replace(MAILBOX.login, username="A@x.test"))


@pytest.mark.parametrize(
    ("mailbox", "sender", "ours"),
    [
        (MAILBOX, replace(SENDER, bounces_to="box"), True),
        (MAILBOX, replace(SENDER, from_address="B@Y.Test"), True),
        (OF_THE_LOGIN, SENDER, True),
        (MAILBOX, SENDER, False),
        (MAILBOX, replace(SENDER, bounces_to="returns"), False),
        (MAILBOX, None, False),
    ],
    ids=["bounces_to", "from", "login", "another's mailbox", "bounces go elsewhere", "no such sender any more"],
)
async def test_a_report_is_taken_only_where_the_senders_bounces_go(
    mailbox: Mailbox, sender: Sender | None, ours: bool
) -> None:
    post = Post(mailbox)
    post.senders = {SENDER.name: sender} if sender else {}
    async with post.watching():
        canary = post.departs()
        report = bounce_of(post, canary)
        post.server.deliver(report.partition(b"\r\n\r\n")[0] + b"\r\n\r\n", content=report)
        await post.clock.advance(5)
        assert post.outcomes == ([Outcome.BOUNCED] if ours else [])
        assert len(post.server.left()) == (0 if ours else 1)
        assert len(post.of(StrangersSeen)) == (0 if ours else 1)


async def test_it_leaves_in_order_looking_once_more_and_removing_what_is_ours() -> None:
    post = Post()
    async with post.watching() as task:
        await post.clock.advance(5)
        canary = post.departs()
        post.arrives(canary)
        post.watcher.leave()
        await settle(100)
        assert task.done()
        assert post.outcomes == [Outcome.DELIVERED]
        assert post.server.left() == []
        assert post.server.sessions[0].ended == "closed"
        assert post.server.asked[-1][1] == "logout"


async def test_it_leaves_at_once_while_it_waits_to_connect_again() -> None:
    post = Post()
    post.server.fails["login"] = ProbeFailure(Stage.AUTH, Reason.AUTH_REJECTED)
    async with post.watching() as task:
        await post.clock.advance(1)
        post.watcher.leave()
        await settle()
        assert task.done()
    assert len(post.server.logins) == 1


async def test_where_to_go_on_is_remembered_and_not_beyond_what_is_still_to_be_removed() -> None:
    post = Post()
    async with post.watching():
        await post.clock.advance(1)
        post.server.deliver(STRANGER)
        post.arrives(post.departs())
        post.server.deliver(STRANGER)
        post.watcher.want_scan()
        await post.clock.advance(0.2)
        assert post.outcomes == [Outcome.DELIVERED]
        assert post.remembered[-1]["INBOX"] == Watermark(7, 2), "the canary is still there"
        await post.clock.advance(5)
        post.watcher.want_scan()
        await post.clock.advance(1)
        assert post.remembered[-1]["INBOX"] == Watermark(7, 4)


async def test_the_body_is_never_needed_for_a_canary() -> None:
    post = Post()
    async with post.watching():
        canary = post.departs()
        post.server.deliver(post.headers(canary), content=content_of(canary, post.wall_of(canary)))
        await post.clock.advance(3)
        assert post.outcomes == [Outcome.DELIVERED]
        assert post.server.count("fetch message") == 0
