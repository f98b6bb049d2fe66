"""The actors of one agent: a scheduler per route, a submitter per sender, a watcher per mailbox, one judge.

A plan is applied by comparing it with the one in use: only what changed is stopped and begun. Canaries in flight are
the ledger's and outlive every actor; a mailbox that is no longer planned is watched as long as the ledger expects
something there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Final

from mailprobe.auth.tokens import Tokens, TokenSource
from mailprobe.clock import Clock, wall_of
from mailprobe.events import Event, Judged, PolicyChecked, Publish, RoutesChanged, TokenSourcesChanged
from mailprobe.imap import Session, Watermark
from mailprobe.message import Composer, Key, new_canary_id
from mailprobe.model import Attempt, Canary, RestoredCanary, Verdict
from mailprobe.net.policies import Policies
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Mailbox, Plan, Route, Sender
from mailprobe.probe.judge import Judge
from mailprobe.probe.ledger import OBSERVATION_GRACE, Ledger
from mailprobe.probe.scheduler import Scheduler
from mailprobe.probe.submitter import Attempts, StageEnded, Submitter
from mailprobe.probe.supervisor import Supervisor
from mailprobe.probe.watcher import Watcher
from mailprobe.smtp import Message, submit

FAREWELL: Final = 10.0
"""Seconds that a last look into a mailbox may take that is no longer in the configuration."""


async def nothing_to_settle() -> None:
    """Stands in for a journal where none is kept."""


class Crew:
    """Everybody who works for one agent, and the plan they work by."""

    def __init__(
        self,
        supervisor: Supervisor,
        clock: Clock,
        publish: Publish,
        *,
        key: Key,
        agent: str,
        settle: Callable[[], Awaitable[None]] = nothing_to_settle,
        remember: Callable[[str, Mapping[str, Watermark]], None] = lambda mailbox, watermarks: None,
        scheduled: bool = True,
        observation_grace: float = OBSERVATION_GRACE,
        stage_ended: StageEnded | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        self.plan = Plan()
        self.judge = Judge(Ledger(observation_grace), clock, self._concluded)
        self._supervisor = supervisor
        self._clock = clock
        self._publish = publish
        self._key = key
        self._agent = agent
        self._settle = settle
        self._remember = remember
        self._scheduled = scheduled
        self._stage_ended = stage_ended
        self._composers: dict[str, Composer] = {}
        self._submitters: dict[str, Submitter] = {}
        self._attempts = Attempts()
        self._policy_checks: set[asyncio.Task[None]] = set()
        self._watchers: dict[str, Watcher] = {}
        self._engaged: dict[str, Route] = {}
        """The routes at work; after a reload that failed halfway, not those of the plan."""
        self._resolver = Resolver()
        self._tokens = tokens or Tokens(clock, publish)
        self._renewed: dict[TokenSource, str] = {}
        """The tasks that keep tokens at hand."""
        self.judge.ask_for_scan = self._ask_for_scan

    async def begin(
        self,
        plan: Plan,
        canaries: Iterable[RestoredCanary] = (),
        watermarks: Mapping[str, Mapping[str, Watermark]] | None = None,
    ) -> None:
        """Sets everybody to work, going on where an earlier process stopped; call once."""
        self._announce(self.plan, plan)
        # before any watcher looks: what it finds has to be expected
        self.judge.restore(canaries)
        await self._engage(plan, watermarks or {})
        self._resume_retries()
        self._supervisor.start("judge", self.judge.run)

    async def apply(self, plan: Plan) -> None:
        """Makes this plan the one in use, touching only what differs from the one before."""
        changed = [name for name, route in self._engaged.items() if plan.routes.get(name) != route]
        await self._supervisor.stop(*(f"scheduler:{name}" for name in changed))
        for name in changed:
            del self._engaged[name]
        self._announce(self.plan, plan)
        await self._engage(plan, {})

    async def stop(self, attempts: float = 2.0, within: float = 3.0) -> None:
        """Ends in order: no new attempts, those under way finished, mailboxes swept.

        Gives `attempts` seconds to attempts, and to everything `within`; what hangs then is left as it is.
        """
        end = self._clock.now() + within
        self._attempts.closed = True
        await self._supervisor.stop(*(f"scheduler:{name}" for name in self.plan.routes))
        if self._attempts.running:
            await asyncio.wait(self._attempts.running, timeout=attempts)
        for watcher in self._watchers.values():
            watcher.leave()
        left = max(0.0, end - self._clock.now())
        await self._supervisor.ended(*(f"watcher:{name}" for name in self._watchers), timeout=left)

    def send_now(self, route: Route) -> tuple[Canary, asyncio.Future[Verdict]]:
        """Begins a canary at once, besides the grid; the future is its verdict."""
        canary = self._new_canary(route, self._clock.now())
        verdict = self.judge.verdict_of(canary.id)
        self._start(route, canary, canary.deadline)
        return canary, verdict

    async def watching(self, mailboxes: Iterable[str]) -> None:
        """Returns when each of these mailboxes is watched or is known not to be."""
        for name in mailboxes:
            await self._watchers[name].decided()

    async def policies_known(self, within: float) -> None:
        """Returns when every policy that is to be reported was held against its attempt, after `within` seconds."""
        if self._policy_checks:
            await asyncio.wait(self._policy_checks, timeout=within)

    async def _engage(self, plan: Plan, watermarks: Mapping[str, Mapping[str, Watermark]]) -> None:
        self.plan = plan
        await self._keep_tokens(plan)
        for sender in plan.senders.values():
            self._engage_submitter(sender)
        watermarks = {**watermarks, **await self._replace_watchers(plan.mailboxes)}
        for mailbox in plan.mailboxes.values():
            self._engage_watcher(mailbox, watermarks.get(mailbox.name))
        for name in [*self._watchers]:
            self._let_go(name)
        for route in plan.routes.values():
            self._engage_scheduler(route)

    async def _keep_tokens(self, plan: Plan) -> None:
        kept = self._tokens.keep(plan.token_users()).values()
        self._publish(TokenSourcesChanged(tuple(source.label for source in kept if source.is_asked)))
        gone = [source for source in self._renewed if source not in kept]
        await self._supervisor.stop(*(self._renewed.pop(source) for source in gone))
        for source in kept:
            if source.is_asked and source not in self._renewed:
                self._renewed[source] = f"token:{id(source)}"
                self._supervisor.start(self._renewed[source], source.run)

    def _resume_retries(self) -> None:
        for pending in self.judge.ledger.pending_retries():
            route = self.plan.routes.get(pending.canary.route)
            # a route that joins others now would send it to where nobody looks for it: it ends as deferred
            if route and (route.sender.name, route.mailbox.name) == (pending.canary.sender, pending.canary.mailbox):
                message = self._compose(route, pending.canary)
                work = self._submitters[route.sender.name].go_on(
                    route, pending.canary, message, pending.done, pending.retry_at
                )
                self._supervisor.once(f"submit:{route.name}", work)

    def _announce(self, before: Plan, plan: Plan) -> None:
        kept = {name for name, route in plan.routes.items() if name in before.routes and _same(before, plan, name)}
        added = tuple(
            (route.name, route.sender.name, route.mailbox.name, route.sender.kind.value)
            for name, route in plan.routes.items()
            if name not in kept
        )
        removed = tuple(name for name in before.routes if name not in kept)
        self._publish(RoutesChanged(added, removed, tuple(plan.mailboxes)))

    def _engage_submitter(self, sender: Sender) -> None:
        engaged = self._submitters.get(sender.name)
        if engaged and engaged.sender == sender:
            return
        resolver = Resolver(sender.resolver) if sender.resolver else self._resolver
        policies = Policies(sender, resolver)
        self._submitters[sender.name] = Submitter(
            sender,
            self.judge,
            self._clock,
            self._publish,
            submit=partial(submit, clock=self._clock, resolver=resolver, token_of=self._tokens.token_of),
            ready=self._tokens.source(sender.login.oauth2).ready if sender.login and sender.login.oauth2 else None,
            settle=self._settle,
            departed=self._departed,
            attempts=self._attempts,
            # whatever else changed, what was begun counts: a reload lifts no limit
            limits=engaged.limits if engaged and engaged.sender.limits == sender.limits else None,
            stage_ended=self._stage_ended,
            ended=partial(self._hold_policies, policies) if sender.mta_sts or sender.dane else None,
        )

    def _hold_policies(self, policies: Policies, canary: Canary, recipient: str, attempt: Attempt) -> None:
        """Beside everything else: nobody waits for it, and no stage's time has a part of it."""
        check = self._supervisor.once(
            f"policy:{canary.route}", self._check_policies(policies, canary, recipient, attempt)
        )
        self._policy_checks.add(check)
        check.add_done_callback(self._policy_checks.discard)

    async def _check_policies(self, policies: Policies, canary: Canary, recipient: str, attempt: Attempt) -> None:
        policy = await policies.check(recipient, attempt)
        self._publish(PolicyChecked(canary, attempt.number, policy, self._clock.now()))

    def _concluded(self, event: Event) -> None:
        self._publish(event)
        if isinstance(event, Judged):
            self._let_go(event.verdict.canary.mailbox)

    def _let_go(self, mailbox: str) -> None:
        """Ends the watch over a mailbox that is no longer planned, once nothing is expected there."""
        watcher = self._watchers.get(mailbox)
        idle = mailbox not in self.plan.mailboxes and not self.judge.ledger.expecting(mailbox)
        if watcher and idle and not watcher.leaving:
            watcher.leave()
            self._supervisor.once(f"farewell:{mailbox}", self._farewell(mailbox, watcher))

    async def _farewell(self, mailbox: str, watcher: Watcher) -> None:
        await self._supervisor.ended(f"watcher:{mailbox}", timeout=FAREWELL)
        if self._watchers.get(mailbox) is watcher:
            await self._supervisor.stop(f"watcher:{mailbox}")
            self._watchers.pop(mailbox, None)

    async def _replace_watchers(self, mailboxes: Mapping[str, Mailbox]) -> dict[str, Mapping[str, Watermark]]:
        """Ends the watch over mailboxes that are another way now; answers how far each had been read."""
        gone = {
            name: watcher
            for name, watcher in self._watchers.items()
            if name in mailboxes and (watcher.leaving or mailboxes[name] != watcher.mailbox)
        }
        await self._supervisor.stop(*(f"watcher:{name}" for name in gone))
        watermarks = {}
        for name, watcher in gone.items():
            self._watchers.pop(name, None)  # a farewell may have been faster
            if _account(watcher.mailbox) == _account(mailboxes[name]):
                watermarks[name] = watcher.watermarks
            else:
                self.judge.abandon(name)
        return watermarks

    def _engage_watcher(self, mailbox: Mailbox, watermarks: Mapping[str, Watermark] | None) -> None:
        if engaged := self._watchers.get(mailbox.name):
            engaged.hurry()
            return
        watcher = Watcher(
            mailbox,
            self.judge,
            self._clock,
            self._publish,
            key=self._key,
            agent=self._agent,
            open_session=partial(
                Session.open, clock=self._clock, resolver=self._resolver, token_of=self._tokens.token_of
            ),
            watermarks=watermarks,
            settle=self._settle,
            sender_of=lambda name: self.plan.senders.get(name),
            remember=self._remember,
        )
        self._watchers[mailbox.name] = watcher
        self._supervisor.start(f"watcher:{mailbox.name}", watcher.run)

    def _engage_scheduler(self, route: Route) -> None:
        if self._engaged.get(route.name) == route:
            return
        self._composers[route.name] = Composer(
            self._key, self._agent, route.name, route.sender.from_address, route.mailbox.address
        )
        if self._scheduled:
            scheduler = Scheduler(
                route,
                self._agent,
                self._clock,
                self.judge,
                self._publish,
                new_canary=self._new_canary,
                start=self._start,
            )
            self._supervisor.start(f"scheduler:{route.name}", scheduler.run)
        self._engaged[route.name] = route

    def _new_canary(self, route: Route, due: float) -> Canary:
        return Canary(
            id=new_canary_id(),
            route=route.name,
            sender=route.sender.name,
            mailbox=route.mailbox.name,
            opened=due,
            deadline=due + route.deadline,
            late_until=due + route.late_until,
        )

    def _start(self, route: Route, canary: Canary, until: float) -> None:
        submitter = self._submitters[route.sender.name]
        work = submitter.send(route, canary, self._compose(route, canary), until)
        self._supervisor.once(f"submit:{route.name}", work)

    def _compose(self, route: Route, canary: Canary) -> Message:
        composed = self._composers[route.name].compose(canary.id, wall_of(self._clock, canary.opened))
        return Message(route.sender.from_address, route.mailbox.address, composed.content, composed.envid)

    def _departed(self, canary: Canary, at: float) -> None:
        watcher = self._watchers.get(canary.mailbox)
        if watcher:
            watcher.expect(canary, at)

    def _ask_for_scan(self, mailbox: str) -> None:
        watcher = self._watchers.get(mailbox)
        if watcher:
            watcher.want_scan()


def _account(mailbox: Mailbox) -> tuple[object, ...]:
    """What makes it the mailbox in which a canary that was sent earlier can be looked for."""
    return mailbox.address, mailbox.endpoint.host, mailbox.login.username, mailbox.inbox, mailbox.junk


def _same(before: Plan, plan: Plan, name: str) -> bool:
    """Whether a route still joins the same sender and mailbox, so that its series go on."""
    old, new = before.routes[name], plan.routes[name]
    return (old.sender.name, old.sender.kind, old.mailbox.name) == (new.sender.name, new.sender.kind, new.mailbox.name)
