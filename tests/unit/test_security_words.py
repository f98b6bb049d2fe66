"""What a server says of itself reaches a terminal without what a terminal would obey."""

from __future__ import annotations

from mailprobe.cli.connecting import Report


def test_check_connect_shows_no_control_characters() -> None:
    hostile = "X\x1b[31mRED\x1b]0;PWNED\x07\x9b"
    shown = str(Report("mailbox m", [("offers", hostile), ("junk", hostile)], True))
    assert not any((ord(char) < 32 and char != "\n") or 0x7F <= ord(char) < 0xA0 for char in shown)
    assert "RED" in shown
