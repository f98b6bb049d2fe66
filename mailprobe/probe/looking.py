"""How often to look into a mailbox: pure rules, so that a delay is measured finely where it matters.

Measured on real servers: IDLE tells about new mail 0.5 s late on Dovecot, an active look 7 ms. So after a canary has
left, look actively, with a pause that grows with its age: the error of a measured delay stays a small share of it.
Before the time at which a route's canaries have come so far it is enough to look now and then.
"""

from __future__ import annotations

SHORTEST_PAUSE = 0.005
LONGEST_PAUSE = 1.0
PAUSE_SHARE = 0.02
"""The pause grows to this share of the time waited: a delay of 10 s is known to about 0.2 s."""
SURELY_EARLY = 0.75
"""Share of the shortest transit of late, before which a canary is not looked for finely."""
LONGEST_EARLY_PAUSE = 0.25
"""The most that a canary may be noticed late which comes earlier than any did of late."""
MOST_AWAITED = 32
"""Canaries that are looked for actively at once: where more are on their way, the looks for these are enough."""
LEAST_WINDOW = 30.0
WINDOW_OF_USUAL = 3.0
MOST_WINDOW = 900.0
"""A canary that comes a day late does not make the next day one of active looks."""
JUNK_PAUSE = 0.050
"""Junk is looked into this long after a departure, and no more often: what the inbox has by then needs no such look."""
REST = 0.5
"""Seconds after a departure in which no IDLE is begun: where canaries come often the next one would only end it."""
IDLE_WHILE_EXPECTING = 10.0
IDLE_AT_REST = 120.0
"""Restart IDLE well under the 29 min of RFC 2177: NAT and some providers drop it after 5."""
SCAN_EVERY = 60.0
STEADY_AFTER = 30.0
"""Seconds a session must have lasted for the next one to come soon: logging in again and again looks like an attack."""
PAUSE_TO_SWEEP = 1.0
"""Removal waits this long for company, and no IDLE longer than this keeps it waiting."""


def pause_after(waited: float, soonest: float = 0.0) -> float:
    """Seconds until the next active look for a canary that left `waited` seconds ago.

    `soonest`: seconds in which the canaries of its route have come of late.
    """
    fine = min(max(waited * PAUSE_SHARE, SHORTEST_PAUSE), LONGEST_PAUSE)
    return max(fine, min(soonest * SURELY_EARLY - waited, LONGEST_EARLY_PAUSE))


def active_window(usual_transit: float) -> float:
    """Seconds after a canary's departure for which active looks are worth their cost."""
    return min(max(LEAST_WINDOW, usual_transit * WINDOW_OF_USUAL), MOST_WINDOW)


def idle_seconds(expecting: bool) -> float:
    """How long one IDLE may last before the mailbox is looked at in any case."""
    return IDLE_WHILE_EXPECTING if expecting else IDLE_AT_REST


class UsualTransit:
    """How long this mailbox's canaries usually take: rises at once to a longer one, sinks slowly."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0

    def took(self, transit: float) -> None:
        """One more canary took `transit` seconds."""
        self.seconds = max(transit, self.seconds * 0.9 + transit * 0.1)


class Awaited:
    """The last canaries that left for one mailbox and were not seen yet, and how soon those of each route have come."""

    __slots__ = ("_departed", "_soonest")

    def __init__(self) -> None:
        self._departed: dict[str, tuple[float, str]] = {}
        self._soonest: dict[str, float] = {}

    def departed(self, canary: str, route: str, at: float) -> None:
        """A canary is on its way."""
        self._departed[canary] = at, route
        if len(self._departed) > MOST_AWAITED:
            del self._departed[next(iter(self._departed))]

    def seen(self, canary: str, at: float) -> None:
        """It is there. What is usual sinks at once to a shorter transit, and rises slowly."""
        departure, route = self._departed.pop(canary, (None, ""))
        if departure is not None:
            transit = max(0.0, at - departure)
            before = self._soonest.get(route, transit)
            self._soonest[route] = min(transit, before + (transit - before) * 0.1)

    def look_due(self, started: float, finished: float, window: float) -> float | None:
        """When to look for the first of them again, None if that is not worth it for any.

        The last look took from `started` to `finished`; nothing is looked for longer than `window` seconds.
        """
        due: float | None = None
        for canary, (departure, route) in tuple(self._departed.items()):
            since = departure if departure > started else finished
            if since - departure > window:
                del self._departed[canary]
                continue
            next_one = since + pause_after(since - departure, self._soonest.get(route, 0.0))
            due = next_one if due is None else min(due, next_one)
        return due
