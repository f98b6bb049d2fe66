"""The way a message took, as dozens of servers write it; none of them is believed more than it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import TEN, expected_hops, names, sample

from mailprobe.message.received import HOPS_LIMIT, Hop, hops


@pytest.mark.parametrize("name", names("headers"))
def test_what_real_servers_write_is_understood(name: str) -> None:
    assert list(hops(sample(f"headers/{name}"))) == expected_hops(f"headers/{name}")


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
