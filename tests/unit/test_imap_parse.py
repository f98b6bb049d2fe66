"""Responses to facts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.imap import parse
from mailprobe.imap.framing import Framer, Parts
from mailprobe.imap.parse import Folder, Malformed, Message


def one(data: bytes) -> Parts:
    ((first, *rest),) = Framer().feed(b"* " + data + b"\r\n")
    return (first[2:], *rest)


WALL = datetime(2026, 1, 22, 18, 30, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (
            b'3 FETCH (UID 7 INTERNALDATE "22-Jan-2026 19:30:00 +0100" BODY[HEADER]<0> {4}\r\na: b)',
            Message(3, 7, WALL, b"a: b"),
        ),
        (b'3 fetch (body[header]<0> "a \\"q\\" (" uid 7)', Message(3, 7, None, b'a "q" (')),
        (b"3 FETCH (FLAGS (\\Seen $x (a (b))) UID 7)", Message(3, 7, None, None)),
        (b'3 FETCH (UID 7 BODY[HEADER.FIELDS (DATE "X)")] NIL)', Message(3, 7, None, b"")),
        (b'3 FETCH (UID 7 X-GM-MSGID 12 ENVELOPE (NIL "un(balanced" NIL) MODSEQ (5))', Message(3, 7, None, None)),
        (b"3 FETCH (FLAGS ())", Message(3, None, None, None)),
        (b"3 FETCH ( UID 7 )", Message(3, 7, None, None)),
    ],
)
def test_fetch(response: bytes, message: Message) -> None:
    assert parse.fetch(one(response)) == message


@pytest.mark.parametrize(
    "response",
    [
        b"3 FETCH",
        b"3 FETCH UID 7",
        b"3 FETCH (UID 7",
        b"3 FETCH (UID x)",
        b"3 FETCH (UID 99999999999999999999999)",
        b"3 FETCH (UID",
        b"3 FETCH (UID 7 FLAGS (a)",
        b'3 FETCH (UID 7 BODY[] "open)',
        b"3 FETCH (UID)",
        b'3 FETCH ("UID" 7)',
        b"3 FETCH (UID 7 BODY[ x)",
        b"3 FETCH (UID 7 BODY[] {x})",
    ],
)
def test_a_fetch_that_cannot_be_read_is_never_taken_for_nothing(response: bytes) -> None:
    with pytest.raises(Malformed):
        parse.fetch(one(response))


@given(st.binary(max_size=200))
def test_only_malformed_is_raised(junk: bytes) -> None:
    for parts in Framer().feed(b"1 FETCH (" + junk.replace(b"{", b"") + b"\r\n"):
        for reader in (parse.fetch, parse.folder, parse.status, parse.search, parse.quota):
            with contextlib.suppress(Malformed):
                reader(parts)


def test_deep_and_long_lists_are_passed_over() -> None:
    deep = b"(" * 100_000 + b")" * 100_000
    assert parse.fetch(one(b"1 FETCH (BODYSTRUCTURE " + deep + b" UID 7)")).uid == 7
    with pytest.raises(Malformed):
        parse.fetch(one(b"1 FETCH (BODYSTRUCTURE " + b"(" * 500_000))
    with pytest.raises(Malformed):
        parse.fetch(one(b"1 FETCH (" + b"[" * 500_000))
    with pytest.raises(Malformed):
        parse.fetch(one(b'1 FETCH (UID "' + b"\\a" * 250_000))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (b"22-Jan-2026 19:30:00 +0100", WALL),
        (b"22-JAN-2026 13:00:00 -0530", WALL),
        (b" 1-Feb-2026 00:00:00 +0000", datetime(2026, 2, 1, tzinfo=UTC).timestamp()),
        (b"31-Feb-2026 00:00:00 +0000", None),
        (b"01-Foo-2026 00:00:00 +0000", None),
        (b"01-Jan-0000 00:00:00 +0000", None),
        (b"01-Jan-0001 00:00:00 +9959", None),
        (b"", None),
    ],
)
def test_internaldate(text: bytes, moment: float | None) -> None:
    assert parse.internaldate(text) == moment


@pytest.mark.parametrize(
    ("response", "folder"),
    [
        (b'LIST (\\HasNoChildren \\JUNK) "/" "Junk"', Folder("Junk", frozenset({"\\hasnochildren", "\\junk"}))),
        (b'LIST () "." INBOX.Junk', Folder("INBOX.Junk")),
        (b'LIST () NIL {9}\r\nEntw"\xc3\xbcrf', Folder('Entw"ürf')),
        (b'LIST () "/" "Entw&APw-rfe"', Folder("Entwürfe")),
        (b'LIST () "/" "star* name* x"', Folder("star* name* x")),
        (b'LIST () "/" [Gmail]/Spam', Folder("[Gmail]/Spam")),
        (b'LIST () "\\\\" "a \\"b\\""', Folder('a "b"')),
        (b'LIST (\\Noselect) "/" "x" ("CHILDINFO" ("SUBSCRIBED"))', Folder("x", frozenset({"\\noselect"}))),
    ],
)
def test_list(response: bytes, folder: Folder) -> None:
    assert parse.folder(one(response)) == folder


def test_a_folder_that_holds_no_messages() -> None:
    assert not Folder("x", frozenset({"\\noselect"})).selectable
    assert not Folder("x", frozenset({"\\nonexistent"})).selectable
    assert Folder("x", frozenset({"\\junk"})).selectable


@pytest.mark.parametrize(
    "read",
    [
        lambda number: parse.search(one(b"SEARCH %d" % number)),
        lambda number: parse.fetch(one(b"1 FETCH (UID %d)" % number)),
        lambda number: parse.status(one(b"STATUS x (UIDNEXT %d)" % number)),
        lambda number: parse.status(one(b"STATUS x (UIDVALIDITY %d)" % number)),
    ],
)
def test_numbers_have_32_bits(read: Callable[[int], object]) -> None:
    read((1 << 32) - 1)
    for number in (1 << 32, 10**19, 10**20):
        with pytest.raises(parse.Malformed):
            read(number)


def test_storage_is_counted_in_64_bits() -> None:
    assert parse.quota(one(b'QUOTA "" (STORAGE 5000000000 10000000000)')) == 0.5


def test_status_search_quota_code() -> None:
    assert parse.status(one(b'STATUS "a (b)" (messages 231 UIDNEXT 44292)')) == {"MESSAGES": 231, "UIDNEXT": 44292}
    assert parse.status(one(b"STATUS {5}\r\n(a) ) (UIDNEXT 4)")) == {"UIDNEXT": 4}
    assert parse.search(one(b"SEARCH 2 84 882 (MODSEQ 917)")) == [2, 84, 882]
    assert parse.search(one(b"SEARCH")) == []
    assert parse.quota(one(b'QUOTA "" (MESSAGE 1 2 STORAGE 10 40)')) == 0.25
    assert parse.quota(one(b'QUOTA "" (STORAGE 10 0)')) is None
    assert parse.quota(one(b'QUOTA "" ()')) is None
    assert parse.response_code(b"[limit] too many") == ("LIMIT", "")
    assert parse.response_code(b"[UIDNEXT 5]") == ("UIDNEXT", "5")
    assert parse.response_code(b"no [LIMIT] here") is None
