"""The text of the metrics: that prometheus_client's own objects would say the same, and what a page costs the loop."""

from __future__ import annotations

import asyncio
import gzip
import random
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, disable_created_metrics
from prometheus_client import generate_latest as generate_text
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from support.loops import both_loops
from support.observing import ROUTE, Watch

from mailprobe.errors import Reply, Stage
from mailprobe.events import AttemptBegun, RoutesChanged
from mailprobe.model import StageReply
from mailprobe.observe import packing
from mailprobe.observe.chunks import Family, Kind, Pages, Series, escaped, exemplar
from mailprobe.observe.families import ROUTE_FAMILIES

REAL: dict[Kind, type[MetricWrapperBase]] = {
    Kind.COUNTER: Counter,
    Kind.GAUGE: Gauge,
    Kind.HISTOGRAM: Histogram,
    Kind.SUMMARY: Summary,
}
NAMES = ("plain", "with-dash-9", 'odd "quoted" \\ back\nslash %s {}')


class Twins:
    """The same series as chunks and as prometheus_client's objects."""

    def __init__(self, families: Iterable[Family]) -> None:
        disable_created_metrics()
        self.registry = CollectorRegistry()
        self.pages = Pages(families)
        self.series: dict[str, Series] = {}
        self.real: dict[Family, Any] = {}
        for family in families:
            options = {"buckets": family.buckets} if family.buckets else {}
            self.real[family] = REAL[family.kind](
                family.name, family.help, family.labels, registry=self.registry, **options
            )
        for name in NAMES:
            self.series[name] = self.pages.create(name, families)
            for family in families:
                for labels in family.zeros:
                    self.real[family].labels(name, *labels[: len(family.labels) - 1])

    def happen(self, family: Family, owner: str, labels: tuple[str, ...], value: float) -> None:
        real, series = self.real[family].labels(owner, *labels), self.series[owner]
        if family.kind is Kind.COUNTER:
            real.inc(value)
            series.add(family, *labels, by=value)
        elif family.kind is Kind.GAUGE:
            real.set(value)
            series.set(family, value, *labels)
        elif family.kind is Kind.HISTOGRAM:
            real.observe(value, {"canary": "id1"})
            series.observe(family, value, exemplar("canary", "id1", value, 1.5))
        else:
            real.observe(value)
            series.add(family, *labels, "_count")
            series.add(family, *labels, "_sum", by=value)

    def samples(self, openmetrics: bool) -> tuple[set[object], set[object]]:
        while self.pages.refresh(2):
            pass
        ours = b"".join(self.pages.page(openmetrics).blocks(3)) + (b"# EOF\n" if openmetrics else b"")
        if openmetrics:
            theirs = generate_openmetrics(self.registry, escaping="underscores")
            return _samples(parse_openmetrics(ours.decode())), _samples(parse_openmetrics(theirs.decode()))
        return _samples(parse_text(ours.decode())), _samples(parse_text(generate_text(self.registry).decode()))


def _samples(families: Iterable[Any]) -> set[object]:
    return set(_each(families))


def _each(families: Iterable[Any]) -> Iterator[object]:
    for family in families:
        yield (family.name, family.type, family.documentation)
        for sample in family.samples:
            example = sample.exemplar and (tuple(sample.exemplar.labels.items()), sample.exemplar.value)
            yield (sample.name, tuple(sorted(sample.labels.items())), sample.value, example)


VALUES = st.floats(0, 1e6) | st.integers(0, 1000) | st.sampled_from([0.05, 0.1, 600.0, 600.0001, 1e-9, 86400.0])


@pytest.mark.parametrize("openmetrics", [False, True])
@given(data=st.data())
@settings(max_examples=15)  # each is some 400 real objects, generated and parsed twice
def test_chunks_say_what_prometheus_client_says(openmetrics: bool, data: st.DataObject) -> None:
    twins = Twins(ROUTE_FAMILIES)
    for _ in range(data.draw(st.integers(0, 12))):
        family = data.draw(st.sampled_from(ROUTE_FAMILIES))
        extra = len(family.labels) - 1
        known = [zero[:extra] for zero in family.zeros]
        others = st.tuples(*[st.sampled_from(["x", "y"])] * extra)
        labels = data.draw(st.sampled_from(known) | others if known else others)
        twins.happen(family, data.draw(st.sampled_from(NAMES)), labels, data.draw(VALUES))
    ours, theirs = twins.samples(openmetrics)
    assert ours == theirs


def test_exemplars_carry_the_canary() -> None:
    watch = Watch()
    canary = watch.delivered(delivery=2.5)
    families = {family.name: family for family in parse_openmetrics(watch.metrics.render(openmetrics=True).decode())}
    found = {
        sample.labels["le"]: sample.exemplar
        for sample in families["mailprobe_delivery_duration_seconds"].samples
        if sample.exemplar
    }
    assert set(found) == {"2.5"}
    assert found["2.5"].labels == {"canary": canary.id}
    assert found["2.5"].value == 2.5
    assert float(found["2.5"].timestamp) == watch.clock.wall()
    assert b"canary=" not in watch.metrics.render(openmetrics=False)


def test_a_label_cannot_break_out() -> None:
    assert escaped('a"} 1\nevil 2\\') == 'a\\"} 1\\nevil 2\\\\'
    assert exemplar("canary", 'x"} 9', 1.0, 2.0) == '{canary="x\\"} 9"} 1.0 2.000'
    assert len(exemplar("canary", "x" * 1000, 1.0, 2.0)) < 120


