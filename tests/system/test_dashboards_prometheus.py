"""Every query of the dashboards in a real Prometheus that scrapes a real agent while its mail is in trouble."""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import itertools
import math
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from support.agents import AgentProcess
from support.dashboards import ALL_QUERIES, Query, values
from support.servers import HOST
from support.servers_prometheus import Prometheus
from support.troubled_lab import PASSWORD, troubled_lab

from mailprobe.lab.servers import Lab

MAY_BE_EMPTY = {
    "What vendors say, beside what we see: A": "no feed is read",
    "Vendor later than we, by: A": "no feed is read",
    "MTA-STS and DANE: A": "no policy is looked up for a submission",
    "MTA-STS and DANE: B": "no policy is looked up for a submission",
    "Quota used: A": "the embedded server has no quota",
    "Fullest mailbox: A": "the embedded server has no quota",
    "Hops: A": "the embedded server writes one Received header, and a hop lies between two",
    "Canaries skipped or unobserved: A": "that nobody looked is said a minute after the deadline",
    "Journal writes that failed: A": "the disk is not full",
}
"""Queries for which nothing is due, by panel and letter."""
MARGIN = 4
"""Seconds of before and after."""
EVENTS = {
    "delivered": "fine",
    "junked": "junked",
    "deferred": "deferred",
    "rejected": "rejected",
    "bounced": "bounced",
    "overdue": "late",
}
"""Outcomes that must have been, and whose."""


def due(query: Query) -> bool:
    return f"{query.panel}: {query.ref}" not in MAY_BE_EMPTY


def everything_happened(prometheus: Prometheus, begun: float) -> bool:
    """Seen by Prometheus twice, so that rates have something to compare, and with room for a before and an after."""
    if time.time() < begun + 5 * MARGIN:
        return False
    expressions = [
        *(f'mailprobe_canaries_total{{outcome="{outcome}", route="{route}"}}' for outcome, route in EVENTS.items()),
        'mailprobe_late_arrivals_total{route="late"}',
        'mailprobe_lost_total{route="lost"}',
        'mailprobe_duplicates_total{route="twice"}',
        'mailprobe_mailbox_strangers_total{mailbox="fine"}',
        'mailprobe_throttled_total{endpoint="sender/limited", reason="throttled"}',
        'mailprobe_mailbox_reconnects_total{mailbox="dropped", reason="connection_lost"}',
        'mailprobe_incident_open{route!="fine"}',
    ]
    return all(prometheus.query(f"{expression} offset 3s >= 1") for expression in expressions)


def copy_a_canary(servers: Lab) -> None:
    """As a mail server does that delivers twice."""
    context = ssl.create_default_context(cafile=servers.ca_file)
    with imaplib.IMAP4_SSL(HOST, servers.imaps_port, ssl_context=context, timeout=20) as session:
        session.login("twice@lab.test", PASSWORD)
        session.select("INBOX")
        status, said = session.copy("1", "INBOX")
        assert status == "OK", said


async def disturb(servers: Lab) -> None:
    """What no fate does, every second until cancelled: mail that is not ours, and canaries that come twice."""
    for number in itertools.count(1):
        await asyncio.sleep(1)
        stranger = f"Message-ID: <{number}@stranger.test>\r\nSubject: not yours\r\n\r\nhello\r\n"
        await servers.deliver("fine@lab.test", stranger.encode())
        if await servers.mailboxes.count("twice@lab.test"):
            await asyncio.to_thread(copy_a_canary, servers)


def results(prometheus: Prometheus, query: Query, seconds: int, end: float) -> list[dict[str, Any]]:
    expression = query.filled(values(rate_interval="10s", seconds=seconds, margin=f"{MARGIN}s"))
    if query.instant:
        return prometheus.query(expression, end)
    moments = {"start": repr(end - seconds), "end": repr(end), "step": "1"}
    found: list[dict[str, Any]] = prometheus.get("/api/v1/query_range", query=expression, **moments)["data"]["result"]
    return found


def numbers(found: list[dict[str, Any]]) -> list[float]:
    samples = [sample for each in found for sample in each.get("values", [each.get("value")])]
    return [value for _, text in samples if not math.isnan(value := float(text))]


@contextlib.asynccontextmanager
async def troubled_agent(directory: Path) -> AsyncIterator[AgentProcess]:
    """An agent whose routes are in all sorts of trouble."""
    async with troubled_lab(directory) as (servers, sections), asyncio.TaskGroup() as group:
        agent = AgentProcess(directory)
        agent.configure(**sections)
        disturbing = group.create_task(disturb(servers))
        agent.start()
        try:
            await asyncio.to_thread(agent.wait_ready)
            yield agent
        finally:
            disturbing.cancel()
            if agent.process is not None:
                agent.kill()


def empty_queries(prometheus: Prometheus, begun: float) -> list[str]:
    """The queries that gave nothing though something is due, for the time range between the margins."""
    end = time.time() - MARGIN
    seconds = math.floor(end - begun) - 2 * MARGIN
    return [str(query) for query in ALL_QUERIES if due(query) and not numbers(results(prometheus, query, seconds, end))]


@pytest.mark.timeout(300)
async def test_every_panel_has_data(tmp_path: Path, run_prometheus: Callable[..., Prometheus]) -> None:
    async with troubled_agent(tmp_path) as agent:
        prometheus = await asyncio.to_thread(
            run_prometheus,
            targets={"mailprobe": [f"{HOST}:{agent.port}"]},
            interval="1s",
            options=["--enable-feature=exemplar-storage"],
        )
        await asyncio.to_thread(prometheus.until, lambda: prometheus.query("mailprobe_build_info"), 30.0, "a scrape")
        begun = time.time()
        await asyncio.to_thread(
            prometheus.until, lambda: everything_happened(prometheus, begun), 200.0, "all sorts of trouble"
        )
        assert await asyncio.to_thread(empty_queries, prometheus, begun) == []
        await asyncio.to_thread(check_exemplars, prometheus, agent)


def check_exemplars(prometheus: Prometheus, agent: AgentProcess) -> None:
    """A point on the panel of the last canaries leads to a canary's page."""
    query = next(query for query in ALL_QUERIES if query.exemplar)
    expression = query.filled(values(rate_interval="10s", seconds=60, route="fine"))
    now = time.time()
    found = prometheus.get("/api/v1/query_exemplars", query=expression, start=repr(now - 60), end=repr(now))["data"]
    canaries = [each["labels"]["canary"] for series in found for each in series["exemplars"]]
    assert canaries
    assert agent.get(f"/canaries/{canaries[-1]}")[0] == 200
