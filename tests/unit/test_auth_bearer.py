"""XOAUTH2 and OAUTHBEARER as octets, error challenges, and what the codes of a refusal mean."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.auth import bearer, mistakes
from mailprobe.auth.bearer import Bearer
from mailprobe.auth.giveaways import Scrubber
from mailprobe.errors import NoCredential, Reply
from mailprobe.plan import Grant

TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="


def test_the_example_of_rfc_7628() -> None:
    got = bearer.initial_response(Bearer.OAUTHBEARER, "user@example.com", TOKEN, "server.example.com", 143)
    assert base64.b64decode(got) == (
        b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01"
        b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
    )


def test_the_example_of_microsofts_and_googles_description() -> None:
    got = bearer.initial_response(
        Bearer.XOAUTH2, "test@contoso.onmicrosoft.com", "EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA", "", 0
    )
    assert got == (
        "dXNlcj10ZXN0QGNvbnRvc28ub25taWNyb3NvZnQuY29tAWF1dGg9QmVhcmVy"
        "IEV3QkFBbDNCQUFVRkZwVUFvN0ozVmUwYmpMQldaV0NjbFJDM0VvQUEBAQ=="
    )


def test_a_name_with_what_gs2_escapes() -> None:
    got = base64.b64decode(bearer.initial_response(Bearer.OAUTHBEARER, "a=b,c", TOKEN, "h", 1))
    assert got.startswith(b"n,a=a=3Db=2Cc,\x01")


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (("PLAIN", "XOAUTH2", "OAUTHBEARER"), Bearer.OAUTHBEARER),
        (("LOGIN", "XOAUTH2"), Bearer.XOAUTH2),
        (("PLAIN", "LOGIN"), None),
        ((), None),
    ],
)
def test_the_mechanism_is_one_that_is_offered(offered: tuple[str, ...], chosen: Bearer | None) -> None:
    assert bearer.choose(offered) is chosen


def challenge(said: object) -> str:
    return base64.b64encode(json.dumps(said).encode()).decode()


def test_a_challenge_is_shown_as_far_as_it_is_known() -> None:
    said = {"status": "401", "schemes": "bearer", "scope": "mail", "more": "x", "error": {"deep": 1}}
    got = bearer.challenge_text(challenge(said), Scrubber())
    assert json.loads(got) == {"status": "401", "schemes": "bearer", "scope": "mail"}


def test_a_challenge_that_repeats_the_token() -> None:
    got = bearer.challenge_text(challenge({"status": "401", "scope": f"x {TOKEN}"}), Scrubber([TOKEN]))
    assert json.loads(got) == {"status": "401", "scope": "***"}


@given(st.text() | st.binary().map(lambda octets: base64.b64encode(octets).decode()) | st.just(challenge([1])))
def test_any_other_challenge_says_nothing(text: str) -> None:
    assert bearer.challenge_text(text, Scrubber()) == "" or json.loads(base64.b64decode(text))


def test_a_challenge_is_bounded() -> None:
    assert len(bearer.challenge_text(challenge({"status": "x" * 2000}), Scrubber())) < 150
    assert bearer.challenge_text(challenge({"status": "x" * 9000}), Scrubber()) == ""


@pytest.mark.parametrize("text", ["", "a b", "a\nb", "ä", "a\x01b", "x" * 9000, "=", "a=b"])
def test_no_token(text: str) -> None:
    with pytest.raises(NoCredential) as caught:
        bearer.checked_token(text, "in a file")
    assert not text.strip() or text not in caught.value.detail.removesuffix("in a file").replace("a bearer", "")


@pytest.mark.parametrize("text", ["x", "a.b.c", "1.AXkA~-._+/==", "..", "a.b.c.d", "a.e30.c", "a.bm90aGluZw.c"])
def test_no_expiry(text: str) -> None:
    assert bearer.expiry_of(text) is None


MISTAKES = {
    "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled": "SMTP AUTH is switched off",
    "535 5.7.3 Authentication unsuccessful": "*Enterprise application*",
    "550 5.7.30 Basic authentication is not supported for Client Submission.": "write oauth2",
    "534 5.7.9 Application-specific password required": "app password",
    "535 5.7.8 Username and Password not accepted": "",
    "250 2.1.0 5.7.139": "",
}


@pytest.mark.parametrize("said", MISTAKES)
def test_the_usual_refusals(said: str) -> None:
    code, _, text = said.partition(" ")
    means = mistakes.of_reply(Reply.of(int(code), text))
    assert MISTAKES[said] in means
    assert bool(means) == bool(MISTAKES[said])
    # by codes and not by words
    assert mistakes.of_reply(Reply.of(int(code), text.split()[0] + " überhaupt nicht")) == means


def test_the_usual_numbers() -> None:
    assert "there is no such tenant" in mistakes.of_token_refusal((90002,), "invalid_request", Grant.CLIENT_CREDENTIALS)
    assert mistakes.of_token_refusal((1,), "invalid_client", Grant.CLIENT_CREDENTIALS).startswith("the client id")
    assert mistakes.of_token_refusal((), "what is that", Grant.CLIENT_CREDENTIALS) == ""
