"""`mailprobe check --connect` as a user runs it, against Postfix and Dovecot."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.servers_fixtures import MailLab

from mailprobe.cli import main

FILE = """\
senders:
  submission:
    submission: localhost:{submission}
    tls: starttls
    tls_server_name: {server_name}
    ca_file: {ca_file}
    from: {address}
    auth: {{username: {address}, password_file: password}}
mailboxes:
  dovecot:
    address: {address}
    imap: localhost:{imap}
    tls: implicit
    tls_server_name: {server_name}
    ca_file: {ca_file}
    auth: {{username: {address}, password_file: password}}
routes:
  internal: {{from: submission, to: dovecot}}
"""


@pytest.fixture
def file(mail_lab: MailLab, tmp_path: Path) -> Path:
    account = mail_lab.new_account()
    (tmp_path / "password").write_text(account.password + "\n")
    path = tmp_path / "mailprobe.yaml"
    path.write_text(
        FILE.format(
            submission=mail_lab.postfix.submission_port,
            imap=mail_lab.dovecot.imaps_port,
            server_name="mail.lab.test",
            ca_file=mail_lab.ca_file,
            address=account.address,
        )
    )
    return path


def check(file: Path) -> Result:
    return CliRunner().invoke(main, ["check", "--connect", "-c", str(file)])


def test_both_servers_take_the_login(file: Path) -> None:
    result = check(file)
    assert result.exit_code == 0, result.output
    assert "sender submission, localhost" in result.stdout
    assert "mailbox dovecot, localhost" in result.stdout
    assert result.stdout.count("  logged in   as ") == 2
    assert result.stdout.count("  certificate ") == 2
    assert "IDLE" in result.stdout
    assert "  junk        Junk\n" in result.stdout + "\n"


def test_a_wrong_password_fails_without_being_said(file: Path) -> None:
    (file.parent / "password").write_text("hunter2")
    result = check(file)
    assert result.exit_code == 1
    assert result.stdout.count("failed      auth_rejected") == 2
    assert "hunter2" not in result.output


def test_a_certificate_of_another_name_fails(file: Path) -> None:
    file.write_text(file.read_text().replace("mail.lab.test", "other.lab.test"))
    result = check(file)
    assert result.exit_code == 1
    assert result.stdout.count("certificate_name") == 2
