"""Takes a canary through its attempts: one at a time, on the route's retry schedule, each with its own record.

Nothing is sent that was not journalled first, and nothing is sent again once its final dot may have arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from mailprobe.clock import Clock
from mailprobe.errors import Reason, Stage
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


@dataclass(frozen=True, slots=True)
class Turn:
    """Which attempt it is: its number, the slot of the retry schedule, and which address it goes to; all from 1."""

    number: int = 1
    slot: int = 1
    target: int = 1


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
        target_number: int | None = None,
    ) -> Awaitable[Attempt]:
        """Makes the attempt; nothing but CancelledError is raised."""
        ...


def following(route: Route, canary: Canary, attempt: Attempt, turn: Turn) -> tuple[Turn, float] | None:
    """The attempt after this one and when it is due; None if there is none before the deadline.

    It is the next of the route's schedule, at the next address; with `try_all` each slot begins at the first address
    and goes on to the next at once where one cannot be reached, as an MTA does.
    """
    if attempt.outcome not in (AttemptOutcome.DEFERRED, AttemptOutcome.UNSENT) or attempt.reason not in TRANSIENT:
        return None
    if _goes_on(route.sender, attempt):
        then, due = replace(turn, number=turn.number + 1, target=turn.target + 1), attempt.ended
    elif turn.slot <= len(route.retry):
        target = 1 if route.sender.try_all else turn.target + 1
        then, due = Turn(turn.number + 1, turn.slot + 1, target), attempt.ended + route.retry[turn.slot - 1]
    else:
        return None
    return (then, due) if due < canary.deadline else None


def _goes_on(sender: Sender, attempt: Attempt) -> bool:
    """Whether the next address has its turn at once: this one did not get as far as a greeting that lets us in."""
    unreached = attempt.stage in (Stage.CONNECT, Stage.GREETING)
    return sender.try_all and unreached and attempt.dns is not None and not attempt.dns.last


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
        limits: LimitKeeper | None = None,
        ready: Callable[[], Awaitable[None]] | None = None,
        stage_ended: StageEnded | None = None,
        ended: Callable[[Canary, str, Attempt], None] | None = None,
    ) -> None:
        self.sender = sender
        self.limits = limits or LimitKeeper(sender.limits, clock)
        self._judge = judge
        self._clock = clock
        self._publish = publish
        self._submit = submit
        self._settle = settle
        self._departed = departed
        self._attempts = attempts
        self._ready = ready
        self._stage_ended = stage_ended
        self._ended = ended

    async def send(self, route: Route, canary: Canary, message: Message, until: float) -> None:
        """Makes all attempts for a new canary that are due; the first must find room before `until`.

        What it needs to log in is fetched before that: no canary's delay has a part of it.
        Skips the canary, with its reason, where the sender's own limits leave no room in time.
        """
        try:
            if self._ready:
                await self._ready()
        except Exception:
            # a bug of ours is the supervisor's, but the slot is accounted for
            self._judge.skip(canary, Reason.AGENT_FAILED)
            raise
        try:
            async with self.limits.permit(until):
                if self._attempts.closed:
                    return
                canary = self._opened_now(canary)
                self._judge.open(canary)
                then = await self._attempt(route, canary, message, Turn())
        except SenderBusyError:
            self._judge.skip(canary, Reason.SENDER_BUSY)
            return
        await self._go_on(route, canary, message, then)

    async def go_on(self, route: Route, canary: Canary, message: Message, done: int, due: float) -> None:
        """Makes the attempts after number `done` of an earlier process, the next one at `due`."""
        # what is not known any more: with `try_all` several may have been of one slot
        turn = Turn(done + 1, done + 1, 1 if route.sender.try_all else done + 1)
        await self._go_on(route, canary, message, (turn, due))

    async def _go_on(self, route: Route, canary: Canary, message: Message, then: tuple[Turn, float] | None) -> None:
        while then is not None:
            turn, due = then
            await self._clock.sleep_until(due)
            try:
                async with self.limits.permit(canary.deadline):
                    # seen in the meantime: it is never sent again
                    if self._attempts.closed or not self._judge.ledger.may_attempt(canary.id):
                        return
                    then = await self._attempt(route, canary, message, turn)
            except SenderBusyError:
                self._judge.attempt_ended(canary, self._no_room(turn.number), None)
                return

    def _opened_now(self, canary: Canary) -> Canary:
        """The canary, its promise counted from now: waiting for our own limits or tokens is not the mail's time."""
        late = self._clock.now() - canary.opened
        return replace(
            canary, opened=canary.opened + late, deadline=canary.deadline + late, late_until=canary.late_until + late
        )

    async def _attempt(self, route: Route, canary: Canary, message: Message, turn: Turn) -> tuple[Turn, float] | None:
        """Makes an attempt; answers which one follows, and when."""
        number, begun, dots = turn.number, self._clock.now(), list[float]()

        def dot_sent(at: float) -> None:
            dots.append(at)
            self._judge.dot_sent(canary, number, at)
            self._departed(canary, at)

        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._attempts.running.add(ended)
        try:
            self._judge.attempt_begun(canary, number, begun)
            await self._settle()
            try:
                attempt = await self._submit(
                    self.sender,
                    message,
                    number=number,
                    timeout=route.timeout,
                    dot_sent=dot_sent,
                    stage_ended=partial(self._stage_ended, canary) if self._stage_ended else None,
                    target_number=turn.target,
                )
            except Exception as error:
                # a bug of ours is the supervisor's; but no canary waits for an end that will not come
                self._judge.attempt_ended(canary, self._broken(number, begun, dots, error), None)
                raise
            then = following(route, canary, attempt, turn)
            # nobody but a policy needs the certificates, and they are 4 KB
            told = replace(attempt, chain=()) if attempt.chain else attempt
            self._judge.attempt_ended(canary, told, then and then[1])
            self._tell(attempt)
            if self._ended:
                self._ended(canary, message.recipient, attempt)
            return then
        finally:
            self._attempts.running.discard(ended)
            ended.set_result(None)

    def _tell(self, attempt: Attempt) -> None:
        endpoint = f"sender/{self.sender.name}"
        if attempt.tls:
            self._publish(CertificateSeen(endpoint, attempt.tls))
        if attempt.reason is Reason.THROTTLED:
            self._publish(Throttled(endpoint, Reason.THROTTLED))

    def _broken(self, number: int, begun: float, dots: list[float], error: Exception) -> Attempt:
        return Attempt(
            number,
            begun,
            self._clock.now(),
            AttemptOutcome.IN_DOUBT if dots else AttemptOutcome.UNSENT,
            dot_sent=dots[-1] if dots else None,
            reason=Reason.AGENT_FAILED,
            detail=type(error).__name__,
        )

    def _no_room(self, number: int) -> Attempt:
        now = self._clock.now()
        return Attempt(number, now, now, AttemptOutcome.UNSENT, reason=Reason.SENDER_BUSY, detail="the sender's limits")
