"""The second implementations run beside the lab and differ where they are said to."""

from __future__ import annotations

import imaplib
import smtplib

import pytest
from support.servers_client import holds, mailbox, send, submission, wait_for
from support.servers_fixtures import MailLab
from support.servers_others import Chasquid, Cyrus, Exim

MESSAGE = b"""\
From: <outside@lab.test>\r
Date: Thu, 22 Jan 2026 18:00:00 +0000\r
Message-ID: <one@lab.test>\r
Subject: hello\r
\r
hello\r
"""


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
def test_exim_delivers(exim: Exim, mail_lab: MailLab, implicit: bool) -> None:
    sender, recipient = mail_lab.dovecot.account("sender"), mail_lab.new_account()
    port = exim.submissions_port if implicit else exim.submission_port
    with submission(port, exim.ca_file, sender, implicit=implicit) as client:
        sent = send(client, sender.address, recipient.address)
        assert sent.code == 250
        assert sent.queue_id is not None
        for detail, code in (("tempfail", 451), ("grey", 451), ("nouser", 550), ("datafail", 451)):
            client.rset()
            assert send(client, sender.address, recipient.with_detail(detail)).code == code
    with mailbox(mail_lab.dovecot, recipient) as inbox:
        wait_for(inbox, sent.message_id)


def test_exim_takes_mail_as_an_mx(exim: Exim, mail_lab: MailLab) -> None:
    recipient = mail_lab.new_account()
    with smtplib.SMTP("127.0.0.1", exim.mx_port, timeout=10, local_hostname="tests.lab.test") as client:
        client.ehlo()
        assert not client.has_extn("auth")
        sent = send(client, "outside@lab.test", recipient.address)
    with mailbox(mail_lab.dovecot, recipient) as inbox:
        wait_for(inbox, sent.message_id)


def test_chasquid_delivers(chasquid: Chasquid, mail_lab: MailLab) -> None:
    sender, recipient = mail_lab.dovecot.account("sender"), mail_lab.dovecot.account("probe")
    with submission(chasquid.submission_port, chasquid.ca_file, sender) as client:
        assert client.esmtp_features["auth"].split() == ["PLAIN"]
        sent = send(client, sender.address, recipient.address)
        assert sent.code == 250
        assert sent.queue_id is None
        assert send(client, sender.address, "nobody@lab.test").code == 550
    with mailbox(mail_lab.dovecot, recipient) as inbox:
        wait_for(inbox, sent.message_id)


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
def test_cyrus_shows(cyrus: Cyrus, implicit: bool) -> None:
    cyrus.deliver(MESSAGE)
    with mailbox(cyrus, cyrus.account, implicit=implicit) as inbox:
        assert "IDLE" in str(inbox.capability()[1])
        assert any(b"\\junk" in folder for folder in inbox.list()[1] if isinstance(folder, bytes))
        assert holds(inbox, "<one@lab.test>")


def test_cyrus_refuses_a_wrong_password(cyrus: Cyrus) -> None:
    with pytest.raises(imaplib.IMAP4.error), mailbox(cyrus, type(cyrus.account)("probe", "wrong")):
        pass
