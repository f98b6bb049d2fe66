"""Durations: what is one, what is none, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.config.durations import duration_text, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("1ms", 0.001), ("90s", 90), ("5m", 300), ("24h", 86400), ("7d", 604800), ("0s", 0)],
)
def test_a_duration_in_seconds(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "5 m",
        " 5m",
        "5m\n",
        "-5m",
        "+5m",
        "1.5h",
        "1h30m",
        "5M",
        "5w",
        "5min",
        "1e3s",
        "٥m",
        "1" * 10 + "s",
    ],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not a duration; write a whole number and a unit, such as 250ms"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.25, "250ms"), (1.5, "1500ms"), (90, "90s"), (300, "5m"), (86400, "1d")]
)
def test_a_duration_as_text(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@given(st.integers(0, 10**9 - 1), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_what_is_rendered_means_the_same(number: int, unit: str) -> None:
    seconds = seconds_of(f"{number}{unit}")
    if len(duration_text(seconds)) <= 10:
        assert seconds_of(duration_text(seconds)) == pytest.approx(seconds)
