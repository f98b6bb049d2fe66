"""A configuration read by a child is the same, and so is what is wrong with it; the reader stays out of the agent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.config_files import many_routes

from mailprobe.config.apart import load_apart
from mailprobe.config.load import load
from mailprobe.errors import ConfigurationError


def test_is_what_load_returns(tmp_path: Path) -> None:
    file = many_routes(tmp_path, 20, senders=3, mailboxes=4)
    assert load_apart(file, os.environ) == load(file, os.environ)


def test_the_environment_counts(tmp_path: Path) -> None:
    file = many_routes(tmp_path, 1)
    environ = {**os.environ, "MAILPROBE_AGENT__NAME": "elsewhere"}
    assert load_apart(file, environ).agent.name == "elsewhere"


def test_problems_are_the_same(tmp_path: Path) -> None:
    file = many_routes(tmp_path, 2)
    file.write_text(file.read_text().replace("to: mailbox-0", "to: nowhere").replace("tls: starttls", "tls: maybe", 1))
    with pytest.raises(ConfigurationError) as wanted:
        load(file, os.environ)
    with pytest.raises(ConfigurationError) as found:
        load_apart(file, os.environ)
    assert found.value.problems == wanted.value.problems
    assert len(found.value.problems) >= 2


def test_a_bug_of_the_child_is_one_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailprobe.config.apart._CHILD", "raise SystemExit(7)")
    with pytest.raises(RuntimeError, match="status 7"):
        load_apart(many_routes(tmp_path, 1), os.environ)


def test_an_agent_does_without_the_reader(tmp_path: Path) -> None:
    code = (
        "import os, sys, pathlib, mailprobe.cli.run as run\n"
        f"run.load_apart(pathlib.Path({str(many_routes(tmp_path, 1))!r}), os.environ)\n"
        "print([name for name in sys.modules if name.partition('.')[0].startswith('pydantic')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
