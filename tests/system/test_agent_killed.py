"""The agent is killed fifty times in the middle of everything; in the end each canary has its one, true verdict.

What really happened is read from Postfix's log and from the mailboxes; what the agent says of it, from its journal.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.agents import AgentProcess, Parts
from support.servers_client import mailbox
from support.servers_dovecot import Account, Dovecot
from support.servers_fixtures import MailLab

KILLS = 50
ROUTES = ("swept", "kept", "grey", "doubt", "held")
_MESSAGE_ID = re.compile(r"^\S+ \S+: ([0-9A-F]{6,}): message-id=<v1\.tests\.\w+\.(\w+)\.")
_QUEUED = re.compile(r"^\S+ \S+: ([0-9A-F]{6,}): from=.*\(queue active\)")
_SENT = re.compile(r"^(\S+) \S+: ([0-9A-F]{6,}): to=.* status=sent ")


@dataclass(frozen=True)
class Told:
    """A canary as the journal has it."""

    id: str
    route: str
    deadline: float
    outcome: str
    reason: str | None
    resolution: str | None
    looked_before: float | None
    """When the last look began that did not show it."""


class Killing:
    """An agent on five routes, each of which keeps its canaries in another phase for long."""

    def __init__(self, directory: Path, lab: MailLab) -> None:
        self.lab = lab
        self.agent = AgentProcess(directory)
        self.accounts = {route: lab.new_account() for route in ROUTES}
        self.hit: Counter[str] = Counter()
        self._parts = Parts(directory, lab.ca_file)
        self.configure({"swept": "250ms", "kept": "300ms", "grey": "300ms", "doubt": "400ms", "held": "1s"})

    def configure(self, intervals: dict[str, str]) -> None:
        account, lab, parts = self.lab.dovecot.account("sender"), self.lab, self._parts
        more = {"kept": {"cleanup": "keep"}}
        special = {"grey": {"retry": ["1s", "1s", "2s"]}, "held": {"deadline": "3s", "timeout": "3s"}}
        self.agent.configure(
            defaults={"deadline": "8s", "late_until": "10m", "timeout": "5s"},
            senders={
                "usual": parts.sender(lab.postfix, account),
                "grey": parts.sender(lab.postfix, account, lab.postfix.greylist_port),
                "doubt": parts.sender(lab.postfix, account, lab.postfix.slow_dot_port),
            },
            mailboxes={
                route: parts.mailbox(lab.dovecot, box, *(["hold"] if route == "held" else ()), **more.get(route, {}))
                for route, box in self.accounts.items()
            },
            routes={
                route: {"from": route if route in ("grey", "doubt") else "usual", "to": route, "interval": interval}
                | special.get(route, {})
                for route, interval in intervals.items()
            },
        )

    def look(self) -> None:
        """Notes in which phases canaries were when the agent was killed."""
        rows = self.agent.rows(
            "SELECT a.begun, a.dot_sent, a.outcome, a.retry_at, (SELECT count(*) FROM sighting WHERE canary = c.key) "
            "FROM canary c LEFT JOIN attempt a ON a.canary = c.key WHERE c.outcome IS NULL "
            "AND NOT EXISTS (SELECT 1 FROM attempt later WHERE later.canary = c.key AND later.number > a.number)"
        )
        self.hit.update({_phase(*row) for row in rows})
        if messages(self.lab.dovecot, self.accounts["swept"]):
            self.hit["unswept"] += 1

    def told(self) -> list[Told]:
        look = "SELECT min(previous_look) FROM sighting WHERE canary = key"
        return [
            Told(*row)
            for row in self.agent.rows(f"SELECT id, route, deadline, outcome, reason, resolution, ({look}) FROM canary")
        ]


def _phase(begun: object, dot: object, outcome: object, retry_at: object, sighted: int) -> str:
    if sighted:
        return "seen, not judged"
    if begun is None:
        return "opened"
    if outcome is None:
        return "attempt" if dot is None else "dot"
    return "waiting" if retry_at is not None else str(outcome)


def messages(dovecot: Dovecot, account: Account) -> list[Path]:
    """The files of an account's messages."""
    maildir = dovecot.directory / "mail" / account.address / "Maildir"
    return [file for place in ("new", "cur", ".Junk/new", ".Junk/cur") for file in (maildir / place).glob("*")]


class Truth:
    """What Postfix did, by canary: the queue ids under which it took the message, and when it was delivered."""

    def __init__(self, log: str) -> None:
        canaries: dict[str, str] = {}
        queued: set[str] = set()
        delivered: dict[str, float] = {}
        for line in log.splitlines():
            if found := _MESSAGE_ID.match(line):
                canaries[found[1]] = found[2]
            elif found := _QUEUED.match(line):
                queued.add(found[1])
            elif found := _SENT.match(line):
                delivered[found[2]] = float(found[1])
        self.handed_in = Counter(canaries[queue_id] for queue_id in queued if queue_id in canaries)
        self.delivered = {canaries[queue_id]: at for queue_id, at in delivered.items() if queue_id in canaries}


