"""Takes a canary through its attempts: one at a time, on the route's retry schedule, each with its own record.

Nothing is sent that was not journalled first, and nothing is sent again once its final dot may have arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from mailprobe.clock import Clock
from mailprobe.errors import Reason
from mailprobe.events import CertificateSeen, Publish, Throttled
from mailprobe.model import Attempt, AttemptOutcome, Canary, StageTime
from mailprobe.plan import Route, Sender
from mailprobe.probe.judge import Judge
from mailprobe.probe.limits import LimitKeeper, SenderBusyError
from mailprobe.smtp import Message

TRANSIENT = frozenset(
    {
        Reason.DEFERRED,
        Reason.THROTTLED,
        Reason.DNS_SERVFAIL,
        Reason.DNS_TIMEOUT,
        Reason.CONNECTION_REFUSED,
        Reason.UNREACHABLE,
        Reason.TIMEOUT,
        Reason.CONNECTION_LOST,
        Reason.TLS_HANDSHAKE,
        Reason.AUTH_UNAVAILABLE,
    }
)
"""What an MTA's queue would try again. A wrong password is not among them: each try is a failed login more."""


StageEnded = Callable[[Canary, StageTime], None]
"""Told of the stages of an attempt as they end, by whoever shows them while they happen."""


class Submit(Protocol):
    """One SMTP attempt, as `mailprobe.smtp.submit` makes it."""

    def __call__(
        self,
        sender: Sender,
        message: Message,
        *,
        number: int,
        timeout: float,
        dot_sent: Callable[[float], None],
        stage_ended: Callable[[StageTime], None] | None = None,
    ) -> Awaitable[Attempt]:
        """Makes the attempt; nothing but CancelledError is raised."""
        ...


def retry_at(route: Route, canary: Canary, attempt: Attempt) -> float | None:
    """When the route's schedule has the next attempt, None if there is none before the deadline."""
    done = attempt.number
    if attempt.outcome not in (AttemptOutcome.DEFERRED, AttemptOutcome.UNSENT) or done > len(route.retry):
        return None
    if attempt.reason not in TRANSIENT:
        return None
    due = attempt.ended + route.retry[done - 1]
    return due if due < canary.deadline else None


class Attempts:
    """The attempts of all senders that are under way; once `closed`, no further one begins."""

    def __init__(self) -> None:
        self.running: set[asyncio.Future[None]] = set()
        self.closed = False


class Submitter:
    """Hands in the canaries of all routes of one sender."""

    def __init__(
        self,
        sender: Sender,
        judge: Judge,
        clock: Clock,
        publish: Publish,
        *,
        submit: Submit,
        settle: Callable[[], Awaitable[None]],
        departed: Callable[[Canary, float], None],
        attempts: Attempts,
        stage_ended: StageEnded | None = None,
    ) -> None:
        self.sender = sender
        self.limits = LimitKeeper(sender.limits, clock)
        self._judge = judge
        self._clock = clock
        self._publish = publish
        self._submit = submit
        self._settle = settle
        self._departed = departed
        self._attempts = attempts
        self._stage_ended = stage_ended

    async def send(self, route: Route, canary: Canary, message: Message, until: float) -> None:
        """Makes all attempts for a new canary that are due; the first must find room before `until`.

        Skips the canary, with its reason, where the sender's own limits leave no room in time.
        """
        try:
            async with self.limits.permit(until):
                if self._attempts.closed:
                    return
                canary = self._opened_now(canary)
                self._judge.open(canary)
                attempt = await self._attempt(route, canary, message, 1)
        except SenderBusyError:
            self._judge.skip(canary, Reason.SENDER_BUSY)
            return
        await self.go_on(route, canary, message, attempt.number, retry_at(route, canary, attempt))

    async def go_on(self, route: Route, canary: Canary, message: Message, done: int, due: float | None) -> None:
        """Makes the attempts after number `done`, the next one at `due`; also after a restart of the agent."""
        while due is not None:
            await self._clock.sleep_until(due)
            done += 1
            try:
                async with self.limits.permit(canary.deadline):
                    # seen in the meantime: it is never sent again
                    if self._attempts.closed or not self._judge.ledger.may_attempt(canary.id):
                        return
                    attempt = await self._attempt(route, canary, message, done)
            except SenderBusyError:
                self._judge.attempt_ended(canary, self._no_room(done), None)
                return
            due = retry_at(route, canary, attempt)

    def _opened_now(self, canary: Canary) -> Canary:
        """The canary, its promise counted from now: waiting for our own limits is not the mail system's time."""
        late = self._clock.now() - canary.opened
        return replace(
            canary, opened=canary.opened + late, deadline=canary.deadline + late, late_until=canary.late_until + late
        )

    async def _attempt(self, route: Route, canary: Canary, message: Message, number: int) -> Attempt:
        def dot_sent(at: float) -> None:
            self._judge.dot_sent(canary, number, at)
            self._departed(canary, at)

        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._attempts.running.add(ended)
        try:
            self._judge.attempt_begun(canary, number, self._clock.now())
            await self._settle()
            attempt = await self._submit(
                self.sender,
                message,
                number=number,
                timeout=route.timeout,
                dot_sent=dot_sent,
                stage_ended=partial(self._stage_ended, canary) if self._stage_ended else None,
            )
            self._judge.attempt_ended(canary, attempt, retry_at(route, canary, attempt))
            self._tell(attempt)
            return attempt
        finally:
            self._attempts.running.discard(ended)
            ended.set_result(None)

    def _tell(self, attempt: Attempt) -> None:
        endpoint = f"sender/{self.sender.name}"
        if attempt.tls:
            self._publish(CertificateSeen(endpoint, attempt.tls))
        if attempt.reason is Reason.THROTTLED:
            self._publish(Throttled(endpoint, Reason.THROTTLED))

    def _no_room(self, number: int) -> Attempt:
        now = self._clock.now()
        return Attempt(number, now, now, AttemptOutcome.UNSENT, reason=Reason.SENDER_BUSY, detail="the sender's limits")
