"""What the words of the model say of themselves."""

from __future__ import annotations

import pytest

from mailprobe.errors import Reason, Reply, Stage, plain_text
from mailprobe.model import Attempt, AttemptOutcome, StageReply
from mailprobe.plan import is_loopback

OK, REFUSED, LATER = Reply.of(250, "2.0.0 Ok"), Reply.of(550, "5.1.1 no"), Reply.of(421, "4.3.2 bye")


@pytest.mark.parametrize(
    ("stage", "replies", "decided"),
    [
        (None, [(Stage.RCPT, OK), (Stage.END_OF_DATA, OK), (Stage.QUIT, LATER)], (Stage.END_OF_DATA, OK)),
        (Stage.RCPT, [(Stage.MAIL, OK), (Stage.RCPT, REFUSED), (Stage.QUIT, LATER)], (Stage.RCPT, REFUSED)),
        (Stage.TLS, [(Stage.EHLO, OK), (Stage.STARTTLS, OK)], None),
        (Stage.CONNECT, [], None),
        (None, [], None),
    ],
)
def test_the_reply_that_decided(stage, replies, decided):
    attempt = Attempt(1, 0, 1, AttemptOutcome.UNSENT, replies=tuple(StageReply(*said) for said in replies), stage=stage)
    assert attempt.last_reply == (StageReply(*decided) if decided else None)


def test_plain_text_holds_nothing_that_changes_how_it_reads():
    said = plain_text("a\x1b[31m\r\nb\u202egnp.exe\u2066c\ud800d\u2028")
    assert said == "a�[31m��b�gnp.exe�c�d�"
    assert len(plain_text("x" * 1000)) == 400


def test_reasons_and_stages_are_labels():
    assert all(word.replace("_", "").isalnum() for word in (*Reason, *Stage))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("LOCALHOST", True),
        ("imap.localhost", True),
        ("127.0.0.2", True),
        ("::1", True),
        ("localhost.example", False),
        ("192.0.2.1", False),
        ("mail.example", False),
    ],
)
def test_what_is_this_machine(host, loopback):
    assert is_loopback(host) is loopback
