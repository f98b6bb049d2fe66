"""Names and strings as IMAP writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.imap import names


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("INBOX", "INBOX"),
        ("Entwürfe", "Entw&APw-rfe"),
        ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # the example of RFC 3501 5.1.3
        ("R&D", "R&-D"),
        ("&-", "&--"),
        ("😀", "&2D3eAA-"),
    ],
)
def test_modified_utf7(name: str, written: str) -> None:
    assert names.encode(name) == written
    assert names.decode(written) == name


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_name_survives(name: str) -> None:
    assert names.decode(names.encode(name)) == name
    assert names.encode(name).isascii()
    assert not names.needs_literal(names.encode(name))


@given(st.text())
def test_decoding_is_total(written: str) -> None:
    names.decode(written)


@pytest.mark.parametrize("broken", ["&AB", "&!!!-", "&A-", "&2D0-", "a&b"])
def test_a_name_that_is_not_well_formed_is_left_as_it_came(broken: str) -> None:
    assert names.decode(broken) == broken


def test_quoting() -> None:
    assert names.quoted('a "b" \\c') == '"a \\"b\\" \\\\c"'
    for text in ("a\r\nb", "a\0", "ä", "\x7f"):
        assert names.needs_literal(text)
        with pytest.raises(ValueError):
            names.quoted(text)


def test_a_folder_cannot_smuggle_a_command() -> None:
    argument = names.mailbox("x\r\nA1 DELETE INBOX")
    assert "\r" not in argument
    assert "\n" not in argument
