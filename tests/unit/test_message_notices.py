"""Bounces in prose: whose they are, where they end, and what only looks like one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.message.compose import Composer
from mailprobe.message.dsn import parse_report
from mailprobe.message.notices import _SHAPES
from mailprobe.message.phrases import SENTENCES
from mailprobe.message.replies import Category
from mailprobe.message.report import Action
from mailprobe.message.token import Key, new_canary_id

KEY = Key(b"0123456789abcdef0123456789abcdef")
TOKEN = KEY.sign("fra1", "inbound", "abc", 1.0)
SYSTEM = "From: MAILER-DAEMON@mx.lab.example\nContent-Type: text/plain\n\n"
FAILED = "Hi. This is the qmail-send program at mx.lab.example.\n\n<a@b.example>:\n550 5.1.1 gone\n"
QUOTED = f"\n--- Below this line is a copy of the message.\n\nX-Mailprobe-Canary: {TOKEN}\n"


def report(text: str):  # type: ignore[no-untyped-def]
    return parse_report(text.replace("\n", "\r\n").encode("utf-8", "surrogatepass"), KEY)


@pytest.mark.parametrize(
    "headers",
    [
        "From: MAILER-DAEMON\n",
        "From: Postmaster <postmaster@x.example>\n",
        "From: x@x.example\nReturn-Path: <>\n",
        "From: x@x.example\nX-Failed-Recipients: a@b.example\n",
        "X-MS-Exchange-Message-Is-Ndr:\n",
    ],
)
def test_a_mail_system_is_believed(headers: str) -> None:
    found = report(f"{headers}\n{FAILED}{QUOTED}")

    assert (found.action, found.status, found.diagnostic) == (Action.FAILED, "5.1.1", "550 5.1.1 gone")
    assert found.token == KEY.prove(TOKEN)


@pytest.mark.parametrize("headers", ["", "From: x@x.example\n", "From: x@x.example\nReturn-Path: <x@x.example>\n"])
def test_a_person_is_not(headers: str) -> None:
    assert report(f"{headers}\n{FAILED}{QUOTED}") is None


@pytest.mark.parametrize("before", ["> ", "| ", "He wrote: ", ">> ", "- "])
def test_what_is_quoted_or_told_is_no_notice(before: str) -> None:
    quoted = "".join(f"{before}{line}\n" for line in FAILED.splitlines())

    assert report(SYSTEM + "Thank you.\n\n" + quoted + QUOTED) is None


def test_nothing_in_the_returned_message_counts() -> None:
    assert report(SYSTEM + "Something happened.\n\n----- Original message -----\n" + FAILED) is None
    found = report(SYSTEM + FAILED.replace("550 5.1.1 gone", "Sorry.") + QUOTED + "\n550 5.7.1 spam\n")
    assert (found.status, found.diagnostic) == ("", "<a@b.example>: Sorry.")


@pytest.mark.parametrize("shape", _SHAPES, ids=lambda shape: shape.sentence.pattern[:50])
def test_no_canary_looks_like_a_notice(shape) -> None:  # type: ignore[no-untyped-def]
    composer = Composer(KEY, "fra1", "inbound", "canary@probe.example.net", "inbox@lab.example")
    assert not any(shape.sentence.search(sentence) for sentence in SENTENCES)
    for _ in range(30):
        content = composer.compose(new_canary_id(), 1.0).content
        assert not shape.sentence.search(content.decode())
        assert parse_report(b"Return-Path: <>\r\n" + content, KEY) is None


SAID = [
    ("A message that you sent has not yet been delivered to one or more of its", Action.DELAYED),
    ("has not yet been delivered to one or more of its recipients after more than", Action.DELAYED),
    ("Delivery to the following recipients has been delayed.", Action.DELAYED),
    ("** Delivery incomplete **", Action.DELAYED),
    ("Delivery is delayed to these recipients or groups:", Action.DELAYED),
    ("   ----- The following addresses had transient non-fatal errors -----", Action.DELAYED),
    ("    **      THIS IS A WARNING MESSAGE ONLY      **", Action.DELAYED),
    ("The attached message had TRANSIENT delivery errors!", Action.DELAYED),
    ("Hi. This is the deliver program at mx.example.", Action.FAILED),
    ("Sorry, we were unable to deliver your message to the following address.", Action.FAILED),
    ("could not be delivered to all of its recipients", Action.FAILED),
    ("This is the mail system at host a.example.\n\nI'm sorry to have to inform you", Action.FAILED),
    ("Delivery to the following recipients failed.", Action.FAILED),
    ("** Message blocked **", Action.FAILED),
    ("Delivery has failed to these recipients or distribution lists:", Action.FAILED),
    ("Your message did not reach some or all of the intended recipients.", Action.FAILED),
    ("Your message to a@b.example couldn't be delivered.", Action.FAILED),
    ("   ----- The following addresses had permanent fatal errors -----", Action.FAILED),
    ("was not delivered to:", Action.FAILED),
    ("The attached message had PERMANENT fatal delivery errors!", Action.FAILED),
    ("The message that you sent was undeliverable to the following:", Action.FAILED),
    ("An error occurred while trying to deliver the mail to the following recipients:", Action.FAILED),
]


@pytest.mark.parametrize(("sentence", "action"), SAID)
def test_each_sentence_says_what_became_of_the_message(sentence: str, action: Action) -> None:
    assert report(SYSTEM + f"\n{sentence}\n{QUOTED}").action is action


def test_there_is_a_sentence_for_every_shape() -> None:
    assert all(any(shape.sentence.search(sentence) for sentence, _ in SAID) for shape in _SHAPES)


@pytest.mark.parametrize(
    ("text", "status", "diagnostic"),
    [
        ("550 5.1.1 gone", "5.1.1", "550 5.1.1 gone"),
        ("550-5.1.1 gone\n550 5.1.1 away", "5.1.1", "550-5.1.1 gone 550 5.1.1 away"),
        ("#550 5.1.1 gone ##", "5.1.1", "550 5.1.1 gone ##"),
        ("Sorry. (#5.1.1)", "5.1.1", "Sorry. (#5.1.1)"),
        ("said: 450 try later", "", "450 try later"),
        ("(reason: 450 try later)", "", "450 try later"),
        ("450 first\nthen 550 5.7.1 second", "5.7.1", "550 5.7.1 second"),
        ("550 5.1.1.9 is no code", "", "550 5.1.1.9 is no code"),
        ("received 550 messages in 5.1.1", "", "received 550 messages in 5.1.1"),
        ("on 450.5.5 or 1550 5.1.1", "", "on 450.5.5 or 1550 5.1.1"),
        ("no code at all", "", "no code at all"),
        ("550 5.1.1 \x00\x1b[1m" + "x" * 900, "5.1.1", "550 5.1.1 \ufffd\ufffd[1m" + "x" * 384 + "…"),
    ],
)
def test_codes_are_read_and_words_are_kept(text: str, status: str, diagnostic: str) -> None:
    found = report(SYSTEM + "Hi. This is the qmail-send program at mx.\n\n" + text + "\n" + QUOTED)

    assert (found.status, found.diagnostic) == (status, diagnostic)


def test_marked_up_text_is_read_where_there_is_no_other() -> None:
    body = "<p>Delivery has failed to these recipients or groups:</p><br>returned &#39;550 5.1.1 &lt;a&gt; gone&#39;"
    html = "From: postmaster@x.example\nContent-Type: text/html\n\n<html>" + body

    found = report(html)

    assert (found.action, found.diagnostic) == (Action.FAILED, "550 5.1.1 <a> gone")


def test_a_delay_is_known_before_a_failure() -> None:
    warning = "# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #\n"

    assert report(SYSTEM + FAILED + warning).action is Action.DELAYED


lines = st.lists(
    st.text(max_size=20)
    | st.sampled_from(
        [
            "Hi. This is the x program at h.\n",
            "A message that you sent could not be delivered to one or more of its\n",
            "THIS IS A WARNING ONLY",
            "# ",
            "<p>",
            "550 5.1.1 x\n",
            "#5.1.1",
            ": 450 ",
            "host a.b [",
            "--- copy of\n",
            "\n\n",
            " ",
            TOKEN,
        ]
    )
).map("".join)


@given(st.sampled_from(["text/plain", "text/html", "multipart/mixed; boundary=b"]), lines)
def test_nothing_raises_and_texts_are_safe(content_type: str, text: str) -> None:
    found = report(f"Return-Path: <>\nContent-Type: {content_type}\n\n{text}")

    if found is not None:
        assert found.action in (Action.FAILED, Action.DELAYED)
        assert len(found.diagnostic) <= 400
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", found.diagnostic + found.remote_mta + found.reporting_mta)
        assert found.category in Category


@pytest.mark.parametrize(
    "bomb",
    [
        " " * 300_000,
        "-" * 300_000,
        "----\n" * 60_000,
        "Hi. This is the " * 20_000,
        "your message to " * 20_000,
        "Hi. This is the x program at h.\n" + ": " * 150_000,
        "Hi. This is the x program at h.\n" + "host a.a.a.a.a.a.a.a.a.a.a.a " * 10_000,
        "Hi. This is the x program at h.\n" + "550 5.1.1.1 #5.1.1.1 " * 15_000,
        "Hi. This is the x program at h.\n" + "\n \t \n" * 60_000,
    ],
)
@pytest.mark.parametrize("content_type", ["text/plain", "text/html"])
def test_bombs_are_cut(bomb: str, content_type: str) -> None:
    found = report(f"Return-Path: <>\nContent-Type: {content_type}\n\n{bomb}")

    assert found is None or len(found.diagnostic) <= 400
