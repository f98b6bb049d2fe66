"""The Pod that the Helm chart makes, run by `podman play kube` beside real Postfix and Dovecot."""

from __future__ import annotations

import re
import secrets
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.agents import AgentProcess
from support.charts import rendered
from support.containers import Engine
from support.servers import free_ports
from support.servers_fixtures import MailLab

pytestmark = pytest.mark.timeout(600)

Document = dict[str, Any]
FILES = "/run/secrets/mailprobe"


def port_of(values: Document) -> int:
    return int(values["config"]["agent"]["listen"].rpartition(":")[2])


@pytest.fixture
def values(image: str, mail_lab: MailLab) -> Document:
    """The chart's values for the mail servers of the tests, on this machine's own network."""
    repository, _, tag = image.rpartition(":")
    account = mail_lab.new_account()
    common = {"ip_family": 4, "ca_file": f"{FILES}/ca.pem", "auth": {"username": account.address}}
    sender = {"submission": f"localhost:{mail_lab.postfix.submission_port}", "from": account.address}
    mailbox = {"imap": f"localhost:{mail_lab.dovecot.imaps_port}", "address": account.address}
    return {
        "fullnameOverride": f"mailprobe-{secrets.token_hex(4)}",
        "image": {"repository": repository, "tag": tag},
        "config": {
            "agent": {"listen": f"[::]:{free_ports(1)[0]}"},
            "defaults": {"interval": "1s", "deadline": "30s"},
            "senders": {"postfix": sender | common},
            "mailboxes": {"dovecot": mailbox | common},
            "routes": {"pod": {"from": "postfix", "to": "dovecot"}},
        },
        "secrets": {
            "ca.pem": mail_lab.ca_file.read_text(),
            "senders.postfix.password": account.password,
            "mailboxes.dovecot.password": account.password,
        },
    }


def as_podman_understands(documents: list[Document], name: str, port: int) -> Iterator[Document]:
    """The Pod of the Deployment on the host's network, and what it mounts.

    podman 4.3 mounts the values of a Secret as they are written, in base64: they come from a ConfigMap here.
    """
    for document in documents:
        if document["kind"] == "Deployment":
            template = document["spec"]["template"]
            template["spec"]["hostNetwork"] = True
            (container,) = template["spec"]["containers"]
            del container["ports"]
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                container[probe]["httpGet"]["port"] = port
            for volume in template["spec"]["volumes"]:
                if volume.pop("secret", None):
                    volume["configMap"] = {"name": f"{name}-secrets"}
            template["metadata"]["name"] = name
            yield {"apiVersion": "v1", "kind": "Pod", **template}
        elif document["kind"] == "Secret":
            files = {key: b64decode(value).decode() for key, value in document["data"].items()}
            yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-secrets"}, "data": files}
        elif document["kind"] in ("ConfigMap", "PersistentVolumeClaim"):
            yield document


@pytest.fixture
def pod(engine: Engine, values: Document, tmp_path: Path) -> Iterator[str]:
    """The name of the running Pod."""
    name = values["fullnameOverride"]
    file = tmp_path / "pod.yaml"
    file.write_text(yaml.safe_dump_all(as_podman_understands(rendered(values), name, port_of(values))))
    try:
        engine("podman", "play", "kube", str(file))
        yield name
    finally:
        engine("podman", "pod", "rm", "--force", "--time", "0", name, check=False)
        engine("podman", "volume", "rm", name, f"{name}-secrets", check=False)


def test_the_pod_probes_and_keeps_its_journal(engine: Engine, pod: str, values: Document, tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path, listen=port_of(values))
    agent.until(lambda: agent.get("/-/ready")[0] == 200, 60.0, "ready")
    agent.until(lambda: agent.metrics().value("mailprobe_canaries_total", outcome="delivered"), 60.0, "a delivery")
    agent.until(lambda: agent.metrics().value("mailprobe_journal_rows"), 60.0, "the journal")
    container = f"{pod}-mailprobe"
    process = engine.inspect("container", container)["State"]["Pid"]
    status = dict(re.findall(r"^(\w+):\s*(.*)$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE))
    assert set(status["Uid"].split()) == {"65532"}
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    engine("podman", "stop", "--time", "5", container)
    assert engine.inspect("container", container)["State"]["ExitCode"] == 0
