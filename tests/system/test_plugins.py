"""The definitions for Nagios and Icinga 2: their very command lines, macros filled in, against real servers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import pytest
from support.one_shot import WITHIN, by_url, configuration, environment, written
from support.rules import DEPLOY
from support.servers_dovecot import Account
from support.servers_fixtures import MailLab

from mailprobe.cli import main

NAGIOS = DEPLOY / "nagios" / "mailprobe.cfg"
ICINGA = DEPLOY / "icinga2" / "mailprobe.conf"
INSTALLED = str(Path(sys.executable).parent)
"""The virtual environment of the tests: mailprobe is in it as in /opt/mailprobe/bin."""
OK, CRITICAL = 0, 2


@pytest.fixture
def account(mail_lab: MailLab) -> Account:
    return mail_lab.new_account()


def ran(command: str | list[str]) -> tuple[int, str]:
    """Exit status and standard output; a text is run by a shell, as Nagios does."""
    shell = isinstance(command, str)
    done = subprocess.run(command, shell=shell, capture_output=True, text=True, env=environment(), timeout=WITHIN)
    return done.returncode, done.stdout


def nagios(name: str, *arguments: str) -> str:
    """The command line of a definition with its macros filled in."""
    definitions = re.findall(r"define command \{(.*?)\n\}", NAGIOS.read_text(), re.DOTALL)
    (line,) = [found[1] for text in definitions if (found := _command(text))[0] == name]
    line = line.replace("$USER2$", INSTALLED)
    return re.sub(r"\$ARG(\d)\$", lambda macro: arguments[int(macro[1]) - 1], line)


def _command(definition: str) -> tuple[str, str]:
    fields = dict(line.split(None, 1) for line in definition.strip().splitlines())
    return fields["command_name"], fields["command_line"]


def icinga(**variables: str | list[str]) -> list[str]:
    """The command line of the CheckCommand. A macro without a value leaves its argument out, as in Icinga 2."""
    text, _, _ = ICINGA.read_text().partition("/* An example. */")
    defaults = dict(re.findall(r'vars\.(mailprobe_\w+) = "(.*?)"$', text, re.MULTILINE))
    values: Mapping[str, str | list[str]] = defaults | variables
    command = [INSTALLED + "/mailprobe", "probe"]
    routes: list[str] = []
    for key, plain, block in re.findall(r'^    "([\w-]+)" = (?:"(.*?)"|\{(.*?)\})$', text, re.MULTILINE):
        macro = re.search(r"\$(\w+)\$", plain or block)
        value = values.get(macro[1]) if macro else plain
        if value is None:
            continue
        if "skip_key = true" in block:
            routes = list(value)
        else:
            command += [key] if "set_if" in block else [key, str(value)]
    return [*command, *routes]


def password_file(directory: Path, account: Account) -> str:
    file = directory / "password"
    file.write_text(account.password)
    return str(file)


@pytest.mark.parametrize(("detail", "status", "word"), [("", OK, "OK"), ("nouser", CRITICAL, "CRITICAL")])
def test_nagios_by_file(
    mail_lab: MailLab, account: Account, tmp_path: Path, detail: str, status: int, word: str
) -> None:
    document = configuration(mail_lab, account)
    document["mailboxes"]["dovecot"]["address"] = account.with_detail(detail) if detail else account.address
    file = written(tmp_path, document, account)
    found, said = ran(nagios("check_mailprobe_route", str(file), "25s", "20s", "home"))
    assert (found, said.startswith(f"MAILPROBE {word} - ")) == (status, True), said


def test_nagios_by_url(mail_lab: MailLab, account: Account, tmp_path: Path) -> None:
    smtp, imap, to, ca_file = (option.partition("=")[2] for option in by_url(mail_lab, account))
    password = password_file(tmp_path, account)
    line = nagios("check_mailprobe", smtp, imap, to, password, password, "25s", "20s", f"--ca-file={ca_file}")
    found, said = ran(line)
    assert (found, said.startswith("MAILPROBE OK - ")) == (OK, True), said


def test_icinga_by_file(mail_lab: MailLab, account: Account, tmp_path: Path) -> None:
    file = written(tmp_path, configuration(mail_lab, account), account)
    found, said = ran(icinga(mailprobe_config=str(file), mailprobe_routes=["home"]))
    assert (found, said.startswith("MAILPROBE OK - ")) == (OK, True), said


def test_icinga_by_url(mail_lab: MailLab, account: Account, tmp_path: Path) -> None:
    smtp, imap, _, ca_file = (option.partition("=")[2] for option in by_url(mail_lab, account))
    password = password_file(tmp_path, account)
    command = icinga(
        mailprobe_smtp=smtp,
        mailprobe_imap=imap,
        mailprobe_to=account.with_detail("nouser"),
        mailprobe_smtp_password_file=password,
        mailprobe_imap_password_file=password,
        mailprobe_ca_file=ca_file,
        mailprobe_timeout="25s",
        mailprobe_warning="20s",
    )
    found, said = ran(command)
    assert (found, said.startswith("MAILPROBE CRITICAL - ")) == (CRITICAL, True), said


def test_every_option_of_the_definitions_exists() -> None:
    command = main.get_command(click.Context(main), "probe")
    assert command
    known = {option for parameter in command.get_params(click.Context(command)) for option in parameter.opts}
    for file in (NAGIOS, ICINGA):
        options = set(re.findall(r"(?<![\w-])--[a-z-]+", file.read_text()))
        assert options - {"--timeout"}
        assert options <= known