@both_loops
async def test_streamed_packed_and_rendered_pages_are_the_same() -> None:
    watch = Watch(*((f"route-{number}", "outside", "contoso", "mx") for number in range(60)))
    for number in range(60):
        watch.delivered(f"route-{number}")
    for openmetrics in (False, True):
        text = watch.metrics.render(openmetrics, ["route-1", "route-59"])
        streamed = b"".join([block async for block in watch.metrics.stream(openmetrics, ["route-1", "route-59"])])
        packed = gzip.decompress(await watch.metrics.packed(openmetrics, ["route-1", "route-59"]))
        assert text == streamed == packed
        whole = gzip.decompress(await watch.metrics.packed(openmetrics)).decode()
        parsed = list((parse_openmetrics if openmetrics else parse_text)(whole))
        assert sum(family.name in ("mailprobe_canaries", "mailprobe_canaries_total") for family in parsed) == 1
        assert whole.endswith("# EOF\n") is openmetrics


async def test_only_what_changed_is_compressed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(ROUTE, ("second", "outside", "contoso", "mx"))
    watch.delivered()
    compressed: list[int] = []
    run_of = packing._run_of
    monkeypatch.setattr(packing, "_run_of", lambda *one: compressed.append(1) or run_of(*one))
    for openmetrics in (False, True):
        compressed.clear()
        first = await packed_page(watch, openmetrics)
        everything = len(compressed)
        compressed.clear()
        assert await packed_page(watch, openmetrics) == first
        assert len(compressed) == 1, "what the agent says of itself is always new"
        watch.delivered("second")
        assert await packed_page(watch, openmetrics) != first
        assert 1 < len(compressed) < everything
        compressed.clear()
        await watch.metrics.packed(openmetrics, ["second"])
        assert len(compressed) > 1, "nothing is kept of the page of a few routes"
        await packed_page(watch, openmetrics)


async def packed_page(watch: Watch, openmetrics: bool) -> bytes:
    """The page of all routes without the agent's own, as unpacked by a client that reads one member."""
    reader = zlib.decompressobj(31)
    page = reader.decompress(await watch.metrics.packed(openmetrics))
    assert reader.eof
    assert not reader.unused_data
    routes = watch.metrics.render(openmetrics).partition(b"# HELP mailprobe_build_info")[0]
    assert page.startswith(routes)
    return routes


@given(pieces=st.lists(st.binary(max_size=300)))
def test_the_crc_of_pieces_is_that_of_the_whole(pieces: list[bytes]) -> None:
    crc = 0
    for piece in pieces:
        crc = packing._combined(crc, zlib.crc32(piece), len(piece))
    assert crc == zlib.crc32(b"".join(pieces))


async def test_rendering_gives_the_loop_back_and_one_routes_numbers_agree() -> None:
    routes = [f"route-{number}" for number in range(300)]
    watch = Watch(*((name, "outside", "contoso", "mx") for name in routes))
    for name in routes:
        watch.delivered(name)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1
            watch.delivered(random.choice(routes))

    task = asyncio.create_task(others())
    try:
        page = gzip.decompress(await watch.metrics.packed()).decode()
    finally:
        task.cancel()
    assert turns >= 10
    found: dict[str, dict[str, float]] = {}
    for family in parse_text(page):
        for sample in family.samples:
            if sample.labels.get("outcome", "delivered") == "delivered" and "route" in sample.labels:
                found.setdefault(sample.labels["route"], {})[sample.name] = sample.value
    for numbers in found.values():
        assert numbers["mailprobe_canaries_total"] == numbers["mailprobe_delivery_duration_seconds_count"]
        assert numbers["mailprobe_canaries_total"] == numbers["mailprobe_attempts_total"]


async def test_a_route_that_goes_while_a_page_is_made_does_not_come_back() -> None:
    routes = [f"route-{number}" for number in range(1000)]
    watch = Watch(*((name, "outside", "contoso", "mx") for name in routes))
    watch.opened("route-999")
    page = asyncio.create_task(watch.metrics.packed())
    await asyncio.sleep(0)
    assert not page.done()
    watch.publish(RoutesChanged(removed=("route-998", "route-999")))
    assert "route-999" not in gzip.decompress(await page).decode()
    text = watch.metrics.render().decode()
    assert 'route="route-997"' in text
    assert "route-998" not in text
    assert "route-999" not in text


def test_what_has_not_changed_is_not_rendered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(ROUTE, ("second", "outside", "contoso", "mx"))
    watch.delivered()
    watch.delivered("second")
    watch.metrics.render()
    rendered: list[tuple[str, str]] = []
    original = Series.render

    def noted(self: Series, family: Family) -> tuple[bytes | None, bytes | None]:
        rendered.append((self.owner, family.name))
        return original(self, family)

    monkeypatch.setattr(Series, "render", noted)
    canary = watch.canary("second")
    watch.publish(AttemptBegun(canary, 2, watch.clock.now()))
    watch.metrics.render()
    assert {pair for pair in rendered if pair[0] != "contoso"} == {("second", "mailprobe_attempts_total")}


def test_text_of_servers_never_becomes_a_label() -> None:
    watch = Watch()
    evil = 'x"} 1\nmailprobe_evil 1'
    watch.attempted(watch.opened(), StageReply(Stage.RCPT, Reply.of(550, f"5.7.1 {evil}")), queue_id=evil)
    assert "evil" not in watch.metrics.render(openmetrics=True).decode()
