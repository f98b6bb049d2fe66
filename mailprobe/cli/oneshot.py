"""One canary on each route of a plan, now: the agent's own actors without schedule, journal and HTTP."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from mailprobe.clock import Clock
from mailprobe.events import AttemptEnded, Bus, DotSent, Event, Judged, MailboxDown, MailboxUp, Publish
from mailprobe.message import Key, new_canary_id
from mailprobe.model import AttemptOutcome, Canary, Outcome, Verdict
from mailprobe.observe.history import History, Record
from mailprobe.plan import Cleanup, Mailbox, Plan, Route
from mailprobe.probe.crew import Crew
from mailprobe.probe.submitter import StageEnded
from mailprobe.probe.supervisor import Supervisor

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
GRACE: Final = 5.0
"""Seconds after the deadline for the last look; nobody waits a minute at a prompt."""
CLEAN_UP: Final = 2.5
"""Seconds for a canary that is on its way when the user interrupts."""
POLICIES: Final = 10.0
"""Seconds, after the verdict, for the recipient's policies where they are to be reported."""
LAST_WORDS: Final = 0.5
"""Seconds at the end for an attempt that has not ended."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a run came to: a record for each canary, in the order of the routes; whether the user interrupted it."""

    records: tuple[Record, ...]
    interrupted: bool = False


def shaped(plan: Plan, names: Iterable[str], timeout: float, *, keep: bool) -> Plan:
    """The part of a plan that a single run needs, its promises cut to `timeout` seconds.

    With it comes the mailbox in which a sender's bounces arrive, whether or not a route ends there.
    """

    def mailbox(name: str) -> Mailbox:
        planned = plan.mailboxes[name]
        cleanup = Cleanup.KEEP if keep else planned.cleanup
        return replace(planned, timeout=min(planned.timeout, timeout), cleanup=cleanup)

    def route(name: str) -> Route:
        planned = plan.routes[name]
        return replace(
            planned,
            mailbox=mailboxes[planned.mailbox.name],
            deadline=timeout,
            late_until=timeout,
            timeout=min(planned.timeout, timeout),
        )

    chosen = [plan.routes[name] for name in names]
    senders = {each.sender.name: each.sender for each in chosen}
    needed = [each.mailbox.name for each in chosen] + [each.bounces_to for each in senders.values() if each.bounces_to]
    mailboxes = {name: mailbox(name) for name in needed}
    return Plan({each.name: route(each.name) for each in chosen}, senders, mailboxes)


class OneShot:
    """Runs a plan's routes once. `watch` is told of every event, `interrupted` that the user wants it to end."""

    def __init__(
        self,
        plan: Plan,
        key: Key,
        agent: str,
        clock: Clock,
        watch: Publish,
        stage_ended: StageEnded,
        interrupted: Callable[[], None],
    ) -> None:
        self._plan = plan
        self._key = key
        self._agent = agent
        self._clock = clock
        self._stage_ended = stage_ended
        self._tell_interrupted = interrupted
        self._history = History()
        self._down: dict[str, MailboxDown] = {}
        self._interrupted = asyncio.Event()
        self._handed_in: set[str] = set()
        self._under_way: set[str] = set()
        self._nothing_under_way = asyncio.Event()
        self.bus = Bus()
        for subscriber in (self._history, self._note, watch):
            self.bus.subscribe(subscriber)

    async def run(self) -> Outcomes:
        """Sends, waits for the verdicts, removes the canaries; SIGINT and SIGTERM end it early and in order.

        A second signal ends it at once, by cancelling whoever awaits this.
        """
        self._handle_signals()
        async with asyncio.TaskGroup() as group:
            supervisor = Supervisor(group, self._clock, self.bus.publish)
            crew = Crew(
                supervisor,
                self._clock,
                self.bus.publish,
                key=self._key,
                agent=self._agent,
                scheduled=False,
                observation_grace=GRACE,
                stage_ended=self._stage_ended,
            )
            try:
                await crew.begin(self._plan)
                await self._unless_interrupted(crew.watching(self._plan.mailboxes))
                ids = [] if self._interrupted.is_set() else await self._probe_all(crew)
                if self._interrupted.is_set():
                    await supervisor.stop(*self._pointless(supervisor))
                    await self._let_arrive()
                else:
                    await self._unless_interrupted(crew.policies_known(POLICIES))
                await crew.stop(attempts=LAST_WORDS)
            finally:
                supervisor.cancel_all()
        records = tuple(record for id in ids if (record := self._history.get(id)))
        return Outcomes(records, self._interrupted.is_set())

    def _handle_signals(self) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def interrupt() -> None:
            if self._interrupted.is_set():
                task.cancel()
                return
            self._interrupted.set()
            self._tell_interrupted()

        for number in SIGNALS:
            loop.add_signal_handler(number, interrupt)

    async def _probe_all(self, crew: Crew) -> list[str]:
        ids = []
        verdicts: list[asyncio.Future[Verdict]] = []
        for route in self._plan.routes.values():
            if route.mailbox.name in self._down:
                ids.append(self._unobserved(route))
                continue
            canary, verdict = crew.send_now(route)
            ids.append(canary.id)
            verdicts.append(verdict)
        if verdicts:
            await self._unless_interrupted(asyncio.wait(verdicts))
        return ids

    def _unobserved(self, route: Route) -> str:
        """Nothing is sent to a mailbox into which nobody can look: it would only be left lying there."""
        failure = self._down[route.mailbox.name].failure
        now = self._clock.now()
        canary = Canary(new_canary_id(), route.name, route.sender.name, route.mailbox.name, now, now, now)
        verdict = Verdict(
            canary, Outcome.UNOBSERVED, now, stage=failure.stage, reason=failure.reason, detail=failure.detail
        )
        self.bus.publish(Judged(verdict))
        return canary.id

    async def _unless_interrupted(self, work: Coroutine[Any, Any, object]) -> None:
        tasks = {asyncio.create_task(work), asyncio.create_task(self._interrupted.wait())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _pointless(self, supervisor: Supervisor) -> list[str]:
        """The submissions that have not come to the final dot: from there on the message may exist."""
        submissions = (name for name in supervisor.names if name.startswith("submit:"))
        return [name for name in submissions if name.removeprefix("submit:").partition("#")[0] not in self._handed_in]

    async def _let_arrive(self) -> None:
        """Gives what was sent a little time to arrive, so that it can be removed."""
        self._check_under_way()
        try:
            async with asyncio.timeout(CLEAN_UP):
                await self._nothing_under_way.wait()
        except TimeoutError:
            return

    def _note(self, event: Event) -> None:
        match event:
            case MailboxDown(mailbox):
                self._down[mailbox] = event
            case MailboxUp(mailbox):
                self._down.pop(mailbox, None)
            case DotSent(canary):
                self._handed_in.add(canary.route)
                self._under_way.add(canary.id)
            case AttemptEnded(canary, attempt):
                self._handed_in.discard(canary.route)
                if attempt.outcome in (AttemptOutcome.DEFERRED, AttemptOutcome.REJECTED):
                    self._under_way.discard(canary.id)
            case Judged(verdict):
                self._under_way.discard(verdict.canary.id)
        self._check_under_way()

    def _check_under_way(self) -> None:
        if self._interrupted.is_set() and not self._under_way:
            self._nothing_under_way.set()
