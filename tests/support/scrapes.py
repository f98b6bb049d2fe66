"""The outages of the catalogue as an agent's metrics over time, on a virtual clock: a day of them in a second.

A `Recording` is what a Prometheus would have scraped. Each canary's fate is drawn from the outage's phases; what an
agent would have published of it goes into the agent's own states and metrics, whose page is read at each scrape.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from random import Random

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.events import ConfigReloaded, Event
from mailprobe.lab.outage import At, Do, Effect, Outage, Phase, Through
from mailprobe.model import AttemptOutcome
from mailprobe.observe.metrics import Metrics
from support.agents import samples_of
from support.clocks import VirtualClock
from support.simulations import RETRY, Fate, Logins, Refused, Simulation, Taken, World, usual

LEAD_IN = 900.0
"""Seconds of everyday life before the impact."""
Series = str
"""A sample's name and labels, as they stand in the exposition."""


@dataclass(slots=True)
class Recording:
    """Scrapes every `step` seconds, from `begin` on: each series' value at each, None where it was not there."""

    begin: float
    step: float
    series: dict[Series, list[float | None]] = field(default_factory=dict)
    length: int = 0

    def add(self, page: str) -> None:
        """One more scrape."""
        for series, value in samples_of(page):
            if series.startswith("mailprobe_"):
                values = self.series.setdefault(series, [])
                values.extend([None] * (self.length - len(values)))
                values.append(value)
        self.length += 1

    def merge(self, other: Recording) -> None:
        """Another agent's routes beside these; what both have stays as it is."""
        self.series = other.series | self.series

    def page(self, number: int) -> str:
        """One scrape as an exposition."""
        lines = (
            f"{name} {values[number]!r}\n"
            for name, values in self.series.items()
            if number < len(values) and values[number] is not None
        )
        return "".join(lines)

    def input_series(self, labels: str, metrics: Collection[str]) -> Iterator[dict[str, str]]:
        """As promtool wants them, with the target's `labels`, of these metrics; failures that never happen left out."""
        for name, values in self.series.items():
            never = name.startswith("mailprobe_failures_total") and not any(values)
            if name.partition("{")[0] in metrics and not never:
                yield {"series": with_labels(name, labels), "values": notation(values)}


def with_labels(series: Series, labels: str) -> Series:
    """The series with more labels, as a scrape adds those of its target."""
    name, brace, rest = series.partition("{")
    return f"{name}{{{labels},{rest}" if brace else f"{name}{{{labels}}}"


def notation(values: Sequence[float | None]) -> str:
    """Promtool's shorthand: runs of the same value as one word."""
    words = []
    for value, run in groupby(values):
        count = sum(1 for _ in run)
        if value is None:
            words.append(f"_x{count}")
        else:
            words.append(f"{value!r}+0x{count - 1}" if count > 1 else f"{value!r}")
    return " ".join(words)


