"""The lab of real servers really does what its menu says: each fault happens, and only where it was asked for."""

from __future__ import annotations

import base64
import email
import imaplib
import os
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.servers import HOST, TLS_NAME, sweep
from support.servers_client import fetch, holds, mailbox, oauth_token, send, submission, submit, trust, wait_for
from support.servers_dovecot import EXPIRED_ADDRESS, UNKNOWN_CA_ADDRESS, WRONGNAME_ADDRESS, Account
from support.servers_fixtures import MailLab
from support.servers_postfix import GREYLIST_SECONDS

EXPIRED, UNKNOWN_ISSUER, OTHER_NAME = 10, 20, 62


@pytest.fixture
def sender(mail_lab: MailLab) -> Account:
    return mail_lab.new_account()


@pytest.fixture
def recipient(mail_lab: MailLab) -> Account:
    return mail_lab.new_account()


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
def test_delivers(mail_lab: MailLab, sender: Account, recipient: Account, implicit: bool) -> None:
    postfix, dovecot = mail_lab.postfix, mail_lab.dovecot
    port = postfix.submissions_port if implicit else postfix.submission_port
    before = time.time()
    with submission(port, mail_lab.ca_file, sender, implicit=implicit) as client:
        code, reply = client.docmd("NOOP")
        assert (code, reply) == (250, b"2.0.0 Ok")
        sent = send(client, sender.address, recipient.address)
    assert sent.code == 250
    assert sent.queue_id is not None
    postfix.wait_logged(sent.queue_id, "status=sent")
    with mailbox(dovecot, recipient, implicit=implicit) as inbox:
        assert holds(inbox, sent.message_id)
        assert not holds(inbox, sent.message_id, "Junk")
    accepted, delivered = postfix.accepted_at(sent.queue_id), postfix.delivered_at(sent.queue_id)
    saved = dovecot.saved_at(sent.message_id)
    assert accepted is not None
    assert delivered is not None
    assert saved is not None
    assert postfix.message_id(sent.queue_id) == sent.message_id
    assert before < accepted < saved < time.time()
    assert abs(delivered - saved) < 0.5


@pytest.mark.parametrize(
    ("detail", "code", "reply"),
    [
        ("tempfail", 451, "4.3.2"),
        ("grey", 450, "4.7.1"),
        ("full", 452, "4.2.2"),
        ("nouser", 550, "5.1.1"),
        ("policy", 554, "5.7.1"),
        ("throttle", 421, "4.7.0"),
        ("datafail", 451, "4.7.1"),
    ],
)
def test_refuses(mail_lab: MailLab, sender: Account, recipient: Account, detail: str, code: int, reply: str) -> None:
    sent = submit(mail_lab.postfix, sender, recipient.with_detail("anything", detail))
    assert sent.code == code
    assert sent.reply.startswith(reply)


def test_throttle_closes(mail_lab: MailLab, sender: Account, recipient: Account) -> None:
    with submission(mail_lab.postfix.submission_port, mail_lab.ca_file, sender) as client:
        client.mail(sender.address)
        assert client.rcpt(recipient.with_detail("throttle"))[0] == 421
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.docmd("QUIT")


@pytest.mark.parametrize("detail", ["dead", "defer", "hold", "swallow"])
def test_accepts_and_does_not_deliver(mail_lab: MailLab, sender: Account, recipient: Account, detail: str) -> None:
    sent = submit(mail_lab.postfix, sender, recipient.with_detail(detail))
    assert sent.code == 250
    assert sent.queue_id is not None
    if detail == "hold":
        assert f"{sent.queue_id}!" in mail_lab.postfix.queued()
    else:
        mail_lab.postfix.wait_logged(sent.queue_id, "relay=none")
    with mailbox(mail_lab.dovecot, recipient) as inbox:
        assert not holds(inbox, sent.message_id)


def test_held_mail_is_released(mail_lab: MailLab, sender: Account, recipient: Account) -> None:
    sent = submit(mail_lab.postfix, sender, recipient.with_detail("hold"))
    mail_lab.postfix.release()
    with mailbox(mail_lab.dovecot, recipient) as inbox:
        wait_for(inbox, sent.message_id)


def test_slow_lets_one_through(mail_lab: MailLab, sender: Account, recipient: Account) -> None:
    first, second = (submit(mail_lab.postfix, sender, recipient.with_detail("slow")) for _ in range(2))
    with mailbox(mail_lab.dovecot, recipient) as inbox:
        wait_for(inbox, first.message_id)
        assert not holds(inbox, second.message_id)


