"""Three agents at three sites, one Prometheus, the shipped rules: one site cut off is no outage, two of three are.

The rules run 60 times as fast (support.rules.faster); the agents, the mail servers and Prometheus are real.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from support.agents import AgentProcess, Parts
from support.gate import Gate, gates
from support.rules import RULES, faster
from support.servers import HOST
from support.servers_fixtures import MailLab
from support.servers_prometheus import Prometheus

WITHIN = 120.0
"""Seconds for what usually takes ten: agents, servers and Prometheus share the machine with other tests."""
SITES = ("fra1", "nyc1", "sgp1")
ALONE = "site_route:mailprobe_route_alone:bool"
TROUBLE = "route:mailprobe_route_trouble:quorum"
OK = 'sum(mailprobe_route_state{state="ok"})'


def agent_at(site: str, directory: Path, lab: MailLab, smtp: Gate, imap: Gate) -> AgentProcess:
    """An agent that reaches the mail servers through its site's gates only."""
    directory.mkdir()
    agent, parts = AgentProcess(directory), Parts(directory, lab.ca_file)
    account = lab.new_account()
    agent.configure(
        agent={"name": site, "listen": f"{HOST}:{agent.port}"},
        defaults={"interval": "300ms", "deadline": "20s", "late_until": "1m", "timeout": "5s"},
        senders={"outside": parts.sender(lab.postfix, account, smtp.port)},
        mailboxes={"contoso": parts.mailbox(lab.dovecot, account, imap=f"localhost:{imap.port}")},
        routes={"inbound": {"from": "outside", "to": "contoso"}},
    )
    return agent


def firing(prometheus: Prometheus, prefix: str) -> list[dict[str, str]]:
    """Alerts of this name that fire."""
    return [labels for labels in prometheus.firing() if labels["alertname"].startswith(prefix)]


@pytest.mark.timeout(600)
def test_a_site_problem_and_a_provider_problem(
    mail_lab: MailLab, run_prometheus: Callable[..., Prometheus], tmp_path: Path
) -> None:
    rules = [tmp_path / file.name for file in RULES]
    for file, copy in zip(RULES, rules, strict=True):
        copy.write_text(faster(file.read_text(), 60))
    ports = [mail_lab.postfix.submission_port, mail_lab.dovecot.imaps_port] * len(SITES)
    with contextlib.ExitStack() as stack:
        ways = stack.enter_context(gates(*ports))
        agents = [
            agent_at(site, tmp_path / site, mail_lab, ways[2 * number], ways[2 * number + 1])
            for number, site in enumerate(SITES)
        ]
        for agent in agents:
            stack.enter_context(agent.running(ready=False))
        for agent in agents:
            agent.wait_ready(WITHIN)
        targets = [(f"{HOST}:{agent.port}", {"site": site}) for agent, site in zip(agents, SITES, strict=True)]
        prometheus = run_prometheus(rules=rules, targets={"mailprobe": targets}, interval="500ms")
        prometheus.until(lambda: prometheus.values(OK) == {(): 3.0}, WITHIN, "three sites to see the route well")

        for gate in ways[4:]:
            gate.close()
        prometheus.until(
            lambda: firing(prometheus, "MailprobeSiteTrouble"), WITHIN, "the site that is cut off to be named"
        )
        assert {labels["site"] for labels in firing(prometheus, "MailprobeSiteTrouble")} == {"sgp1"}
        assert prometheus.query(f'{ALONE}{{site!="sgp1"}} == 1') == []
        assert prometheus.query(f"{TROUBLE} == 1") == []
        assert firing(prometheus, "MailRoute") == firing(prometheus, "MailProvider") == []

        for gate in ways[2:4]:
            gate.close()
        prometheus.until(lambda: firing(prometheus, "MailRoute"), WITHIN, "two of three to be an outage")
        (route,) = {labels["route"] for labels in firing(prometheus, "MailRoute")}
        assert route == "inbound"
        prometheus.until(lambda: not firing(prometheus, "MailprobeSiteTrouble"), WITHIN, "no site to be alone any more")
