"""Wires the agent together: journal, metrics, actors, HTTP; signals, reload, an orderly end.

The only place that holds the whole configuration and the only task group. Nobody imports it but `cli` and tests.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from mailprobe import __version__
from mailprobe.auth.canary_key import canary_key
from mailprobe.auth.tokens import Tokens
from mailprobe.clock import Clock, SystemClock
from mailprobe.config.configuration import Configuration
from mailprobe.errors import ConfigurationError
from mailprobe.events import Bus, ConfigReloaded, LoopLagged, TaskFailed
from mailprobe.imap import Watermark
from mailprobe.message import Key
from mailprobe.model import Canary, Verdict
from mailprobe.observe.history import History, Record
from mailprobe.observe.journal import Journal, JournalProblem, Restored
from mailprobe.observe.log import EventLog
from mailprobe.observe.metrics import Metrics
from mailprobe.observe.port25 import Port25
from mailprobe.observe.states import States
from mailprobe.observe.vendors import Vendors
from mailprobe.plan import Plan
from mailprobe.probe.crew import Crew, nothing_to_settle
from mailprobe.probe.supervisor import Supervisor
from mailprobe.service import ServiceManager
from mailprobe.web.server import WebServer

if TYPE_CHECKING:
    from mailprobe.feeds.crew import Feeds

LOG: Final = logging.getLogger(__name__)
LAG_EVERY: Final = 0.25
TICK_EVERY: Final = 1.0
FIXED: Final = ("name", "listen", "journal", "journal_retention", "key_file", "web_config_file")
"""Settings of `agent` that a running agent does not change: in force from its next start on."""


class Agent:
    """One running mailprobe: probes and serves from `run` until `stop`.

    Not `scheduled`: when a canary is sent is the business of whoever `started` it.
    """

    def __init__(
        self,
        configuration: Configuration,
        load: Callable[[], Configuration],
        *,
        clock: Clock | None = None,
        scheduled: bool = True,
        service: ServiceManager | None = None,
        started: Callable[[Agent], None] = lambda agent: None,
    ) -> None:
        own = configuration.agent
        self._scheduled = scheduled
        self.clock = clock or SystemClock()
        self.configuration = configuration
        self.journal = (
            Journal(own.journal, clock=self.clock, retention_seconds=own.journal_retention, on_problem=_say_problem)
            if own.journal
            else None
        )
        self.states = States()
        self.history = History()
        self.metrics = Metrics(self.clock, __version__, self.states, self.journal)
        self.bus = Bus()
        for subscriber in (self.journal, self.states, self.metrics, self.history, EventLog()):
            if subscriber is not None:
                self.bus.subscribe(subscriber)
        self.bus.subscribe(Port25(self.bus.publish))
        self.tokens = Tokens(self.clock, self.bus.publish)
        self.vendors = Vendors(self.clock, self.bus.publish)
        self.bus.subscribe(self.vendors)
        self._service = service or ServiceManager()
        self._load = load
        self._started = started
        self._stopping = asyncio.Event()
        self._reloading = asyncio.Lock()
        self._feeds: Feeds | None = None
        self._remembered: dict[str, Mapping[str, Watermark]] = {}
        self._probed: dict[str, tuple[Canary, asyncio.Future[Verdict]]] = {}

    async def run(self) -> None:
        """Probes until `stop` is called. Raises ConfigurationError where it cannot begin."""
        own = self.configuration.agent
        restored = await self.journal.restore() if self.journal else Restored()
        try:
            key = await asyncio.to_thread(canary_key, own.key_file, own.journal)
            async with asyncio.TaskGroup() as group:
                self.supervisor = Supervisor(group, self.clock, self.bus.publish)
                self.crew = self._crew(key)
                self.web = self._web()
                await self.web.start()
                try:
                    await self._begin(restored)
                    await self._stopping.wait()
                    LOG.info("ending")
                    self._service.stopping()
                    await self.crew.stop()
                finally:
                    self.supervisor.cancel_all()
                    await self.web.stop()
        finally:
            if self.journal:
                await self.journal.close()

    def stop(self) -> None:
        """Ends the agent in order; may be called more than once."""
        self._stopping.set()

    def handle_signals(self) -> None:
        """SIGTERM and SIGINT end the agent in order, SIGHUP reloads it; call on the running loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: self.supervisor.once("reload", self._reload()))

    async def reload(self) -> tuple[str, ...]:
        """Reads the configuration again and uses it; answers its problems if it has any: nothing changes then."""
        async with self._reloading:
            self._service.reloading()
            try:
                await self._use(await asyncio.to_thread(self._load))
                problems: tuple[str, ...] = ()
            except ConfigurationError as error:
                problems = error.problems
            except Exception as error:
                LOG.exception("reload failed")
                self.bus.publish(TaskFailed("reload", error))
                problems = (f"a bug of mailprobe's, see its log: {type(error).__name__}",)
            _say(f"not reloaded: {problem}" for problem in problems)
            self.bus.publish(ConfigReloaded(self.clock.now(), problems))
            self._say_ready(f"; NOT reloaded: {len(problems)} problems, see the log" if problems else "")
            return problems

    async def probe(self, route: str, timeout: float) -> Record:
        """Sends one canary now and answers its record when it is judged, or after `timeout` seconds as it is then.

        While the canary of an earlier call has no verdict, that is the one: however short the time-outs, at most one is
        on its way. Raises KeyError if there is no such route.
        """
        sent_before = self._probed.get(route)
        if sent_before is None or sent_before[1].done():
            sent_before = self._probed[route] = self.crew.send_now(self.configuration.plan.routes[route])
        canary, verdict = sent_before
        ending = asyncio.ensure_future(self._stopping.wait())
        try:
            with suppress(TimeoutError):
                async with self.clock.timeout_at(self.clock.now() + timeout):
                    await asyncio.wait((verdict, ending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
        return self.history.get(canary.id) or Record(canary)

    # ---- inside

    def _crew(self, key: Key) -> Crew:
        return Crew(
            self.supervisor,
            self.clock,
            self.bus.publish,
            key=key,
            agent=self.configuration.agent.name,
            settle=self.journal.settle if self.journal else nothing_to_settle,
            remember=self._remember,
            scheduled=self._scheduled,
            tokens=self.tokens,
        )

    def _web(self) -> WebServer:
        own = self.configuration.agent
        return WebServer(
            own.listen,
            clock=self.clock,
            metrics=self.metrics,
            history=self.history,
            states=self.states,
            reload=self.reload,
            probe=self.probe,
            vendors=self.vendors,
            agent=own.name,
            web_config_file=own.web_config_file,
        )

    async def _begin(self, restored: Restored) -> None:
        _say(self.configuration.warnings)
        if not self.journal:
            LOG.warning("no agent.journal is configured: canaries in flight do not survive a restart")
        watermarks: dict[str, dict[str, Watermark]] = {}
        for mark in restored.watermarks:
            watermarks.setdefault(mark.mailbox, {})[mark.folder] = Watermark(mark.uidvalidity, mark.uidnext)
        self.states.restore(restored.incidents, restored.once_ok)
        self.vendors.restore(restored.incidents, restored.acknowledgements)
        self.history.restore(restored.lately.begin, restored.lately.traces, self.configuration.plan.routes)
        await self.crew.begin(self.configuration.plan, restored.canaries, watermarks)
        await self._read_feeds(self.configuration.plan)
        self.bus.publish(ConfigReloaded(self.clock.now()))
        self.supervisor.start("loop-lag", self._measure_lag)
        self.supervisor.start("states", self._keep_states)
        self.supervisor.start("watchdog", self._feed_watchdog)
        LOG.info(
            "probing %d routes, serving on %s; %d canaries taken over, %d of them without a verdict",
            len(self.configuration.plan.routes),
            self.web.url,
            len(restored.canaries),
            sum(each.outcome is None for each in restored.canaries),
        )
        self._say_ready()
        self._started(self)

    def _say_ready(self, more: str = "") -> None:
        self._service.ready(f"probing {len(self.configuration.plan.routes)} routes, serving on {self.web.url}{more}")

    async def _reload(self) -> None:
        await self.reload()

    async def _use(self, configuration: Configuration) -> None:
        if self._stopping.is_set():
            raise ConfigurationError("the agent is ending")
        _say(configuration.warnings)
        _say(_after_restart(self.configuration, configuration))
        await self.crew.apply(configuration.plan)
        await self._read_feeds(configuration.plan)
        self.configuration = configuration
        LOG.info("configuration reloaded: %d routes", len(configuration.plan.routes))

    async def _read_feeds(self, plan: Plan) -> None:
        """Imports what reads feeds only where there is one, which most agents have not."""
        if self._feeds is None and plan.feeds:
            from mailprobe.feeds.crew import Feeds

            self._feeds = Feeds(self.supervisor, self.clock, self.bus.publish, token_of=self.tokens.token_of)
        if self._feeds is not None:
            await self._feeds.apply(plan.feeds)

    def _remember(self, mailbox: str, watermarks: Mapping[str, Watermark]) -> None:
        if self.journal is None or self._remembered.get(mailbox) == watermarks:
            return
        self._remembered[mailbox] = dict(watermarks)
        for folder, mark in watermarks.items():
            self.journal.save_watermark(mailbox, folder, mark.uidvalidity, mark.next_uid)

    async def _measure_lag(self) -> None:
        clock = SystemClock()  # the loop turns in the machine's time, however fast the agent's runs
        while True:
            due = clock.now() + LAG_EVERY
            await clock.sleep_until(due)
            self.bus.publish(LoopLagged(clock.now() - due))

    async def _feed_watchdog(self) -> None:
        """From the loop that probes: whoever restarts an agent that stands still must hear of this one."""
        clock = SystemClock()
        while interval := self._service.watchdog_interval:
            self._service.alive()
            await clock.sleep_until(clock.now() + interval / 3)

    async def _keep_states(self) -> None:
        while True:
            await self.clock.sleep_until(self.clock.now() + TICK_EVERY)
            for event in self.states.tick(self.clock.now()):
                self.bus.publish(event)


def _after_restart(before: Configuration, after: Configuration) -> Iterable[str]:
    for setting in FIXED:
        if getattr(before.agent, setting) != getattr(after.agent, setting):
            yield f"agent.{setting} has changed; it is in force from the next start on"


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        LOG.warning("%s", line)


def _say_problem(problem: JournalProblem) -> None:
    LOG.error("journal: %s: %s", problem.kind, problem.text)