@pytest.mark.parametrize("how", ["bounce", "nobody"])
def test_bounces(mail_lab: MailLab, sender: Account, recipient: Account, how: str) -> None:
    address = recipient.with_detail("bounce") if how == "bounce" else "nobody@lab.test"
    sent = submit(mail_lab.postfix, sender, address)
    assert sent.code == 250
    with mailbox(mail_lab.dovecot, sender) as inbox:
        wait_for(inbox, sent.message_id)
        report = email.message_from_bytes(fetch(inbox, sent.message_id))
    assert report.get_content_type() == "multipart/report"
    fields = report.get_payload(1).get_payload(1)  # type: ignore[union-attr]
    assert fields["Action"] == "failed"
    assert fields["Status"] == "5.1.1"


def test_full_mailbox(mail_lab: MailLab, sender: Account) -> None:
    tiny = mail_lab.dovecot.new_account(tiny=True)
    for number in range(3):
        sent = submit(mail_lab.postfix, sender, tiny.address, size=2000)
        assert sent.code == 250
        assert sent.queue_id is not None
        mail_lab.postfix.wait_logged(sent.queue_id, "status=")
        if number == 2:
            deferred = mail_lab.postfix.wait_logged(sent.queue_id, "status=deferred")
            assert "452 4.2.2" in deferred.text


@pytest.mark.parametrize(("subject", "folder"), [("[JUNKME] x", "Junk"), ("[VANISH] x", None)])
def test_sieve(mail_lab: MailLab, sender: Account, recipient: Account, subject: str, folder: str | None) -> None:
    sent = submit(mail_lab.postfix, sender, recipient.address, subject=subject)
    assert sent.queue_id is not None
    mail_lab.postfix.wait_logged(sent.queue_id, "status=sent")
    with mailbox(mail_lab.dovecot, recipient) as inbox:
        assert [name for name in ("INBOX", "Junk") if holds(inbox, sent.message_id, name)] == ([folder] * bool(folder))


@pytest.mark.parametrize(
    ("port", "code"),
    [("expiring", None), ("expired", EXPIRED), ("wrongname", OTHER_NAME), ("unknown_ca", UNKNOWN_ISSUER)],
)
def test_smtp_certificates(mail_lab: MailLab, sender: Account, port: str, code: int | None) -> None:
    number = getattr(mail_lab.postfix, f"{port}_port")
    if code is None:
        with submission(number, mail_lab.ca_file, sender) as client:
            assert client.noop()[0] == 250
        return
    with pytest.raises(ssl.SSLCertVerificationError) as raised, submission(number, mail_lab.ca_file, sender):
        pass
    assert raised.value.verify_code == code


@pytest.mark.parametrize(
    ("address", "code"),
    [(HOST, None), (EXPIRED_ADDRESS, EXPIRED), (WRONGNAME_ADDRESS, OTHER_NAME), (UNKNOWN_CA_ADDRESS, UNKNOWN_ISSUER)],
)
def test_imap_certificates(mail_lab: MailLab, address: str, code: int | None) -> None:
    with socket.create_connection((address, mail_lab.dovecot.imaps_port), 10) as plain:
        context = trust(mail_lab.ca_file)
        if code is None:
            with context.wrap_socket(plain, server_hostname=TLS_NAME) as secured:
                assert secured.recv(4) == b"* OK"
            return
        with pytest.raises(ssl.SSLCertVerificationError) as raised:
            context.wrap_socket(plain, server_hostname=TLS_NAME)
    assert raised.value.verify_code == code


def test_greylisting(mail_lab: MailLab, sender: Account, recipient: Account) -> None:
    port = mail_lab.postfix.greylist_port
    first = submit(mail_lab.postfix, sender, recipient.address, port=port)
    assert (first.code, first.reply[:5]) == (450, "4.7.1")
    end = time.monotonic() + GREYLIST_SECONDS + 10
    while (later := submit(mail_lab.postfix, sender, recipient.address, port=port)).code == 450:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert later.code == 250


def test_rate_limit(mail_lab: MailLab) -> None:
    codes = []
    for _ in range(4):
        with socket.create_connection((HOST, mail_lab.postfix.throttled_port), 10) as plain:
            codes.append(plain.recv(3).decode())
    assert codes[-1] == "421"


def test_plaintext_port_offers_login_without_tls(mail_lab: MailLab, sender: Account) -> None:
    with smtplib.SMTP(HOST, mail_lab.postfix.plaintext_port, timeout=10) as client:
        client.ehlo("tests.lab.test")
        assert not client.has_extn("starttls")
        assert client.login(sender.address, sender.password)[0] == 235


def test_wrong_password(mail_lab: MailLab, sender: Account) -> None:
    wrong = Account(sender.address, "wrong")
    with (
        pytest.raises(smtplib.SMTPAuthenticationError),
        submission(mail_lab.postfix.submission_port, mail_lab.ca_file, wrong),
    ):
        pass
    for _ in range(2):
        # with Dovecot's penalty for failed logins on, these would take 4 and 8 s, and other tests' logins too
        before = time.monotonic()
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"), mailbox(mail_lab.dovecot, wrong):
            pass
        assert time.monotonic() - before < 3.9


