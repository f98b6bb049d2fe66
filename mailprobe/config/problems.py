"""What is wrong with a configuration, in the words of whoever runs mail; never a value that could be a secret."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mailprobe.errors import plain_text

KeyPath = tuple[str | int, ...]

SHOWN_LIMIT: Final = 63
"""Characters of a key that are shown: as long as a name may be."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong at `path`.

    `at`: where, if that is known better than by looking for `path`: line and column, a variable of the environment,
    or "" for the file as such.
    """

    path: KeyPath
    text: str
    at: tuple[int, int] | str | None = None


def shown(key: str | int) -> str:
    """A key made safe to print on one line."""
    return plain_text(str(key), SHOWN_LIMIT) or '""'


def dotted(path: KeyPath) -> str:
    """A path as people write it, `routes.inbound.retry.0`."""
    return ".".join(shown(step) for step in path)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` for the nearest known word, else all of them if they are few, else nothing."""
    names = sorted(known)
    near = difflib.get_close_matches(word.lower()[:SHOWN_LIMIT], names, n=1, cutoff=0.7)
    if near:
        return f"; did you mean {shown(near[0])}?"
    if 0 < len(names) <= 8:
        return f"; there is {', '.join(map(shown, names))}"
    return ""
