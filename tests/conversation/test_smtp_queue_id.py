"""Queue identifiers in the shapes in which servers give them, and in none."""

from __future__ import annotations

import time

import pytest

from mailprobe.smtp.dialogue import xtext
from mailprobe.smtp.queue_id import queue_id_of


@pytest.mark.parametrize(
    ("text", "queue_id"),
    [
        ("2.0.0 Ok: queued as 4XyZ1234abcd", "4XyZ1234abcd"),
        ("2.0.0 from MTA(smtp:[127.0.0.1]:10025): 250 2.0.0 Ok: queued as 9F1B2C3D4E", "9F1B2C3D4E"),
        ("OK id=1tXyzA-0000000Abcd-2EfG", "1tXyzA-0000000Abcd-2EfG"),
        (
            "2.6.0 <v1.x@probe.test> [InternalId=13795406381149, Hostname=DB9PR08MB6633.eurprd08.prod.outlook.com] "
            "8421 bytes in 0.208, 39.471 KB/sec Queued mail for delivery",
            "13795406381149",
        ),
        (
            "2.0.0 OK  1769094000 4fb4d7f45d1cf-6580a2b5c3dsi1234567a12.345 - gsmtp",
            "4fb4d7f45d1cf-6580a2b5c3dsi1234567a12.345",
        ),
        ("2.0.0 60NAbcDe012345 Message accepted for delivery", "60NAbcDe012345"),
        ("2.0.0 7f1a2b3c Message accepted for delivery", "7f1a2b3c"),
        ("2.0.0 Message queued with id 1a2b3c4d.", "1a2b3c4d"),
        ("Message Queued (0D3B-4C5E.1)", "0D3B-4C5E.1"),
        ("ok 1769094000 qp 12345", "qp 12345"),
        ("2.0.0 Delivered, probably", None),  # chasquid
        ("", None),
        ("Ok", None),
        ("queued as", None),
        ("queued as \u202e\u0430bc", None),
    ],
)
def test_shapes(text: str, queue_id: str | None) -> None:
    assert queue_id_of(text) == queue_id


def test_no_text_takes_long() -> None:
    begun = time.process_time()
    for text in ("queued as " * 100_000, "a" * 1_000_000, "ok " * 100_000 + "- gsmtp", "2.0.0 " + "x" * 1_000_000):
        queue_id_of(text)
    assert time.process_time() - begun < 1, "seconds would be a catastrophe; this takes microseconds"


def test_xtext() -> None:
    assert xtext("v1.agent.r-h_x~") == "v1.agent.r-h_x~"
    assert xtext("a+b=c d") == "a+2Bb+3Dc+20d"
    assert xtext("ü\r\n") == "+C3+BC+0D+0A"
