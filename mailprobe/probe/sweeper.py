"""What is to be removed from a mailbox: exactly the messages that a token proved ours, and nothing else.

Collected here, removed in batches by the mailbox's own session: one command for many canaries.
"""

from __future__ import annotations

from collections.abc import Iterator

BATCH = 100
"""UIDs removed at once; keeps the command line short and the server's work small."""
PATIENCE = 1.0
"""Seconds a message may wait for company."""
BUSY_PATIENCE = 10.0
"""The same while a canary is on its way: a removal takes servers 5 to 30 ms, in which nobody looks."""

Place = tuple[str, int, int]
"""Folder, UIDVALIDITY, UID: the only name of a message that cannot come to mean another one (RFC 9051 2.3.1.1)."""


class Sweeper:
    """The messages of one mailbox that wait to be removed."""

    def __init__(self) -> None:
        self._waiting: dict[Place, None] = {}
        self._since = 0.0

    def add(self, place: Place, now: float) -> None:
        """This message is proven ours and recorded."""
        if not self._waiting:
            self._since = now
        self._waiting[place] = None

    def due(self, now: float, *, busy: bool = False) -> bool:
        """Whether it is worth a command now; `busy`: a canary is on its way."""
        patience = BUSY_PATIENCE if busy else PATIENCE
        return len(self._waiting) >= BATCH or (bool(self._waiting) and now - self._since >= patience)

    def batch(self) -> tuple[Place, ...]:
        """The messages to remove next; they stay listed until `removed`."""
        return tuple(self._waiting)[:BATCH]

    def removed(self, places: tuple[Place, ...], now: float) -> None:
        """These are gone, or can no longer be addressed."""
        for place in places:
            self._waiting.pop(place, None)
        self._since = now

    def __iter__(self) -> Iterator[Place]:
        return iter(tuple(self._waiting))

    def __len__(self) -> int:
        return len(self._waiting)
