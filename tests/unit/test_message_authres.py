"""What receivers say about SPF, DKIM, DMARC and ARC, and whom of them to believe."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import expected_authentication, names, sample

from mailprobe.message.authres import Authenticated, Authentication, authentication


def result(text: str) -> Authentication:
    spf, dkim, dmarc, arc = map(Authenticated, text.split())
    return Authentication(spf, dkim, dmarc, arc)


def headers(*bodies: str) -> bytes:
    return "".join(f"Authentication-Results: {body}\r\n" for body in bodies).encode()


@pytest.mark.parametrize("name", names("headers"))
def test_what_real_receivers_write_is_understood(name: str) -> None:
    assert authentication(sample(f"headers/{name}")) == expected_authentication(f"headers/{name}")


def test_without_any_field_everything_is_missing() -> None:
    assert authentication(b"") == Authentication() == result("missing missing missing missing")


def test_every_result_is_a_word_of_the_contract() -> None:
    assert [str(word) for word in Authenticated] == [
        "pass", "fail", "softfail", "neutral", "none", "temperror", "permerror", "missing",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "spf"),
    [
        ("mx; spf=pass", "pass"),
        ("mx;spf=PASS smtp.mailfrom=a@b", "pass"),
        ("mx 1; spf/1 = fail", "fail"),
        ("mx; spf\r\n =\r\n softfail", "softfail"),
        ("spf=neutral", "neutral"),
        ("mx; none", "missing"),
        ("mx; spf=hardfail", "fail"),
        ("mx; spf=wonderful", "neutral"),
        ("mx; spf=missing", "neutral"),
        ("mx; spf=", "missing"),
        ("mx; spf=(a comment) pass", "pass"),
        ("mx; xspf=pass; spf-x=pass; x.spf=pass", "missing"),
        ("mx; auth=pass spf=pass", "missing"),
        ("mx; x=y (; spf=pass)", "missing"),
        ('mx; x="; spf=pass"', "missing"),
        ("mx; spf=none smtp.helo=h; spf=pass smtp.mailfrom=a@b", "pass"),
        ("mx; spf=pass smtp.mailfrom=a@b; spf=none smtp.helo=h", "pass"),
        ("mx; spf=fail smtp.mailfrom=a@b; spf=pass smtp.helo=h", "fail"),
    ],
)
def test_one_result_however_it_is_written(body: str, spf: str) -> None:
    assert authentication(headers(body)).spf is Authenticated(spf)


def test_one_good_signature_is_enough() -> None:
    assert authentication(headers("mx; dkim=fail; dkim=pass; dkim=permerror")).dkim is Authenticated.PASS
    assert authentication(headers("mx; dkim=none; dkim=fail")).dkim is Authenticated.NONE


def test_what_stands_lower_is_not_believed() -> None:
    forged = "mx.lab.example; arc=pass; dmarc=pass"

    assert authentication(headers("mx.lab.example; spf=fail") + b"X: y\r\n" + headers(forged)) == result(
        "fail missing missing missing"
    )
    assert authentication(headers("mx.lab.example; spf=fail", "other.example; dmarc=pass")) == result(
        "fail missing missing missing"
    )
    assert authentication(headers("spf=fail", "dmarc=pass")) == result("fail missing missing missing")
    assert authentication(headers("mx.com; spf=fail", "my.com; dmarc=pass")) == result("fail missing missing missing")


def test_the_upper_one_of_two_by_the_same_author_counts() -> None:
    assert authentication(headers("mx.lab.example; spf=fail", "mx.lab.example; spf=pass; dkim=pass")) == result(
        "fail pass missing missing"
    )


def test_named_authors_are_believed_wherever_they_stand_and_no_others() -> None:
    given_headers = headers("outer.example; spf=fail") + b"X: y\r\n" + headers("Inner.Example 1; spf=pass; dkim=pass")

    assert authentication(given_headers, {"inner.example"}) == result("pass pass missing missing")
    assert authentication(given_headers, {"OUTER.example"}) == result("fail missing missing missing")
    assert authentication(given_headers, set()) == Authentication()


def test_arc_speaks_only_of_itself() -> None:
    sealed = (
        b"ARC-Authentication-Results: i=2; mx.microsoft.com 1; spf=pass; dkim=pass; dmarc=pass; arc=pass (0 oda=1)\r\n"
    )

    assert authentication(sealed) == result("missing missing missing pass")
    assert authentication(headers("mx; arc=fail; spf=none") + sealed) == result("none missing missing fail")
    assert authentication(sealed, {"mx.microsoft.com"}) == result("missing missing missing pass")
    assert authentication(sealed, {"mx.google.com"}) == Authentication()


def test_bombs_are_cut() -> None:
    for bomb in (
        b"; spf=" * 2_000_000,
        b"mx; spf " + b" " * 10_000_000,
        b"x" * 10_000_000,
        b"(" * 5_000_000 + b")" * 5_000_000,
        b'"; spf=pass' * 1_000_000,
        b"mx; spf=pass\r\n " * 800_000,
    ):
        authentication(b"Authentication-Results: " + bomb)
    assert authentication(b"Authentication-Results: mx; dkim=none\r\n" * 300_000).dkim is Authenticated.NONE


wire = st.lists(
    st.binary(max_size=20)
    | st.sampled_from(
        [b"Authentication-Results:", b"ARC-", b"\r\n", b" ", b"mx;", b"spf=", b"dkim=", b"arc=pass", b"(", b'"', b";"]
    )
).map(b"".join)


@given(wire, st.none() | st.sets(st.text(max_size=5)))
def test_nothing_raises(octets: bytes, trusted: set[str] | None) -> None:
    found = authentication(b"Authentication-Results:" + octets, trusted)

    assert all(isinstance(getattr(found, method), Authenticated) for method in ("spf", "dkim", "dmarc", "arc"))
