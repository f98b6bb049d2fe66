"""The way a message took, as dozens of servers write it; none of them is believed more than it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import names, sample

from mailprobe.message.received import HOPS_LIMIT, Hop, hops

TEN = 1_795_428_000.0  # Mon, 23 Nov 2026 10:00:00 UTC

EXPECTED = {
    "cyrus": [
        Hop("mx.lab.example", "probe.example.net", "ESMTP", None, TEN + 6),
        Hop("imap", "mx.lab.example", "LMTPA", 1.0, TEN + 7),
    ],
    "exchange-arc": [
        Hop("MBX01.fabrikam.example", "MBX01.fabrikam.example", "mapi", None, TEN + 1),
        Hop(
            "VI1PR04MB5678.eurprd04.prod.outlook.com", "AM0PR04MB1234.eurprd04.prod.outlook.com", "HTTPS", 7.0, TEN + 8
        ),
    ],
    "exchange-online": [
        Hop("DB5PEPF00014B9F.mail.protection.outlook.com", "mail.example.net", "Microsoft SMTP Server", None, TEN + 9),
        Hop(
            "DUZPR01CA0001.outlook.office365.com",
            "DB5PEPF00014B9F.eurprd02.prod.outlook.com",
            "Microsoft SMTP Server",
            1.0,
            TEN + 10,
        ),
        Hop(
            "FR4P281MB0001.DEUP281.PROD.OUTLOOK.COM",
            "DUZPR01CA0001.eurprd01.prod.exchangelabs.com",
            "Microsoft SMTP Server",
            0.0,
            TEN + 10,
        ),
        Hop("FR4P281MB0002.DEUP281.PROD.OUTLOOK.COM", "FR4P281MB0001.DEUP281.PROD.OUTLOOK.COM", "HTTPS", 2.0, TEN + 12),
    ],
    "exchange-online-old": [
        Hop(
            "AM5EUR02HT180.eop-EUR02.prod.protection.outlook.com",
            "AM5EUR02FT022.eop-EUR02.prod.protection.outlook.com",
            "Microsoft SMTP Server",
            None,
            1_565_099_577.0,
        )
    ],
    "exim": [
        Hop("mail.example.net", "canary", "local", None, TEN + 3),
        Hop("mx.lab.example", "relay.example.net", "esmtps", 6.0, TEN + 9),
    ],
    "fastmail": [
        Hop("mx6.messagingengine.com", "mail.example.net", "ESMTPS", None, TEN + 7),
        Hop("compute1.internal", "mx6", None, 1.0, TEN + 8),
        Hop("sloti22d1t06", "compute1.internal", "LMTPA", 0.0, TEN + 8),
    ],
    "gmail": [
        Hop("mail.example.net", None, None, None, TEN + 4),
        Hop("mx.google.com", "mail.example.net", "ESMTPS", 1.0, TEN + 5),
        Hop("2002:a05:6a10:1234:b0:4b6:aaaa:bbbb", None, "SMTP", 1.0, TEN + 6),
    ],
    "gmail-forwarded": [
        Hop("mx.google.com", "list.example.org", "ESMTPS", None, TEN + 15),
        Hop("2002:a05:6a10:1234:b0:4b6:aaaa:bbbb", None, "SMTP", 1.0, TEN + 16),
    ],
    "haraka": [
        Hop("mail.example.net", "gateway", "ESMTP", None, None),
        Hop("mx.lab.example", "mail.example.net", "ESMTPS", None, TEN + 8),
        Hop("mbx.lab.example", "ironport.lab.example", "ESMTP/TLS/AES128-SHA", 2.0, TEN + 10),
    ],
    "icloud": [Hop("p00-icloudmta-smtpin-us-central-1k-60", "mail.example.net", "ESMTPS", None, TEN + 5)],
    "opendkim-opendmarc": [Hop("mx.lab.example", "mail.example.net", "ESMTPS", None, TEN + 5)],
    "opensmtpd": [Hop("mx.lab.example", "mail.example.net", "ESMTPS", None, TEN + 5)],
    "postfix-dovecot": [
        Hop("relay.example.net", "probe.example.net", "ESMTPSA", None, TEN + 2),
        Hop("mx.lab.example", "relay.example.net", "ESMTPS", 3.0, TEN + 5),
        Hop("imap.lab.example", "mx.lab.example", "LMTP", 2.0, TEN + 7),
    ],
    "qmail": [
        Hop("relay.example.net", "mail.example.net", "ESMTP/TLS/AES128-SHA", None, TEN - 31),
        Hop("0", "unknown", "SMTP", 63.0, TEN + 32),
        Hop(None, None, None, 1.0, TEN + 33),
    ],
    "rfc8601": [
        Hop("mail-router.example.net", "smtp.newyork.example.com", "ESMTP", None, 1_013_822_347.0),
        Hop("chicago.example.com", "mail-router.example.net", "ESMTP", 15.0, 1_013_822_362.0),
    ],
    "rspamd": [Hop("mx.lab.example", "mail.example.net", "ESMTPS", None, TEN + 5)],
    "sendmail": [
        Hop("mail.example.net", None, None, None, TEN + 2),
        # this server's clock is half a minute behind
        Hop("mx.lab.example", "mail.example.net", "ESMTPS", 0.0, TEN - 29),
    ],
    "ses": [
        Hop("inbound-smtp.us-east-1.amazonaws.example", "a8-30.smtp-out.amazonses.example", "SMTP", None, TEN + 18)
    ],
    "yahoo": [Hop("10.217.135.59", "192.0.2.25", "SMTPs", None, TEN + 9)],
}


@pytest.mark.parametrize("name", names("headers"))
def test_what_real_servers_write_is_understood(name: str) -> None:
    assert list(hops(sample(f"headers/{name}"))) == EXPECTED[name]


def received(*bodies: str) -> bytes:
    """Headers with these Received fields, newest first."""
    return "".join(f"Received: {body}\r\n" for body in bodies).encode()


def at(second: int) -> str:
    return f"Mon, 23 Nov 2026 10:00:{second:02} +0000"


def seconds(headers: bytes) -> list[float | None]:
    return [hop.seconds for hop in hops(headers)]


def test_a_wrong_clock_in_the_middle_never_makes_a_negative_delay() -> None:
    headers = received(f"by c; {at(12)}", f"by b; {at(50)}", f"by a; {at(10)}")

    assert seconds(headers) == [None, 40.0, 0.0]


def test_a_hop_without_a_date_is_bridged() -> None:
    headers = received(f"by c; {at(12)}", "by b; some day", "by b", f"by a; {at(10)}")

    assert seconds(headers) == [None, None, None, 2.0]


@pytest.mark.parametrize(
    "date",
    [
        "",
        "yesterday",
        "Mon, 23 Nov 20226 10:00:00 +0000",
        "Mon, 23 Nov 2026 99:99:99 +9999999999999999999999",
        "Mon, 99 Nov 2026 10:00:00 +0000",
        "Thu, 01 Jan 1970 00:00:00 +0000",
        "Fri, 01 Jan 2100 00:00:00 +0000",
        "Mon, 29 Feb 2026 10:00:00 +0000",
        "9" * 5_000,
        "\0\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
        "-1 Nov -2026 -10:-00 -",
        "0 0 0 0 0",
        ",;:",
    ],
)
def test_a_date_that_is_none_is_unknown(date: str) -> None:
    (hop,) = hops(received(f"from a by b; {date}"))

    assert hop == Hop("b", "a", None, None, None)


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 23 Nov 2026 10:00:05 +0000",
        "23 Nov 26 10:00:05 GMT",
        "Mon, 23 Nov 2026 02:00:05 -0800 (PST)",
        "Mon, Nov 23 2026 15:30:05 +0530",
        "Tue, 24 Nov 2026 00:00:05 +1400",
        "23 Nov 2026 10:00:05 -0000",
        "23 Nov 2026 10:00:05",
        "Mon Nov 23 10:00:05 2026",
    ],
)
def test_dates_of_all_ages_are_understood(date: str) -> None:
    (hop,) = hops(received(f"from a by b; {date}"))

    assert hop.at_wall == TEN + 5


def test_a_leap_second_is_a_time() -> None:
    (hop,) = hops(received("by b; Sat, 31 Dec 2016 23:59:60 +0000"))

    assert hop.at_wall == 1_483_228_799.0


@pytest.mark.parametrize(
    "body",
    [
        f"from a (x (y (z) with by from) y) by b (with c; by d) with SMTP id 1 for <x@y>; {at(5)}",
        f"FROM a BY b WITH SMTP; {at(5)} (a; comment)",
        f"from\ta\r\n\tby\tb\r\n\twith\tSMTP\r\n\t;\r\n\t{at(5)}",
        f"from a ((((((((((x)))))))))) by b with SMTP; {at(5)}",
    ],
)
def test_comments_and_folds_change_nothing(body: str) -> None:
    assert hops(received(body)) == (Hop("b", "a", "SMTP", None, TEN + 5),)


def test_an_unclosed_comment_does_not_swallow_the_date() -> None:
    (hop,) = hops(received(f"from a (no end by b; {at(5)}"))

    assert (hop.from_, hop.at_wall) == ("a", TEN + 5)


def test_only_the_newest_are_read_and_in_order() -> None:
    many = received(*(f"by server{number}; {at(1)}" for number in range(10_000)))

    found = hops(many)

    assert len(found) == HOPS_LIMIT
    assert [hop.by for hop in found] == [f"server{number}" for number in reversed(range(HOPS_LIMIT))]


def test_bombs_are_cut() -> None:
    assert len(hops(b"Received: by " + b"x" * 10_000_000)) == 1
    assert len(hops(b"Received: " + b"(" * 10_000_000)) == 1
    assert len(hops(b"Received: by a\r\n" * 600_000)) == HOPS_LIMIT
    assert len(hops(b"Received: by a" + b"\r\n " * 3_000_000)) == 1
    assert hops(b"X: y\r\n" * 1_700_000 + b"Received: by a\r\n") == ()


def test_of_a_field_only_so_much_is_read() -> None:
    (hop,) = hops(b"Received: from a" + b" x" * 5_000 + b" by b")

    assert (hop.from_, hop.by) == ("a", None)


def test_a_clause_counts_once() -> None:
    assert hops(received("from a by b with SMTP id 1 by way of c"))[0].by == "b"


def test_the_body_is_not_looked_at() -> None:
    assert hops(b"Subject: x\n\nReceived: by a\r\n\r\n") == ()
    assert hops(b"Subject: x\r\n\r\nReceived: by a\n\n") == ()
    assert hops(b"Subject: x\r\n\r\nReceived: by a\r\n") == ()


def test_texts_are_safe_to_show() -> None:
    (hop,) = hops(b"Received: from \x1b[31m\0 by " + b"b" * 1_000 + b" with \xff\xfe; x\r\n")

    assert hop.by is not None
    assert len(hop.by) == 255
    assert hop.from_ == "\ufffd[31m\ufffd"
    assert hop.protocol == "\ufffd\ufffd"


wire = st.lists(
    st.binary(max_size=20)
    | st.sampled_from(
        [b"Received:", b"\r\n", b"\r\n ", b" by ", b" from ", b" with ", b"(", b")", b";", at(5).encode()]
    )
).map(b"".join)


@given(wire)
def test_nothing_raises(headers: bytes) -> None:
    for hop in hops(b"Received:" + headers):
        assert hop.seconds is None or hop.seconds >= 0
