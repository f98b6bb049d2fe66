"""Every way in which the real servers of the tests can fail a mail, told apart: one table, one run.

All rows are probed at once by one process, each over a sender and a mailbox of its own.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import smtplib
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from support.agents import Parts, Settings
from support.one_shot import environment, probe
from support.result_shape import check_results
from support.servers_dovecot import Account
from support.servers_fixtures import MailLab

PATIENCE = "15s"
"""For mail that never comes; a busy machine delivers all other within it."""


@dataclass(frozen=True)
class Row:
    """`detail` of the recipient, the `port`'s name or the account's `filter` chooses the fault.

    `code`, `enhanced`: of the reply at `stage`, or what the bounce says. `tries`: what became of the attempts.
    """

    outcome: str
    stage: str | None = None
    reason: str | None = None
    code: int | None = None
    enhanced: str | None = None
    category: str | None = None
    detail: str = ""
    port: str = "submission_port"
    filter: str = ""
    tries: tuple[str, ...] = ("accepted",)
    folder: str | None = None


D, R, U = ("deferred",), ("rejected",), ("unsent",)
JUNK = 'require ["fileinto"];\nfileinto "Junk";\n'
VANISH = "discard;\n"

MENU = {
    "in order": Row("delivered", folder="INBOX"),
    # refused on the way in: x+DETAIL@
    "tempfail": Row("deferred", "rcpt", "deferred", 451, "4.3.2", "system", "tempfail", tries=D),
    "grey": Row("deferred", "rcpt", "deferred", 450, "4.7.1", "policy", "grey", tries=D),
    "full": Row("deferred", "rcpt", "deferred", 452, "4.2.2", "mailbox_full", "full", tries=D),
    "nouser": Row("rejected", "rcpt", "rejected", 550, "5.1.1", "address", "nouser", tries=R),
    "policy": Row("rejected", "rcpt", "rejected", 554, "5.7.1", "policy", "policy", tries=R),
    "throttle": Row("deferred", "rcpt", "deferred", 421, "4.7.0", "policy", "throttle", tries=D),
    "datafail": Row("deferred", "data", "deferred", 451, "4.7.1", "policy", "datafail", tries=D),
    # accepted, and then not there
    "hold": Row("overdue", "transit", "not_there", detail="hold"),
    "dead": Row("overdue", "transit", "not_there", detail="dead"),
    "defer": Row("overdue", "transit", "not_there", detail="defer"),
    "swallow": Row("overdue", "transit", "not_there", detail="swallow"),
    "discarded by the recipient's filter": Row("overdue", "transit", "not_there", filter=VANISH),
    "over quota behind the relay": Row("overdue", "transit", "quota_exceeded", detail="tiny"),
    # accepted, and then sent back
    "bounce": Row("bounced", "transit", None, None, "5.1.1", "address", "bounce"),
    "unknown behind the relay": Row("bounced", "transit", None, 550, "5.1.1", "address", "nobody"),
    # filed elsewhere
    "junk": Row("junked", filter=JUNK, folder="Junk"),
    # ports
    "greylisting": Row("delivered", port="greylist_port", tries=("deferred", "accepted"), folder="INBOX"),
    "no TLS": Row("unsent", "starttls", "starttls_unavailable", port="plaintext_port", tries=U),
    "an expired certificate": Row("unsent", "tls", "certificate_expired", port="expired_port", tries=U),
    "another's certificate": Row("unsent", "tls", "certificate_name", port="wrongname_port", tries=U),
    "an unknown issuer": Row("unsent", "tls", "certificate_untrusted", port="unknown_ca_port", tries=U),
    "implicit TLS": Row("unsent", "greeting", "wrong_tls_mode", port="submissions_port", tries=U),
    "a wrong password": Row("unsent", "auth", "auth_rejected", 535, "5.7.8", "authentication", tries=U),
}


def filtered(lab: MailLab, account: Account, script: str) -> None:
    """From now on the account's own Sieve script decides what becomes of its mail."""
    home = lab.dovecot.directory / "mail" / account.address
    home.mkdir(exist_ok=True)
    (home / ".dovecot.sieve").write_text(script)
    for path in (home, home / ".dovecot.sieve"):
        shutil.chown(path, "mail", "mail")


