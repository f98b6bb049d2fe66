"""Every outcome on real servers, as the running agent tells it in /metrics and in the JSON API."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.agents import AgentProcess, Page, Parts
from support.servers import HOST, free_ports
from support.servers_client import mailbox
from support.servers_dovecot import Account
from support.servers_fixtures import MailLab


class Route:
    """An agent with one route from a sender to a mailbox that a test may make worse."""

    def __init__(self, directory: Path, lab: MailLab) -> None:
        self.lab = lab
        self.parts = Parts(directory, lab.ca_file)
        self.agent = AgentProcess(directory)
        self.account, self.sending = lab.new_account(), lab.new_account()

    @contextlib.contextmanager
    def running(
        self,
        *details: str,
        port: int | None = None,
        sender: dict[str, Any] | None = None,
        box: dict[str, Any] | None = None,
        **promise: Any,
    ) -> Iterator[AgentProcess]:
        """The agent, probing; `details` choose what becomes of mail to the mailbox."""
        postfix, dovecot, parts = self.lab.postfix, self.lab.dovecot, self.parts
        self.agent.configure(
            defaults={"interval": "300ms", "deadline": "20s", "late_until": "1m", "timeout": "3s"},
            senders={"out": parts.sender(postfix, self.sending, port, **(sender or {}))},
            mailboxes={"box": parts.mailbox(dovecot, self.account, *details, **(box or {}))}
            | ({"returns": parts.mailbox(dovecot, self.sending)} if "bounces_to" in (sender or {}) else {}),
            routes={"r": {"from": "out", "to": "box"} | promise},
        )
        with self.agent.running():
            yield self.agent
            assert self.agent.stop() < 5
        assert "Traceback" not in self.agent.log()

    def judged(self, outcome: str, count: int = 2) -> tuple[Page, dict[str, Any]]:
        """/metrics and the newest canary in the API, once so many have this outcome; they are all that there are."""
        agent = self.agent
        what = f"{count} x {outcome}"
        agent.until(
            lambda: agent.metrics().value("mailprobe_canaries_total", route="r", outcome=outcome) >= count, 25, what
        )
        page = agent.metrics()
        assert page.nonzero("mailprobe_canaries_total") == [{"route": "r", "outcome": outcome}]
        assert page.value("mailprobe_agent_errors_total") == 0
        return page, agent.canaries("r")[0]

    def timed(self, histogram: str, count: int) -> None:
        """So many were timed: one that was there before the first look has a bound, and no figure."""
        self.agent.until(lambda: self.agent.metrics().value(f"{histogram}_count", route="r") >= count, what=histogram)

    def is_swept(self) -> None:
        """Nothing of what was sent stays in the mailbox; nothing more is sent, since an agent that ends leaves that."""
        quiet = {name: route | {"interval": "1h"} for name, route in self.agent.settings["routes"].items()}
        self.agent.configure(routes=quiet)
        assert self.agent.reload()[0] == 200
        self.agent.until(
            lambda: not self.agent.metrics().value("mailprobe_in_flight", route="r") and not self.files(),
            what="an empty mailbox",
        )

    def files(self) -> list[Path]:
        maildir = self.lab.dovecot.directory / "mail" / self.account.address / "Maildir"
        return [file for place in ("new", "cur", ".Junk/new", ".Junk/cur") for file in (maildir / place).glob("*")]


@pytest.fixture
def route(tmp_path: Path, mail_lab: MailLab) -> Route:
    return Route(tmp_path, mail_lab)


def state(page: Page) -> str:
    (found,) = page.nonzero("mailprobe_route_state", route="r")
    return found["state"]


def failing(route: Route, expected: str = "failing") -> Page:
    route.agent.until(lambda: state(route.agent.metrics()) == expected, what=expected)
    return route.agent.metrics()


def test_delivered(route: Route) -> None:
    with route.running():
        route.timed("mailprobe_delivery_duration_seconds", 3)
        route.timed("mailprobe_transit_duration_seconds", 3)
        page, canary = route.judged("delivered", 3)
        assert page.nonzero("mailprobe_failures_total") == []
        assert canary["sighting"]["folder"] == "INBOX"
        assert 0 < canary["transit_seconds"] < canary["delivery_seconds"] < 5
        assert canary["attempts"][0]["queue_id"]
        failing(route, "ok")
        route.is_swept()


def spam_for(lab: MailLab, account: Account) -> None:
    """From now on the account's own filter takes canaries for junk."""
    script = 'require ["fileinto"];\nif exists "X-Mailprobe-Canary" { fileinto "Junk"; stop; }\n'
    home = lab.dovecot.directory / "mail" / account.address
    home.mkdir(exist_ok=True)
    (home / ".dovecot.sieve").write_text(script)
    for path in (home, home / ".dovecot.sieve"):
        shutil.chown(path, "mail", "mail")


