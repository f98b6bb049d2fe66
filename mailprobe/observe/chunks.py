"""Series kept as ready-made exposition text: a scrape joins bytes instead of formatting floats.

Theory. Each family of metrics has one chunk of text per owner (a route, a mailbox, an endpoint). A number that
changes marks its owner's family as stale; stale chunks are rendered again when somebody asks, a bounded number of
owners at a time, all of one owner's at one instant. `pieces` then takes what there is in one go: within a page the
numbers of one owner agree with each other, and no page of 100,000 series is ever formatted on the event loop.

Values are sparse: what is not there is 0. So are chunks: of a family of which all is 0, which is most of a healthy
route, no text is kept. Label values come from configuration and closed enums; the caller sees to that.
Source of the formats: Prometheus text format 0.0.4, OpenMetrics 1.0.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import accumulate
from typing import Final

Labels = tuple[str, ...]

_OWNER: Final = "\x00"
"""Where the owner's name goes in a template; cannot occur in a name of the configuration."""


class Kind(StrEnum):
    """What a family is, as in its TYPE line."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """A metric: its name as a sample has it, its labels (the first is the owner), and what exists from the start.

    `zeros`: values of the labels after the first, of the series that are there at 0; for a summary each is followed
    by the suffix (`_count`, `_sum`). `buckets`: upper bounds of a histogram without infinity.
    """

    name: str
    kind: Kind
    labels: Labels
    help: str
    zeros: tuple[Labels, ...] = ((),)
    buckets: tuple[float, ...] = ()

    def header(self, openmetrics: bool) -> bytes:
        """HELP and TYPE; OpenMetrics names a counter's family without `_total`."""
        name = self.name.removesuffix("_total") if openmetrics and self.kind is Kind.COUNTER else self.name
        return f"# HELP {name} {self.help}\n# TYPE {name} {self.kind}\n".encode()


