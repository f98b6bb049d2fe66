"""The command line itself: what it offers, what it must not import to say so, and how it logs."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from mailprobe import __version__
from mailprobe.cli import COMMANDS, logs, main

HEAVY = (
    "pydantic",
    "pydantic_settings",
    "yaml",
    "asyncio",
    "aiohttp",
    "aiosmtplib",
    "aioimaplib",
    "rich",
    "dns",
    "sqlite3",
)


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, ours = root.handlers[:], root.level, logging.getLogger("mailprobe").level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("mailprobe").setLevel(ours)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(option: str) -> None:
    """So that they answer at once; what is imported is counted instead of timed."""
    done = python("-X", "importtime", "-m", "mailprobe", option)
    assert done.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "mailprobe.cli" in imported
    assert not imported & set(HEAVY)


def test_version() -> None:
    assert python("-m", "mailprobe", "--version").stdout == f"mailprobe {__version__}\n"


def test_help_names_every_command_with_what_it_does() -> None:
    said = CliRunner().invoke(main, ["--help"]).stdout
    for name, (_, text) in COMMANDS.items():
        assert f"  {name} " in said
        assert text in " ".join(said.split())


@pytest.mark.parametrize("name", ["check", "config"])
def test_the_help_in_the_table_is_that_of_the_command(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.get_short_help_str(200) == COMMANDS[name][1]


def test_no_help_text_is_longer_than_a_line() -> None:
    assert all(len(line) <= 80 for line in CliRunner().invoke(main, ["--help"]).stdout.splitlines())


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["chekc"])
    assert result.exit_code == 2
    assert "No such command" in result.stderr


def test_completion_needs_no_command_module() -> None:
    found = ShellComplete(main, {}, "mailprobe", "_MAILPROBE_COMPLETE").get_completions([], "c")
    assert [item.value for item in found] == ["check", "config"]
    found = ShellComplete(main, {}, "mailprobe", "_MAILPROBE_COMPLETE").get_completions([], "--v")
    assert [item.value for item in found] == ["--version", "--verbose"]


@pytest.mark.usefixtures("restored_logging")
def test_logs_as_text_are_one_safe_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up()
    logging.getLogger("mailprobe.imap").info("said %s", "a\r\nb\x1b[31m")
    logging.getLogger("mailprobe.imap").debug("not said")
    captured = capsys.readouterr()
    assert captured.out == ""
    time, _, rest = captured.err.partition(" ")
    assert time.endswith("Z")
    assert rest == "INFO mailprobe.imap: said a��b�[31m\n"


@pytest.mark.usefixtures("restored_logging")
def test_logs_as_json_are_an_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(as_json=True)
    try:
        raise RuntimeError("two\nlines")
    except RuntimeError:
        logging.getLogger("mailprobe.probe").exception('a "task" failed')
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert (said["level"], said["logger"], said["message"]) == ("error", "mailprobe.probe", 'a "task" failed')
    assert "RuntimeError: two\nlines" in said["traceback"]


@pytest.mark.usefixtures("restored_logging")
def test_no_option_makes_libraries_log_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    """aioimaplib logs passwords at DEBUG."""
    logs.set_up(verbose=True)
    logging.getLogger("mailprobe.imap").debug("ours")
    logging.getLogger("aioimaplib.aioimaplib").debug("hunter2")
    logging.getLogger("aioimaplib.aioimaplib").info("hunter2")
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == ["ours"]


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize(
    ("arguments", "level", "formatter"),
    [
        ([], logging.INFO, logs.TextFormatter),
        (["check", "-v"], logging.DEBUG, logs.TextFormatter),
        (["check", "--log-format", "json"], logging.INFO, logs.JsonFormatter),
        (["-v", "check", "--log-format=json"], logging.DEBUG, logs.JsonFormatter),
        (["--log-format=json", "check", "-v"], logging.DEBUG, logs.JsonFormatter),
        (["--log-format=json", "check", "--log-format=text"], logging.INFO, logs.TextFormatter),
    ],
)
def test_options_of_logging_may_stand_after_the_command(
    arguments: list[str], level: int, formatter: type[logging.Formatter]
) -> None:
    result = CliRunner().invoke(main, [*(arguments or ["check"]), "-c", "nothing-here.yaml"])
    assert "nothing-here.yaml: this file does not exist" in result.stderr
    assert logging.getLogger("mailprobe").level == level
    assert type(logging.getLogger().handlers[-1].formatter) is formatter


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_takes_them(name: str) -> None:
    said = CliRunner().invoke(main, [name, "--help"]).stdout
    assert "--log-format [text|json]" in said
    assert "--verbose" in said
