"""The one writer of metrics: takes events in, gives exposition text out.

What time alone changes (ages, blindness, states) is put right when somebody asks. `render` does it at once and is
for the one-shot and tests; `stream` and `packed` are for the agent: they give the loop back after every few routes,
and join and compress in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from mailprobe.clock import Clock, wall_of
from mailprobe.errors import EnhancedStatus, Reply, Stage
from mailprobe.events import (
    ArrivedLate,
    AttemptBegun,
    AttemptEnded,
    CanaryLost,
    CanaryOpened,
    CanaryRestored,
    CanarySighted,
    CertificateSeen,
    ConfigReloaded,
    DotSent,
    DuplicateSighted,
    Event,
    FeedsChanged,
    IncidentOpened,
    Judged,
    LoopLagged,
    MailboxDown,
    MailboxScanned,
    MailboxUp,
    PolicyChecked,
    Port25Changed,
    QuotaSeen,
    RoutesChanged,
    RouteStateChanged,
    SlotFired,
    StrangersSeen,
    TaskFailed,
    Throttled,
    TokenRequested,
    TokenSourcesChanged,
    VendorAcknowledged,
    VendorStatusSeen,
)
from mailprobe.model import (
    Attempt,
    Canary,
    DaneStatus,
    MtaStsMode,
    Outcome,
    PolicyFacts,
    RouteState,
    Sighting,
    Verdict,
)
from mailprobe.observe import families
from mailprobe.observe.agent_metrics import AgentMetrics, JournalFigures
from mailprobe.observe.arrival import Arrival, arrival_of
from mailprobe.observe.chunks import Family, Page, Pages, Series, exemplar
from mailprobe.observe.packing import Packer
from mailprobe.observe.states import States
from mailprobe.observe.token_metrics import TokenMetrics
from mailprobe.vendor import VendorState

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_SLICE: Final = 16
"""Owners rendered before the loop gets its turn: about 1 ms, at most 3 ms where everything is new."""
_BLOCK: Final = 256
"""Chunks joined at once: some 200 KB, so that a page of megabytes is never there as a whole."""
_TASKS: Final = 100
"""Names of tasks that may be labels; they come from our code, and this is for the case that we err."""


class Metrics:
    """Every metric of the agent; subscribe `states` to the bus too."""

    def __init__(self, clock: Clock, version: str, states: States, journal: JournalFigures | None = None) -> None:
        self.agent = AgentMetrics(version, journal)
        tokens = TokenMetrics(self.agent.registry, clock)
        self.notice = ""
        """What is wrong with this machine's own network, for people; empty if nothing is known to be."""
        self._clock = clock
        self._states = states
        owned = (families.ROUTE_FAMILIES, families.MAILBOX_FAMILIES, families.ENDPOINT_FAMILIES, families.FEED_FAMILIES)
        self._pages = Pages(tuple(family for kinds in owned for family in kinds))
        self._packer = Packer()
        self._routes: dict[str, Series] = {}
        self._mailboxes: dict[str, Series] = {}
        self._endpoints: dict[str, Series] = {}
        self._feeds: dict[str, Series] = {}
        self._plan: dict[str, tuple[str, str, str]] = {}
        self._in_flight: dict[str, dict[str, float]] = {}
        self._blind_since: dict[str, float] = {}
        self._shown: dict[str, RouteState] = {}
        self._tasks: set[str] = set()
        self._handlers = self._handled(tokens)

    def __call__(self, event: Event) -> None:
        """Takes an event in; of routes and mailboxes that are not in the configuration nothing is kept."""
        if handler := self._handlers.get(type(event)):
            handler(event)

    def _handled(self, tokens: TokenMetrics) -> dict[type[Event], Callable[[Any], None]]:
        return {
            CanaryOpened: lambda event: self._expect(event.canary),
            CanaryRestored: lambda event: self._expect(event.canary),
            AttemptBegun: self._attempt_begun,
            DotSent: lambda event: self._count(event.canary, families.SENT),
            AttemptEnded: lambda event: self._attempt_ended(event.canary, event.attempt),
            PolicyChecked: lambda event: self._policy_checked(event.canary, event.policy),
            CanarySighted: lambda event: self._sighted(event.canary, event.sighting),
            DuplicateSighted: lambda event: self._count(event.canary, families.DUPLICATES),
            Judged: lambda event: self._judged(event.verdict),
            ArrivedLate: self._arrived_late,
            CanaryLost: lambda event: self._count(event.canary, families.LOST),
            MailboxUp: self._mailbox_up,
            MailboxDown: self._mailbox_down,
            MailboxScanned: self._mailbox_scanned,
            StrangersSeen: self._strangers,
            QuotaSeen: self._quota,
            CertificateSeen: self._certificate,
            Throttled: self._throttled,
            TokenRequested: tokens.requested,
            TokenSourcesChanged: tokens.changed,
            Port25Changed: self._port25_changed,
            SlotFired: lambda event: self.agent.schedule_lag.observe(event.lag_seconds),
            LoopLagged: lambda event: self.agent.loop_lag.observe(event.seconds),
            TaskFailed: lambda event: self._task_failed(event.task),
            ConfigReloaded: self._reloaded,
            RoutesChanged: self._routes_changed,
            RouteStateChanged: self._state_changed,
            IncidentOpened: self._incident_opened,
            FeedsChanged: self._feeds_changed,
            VendorStatusSeen: self._vendor_status,
            VendorAcknowledged: self._vendor_acknowledged,
        }

    @property
    def routes(self) -> tuple[str, ...]:
        """Names of the routes that have metrics."""
        return tuple(self._routes)

    def render(self, openmetrics: bool = False, routes: Sequence[str] = ()) -> bytes:
        """The page at once. With `routes` only their series; names that are not there are left out."""
        for _ in self._prepare():
            pass
        page = self._take(openmetrics, routes)
        return b"".join((*page.blocks(_BLOCK), self._end(openmetrics, whole=not routes)))

    async def stream(self, openmetrics: bool = False, routes: Sequence[str] = ()) -> AsyncIterator[bytes]:
        """As `render`, block by block, never holding the loop for more than a few milliseconds."""
        for _ in self._prepare():
            await asyncio.sleep(0)
        for block in self._take(openmetrics, routes).blocks(_BLOCK):
            yield block
            await asyncio.sleep(0)  # a reader that is fast enough never makes a write wait
        yield await asyncio.to_thread(self._end, openmetrics, whole=not routes)

    async def packed(self, openmetrics: bool = False, routes: Sequence[str] = ()) -> bytes:
        """As `stream`, compressed by gzip in a thread."""
        for _ in self._prepare():
            await asyncio.sleep(0)
        return await asyncio.to_thread(self._pack, self._take(openmetrics, routes), whole=not routes)

    def render_touched(self, route: str, openmetrics: bool) -> bytes:
        """Of one route the families in which something happened; nothing about its state, the mailboxes, the agent."""
        while self._pages.refresh(_SLICE):
            pass
        page = self._pages.page(openmetrics, [route], touched=True)
        return b"".join((*page.blocks(_BLOCK), self._end(openmetrics, whole=False)))

    def _take(self, openmetrics: bool, routes: Sequence[str]) -> Page:
        """What is rendered at this moment; it may be read in a thread."""
        names = [name for name in dict.fromkeys(routes) if name in self._routes] if routes else None
        return self._pages.page(openmetrics, names)

    def _end(self, openmetrics: bool, *, whole: bool) -> bytes:
        """What follows the chunks; of the whole page the agent itself, which reads /proc."""
        if whole:
            return self.agent.exposition(openmetrics)
        return b"# EOF\n" if openmetrics else b""

    def _pack(self, page: Page, *, whole: bool) -> bytes:
        return self._packer.pack(page, self._end(page.openmetrics, whole=whole))

    def _prepare(self) -> Iterator[None]:
        """Puts right what time alone changes, and renders; stops to breathe after every few owners."""
        now = self._clock.now()
        for number, (route, series) in enumerate(tuple(self._routes.items()), 1):
            if self._routes.get(route) is not series:  # removed while others had their turn
                continue
            self._show_state(route, series, now)
            if waiting := self._in_flight.get(route):
                series.set(families.OLDEST, now - next(iter(waiting.values())))
            if number % (20 * _SLICE) == 0:
                yield
        for mailbox in self._blind_since:
            self._count_blind(mailbox, now)
        while self._pages.refresh(_SLICE):
            yield

    def _show_state(self, route: str, series: Series, now: float) -> None:
        state = self._states.of(route, now)
        if (before := self._shown.get(route)) is not state:
            if before:
                series.set(families.STATE, 0, before)
            series.set(families.STATE, 1, state)
            self._shown[route] = state
        incident = self._states.incident(route)
        _show(series, families.INCIDENT, 1.0 if incident and incident.end is None else 0.0)
        _show(series, families.AFFECTED, self._states.share(route))

    # routes

    def _state_changed(self, event: RouteStateChanged) -> None:
        if series := self._routes.get(event.route):
            series.set(families.STATE_SINCE, wall_of(self._clock, event.at))

    def _incident_opened(self, event: IncidentOpened) -> None:
        if series := self._routes.get(event.incident.route):
            series.add(families.INCIDENTS)

    def _count(self, canary: Canary, family: Family, *labels: str) -> None:
        if series := self._routes.get(canary.route):
            series.add(family, *labels)

    def _expect(self, canary: Canary) -> None:
        if series := self._routes.get(canary.route):
            waiting = self._in_flight.setdefault(canary.route, {})
            waiting[canary.id] = canary.opened
            series.set(families.IN_FLIGHT, len(waiting))

    def _attempt_begun(self, event: AttemptBegun) -> None:
        if series := self._routes.get(event.canary.route):
            series.add(families.ATTEMPTS)
            if event.number == 1:
                series.set(families.LAST_CANARY, wall_of(self._clock, event.at))

    def _attempt_ended(self, canary: Canary, attempt: Attempt) -> None:
        series = self._routes.get(canary.route)
        if series is None:
            return
        for time in attempt.stages:
            series.summarise(families.STAGES, time.seconds, time.stage)
        for said in attempt.replies:
            if said.reply.is_refusal:
                _count_refusal(series, said.stage, said.reply)
        if attempt.stage and attempt.reason:
            series.add(families.FAILURES_TOTAL, attempt.stage, attempt.reason)

    def _policy_checked(self, canary: Canary, policy: PolicyFacts) -> None:
        series = self._routes.get(canary.route)
        if series and policy.mta_sts:
            for mode in MtaStsMode:
                series.set(families.MTA_STS_POLICY, int(mode is policy.mta_sts.mode), mode)
            asks = policy.mta_sts.mode in (MtaStsMode.ENFORCE, MtaStsMode.TESTING)
            _set_if_known(series, families.MTA_STS_PASS, policy.mta_sts.passed, asks)
        if series and policy.dane:
            for status in DaneStatus:
                series.set(families.DANE_POLICY, int(status is policy.dane.status), status)
            asks = policy.dane.status is not DaneStatus.ABSENT
            _set_if_known(series, families.DANE_PASS, policy.dane.passed, asks)

    def _judged(self, verdict: Verdict) -> None:
        canary = verdict.canary
        series = self._routes.get(canary.route)
        if series is None:
            return
        series.add(families.CANARIES, verdict.outcome)
        waiting = self._in_flight.get(canary.route, {})
        if waiting.pop(canary.id, None) is not None:
            series.set(families.IN_FLIGHT, len(waiting))
            if not waiting:
                series.set(families.OLDEST, 0)
        if verdict.stage is Stage.TRANSIT and verdict.reason:  # every other stage's failure was an attempt's
            series.add(families.FAILURES_TOTAL, verdict.stage, verdict.reason)
        if verdict.outcome in (Outcome.DELIVERED, Outcome.JUNKED):
            self._delivered(series, verdict)

    def _delivered(self, series: Series, verdict: Verdict) -> None:
        wall = wall_of(self._clock, verdict.sighting.noticed if verdict.sighting else verdict.at)
        series.set(families.LAST_DELIVERED, max(wall, series.value(families.LAST_DELIVERED)))
        if verdict.upper_bound or verdict.transit_seconds is None:
            series.add(families.UPPER_BOUNDS)
            return
        series.observe(families.TRANSIT, verdict.transit_seconds)
        if verdict.delivery_seconds is not None:
            seconds = verdict.delivery_seconds
            series.observe(families.DELIVERY, seconds, exemplar("canary", verdict.canary.id, seconds, wall))

    def _arrived_late(self, event: ArrivedLate) -> None:
        if series := self._routes.get(event.canary.route):
            series.add(families.LATE, event.after)
            if event.transit_seconds is not None and not event.upper_bound:
                series.observe(families.LATE_DURATION, event.transit_seconds)

    def _sighted(self, canary: Canary, sighting: Sighting) -> None:
        if sighting.headers:
            self.show_arrival(canary.route, arrival_of(sighting.headers))

    def show_arrival(self, route: str, arrival: Arrival) -> None:
        """What the headers of a route's last canary tell."""
        series = self._routes.get(route)
        if series is None:
            return
        for method in families.METHODS:
            series.add(families.AUTHENTICATION, method, getattr(arrival.authentication, method))
        series.clear(families.HOP_DELAY)
        for number, hop in enumerate(arrival.hops[: families.HOPS], 1):
            if hop.seconds is not None:
                series.set(families.HOP_DELAY, hop.seconds, str(number))

    # mailboxes and endpoints

    def _mailbox_up(self, event: MailboxUp) -> None:
        if series := self._mailboxes.get(event.mailbox):
            self._count_blind(event.mailbox, event.at)
            self._blind_since.pop(event.mailbox, None)
            series.set(families.MAILBOX_UP, 1)

    def _mailbox_down(self, event: MailboxDown) -> None:
        if series := self._mailboxes.get(event.mailbox):
            self._blind_since.setdefault(event.mailbox, event.at)
            series.set(families.MAILBOX_UP, 0)
            series.add(families.MAILBOX_RECONNECTS, event.failure.reason)

    def _count_blind(self, mailbox: str, now: float) -> None:
        since = self._blind_since.get(mailbox)
        if since is not None and now > since:
            self._mailboxes[mailbox].add(families.MAILBOX_BLIND, by=now - since)
            self._blind_since[mailbox] = now

    def _mailbox_scanned(self, event: MailboxScanned) -> None:
        if series := self._mailboxes.get(event.scan.mailbox):
            series.set(families.MAILBOX_SCAN, wall_of(self._clock, event.scan.finished))

    def _strangers(self, event: StrangersSeen) -> None:
        if series := self._mailboxes.get(event.mailbox):
            series.add(families.MAILBOX_STRANGERS, by=event.count)

    def _quota(self, event: QuotaSeen) -> None:
        if series := self._mailboxes.get(event.mailbox):
            series.set(families.MAILBOX_QUOTA, event.used_ratio)

    def _certificate(self, event: CertificateSeen) -> None:
        if (series := self._endpoints.get(event.endpoint)) and event.tls.not_after:
            series.set(families.CERTIFICATE, event.tls.not_after.timestamp())

    def _throttled(self, event: Throttled) -> None:
        if series := self._endpoints.get(event.endpoint):
            series.add(families.THROTTLED, event.reason)

    # vendors

    def _feeds_changed(self, event: FeedsChanged) -> None:
        self._keep(self._feeds, (name for name, _, _ in event.feeds), families.FEED_FAMILIES)
        for series in self._feeds.values():
            if not series.values.get(families.VENDOR_STATUS):
                series.set(families.VENDOR_STATUS, 1, VendorState.UNKNOWN)

    def _vendor_status(self, event: VendorStatusSeen) -> None:
        series = self._feeds.get(event.feed)
        if series is None:
            return
        for state in VendorState:
            series.set(families.VENDOR_STATUS, int(state is event.status.state), state)
        if event.status.state is not VendorState.UNREACHABLE:
            now = self._clock.wall()
            going_on = any(incident.is_open(now) for incident in event.status.incidents)
            series.set(families.VENDOR_INCIDENT, int(going_on))
            series.set(families.VENDOR_LOOKED, wall_of(self._clock, event.at))

    def _vendor_acknowledged(self, event: VendorAcknowledged) -> None:
        if series := self._feeds.get(event.acknowledgement.feed):
            series.set(families.VENDOR_LAG, event.lag_seconds)

    # the agent

    def _port25_changed(self, event: Port25Changed) -> None:
        self.agent.port25_blocked.set(int(event.blocked))
        self.notice = event.detail

    def _task_failed(self, task: str) -> None:
        if task in self._tasks or len(self._tasks) < _TASKS:
            self._tasks.add(task)
        else:
            task = "other"
        self.agent.errors.labels(task).inc()

    def _reloaded(self, event: ConfigReloaded) -> None:
        self.agent.reload_successful.set(0 if event.problems else 1)
        if not event.problems:
            self.agent.reload_time.set(wall_of(self._clock, event.at))

    def _routes_changed(self, event: RoutesChanged) -> None:
        for route in event.removed:
            self._plan.pop(route, None)
        self._plan.update({route: (sender, mailbox, kind) for route, sender, mailbox, kind in event.added})
        mailboxes = {*event.mailboxes, *(mailbox for _, mailbox, _ in self._plan.values())}
        senders = {sender for sender, _, _ in self._plan.values()}
        endpoints = [*(f"sender/{name}" for name in senders), *(f"mailbox/{name}" for name in mailboxes)]
        self._keep(self._routes, self._plan, families.ROUTE_FAMILIES)
        self._keep(self._mailboxes, mailboxes, families.MAILBOX_FAMILIES)
        self._keep(self._endpoints, endpoints, families.ENDPOINT_FAMILIES)
        for route, *rest in event.added:
            self._routes[route].clear(families.INFO)
            self._routes[route].set(families.INFO, 1, *rest)
        now = self._clock.now()
        self._in_flight = {name: held for name, held in self._in_flight.items() if name in self._routes}
        self._shown = {name: state for name, state in self._shown.items() if name in self._routes}
        # nobody has looked yet: blind from the moment it is in the configuration
        known = {name: now for name in self._mailboxes if not self._mailboxes[name].value(families.MAILBOX_UP)}
        self._blind_since = {name: self._blind_since.get(name, since) for name, since in known.items()}

    def _keep(self, series: dict[str, Series], names: Iterable[str], kinds: tuple[Family, ...]) -> None:
        wanted = dict.fromkeys(names)
        for name in [name for name in series if name not in wanted]:
            self._pages.forget(series.pop(name))
        for name in wanted:
            if name not in series:
                series[name] = self._pages.create(name, kinds)


