"""deploy/compose.yaml: what it names is there, its images are pinned, and its agent runs as it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.agents import AgentProcess
from support.containers import Engine

from mailprobe import __version__

pytestmark = pytest.mark.timeout(600)

FILE = Path(__file__).parents[2] / "deploy" / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
KEYS = {
    *("image", "build", "command", "read_only", "tmpfs", "cap_drop", "security_opt", "ports", "restart"),
    *("configs", "volumes", "environment"),
}
"""What it uses of the compose specification: a key that is not here is a typo, or has to be looked up first."""


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_restricted_to_this_machine_and_names_what_is_there(name: str) -> None:
    service = SERVICES[name]
    assert service.keys() <= KEYS
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+\.\d+", service["image"])
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in service["ports"])
    assert {each["source"] for each in service.get("configs", ())} <= COMPOSE["configs"].keys()
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        if source.startswith("."):
            assert (FILE.parent / source).is_dir()
            assert volume.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]


def test_prometheus_scrapes_and_tells_the_other_services() -> None:
    settings = yaml.safe_load(COMPOSE["configs"]["prometheus"]["content"])
    (scraped,) = settings["scrape_configs"]
    targets = scraped["static_configs"][0]["targets"]
    targets += settings["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    for host, _, port in (target.partition(":") for target in targets):
        assert f"127.0.0.1:{port}:{port}" in SERVICES[host]["ports"]
    assert "./prometheus:/etc/prometheus/rules:ro" in SERVICES["prometheus"]["volumes"]
    assert settings["rule_files"] == ["/etc/prometheus/rules/*.rules.yml"]


def test_alertmanager_tells_nobody() -> None:
    """So that no alert leaves the machine."""
    settings = yaml.safe_load(COMPOSE["configs"]["alertmanager"]["content"])
    assert settings["receivers"] == [{"name": settings["route"]["receiver"]}]


def test_the_agent_runs_as_the_file_says(engine: Engine, image: str, tmp_path: Path) -> None:
    service = SERVICES["mailprobe"]
    assert service["image"] == f"mailprobe:{__version__}"
    assert (service["cap_drop"], service["read_only"]) == (["ALL"], True)
    agent = AgentProcess(tmp_path)
    options = [f"--security-opt={option}" for option in service["security_opt"]]
    options += [f"--tmpfs={place}" for place in service["tmpfs"]]
    # podman's own tmpfs on /tmp and elsewhere are not docker's
    options += ["--read-only", "--read-only-tmpfs=false", "--cap-drop=ALL"]
    options += ["--network=host", f"--env=MAILPROBE_AGENT__LISTEN=[::]:{agent.port}"]
    command = service["command"].replace("${MAILPROBE_DEMO:-}", "").split()
    with engine.running(image, options, *command):
        agent.until(lambda: agent.get("/-/ready")[0] == 200, 60.0, "ready")
        agent.until(lambda: agent.metrics().value("mailprobe_canaries_total", outcome="delivered"), 60.0, "a delivery")
        assert agent.get("/")[0] == 200