def test_junked(route: Route) -> None:
    spam_for(route.lab, route.account)
    with route.running():
        route.timed("mailprobe_transit_duration_seconds", 2)
        _, canary = route.judged("junked")
        assert canary["sighting"]["folder"] == "Junk"
        failing(route, "degraded")
        route.is_swept()


def test_deferred(route: Route) -> None:
    with route.running("tempfail"):
        page, canary = route.judged("deferred", 3)
        labels = {"route": "r", "stage": "rcpt", "code": "451", "enhanced_code": "4.3.2"}
        assert page.nonzero("mailprobe_deferrals_total") == [labels]
        assert page.nonzero("mailprobe_failures_total") == [{"route": "r", "stage": "rcpt", "reason": "deferred"}]
        assert (canary["stage"], canary["reason"], canary["transit_seconds"]) == ("rcpt", "deferred", None)
        assert [reply["code"] for reply in canary["attempts"][0]["replies"] if reply["stage"] == "rcpt"] == [451]
        failing(route)


def test_rejected(route: Route) -> None:
    with route.running("nouser"):
        page, canary = route.judged("rejected", 3)
        labels = {"route": "r", "stage": "rcpt", "code": "550", "enhanced_code": "5.1.1"}
        assert page.nonzero("mailprobe_rejections_total") == [labels]
        assert page.nonzero("mailprobe_deferrals_total") == []
        assert (canary["outcome"], canary["stage"], canary["reason"]) == ("rejected", "rcpt", "rejected")
        assert len(canary["attempts"]) == 1
        failing(route)


def test_greylisted_retried_and_delivered(route: Route) -> None:
    with route.running(port=route.lab.postfix.greylist_port, interval="1h", retry=["1s", "4s"]) as agent:
        status, text = agent.get("/probe?route=r")
        assert (status, Page(text).value("probe_success")) == (200, 1)
        page, canary = route.judged("delivered", 1)
        assert [attempt["outcome"] for attempt in canary["attempts"]] == ["deferred", "deferred", "accepted"]
        assert page.value("mailprobe_attempts_total", route="r") == 3
        assert page.value("mailprobe_canaries_sent_total", route="r") == 1
        labels = {"route": "r", "stage": "rcpt", "code": "450", "enhanced_code": "4.7.1"}
        assert page.nonzero("mailprobe_deferrals_total") == [labels]
        assert page.value("mailprobe_deferrals_total") == 2
        assert canary["delivery_seconds"] > 5 > canary["transit_seconds"]
        assert state(page) == "degraded"
        route.is_swept()


def test_bounced(route: Route) -> None:
    with route.running("bounce", sender={"bounces_to": "returns"}):
        page, canary = route.judged("bounced", 3)
        assert (canary["stage"], canary["bounce"]["action"], canary["bounce"]["status"]) == (
            "transit",
            "failed",
            "5.1.1",
        )
        assert "bounced by lab" in canary["bounce"]["diagnostic"]
        assert page.value("mailprobe_mailbox_strangers_total") == 0
        failing(route)


def test_overdue_and_lost(route: Route) -> None:
    promise = {"deadline": "1s", "late_until": "3s", "timeout": "1s"}
    with route.running("swallow", **promise) as agent:
        agent.until(lambda: agent.metrics().value("mailprobe_lost_total", route="r") >= 2)
        page, canary = route.judged("overdue")
        assert {"route": "r", "stage": "transit", "reason": "not_there"} in page.nonzero("mailprobe_failures_total")
        assert (canary["stage"], canary["reason"]) == ("transit", "not_there")
        assert "lost" in {canary["resolution"] for canary in agent.canaries("r")}
        failing(route)


