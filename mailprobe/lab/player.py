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
from collections.abc import Callable
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class _Turn:
    """A moment of one connection or message, each with its number; `message` is None before acceptance."""

    now: float
    moment: Moment
    context: Context
    attempt: int
    message: int | None


class OutageBehaviour:
    """A `lab.behaviour.Behaviour` that plays an outage on a clock whose 0 is the beginning of the impact.

    `through`: None plays the faults of SMTP on whichever side is asked; else on that side's servers alone.
    `usual_delay`: seconds, give or take half, that mail is in the queue when nothing is wrong with it.
    """

    def __init__(
        self,
        outage: Outage,
        clock: PacedClock,
        seed: int = 1,
        *,
        tagged: Tagged = all_tagged,
        through: Through | None = None,
        usual_delay: float = 0.0,
    ) -> None:
        self.outage = outage
        self.truth = Truth()
        self._clock = clock
        self._seed = seed
        self._tagged = tagged
        self._servers = _OF_SIDE[through] if through else None
        self._usual_delay = usual_delay
        self._carried: Counter[Moment] = Counter()
        self._attempts: dict[tuple[bool, int], int] = {}
        self._counts: Counter[bool] = Counter()
        self._struck: tuple[Phase | None, set[tuple[Effect, int]]] = (None, set())

    async def at(self, moment: Moment, context: Context) -> Answer | None:
        """What the phase that it is now does to this connection or mail; takes the time that it is to take."""
        now = self._clock.now()
        phase = self.outage.phase_at(now)
        turn = _Turn(now, moment, context, self._attempt(moment, context), self._message(moment))
        answer = None
        if phase is not None and not self._spared(moment, context):
            answer = await self._play(phase, turn)
        if answer is None and moment is Moment.QUEUE and self._usual_delay:
            share = 0.5 + self._uniform("usual", turn.message)
            await self._clock.sleep_until(self._clock.now() + share * self._usual_delay)
        return answer

    async def _play(self, phase: Phase, turn: _Turn) -> Answer | None:
        if turn.moment is Moment.MAILBOX:
            await self._hide(phase, turn)
        effect = self._drawn(phase, At(turn.moment.value), turn)
        # what is in the mailbox already is not shown late by being asked for late
        if effect is None or (effect.at is At.IMAP_FETCH and effect.do is Do.DELAY):
            return None
        self._record(phase, effect, turn)
        return await self._do(effect, phase, turn)

    # ---- who is affected

    def _spared(self, moment: Moment, context: Context) -> bool:
        """Whether the outage is on the other side."""
        smtp = moment is not Moment.DNS and moment not in _IMAP
        return smtp and self._servers is not None and context.server not in self._servers

    def _drawn(self, phase: Phase, at: At, turn: _Turn) -> Effect | None:
        """The one effect at this stage that strikes; its neighbours on the same draw are spared."""
        reached = 0.0
        for effect in phase.effects:
            if effect.at is not at:
                continue
            begin, reached = reached, reached + effect.fraction
            who = self._uniform(phase.begin, at, effect.per, self._whose(effect.per, turn))
            if begin <= who < reached and (effect.only is None or self._tagged(turn.context, effect.only)):
                return effect
        return None

    def _whose(self, per: Per, turn: _Turn) -> str:
        """Whom a share is of: who has the same name has the same fate until the phase ends."""
        context = turn.context
        match per:
            case Per.ATTEMPT if turn.moment is Moment.IMAP_FETCH:
                return f"{turn.attempt}/{int(turn.now // MINUTE)}"
            case Per.ATTEMPT | Per.MESSAGE:
                return str(turn.attempt) if turn.message is None else f"message {turn.message}"
            case Per.SOURCE:
                return context.peer
            case Per.SERVER:
                return f"{context.server} {int(self._uniform('host', turn.attempt) * SERVERS)}"
            case Per.RECIPIENT | Per.MAILBOX:
                return context.recipient or context.user or ""
            case Per.SENDER:
                return context.sender or context.user or ""

    def _uniform(self, *what: object) -> float:
        """A number from 0 to 1, the same each time for the same."""
        return random.Random("/".join(map(str, (self._seed, self.outage.id, *what)))).random()  # noqa: S311 - a play, not a secret

    def _attempt(self, moment: Moment, context: Context) -> int:
        """Which attempt this is; IMAP's are counted apart, so that they change nothing in the order of the others."""
        if moment is Moment.DNS:
            return context.connection
        key = (moment in _IMAP, context.connection)
        if key not in self._attempts:
            self._counts[key[0]] += 1
            self._attempts[key] = self._counts[key[0]]
        return self._attempts[key]

    def _message(self, moment: Moment) -> int | None:
        """Which message this is, in the order in which they come to this stage; None for a connection."""
        if moment not in _AFTER:
            return None
        self._carried[moment] += 1
        return self._carried[moment]

    # ---- what happens

    async def _do(self, effect: Effect, phase: Phase, turn: _Turn) -> Answer | None:
        match effect.do:
            case Do.REPLY if turn.moment is Moment.STARTTLS and turn.context.server == "submissions":
                return Drop()  # before TLS there is nobody to say it to
            case Do.REPLY:
                return Say(effect.lines)
            case Do.SERVFAIL:
                return Say(("SERVFAIL",))
            case Do.STALL if turn.moment is Moment.END_OF_DATA:
                return Stall(max(0.0, self._clock.real_seconds_until(_until(effect, phase, turn.now))))
            case Do.DELAY | Do.STALL:
                await self._clock.sleep_until(_until(effect, phase, turn.now))
                return None
            case Do.DROP:
                return Drop()
            case Do.REFUSE:
                return Drop(reset=True)
            case Do.CERT:
                return Show(Credential(effect.reply or ""))
            case Do.BOUNCE:
                await self._clock.sleep_until(turn.now + (effect.seconds or 0.0))
                return Bounce(effect.reply or "")
            case Do.LOSE:
                return Lose()
            case Do.JUNK:
                return Junk()

    async def _hide(self, phase: Phase, turn: _Turn) -> None:
        """A delay at `imap_fetch`: for an embedded server, to be shown later is to arrive later."""
        effect = self._drawn(phase, At.IMAP_FETCH, turn)
        if effect is not None and effect.do is Do.DELAY:
            self._record(phase, effect, turn)
            await self._clock.sleep_until(_until(effect, phase, turn.now))

    def _record(self, phase: Phase, effect: Effect, turn: _Turn) -> None:
        """Notes a strike: once for each connection, however often it asks."""
        if turn.message is None:
            if self._struck[0] is not phase:
                self._struck = (phase, set())
            if (effect, turn.context.connection) in self._struck[1]:
                return
            self._struck[1].add((effect, turn.context.connection))
        self.truth.add(Strike(turn.now, phase, effect, turn.context))


def _until(effect: Effect, phase: Phase, now: float) -> float:
    return phase.end if effect.seconds is None else now + effect.seconds
