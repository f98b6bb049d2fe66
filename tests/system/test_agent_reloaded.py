"""A reload touches what changed and nothing else: on SIGHUP and POST /-/reload, on real servers."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from support.agents import AgentProcess, Parts
from support.servers_dovecot import Account
from support.servers_fixtures import MailLab

INTERVAL = 0.4


class Lab:
    """An agent with two routes, and what it takes to configure more."""

    def __init__(self, directory: Path, lab: MailLab) -> None:
        self.lab = lab
        self.agent = AgentProcess(directory)
        self.parts = Parts(directory, lab.ca_file)
        self.accounts: dict[str, Account] = {}
        self.agent.configure(
            defaults={"interval": f"{INTERVAL * 1000:.0f}ms", "deadline": "20s", "timeout": "5s"},
            senders={"out": self.parts.sender(lab.postfix, lab.dovecot.account("sender"))},
            mailboxes={name: self.mailbox(name) for name in ("one", "two")},
            routes={name: {"from": "out", "to": name} for name in ("one", "two")},
        )

    def mailbox(self, name: str, *details: str, **more: Any) -> dict[str, Any]:
        account = self.accounts.setdefault(name, self.lab.new_account())
        return self.parts.mailbox(self.lab.dovecot, account, *details, **more)

    def change(self, section: str, name: str, value: dict[str, Any] | None) -> None:
        """Writes the file with one item more, another one, or one less."""
        items = {key: item for key, item in self.agent.settings[section].items() if key != name}
        self.agent.configure(**{section: items | ({name: value} if value else {})})

    def logins(self, name: str) -> int:
        """How often the agent logged in to a mailbox, by Dovecot's log."""
        return self.lab.dovecot.log().count(f"imap-login: Info: Login: user=<{self.accounts[name].address}>") + (
            self.lab.dovecot.log().count(f"imap-login: Login: user=<{self.accounts[name].address}>")
        )

    def delivered(self, route: str) -> float:
        return self.agent.metrics().value("mailprobe_canaries_total", route=route, outcome="delivered")

    def more_delivered(self, *routes: str) -> None:
        before = {route: self.delivered(route) for route in routes}
        self.agent.until(lambda: all(self.delivered(route) >= count + 2 for route, count in before.items()))

    def starts(self, route: str) -> list[float]:
        """When the canaries of a route were opened, by the wall clock."""
        return [at for (at,) in self.agent.rows("SELECT opened FROM canary WHERE route = ? ORDER BY key", route)]


@pytest.fixture
def lab(tmp_path: Path, mail_lab: MailLab) -> Lab:
    return Lab(tmp_path, mail_lab)


NO_TIME = "outcome = 'skipped' AND reason IN ('agent_late', 'sender_busy')"
"""A slot for which a loaded machine had no time: it was never sent."""


def on_grid(starts: list[float]) -> bool:
    """Whether most lie on one grid of INTERVAL: a loaded machine starts some late."""
    return any(sum((at - first) % INTERVAL < 0.1 for at in starts) > 0.5 * len(starts) for first in starts)


@pytest.mark.parametrize("how", ["post", "hangup"])
def test_a_route_added_begins_and_the_others_go_on(lab: Lab, how: str) -> None:
    agent = lab.agent
    with agent.running():
        lab.more_delivered("one", "two")
        counted = lab.delivered("one")
        lab.change("mailboxes", "three", lab.mailbox("three"))
        lab.change("routes", "three", {"from": "out", "to": "three"})
        if how == "post":
            assert agent.reload() == (200, "reloaded\n")
        else:
            agent.signal(signal.SIGHUP)
            agent.until(lambda: "configuration reloaded: 3 routes" in agent.log())
        lab.more_delivered("one", "two", "three")
        assert lab.delivered("one") > counted, "the counters go on"
        page = agent.metrics()
        assert page.value("mailprobe_config_last_reload_successful") == 1
        assert page.value("mailprobe_mailbox_reconnects_total") == 0
        assert page.value("mailprobe_mailbox_up") == 3
        agent.stop()
    assert [lab.logins(name) for name in ("one", "two", "three")] == [1, 1, 1]
    assert on_grid(lab.starts("one"))
    assert agent.rows(f"SELECT count(*) FROM canary WHERE outcome = 'skipped' AND NOT ({NO_TIME})") == [(0,)]


