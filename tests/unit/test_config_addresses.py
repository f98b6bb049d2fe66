"""An address that the configuration takes is one that a message can carry."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from mailprobe.config.types import MailAddress
from mailprobe.message import check_address

ADDRESS: TypeAdapter[str] = TypeAdapter(MailAddress)
LONGEST = f"{'a' * 64}@{'.'.join(['b' * 60] * 3)}.{'c' * 6}"


@given(st.text("ab.-_+@[]1", max_size=20))
@example("b..b@y.test")
@example(".a@y.test")
@example("a.@y.test")
@example("a@[127.0.0.1]")
@example(f"a{LONGEST}")
def test_what_is_taken_can_be_sent(text: str) -> None:
    try:
        address = ADDRESS.validate_python(text)
    except ValidationError:
        return
    check_address(address)


@pytest.mark.parametrize("text", ["a.b+c@y.test", "a@y.test", LONGEST])
def test_usual_ones_are_taken(text: str) -> None:
    assert ADDRESS.validate_python(text) == text


@pytest.mark.parametrize("text", ["b..b@y.test", ".a@y.test", f"{LONGEST}c"])
def test_what_would_be_right_is_said(text: str) -> None:
    with pytest.raises(ValidationError, match="at most 254 characters, and before the @ no dot at an end"):
        ADDRESS.validate_python(text)
