"""Times in the fields of an HTTP answer: what a server asks us to wait, and whatever else stands there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.net.http_times import LONGEST_WAIT, http_date, retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("99999999999999999999", 3600.0),
        ("Thu, 22 Jan 2026 19:38:40 GMT", 100.0),
        ("Thu, 22 Jan 2026 19:00:00 GMT", 0.0),
        ("-5", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("\u0661\u0662", 0.0),
    ],
)
def test_what_a_server_asks_us_to_wait(value: str, seconds: float) -> None:
    assert retry_after(value, datetime.fromtimestamp(1769110620, UTC)) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("Thu, 22 Jan 2026 19:37:00 GMT", 1769110620),
        ("Thu, 22 Jan 2026 19:37:00 -0000", 1769110620),
        ("Thu, 22 Jan 2026 19:37:00", 1769110620),
        (",", None),
        ("Fri, 31 Dec 9999 23:59:59 -2300", None),
        ("Thu, 32 Jan 2026 19:37:00 GMT", None),
    ],
)
def test_a_date(value: str, seconds: float | None) -> None:
    at = http_date(value)
    assert (at and at.timestamp()) == seconds


@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    assert http_date(text) is None or retry_after(text) <= LONGEST_WAIT
