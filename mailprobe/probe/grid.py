"""When a route's slots are: a fixed grid, start + k * interval + phase, with the phase from the route's name.

The grid stands on wall time once, when it is made, so that a restarted agent goes on in the same rhythm; from then
on only the monotonic clock counts, so that it neither drifts nor jumps. The phase spreads routes over the interval.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


def phase(agent: str, route: str, interval: float) -> float:
    """Seconds into the interval at which the route's slots lie, 0 <= phase < interval; stable for the names."""
    digest = hashlib.sha256(f"{agent}\0{route}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 * interval


@dataclass(frozen=True, slots=True)
class Grid:
    """The slots of one route: instants `first + k * interval` for k = 0, 1, ..."""

    first: float
    interval: float

    @classmethod
    def beginning(cls, now: float, wall: float, interval: float, phase: float) -> Grid:
        """The grid whose first slot is the next one due; `now` and `wall` are the same moment."""
        return cls(now + (phase - wall) % interval, interval)

    def slot(self, number: int) -> float:
        """The instant of a slot, computed from the beginning each time: rounding errors do not add up."""
        return self.first + number * self.interval

    def number_at(self, now: float) -> int:
        """The number of the last slot that has begun; negative before the first."""
        return int((now - self.first) // self.interval)
