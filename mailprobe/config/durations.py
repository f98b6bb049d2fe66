"""Durations as people write them: `250ms 90s 5m 24h 7d`. No dependency, so that the command line may use it too."""

from __future__ import annotations

import re
from typing import Final

PATTERN: Final = r"^[0-9]{1,9}(ms|s|m|h|d)$"
"""The same in JSON Schema and here: one whole number, one unit."""

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PATTERN: Final = re.compile(PATTERN.replace("[0-9]{1,9}", "([0-9]{1,9})"))


def seconds_of(text: str) -> float:
    """Seconds of a duration such as `5m`. Raises ValueError, without the text, if it is none."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError("is not a duration; write a whole number and a unit, such as 250ms, 90s, 5m, 24h or 7d")
    number, unit = int(match[1]), match[2]
    return number / 1000 if unit == "ms" else number * _SECONDS[unit]


def duration_text(seconds: float) -> str:
    """A duration in the largest unit that makes it a whole number, to the millisecond; 300.0 is `5m`."""
    milliseconds = round(seconds * 1000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"
