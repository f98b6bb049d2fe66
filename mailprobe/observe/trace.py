"""A route's last hours in 144 octets: how long mail took, and which part of it was affected. Pure.

`SLOTS` parts of time, equally long for all routes of an agent: short ones while it is young, so that there is
something to see, and twice as long each time that it outgrows them, up to `WIDEST`. From then on the oldest goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Final

SLOTS: Final = 48
NARROWEST: Final = 8.0
WIDEST: Final = 512.0
"""Seconds of a slot; 48 of them are nearly seven hours."""
_EACH: Final = 3
_MOST: Final = 255
_SHORTEST: Final = 0.01
_LONGEST: Final = 30_000.0
_STEP: Final = log(1.06)
"""A delay is kept as a power of 1.06, in hundredths of a second: to within 3 %, up to seven hours."""


@dataclass(frozen=True, slots=True)
class Part:
    """One slot. `slowest` delivery in seconds, None without any; of more than 255 canaries the proportion is kept."""

    slowest: float | None = None
    judged: int = 0
    affected: int = 0


class Trace:
    """One route. `begin` is the instant at which its agent's slots begin, the same for all routes."""

    __slots__ = ("_begin", "_cells", "_newest", "_width")

    def __init__(self, begin: float) -> None:
        self._begin = begin
        self._cells = bytearray(SLOTS * _EACH)
        self._newest = 0
        self._width = NARROWEST

    def add(self, opened: float, now: float, slowest: float | None, affected: int, judged: int = 1) -> None:
        """Takes in one canary that was judged, or several; it counts where it was opened, unless that is long ago."""
        self._go_on(max(now, opened))
        number = int((opened - self._begin) // self._width)
        if number < 0 or number <= self._newest - SLOTS:
            return
        at = number % SLOTS * _EACH
        code, known, bad = self._cells[at : at + _EACH]
        judged, affected = known + judged, bad + affected
        while judged > _MOST:
            judged, affected = judged // 2, -(-affected // 2)
        if slowest is not None:
            code = max(code, _code(slowest))
        self._cells[at : at + _EACH] = bytes((code, judged, min(affected, judged)))

    def width(self, now: float) -> float:
        """Seconds of a slot."""
        self._go_on(now)
        return self._width

    def since(self, now: float) -> float:
        """The instant at which what is shown begins."""
        self._go_on(now)
        return self._begin + max(0, self._newest - SLOTS + 1) * self._width

    def parts(self, now: float) -> tuple[Part, ...]:
        """The slots, from the oldest to the one that is now."""
        self._go_on(now)
        first = max(0, self._newest - SLOTS + 1)
        return tuple(self._part(number % SLOTS * _EACH) for number in range(first, self._newest + 1))

    def _part(self, at: int) -> Part:
        slowest, judged, affected = self._cells[at : at + _EACH]
        return Part(_SHORTEST * 1.06 ** (slowest - 1) if slowest else None, judged, affected)

    def _go_on(self, now: float) -> None:
        number = int((now - self._begin) // self._width)
        while number >= SLOTS and self._width < WIDEST:
            self._halve()
            number //= 2
        for each in range(max(self._newest + 1, number - SLOTS + 1), number + 1):
            at = each % SLOTS * _EACH
            self._cells[at : at + _EACH] = bytes(_EACH)
        self._newest = max(self._newest, number)

    def _halve(self) -> None:
        """Makes one slot of two; only called while none has been given up."""
        old, new = self._cells, bytearray(SLOTS * _EACH)
        for to, at in zip(range(0, len(new), _EACH), range(0, len(old), 2 * _EACH), strict=False):
            slowest, judged, affected, slowest2, judged2, affected2 = old[at : at + 2 * _EACH]
            judged, affected = judged + judged2, affected + affected2
            scale = 2 if judged > _MOST else 1
            new[to : to + _EACH] = bytes((max(slowest, slowest2), judged // scale, -(-affected // scale)))
        self._cells = new
        self._newest //= 2
        self._width *= 2


def _code(seconds: float) -> int:
    if seconds <= _SHORTEST:
        return 1
    return _MOST if seconds >= _LONGEST else min(_MOST, 1 + round(log(seconds / _SHORTEST) / _STEP))
