"""Whether this machine's own network lets nobody out to port 25, as clouds and access networks do. Pure: no I/O.

One domain whose servers do not answer is that domain's trouble. Several that have nothing to do with each other, all
silent since the same moment, are ours: connections are not refused, they vanish. Any answer from any port 25, were it
a refusal, disproves it. Domains served by one operator (mail exchangers of one organisation) count as one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mailprobe.errors import Reason, Stage
from mailprobe.events import AttemptEnded, Event, Port25Changed, Publish
from mailprobe.model import Attempt

PORT: Final = 25
OPERATORS: Final = 2
"""Operators that must be silent at least."""
TIME_OUTS: Final = 3
"""Connections that must have vanished at least: two might be a coincidence."""
WINDOW: Final = 3600.0
"""Seconds for which a time-out is evidence."""
_REMEMBERED: Final = 1000


@dataclass(slots=True)
class _Silence:
    """An operator that has not answered since `begun`; times are instants."""

    begun: float
    last: float
    count: int = 1


class Port25:
    """A subscriber that publishes when the suspicion begins and when it is disproved."""

    def __init__(self, publish: Publish = lambda event: None) -> None:
        self.blocked = False
        self.detail = ""
        self._publish = publish
        self._silent: dict[str, _Silence] = {}

    def __call__(self, event: Event) -> None:
        """Takes an event in; only ends of attempts at port 25 matter."""
        if isinstance(event, AttemptEnded) and event.attempt.peer and event.attempt.peer.port == PORT:
            self._attempted(event.attempt, operator_of(event.attempt.peer.host))

    def _attempted(self, attempt: Attempt, operator: str) -> None:
        now = attempt.ended
        if answered(attempt):
            # all silence so far had another cause, and what comes is counted anew
            self._silent.clear()
        elif attempt.stage is Stage.CONNECT and attempt.reason is Reason.TIMEOUT:
            silence = self._silent.get(operator)
            if silence is None:
                self._silent[operator] = _Silence(now, now)
            else:
                silence.last, silence.count = now, silence.count + 1
        self._forget(now)
        self._conclude(now)

    def _forget(self, now: float) -> None:
        for operator in [name for name, silence in self._silent.items() if silence.last < now - WINDOW]:
            del self._silent[operator]
        while len(self._silent) > _REMEMBERED:
            del self._silent[next(iter(self._silent))]

    def _conclude(self, now: float) -> None:
        count = sum(silence.count for silence in self._silent.values())
        blocked = len(self._silent) >= OPERATORS and count >= TIME_OUTS
        if blocked == self.blocked:
            return
        self.blocked = blocked
        shown = ", ".join(sorted(self._silent)[:5])
        self.detail = (
            f"no connection to port 25 is answered, of {len(self._silent)} operators ({shown}): "
            "this machine's own network seems to block it, as clouds and access networks do"
            if blocked
            else ""
        )
        self._publish(Port25Changed(blocked, now, self.detail))


def answered(attempt: Attempt) -> bool:
    """Whether anything came back: a connection, or a refusal of one."""
    return attempt.stage is not Stage.CONNECT or attempt.reason is Reason.CONNECTION_REFUSED


def operator_of(host: str) -> str:
    """Who runs a mail exchanger, as good as its name tells: its last two labels.

    Too wide for `co.uk`, which only makes it harder to suspect ourselves.
    """
    labels = host.lower().rstrip(".").split(".")
    return ".".join(labels[-2:]) if not labels[-1].isdigit() else host
