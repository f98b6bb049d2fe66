"""`GET /probe`: one canary, its metrics, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from support.loops import both_loops
from support.observing import Watch
from test_web_server import serving

from mailprobe.observe.history import Record

pytestmark = [both_loops, pytest.mark.usefixtures("nothing_blocks")]


class Prober:
    """Answers as the agent would, and notes how it was asked."""

    def __init__(self, kind: str = "delivered") -> None:
        self.watch = Watch()
        self.kind = kind
        self.asked: list[tuple[str, float]] = []
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self, route: str, timeout: float) -> Record:
        self.asked.append((route, timeout))
        self.begun.set()
        await self.go_on.wait()
        make: Any = {"delivered": self.watch.delivered, "failed": self.watch.failed, "slow": self.watch.opened}
        return self.watch.history[make[self.kind]().id]


def samples(text: str) -> dict[str, float]:
    return {
        sample.name + "".join(f",{value}" for label, value in sample.labels.items() if label != "route"): sample.value
        for family in parse_text(text)
        for sample in family.samples
    }


async def test_a_delivered_canary() -> None:
    probe = Prober()
    async with serving(watch=probe.watch, probe=probe) as site:
        status, text = await site.get("/probe?route=inbound")
    found = samples(text)
    assert status == 200
    assert found["probe_success"] == 1
    assert 0 <= found["probe_duration_seconds"] < 10
    assert found["mailprobe_canaries_total,delivered"] == 1
    assert found["mailprobe_transit_duration_seconds_sum"] == 1.5
    assert found["mailprobe_authentication_results_total,spf,pass"] == 1
    assert "mailprobe_failures_total,rcpt,rejected" not in found
    assert probe.asked == [("inbound", 120.0)]


@pytest.mark.parametrize(("kind", "outcome"), [("failed", "rejected"), ("slow", None)])
async def test_a_canary_that_did_not_arrive_is_an_answer_too(kind: str, outcome: str | None) -> None:
    probe = Prober(kind)
    async with serving(watch=probe.watch, probe=probe) as site:
        status, text = await site.get("/probe?route=inbound")
    assert status == 200
    assert samples(text)["probe_success"] == 0
    assert samples(text).get(f"mailprobe_canaries_total,{outcome}") == (1 if outcome else None)


async def test_each_probe_is_a_fresh_page() -> None:
    probe = Prober()
    async with serving(watch=probe.watch, probe=probe) as site:
        for _ in range(3):
            _, text = await site.get("/probe?route=inbound")
            assert samples(text)["mailprobe_canaries_total,delivered"] == 1


async def test_openmetrics() -> None:
    probe = Prober()
    async with serving(watch=probe.watch, probe=probe) as site:
        _, text = await site.get("/probe?route=inbound", headers={"Accept": "application/openmetrics-text"})
    assert {family.name for family in parse_openmetrics(text)} >= {"probe_success", "mailprobe_canaries"}


async def test_plain_gauges_as_users_of_blackbox_exporter_expect_them() -> None:
    probe = Prober()
    async with serving(watch=probe.watch, probe=probe) as site:
        _, text = await site.get("/probe?route=inbound")
    found = samples(text)
    assert found["probe_stage_duration_seconds,connect"] == 0.25
    assert found["probe_stage_duration_seconds,rcpt"] == 0.125
    assert found["probe_transit_seconds"] == 1.5
    assert found["probe_tls_certificate_not_after_timestamp_seconds"] == 1_798_761_600
    assert found["mailprobe_route_info,outside,contoso,mx"] == 1


@pytest.mark.parametrize("kind", ["failed", "slow"])
async def test_gauges_of_what_is_not_known_are_left_out(kind: str) -> None:
    probe = Prober(kind)
    async with serving(watch=probe.watch, probe=probe) as site:
        _, text = await site.get("/probe?route=inbound")
    assert "probe_transit_seconds" not in text
    assert ("probe_tls_certificate" in text) == ("probe_stage_duration_seconds" in text) == (kind == "failed")


@pytest.mark.parametrize("debug", ["1", "yes", "TRUE", ""])
async def test_debug_is_true_or_false(debug: str) -> None:
    async with serving() as site:
        assert await site.get(f"/probe?route=inbound&debug={debug}") == (400, "debug is true or false\n")


async def test_debug_tells_the_life_and_the_metrics() -> None:
    probe = Prober("failed")
    async with serving(watch=probe.watch, probe=probe) as site:
        status, text = await site.get("/probe?route=inbound&debug=true")
    assert status == 200
    for part in (
        "on route inbound",
        "Attempt 1 mx.example.org [192.0.2.1]:25: rejected",
        "< 220 <mx> & co",
        "ended: rcpt, rejected",
        "Verdict: rejected, rcpt, rejected",
        "Metrics that would have been returned:\n",
        "probe_success 0",
    ):
        assert part in text


@pytest.mark.parametrize(("header", "seconds"), [("10", 9.5), ("0.5", 0.25), ("600", 599.5)])
async def test_the_scrape_timeout_is_honoured(header: str, seconds: float) -> None:
    probe = Prober()
    async with serving(watch=probe.watch, probe=probe) as site:
        await site.get("/probe?route=inbound", headers={"X-Prometheus-Scrape-Timeout-Seconds": header})
    assert probe.asked == [("inbound", seconds)]


@pytest.mark.parametrize("header", ["soon", "nan", "inf", "-1", "0"])
async def test_a_nonsensical_timeout_is_refused(header: str) -> None:
    async with serving() as site:
        headers = {"X-Prometheus-Scrape-Timeout-Seconds": header}
        assert (await site.get("/probe?route=inbound", headers=headers))[0] == 400


async def test_only_configured_routes_and_never_by_head_or_post() -> None:
    async with serving() as site:
        assert await site.get("/probe?route=no-such") == (404, "no such route: no-such\n")
        assert (await site.get("/probe"))[0] == 400
        assert (await site.get("/probe?route=inbound", "HEAD"))[0] == 405
        assert (await site.get("/probe?route=inbound", "POST"))[0] == 405


async def test_one_at_a_time_on_a_route() -> None:
    probe = Prober()
    probe.go_on.clear()
    async with serving(watch=probe.watch, probe=probe) as site:
        first = asyncio.create_task(site.get("/probe?route=inbound"))
        await asyncio.wait_for(probe.begun.wait(), 5)
        assert await site.get("/probe?route=inbound") == (429, "route inbound is being probed already\n")
        probe.go_on.set()
        assert (await first)[0] == 200
        assert (await site.get("/probe?route=inbound"))[0] == 200


async def test_a_probe_that_breaks_frees_its_route() -> None:
    async def broken(route: str, timeout: float) -> Record:
        raise RuntimeError("a bug")

    async with serving(probe=broken) as site:
        for _ in range(2):
            status, text = await site.get("/probe?route=inbound")
            assert status == 500
            assert "a bug" not in text