def _show(series: Series, family: Family, value: float) -> None:
    """Sets a gauge if it has changed: what has not changed need not be rendered again."""
    if series.value(family) != value:
        series.set(family, value)


def _set_if_known(series: Series, family: Family, passed: bool | None, asks: bool) -> None:
    """An attempt that did not get so far leaves what is known; where nobody asks, nothing is."""
    if not asks:
        series.clear(family)
    elif passed is not None:
        series.set(family, int(passed))


def _count_refusal(series: Series, stage: Stage, reply: Reply) -> None:
    family = families.DEFERRALS if reply.is_deferral else families.REJECTIONS
    code, enhanced = str(reply.code), _enhanced_code(reply.enhanced)
    if not _has_room(series, code, enhanced):
        code = enhanced = "other"
    series.add(family, stage, code, enhanced)


def _has_room(series: Series, code: str, enhanced: str) -> bool:
    labels = (*series.values.get(families.DEFERRALS, {}), *series.values.get(families.REJECTIONS, {}))
    pairs = {(code, enhanced) for _, code, enhanced in labels}
    return (code, enhanced) in pairs or len(pairs) < families.CODE_PAIRS


def _enhanced_code(enhanced: EnhancedStatus | None) -> str:
    """The code as digits; the type has checked them, and three digits are what RFC 3463 2 allows."""
    if enhanced is None or max(enhanced.subject, enhanced.detail) > 999:
        return ""
    return str(enhanced)
