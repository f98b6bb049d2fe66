"""How long to wait before trying again what failed: doubling, capped, with jitter, reset by success."""

from __future__ import annotations

import random


class Backoff:
    """Pauses of `first`, 2 * `first`, ... up to `longest` seconds, each shortened at random by up to half.

    Jitter keeps many mailboxes of one provider from coming back in the same instant.
    """

    __slots__ = ("_next", "_random", "first", "longest")

    def __init__(self, first: float = 1.0, longest: float = 60.0, seed: int | None = None) -> None:
        self.first = first
        self.longest = longest
        self._next = first
        self._random = random.Random(seed)  # noqa: S311 - spreads load, guards nothing

    def pause(self) -> float:
        """Seconds to wait now; the next answer is about twice as long."""
        pause, self._next = self._next, min(self._next * 2, self.longest)
        return pause * self._random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """It worked: begin with short pauses again."""
        self._next = self.first
