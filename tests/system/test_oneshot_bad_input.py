"""What a person gets who made a mistake: which side it is, what is wrong, what would be right. One row each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.imap_script import ImapServer
from support.one_shot import Ran, by_url, configuration, environment, passwords_of, probe, written
from support.servers_dovecot import EXPIRED_ADDRESS, UNKNOWN_CA_ADDRESS, WRONGNAME_ADDRESS, Account
from support.servers_fixtures import MailLab
from support.smtp_script import SmtpScript

CRITICAL, UNKNOWN = 2, 3


@dataclass(frozen=True)
class Mistake:
    """`urls`: what `by_url` is to change, as a function of the lab; `words`: all of them are in the text."""

    outcome: str
    stage: str
    reason: str
    words: tuple[str, ...]
    urls: Callable[[MailLab], dict[str, Any]] = field(default=lambda lab: {})
    env: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        return UNKNOWN if self.outcome == "unobserved" else CRITICAL


def smtp(stage: str, reason: str, *words: str, **more: Any) -> Mistake:
    return Mistake("unsent", stage, reason, ("SMTP server", *words), **more)


def imap(stage: str, reason: str, *words: str, **more: Any) -> Mistake:
    return Mistake("unobserved", stage, reason, ("IMAP server", *words), **more)


MISTAKES = {
    "wrong password, SMTP": smtp(
        "auth",
        "auth_rejected",
        "535 5.7.8",
        "Check user name and password",
        env={"MAILPROBE_SMTP_PASSWORD": "wrong"},
    ),
    "wrong password, IMAP": imap(
        "auth",
        "auth_rejected",
        "AUTHENTICATIONFAILED",
        "Check user name and password",
        env={"MAILPROBE_IMAP_PASSWORD": "wrong"},
    ),
    "unknown host, SMTP": smtp(
        "resolve",
        "dns_nxdomain",
        "nohost.invalid:",
        "Check the host's name",
        urls=lambda lab: {"smtp_host": "nohost.invalid"},
    ),
    "unknown host, IMAP": imap(
        "resolve",
        "dns_nxdomain",
        "nohost.invalid:",
        "Check the host's name",
        urls=lambda lab: {"imap_host": "nohost.invalid"},
    ),
    "refused port, SMTP": smtp(
        "connect", "connection_refused", "127.0.0.1:9", "check host and port", urls=lambda lab: {"smtp_port": 9}
    ),
    "refused port, IMAP": imap(
        "connect", "connection_refused", "127.0.0.1:9", "check host and port", urls=lambda lab: {"imap_port": 9}
    ),
    "implicit TLS on a STARTTLS port, SMTP": smtp(
        "tls",
        "wrong_tls_mode",
        "plain text",
        "Use tls: starttls (smtp://",
        urls=lambda lab: {"smtp": "smtps", "smtp_port": lab.postfix.submission_port},
    ),
    "implicit TLS on a STARTTLS port, IMAP": imap(
        "tls",
        "wrong_tls_mode",
        "plain text",
        "Use tls: starttls (imap://",
        urls=lambda lab: {"imap": "imaps", "imap_port": lab.dovecot.imap_port},
    ),
    "STARTTLS on a port of implicit TLS, SMTP": smtp(
        "greeting",
        "wrong_tls_mode",
        "implicit TLS",
        "Use tls: implicit (smtps://",
        urls=lambda lab: {"smtp": "smtp", "smtp_port": lab.postfix.submissions_port},
    ),
    "STARTTLS on a port of implicit TLS, IMAP": imap(
        "greeting",
        "wrong_tls_mode",
        "implicit TLS",
        "Use tls: implicit (imaps://",
        urls=lambda lab: {"imap": "imap", "imap_port": lab.dovecot.imaps_port},
    ),
    "no STARTTLS there": smtp(
        "starttls",
        "starttls_unavailable",
        "does not offer STARTTLS",
        urls=lambda lab: {"smtp_port": lab.postfix.plaintext_port},
    ),
    "expired certificate, SMTP": smtp(
        "tls",
        "certificate_expired",
        "certificate has expired",
        "A new certificate is due",
        urls=lambda lab: {"smtp_port": lab.postfix.expired_port},
    ),
    "expired certificate, IMAP": imap(
        "tls",
        "certificate_expired",
        EXPIRED_ADDRESS,
        "certificate has expired",
        "A new certificate is due",
        urls=lambda lab: {"imap_host": EXPIRED_ADDRESS},
    ),
    "wrong name in the certificate, SMTP": smtp(
        "tls",
        "certificate_name",
        "it is for other.lab.test",
        "Use a host name that is in the certificate",
        urls=lambda lab: {"smtp_port": lab.postfix.wrongname_port},
    ),
    "wrong name in the certificate, IMAP": imap(
        "tls",
        "certificate_name",
        "it is for other.lab.test",
        "Use a host name that is in the certificate",
        urls=lambda lab: {"imap_host": WRONGNAME_ADDRESS},
    ),
    "certificate of an unknown CA, SMTP": smtp(
        "tls",
        "certificate_untrusted",
        "a CA that nobody was told of",
        "Name the file with its CA in ca_file (--ca-file)",
        urls=lambda lab: {"smtp_port": lab.postfix.unknown_ca_port},
    ),
    "certificate of an unknown CA, IMAP": imap(
        "tls",
        "certificate_untrusted",
        "a CA that nobody was told of",
        "Name the file with its CA in ca_file (--ca-file)",
        urls=lambda lab: {"imap_host": UNKNOWN_CA_ADDRESS},
    ),
    "an address that the server will not take": Mistake(
        "rejected",
        "rcpt",
        "rejected",
        ("SMTP server", "550 5.1.1", "User unknown"),
        urls=lambda lab: {"to": "u0+nouser@lab.test"},
    ),
}


@pytest.fixture
def account(mail_lab: MailLab) -> Account:
    return mail_lab.new_account()


def in_a_line(text: str) -> str:
    return " ".join(text.split())


def check(ran: Ran, text: Ran, mistake: Mistake) -> None:
    """The document and the text of the same mistake say the same."""
    result = ran.result
    assert (result["outcome"], result["stage"], result["reason"]) == (mistake.outcome, mistake.stage, mistake.reason)
    assert (ran.status, text.status) == (mistake.status, mistake.status)
    said = in_a_line(text.stdout)
    stated = "" if mistake.reason == mistake.outcome else f": {mistake.reason}"
    assert f"{mistake.outcome} at {mistake.stage}{stated}" in said
    for words in mistake.words:
        assert words in said
    assert max(map(len, text.stdout.splitlines())) <= 80


def both(options: list[str], env: dict[str, str]) -> tuple[Ran, Ran]:
    """The same as a document and as text."""
    with ThreadPoolExecutor() as threads:
        text = threads.submit(probe, *options, "--format=text", env=env)
        return probe(*options, env=env), text.result()


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_the_urls(mail_lab: MailLab, account: Account, mistake: Mistake) -> None:
    options = [*by_url(mail_lab, account, **mistake.urls(mail_lab)), "--timeout=2s"]
    check(*both(options, passwords_of(account) | mistake.env), mistake)


def test_a_folder_that_is_missing(mail_lab: MailLab, account: Account, tmp_path: Path) -> None:
    for key in ("inbox", "junk"):
        document = configuration(mail_lab, account)
        document["mailboxes"]["dovecot"][key] = "Eingang"
        file = written(tmp_path, document, account)
        mistake = imap("select", "mailbox_missing", "127.0.0.1:", "no folder Eingang", "Check `inbox` and `junk`")
        check(*both(["-c", str(file)], environment()), mistake)


@pytest.fixture
def full(mail_lab: MailLab) -> Account:
    """A user whose 4 kB are used up."""
    account = mail_lab.dovecot.new_account(tiny=True)
    mail_lab.dovecot.fill(account, 50)
    mail_lab.dovecot.doveadm("quota", "recalc", "-u", account.address)
    return account


def test_a_full_mailbox(mail_lab: MailLab, full: Account) -> None:
    """Postfix takes the canary and keeps it, as Dovecot says 4.2.2: what a prober can see of that is the quota."""
    ran, text = both([*by_url(mail_lab, full), "--timeout=1s"], passwords_of(full))
    assert (ran.status, ran.result["outcome"], ran.result["reason"]) == (CRITICAL, "overdue", "quota_exceeded")
    said = in_a_line(text.stdout)
    assert "overdue at transit: quota_exceeded accepted, queued as" in said
    assert "% full. Make room" in said


async def scripted(smtp: dict[str, Any], imap_says: dict[str, Any]) -> tuple[Ran, Ran]:
    mailbox = ImapServer(says=imap_says)
    async with mailbox.running(), SmtpScript(**smtp) as server:
        options = [
            f"--smtp=smtp://127.0.0.1:{server.port}?tls=plaintext",
            f"--imap=imap://user@127.0.0.1:{mailbox.port}?tls=plaintext",
            "--to=user@lab.test",
            "--timeout=5s",
        ]
        return await asyncio.to_thread(both, options, environment(imap="hunter2"))


async def test_replies_that_are_not_utf8() -> None:
    ran, text = await scripted({"rcpt": b"550 5.1.1 Empf\xe4nger unbekannt \x1b[31m\r\n"}, {})
    mistake = Mistake("rejected", "rcpt", "rejected", ("SMTP server 127.0.0.1:", "550 5.1.1 Empf\ufffdnger unbekannt"))
    check(ran, text, mistake)
    assert "\x1b" not in text.stdout, "nor may a server paint on our terminal"


async def test_replies_of_an_imap_server_that_are_not_utf8() -> None:
    ran, text = await scripted({}, {"authenticate": b"%T NO [AUTHENTICATIONFAILED] abgelehnt f\xfcr immer\r\n"})
    check(ran, text, imap("auth", "auth_rejected", "127.0.0.1:", "abgelehnt f\ufffdr immer"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-c", "{directory}"], ("this is a directory; name the YAML file in it",)),
        (["-c", "{directory}/empty"], ("this file is empty", "mailprobe config example")),
        (["-c", "{directory}/nonsuch"], ("this file does not exist", "mailprobe config example")),
        (["-c", "{directory}/good", "hme"], ("no route is named 'hme'", "there are home")),
        (["-c", "{directory}/good", "--smtp=smtp://x"], ("--smtp goes with URLs, not with -c",)),
        (["-c", "{directory}/good", "--imap=imaps://x"], ("--imap goes with URLs, not with -c",)),
        (["-c", "{directory}/good", "--from=a@b.example"], ("--from goes with URLs, not with -c",)),
        (["-c", "{directory}/good", "--ca-file=x"], ("--ca-file goes with URLs, not with -c",)),
        (["-c", "{directory}/good", "--imap-password-file=x"], ("--imap-password-file goes with URLs",)),
        ([], ("give -c FILE, or --smtp, --imap and --to", "missing: --smtp, --imap, --to")),
        (["home"], ("home: a route is of a configuration file: give -c FILE",)),
        (["--format=xml"], ("'xml' is not one of 'text', 'json', 'nagios'",)),
        (["--timeout=3x"], ("--timeout", "write a whole number and a unit, such as 250ms, 90s")),
        (["--timeout=0s"], ("--timeout", "more than nothing")),
        (["--smtp-password=x"], ("No such option",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], words: tuple[str, ...]) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "password").write_text("x")
    good = {
        "senders": {"a": {"submission": "127.0.0.1:9", "tls": "implicit", "from": "a@b.example"}},
        "mailboxes": {
            "b": {
                "address": "a@b.example",
                "imap": "127.0.0.1:9",
                "auth": {"username": "u", "password_file": "password"},
            }
        },
        "routes": {"home": {"from": "a", "to": "b"}},
    }
    (tmp_path / "good").write_text(yaml.safe_dump(good))
    ran = probe(*(argument.format(directory=tmp_path) for argument in arguments))
    assert ran.status == UNKNOWN
    assert ran.stdout == ""
    for each in words:
        assert each in in_a_line(ran.stderr)


@pytest.mark.parametrize("side", ["smtp", "imap"])
def test_a_password_in_a_url_is_refused_and_not_repeated(side: str) -> None:
    urls = {"smtp": "smtp://u@h", "imap": "imap://u@h"} | {side: f"{side}://u:gegeheim@h"}
    ran = probe(*(f"--{name}={url}" for name, url in urls.items()), "--to=a@b.example")
    assert (ran.status, ran.stdout) == (UNKNOWN, "")
    assert f"--{side}: no password on the command line" in ran.stderr
    assert "gegeheim" not in ran.stderr


def test_no_password_at_all() -> None:
    ran = probe("--smtp=smtp://u@127.0.0.1", "--imap=imaps://u@127.0.0.1", "--to=a@b.example")
    assert (ran.status, ran.stdout) == (UNKNOWN, "")
    assert "set MAILPROBE_SMTP_PASSWORD or give --smtp-password-file" in ran.stderr
