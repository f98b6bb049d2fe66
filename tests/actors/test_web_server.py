"""The HTTP side against a real client: paths, formats, errors, headers."""

from __future__ import annotations

import asyncio
import gzip
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from support.loops import both_loops
from support.observing import ROUTE, Watch

from mailprobe.errors import ConfigurationError, ProbeFailure, Reason, Stage
from mailprobe.events import MailboxDown, MailboxUp, PolicyChecked, Port25Changed
from mailprobe.model import DaneFacts, DaneStatus, DnsFacts, MtaStsFacts, MtaStsMode, Outcome, PolicyFacts
from mailprobe.observe.history import Record
from mailprobe.web.server import WebServer

pytestmark = [both_loops, pytest.mark.usefixtures("nothing_blocks")]

PROMETHEUS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"


async def no_probe(route: str, timeout: float) -> Record:
    raise AssertionError("not to be called")


async def no_reload() -> tuple[str, ...]:
    return ()


class Site:
    """A running server, what it shows, and a client."""

    def __init__(self, watch: Watch, server: WebServer, client: aiohttp.ClientSession) -> None:
        self.watch = watch
        self.server = server
        self.client = client

    async def get(self, path: str, method: str = "GET", **options: Any) -> tuple[int, str]:
        async with self.client.request(method, self.server.url + path.lstrip("/"), **options) as response:
            return response.status, await response.text()


@asynccontextmanager
async def serving(
    *,
    watch: Watch | None = None,
    reload: Callable[[], Awaitable[tuple[str, ...]]] = no_reload,
    probe: Callable[[str, float], Awaitable[Record]] = no_probe,
    **options: Any,
) -> AsyncIterator[Site]:
    watch = watch or Watch(ROUTE, ("second", "outside", "contoso", "mx"))
    server = WebServer(
        ("127.0.0.1", 0),
        clock=watch.clock,
        metrics=watch.metrics,
        history=watch.history,
        states=watch.states,
        reload=reload,
        probe=probe,
        agent="fra1",
        **options,
    )
    await server.start()
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10), auto_decompress=False) as client:
            yield Site(watch, server, client)
    finally:
        await server.stop()


async def test_metrics_as_prometheus_asks_for_them() -> None:
    async with serving() as site:
        canary = site.watch.delivered()
        headers = {"Accept": PROMETHEUS, "Accept-Encoding": "gzip"}
        async with site.client.get(site.server.url + "metrics", headers=headers) as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
            assert response.headers["Content-Encoding"] == "gzip"
            text = gzip.decompress(await response.read()).decode()
        assert f'# {{canary="{canary.id}"}}' in text
        assert len(list(parse_openmetrics(text))) > 40


async def test_metrics_as_text() -> None:
    async with serving() as site:
        async with site.client.get(site.server.url + "metrics", headers={"Accept-Encoding": "identity"}) as response:
            assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert "Content-Encoding" not in response.headers
            assert len(list(parse_text(await response.text()))) > 40
        status, body = await site.get("/metrics", "HEAD")
        assert (status, body) == (200, "")


async def test_a_part_of_the_metrics() -> None:
    async with serving() as site:
        status, text = await site.get("/metrics?route=second&route=inbound", headers={"Accept-Encoding": ""})
        assert status == 200
        assert "python_info" not in text
        assert {sample.labels["route"] for family in parse_text(text) for sample in family.samples} == {
            "inbound",
            "second",
        }
        assert await site.get("/metrics?route=no-such&route=second") == (404, "no such route: no-such\n")


async def test_health_and_readiness() -> None:
    async with serving() as site:
        assert (await site.get("/-/healthy"))[0] == 200
        assert await site.get("/-/ready") == (503, "mailprobe is not ready: nobody has looked yet into contoso\n")
        site.watch.publish(MailboxDown("contoso", 1.0, ProbeFailure(Stage.AUTH, Reason.AUTH_REJECTED)))
        assert (await site.get("/-/ready"))[0] == 200
        site.watch.publish(MailboxUp("contoso", 2.0))
        assert (await site.get("/-/ready"))[0] == 200


async def test_readiness_may_be_told_by_others() -> None:
    async with serving(ready=lambda: "not today") as site:
        assert await site.get("/-/ready") == (503, "mailprobe is not ready: not today\n")


