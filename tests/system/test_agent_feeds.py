"""An agent and its vendor's status feed: who knew first, what is shown of it, and that probing does not need it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.agents import AgentProcess, Parts
from support.feed_server import FeedServer, Say
from support.servers_fixtures import MailLab

from mailprobe.lab.certificates import Authority

pytestmark = pytest.mark.timeout(240)

TITLE = "Mail is <b>late</b>"
WITHIN = 60.0
"""Seconds that a wait may take, on a machine that has much else to do."""
LATER = 600.0
"""Seconds from now at which the vendor says that it wrote its first post."""


class World:
    """An agent with a route that is deferred and one that is not, and the status page of their vendor."""

    def __init__(self, directory: Path, lab: MailLab) -> None:
        authority = Authority(directory)
        self.vendor = FeedServer(authority.issue("vendor"))
        parts = Parts(directory, lab.ca_file)
        self.agent = AgentProcess(directory)
        struck, fine = lab.new_account(), lab.new_account()
        feed = {"kind": "statuspage", "url": self.vendor.url, "interval": "250ms", "ca_file": str(authority.ca_file)}
        self.agent.configure(
            defaults={"interval": "200ms", "deadline": "20s", "late_until": "1m", "timeout": "3s"},
            senders={"out": parts.sender(lab.postfix, lab.new_account())},
            mailboxes={
                "struck": parts.mailbox(lab.dovecot, struck, "tempfail"),
                "fine": parts.mailbox(lab.dovecot, fine),
            },
            routes={name: {"from": "out", "to": name} for name in ("struck", "fine")},
            status_feeds={"vendor": feed | {"mailboxes": ["struck"]}, "other": feed | {"mailboxes": ["fine"]}},
        )
        self.says()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The agent, ready within the block."""
        with self.agent.running(ready=False):
            self.agent.wait_ready(WITHIN)
            yield

    def says(self, *incidents: dict[str, Any], indicator: str = "none") -> None:
        """What the status page says from now on."""
        page = {"page": {"id": "x"}, "incidents": incidents}
        summary = page | {"components": [], "status": {"indicator": indicator}}
        self.vendor.answers["/api/v2/summary.json"] = Say(json.dumps(summary).encode())
        self.vendor.answers["/api/v2/incidents.json"] = Say(json.dumps(page).encode())

    def state(self, feed: str = "vendor") -> str:
        (found,) = self.agent.metrics().nonzero("mailprobe_vendor_status", feed=feed)
        return found["state"]

    def becomes(self, state: str) -> None:
        self.agent.until(lambda: self.state() == state, WITHIN, f"the vendor to be {state}")

    def incident(self) -> dict[str, Any]:
        """The one incident, once there is one."""
        found = self.agent.until(lambda: json.loads(self.agent.get("/api/v1/incidents")[1])["incidents"], WITHIN)
        assert [each["route"] for each in found] == ["struck"]
        incident: dict[str, Any] = found[0]
        return incident

    def lag(self, feed: str = "vendor") -> float:
        return self.agent.metrics().value("mailprobe_vendor_acknowledgement_lag_seconds", feed=feed)

    def more(self, outcome: str, route: str) -> None:
        """Waits until more canaries of a route have come to this."""
        agent = self.agent

        def count() -> float:
            return agent.metrics().value("mailprobe_canaries_total", route=route, outcome=outcome)

        before = count()
        agent.until(lambda: count() >= before + 2, WITHIN, f"more {outcome} on {route}")


@pytest.fixture
def world(tmp_path: Path, mail_lab: MailLab) -> Iterator[World]:
    world = World(tmp_path, mail_lab)
    with world.vendor:
        yield world


def post(first: float, begun: float) -> dict[str, Any]:
    """An incident whose start was written to be long before its first post."""
    times = [datetime.fromtimestamp(at, UTC).isoformat() for at in (first, begun)]
    update = {"created_at": times[0], "display_at": times[1], "status": "investigating"}
    return {
        "id": "p31zjtct2jer",
        "name": TITLE,
        "status": "investigating",
        "impact": "critical",
        "created_at": times[1],
        "started_at": times[1],
        "resolved_at": None,
        "incident_updates": [update],
    }


def wall(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_who_knew_first(world: World) -> None:
    agent = world.agent
    with world.running():
        incident = world.incident()
        assert incident["vendor"] == []
        assert world.state() == "ok"
        page = agent.metrics()
        assert page.value("mailprobe_vendor_incident_open", feed="vendor") == 0
        assert not page.has("mailprobe_vendor_acknowledgement_lag_seconds", feed="vendor")
        first = time.time() + LATER
        world.says(post(first, begun=first - 7200), indicator="critical")
        world.becomes("outage")
        (known,) = agent.until(lambda: world.incident()["vendor"], WITHIN)
        sign = wall(incident["first_sign"])
        assert known["lag_seconds"] == pytest.approx(first - sign, abs=1.0)
        assert (known["feed"], known["incident"], known["title"]) == ("vendor", "p31zjtct2jer", TITLE)
        assert wall(known["acknowledged"]) == pytest.approx(first, abs=0.01), (
            "not the start that was written afterwards"
        )
        page = agent.metrics()
        assert page.value("mailprobe_vendor_incident_open", feed="vendor") == 1
        assert world.lag() == pytest.approx(known["lag_seconds"], abs=0.001)
        assert page.value("mailprobe_vendor_last_read_timestamp_seconds", feed="vendor") > sign
        assert not page.has("mailprobe_vendor_acknowledgement_lag_seconds", feed="other"), "not of that mailbox"
        shown = agent.get("/")[1]
        assert "Mail is &lt;b&gt;late&lt;/b&gt;" in shown
        assert '<span class="failing">outage</span>' in shown
        assert agent.stop() < 5
    world.says()
    with world.running():
        assert world.incident()["vendor"] == [known], "it is remembered when the feed has forgotten it"
        assert world.lag() == pytest.approx(known["lag_seconds"], abs=0.001)
    assert "Traceback" not in agent.log()


def test_probing_does_not_depend_on_feeds(world: World) -> None:
    """They come with a reload, cannot be read, hang, and go; mail is probed all the while."""
    agent, feeds = world.agent, world.agent.settings["status_feeds"]
    agent.configure(status_feeds={})
    with world.running():
        assert not agent.metrics().has("mailprobe_vendor_status")
        assert "Vendors" not in agent.get("/")[1]
        agent.configure(status_feeds={"vendor": feeds["vendor"]})
        assert agent.reload()[0] == 200
        world.becomes("ok")
        assert not agent.metrics().has("mailprobe_vendor_status", feed="other")
        world.vendor.answers["/api/v2/summary.json"] = Say(b"<!doctype html><p>We will be back soon")
        world.becomes("unreachable")
        assert "HTML where JSON was expected" in agent.get("/")[1]
        world.more("delivered", "fine")
        world.more("deferred", "struck")
        assert world.state() == "unreachable"
        world.vendor.answers["/api/v2/summary.json"] = Say(stalls=True)
        asked = len(world.vendor.asked)
        agent.configure(status_feeds={"other": feeds["other"]})
        assert agent.reload()[0] == 200
        assert not agent.metrics().has("mailprobe_vendor_status", feed="vendor")
        agent.until(lambda: len(world.vendor.asked) > asked, WITHIN, "the feed to be asked")
        world.more("delivered", "fine")
        assert agent.metrics().value("mailprobe_agent_errors_total") == 0
        assert agent.stop() < 5
    assert "Traceback" not in agent.log()