def kept_canaries(lab: MailLab, account: Account) -> Counter[str]:
    """The canaries in a mailbox, by id."""
    with mailbox(lab.dovecot, account) as client:
        client.select("INBOX", readonly=True)
        _, parts = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
    return Counter(part[1].decode().split(".")[3] for part in parts if isinstance(part, tuple))


@pytest.mark.timeout(240)
def test_fifty_kills_and_every_canary_has_its_one_true_verdict(tmp_path: Path, fresh_lab: MailLab) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    killing = Killing(tmp_path, fresh_lab)
    agent, postfix = killing.agent, fresh_lab.postfix
    for number in range(KILLS):
        agent.start(loop=chance.choice(["uvloop", "asyncio"]))
        if chance.random() < 0.9:  # else somewhere in the start
            agent.wait_probing()
        assert agent.outlives(chance.uniform(0.0, 0.9)), agent.log()[-3000:]
        agent.kill()
        killing.look()
        if number % 4 == 0:
            postfix.forget_greylist()
    print(f"killed in phases {dict(killing.hit)}")

    killing.configure(dict.fromkeys(ROUTES, "1h"))
    with agent.running():
        agent.until(lambda: not agent.unjudged(), 40, "a verdict on every canary")
        postfix.release()
        accepted = Truth(postfix.log_file.read_text()).handed_in
        held = {told.id for told in killing.told() if told.route == "held"}
        agent.until(lambda: held & accepted.keys() <= resolved(killing), 20, "the late arrivals")
        swept = [killing.accounts[route] for route in ROUTES if route != "kept"]
        agent.until(lambda: not any(messages(fresh_lab.dovecot, box) for box in swept), 10, "the mailboxes to be swept")
        page = agent.metrics()
        agent.stop()

    told = killing.told()
    print(Counter((one.route, one.outcome, one.reason, one.resolution) for one in told))
    audit(told, Truth(postfix.log_file.read_text()), kept_canaries(fresh_lab, killing.accounts["kept"]))
    assert page.value("mailprobe_in_flight") == 0
    assert page.value("mailprobe_agent_errors_total") == 0
    assert " ERROR " not in agent.log()
    # or else the kills were not what they are meant to be
    assert {"attempt", "dot", "waiting", "accepted", "unswept"} <= killing.hit.keys()
    assert accepted_after_acceptance(agent) == []


def resolved(killing: Killing) -> set[str]:
    return {told.id for told in killing.told() if told.resolution == "late"}


def audit(told: list[Told], truth: Truth, kept: Counter[str]) -> None:
    """Holds what the journal says against what was."""
    assert len({one.id for one in told}) == len(told), "a canary is in the journal twice"
    assert [one for one in told if one.outcome is None] == [], "no verdict"
    assert truth.handed_in.keys() <= {one.id for one in told}, "sent, and not in the journal"
    assert {id: times for id, times in truth.handed_in.items() if times > 1} == {}, "handed in twice"
    assert {id: times for id, times in kept.items() if times > 1} == {}, "twice in the mailbox"
    assert kept.keys() == {one.id for one in told if one.route == "kept" and one.id in truth.handed_in}
    assert [one for one in told if one.resolution == "lost"] == []
    for one in told:
        delivered = truth.delivered.get(one.id)
        if delivered is None:
            assert one.outcome not in ("delivered", "junked", "overdue"), f"{one} was never in the mailbox"
        elif delivered <= one.deadline or (one.looked_before or 0.0) < one.deadline:
            # nobody looked between deadline and delivery: it may have been there in time
            assert (one.outcome, one.resolution) == ("delivered", None), f"{one} was there at {delivered}"
        else:
            assert one.outcome in ("overdue", "unobserved"), f"{one} was there at {delivered}"
            assert one.resolution == "late", f"{one} was there at {delivered}"
        assert one.reason or one.outcome == "delivered", f"{one} without a reason"
        if one.outcome == "unobserved":
            assert one.reason == "agent_restarted", f"{one}: somebody looked all the time"


def accepted_after_acceptance(agent: AgentProcess) -> list[tuple[object, ...]]:
    """Attempts for a canary that had been accepted, or may have been, before."""
    return agent.rows(
        "SELECT later.* FROM attempt later JOIN attempt earlier ON earlier.canary = later.canary "
        "AND earlier.number < later.number AND (earlier.outcome IS NULL OR earlier.outcome NOT IN "
        "('deferred', 'unsent'))"
    )