async def test_reload() -> None:
    answers = iter([(), ("mailprobe.yaml:3:1: first", "mailprobe.yaml:4:1: second"), ()])

    async def reload() -> tuple[str, ...]:
        return next(answers)

    async with serving(reload=reload) as site:
        assert await site.get("/-/reload", "POST") == (200, "reloaded\n")
        assert await site.get("/-/reload", "PUT") == (
            500,
            "mailprobe.yaml:3:1: first\nmailprobe.yaml:4:1: second\n",
        )
        assert (await site.get("/-/reload"))[0] == 405
        assert (await site.get("/-/reload", "POST", headers={"Sec-Fetch-Site": "cross-site"}))[0] == 403


async def test_what_is_not_there_and_what_may_not_be_done() -> None:
    async with serving() as site:
        assert (await site.get("/no-such-page"))[0] == 404
        assert (await site.get("/api/v1/canaries/no-such"))[0] == 404
        assert (await site.get("/canaries/no-such"))[0] == 404
        async with site.client.post(site.server.url + "metrics") as response:
            assert response.status == 405
            assert response.headers["Allow"] == "GET,HEAD"
        status, text = await site.get("/api/v1/canaries?limit=many")
        assert (status, text) == (400, "limit must be a number\n")
        assert (await site.get("/api/v1/canaries?route=no-such"))[0] == 404


@pytest.mark.parametrize("path", ["/", "/metrics", "/no-such-page", "/api/v1/routes"])
async def test_headers_of_every_answer(path: str) -> None:
    async with serving() as site, site.client.get(site.server.url.rstrip("/") + path) as response:
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Server"] == "mailprobe"


async def test_the_status_page_works_without_scripts_and_escapes_what_servers_say() -> None:
    async with serving() as site:
        canary = site.watch.opened()
        evil = "<script>alert(1)</script>"
        site.watch.attempted(canary, stage=Stage.RCPT, reason=Reason.REJECTED, queue_id=evil)
        site.watch.judged(canary, Outcome.REJECTED, stage=Stage.RCPT, reason=Reason.REJECTED, detail=evil)
        failure = ProbeFailure(Stage.AUTH, Reason.AUTH_REJECTED, evil)
        site.watch.publish(MailboxDown("contoso", site.watch.clock.now(), failure))
        for path in ("/", f"/canaries/{canary.id}"):
            status, page = await site.get(path)
            assert status == 200
            assert "<script" not in page
            assert "&lt;script&gt;" in page
            assert not re.search(r"\son\w+=|javascript:", page)
        _, page = await site.get("/")
        assert "<strong>1</strong> degraded</a>" in page
        assert "<strong>1</strong> unknown</a>" in page


async def test_one_canary_whole() -> None:
    async with serving() as site:
        canary = site.watch.delivered()
        _, page = await site.get(f"/canaries/{canary.id}")
        for text in (canary.id, "mx.example.org", "2.1.5 Ok", "220 &lt;mx&gt; &amp; co", "imap.example.org"):
            assert text in page


async def test_what_the_dns_and_the_policies_said_is_on_the_page_of_the_canary() -> None:
    async with serving() as site:
        canary = site.watch.opened()
        site.watch.attempted(canary, dns=DnsFacts((("mx1.example.org", 10), ("<mx2>.example.org", 20))))
        sts = MtaStsFacts(MtaStsMode.ENFORCE, passed=False, detail="<no> TLS was used")
        policy = PolicyFacts(sts, DaneFacts(DaneStatus.USABLE, passed=True))
        site.watch.publish(PolicyChecked(canary, 1, policy, site.watch.clock.now()))
        _, page = await site.get(f"/canaries/{canary.id}")
        for text in (
            "Mail exchangers</th><td>mx1.example.org (10), &lt;mx2&gt;.example.org (20)</td>",
            "MTA-STS</th><td>enforce, not kept: &lt;no&gt; TLS was used</td>",
            "DANE</th><td>usable, kept</td>",
        ):
            assert text in page
        implicit = site.watch.opened()
        site.watch.attempted(implicit, dns=DnsFacts(implicit=True))
        assert "none, so the domain itself" in (await site.get(f"/canaries/{implicit.id}"))[1]


async def test_a_blocked_port_25_is_on_the_status_page() -> None:
    async with serving() as site:
        site.watch.publish(Port25Changed(True, 0.0, "no <connection> is answered"))
        assert "This machine: no &lt;connection&gt; is answered." in (await site.get("/"))[1]
        site.watch.publish(Port25Changed(False, 1.0))
        assert "This machine" not in (await site.get("/"))[1]


