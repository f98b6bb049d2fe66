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


BAD_WEB = """\
basic_auth_users: {prometheus: secret}
tls_server_config: {cert_file: nothing.pem, key_file: nothing.pem}
rate_limit: {}
"""


def with_web(file: Path, text: str, more: str = "") -> Result:
    (file.parent / "web.yaml").write_text(text)
    file.write_text(f"agent: {{web_config_file: web.yaml{more}}}\n{GOOD}")
    return check(file)


def test_a_web_configuration_that_run_would_refuse(file: Path) -> None:
    result = with_web(file, BAD_WEB)
    assert (result.exit_code, result.stdout) == (2, "")
    said = result.stderr.splitlines()
    assert all(line.startswith(f"{file.parent}/web.yaml:") for line in said)
    for words in ("must be a bcrypt hash", "cert_file: no such file", "rate_limit: "):
        assert any(words in line for line in said)


def test_a_certificate_that_is_none(file: Path) -> None:
    (file.parent / "cert.pem").write_text("no certificate")
    result = with_web(file, "tls_server_config: {cert_file: cert.pem, key_file: cert.pem}\n")
    assert result.exit_code == 2
    assert "cert.pem: not usable for TLS" in result.stderr


def test_its_problems_are_among_the_others(file: Path) -> None:
    result = with_web(file, BAD_WEB, ", name: No Name")
    assert result.exit_code == 2
    assert "agent.name: must be made of" in result.stderr
    assert "must be a bcrypt hash" in result.stderr


def test_a_good_web_configuration(file: Path) -> None:
    result = with_web(file, "http_server_config: {http2: false}\n")
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    ("promise", "words"),
    [
        ("retry: [2m], deadline: 1m", "deadline 1m leaves room for no pause"),
        ("retry: [1m, 2m, 2m]", "deadline 5m leaves room for only the first 2 of 3 pauses"),
        ("retry: [1m, 2m]", ""),
        ("retry: []", ""),
    ],
)
def test_pauses_that_the_deadline_leaves_no_room_for(file: Path, promise: str, words: str) -> None:
    file.write_text(GOOD.replace("to: inbox}", f"to: inbox, {promise}}}"))
    result = check(file)
    assert result.exit_code == 0
    said = [line for line in result.stderr.splitlines() if "routes.internal.retry" in line]
    assert [words in line for line in said] == [True] * bool(words)
