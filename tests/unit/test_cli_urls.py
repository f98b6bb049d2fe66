"""Senders and mailboxes as URLs: what each means, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailprobe.cli.urls import mailbox_of, sender_of
from mailprobe.errors import ConfigurationError
from mailprobe.model import SenderKind, TlsMode
from mailprobe.plan import Endpoint, Family, Mailbox, SecretReference, Sender

PASSWORD = SecretReference(env="PASSWORD")
TO = "canary@contoso.example"


def sender(url: str, *, from_address: str | None = None, to: str = TO) -> Sender:
    return sender_of(url, from_address=from_address, to=to, password=PASSWORD, ca_file=None)


def mailbox(url: str, *, to: str = TO) -> Mailbox:
    return mailbox_of(url, to=to, password=PASSWORD, ca_file=None)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("smtp://h.example", Endpoint("h.example", 587, TlsMode.STARTTLS)),
        ("smtp://h.example:2525?tls=implicit", Endpoint("h.example", 2525, TlsMode.IMPLICIT)),
        ("smtps://h.example", Endpoint("h.example", 465, TlsMode.IMPLICIT)),
        ("smtp://h.example?tls=plaintext", Endpoint("h.example", 587, TlsMode.PLAINTEXT)),
        ("smtp://[2001:db8::1]:25", Endpoint("2001:db8::1", 25, TlsMode.STARTTLS)),
        ("mx://contoso.example", Endpoint("", 25, TlsMode.OPPORTUNISTIC)),
        ("mx://contoso.example:2525?tls=require", Endpoint("", 2525, TlsMode.STARTTLS)),
        ("mx://contoso.example?tls=none", Endpoint("", 25, TlsMode.PLAINTEXT)),
        (
            "smtp://h.example?verify=none&server_name=mx.example&source=192.0.2.1&family=6",
            Endpoint(
                "h.example",
                587,
                TlsMode.STARTTLS,
                verify=False,
                server_name="mx.example",
                source_address="192.0.2.1",
                family=Family.IPV6,
            ),
        ),
    ],
)
def test_a_sender(url: str, endpoint: Endpoint) -> None:
    made = sender(url)
    assert made.endpoint == endpoint
    assert made.kind is (SenderKind.MX if url.startswith("mx:") else SenderKind.SUBMISSION)
    assert made.login is None


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("imap://u@h.example", Endpoint("h.example", 143, TlsMode.STARTTLS)),
        ("imaps://u@h.example", Endpoint("h.example", 993, TlsMode.IMPLICIT)),
        ("imap://u@localhost?tls=plaintext", Endpoint("localhost", 143, TlsMode.PLAINTEXT)),
    ],
)
def test_a_mailbox(url: str, endpoint: Endpoint) -> None:
    made = mailbox(url)
    assert made.endpoint == endpoint
    assert made.address == TO
    assert made.login.username == "u"
    assert made.login.password == PASSWORD


def test_a_user_whose_name_is_an_address() -> None:
    made = sender("smtps://canary%40probe.example@h.example")
    assert made.login
    assert made.login.username == "canary@probe.example"
    assert made.from_address == "canary@probe.example"
    assert made.ehlo == "probe.example"


def test_the_sender_says_who_it_is() -> None:
    assert sender("smtps://user@h.example").from_address == TO
    made = sender("smtps://u%40a.example@h.example?ehlo=probe.example.net", from_address="x@b.example")
    assert (made.from_address, made.ehlo) == ("x@b.example", "probe.example.net")


def test_a_file_of_authorities() -> None:
    made = sender_of("smtps://h", from_address=None, to=TO, password=PASSWORD, ca_file=Path("ca.pem"))
    assert made.endpoint.ca_file == Path("ca.pem")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://h", "http is not known here; begin with smtp://, smtps://, mx://"),
        ("h.example", "write smtp://h.example"),
        ("localhost:2587", "write smtp://localhost:2587"),
        ("u@h.example:587", "write smtp://u@h.example:587"),
        ("what?", "write smtp://user@host:port"),
        ("smtp://", "no host in it; write smtp://host"),
        ("smtp://h:99999", "not a URL"),
        ("smtp://[::1", "not a URL"),
        ("smtp://h/path", "nothing may stand between the port and the question mark"),
        ("smtp://h#x", "nothing may stand between"),
        ("smtp://h?tls=maybe", "tls='maybe': one of starttls, plaintext, implicit"),
        ("smtps://h?tls=starttls", "tls='starttls': one of implicit"),
        ("smtp://h?tsl=starttls", "unknown: tsl; known are ehlo, family, server_name, source, tls, verify"),
        ("smtp://h?source=eth0", "source='eth0': an IP address of this machine"),
        ("smtp://h?family=5", "family='5': one of any, 4, 6"),
        ("smtp://u@h.example?tls=plaintext", "tls=plaintext with a password, to another machine"),
        ("mx://other.example", "but --to is at contoso.example: write mx://contoso.example"),
        ("mx://u@contoso.example", "nobody logs in to an MX"),
    ],
)
def test_a_sender_that_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        sender(url)
    assert str(caught.value).startswith("--smtp: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("smtp://u@h", "smtp is not known here; begin with imap://, imaps://"),
        ("imaps://h", "no user; write imaps://user@host (an @ in the user's name as %40)"),
        ("imap://u@h.example?tls=plaintext", "tls=plaintext with a password"),
    ],
)
def test_a_mailbox_that_is_refused(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        mailbox(url)
    assert str(caught.value).startswith("--imap: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "address", ["", "nobody", "a b@c.example", "<a@b.example>", "ä@b.example", "a@b.example\r\nRCPT TO"]
)
def test_an_address_nobody_can_use(address: str) -> None:
    with pytest.raises(ConfigurationError, match="--to: "):
        sender("smtps://h", to=address)
    with pytest.raises(ConfigurationError, match=r"--from: |--to: "):
        sender("smtps://h", from_address=address or " ")


SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4, max_size=20).map(
    lambda text: f"Sesam{text}"
)


@given(secret=SECRETS, scheme=st.sampled_from(["smtp", "smtps", "mx", "imap", "imaps", "http"]))
def test_a_password_in_a_url_is_never_said(secret: str, scheme: str) -> None:
    """Whatever characters it has, and however they make the rest of the URL look."""
    make = mailbox if scheme.startswith("imap") else sender
    with pytest.raises(ConfigurationError) as caught:
        make(f"{scheme}://user:{secret}@h.example")
    assert "Sesam" not in str(caught.value)
