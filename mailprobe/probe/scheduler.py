"""Starts a canary in every slot of every route's grid; says how late it was, and which slots it missed.

One task per route sleeps until an absolute instant, so that nothing drifts. A slot that could not be started before
the next one was due is not made up for: it is judged `skipped`.
"""

from __future__ import annotations

from collections.abc import Callable

from mailprobe.clock import Clock
from mailprobe.errors import Reason
from mailprobe.events import Publish, SlotFired
from mailprobe.model import Canary
from mailprobe.plan import Route
from mailprobe.probe.grid import Grid, phase
from mailprobe.probe.judge import Judge

MOST_SKIPPED = 1000
"""Slots judged one by one after a suspension; a laptop asleep for a month is not a million verdicts."""


class Scheduler:
    """The slots of one route. `start` begins a canary's submission and returns at once."""

    def __init__(
        self,
        route: Route,
        agent: str,
        clock: Clock,
        judge: Judge,
        publish: Publish,
        *,
        new_canary: Callable[[Route, float], Canary],
        start: Callable[[Route, Canary, float], None],
    ) -> None:
        self.route = route
        self._clock = clock
        self._judge = judge
        self._publish = publish
        self._new_canary = new_canary
        self._start = start
        self._grid = Grid.beginning(clock.now(), clock.wall(), route.interval, phase(agent, route.name, route.interval))

    async def run(self) -> None:
        """Fires every slot for ever."""
        number = max(0, self._grid.number_at(self._clock.now()) + 1)
        while True:
            await self._clock.sleep_until(self._grid.slot(number))
            now = self._clock.now()
            current = max(number, self._grid.number_at(now))
            self._skip(range(max(number, current - MOST_SKIPPED), current))
            due = self._grid.slot(current)
            self._publish(SlotFired(self.route.name, now - due))
            self._start(self.route, self._new_canary(self.route, due), self._grid.slot(current + 1))
            number = current + 1

    def _skip(self, missed: range) -> None:
        for number in missed:
            self._judge.skip(self._new_canary(self.route, self._grid.slot(number)), Reason.AGENT_LATE)
