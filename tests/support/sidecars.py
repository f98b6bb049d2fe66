"""An agent in a container beside Postfix and Dovecot, on the same loopback, with everything taken away from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from support.agents import AgentProcess, Parts
from support.servers_fixtures import MailLab

ROUTE = "side"
STRICT = (
    *("--network", "host", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    # podman would put a /tmp that can be written on top, which nothing of a Pod's does
    *("--read-only", "--read-only-tmpfs=false"),
    *("--volume", "/dev/null:/usr/bin/dash:ro"),  # no shell
)
"""On the host's network what is on loopback is what is beside it, as in a Pod."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """An agent's configuration, and the options that run it in a container."""

    agent: AgentProcess
    options: tuple[str, ...]

    def wait_ready(self) -> None:
        """Until it is ready."""
        self.agent.until(lambda: self.agent.get("/-/ready")[0] == 200, 60.0, "ready")

    def wait_for(self, outcome: str, at_least: int = 1) -> None:
        """Until so many canaries had this outcome."""
        self.agent.until(
            lambda: self.agent.metrics().value("mailprobe_canaries_total", route=ROUTE, outcome=outcome) >= at_least,
            60.0,
            outcome,
        )


def configured_sidecar(directory: Path, lab: MailLab) -> Sidecar:
    """Configured for the mail servers, in a directory that it may only read."""
    directory.mkdir(mode=0o755)
    agent = AgentProcess(directory)
    account, parts = lab.new_account(), Parts(directory, lab.ca_file)
    agent.configure(
        agent={"name": ROUTE, "journal": "/var/lib/mailprobe/journal.db"},
        defaults={"interval": "1s", "deadline": "30s"},
        senders={"postfix": parts.sender(lab.postfix, account)},
        mailboxes={"dovecot": parts.mailbox(lab.dovecot, account)},
        routes={ROUTE: {"from": "postfix", "to": "dovecot"}},
    )
    text = agent.file.read_text().replace(str(directory), "/etc/mailprobe")
    (directory / "ca.pem").write_bytes(lab.ca_file.read_bytes())
    agent.write(text.replace(str(lab.ca_file), "/etc/mailprobe/ca.pem"))
    listen = f"MAILPROBE_AGENT__LISTEN=[::]:{agent.port}"
    return Sidecar(agent, (*STRICT, "--volume", f"{directory}:/etc/mailprobe:ro", "--env", listen))
