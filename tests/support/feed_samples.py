"""Feeds as vendors write them, from `tests/data/feeds`: one file each, its origin and what it comes to on top."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import yaml

from mailprobe.config.feeds import SERVICES
from mailprobe.plan import FeedKind
from support.samples import DATA

NAMES = sorted(path.stem for path in (DATA / "feeds").glob("*.txt"))
NOW = 1_800_000_000.0
"""The wall time at which a sample is read that does not say when it was: 2027."""


class FeedSample:
    """`facts`: its origin, its kind, and what it comes to; `content`: as it comes over the wire."""

    def __init__(self, name: str) -> None:
        facts, _, text = (DATA / "feeds" / f"{name}.txt").read_text(encoding="utf-8").partition("\n---\n")
        self.facts: dict[str, Any] = yaml.safe_load(facts)
        self.content = text.encode()
        self.kind = FeedKind(self.facts["kind"])
        self.now = wall(self.facts["now"]) if "now" in self.facts else NOW

    @property
    def services(self) -> frozenset[str]:
        """Those that matter where the configuration says nothing."""
        return frozenset(name.casefold() for name in SERVICES.get(self.kind, ()))


def wall(text: str) -> float:
    """The wall time of an RFC 3339 text."""
    return datetime.fromisoformat(text).timestamp()
