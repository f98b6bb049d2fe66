"""What feeds say: bytes to facts, each kind in a module of its own. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from mailprobe.feeds.parse import google, graph, rss, statuspage
from mailprobe.feeds.parse.bounded import FeedError
from mailprobe.plan import FeedKind
from mailprobe.vendor import VendorReport

__all__ = ("PARSERS", "FeedError")

PARSERS: Final[Mapping[FeedKind, Callable[[bytes, frozenset[str]], VendorReport]]] = {
    FeedKind.MICROSOFT_GRAPH: graph.parse,
    FeedKind.GOOGLE_WORKSPACE: google.parse,
    FeedKind.STATUSPAGE: statuspage.parse,
    FeedKind.RSS: rss.parse,
}
"""Each is given a document and the services of interest, casefolded, and raises FeedError."""
