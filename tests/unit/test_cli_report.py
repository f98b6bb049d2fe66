"""`mailprobe report`: its options, what it prints, and what it says where there is nothing to report."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.reporting import BEGIN, written

from mailprobe.cli import main
from mailprobe.cli.report import moment_of

CONFIGURATION = """
agent: {name: fra1%s}
senders: {outside: {mx: true, from: canary@probe.example.net}}
mailboxes:
  contoso:
    address: canary@contoso.example
    imap: imap.contoso.example:993
    auth: {username: canary, password_env: MAILPROBE_TEST_PASSWORD}
routes: {inbound: {from: outside, to: contoso}}
"""
PERIOD = ("--since", "2027-01-15T08:00Z", "--until", "2027-01-16")


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILPROBE_TEST_PASSWORD", "a password")


def configured(directory: Path, more: str = ", journal: journal.db") -> str:
    file = directory / "mailprobe.yaml"
    file.write_text(CONFIGURATION % more)
    return str(file)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", *arguments])


async def test_every_format(tmp_path: Path) -> None:
    await written(tmp_path / "journal.db", "." * 30 + "DDDDD")
    file = configured(tmp_path)
    results = {name: run("-c", file, *PERIOD, "--format", name) for name in ("text", "markdown", "html", "json")}
    assert {result.exit_code for result in results.values()} == {0}
    assert results["text"].stdout.startswith("Mail flow as seen by fra1\n====")
    assert results["markdown"].stdout.startswith("# Mail flow as seen by fra1\n")
    assert results["html"].stdout.startswith("<!doctype html>")
    assert json.loads(results["json"].stdout)["incidents"][0]["route"] == "inbound"
    assert run("-c", file, *PERIOD).stdout.splitlines()[:5] == results["text"].stdout.splitlines()[:5]


@pytest.mark.parametrize("name", ["text", "markdown", "html", "json"])
async def test_words_that_the_terminal_cannot_show(tmp_path: Path, name: str) -> None:
    await written(tmp_path / "journal.db", "." * 30 + "DDDDD")
    with closing(sqlite3.connect(tmp_path / "journal.db")) as database, database:
        database.execute("UPDATE attempt SET text = '4.3.2 später → 後で' WHERE outcome = 'deferred'")
    result = CliRunner(charset="latin-1").invoke(
        main, ["report", "-c", configured(tmp_path), *PERIOD, "--format", name]
    )
    assert result.exit_code == 0
    said = {"text": "später ? ??".encode("latin-1"), "json": rb"sp\u00e4ter \u2192"}.get(name, "später → 後で".encode())
    assert said in result.stdout_bytes


async def test_one_route(tmp_path: Path) -> None:
    await written(tmp_path / "journal.db", "...", "..")
    file = configured(tmp_path)
    # one that the configuration no longer has is in the journal still
    document = json.loads(run("-c", file, *PERIOD, "--route", "internal", "--format", "json").stdout)
    assert [route["route"] for route in document["routes"]] == ["internal"]
    result = run("-c", file, *PERIOD, "--route", "inbound", "--route", "no-such")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "--route no-such: no such route, neither configured nor in the journal\n"


def test_without_a_journal(tmp_path: Path) -> None:
    result = run("-c", configured(tmp_path, more=""))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "mailprobe.yaml: agent.journal is not configured" in result.stderr


def test_with_a_journal_that_is_not_there(tmp_path: Path) -> None:
    result = run("-c", configured(tmp_path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(
        r"journal .*journal\.db: there is none yet; an agent writes it \(`mailprobe run`\)\n", result.stderr
    )
    assert not (tmp_path / "journal.db").exists()


def test_with_a_wrong_configuration(tmp_path: Path) -> None:
    (tmp_path / "mailprobe.yaml").write_text("routes: 7")
    result = run("-c", str(tmp_path / "mailprobe.yaml"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "mailprobe.yaml:1:" in result.stderr


def test_a_period_that_is_none(tmp_path: Path) -> None:
    result = run("-c", configured(tmp_path), "--since", "1h", "--until", "2h")
    assert result.exit_code == 2
    assert "--since must be before --until" in result.stderr


@pytest.mark.parametrize(
    ("said", "wall"),
    [
        ("24h", BEGIN - 86400.0),
        ("90s", BEGIN - 90.0),
        ("999999d", 0.0),
        ("1066-10-14", 0.0),
        ("2027-01-15T08:00Z", BEGIN),
        ("2027-01-15T09:00+01:00", BEGIN),
        ("2027-01-15 08:00", BEGIN),
        ("2027-01-15", BEGIN - 8 * 3600.0),
    ],
)
def test_moments(said: str, wall: float) -> None:
    assert moment_of(said, BEGIN) == wall


@pytest.mark.parametrize("said", ["yesterday", "", "24", "2027-13-01"])
def test_what_is_no_moment(tmp_path: Path, said: str) -> None:
    result = run("-c", configured(tmp_path), "--since", said)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{said!r} is neither a duration such as 24h nor a time" in result.stderr
