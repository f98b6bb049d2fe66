"""A route's last hours in a small picture: a line for how long mail took, bars for the canaries that were affected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import log10
from typing import Final

from mailprobe.observe.trace import Part, Trace
from mailprobe.observe.wording import seconds_text
from mailprobe.web.html import Html

HEIGHT: Final = 12
_FEWEST: Final = 8
"""Slots that the picture has room for at least."""
_SHORTEST: Final = 0.1
_DECADES: Final = log10(3600 / _SHORTEST)
"""The line goes from a tenth of a second to an hour, by powers of ten."""


def sparkline(trace: Trace | None, now: float) -> Html:
    """The picture, with what it shows in words; empty where nothing was judged yet."""
    if trace is None:
        return Html()
    parts = trace.parts(now)
    return Html(
        f'<svg class="spark" viewBox="0 0 {max(_FEWEST, len(parts))} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{_words(parts)}"><path class="f" d="{_bars(parts)}"/><path d="{_line(parts)}"/></svg>'
    )


def _words(parts: Sequence[Part]) -> str:
    judged, affected = sum(part.judged for part in parts), sum(part.affected for part in parts)
    slowest = max((part.slowest for part in parts if part.slowest is not None), default=None)
    words = f"{affected} of {judged} affected"
    return words if slowest is None else f"{words}, slowest delivery {seconds_text(slowest)}"


def _bars(parts: Sequence[Part]) -> str:
    """A bar for each slot in which canaries were affected, as high as their share."""
    drawn = (
        f"M{number} {HEIGHT}v-{max(2, round(HEIGHT * part.affected / part.judged))}h1V{HEIGHT}"
        for number, part in enumerate(parts)
        if part.affected
    )
    return "".join(drawn)


def _line(parts: Sequence[Part]) -> str:
    return "".join(_strokes(parts))


def _strokes(parts: Sequence[Part]) -> Iterator[str]:
    """Steps: up or down to the level of a slot, and along it; a gap where nothing was delivered."""
    number, before = 0, -1
    for level, slots in groupby(map(_level, parts)):
        length = len(list(slots))
        if level >= 0:
            yield (f"V{level}" if before >= 0 else f"M{number} {level}") + f"h{length}"
        number, before = number + length, level


def _level(part: Part) -> int:
    """How far from the top, -1 for nowhere."""
    if part.slowest is None:
        return -1
    height = (HEIGHT - 2) * log10(max(part.slowest, _SHORTEST) / _SHORTEST) / _DECADES
    return max(1, round(HEIGHT - 1 - height))