class _Scraped(Simulation):
    """A simulation with the agent's metrics beside its states."""

    def __init__(self, *args: object, **settings: object) -> None:
        super().__init__(*args, warm_up=LEAD_IN, **settings)  # type: ignore[arg-type]
        self.clock = VirtualClock(-LEAD_IN, 0.0)
        self.metrics = Metrics(self.clock, "0", self.states)
        self.metrics(ConfigReloaded(-LEAD_IN))

    def record(self, until: float, step: float) -> Recording:
        """Plays to an instant, scraped every `step` seconds."""
        recording = Recording(-LEAD_IN, step)

        def scrape(at: float) -> None:
            self.clock.jump(at - self.clock.now())
            recording.add(self.metrics.render().decode())

        for number in range(int((until + LEAD_IN) // step)):
            self._at(number * step - LEAD_IN + 0.25, scrape)
        self.run(until)
        return recording

    def _publish(self, *events: Event) -> None:
        for event in events:
            super()._publish(event)
            self.metrics(event)

    def _tick(self, at: float) -> None:
        self.clock.jump(at - self.clock.now())
        told = self.states.tick(at)
        self.told.take(told)
        for event in told:
            self.metrics(event)


@dataclass(frozen=True, slots=True)
class Played:
    """A route and what happens to it: an outage, or everyday life (None)."""

    route: str
    mailbox: str
    outage: Outage | None


def record(routes: Sequence[Played], until: float, *, step: float = 15.0, seed: int = 1) -> Recording:
    """Scrapes of one agent with these routes, from `LEAD_IN` seconds before the impact to an instant."""
    first, *others = [_played(route, 100 * seed + number).record(until, step) for number, route in enumerate(routes)]
    for other in others:
        first.merge(other)
    return first


def _played(played: Played, seed: int) -> _Scraped:
    outage = played.outage
    return _Scraped(
        world_of(outage) if outage else everyday,
        seed=seed,
        retry=RETRY if outage is None or outage.through is Through.MX else (),
        logins=logins_of(outage) if outage else lambda at, random: None,
        route=played.route,
        mailbox=played.mailbox,
    )


def everyday(at: float, random: Random) -> Fate:
    """One attempt in 200 is deferred, which is no outage."""
    if random.random() < 0.005:
        return Refused(Stage.RCPT, Reason.DEFERRED, "451 4.3.0 try again later")
    return Taken(usual(random))


def world_of(outage: Outage) -> World:
    """What the outage's phases do to an attempt. Who is struck is drawn for each attempt, whatever the share is of."""

    def world(at: float, random: Random) -> Fate:
        phase = outage.phase_at(at)
        effects = _drawn(phase, random) if phase else []
        for effect in effects:
            if fate := _fate(effect, random):
                return fate
        return Taken(usual(random))

    return world


def logins_of(outage: Outage) -> Logins:
    """Connections to the mailbox that are cut, and cannot be had again at once."""
    cut = False

    def logins(at: float, random: Random) -> ProbeFailure | None:
        nonlocal cut
        phase = outage.phase_at(at)
        imap = {effect.at: effect for effect in _drawn(phase, random)} if phase else {}
        cut = (cut or At.IMAP_FETCH in imap) and At.IMAP_LOGIN in imap
        if not cut:
            return None
        stalls = imap[At.IMAP_LOGIN].do is Do.STALL
        return ProbeFailure(Stage.AUTH, Reason.TIMEOUT if stalls else Reason.AUTH_REJECTED)

    return logins


def _drawn(phase: Phase, random: Random) -> list[Effect]:
    """The effects that strike: of those at one stage at most one."""
    found = []
    for _, effects in groupby(phase.effects, key=lambda effect: effect.at):
        draw = random.random()
        for effect in effects:
            draw -= effect.fraction
            if draw < 0.0:
                found.append(effect)
                break
    return found


def _fate(effect: Effect, random: Random) -> Fate | None:
    match effect.at, effect.do:
        case At.DNS, Do.SERVFAIL:
            return Refused(Stage.RESOLVE, Reason.DNS_SERVFAIL, "", AttemptOutcome.UNSENT)
        case At.STARTTLS, Do.CERT:
            return Refused(Stage.STARTTLS, Reason.CERTIFICATE_EXPIRED, "", AttemptOutcome.UNSENT)
        case At.QUEUE, Do.DELAY:
            return Taken(usual(random) + (effect.seconds or 0.0))
        case At.RCPT, Do.REPLY if effect.lines[-1].startswith("4"):
            return Refused(Stage.RCPT, Reason.DEFERRED, effect.lines[-1])
        case At.RCPT, Do.REPLY:
            return Refused(Stage.RCPT, Reason.REJECTED, effect.lines[-1], AttemptOutcome.REJECTED)
        case ((At.IMAP_LOGIN | At.IMAP_FETCH), _):
            return None
    raise NotImplementedError(f"{effect} is in no outage of the catalogue")
