"""The container image: built, and run as strictly as anybody runs it, as a sidecar of Postfix and Dovecot."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.containers import BASE, SAME_TIME, Engine, build
from support.one_shot import TRACEBACK
from support.sidecars import Sidecar

pytestmark = pytest.mark.timeout(600)

USER = 65532


@pytest.fixture
def running(engine: Engine, image: str, sidecar: Sidecar) -> Iterator[str]:
    """The name of its container."""
    with engine.running(image, sidecar.options) as name:
        sidecar.wait_ready()
        yield name


def test_what_the_image_says_of_itself(engine: Engine, image: str) -> None:
    found = engine.inspect("image", image)
    config = found["Config"]
    assert config["User"] == f"{USER}:{USER}"
    assert config["Entrypoint"] == ["mailprobe"]  # no shell between
    assert config["Cmd"] == ["run", "--config", "/etc/mailprobe/mailprobe.yaml"]
    assert config["Volumes"].keys() == {"/var/lib/mailprobe"}
    assert config["ExposedPorts"].keys() == {"10587/tcp"}
    assert found["Healthcheck"]["Test"] == ["CMD", "mailprobe", "healthcheck"]
    assert found["Healthcheck"]["StartPeriod"] == 600 * 10**9  # a large journal on a cold disk
    assert config["Labels"]["org.opencontainers.image.title"] == "mailprobe"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "GPL-3.0-only"
    assert found["Size"] - engine.inspect("image", BASE)["Size"] < 120_000_000


def test_who_builds_it_again_gets_the_same(engine: Engine, image: str) -> None:
    names = [f"localhost/mailprobe-again:{os.getpid()}-{number}" for number in (1, 2)]
    try:
        for name in names:
            build(engine, name, "--no-cache", *SAME_TIME)
        layers = [engine.inspect("image", name)["RootFS"]["Layers"] for name in names]
    finally:
        engine("podman", "rmi", "--force", *names, check=False)
    assert layers[0] == layers[1]


def test_a_sidecar_probes_answers_reloads_and_stops(engine: Engine, image: str, sidecar: Sidecar, running: str) -> None:
    sidecar.wait_for("delivered")
    process = engine.inspect("container", running)["State"]["Pid"]
    status = dict(re.findall(r"^(\w+):\s*(.*)$", Path(f"/proc/{process}/status").read_text(), re.MULTILINE))
    assert status["NSpid"].split()[-1] == "1"
    assert set(status["Uid"].split()) == {str(USER)}
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    (_, *healthcheck) = engine.inspect("image", image)["Healthcheck"]["Test"]
    assert engine("podman", "exec", running, *healthcheck).stdout == "answered 200\n"
    engine("podman", "kill", "--signal", "HUP", running)
    sidecar.agent.until(lambda: "configuration reloaded: 1 routes" in engine.logs(running), 60.0, "a reload")
    # what had not ended in these five seconds would be killed, and end with 137
    engine("podman", "stop", "--time", "5", running)
    assert engine.inspect("container", running)["State"]["ExitCode"] == 0
    assert TRACEBACK not in engine.logs(running)


def test_the_journal_outlives_its_container(engine: Engine, image: str, sidecar: Sidecar) -> None:
    volume = f"mailprobe-test-{os.getpid()}"
    options = (*sidecar.options, "--volume", f"{volume}:/var/lib/mailprobe")
    try:
        with engine.running(image, options) as first:
            sidecar.wait_ready()
            sidecar.wait_for("delivered", 2)
            engine("podman", "kill", "--signal", "KILL", first)
        sidecar.agent.write(sidecar.agent.file.read_text().replace('"1s"', '"1h"'))  # no new canary
        with engine.running(image, options):
            sidecar.wait_ready()
            assert sidecar.agent.metrics().value("mailprobe_journal_rows") >= 2
            assert 'class="spark"' in sidecar.agent.get("/")[1]  # drawn from it
    finally:
        engine("podman", "volume", "rm", "--force", volume, check=False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("routes: {a: {from: nobody, to: nowhere}}", "mailprobe.yaml:1:14: routes.a.from: there is no sender nobody"),
        ("agent: {nmae: side}", "mailprobe.yaml:1:9: agent.nmae: "),
    ],
)
def test_a_bad_configuration_is_said_and_not_run(
    engine: Engine, image: str, sidecar: Sidecar, text: str, said: str
) -> None:
    sidecar.agent.write(text)
    done = engine("podman", "run", "--rm", "--no-healthcheck", *sidecar.options, image, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert TRACEBACK not in done.stderr


def test_a_journal_that_cannot_be_written_is_said(engine: Engine, image: str, sidecar: Sidecar) -> None:
    settings = json.loads(sidecar.agent.file.read_text())
    settings["agent"]["journal"] = "/opt/journal.db"  # of the root, which is read-only
    sidecar.agent.write(json.dumps(settings))
    done = engine("podman", "run", "--rm", "--no-healthcheck", *sidecar.options, image, check=False)
    assert done.returncode == 2
    assert "/opt/journal.db" in done.stderr
    assert TRACEBACK not in done.stderr


def test_sigterm_before_it_runs_ends_it(engine: Engine, image: str, sidecar: Sidecar) -> None:
    """The kernel does not end the first process of a container by a signal that it has no handler for."""
    sidecar.agent.file.unlink()
    os.mkfifo(sidecar.agent.file)  # whoever reads it waits
    with engine.running(image, sidecar.options) as name:
        sidecar.agent.until(lambda: len(engine("podman", "top", name, "pid").stdout.split()) > 2, 60.0, "its reader")
        engine("podman", "stop", "--time", "30", name)
        assert engine.inspect("container", name)["State"]["ExitCode"] == 3
        assert TRACEBACK not in engine.logs(name)
