"""Canaries as they leave: valid by a strict parser, honest, harmless, never two alike."""

from __future__ import annotations

import email
import email.policy
import re
from email.headerregistry import AddressHeader, DateHeader
from email.message import EmailMessage
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mailprobe.message.compose import Composed, Composer, check_address
from mailprobe.message.phrases import GREETINGS, SENTENCES, SUBJECTS
from mailprobe.message.token import Key, new_canary_id

KEY = Key(b"0123456789abcdef0123456789abcdef")
STRICT = email.policy.SMTP.clone(raise_on_defect=True)
SENT = 1_795_428_000.25  # Mon, 23 Nov 2026 10:00:00 UTC

atoms = st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20})?", fullmatch=True)
domains = st.from_regex(r"[a-z0-9]{1,20}(\.[a-z0-9]{1,8})?|\[192\.0\.2\.1\]", fullmatch=True)
addresses = st.builds("{}@{}".format, atoms, domains)
names = st.from_regex(r"[!-~]([ -~]{0,120}[!-~])?", fullmatch=True)


def composer(
    agent: str = "fra1",
    route: str = "inbound",
    from_address: str = "canary@probe.example.net",
    to_address: str = "inbox@contoso.example",
    *,
    bulk: bool = False,
) -> Composer:
    return Composer(KEY, agent, route, from_address, to_address, bulk=bulk)


def parsed(composed: Composed) -> EmailMessage:
    """The message as the standard library's strict parser reads it: any defect raises."""
    message = email.message_from_bytes(composed.content, policy=STRICT)
    assert isinstance(message, EmailMessage)
    return message


def test_a_strict_parser_finds_everything_in_its_place() -> None:
    composed = composer().compose("abcdefgh23456789", SENT)

    message = parsed(composed)

    assert isinstance(message["Date"], DateHeader)
    assert message["Date"].datetime.timestamp() == int(SENT)
    assert message["From"] == "canary@probe.example.net"
    assert message["To"] == "inbox@contoso.example"
    assert message["Message-ID"].strip() == composed.message_id == f"<{composed.token}@probe.example.net>"
    assert message["X-Mailprobe-Canary"].strip() == composed.token
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["MIME-Version"] == "1.0"
    assert message.get_content_type() == "text/plain"
    assert message["Precedence"] is None
    assert len(message.keys()) == len(set(message.keys())) == 11


@given(agent=names, route=names, from_address=addresses, to_address=addresses, bulk=st.booleans())
@example(
    agent="{a}",
    route="{b.c[0]}",
    from_address="{date}@{x}.example"[:6] + "@x.example",
    to_address="{}@[::1]",
    bulk=True,
)
@example(agent="%s {0}", route="}{", from_address="{token}@x", to_address="a@b", bulk=False)
def test_it_is_valid_whatever_the_names_are(
    agent: str, route: str, from_address: str, to_address: str, bulk: bool
) -> None:
    composed = composer(agent, route, from_address, to_address, bulk=bulk).compose(new_canary_id(), SENT)

    message = parsed(composed)

    assert isinstance(message["From"], AddressHeader)
    assert [found.addr_spec for found in message["From"].addresses] == [from_address]
    assert [found.addr_spec for found in message["To"].addresses] == [to_address]
    assert message["Precedence"] == ("bulk" if bulk else None)
    lines = composed.content.split(b"\r\n")
    assert all(re.fullmatch(rb"[\x20-\x7e]*", line) for line in lines)
    # only the Message-ID cannot be folded; it is the token and the domain
    assert all(len(line) <= 78 for line in lines if not line.startswith(b" <v1."))
    assert not any(line.startswith((b".", b"From ")) for line in lines)


def test_the_longest_addresses_still_fit() -> None:
    address = "l" * 64 + "@" + ".".join(["d" * 47] * 3) + ".example"
    composed = composer("a" * 254, "r" * 63, address, address).compose("x" * 16, SENT)

    assert max(map(len, composed.content.split(b"\r\n"))) < 998
    parsed(composed)


@pytest.mark.parametrize("length", range(60, 78))
def test_an_address_that_makes_the_line_too_long_gets_one_of_its_own(length: int) -> None:
    address = "l" * 40 + "@" + "d" * (length - 41)
    composed = composer(from_address=address, to_address=address).compose("x" * 16, SENT)

    assert len(address) == length
    assert max(len(line) for line in composed.content.split(b"\r\n") if b"<v1." not in line) <= 78
    assert parsed(composed)["From"] == address


