"""Whose report is it: somebody's bounce that only mentions a canary must not be taken for ours, which is removed."""

from __future__ import annotations

import pytest

from mailprobe.message.dsn import parse_report
from mailprobe.message.token import Key

KEY = Key(b"0123456789abcdef0123456789abcdef")
TOKEN = KEY.sign("fra1", "inbound", "abcdefgh23456789", 1_795_428_000)
BOUNCE_OF_A_PERSONS_MAIL = f"""\
Return-Path: <>
From: MAILER-DAEMON@mx.example
Content-Type: multipart/report; report-type=delivery-status; boundary=B

--B
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; bob@typo.example
Action: failed
Status: 5.1.1

--B
Content-Type: message/rfc822

From: alice@contoso.example
To: bob@typo.example
Message-ID: <by-a-person@contoso.example>
Subject: Fwd: what is this?

Please pay 4711 today. And do you know what this is?

> mention this reference:
> {TOKEN}
--B--
""".replace("\n", "\r\n").encode()


def test_the_bounce_of_a_persons_mail_that_quotes_a_canary_is_about_no_canary() -> None:
    report = parse_report(BOUNCE_OF_A_PERSONS_MAIL, KEY)
    assert report is not None
    assert report.token is None


IN_PROSE = f"""\
Return-Path: <>
From: MAILER-DAEMON@mx.example
References: <{TOKEN}@probe.example.net> <by-a-person@contoso.example>

Hi. This is the qmail-send program at mx.example.
I'm afraid I wasn't able to deliver your message to the following addresses.

<bob@typo.example>:
Sorry, no mailbox here by that name. (#5.1.1)

--- Below this line is a copy of the message.

From: alice@contoso.example
Message-ID: <by-a-person@contoso.example>
References: <{TOKEN}@probe.example.net>

Do you know what this is?

--- Original message ---
Message-ID: <{TOKEN}@probe.example.net>
X-Mailprobe-Canary: {TOKEN}
"""
FLATTENED = f"""\
Return-Path: <>
From: MAILER-DAEMON@mx.example
Content-Type: multipart/mixed; boundary=B

--B

Hi. This is the qmail-send program at mx.example.
I'm afraid I wasn't able to deliver your message to the following addresses.
--B

From: alice@contoso.example
Message-ID: <by-a-person@contoso.example>

X-Mailprobe-Canary: {TOKEN}
--B--
"""
ANSWERED = f"""\
Return-Path: <>
From: MAILER-DAEMON@mx.example
References: <{TOKEN}@probe.example.net> <by-a-person@contoso.example>

Hi. This is the qmail-send program at mx.example.
I'm afraid I wasn't able to deliver your message about {TOKEN}.
"""


@pytest.mark.parametrize("bounce", [IN_PROSE, FLATTENED, ANSWERED], ids=["in prose", "flattened", "nothing returned"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_nor_is_one_in_prose(bounce: str, newline: str) -> None:
    bounce = bounce.replace("\n", newline)
    report = parse_report(bounce.encode(), KEY)
    assert report is not None
    assert report.token is None

    ours = bounce.replace("by-a-person@contoso.example", f"{TOKEN}@probe.example.net")
    report = parse_report(ours.encode(), KEY)
    assert report is not None
    assert report.token == KEY.prove(TOKEN)
