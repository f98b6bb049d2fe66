"""What a person sees on a terminal, whatever kind of terminal it is; and a standard output that goes away."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.imap_script import ImapServer
from support.one_shot import (
    TRACEBACK,
    by_url,
    command,
    configuration,
    environment,
    gives_away,
    on_terminal,
    passwords_of,
    probe,
    written,
)
from support.servers_fixtures import MailLab
from support.smtp_script import SmtpScript, Wire


class Scripted:
    """Two scripted servers on a thread of their own; the SMTP server holds its reply to RCPT until `go`."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.options: list[str] = []
        self._ready = threading.Event()
        self._over = threading.Event()

    async def _serve(self) -> None:
        async def rcpt(wire: Wire) -> None:
            await asyncio.to_thread(self.go.wait, 20)
            await wire.say(b"550 5.1.1 nobody\r\n")

        imap = ImapServer()
        async with imap.running(), SmtpScript(rcpt=rcpt) as smtp:
            self.options = [
                f"--smtp=smtp://127.0.0.1:{smtp.port}?tls=plaintext",
                f"--imap=imap://user@127.0.0.1:{imap.port}?tls=plaintext",
                "--to=user@lab.test",
            ]
            self._ready.set()
            await asyncio.to_thread(self._over.wait)

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=asyncio.run, args=(self._serve(),))
        thread.start()
        self._ready.wait()
        try:
            yield
        finally:
            self.go.set()
            self._over.set()
            thread.join()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    servers = Scripted()
    with servers.running():
        yield servers


def test_stages_appear_as_they_happen(scripted: Scripted) -> None:
    with on_terminal(["probe", *scripted.options], environment(imap="hunter2")) as terminal:
        terminal.wait_for("  mail  ")
        assert "rejected" not in terminal.text
        scripted.go.set()
        terminal.wait_for("rejected at rcpt")
        assert terminal.end() == 2


def test_a_window_that_changes_its_size(scripted: Scripted) -> None:
    with on_terminal(["probe", *scripted.options], environment(imap="hunter2")) as terminal:
        terminal.wait_for("  mail  ")
        for columns in (40, 200, 20, 80):
            terminal.resize(columns)
        terminal.resize(40)
        scripted.go.set()
        assert terminal.end() == 2
    final = terminal.text[terminal.text.rindex("  canary ") - 600 :]
    assert "━" not in final.split("probe: from")[-1], "no bars where there is no room"


@pytest.mark.parametrize(
    ("more", "colours", "bars"),
    [
        ({}, True, "━"),
        ({"NO_COLOR": "1"}, False, "━"),
        ({"TERM": "dumb"}, False, "━"),
        ({"TERM": ""}, False, "━"),
        ({"LANG": "C"}, True, "━"),
        ({"PYTHONIOENCODING": "ascii"}, True, "="),
        ({"PYTHONIOENCODING": "latin-1"}, True, "="),
    ],
    ids=lambda value: " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else None,
)
def test_kinds_of_terminals(mail_lab: MailLab, more: dict[str, str], colours: bool, bars: str) -> None:
    account = mail_lab.new_account()
    arguments = ["probe", *by_url(mail_lab, account), "--transcript"]
    with on_terminal(arguments, passwords_of(account) | {"LANG": "C.UTF-8"} | more) as terminal:
        assert terminal.end() == 0
    assert "delivered in " in terminal.text
    assert (b"\x1b[32m" in terminal.raw) == colours
    assert bars in terminal.text
    assert not gives_away(account, terminal.text)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_no_line_is_longer_than_the_terminal(mail_lab: MailLab, columns: int) -> None:
    account = mail_lab.new_account()
    arguments = ["probe", *by_url(mail_lab, account, to=account.with_detail("nouser"))]
    env = passwords_of(account) | {"TERM": "xterm", "LANG": "C.UTF-8"}
    with on_terminal(arguments, env, columns=columns) as terminal:
        assert terminal.end() == 2
    assert max(map(len, terminal.text.splitlines())) <= columns
    assert "550 5.1.1" in " ".join(terminal.text.split())


def test_several_routes_at_once(mail_lab: MailLab, tmp_path: Path) -> None:
    account = mail_lab.new_account()
    document = configuration(mail_lab, account)
    plain = document["mailboxes"].pop("dovecot")
    for name, detail in (("good", "x"), ("bad", "nouser"), ("late", "tempfail")):
        document["mailboxes"][name] = plain | {"address": account.with_detail(detail)}
    document["routes"] = {name: {"from": "postfix", "to": name} for name in document["mailboxes"]}
    document["routes"]["late"]["retry"] = ["1s"]
    file = written(tmp_path, document, account)
    with on_terminal(["probe", "-c", str(file)], environment()) as terminal:
        terminal.wait_for("attempt 2 in ")
        terminal.wait_for("bad: rejected at rcpt")
        assert terminal.end() == 2
    *_, last = terminal.text.split("canary ")
    assert [line.split()[0] for line in last.splitlines()[1:] if line.strip()] == ["good", "bad", "late"]
    assert "late  deferred at rcpt, after 2 attempts" in last


# ---- a standard output that is not there


def test_a_reader_that_goes_away(mail_lab: MailLab) -> None:
    account = mail_lab.new_account()
    reading, writing = os.pipe()
    process = subprocess.Popen(
        command("probe", *by_url(mail_lab, account)),
        stdout=writing,
        stderr=subprocess.PIPE,
        env=passwords_of(account),
        text=True,
    )
    os.close(writing)
    os.close(reading)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, "it was delivered, whoever reads that"
    assert said == ""


@pytest.mark.parametrize("format_", ["text", "json", "nagios"])
def test_no_standard_output_at_all(mail_lab: MailLab, format_: str) -> None:
    account = mail_lab.new_account()
    line = ["sh", "-c", 'exec "$@" >&-', "sh", *command("probe", *by_url(mail_lab, account), f"--format={format_}")]
    done = subprocess.run(line, stderr=subprocess.PIPE, env=passwords_of(account), text=True, timeout=30)
    assert TRACEBACK not in done.stderr
    assert done.returncode == 0


def test_text_into_a_file_has_no_colours(mail_lab: MailLab) -> None:
    account = mail_lab.new_account()
    ran = probe(*by_url(mail_lab, account), "--format=text", env=passwords_of(account) | {"FORCE_COLOR": "1"})
    assert "\x1b" not in ran.stdout
    assert "delivered in " in ran.stdout
