"""The systemd unit: understood, hardened, and the agent runs under its filter of system calls."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from support.containers import Engine
from support.reporting import written
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


def documented(pattern: str) -> list[str]:
    """What the documentation of the service shows."""
    _, _, rest = (DEPLOY / "README.md").read_text().partition("\n## systemd\n")
    return re.findall(pattern, rest.partition("\n## ")[0], re.MULTILINE)


def moved(text: str, directory: Path) -> str:
    """With the places of the service in this directory."""
    for place in ("/etc/mailprobe", "/var/lib/mailprobe"):
        text = text.replace(place, str(directory))
    return text


CONFIGURATION = (
    "senders: {office365: {provider: microsoft365, from: a@lab.test, auth: &login {username: a, oauth2: "
    "{provider: microsoft365, tenant: lab.test, client_id: c}}}}\n"
    "mailboxes: {contoso: {provider: microsoft365, address: a@lab.test, auth: *login}}\n"
    "routes: {r: {from: office365, to: contoso}}\n"
)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Where configuration and secrets are, put there by the commands that the documentation shows."""
    (tmp_path / "mailprobe.yaml").write_text(CONFIGURATION)
    (tmp_path / "o365").write_text("hunter2")
    place = tmp_path / "place"
    for command in documented(r"^install .* /etc/mailprobe/\S+"):
        subprocess.run(moved(command, place), shell=True, check=True, cwd=tmp_path)
    return place


def test_its_credentials_are_found(installed: Path, tmp_path: Path) -> None:
    """The directory of credentials is flat: one file for each LoadCredential that the documentation shows."""
    given = tmp_path / "credentials"
    given.mkdir()
    shown = documented(r"^LoadCredential=(.*)")
    assert f"LoadCredential={shown[0]}\n" in UNIT.read_text()
    for name, file in (credential.split(":") for credential in shown):
        (given / name).write_bytes(Path(moved(file, installed)).read_bytes())
    environment = dict(line.split("=", 1) for line in settings()["Environment"])
    environment = {name: moved(value, installed).replace("%d", str(given)) for name, value in environment.items()}
    configuration = load(Path(environment["MAILPROBE_CONFIG_FILE"]), environment)
    assert configuration.warnings == ()
    assert configuration.plan.routes.keys() == {"r"}


def test_what_the_documentation_runs_by_hand_runs(installed: Path) -> None:
    asyncio.run(written(installed / "journal.db", "..."))
    commands = documented(r"^(?:export MAILPROBE|/opt/mailprobe/bin/mailprobe ).*")
    assert [re.findall(r"bin/mailprobe (\w+)", command) for command in commands] == [[], ["check"], ["report"]]
    script = moved("\n".join(["set -eu", *commands]), installed)
    script = script.replace("/opt/mailprobe/bin/mailprobe", f"{sys.executable} -m mailprobe")
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{installed / 'mailprobe.yaml'}: good" in done.stdout
    assert "Mail flow as seen by" in done.stdout


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
