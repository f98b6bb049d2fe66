"""When the server first told us of each message: sequence numbers, EXISTS and EXPUNGE. Pure.

A message's sequence number moves whenever one before it is expunged (RFC 3501 7.4.1), so what is remembered about
numbers moves along.
"""

from __future__ import annotations

from collections import deque
from typing import Final

_REMEMBERED: Final = 256


class Arrivals:
    """The selected folder's messages by sequence number, since it was selected."""

    def __init__(self, exists: int = 0) -> None:
        self.exists = exists
        self._covered = exists
        self._untold = exists
        """Messages up to this number were there before, or were announced too long ago to be remembered."""
        self._told: deque[tuple[int, float]] = deque()
        """(last sequence number, instant) of each EXISTS that announced something, in order."""

    @property
    def news(self) -> int:
        """How many messages were announced since the last fetch of all that is new was asked for."""
        return max(0, self.exists - self._covered)

    def cover(self) -> None:
        """Whatever is announced by now is asked for from now on."""
        self._covered = self.exists

    def heard_exists(self, count: int, at: float) -> None:
        """EXISTS. Source: RFC 3501 7.3.1. A smaller count than before is a server's mistake, and believed."""
        if count > self.exists:
            self._told.append((count, at))
        if len(self._told) > _REMEMBERED:
            self._untold = self._told.popleft()[0]
        self.exists = count
        self._covered = min(self._covered, count)

    def heard_expunge(self, number: int) -> None:
        """EXPUNGE. Source: RFC 3501 7.4.1. One of a message that is not there is a server's mistake, and ignored."""
        if not 1 <= number <= self.exists:
            return
        self.exists -= 1
        self._covered -= number <= self._covered
        self._untold -= number <= self._untold
        for index, (last, at) in enumerate(self._told):
            if number <= last:
                self._told[index] = (last - 1, at)

    def noticed(self, number: int, at: float) -> float:
        """The instant at which this sequence number was announced; `at` if it never was."""
        if number <= self._untold:
            return at
        return next((told for last, told in self._told if number <= last), at)
