"""One canary on each route of a plan, now: the agent's own actors without schedule, journal and HTTP."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from mailprobe.clock import Clock
from mailprobe.events import Bus, Event, Judged, MailboxDown, MailboxUp, Publish
from mailprobe.message import Key, new_canary_id
from mailprobe.model import Canary, Outcome, Verdict
from mailprobe.observe.history import History, Record
from mailprobe.plan import Cleanup, Plan, Route
from mailprobe.probe.crew import Crew
from mailprobe.probe.submitter import StageEnded
from mailprobe.probe.supervisor import Supervisor

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
GRACE: Final = 5.0
"""Seconds after the deadline for the last look; nobody waits a minute at a prompt."""
CLEAN_UP: Final = 3.0
"""Seconds for a canary that is still on its way when the user interrupts."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What a run came to: a record for each route, in the order asked for; whether the user interrupted it."""

    records: tuple[Record, ...]
    interrupted: bool = False


def shaped(plan: Plan, names: Iterable[str], timeout: float, *, keep: bool) -> Plan:
    """The part of a plan that a single run needs, its promises cut to `timeout` seconds."""

    def route(name: str) -> Route:
        planned = plan.routes[name]
        mailbox = replace(planned.mailbox, timeout=min(planned.mailbox.timeout, timeout))
        if keep:
            mailbox = replace(mailbox, cleanup=Cleanup.KEEP)
        patience = min(planned.timeout, timeout)
        return replace(planned, mailbox=mailbox, deadline=timeout, late_until=timeout, timeout=patience)

    routes = {name: route(name) for name in names}
    senders = {route.sender.name: route.sender for route in routes.values()}
    return Plan(routes, senders, {route.mailbox.name: route.mailbox for route in routes.values()})


class OneShot:
    """Runs a plan's routes once. `watch` is told of every event."""

    def __init__(self, plan: Plan, key: Key, agent: str, clock: Clock, watch: Publish, stage_ended: StageEnded) -> None:
        self._plan = plan
        self._key = key
        self._agent = agent
        self._clock = clock
        self._stage_ended = stage_ended
        self._history = History()
        self._down: dict[str, MailboxDown] = {}
        self._interrupted = asyncio.Event()
        self._verdicts: list[asyncio.Future[Verdict]] = []
        self.bus = Bus()
        for subscriber in (self._history, self._note_mailbox, watch):
            self.bus.subscribe(subscriber)

    async def run(self) -> Outcomes:
        """Sends, waits for the verdicts, removes the canaries; SIGINT and SIGTERM end it early and in order."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._interrupted.set)
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
                    await self._clean_up()
                await crew.stop()
            finally:
                supervisor.cancel_all()
        records = tuple(record for id in ids if (record := self._history.get(id)))
        return Outcomes(records, self._interrupted.is_set())

    async def _probe_all(self, crew: Crew) -> list[str]:
        ids = []
        for route in self._plan.routes.values():
            if route.mailbox.name in self._down:
                ids.append(self._unobserved(route))
                continue
            canary, verdict = crew.send_now(route)
            ids.append(canary.id)
            self._verdicts.append(verdict)
        if self._verdicts:
            await self._unless_interrupted(asyncio.wait(self._verdicts))
        return ids

    def _unobserved(self, route: Route) -> str:
        """Nothing is sent to a mailbox into which nobody can look: it would only be left lying there."""
        failure = self._down[route.mailbox.name].failure
        detail = f"IMAP server {route.mailbox.endpoint}: {failure.detail}"
        now = self._clock.now()
        canary = Canary(new_canary_id(), route.name, route.sender.name, route.mailbox.name, now, now, now)
        verdict = Verdict(canary, Outcome.UNOBSERVED, now, stage=failure.stage, reason=failure.reason, detail=detail)
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

    async def _clean_up(self) -> None:
        """Gives what was sent a little time to arrive, so that it can be removed; a second signal ends at once."""
        for number in SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)
        if self._verdicts:
            await asyncio.wait(self._verdicts, timeout=CLEAN_UP)

    def _note_mailbox(self, event: Event) -> None:
        if isinstance(event, MailboxDown):
            self._down[event.mailbox] = event
        elif isinstance(event, MailboxUp):
            self._down.pop(event.mailbox, None)
