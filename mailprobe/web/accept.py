"""What a client wants: content negotiation (RFC 9110 12.5) as far as two formats and gzip need it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_LIMIT: Final = 1000
"""Characters of a header that are looked at; Prometheus sends 300."""


def prefers_openmetrics(accept: str) -> bool:
    """True if OpenMetrics is asked for by name and nothing in the text format is wanted more."""
    openmetrics = text = 0.0
    for value, quality in _weighted(accept):
        if value == "application/openmetrics-text":
            openmetrics = max(openmetrics, quality)
        elif value == "text/plain":
            text = max(text, quality)
    return openmetrics > 0 and openmetrics >= text


def accepts_gzip(accept_encoding: str) -> bool:
    """True unless gzip is not named or refused; `*` alone is not taken as a wish."""
    return any(value == "gzip" and quality > 0 for value, quality in _weighted(accept_encoding))


def _weighted(header: str) -> Iterator[tuple[str, float]]:
    for part in header[:_LIMIT].lower().split(","):
        value, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((piece[2:] for piece in parameters if piece.startswith("q=")), "1")
        yield value, _quality(quality)


def _quality(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0
