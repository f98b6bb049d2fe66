"""What was said on a connection, line by line, bounded, and without credentials."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from mailprobe.errors import Reply, plain_text
from mailprobe.model import TranscriptLine

LINES_KEPT: Final = 120
"""Lines of one transcript: the first third, where things begin, and a ring of the last, where they end."""
_HEAD: Final = LINES_KEPT // 3


class Transcript:
    """Collects the lines of one attempt; `elapsed` tells the seconds since it began."""

    def __init__(self, elapsed: Callable[[], float]) -> None:
        self._elapsed = elapsed
        self._first: list[TranscriptLine] = []
        self._last: deque[TranscriptLine] = deque(maxlen=LINES_KEPT - _HEAD)
        self._count = 0

    def sent(self, text: str) -> None:
        """We said this; whoever says a credential gives `***` instead."""
        self._add([TranscriptLine(self._elapsed(), ">", plain_text(text))])

    def heard(self, reply: Reply) -> None:
        """The server said this; whoever heard it has scrubbed it."""
        now, code = self._elapsed(), reply.code
        said = [TranscriptLine(now, "<", f"{code}-{line}") for line in reply.lines[:-1]]
        said.append(TranscriptLine(now, "<", f"{code} {reply.lines[-1]}"))
        self._add(said)

    def note(self, text: str) -> None:
        """Something that was not said, but happened."""
        self._add([TranscriptLine(self._elapsed(), "*", plain_text(text))])

    def lines(self) -> tuple[TranscriptLine, ...]:
        """What is kept, in order, with a note where lines were left out."""
        missing = self._count - len(self._first) - len(self._last)
        if not missing:
            return (*self._first, *self._last)
        gap = TranscriptLine(self._last[0].seconds, "*", f"{missing} lines left out")
        return (*self._first, gap, *self._last)

    def _add(self, lines: list[TranscriptLine]) -> None:
        room = _HEAD - len(self._first)
        self._count += len(lines)
        self._first += lines[:room]
        self._last += lines[room:]