class Distribution:
    """The counts of one histogram, per bucket, and the last exemplar of each bucket as rendered text."""

    __slots__ = ("counts", "exemplars", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * (buckets + 1)
        self.total = 0.0
        self.exemplars: dict[int, str] = {}


class Series:
    """The numbers of one owner. Every change marks its family as stale."""

    __slots__ = ("_pages", "_text", "distributions", "owner", "stale", "values")

    def __init__(self, owner: str, pages: Pages) -> None:
        self.owner = owner
        self.values: dict[Family, dict[Labels, float]] = {}
        self.distributions: dict[Family, Distribution] = {}
        self.stale: set[Family] = set()
        self._text = escaped(owner)
        self._pages = pages

    def value(self, family: Family, *labels: str) -> float:
        """The value now; 0 if nothing ever happened."""
        return self.values.get(family, {}).get(labels, 0)

    def add(self, family: Family, *labels: str, by: float = 1) -> None:
        """Counts."""
        values = self.values.get(family)
        if values is None:
            values = self.values[family] = {}
        values[labels] = values.get(labels, 0) + by
        if family not in self.stale:
            self._mark(family)

    def summarise(self, family: Family, value: float, *labels: str) -> None:
        """One observation of a summary."""
        self.add(family, *labels, "_count")
        values, total = self.values[family], (*labels, "_sum")
        values[total] = values.get(total, 0) + value

    def set(self, family: Family, value: float, *labels: str) -> None:
        """Puts a gauge at a value."""
        values = self.values.get(family)
        if values is None:
            values = self.values[family] = {}
        values[labels] = value
        if family not in self.stale:
            self._mark(family)

    def clear(self, family: Family) -> None:
        """Back to what exists from the start."""
        if self.values.pop(family, None):
            self._mark(family)

    def observe(self, family: Family, value: float, exemplar: str = "") -> None:
        """One observation of a histogram; the exemplar is rendered text without ` # `."""
        distribution = self.distributions.get(family)
        if distribution is None:
            distribution = self.distributions[family] = Distribution(len(family.buckets))
        bucket = bisect_left(family.buckets, value)
        distribution.counts[bucket] += 1
        distribution.total += value
        if exemplar:
            distribution.exemplars[bucket] = exemplar
        if family not in self.stale:
            self._mark(family)

    def render(self, family: Family) -> tuple[bytes | None, bytes | None]:
        """The family's chunk in the text format and in OpenMetrics, the same object if they do not differ.

        None where everything is 0.
        """
        if family.kind is Kind.HISTOGRAM:
            distribution = self.distributions.get(family)
            return _histogram(family, self._text, distribution) if distribution else (None, None)
        values = self.values.get(family)
        chunk = _scalars(family, self._text, values) if values else None
        return chunk, chunk

    def _mark(self, family: Family) -> None:
        self.stale.add(family)
        self._pages.mark(self)


class Page:
    """What was rendered at one instant; may be read in a thread."""

    __slots__ = ("_parts", "_versions", "openmetrics")

    def __init__(
        self,
        parts: Mapping[Family, Mapping[str, bytes | None]],
        openmetrics: bool,
        versions: Mapping[Family, int] | None = None,
    ) -> None:
        self.openmetrics = openmetrics
        self._parts = parts
        self._versions = versions or {}

    @property
    def families(self) -> Iterable[Family]:
        """Those of the page, in order."""
        return self._parts

    def version(self, family: Family) -> int | None:
        """The same number means the same text of the family, in this format; None: it cannot be told."""
        return self._versions.get(family)

    def blocks(self, chunks: int, family: Family | None = None) -> Iterator[bytes]:
        """The text, all of it or one family's, so many chunks at a time."""
        block: list[bytes] = []
        parts = self._parts if family is None else {family: self._parts[family]}
        for family, owned in parts.items():
            block.append(family.header(self.openmetrics))
            zero = _zero(family)
            for owner, chunk in owned.items():
                block.append(escaped(owner).encode().join(zero) if chunk is None else chunk)
                if len(block) >= chunks:
                    yield b"".join(block)
                    block.clear()
        yield b"".join(block)


class Pages:
    """All chunks, family by family, owner by owner."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._text: dict[Family, dict[str, bytes | None]] = {family: {} for family in families}
        self._open: dict[Family, dict[str, bytes | None]] = {
            family: {} if family.kind is Kind.HISTOGRAM else chunks for family, chunks in self._text.items()
        }
        self._stale: dict[Series, None] = {}
        self._versions = dict.fromkeys(self._text, 0)

    def create(self, owner: str, families: Iterable[Family]) -> Series:
        """The series of a new owner, all at 0."""
        series = Series(owner, self)
        for family in families:
            self._text[family][owner] = self._open[family][owner] = None
            self._versions[family] += 1
        return series

    def forget(self, series: Series) -> None:
        """Removes everything of an owner."""
        self._stale.pop(series, None)
        for chunks in (*self._text.values(), *self._open.values()):
            chunks.pop(series.owner, None)
        for family in self._versions:
            self._versions[family] += 1

    def mark(self, series: Series) -> None:
        """Something of this owner is to be rendered again."""
        self._stale[series] = None

    def refresh(self, most: int) -> bool:
        """Renders the stale chunks of at most so many owners; true if there are more."""
        for _ in range(min(most, len(self._stale))):
            series, _ = self._stale.popitem()
            for family in series.stale:
                self._text[family][series.owner], self._open[family][series.owner] = series.render(family)
                self._versions[family] += 1
            series.stale.clear()
        return bool(self._stale)

    def page(self, openmetrics: bool, owners: Iterable[str] | None = None, touched: bool = False) -> Page:
        """What is rendered now; with `owners` only theirs, without the families that none of them has.

        `touched`: only of families in which something happened.
        """
        rendered = self._open if openmetrics else self._text
        if owners is None:
            whole = {family: chunks.copy() for family, chunks in rendered.items()}
            return Page(whole, openmetrics, self._versions.copy())
        names = tuple(owners)
        parts = {
            family: {name: chunks[name] for name in names if name in chunks and (chunks[name] or not touched)}
            for family, chunks in rendered.items()
        }
        return Page({family: owned for family, owned in parts.items() if owned}, openmetrics)


def escaped(value: str) -> str:
    """A label's value as it stands between quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def exemplar(label: str, value: str, number: float, wall: float) -> str:
    """An exemplar as OpenMetrics writes it; 128 characters of label and value are its limit, 64 are ours."""
    return f'{{{label}="{escaped(value[:64])}"}} {number!r} {wall:.3f}'


def _line(family: Family, key: Labels) -> str:
    """The text of a sample up to its value."""
    labels, suffix = (key[:-1], key[-1]) if family.kind is Kind.SUMMARY else (key, "")
    pairs = zip(family.labels[1:], labels, strict=True)
    rest = "".join(f',{name}="{escaped(value)}"' for name, value in pairs)
    return f'{family.name}{suffix}{{{family.labels[0]}="{_OWNER}"{rest}}} '


@cache
def _template(family: Family) -> tuple[str, frozenset[Labels]]:
    """The lines that exist from the start with places for their values, and their labels."""
    lines = "".join(_line(family, key).replace("%", "%%") + "%r\n" for key in family.zeros)
    return lines, frozenset(family.zeros)


def _scalars(family: Family, owner: str, values: Mapping[Labels, float]) -> bytes:
    template, known = _template(family)
    text = template % tuple([values.get(key, 0) for key in family.zeros])
    more = [f"{_line(family, key)}{value!r}\n" for key, value in values.items() if key not in known]
    return "".join((text, *more)).replace(_OWNER, owner).encode()


@cache
def _histogram_templates(family: Family) -> tuple[str, str]:
    """As `_template`; the second has a place for an exemplar after each bucket."""
    start = f'{family.name}_bucket{{{family.labels[0]}="{_OWNER}",le="'
    bounds = [*(repr(float(bound)) for bound in family.buckets), "+Inf"]
    owner = f'{{{family.labels[0]}="{_OWNER}"}}'
    end = f"{family.name}_count{owner} %d\n{family.name}_sum{owner} %r\n"
    buckets = [f'{start}{bound}"}} %d' for bound in bounds]
    return "\n".join(buckets) + "\n" + end, "%s\n".join(buckets) + "%s\n" + end


def _histogram(family: Family, owner: str, distribution: Distribution) -> tuple[bytes, bytes]:
    plain, exemplified = _histogram_templates(family)
    counts = list(accumulate(distribution.counts))
    total = distribution.total
    text = (plain % (*counts, counts[-1], total)).replace(_OWNER, owner).encode()
    if not distribution.exemplars:
        return text, text
    said = [f" # {distribution.exemplars[n]}" if n in distribution.exemplars else "" for n in range(len(counts))]
    pairs = [part for pair in zip(counts, said, strict=True) for part in pair]
    return text, (exemplified % (*pairs, counts[-1], total)).replace(_OWNER, owner).encode()


@cache
def _zero(family: Family) -> tuple[bytes, ...]:
    """The chunk of an owner to whom nothing has happened: what stands between the places of its name."""
    if family.kind is Kind.HISTOGRAM:
        chunk, _ = _histogram(family, _OWNER, Distribution(len(family.buckets)))
    else:
        chunk = _scalars(family, _OWNER, {})
    return tuple(chunk.split(_OWNER.encode()))