def test_the_body_says_what_it_is_who_sent_it_and_whom_to_ask() -> None:
    composed = composer("probe.fra1.example.net", "inbound").compose("abcdefgh23456789", SENT)

    body = parsed(composed).get_content()

    for said in (
        "automatic message",
        "the agent probe.fra1.example.net",
        "the route inbound",
        "Mon, 23 Nov 2026 10:00:00 +0000",
        "write to\r\ncanary@probe.example.net",
        composed.token,
    ):
        assert said.replace("\r\n", "\n") in body.replace("\r\n", "\n")


def test_bounces_are_not_suppressed_and_answers_are() -> None:
    suppressed = parsed(composer().compose("abc", SENT))["X-Auto-Response-Suppress"].split(", ")

    assert set(suppressed) == {"OOF", "AutoReply", "DR", "RN", "NRN"}  # "All" and "NDR" would lose us the bounces


def test_the_token_is_the_envid_and_needs_no_xtext() -> None:
    composed = composer("a" * 100).compose("x" * 16, SENT)

    assert composed.envid == composed.token
    assert KEY.prove(composed.envid) is not None
    assert len(composed.envid) <= 100  # RFC 3461 4.4
    assert not set(composed.envid) & set("+= ")


def test_a_retry_sends_the_same_message() -> None:
    assert composer().compose("abc", SENT) == composer().compose("abc", SENT)


def test_no_two_are_alike() -> None:
    made = [composer().compose(new_canary_id(), SENT) for _ in range(300)]

    bodies = [frozenset(SENTENCES).intersection(parsed(one).get_content().splitlines()) for one in made]
    assert {len(body) for body in bodies} == {4}
    assert len(set(bodies)) > 150
    shared = [len(one & other) for one, other in combinations(bodies, 2)]
    assert sum(shared) / len(shared) < 1
    assert len({parsed(one)["Subject"] for one in made}) == len(made)


def test_phrases_are_short_plain_and_many() -> None:
    phrases = (*SENTENCES, *GREETINGS, *(subject.format("abc234") for subject in SUBJECTS))

    assert len(set(phrases)) == len(phrases)
    assert all(re.fullmatch(r"[A-Z][ -~]{1,75}", phrase) for phrase in phrases)
    assert all(len("Subject: " + subject) <= 72 for subject in SUBJECTS)
    count = len(SENTENCES)
    assert all(count % divisor for divisor in range(2, count))  # prime, so that any step visits different ones


@pytest.mark.parametrize(
    "injected", ["a\r\nBcc: x@y.example", "a\nb", "a\rb", "a\0b", "a\tb", "ä", "", " a", "\x85", "\u2028"]
)
def test_nothing_that_could_end_a_line_gets_into_a_header(injected: str) -> None:
    for inputs in (
        {"agent": injected},
        {"route": injected},
        {"from_address": f"{injected}@example.net"},
        {"to_address": f"{injected}@example.net"},
        {"from_address": f"canary@{injected}"},
        {"to_address": f"inbox@{injected}"},
    ):
        with pytest.raises(ValueError, match=r"canaries can use|can carry"):
            composer(**inputs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "canary",
        "@example.net",
        "canary@",
        "a@b@c",
        "a..b@example.net",
        ".a@example.net",
        "a b@example.net",
        '"a b"@example.net',
        "<a@example.net>",
        "a@example..net",
        "a@-example.net",
        "a@example.net.",
        "kanarienvögel@example.net",
        "canary@bücher.example",
        "a" * 65 + "@example.net",
        "a@" + "b." * 130 + "net",
        "a@example.net\n",
        "a@[192.0.2.1",
        "a@[]",
    ],
)
def test_addresses_that_smtp_cannot_take_plainly_are_refused_by_name(address: str) -> None:
    with pytest.raises(ValueError, match="not an address") as refused:
        check_address(address)
    assert repr(address) in str(refused.value)


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("a@localhost", "localhost"),
        ("a.b+c@x-y.example", "x-y.example"),
        ("a@[192.0.2.1]", "[192.0.2.1]"),
        ("a@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("o'neil/{x}@_srv.example", "_srv.example"),
    ],
)
def test_plain_addresses_are_taken(address: str, domain: str) -> None:
    assert check_address(address) == domain