def recipient(lab: MailLab, row: Row) -> Account:
    account = lab.dovecot.new_account(tiny=row.detail == "tiny")
    if row.detail == "tiny":
        with contextlib.suppress(smtplib.SMTPDataError):  # the first that does not fit any more is refused
            for _ in range(10):
                lab.dovecot.deliver(account, b"Subject: it is full\r\n\r\n" + 10 * (70 * b"x" + b"\r\n"))
    if row.filter:
        filtered(lab, account, row.filter)
    return account


def sections(lab: MailLab, parts: Parts) -> Settings:
    """A configuration with a route for each row."""
    settings: Settings = {"senders": {}, "mailboxes": {}, "routes": {}}
    for number, (name, row) in enumerate(MENU.items()):
        account, sending = recipient(lab, row), lab.new_account()
        sender = parts.sender(lab.postfix, sending, getattr(lab.postfix, row.port), bounces_to=f"returns{number}")
        if name == "a wrong password":
            sender["auth"] |= {"password_file": parts.password(lab.new_account(), "certainly not this one")}
        box = parts.mailbox(lab.dovecot, account, *([row.detail] if row.detail not in ("", "tiny", "nobody") else []))
        if row.detail == "nobody":
            box["address"] = "nobody@lab.test"
        settings["senders"][f"out{number}"] = sender
        settings["mailboxes"] |= {f"box{number}": box, f"returns{number}": parts.mailbox(lab.dovecot, sending)}
        retry = {"retry": ["4s"]} if row.port == "greylist_port" else {}
        settings["routes"][f"r{number}"] = {"from": f"out{number}", "to": f"box{number}"} | retry
    return settings


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, mail_lab: MailLab) -> dict[str, Any]:
    """What one run says of each row."""
    directory = tmp_path_factory.mktemp("menu")
    file = directory / "mailprobe.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(sections(mail_lab, Parts(directory, mail_lab.ca_file))))))
    ran = probe("-c", str(file), f"--timeout={PATIENCE}", env=environment(), within=120)
    check_results(ran.document)
    assert ran.status == 2, "the worst"
    return dict(zip(MENU, sorted(ran.document["results"], key=lambda one: int(one["route"][1:])), strict=True))


@pytest.mark.parametrize("name", MENU)
def test_a_row_of_the_menu(results: dict[str, Any], name: str) -> None:
    row, result = MENU[name], results[name]
    assert (result["outcome"], result["stage"], result["reason"]) == (row.outcome, row.stage, row.reason)
    assert result["category"] == row.category
    assert tuple(attempt["outcome"] for attempt in result["attempts"]) == row.tries
    assert (result["sighting"] or {"folder": None})["folder"] == row.folder
    if bounce := result["bounce"]:
        assert (bounce["action"], bounce["status"]) == ("failed", row.enhanced)
        assert bounce["reporting_mta"] == "mail.lab.test"
        assert row.code is None or str(row.code) in bounce["diagnostic"]
    elif row.code:
        refusals = [reply for reply in result["attempts"][-1]["replies"] if reply["code"] >= 400]
        assert [(each["stage"], each["code"], each["enhanced_code"]) for each in refusals] == [
            (row.stage, row.code, row.enhanced)
        ]


def test_greylisting_was_what_it_was_taken_for(results: dict[str, Any]) -> None:
    first, second = results["greylisting"]["attempts"]
    refused = [reply for reply in first["replies"] if reply["code"] >= 400]
    assert [(each["stage"], each["code"], each["enhanced_code"]) for each in refused] == [("rcpt", 450, "4.7.1")]
    assert second["queue_id"]