def test_folders(mail_lab: MailLab, recipient: Account) -> None:
    with mailbox(mail_lab.dovecot, recipient) as inbox:
        folders = inbox.list()[1]
        assert any(b"\\Junk" in folder and b"Junk" in folder.split()[-1] for folder in folders if folder)
        assert b"UIDPLUS" in inbox.capability()[1][0]


@pytest.mark.parametrize("lifetime", [3600, -100], ids=["good", "expired"])
def test_oauth(mail_lab: MailLab, recipient: Account, lifetime: int) -> None:
    token = oauth_token(mail_lab.dovecot.oauth_secret, recipient.address, lifetime)
    initial = base64.b64encode(f"user={recipient.address}\x01auth=Bearer {token}\x01\x01".encode()).decode()
    with submission(mail_lab.postfix.submission_port, mail_lab.ca_file) as client:
        code, reply = client.docmd("AUTH", f"XOAUTH2 {initial}")
        if lifetime > 0:
            assert code == 235
            return
        assert code == 334
        assert b'"status":"401"' in base64.b64decode(reply)
        assert client.docmd("")[0] == 535


def test_many_strangers(mail_lab: MailLab, recipient: Account) -> None:
    mail_lab.dovecot.fill(recipient, 500)
    mail_lab.dovecot.deliver(recipient, b"Subject: the last\r\n\r\n")
    with mailbox(mail_lab.dovecot, recipient) as inbox:
        assert inbox.select("INBOX")[1] == [b"501"]


def test_uidvalidity_changes(mail_lab: MailLab, recipient: Account) -> None:
    mail_lab.dovecot.deliver(recipient, b"Subject: one\r\n\r\n")
    seen = []
    for _ in range(2):
        with mailbox(mail_lab.dovecot, recipient) as inbox:
            inbox.select("INBOX")
            seen.append(
                inbox.untagged_responses["UIDVALIDITY"]
                if "UIDVALIDITY" in inbox.untagged_responses
                else inbox.response("UIDVALIDITY")[1]
            )
        time.sleep(1.1)  # UIDVALIDITY is a time of creation in seconds
        mail_lab.dovecot.change_uidvalidity(recipient)
    assert seen[0] != seen[1]


def test_kick_ends_a_session(mail_lab: MailLab, recipient: Account) -> None:
    with mailbox(mail_lab.dovecot, recipient) as inbox:
        inbox.select("INBOX")
        mail_lab.dovecot.kick(recipient)
        with pytest.raises(imaplib.IMAP4.abort):
            inbox.noop()


def test_idle_is_late_on_dovecot(mail_lab: MailLab, recipient: Account) -> None:
    """Dovecot tells IDLE clients half a second late: why an agent must look actively after it submitted."""
    with mailbox(mail_lab.dovecot, recipient) as inbox:
        inbox.select("INBOX")
        inbox.send(b"X1 IDLE\r\n")
        assert inbox.readline().startswith(b"+")
        delivery = threading.Thread(target=mail_lab.dovecot.deliver, args=(recipient, b"Subject: x\r\n\r\n"))
        delivery.start()
        delivery.join()
        saved = time.monotonic()
        while b"EXISTS" not in inbox.readline():
            pass
        assert time.monotonic() - saved > 0.3


def test_restart_cuts_and_recovers(fresh_lab: MailLab) -> None:
    account = fresh_lab.new_account()
    fresh_lab.dovecot.deliver(account, b"Message-ID: <kept@lab.test>\r\nSubject: x\r\n\r\n")
    with mailbox(fresh_lab.dovecot, account) as inbox:
        inbox.select("INBOX")
        fresh_lab.dovecot.restart()
        with pytest.raises((imaplib.IMAP4.abort, OSError)):
            inbox.noop()
    with mailbox(fresh_lab.dovecot, account) as inbox:
        assert holds(inbox, "<kept@lab.test>")
    fresh_lab.postfix.restart()
    assert submit(fresh_lab.postfix, account, account.address).code == 250


def test_sweep_takes_what_the_dead_left_and_nothing_else(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, ours = (tmp_path / f"mailprobe-tests-{pid}-x" for pid in (dead.pid, os.getpid()))
    for directory in (left / "postfix", ours):
        directory.mkdir(parents=True)
    gone = tmp_path / f"mailprobe-tests-{dead.pid}-y"
    gone.symlink_to("nowhere")  # listed, and not there to be asked: as one that another worker is removing
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([ours, gone])