def test_overdue_and_late(route: Route) -> None:
    with route.running("hold", deadline="1s", timeout="1s", interval="500ms") as agent:
        route.judged("overdue")
        route.lab.postfix.release()
        agent.until(lambda: agent.metrics().value("mailprobe_late_arrivals_total", route="r", after="overdue") >= 2)
        page = agent.metrics()
        assert page.value("mailprobe_late_arrival_duration_seconds_count", route="r") >= 2
        assert page.value("mailprobe_lost_total") == 0
        late = [canary for canary in agent.canaries("r") if canary["resolution"] == "late"]
        assert all(canary["outcome"] == "overdue" and canary["late_seconds"] > 1 for canary in late)
        route.is_swept()


def test_unsent(route: Route) -> None:
    with route.running(port=free_ports(1)[0]):
        page, canary = route.judged("unsent", 3)
        labels = {"route": "r", "stage": "connect", "reason": "connection_refused"}
        assert page.nonzero("mailprobe_failures_total") == [labels]
        assert (canary["stage"], canary["reason"]) == ("connect", "connection_refused")
        assert page.value("mailprobe_canaries_sent_total") == 0
        failing(route)


def test_unsent_for_a_wrong_password_is_one_failed_login_each(route: Route) -> None:
    wrong = {"username": route.sending.address, "password_file": route.parts.password(route.lab.new_account(), "no")}
    with route.running(sender={"auth": wrong}, interval="1h", retry=["100ms", "200ms"]) as agent:
        assert agent.get("/probe?route=r")[0] == 200
        page, canary = route.judged("unsent", 1)
        assert (canary["stage"], canary["reason"]) == ("auth", "auth_rejected")
        assert page.value("mailprobe_rejections_total", stage="auth", code="535", enhanced_code="5.7.8") == 1
        assert len(canary["attempts"]) == 1, "no retry: it would be one more failed login"


def test_nobody_looked_is_no_verdict_on_the_mail(route: Route) -> None:
    password = route.parts.directory / "mended"
    password.write_text("wrong")
    auth = {"username": route.account.address, "password_file": str(password)}
    with route.running(box={"auth": auth}, deadline="1s", timeout="1s") as agent:
        agent.until(lambda: agent.metrics().value("mailprobe_canaries_sent_total", route="r") >= 10)
        page = agent.metrics()
        assert page.nonzero("mailprobe_canaries_total") == [], "deadlines have passed, and nobody has looked"
        assert page.value("mailprobe_mailbox_up", mailbox="box") == 0
        assert page.value("mailprobe_mailbox_reconnects_total", mailbox="box", reason="auth_rejected") == 1
        assert page.value("mailprobe_mailbox_blind_seconds_total", mailbox="box") > 2
        assert state(page) == "unknown"
        password.write_text(route.account.password)
        assert agent.reload()[0] == 200
        page, _ = route.judged("delivered", 10)
        assert page.value("mailprobe_transit_upper_bounds_total", route="r") >= 5
        assert max(canary["delivery_seconds"] or 0 for canary in agent.canaries("r")) < 1.5, "not known, not invented"
        route.is_swept()


def test_impatient_scrapes_share_a_canary(route: Route) -> None:
    """Or whoever reaches `/probe` could have as many mails sent as he likes."""
    with route.running("swallow", interval="1h", deadline="8s") as agent:
        impatient = {"X-Prometheus-Scrape-Timeout-Seconds": "0.05"}
        for _ in range(20):
            status, text = agent.get("/probe?route=r", **impatient)
            assert (status, Page(text).value("probe_success")) == (200, 0)
        assert agent.metrics().value("mailprobe_attempts_total", route="r") == 1
        _, text = agent.get("/probe?route=r")
        assert Page(text).value("mailprobe_canaries_total", outcome="overdue") == 1, "waited for, and then told"
        agent.get("/probe?route=r", **impatient)
        agent.until(lambda: agent.metrics().value("mailprobe_attempts_total", route="r") == 2, 15, "a new one")


