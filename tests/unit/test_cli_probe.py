"""`mailprobe probe`: what it imports to begin, and options that are read before anything is sent."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.one_shot import command, environment

from mailprobe.cli import main
from mailprobe.cli.oneshot import shaped
from mailprobe.cli.probe import Duration
from mailprobe.cli.probe import _name as named
from mailprobe.model import SenderKind, TlsMode
from mailprobe.plan import Cleanup, Endpoint, Login, Mailbox, Plan, Route, SecretReference, Sender

HEAVY = (
    "pydantic",
    "pydantic_settings",
    "yaml",
    "aiohttp",
    "rich",
    "cryptography",
    "dns",
    "sqlite3",
    "prometheus_client",
)
"""Each costs 20 to 100 ms, of the 250 that the whole may take."""


def imported(*arguments: str) -> set[str]:
    line = command(*arguments)
    line[1:1] = ["-X", "importtime"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=30, env=environment("x", "x"))
    names = (text.rpartition("|")[2].strip() for text in done.stderr.splitlines() if text.startswith("import time:"))
    return set(names)


@pytest.mark.parametrize("format_", ["text", "json", "nagios"])
def test_urls_with_addresses_need_nothing_heavy(format_: str) -> None:
    """Both servers refuse the connection, which is far enough to have imported everything but TLS."""
    urls = ["--smtp=smtps://u@127.0.0.1:9", "--imap=imaps://u@127.0.0.1:9", "--to=a@b.example"]
    found = imported("probe", *urls, f"--format={format_}")
    assert "mailprobe.probe.crew" in found
    assert found & set(HEAVY) == set()


def test_help_needs_no_mail_library() -> None:
    found = imported("probe", "--help")
    assert "mailprobe.cli.show" in found
    assert found & {*HEAVY, "aiosmtplib", "aioimaplib", "uvloop"} == set()


LOGIN = Login("u", SecretReference(env="X"))


def endpoint(port: int) -> Endpoint:
    return Endpoint("127.0.0.1", port, TlsMode.IMPLICIT)


def plan() -> Plan:
    home, returns, other = (Mailbox(name, "a@b.example", endpoint(993), LOGIN) for name in ("home", "returns", "other"))
    sender = Sender("out", SenderKind.SUBMISSION, endpoint(465), "a@b.example", "b.example", bounces_to="returns")
    routes = {
        name: Route(name, sender, mailbox, 60.0, 300.0, 86400.0, 30.0)
        for name, mailbox in (("to-home", home), ("to-other", other))
    }
    return Plan(routes, {"out": sender}, {"home": home, "returns": returns, "other": other})


def test_a_run_needs_only_a_part_of_the_plan() -> None:
    part = shaped(plan(), ["to-home"], 20.0, keep=False)
    assert set(part.routes) == {"to-home"}
    assert set(part.mailboxes) == {"home", "returns"}, "and where the sender's bounces arrive"
    route = part.routes["to-home"]
    assert (route.deadline, route.late_until, route.timeout) == (20.0, 20.0, 20.0)
    assert route.mailbox is part.mailboxes["home"]
    assert route.mailbox.timeout == 20.0


def test_a_long_timeout_makes_no_stage_longer() -> None:
    assert shaped(plan(), ["to-home"], 300.0, keep=False).routes["to-home"].timeout == 30.0


def test_keep_keeps_everywhere() -> None:
    part = shaped(plan(), ["to-home", "to-other"], 20.0, keep=True)
    assert {mailbox.cleanup for mailbox in part.mailboxes.values()} == {Cleanup.KEEP}
    assert {route.mailbox.cleanup for route in part.routes.values()} == {Cleanup.KEEP}


URLS = ["--smtp=smtps://u@127.0.0.1:9", "--imap=imaps://u@127.0.0.1:9", "--to=a@b.example"]


def probe(monkeypatch: pytest.MonkeyPatch, *options: str, **passwords: str) -> Result:
    for side in ("SMTP", "IMAP"):
        monkeypatch.setenv(f"MAILPROBE_{side}_PASSWORD", passwords.get(side, "x"))
    return CliRunner().invoke(main, ["probe", *URLS, *options])


@pytest.mark.parametrize("side", ["SMTP", "IMAP"])
def test_an_empty_password_is_no_password(monkeypatch: pytest.MonkeyPatch, side: str, tmp_path: Path) -> None:
    result = probe(monkeypatch, **{side: ""})
    assert (result.exit_code, result.stdout) == (3, "")
    option = f"--{side.lower()}"
    assert f"{option}: no password for u: the password is empty" in result.stderr
    empty = tmp_path / "password"
    empty.write_text("\n")
    result = probe(monkeypatch, f"{option}-password-file={empty}")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith(f"{option}: no password for u: ")
    assert str(empty) in result.stderr


def test_both_empty_passwords_are_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(probe(monkeypatch, SMTP="", IMAP="").stderr.splitlines()) == 2


@pytest.mark.parametrize(("text", "seconds"), [("60", 60.0), ("5", 5.0), ("250ms", 0.25), ("2m", 120.0)])
def test_durations_may_be_plain_seconds(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


def test_a_bug_is_unknown_and_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("mailprobe.cli.probe._require", broken)
    result = CliRunner().invoke(main, ["probe", *URLS])
    assert result.exit_code == 3
    assert "RuntimeError: a bug" in result.stderr


def test_two_at_once_are_two_agents() -> None:
    names = {named("fra1") for _ in range(20)}
    assert len(names) == 20
    assert {name.rpartition("-")[0] for name in names} == {"fra1-probe"}


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "\u00b2", "1 m"])
def test_what_is_no_duration(text: str) -> None:
    result = CliRunner().invoke(main, ["probe", *URLS, f"--timeout={text}"])
    assert result.exit_code == 3
    assert "--timeout" in result.stderr


def test_help_says_what_is_printed_where_nobody_looks() -> None:
    said = " ".join(CliRunner().invoke(main, ["probe", "--help"]).stdout.split())
    assert "[default: 60s]" in said
    assert "text on a terminal, else json" in said