def test_a_route_removed_keeps_its_canary_until_it_is_judged(lab: Lab) -> None:
    agent = lab.agent
    held = "(SELECT key FROM canary WHERE route = 'held')"
    lab.change("mailboxes", "held", lab.mailbox("held", "hold"))
    lab.change("routes", "held", {"from": "out", "to": "held"})
    with agent.running():
        agent.until(lambda: agent.rows("SELECT 1 FROM attempt WHERE outcome = 'accepted' AND canary IN " + held))
        lab.change("routes", "held", None)
        lab.change("mailboxes", "held", None)
        assert agent.reload()[0] == 200
        (begun,) = agent.rows("SELECT count(*) FROM canary WHERE route = 'held'")[0]
        assert not agent.metrics().has("mailprobe_canaries_total", route="held")
        lab.more_delivered("one")
        lab.lab.postfix.release()
        told = "SELECT outcome, count(*) FROM canary WHERE route = 'held' GROUP BY 1"
        agent.until(lambda: agent.rows(told) == [("delivered", begun)])
        address = lab.accounts["held"].address
        out = f"imap({address})"
        agent.until(lambda: any(out in line and "Logged out" in line for line in lab.lab.dovecot.log().splitlines()))
        mails = lab.lab.dovecot.directory / "mail" / address / "Maildir"
        assert [*mails.glob("cur/*"), *mails.glob("new/*")] == [], "swept before it is left"
        lab.more_delivered("one", "two")
        assert agent.metrics().value("mailprobe_agent_errors_total") == 0
        agent.stop()
    assert [lab.logins(name) for name in ("one", "two", "held")] == [1, 1, 1]


def test_a_broken_file_changes_nothing(lab: Lab) -> None:
    agent = lab.agent
    with agent.running():
        lab.more_delivered("one")
        good = agent.file.read_text()
        for broken in ("", "agent: [", good.replace('"to": "one"', '"to": "nowhere"').replace('"20s"', '"soon"')):
            agent.write(broken)
            status, text = agent.reload()
            assert status == 500
            assert text.startswith(str(agent.file)), text
            assert agent.metrics().value("mailprobe_config_last_reload_successful") == 0
        assert "nowhere" in text
        assert "defaults.deadline" in text, "all problems at once"
        agent.file.unlink()
        assert agent.reload()[0] == 500
        agent.signal(signal.SIGHUP)
        lab.more_delivered("one", "two")
        assert agent.metrics().value("mailprobe_mailbox_reconnects_total") == 0
        agent.write(good)
        assert agent.reload()[0] == 200
        assert agent.metrics().value("mailprobe_config_last_reload_successful") == 1
        agent.stop()
    assert [lab.logins(name) for name in ("one", "two")] == [1, 1]


def test_one_mailbox_that_changed_is_connected_anew_and_no_other(lab: Lab) -> None:
    agent = lab.agent
    with agent.running():
        lab.more_delivered("one", "two")
        changed = lab.mailbox("two")
        elsewhere = agent.directory / "elsewhere"
        elsewhere.write_text(lab.accounts["two"].password)
        changed["auth"] = changed["auth"] | {"password_file": str(elsewhere)}
        lab.change("mailboxes", "two", changed)
        assert agent.reload()[0] == 200
        lab.more_delivered("one", "two")
        agent.until(lambda: lab.logins("two") == 2)
        starttls = changed | {"imap": f"localhost:{lab.lab.dovecot.imap_port}", "tls": "starttls"}
        lab.change("mailboxes", "two", starttls)
        assert agent.reload()[0] == 200
        lab.more_delivered("one", "two")
        agent.stop()
    assert [lab.logins(name) for name in ("one", "two")] == [1, 3]
    outcomes = agent.rows(f"SELECT DISTINCT route, outcome FROM canary WHERE outcome IS NOT NULL AND NOT ({NO_TIME})")
    assert set(outcomes) == {("one", "delivered"), ("two", "delivered")}
    assert on_grid(lab.starts("two"))
    mails = lab.lab.dovecot.directory / "mail" / lab.accounts["two"].address / "Maildir"
    assert [*mails.glob("cur/*"), *mails.glob("new/*")] == [], "what the first session had not removed is not forgotten"


