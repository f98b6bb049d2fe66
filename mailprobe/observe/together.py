"""Whether the same thing happens on several routes at once, which chance does not do. Pure: no I/O.

Routes that share a sender, or a mailbox, share servers. One canary of theirs that is affected may be anything; three
that are affected in the same way (stage, codes and reason) within three intervals, on two routes or more, are no
coincidence, provided that they are many for so many routes: with more routes there are more odd failures, and
more of them meet. Each of them is then *confirmed* (`Mark`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Final

from mailprobe.observe.evidence import Mark

ALIKE: Final = 3
"""Canaries affected alike that are no coincidence, of two routes at least."""
ALIKE_OF_ROUTES: Final = 4
"""And one at least for each so many routes that share the sender or the mailbox."""
WITHIN_INTERVALS: Final = 3
LARGEST: Final = 200
"""Routes that share something and are still compared: of more than that some always fail alike."""
_KEPT: Final = LARGEST // ALIKE_OF_ROUTES * 2

_Key = tuple[str, str]


class Together:
    """What was affected lately on routes that have a sender or a mailbox in common."""

    def __init__(self) -> None:
        self._shared: dict[str, tuple[_Key, ...]] = {}
        self._enough: dict[_Key, int] = {}
        self._lately: dict[_Key, deque[tuple[str, Mark]]] = {}

    def change(self, routes: Iterable[tuple[str, str, str]]) -> None:
        """The routes there are now, as (name, sender, mailbox)."""
        keys = {name: (("sender", sender), ("mailbox", mailbox)) for name, sender, mailbox in routes}
        sizes = Counter(key for both in keys.values() for key in both)
        self._enough = {
            key: max(ALIKE, -(-size // ALIKE_OF_ROUTES)) for key, size in sizes.items() if 2 <= size <= LARGEST
        }
        self._shared = {name: tuple(key for key in both if key in self._enough) for name, both in keys.items()}
        self._lately = {key: self._lately.get(key, deque(maxlen=_KEPT)) for key in self._enough}

    def affected(self, route: str, mark: Mark, interval: float) -> set[str]:
        """One more is affected, on a route probed every `interval` seconds; the routes whose marks that confirms."""
        confirmed: set[str] = set()
        for key in self._shared.get(route, ()):
            lately = self._lately[key]
            lately.append((route, mark))
            alike = [each for each in lately if _alike(each[1], mark, WITHIN_INTERVALS * interval)]
            names = {name for name, _ in alike}
            if len(alike) >= self._enough[key] and len(names) > 1:
                confirmed |= names
                for _, each in alike:
                    each.confirmed = True
        return confirmed


def _alike(one: Mark, other: Mark, within: float) -> bool:
    return bool(one.grade) and one.cause == other.cause and abs(one.opened - other.opened) <= within
