"""`mailprobe check`: problems to stderr, a summary to stdout, and the exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.config_files import many_routes

from mailprobe.cli import main

GOOD = """\
senders:
  office: {submission: "localhost:2525", tls: plaintext, from: canary@example.com}
  outside: {mx: true, from: canary@probe.example.net}
mailboxes:
  inbox:
    address: canary@example.com
    imap: imap.example.com:993
    auth: {username: canary, password_env: CANARY_PASSWORD}
routes:
  internal: {from: office, to: inbox}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CANARY_PASSWORD", "hunter2")
    path = tmp_path / "mailprobe.yaml"
    path.write_text(GOOD)
    return path


def check(file: Path) -> Result:
    return CliRunner().invoke(main, ["check", "-c", str(file)])


def test_a_good_file(file: Path) -> None:
    result = check(file)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"{file}: good",
        "1 route",
        "  internal  office to inbox  every 1m, deadline 5m",
        "1 sender",
        "  office  localhost:2525  plaintext, from canary@example.com",
        "1 mailbox",
        "  inbox  imap.example.com:993  implicit, canary@example.com",
    ]
    assert result.stderr == f"{file}:3:3: senders.outside: is used by no route (warning)\n"


def test_every_problem_goes_to_stderr(file: Path) -> None:
    file.write_text(GOOD.replace("to: inbox", "to: imbox").replace("2525", "x"))
    result = check(file)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 2
    assert all(line.startswith(f"{file}:") for line in result.stderr.splitlines())


def test_a_missing_file(tmp_path: Path) -> None:
    result = check(tmp_path / "nothing.yaml")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr


def test_a_missing_option() -> None:
    result = CliRunner().invoke(main, ["check"])
    assert result.exit_code == 2
    assert "--config" in result.stderr


def test_a_large_file_has_a_short_summary_in_eighty_columns(tmp_path: Path) -> None:
    lines = check(many_routes(tmp_path, 1000)).stdout.splitlines()[1:]
    assert lines[0] == "1000 routes"
    assert "  and 980 more" in lines
    assert len(lines) < 70
    assert all(len(line) <= 80 for line in lines)
