"""Plays an outage: the behaviour of a lab whose servers fail as the file says, and the truth about what they did.

Who is affected is drawn from the seed, the phase and whom the share is of, not from the order in which the servers
ask: the same seed gives the same run, however the connections of a run overlap.

Where the format leaves it open:

- An IMAP connection may live through a whole phase. For `attempt` at `imap_fetch` it counts as a new one each minute.
- The lab has one address for each service, which stands for a farm of `SERVERS` hosts behind it: each connection is
  answered by one of them.
- At `imap_fetch` a `delay` is drawn for each message: it is in the mailbox and is shown that much later.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from mailprobe.lab.behaviour import (
    Answer,
    Bounce,
    Context,
    Credential,
    Drop,
    Junk,
    Lose,
    Moment,
    Say,
    Show,
    Stall,
)
from mailprobe.lab.outage import MINUTE, At, Do, Effect, Outage, Per, Phase, Through
from mailprobe.lab.pace import PacedClock

SERVERS: Final = 8
"""Hosts of a farm: as many as make a share of them worth speaking of."""
STRIKES_KEPT: Final = 20_000
_IMAP: Final = frozenset({Moment.IMAP_CONNECT, Moment.IMAP_LOGIN, Moment.IMAP_FETCH})
_AFTER: Final = frozenset({Moment.QUEUE, Moment.MAILBOX})
_OF_SIDE: Final = {Through.MX: frozenset({"mx"}), Through.SUBMISSION: frozenset({"submission", "submissions"})}

Tagged = Callable[[Context, str], bool]
"""Whether the traffic of a context carries a tag, as far as is known by then."""


def all_tagged(context: Context, tag: str) -> bool:
    """Who plays without tags takes all traffic for tagged."""
    return True


@dataclass(frozen=True, slots=True)
class Strike:
    """An effect that struck: when, in seconds of the outage, and whom."""

    at: float
    phase: Phase
    effect: Effect
    context: Context


@dataclass(slots=True)
class Truth:
    """What really happened. Of the strikes the first `STRIKES_KEPT` are kept, all are counted."""

    strikes: list[Strike] = field(default_factory=list)
    counts: Counter[Effect] = field(default_factory=Counter)
    first: dict[Phase, Strike] = field(default_factory=dict)

    def add(self, strike: Strike) -> None:
        """One more has happened."""
        self.counts[strike.effect] += 1
        self.first.setdefault(strike.phase, strike)
        if len(self.strikes) < STRIKES_KEPT:
            self.strikes.append(strike)

    @property
    def first_strike(self) -> float | None:
        """When anybody was first affected, in seconds of the outage."""
        return min((strike.at for strike in self.first.values()), default=None)


class OutageBehaviour:
    """A `lab.behaviour.Behaviour` that plays an outage on a clock whose 0 is the beginning of the impact.

    `through`: None plays the faults of SMTP on whichever side is asked; else on that side's servers alone.
    """

    def __init__(
        self,
        outage: Outage,
        clock: PacedClock,
        seed: int = 1,
        *,
        tagged: Tagged = all_tagged,
        through: Through | None = None,
    ) -> None:
        self.outage = outage
        self.truth = Truth()
        self._clock = clock
        self._seed = seed
        self._tagged = tagged
        self._servers = _OF_SIDE[through] if through else None
        self._carried: Counter[Moment] = Counter()
        self._ordinals: dict[tuple[bool, int], int] = {}
        self._seen: Counter[bool] = Counter()
        self._counted: tuple[Phase | None, set[tuple[Effect, int]]] = (None, set())

    async def at(self, moment: Moment, context: Context) -> Answer | None:
        """What the phase that it is now does to this connection or mail; takes the time that it is to take."""
        now = self._clock.now()
        phase = self.outage.phase_at(now)
        if phase is None or self._spared(moment, context):
            self._ordinal(moment, context)
            return None
        message = self._next_message(moment)
        if moment is Moment.MAILBOX:
            await self._hidden(phase, context, now, message)
        effect = self._drawn(phase, At(moment.value), moment, context, now, message)
        # what is in the mailbox already is not shown late by being asked for late
        if effect is None or (effect.at is At.IMAP_FETCH and effect.do is Do.DELAY):
            return None
        self._record(now, phase, effect, context, moment)
        return await self._do(effect, phase, moment, context, now)

    # ---- who is affected

    def _spared(self, moment: Moment, context: Context) -> bool:
        """Whether the outage is on the other side."""
        smtp = moment is not Moment.DNS and moment not in _IMAP
        return smtp and self._servers is not None and context.server not in self._servers

    def _drawn(self, phase: Phase, at: At, moment: Moment, context: Context, now: float, message: int) -> Effect | None:
        """The one effect at this stage that strikes; its neighbours on the same draw are spared."""
        reached = 0.0
        for effect in phase.effects:
            if effect.at is not at:
                continue
            begin, reached = reached, reached + effect.fraction
            if not begin <= self._draw(phase, effect, moment, context, now, message) < reached:
                continue
            if effect.only is None or self._tagged(context, effect.only):
                return effect
        return None

    def _draw(self, phase: Phase, effect: Effect, moment: Moment, context: Context, now: float, message: int) -> float:
        """A number from 0 to 1 for whom the share is of: the same each time it is asked for."""
        match effect.per:
            case Per.ATTEMPT:
                whose = str(self._ordinal(moment, context))
                if effect.at is At.IMAP_FETCH and message < 0:
                    whose += f"/{int(now // MINUTE)}"
                elif moment in _AFTER:
                    whose = f"m{message}"
            case Per.MESSAGE:
                whose = f"m{message}" if message >= 0 else str(self._ordinal(moment, context))
            case Per.SOURCE:
                whose = context.peer
            case Per.SERVER:
                host = self._uniform("host", self._ordinal(moment, context)) * SERVERS
                whose = f"{context.server}{int(host)}"
            case Per.RECIPIENT:
                whose = context.recipient or context.user or ""
            case Per.MAILBOX:
                whose = context.recipient or context.user or ""
            case Per.SENDER:
                whose = context.sender or context.user or ""
        return self._uniform(self.outage.phases.index(phase), effect.at, effect.per, whose)

    def _uniform(self, *what: object) -> float:
        return random.Random("/".join(map(str, (self._seed, *what)))).random()  # noqa: S311 - a play, not a secret

    def _ordinal(self, moment: Moment, context: Context) -> int:
        """Which attempt this is, counted apart for IMAP, SMTP and DNS: overlaps of these change nothing."""
        kind = moment in _IMAP
        if moment is Moment.DNS:
            return context.connection
        key = (kind, context.connection)
        if key not in self._ordinals:
            self._seen[kind] += 1
            self._ordinals[key] = self._seen[kind]
        return self._ordinals[key]

    def _next_message(self, moment: Moment) -> int:
        """Which message this is, in the order in which they come to this stage; negative for a connection."""
        if moment not in _AFTER:
            return -1
        self._carried[moment] += 1
        return self._carried[moment]

    # ---- what happens

    async def _do(self, effect: Effect, phase: Phase, moment: Moment, context: Context, now: float) -> Answer | None:
        match effect.do:
            case Do.REPLY if moment is Moment.STARTTLS and context.server == "submissions":
                return Drop()  # before TLS there is nobody to say it to
            case Do.REPLY:
                return Say(effect.lines)
            case Do.SERVFAIL:
                return Say(("SERVFAIL",))
            case Do.STALL if moment is Moment.END_OF_DATA:
                return Stall(max(0.0, self._clock.real_seconds_until(_until(effect, phase, now))))
            case Do.DELAY | Do.STALL:
                await self._clock.sleep_until(_until(effect, phase, now))
                return None
            case Do.DROP:
                return Drop()
            case Do.REFUSE:
                return Drop(reset=True)
            case Do.CERT:
                return Show(Credential(effect.reply or ""))
            case Do.BOUNCE:
                await self._clock.sleep_until(now + (effect.seconds or 0.0))
                return Bounce(effect.reply or "")
            case Do.LOSE:
                return Lose()
            case Do.JUNK:
                return Junk()

    async def _hidden(self, phase: Phase, context: Context, now: float, message: int) -> None:
        """A delay at `imap_fetch`: for an embedded server, to be shown later is to arrive later."""
        effect = self._drawn(phase, At.IMAP_FETCH, Moment.MAILBOX, context, now, message)
        if effect is not None and effect.do is Do.DELAY:
            self._record(now, phase, effect, context, Moment.MAILBOX)
            await self._clock.sleep_until(_until(effect, phase, now))

    def _record(self, now: float, phase: Phase, effect: Effect, context: Context, moment: Moment) -> None:
        """Notes a strike, once for a connection however often it is asked about."""
        if moment not in _AFTER:
            if self._counted[0] is not phase:
                self._counted = (phase, set())
            if (effect, context.connection) in self._counted[1]:
                return
            self._counted[1].add((effect, context.connection))
        self.truth.add(Strike(now, phase, effect, context))


def _until(effect: Effect, phase: Phase, now: float) -> float:
    return phase.end if effect.seconds is None else now + effect.seconds


def windows(outage: Outage) -> Iterator[tuple[float, float]]:
    """The stretches of impact, as (begin, end): phases that follow on each other and are not `recovered`."""
    for ill, phases in groupby(outage.phases, key=lambda phase: phase.label != "recovered"):
        if ill:
            stretch = list(phases)
            yield stretch[0].begin, stretch[-1].end
