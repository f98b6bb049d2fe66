"""Tokens: what is signed is proved, and nothing else is."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.message.token import (
    CANDIDATES_LIMIT,
    TOKEN_LIMIT,
    Key,
    agent_label,
    new_canary_id,
    route_hash,
)

KEY = Key(b"0123456789abcdef0123456789abcdef")
OTHER = Key(b"another key, just as long, or so")
TOKEN = KEY.sign("fra1", "inbound", "abcdefgh23456789", 1_795_428_000.9)

ids = st.from_regex(r"[a-z0-9]{1,16}", fullmatch=True)
times = st.floats(0, 2**32 - 1)


@given(agent=st.text(min_size=1), route=st.text(), canary_id=ids, sent=times)
def test_what_is_signed_is_proved_whatever_the_names_are(agent: str, route: str, canary_id: str, sent: float) -> None:
    text = KEY.sign(agent, route, canary_id, sent)

    token = KEY.prove(text)

    assert token is not None
    assert token.text == text
    assert (token.id, token.sent_wall) == (canary_id, float(int(sent)))
    assert token.is_from(agent)
    assert token.is_for(route)
    assert not token.is_for(route + "x")


@given(agent=st.text(min_size=1), canary_id=ids, sent=times)
def test_its_alphabet_is_safe_in_headers_message_ids_and_envids(agent: str, canary_id: str, sent: float) -> None:
    text = KEY.sign(agent, "r" * 63, canary_id, sent)

    assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+){5}", text)
    assert len(text) <= TOKEN_LIMIT


def test_it_survives_case_folding_and_white_space_around_it() -> None:
    proven = KEY.prove(TOKEN)

    assert KEY.prove(TOKEN.upper()) == proven
    assert KEY.prove(f" \t{TOKEN}\r\n".encode()) == proven


def test_no_changed_character_is_proved() -> None:
    for at, character in enumerate(TOKEN):
        for other in "abz27.-":
            if other != character:
                assert KEY.prove(TOKEN[:at] + other + TOKEN[at + 1 :]) is None


@pytest.mark.parametrize("length", range(0, len(TOKEN), 3))
def test_no_part_of_it_is_proved(length: int) -> None:
    assert KEY.prove(TOKEN[:length]) is None
    assert KEY.prove(TOKEN[length + 1 :]) is None


def test_another_key_proves_nothing() -> None:
    assert OTHER.prove(TOKEN) is None
    assert OTHER.find(TOKEN) is None


def test_a_route_cannot_be_exchanged() -> None:
    assert KEY.prove(TOKEN.replace(route_hash("inbound"), route_hash("outbound"))) is None


@pytest.mark.parametrize(
    "text", ["", "v1", TOKEN + "x", TOKEN + TOKEN, "\u212a" + TOKEN, TOKEN.replace("v1", "v2"), "\ud800"]
)
def test_what_is_not_exactly_a_token_is_not_proved(text: str) -> None:
    assert KEY.prove(text) is None


def test_a_letter_that_folds_to_ascii_is_no_ascii_letter() -> None:
    token = KEY.sign("k", "r", "k", 0.0)

    assert KEY.prove(token.replace(".k.", ".\u212a.")) is None  # the Kelvin sign: its lower case is k


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_nothing_raises(text: bytes | str) -> None:
    assert KEY.prove(text) is None
    assert KEY.find(text) is None


@given(before=st.binary(max_size=200), after=st.binary(max_size=200))
def test_it_is_found_in_any_surroundings(before: bytes, after: bytes) -> None:
    found = KEY.find(before + b"<" + TOKEN.encode() + b"@" + after)

    assert found is not None
    assert found.text == TOKEN


def test_forged_ones_before_it_do_not_hide_it() -> None:
    forged = OTHER.sign("fra1", "inbound", "abcdefgh23456789", 1_795_428_000)
    crowd = (forged + "\n") * (CANDIDATES_LIMIT - 1)

    assert KEY.find(crowd + TOKEN) == KEY.prove(TOKEN)


def test_the_search_ends_after_a_number_of_forged_ones() -> None:
    forged = OTHER.sign("fra1", "inbound", "abcdefgh23456789", 1_795_428_000)

    assert KEY.find((forged + "\n") * 5_000 + TOKEN) is None


def test_short_host_names_stay_readable_and_others_become_hashes() -> None:
    assert agent_label("FRA1") == "fra1"
    assert agent_label("mailprobe-0") == "mailprobe-0"
    long, other = agent_label("probe.fra1.example.net"), agent_label("probe.fra2.example.net")
    assert long != other
    assert long == agent_label("Probe.Fra1.Example.Net")
    assert re.fullmatch(r"[a-z2-7]{12}", long)


def test_an_agent_needs_a_name() -> None:
    with pytest.raises(ValueError, match="name"):
        agent_label("")


@pytest.mark.parametrize("canary_id", ["", "x" * 17, "UPPER", "a.b", "a b", "a\r\nb", "ä"])
def test_an_id_that_would_break_the_token_is_refused(canary_id: str) -> None:
    with pytest.raises(ValueError, match="id"):
        KEY.sign("fra1", "inbound", canary_id, 0.0)


@pytest.mark.parametrize("sent", [-1.0, 2.0**32, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(sent: float) -> None:
    with pytest.raises(ValueError, match="time"):
        KEY.sign("fra1", "inbound", "abc", sent)


def test_ids_are_unguessable_and_fit_into_a_token() -> None:
    made = {new_canary_id() for _ in range(1_000)}

    assert len(made) == 1_000
    assert all(re.fullmatch(r"[a-z2-7]{16}", canary_id) for canary_id in made)
    # 16 characters of 32 are 80 bits, if each of them is used at each place
    assert all(len({canary_id[place] for canary_id in made}) == 32 for place in range(16))


def test_a_key_is_never_shown() -> None:
    for shown in (repr(KEY), str(KEY), f"{KEY}", repr({"key": KEY})):
        assert "0123" not in shown
        assert "***" in shown


def test_a_key_that_is_too_short_is_refused_without_showing_it() -> None:
    with pytest.raises(ValueError, match="too short") as refused:
        Key.from_bytes(b"hunter2\n")
    assert "hunter2" not in str(refused.value)


def test_the_newline_that_an_editor_leaves_makes_no_other_key() -> None:
    generated = Key.generate()

    assert len(generated.reveal()) == 64
    assert generated.reveal() != Key.generate().reveal()
    again = Key.from_bytes(generated.reveal() + b"\r\n")
    assert again.prove(generated.sign("a", "b", "c", 1.0)) is not None