def test_duplicates(route: Route) -> None:
    with route.running(box={"cleanup": "keep"}, interval="1h") as agent:
        agent.get("/probe?route=r")
        route.judged("delivered", 1)
        with mailbox(route.lab.dovecot, route.account) as client:
            client.select("INBOX")
            assert client.copy("1", "INBOX")[0] == "OK"
        agent.until(lambda: agent.metrics().value("mailprobe_duplicates_total", route="r") == 1, 15)
        page, canary = route.judged("delivered", 1)
        assert canary["resolution"] is None
        assert page.value("mailprobe_late_arrivals_total") == 0


def test_throttled_is_no_outage(route: Route) -> None:
    with route.running(port=route.lab.postfix.throttled_port, sender={"tls": "plaintext", "auth": None}) as agent:
        agent.until(lambda: agent.metrics().value("mailprobe_canaries_total", outcome="deferred") >= 4)
        page = agent.metrics()
        labels = {"route": "r", "stage": "greeting", "code": "421", "enhanced_code": "4.7.0"}
        assert page.nonzero("mailprobe_deferrals_total") == [labels]
        assert page.nonzero("mailprobe_failures_total") == [{"route": "r", "stage": "greeting", "reason": "throttled"}]
        assert page.value("mailprobe_throttled_total", endpoint="sender/out", reason="throttled") >= 4
        assert agent.canaries("r")[0]["reason"] == "throttled"
        assert state(page) in ("ok", "unknown"), "we are limited; the mail system works"


def test_a_sender_that_is_busy_skips_and_says_so(route: Route) -> None:
    limits = {"connections": 1, "messages_per_minute": 3}
    with route.running(sender={"limits": limits}) as agent:
        agent.until(lambda: agent.metrics().value("mailprobe_canaries_total", outcome="skipped") >= 3)
        page = agent.metrics()
        assert page.value("mailprobe_canaries_total", outcome="delivered") == 3
        assert page.value("mailprobe_attempts_total") == 3
        assert agent.canaries("r")[0]["reason"] == "sender_busy"


def test_strangers_are_counted_and_left_alone(route: Route) -> None:
    with route.running() as agent:
        for number in range(3):
            route.lab.dovecot.deliver(route.account, f"Subject: stranger {number}\r\n\r\nhello\r\n".encode())
        agent.until(lambda: agent.metrics().value("mailprobe_mailbox_strangers_total", mailbox="box") == 3)
        route.judged("delivered", 5)
        assert agent.metrics().value("mailprobe_mailbox_strangers_total", mailbox="box") == 3
    left = [file for file in route.files() if b"Subject: stranger" in file.read_bytes()]
    assert len(left) == 3  # beside them may lie a canary that came after the agent's last look


def test_a_mailbox_that_is_down_for_a_while_is_a_gap_and_no_loss(tmp_path: Path, fresh_lab: MailLab) -> None:
    route = Route(tmp_path, fresh_lab)
    with route.running() as agent:
        route.judged("delivered", 3)
        fresh_lab.dovecot.kill()
        agent.until(lambda: agent.metrics().value("mailprobe_mailbox_up", mailbox="box") == 0, 5)
        sent = agent.metrics().value("mailprobe_canaries_sent_total", route="r")
        fresh_lab.dovecot.start()
        agent.until(lambda: agent.metrics().value("mailprobe_mailbox_up", mailbox="box") == 1)
        agent.until(lambda: agent.metrics().value("mailprobe_canaries_sent_total", route="r") >= sent + 3)
        page = agent.metrics()
        assert page.value("mailprobe_canaries_total", outcome="overdue") == 0
        assert page.value("mailprobe_mailbox_reconnects_total", mailbox="box") >= 1
        assert page.value("mailprobe_mailbox_blind_seconds_total", mailbox="box") > 0


def test_the_other_port(route: Route) -> None:
    """Implicit TLS on 465 and on 993."""
    implicit = {"submission": f"{HOST}:{route.lab.postfix.submissions_port}", "tls": "implicit"}
    with route.running(sender=implicit | {"tls_server_name": "mail.lab.test"}):
        _, canary = route.judged("delivered")
        assert canary["attempts"][0]["tls"]["verified"]
