"""Replies from octets: what is remembered is what would have been read, and nothing that is not one reply is."""

from __future__ import annotations

import pytest
from aiosmtplib import SMTPException, SMTPResponse
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.auth.giveaways import HIDDEN, Scrubber, giveaways, scrubber_of
from mailprobe.auth.passwords import Secret
from mailprobe.smtp.protocol import AttemptProtocol
from mailprobe.smtp.reading import ReplyReader
from mailprobe.smtp.transcript import Transcript

LINE = st.sampled_from(
    [b"250-one\r\n", b"250 last\r\n", b"250\r\n", b"550 5.1.1 no\n", b"25", b" 250 x\r\n", b"\xff\r\n", b"220-\r\n"]
)


def read(*segments: bytes) -> tuple[SMTPResponse | str | None, bytes]:
    """What the segments come to: the reply, or why there is none, and what is left."""
    reader, reply = ReplyReader(Scrubber()), None
    for segment in segments:
        try:
            reply = reader.feed(segment)
        except SMTPException as error:
            return str(error), b""
        if reply:
            break
    return reply, bytes(reader.buffer)


@given(lines=st.lists(LINE, max_size=5))
def test_at_once_is_as_bit_by_bit(lines: list[bytes]) -> None:
    said = b"".join(lines)
    reply, left = read(said)
    assert read(said) == (reply, left), "the second time it is remembered"
    at_length, rest = read(*(said[at : at + 1] for at in range(len(said))))
    assert at_length == reply
    assert left.startswith(rest)


async def test_a_command_with_a_control_character_is_not_said() -> None:
    transcript = Transcript(lambda: 0.0)
    protocol = AttemptProtocol(transcript, Scrubber())
    for address in ("a\r\nDATA", "a\nDATA", "a\0b", "a\x7fb"):
        with pytest.raises(ValueError, match="control character"):
            await protocol.command("RCPT", f"TO:<{address}>")
    assert transcript.lines() == ()


def test_a_new_password_has_a_scrubber_of_its_own() -> None:
    old, new = Secret("correct horse"), Secret("battery staple")
    assert scrubber_of("anna", old) is scrubber_of("anna", Secret("correct horse"))
    for _ in range(2):
        assert scrubber_of("anna", new)("your battery staple") == HIDDEN
        assert scrubber_of("anna", old)("your battery staple") == "your battery staple"
        assert scrubber_of("anna", old)("your correct horse") == HIDDEN


def test_what_was_clean_stays_so_and_memory_has_a_bound() -> None:
    scrub = Scrubber(giveaways("anna", Secret("correct horse")))
    for number in range(1000):
        assert scrub(f"250 2.0.0 Ok: queued as {number}") != HIDDEN
        assert scrub("535 correct horse") == HIDDEN
    assert len(scrub._clean) <= 100