def test_another_account_under_the_same_name_makes_no_losses(lab: Lab) -> None:
    """What was sent to the account before is not there, and could not be: that is no evidence."""
    agent = lab.agent
    promise = {"from": "out", "to": "held", "deadline": "3s", "late_until": "4s", "timeout": "3s"}
    lab.change("mailboxes", "held", lab.mailbox("held", "hold"))
    lab.change("routes", "held", promise)
    with agent.running():
        agent.until(lambda: agent.rows("SELECT 1 FROM canary WHERE outcome = 'overdue'"))
        lab.accounts["other"] = lab.lab.new_account()
        lab.change("mailboxes", "held", lab.mailbox("other"))
        assert agent.reload()[0] == 200
        agent.until(lambda: agent.rows("SELECT 1 FROM canary WHERE outcome = 'unobserved'"))
        (last,) = agent.rows("SELECT max(judged) FROM canary WHERE outcome = 'unobserved'")[0]
        lab.more_delivered("held", "one")
        agent.until(lambda: agent.rows("SELECT 1 FROM canary WHERE route = 'held' AND opened > ?", last + 5), 15)
        assert agent.metrics().value("mailprobe_agent_errors_total") == 0
        agent.stop()
    later = f"route = 'held' AND judged > ? AND NOT ({NO_TIME})"
    told = agent.rows(f"SELECT DISTINCT outcome, reason FROM canary WHERE {later}", last - 1)
    assert set(told) - {("overdue", "not_there")} == {("unobserved", "nobody_looked"), ("delivered", None)}
    assert agent.rows("SELECT * FROM canary WHERE outcome = 'overdue' AND judged > ?", last) == []
    assert agent.rows("SELECT * FROM canary WHERE resolution = 'lost' AND resolved > ?", last) == []


def test_a_wrong_password_that_is_mended_is_tried_at_the_reload(lab: Lab) -> None:
    agent = lab.agent
    file = Path(lab.parts.password(lab.accounts["two"], "wrong"))
    with agent.running():
        lab.more_delivered("one")
        page = agent.metrics()
        assert page.value("mailprobe_mailbox_up", mailbox="two") == 0
        assert page.value("mailprobe_mailbox_reconnects_total", mailbox="two", reason="auth_rejected") == 1
        assert page.value("mailprobe_in_flight", route="two") >= 1
        file.write_text(lab.accounts["two"].password)
        assert agent.reload()[0] == 200
        agent.until(lambda: agent.metrics().value("mailprobe_mailbox_up", mailbox="two") == 1, 5)
        lab.more_delivered("one", "two")
        agent.stop()
    assert [lab.logins(name) for name in ("one", "two")] == [1, 1]


def test_reloads_during_attempts_lose_and_repeat_nothing(lab: Lab) -> None:
    agent = lab.agent
    slow = lab.parts.sender(lab.lab.postfix, lab.lab.dovecot.account("sender"), lab.lab.postfix.slow_dot_port)
    lab.change("senders", "slow", slow)
    lab.change("routes", "two", {"from": "slow", "to": "two"})
    with agent.running():
        agent.until(lambda: agent.rows("SELECT 1 FROM attempt WHERE outcome IS NULL AND dot_sent IS NOT NULL"))
        for turn in range(6):
            limits = {"connections": 10 + turn % 2}
            lab.change("senders", "slow", slow | {"limits": limits})
            lab.change("routes", "two", {"from": "slow", "to": "two", "deadline": f"{10 + turn}s"})
            assert agent.reload()[0] == 200
        routes = {name: route | {"interval": "1h"} for name, route in agent.settings["routes"].items()}
        agent.configure(routes=routes)
        assert agent.reload()[0] == 200
        agent.until(lambda: not agent.unjudged())
        assert agent.metrics().value("mailprobe_agent_errors_total") == 0
        assert agent.metrics().value("mailprobe_in_flight") == 0
        agent.stop()
    assert agent.rows(f"SELECT outcome, max(attempts) FROM canary WHERE NOT ({NO_TIME}) GROUP BY 1") == [
        ("delivered", 1)
    ]
