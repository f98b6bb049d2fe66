"""Bytes to responses, however they are cut into segments."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.imap.framing import LINE_LIMIT, RESPONSE_LIMIT, Framer, FramingError

DIALOGUE = (
    b"* 1 FETCH (UID 1 BODY[HEADER] {7}\r\na\r\nb)\r\n FLAGS ())\r\n"
    b'* LIST () {0}\r\n "x"\r\n'
    b"* {3}x\r\n"
    b"\r\n"
    b"* bye {9}\r\nA1 OK done {2}\r\n+ {3}\r\n"
)
RESPONSES = [
    (b"* 1 FETCH (UID 1 BODY[HEADER] {7}", b"a\r\nb)\r\n", b" FLAGS ())"),
    (b"* LIST () {0}", b"", b' "x"'),
    (b"* {3}x",),
    (b"",),
    (b"* bye {9}",),
    (b"A1 OK done {2}",),
    (b"+ {3}",),
]


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = [], 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [*pieces, data[at:]]


@given(st.lists(st.integers(0, 20), max_size=40))
def test_segments_do_not_matter(sizes: list[int]) -> None:
    framer = Framer()
    assert [parts for piece in cut(DIALOGUE, sizes) for parts in framer.feed(piece)] == RESPONSES
    assert not framer.pending


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_whatever_comes_it_ends(pieces: list[bytes]) -> None:
    framer = Framer()
    for piece in pieces:
        for parts in framer.feed(piece):
            assert len(parts) % 2 == 1


def test_ten_thousand_lines_in_one_segment() -> None:
    lines = b"".join(b"* %d FETCH (UID %d FLAGS ())\r\n" % (n, n) for n in range(10_000))
    assert len(list(Framer().feed(lines))) == 10_000


def test_a_line_without_an_end_is_refused_at_its_limit_and_not_searched_again_and_again() -> None:
    framer, pieces = Framer(), iter([b"x" * 4096] * (25 << 8))
    with pytest.raises(FramingError):
        list(itertools.chain.from_iterable(map(framer.feed, pieces)))
    assert len(list(pieces)) * 4096 >= (25 << 20) - LINE_LIMIT - 4096


def test_a_literal_too_long_is_refused_when_announced() -> None:
    with pytest.raises(FramingError):
        list(Framer().feed(b"* 1 FETCH (BODY[] {%d}\r\n" % (RESPONSE_LIMIT + 1)))
    with pytest.raises(FramingError):
        list(Framer().feed(b"* 1 FETCH (BODY[] {999999999999}\r\n"))


def test_empty_literals_without_end_are_refused_too() -> None:
    framer, pieces = Framer(), iter([b'* LIST () "/" ', *[b"{0}\r\n" * 1_000] * 100])
    with pytest.raises(FramingError):
        list(itertools.chain.from_iterable(map(framer.feed, pieces)))
    assert len(list(pieces)) > 90, "not one by one until there are eight million octets of them"


def test_many_literals_in_one_response_are_refused_too() -> None:
    literal = b"* BODY[] {1000000}\r\n" + b"x" * 1_000_000
    with pytest.raises(FramingError):
        list(Framer().feed(literal * 20))
