"""Words for people: a peer and a line of a transcript."""

from __future__ import annotations

import pytest

from mailprobe.model import Peer, TranscriptLine
from mailprobe.observe.wording import peer_words, transcript_line


@pytest.mark.parametrize(
    ("peer", "words"),
    [
        (Peer("mx1.example.com", "192.0.2.1", 25), "mx1.example.com (192.0.2.1) port 25"),
        (Peer("192.0.2.1", "192.0.2.1", 587), "192.0.2.1 port 587"),
    ],
)
def test_an_address_that_was_the_name_is_said_once(peer: Peer, words: str) -> None:
    assert peer_words(peer) == words


def test_what_was_said_is_safe_to_show_and_bounded() -> None:
    line = transcript_line(TranscriptLine(1.25, "<", "220 \x1b[2J\u202emx" + "x" * 5000))
    assert line.startswith("    1.250 < 220 ")
    assert line.isprintable()
    assert len(line) < 1100