async def test_the_api() -> None:
    async with serving() as site:
        first, second = site.watch.delivered(), site.watch.failed(route="second")
        async with site.client.get(site.server.url + "api/v1/routes") as response:
            assert response.content_type == "application/json"
            routes = (await response.json())["routes"]
        assert [(route["route"], route["state"]) for route in routes] == [("inbound", "ok"), ("second", "degraded")]
        assert routes[0]["last_canary"]["canary"] == first.id
        async with site.client.get(site.server.url + "api/v1/canaries?route=second&limit=1") as response:
            assert [canary["canary"] for canary in (await response.json())["canaries"]] == [second.id]
        async with site.client.get(site.server.url + f"api/v1/canaries/{second.id}") as response:
            document = await response.json()
        assert document["schema"] == 1
        assert document["canary"]["transcript"]


async def test_incidents_as_json_and_on_the_page() -> None:
    async with serving() as site:
        site.watch.delivered()
        for _ in range(4):
            site.watch.failed()
        async with site.client.get(site.server.url + "api/v1/incidents") as response:
            (incident,) = (await response.json())["incidents"]
        said = {key: incident[key] for key in ("route", "state", "stage", "code", "enhanced_code", "reason", "end")}
        assert said == {
            "route": "inbound",
            "state": "failing",
            "stage": "rcpt",
            "code": 550,
            "enhanced_code": "5.1.1",
            "reason": "rejected",
            "end": None,
        }
        assert incident["begin"].endswith("Z")
        assert (await site.get("/api/v1/incidents?route=second"))[1].startswith(
            '{"schema": 1, "agent": "fra1", "incidents": []'
        )
        assert (await site.get("/api/v1/incidents?route=no-such"))[0] == 404
        async with site.client.get(site.server.url + "api/v1/routes") as response:
            route = (await response.json())["routes"][0]
        assert (route["state"], route["share"], route["trend"], route["code"]) == ("failing", 0.8, "same", 550)
        page = (await site.get("/"))[1]
        assert "rcpt 550 5.1.1 rejected" in page
        assert "going on" in page


async def test_a_port_in_use_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        watch = Watch()
        server = WebServer(
            ("127.0.0.1", port),
            clock=watch.clock,
            metrics=watch.metrics,
            history=watch.history,
            states=watch.states,
            reload=no_reload,
            probe=no_probe,
        )
        with pytest.raises(ConfigurationError) as problem:
            await server.start()
    assert problem.value.problems == (f"agent.listen: cannot listen on 127.0.0.1:{port}: address already in use",)


@pytest.mark.parametrize("host", ["::", "0.0.0.0", "localhost"])
async def test_other_addresses_to_listen_on(host: str) -> None:
    watch = Watch()
    server = WebServer(
        (host, 0),
        clock=watch.clock,
        metrics=watch.metrics,
        history=watch.history,
        states=watch.states,
        reload=no_reload,
        probe=no_probe,
    )
    await server.start()
    try:
        port = int(server.url.rstrip("/").rpartition(":")[2])
        async with aiohttp.ClientSession() as client:
            for url in {server.url, f"http://127.0.0.1:{port}/"}:
                async with client.get(url + "-/healthy") as response:
                    assert response.status == 200
    finally:
        await server.stop()


async def test_an_unknown_host_is_said() -> None:
    watch = Watch()
    server = WebServer(
        ("no-such-host.invalid", 0),
        clock=watch.clock,
        metrics=watch.metrics,
        history=watch.history,
        states=watch.states,
        reload=no_reload,
        probe=no_probe,
    )
    with pytest.raises(ConfigurationError, match=r"listen on no-such-host\.invalid:0: no such host"):
        await server.start()


async def test_stopping_does_not_wait_for_idle_connections() -> None:
    async with serving() as site:
        await site.get("/-/healthy")
        async with asyncio.timeout(5):
            await site.server.stop()
        await site.server.stop()


async def test_large_requests_are_refused() -> None:
    async with serving() as site:
        status, _ = await site.get("/?x=" + "y" * 20_000)
        assert status == 400
        status, _ = await site.get("/", headers={"X-Long": "y" * 20_000})
        assert status == 400
