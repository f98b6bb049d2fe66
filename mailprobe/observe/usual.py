"""What is usual on a route: how often it is probed, how long its mail takes, whether it is greylisted. Pure.

Learned from the route itself, so that no threshold has to be configured. What a long outage shows must not become
usual while it lasts: the figures are medians, and of slow messages only one in `_SLOW_LEARNED` is learned.
"""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Final

SLOW_SECONDS: Final = 5.0
"""Below this nobody minds, however fast the route usually is."""
SLOWER: Final = 3.0
ENOUGH: Final = 20
"""Delays that must be known before one can be unusual."""
_DELAYS: Final = 60
_AFRESH: Final = 10
_SLOW_LEARNED: Final = 10
_ROBUST_DEVIATION: Final = 1.4826
"""Of a normal distribution the standard deviation is this many times the median absolute deviation."""
_GAPS: Final = 5
_GREYLISTED: Final = 15
_GREYLISTED_OF: Final = 20
_FAILED_AGAIN: Final = 3


class UsualDelay:
    """How long mail takes on the route, from its last deliveries.

    The usual delay is the median plus three robust standard deviations: nearly all messages take less. Slow is
    what takes `SLOWER` times as long, and at least `SLOW_SECONDS`.
    """

    __slots__ = ("_delays", "_fresh", "_slow", "late_after")

    def __init__(self) -> None:
        self.late_after: float | None = None
        """Seconds after the flush of the dot from which on a message is slow; None while too little is known."""
        self._delays: deque[float] = deque(maxlen=_DELAYS)
        self._fresh = 0
        self._slow = 0

    def took(self, seconds: float) -> bool:
        """Learns a delay that was measured; whether it is a slow one."""
        slow = self.late_after is not None and seconds >= self.late_after
        if slow:
            self._slow += 1
            if self._slow % _SLOW_LEARNED:
                return True
        self._delays.append(seconds)
        self._fresh += 1
        if len(self._delays) >= ENOUGH and (self._fresh >= _AFRESH or self.late_after is None):
            self._reckon()
        return slow

    def _reckon(self) -> None:
        self._fresh = 0
        middle = median(self._delays)
        deviation = _ROBUST_DEVIATION * median(abs(each - middle) for each in self._delays)
        self.late_after = max(SLOW_SECONDS, SLOWER * (middle + 3.0 * deviation))


class UsualInterval:
    """Seconds between the canaries of the route: the median of the last gaps, 0 while there are none."""

    __slots__ = ("_gaps", "_last", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self._gaps: deque[float] = deque(maxlen=_GAPS)
        self._last: float | None = None

    def opened(self, at: float) -> None:
        """Learns that a canary was opened."""
        gap = 0.0 if self._last is None else at - self._last
        self._last = at
        if gap > 0.0:
            changed = gap != self.seconds
            self._gaps.append(gap)
            if changed:
                self.seconds = median(self._gaps)


class Greylisting:
    """Whether the route is greylisted throughout: nearly every canary is deferred once, and next to none twice.

    An outage does not care which attempt it is, and defers second ones as often as first ones. A canary now and
    then that is deferred once needs no recognition: one deferral is no alarm.
    """

    __slots__ = ("_passed",)

    def __init__(self) -> None:
        self._passed: deque[int] = deque(maxlen=_GREYLISTED_OF)

    def passed(self, attempts: int) -> None:
        """A canary was accepted at this attempt; of those that needed more than two the failure has been counted."""
        if attempts <= 2:
            self._passed.append(attempts)

    def failed_again(self) -> None:
        """A later attempt than the first failed too: not by greylisting."""
        self._passed.append(0)

    @property
    def is_usual(self) -> bool:
        """Whether a first deferral says nothing here."""
        return self._passed.count(2) >= _GREYLISTED and self._passed.count(0) <= _FAILED_AGAIN
