"""Every query of the dashboards in a real Prometheus that scrapes a real agent while its mail is in trouble."""

from __future__ import annotations

import asyncio
import contextlib
import imaplib
import itertools
import json
import math
import ssl
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.agents import AgentProcess
from support.dashboards import ALL_QUERIES, Query, values
from support.feed_server import FeedServer, Say
from support.servers import HOST
from support.servers_prometheus import Prometheus
from support.token_server import TokenServer, token_shape
from support.troubled_lab import PASSWORD, troubled_lab

from mailprobe.lab.servers import Lab

MAY_BE_EMPTY = {
    "MTA-STS and DANE: A": "no policy is looked up for a submission",
    "MTA-STS and DANE: B": "no policy is looked up for a submission",
    "Quota used: A": "the embedded server has no quota",
    "Fullest mailbox: A": "the embedded server has no quota",
    "Hops: A": "the embedded server writes one Received header, and a hop lies between two",
    "Canaries skipped, unobserved or not timed: A": "that nobody looked is said a minute after the deadline",
    "Canaries skipped, unobserved or not timed: B": "somebody looks all the time, or never",
    "Journal writes that failed: A": "the disk is not full",
}
"""Queries for which nothing is due, by panel and letter."""
MARGIN = 4
"""Seconds of before and after."""
WITHIN = 240.0
"""Seconds that a wait may take, on a machine that has much else to do."""
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


def everything_happened(prometheus: Prometheus) -> bool:
    """Seen by Prometheus."""
    expressions = [
        *(f'mailprobe_canaries_total{{outcome="{outcome}", route="{route}"}}' for outcome, route in EVENTS.items()),
        'mailprobe_late_arrivals_total{route="late"}',
        'mailprobe_lost_total{route="lost"}',
        'mailprobe_duplicates_total{route="twice"}',
        'mailprobe_mailbox_strangers_total{mailbox="fine"}',
        'mailprobe_throttled_total{endpoint="sender/limited", reason="throttled"}',
        'mailprobe_mailbox_reconnects_total{mailbox="dropped", reason="connection_lost"}',
        'mailprobe_incident_open{route!="fine"}',
        'mailprobe_vendor_status{state="outage"}',
    ]
    return all(prometheus.query(f"{expression} >= 1") for expression in expressions)


def issues() -> bytes:
    """What a vendor says that has an outage, and tells it a minute after we have begun."""
    posted = datetime.fromtimestamp(time.time() + 60, UTC).isoformat()
    issue = {
        "id": "EX1",
        "title": "Mail is late",
        "service": "Exchange Online",
        "classification": "incident",
        "status": "serviceInterruption",
        "isResolved": False,
        "startDateTime": posted,
        "posts": [{"createdDateTime": posted}],
    }
    return json.dumps({"value": [issue]}).encode()


@contextlib.asynccontextmanager
async def vendor() -> AsyncIterator[dict[str, Any]]:
    """A vendor's status feed that wants tokens, which end after half a minute, as a section of a configuration."""
    async with TokenServer(None, token_shape("t0ken", 30)) as tokens:
        with FeedServer() as feed:
            feed.answers["/issues"] = Say(issues())
            yield {
                "kind": "microsoft_graph",
                "url": f"{feed.url}/issues",
                "interval": "1s",
                "mailboxes": ["deferred"],
                "oauth2": {"token_url": tokens.url, "client_id": "app", "client_secret_file": "right.password"},
            }


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
    """An agent whose routes are in all sorts of trouble, of which a vendor tells."""
    async with troubled_lab(directory) as (servers, sections), vendor() as feed, asyncio.TaskGroup() as group:
        agent = AgentProcess(directory)
        agent.configure(**sections, status_feeds={"vendor": feed})
        disturbing = group.create_task(disturb(servers))
        agent.start()
        try:
            await asyncio.to_thread(agent.wait_ready, WITHIN)
            yield agent
        finally:
            disturbing.cancel()
            if agent.process is not None:
                agent.kill()


class Dashboards:
    """The queries that have not given anything yet though something is due."""

    def __init__(self, prometheus: Prometheus) -> None:
        self.left = [query for query in ALL_QUERIES if due(query)]
        self._prometheus = prometheus
        self._begun = time.time()

    def are_filled(self) -> bool:
        """Asks them once more, for the time range between the margins, which grows."""
        end = time.time() - MARGIN
        seconds = math.floor(end - self._begun) - 2 * MARGIN
        if seconds < MARGIN:
            return False
        self.left = [query for query in self.left if not numbers(results(self._prometheus, query, seconds, end))]
        return not self.left

    def __str__(self) -> str:
        return f"data of {[str(query) for query in self.left]}"


@pytest.mark.timeout(900)
async def test_every_panel_has_data(tmp_path: Path, run_prometheus: Callable[..., Prometheus]) -> None:
    async with troubled_agent(tmp_path) as agent:
        prometheus = await asyncio.to_thread(
            run_prometheus,
            targets={"mailprobe": [f"{HOST}:{agent.port}"]},
            interval="1s",
            options=["--enable-feature=exemplar-storage"],
        )

        async def until(true: Callable[[], object], what: object) -> None:
            await asyncio.to_thread(prometheus.until, true, WITHIN, what)

        await until(lambda: prometheus.query("mailprobe_build_info"), "a scrape")
        dashboards = Dashboards(prometheus)
        await until(lambda: everything_happened(prometheus), "all sorts of trouble")
        await until(dashboards.are_filled, dashboards)
        await until(lambda: exemplars(prometheus), "exemplars")
        assert agent.get(f"/canaries/{exemplars(prometheus)[-1]}")[0] == 200


def exemplars(prometheus: Prometheus) -> list[str]:
    """The canaries that are points on the panel of the last canaries, the newest last."""
    query = next(query for query in ALL_QUERIES if query.exemplar)
    expression = query.filled(values(rate_interval="10s", seconds=60, route="fine"))
    now = time.time()
    found = prometheus.get("/api/v1/query_exemplars", query=expression, start=repr(now - 60), end=repr(now))["data"]
    points = [each for series in found for each in series["exemplars"]]
    return [point["labels"]["canary"] for point in sorted(points, key=lambda point: float(point["timestamp"]))]
