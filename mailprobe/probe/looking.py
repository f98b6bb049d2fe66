"""How often to look into a mailbox: pure rules, so that a delay is measured finely where it matters.

Measured on real servers: IDLE tells about new mail 0.5 s late on Dovecot, an active look 7 ms. So after a canary has
left, look actively, with a pause that grows with its age: the error of a measured delay stays a small share of it.
"""

from __future__ import annotations

SHORTEST_PAUSE = 0.005
LONGEST_PAUSE = 1.0
PAUSE_SHARE = 0.02
"""The pause grows to this share of the time waited: a delay of 10 s is known to about 0.2 s."""
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


def pause_after(waited: float) -> float:
    """Seconds until the next active look, when the youngest expected canary left `waited` seconds ago."""
    return min(max(waited * PAUSE_SHARE, SHORTEST_PAUSE), LONGEST_PAUSE)


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
