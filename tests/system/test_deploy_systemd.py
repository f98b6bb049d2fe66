"""The systemd unit: understood, hardened, and the agent runs under its filter of system calls."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from support.containers import Engine
from support.servers import require_programs
from support.sidecars import Sidecar

from mailprobe.config.load import load

pytestmark = [pytest.mark.server("systemd"), pytest.mark.timeout(600)]

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "systemd" / "mailprobe.service"
EXPOSURE = 1.5
"""At most; of 10. What is left is that it talks to the network."""


def settings() -> dict[str, list[str]]:
    """The values of each setting of the unit."""
    found = defaultdict(list)
    for name, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE):
        found[name].append(value)
    return found


def analyzed(*arguments: str) -> str:
    """What systemd-analyze says; it needs no systemd that runs."""
    require_programs("systemd", ["systemd-analyze"], "systemd")
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_unit_is_understood(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/mailprobe/bin/mailprobe", sys.executable))
    assert analyzed("verify", str(unit)) == ""


def test_the_unit_is_hardened() -> None:
    said = analyzed("security", "--offline=true", "--no-pager", str(UNIT))
    found = re.search(r"Overall exposure level for mailprobe.service: ([0-9.]+)", said)
    assert found
    assert float(found[1]) <= EXPOSURE, said


def test_its_credentials_are_found(tmp_path: Path) -> None:
    """The directory of credentials is flat: one file for each LoadCredential that the documentation shows."""
    environment = dict(line.split("=", 1) for line in settings()["Environment"])
    environment = {name: value.replace("%d", str(tmp_path)) for name, value in environment.items()}
    environment["MAILPROBE_AGENT__JOURNAL"] = str(tmp_path / "journal.db")
    file = tmp_path / "mailprobe.yaml"
    file.write_text(
        "senders: {office365: {provider: microsoft365, from: a@lab.test, auth: &login {username: a, oauth2: "
        "{provider: microsoft365, tenant: lab.test, client_id: c}}}}\n"
        "mailboxes: {contoso: {provider: microsoft365, address: a@lab.test, auth: *login}}\n"
        "routes: {r: {from: office365, to: contoso}}\n"
    )
    shown = re.findall(r"^LoadCredential=([\w.]+):/", (DEPLOY / "README.md").read_text(), re.MULTILINE)
    assert f"LoadCredential={shown[0]}:" in UNIT.read_text()
    for name in shown:
        (tmp_path / name).write_text("hunter2")
    configuration = load(file, environment)
    assert configuration.warnings == ()
    assert configuration.plan.routes.keys() == {"r"}


def allowed() -> list[str]:
    """The system calls that the unit allows, by the sets of this machine's systemd."""
    text = analyzed("syscall-filter")
    sets = {
        name: [line.strip() for line in lines.splitlines() if line.strip() and not line.strip().startswith("#")]
        for name, lines in re.findall(r"^(@[\w-]+)\n((?:[ ]+.*\n?)*)", text, re.MULTILINE)
    }

    def calls(names: list[str]) -> set[str]:
        return {call for name in names for call in (calls(sets[name]) if name.startswith("@") else {name})}

    found: set[str] = set()
    for value in settings()["SystemCallFilter"]:
        if value.startswith("~"):
            found -= calls(value[1:].split())
        else:
            # what every filter allows besides. Source: systemd.exec(5)
            found |= calls([*value.split(), "@default"])
    return sorted(found)


def test_the_agent_runs_under_its_filter(engine: Engine, image: str, sidecar: Sidecar, tmp_path: Path) -> None:
    """The same list, given to a container: what it does not allow fails with EPERM, as in the unit."""
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 1,
        "syscalls": [{"names": allowed(), "action": "SCMP_ACT_ALLOW"}],
    }
    file = tmp_path / "seccomp.json"
    file.write_text(json.dumps(profile))
    assert settings()["SystemCallErrorNumber"] == ["EPERM"]
    with engine.running(image, (*sidecar.options, "--security-opt", f"seccomp={file}")) as name:
        sidecar.wait_ready()
        sidecar.wait_for("delivered")
        engine("podman", "kill", "--signal", "HUP", name)  # which reads the file in a child
        sidecar.agent.until(lambda: "configuration reloaded" in engine.logs(name), 60.0, "a reload")
        engine("podman", "stop", "--time", "5", name)
        assert engine.inspect("container", name)["State"]["ExitCode"] == 0


def test_it_is_told_by_the_notifications_that_the_agent_sends() -> None:
    """tests/system/test_agent_notify.py hears them."""
    found = settings()
    assert (found["Type"], found["NotifyAccess"]) == (["notify"], ["main"])
    assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert shutil.which("kill", path="/bin")


def test_it_never_gives_up() -> None:
    """Exit status 2 is a wrong configuration, but also a port that is taken: one that may be free the next time."""
    found = settings()
    assert "RestartPreventExitStatus" not in found
    assert (found["Restart"], found["StartLimitIntervalSec"]) == (["on-failure"], ["0"])
    assert found["TimeoutStartSec"] == ["600s"]  # of a journal at its bound, on a cold disk


def test_the_metrics_of_the_process_are_not_hidden() -> None:
    """prometheus_client reads /proc/stat for all of process_*; ProcSubset=pid hides it."""
    assert (settings()["ProcSubset"], settings()["ProtectProc"]) == (["all"], ["invisible"])
