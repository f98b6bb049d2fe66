"""Our own canaries told from other agents', from bounces about them and from everything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import TEN, fact, names, sample

from mailprobe.message.compose import Composer
from mailprobe.message.recognise import BounceCandidate, ForeignAgent, Ours, Stranger, recognise
from mailprobe.message.token import Key, agent_label, route_hash

KEY = Key(b"0123456789abcdef0123456789abcdef")
OTHER = Key(b"another key, just as long, or so")
COMPOSED = Composer(KEY, "fra1", "inbound", "canary@probe.example.net", "inbox@contoso.example").compose("abc", TEN)
TOKEN = COMPOSED.token
FORGED = OTHER.sign("fra1", "inbound", "abc", TEN)
PROVEN = KEY.prove(TOKEN)


def recognised(headers: str | bytes, agent: str = "fra1") -> object:
    octets = headers if isinstance(headers, bytes) else headers.replace("\n", "\r\n").encode()
    return recognise(octets, KEY, agent)


@pytest.mark.parametrize("name", names("headers"))
def test_a_canary_is_ours_behind_the_headers_of_any_provider(name: str) -> None:
    assert recognised(sample(f"headers/{name}") + COMPOSED.content) == Ours(PROVEN)  # type: ignore[arg-type]
    assert recognised(sample(f"headers/{name}")) == Stranger()


def test_another_agents_canary_is_said_to_be_foreign() -> None:
    assert recognised(COMPOSED.content, agent="fra2") == ForeignAgent(PROVEN)  # type: ignore[arg-type]
    assert recognised(COMPOSED.content, agent="FRA1") == Ours(PROVEN)  # type: ignore[arg-type]


def test_the_newlines_of_a_careless_server_do_not_matter() -> None:
    assert recognised(COMPOSED.content.replace(b"\r\n", b"\n")) == Ours(PROVEN)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "header",
    [
        "X-Mailprobe-Canary: {}\n",
        "X-Mailprobe-Canary:{}\n",
        "x-mailprobe-canary:\n {}\n",
        "X-MAILPROBE-CANARY: \t{}  \n",
        "Subject: x\nX-Mailprobe-Canary: {}",
        "Message-ID: <{}@probe.example.net>\n",
        "Message-Id:\n\t<{}@PROBE.example>\nX-Mailprobe-Canary: removed by policy\n",
    ],
)
def test_it_is_found_however_a_relay_wrote_the_header(header: str) -> None:
    assert recognised(header.format(TOKEN)) == Ours(PROVEN)  # type: ignore[arg-type]
    assert recognised(header.format(TOKEN.upper())) == Ours(PROVEN)  # type: ignore[arg-type]


def test_a_relay_that_folds_in_the_middle_of_the_token_does_no_harm() -> None:
    folded = f"X-Mailprobe-Canary: {TOKEN[:30]}\n\t{TOKEN[30:]}\n"

    assert recognised(folded) == Ours(PROVEN)  # type: ignore[arg-type]


def test_the_first_proven_one_of_several_headers_wins() -> None:
    second = KEY.sign("fra2", "inbound", "second", 2.0)
    headers = "".join(f"X-Mailprobe-Canary: {token}\n" for token in (FORGED, TOKEN[:-1], "", TOKEN, second))

    assert recognised(headers) == Ours(PROVEN)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "forged",
    [
        FORGED,
        TOKEN[:-1],
        TOKEN[:-1] + ("a" if TOKEN[-1] != "a" else "b"),
        TOKEN.replace(route_hash("inbound"), route_hash("outbound")),
        TOKEN.replace(".fra1.", ".fra2."),
        TOKEN + "a",
        "",
        "v1",
        "\0",
    ],
)
def test_what_is_not_proven_is_a_stranger(forged: str) -> None:
    assert recognised(f"X-Mailprobe-Canary: {forged}\nMessage-ID: <{forged}@x>\n") == Stranger()


def test_a_replayed_token_is_proven_and_says_for_which_route_it_was_made() -> None:
    found = recognised(f"X-Mailprobe-Canary: {TOKEN}\n")

    assert isinstance(found, Ours)
    assert found.token.is_for("inbound")
    assert not found.token.is_for("outbound")
    assert found.token.agent == agent_label("fra1")


@pytest.mark.parametrize(
    "headers",
    [
        "Subject: Re: {}\n",
        "In-Reply-To: <{}@probe.example.net>\n",
        "References: <a@b>\n <{}@probe.example.net>\n",
        "X-Other: X-Mailprobe-Canary: {}\n",
        "X-Other: a\n X-Mailprobe-Canary: {}\n",
        "X-Mailprobe-Canary-Old: {}\n",
        "Message-ID: <a.{}@probe.example.net>\n",
        "Subject: x\n\nX-Mailprobe-Canary: {}\n",
        "\nX-Mailprobe-Canary: {}\n",
    ],
)
def test_a_token_that_stands_anywhere_else_is_only_quoted(headers: str) -> None:
    assert recognised(headers.format(TOKEN)) == Stranger()


@pytest.mark.parametrize(
    "cue",
    [
        "Content-Type: multipart/report; report-type=delivery-status; boundary=x\n",
        "content-type:\n\tMultipart/Report;\n boundary=x\n",
        "Return-Path: <>\n",
        "Return-path: < >\n",
        "Auto-Submitted: auto-replied (vacation)\n",
        "From: Mail Delivery System <Mailer-Daemon@mx.lab.example>\n",
        "From: MAILER-DAEMON\n",
    ],
)
def test_what_answers_is_never_the_canary_itself(cue: str) -> None:
    """Even where it carries the canary's own header on top, as no honest report does."""
    assert recognised(cue) == BounceCandidate()
    assert recognised(f"{cue}X-Mailprobe-Canary: {TOKEN}\nMessage-ID: <{TOKEN}@x>\n") == BounceCandidate()
    assert recognised(f"X-Mailprobe-Canary: {TOKEN}\n{cue}") == BounceCandidate()


@pytest.mark.parametrize("name", names("reports"))
def test_what_real_servers_and_people_send_is_told_apart(name: str) -> None:
    token = KEY.sign("fra1", "inbound", "abc", TEN)
    kind = {"candidate": BounceCandidate(), "stranger": Stranger(), "ours": Ours(KEY.prove(token))}  # type: ignore[arg-type]

    assert recognised(sample(f"reports/{name}", token=token)) == kind[fact(f"reports/{name}", "recognised")]


AS_MADE = COMPOSED.content.partition(b"\r\n\r\n")[0].decode().replace("\r\n", "\n") + "\n"


@pytest.mark.parametrize("sender", ["Return-Path: <>\n", "Return-path: < >\n", "Return-Path: <MAILER-DAEMON>\n"])
def test_a_canary_whose_sender_was_stripped_is_one_still(sender: str) -> None:
    assert recognised(sender + AS_MADE) == Ours(PROVEN)  # type: ignore[arg-type]
    assert recognised(sender + AS_MADE, agent="fra2") == ForeignAgent(PROVEN)  # type: ignore[arg-type]
    rewritten = AS_MADE.replace(f"<{TOKEN}@probe.example.net>", "<new@email.amazonses.example>")
    assert recognised(sender + rewritten) == Ours(PROVEN)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Auto-Submitted: auto-generated\n", ""),
        ("auto-generated", "no"),
        ("text/plain", "multipart/mixed"),
        ("Content-Type: text/plain; charset=us-ascii\n", ""),
        ("Date: Mon, 23 Nov 2026 10:00:00", "Date: Mon, 23 Nov 2026 10:00:04"),
        ("Date: ", "X-Date: "),
        ("From: canary@probe.example.net", "From: System <daemon@mx.lab.example>"),
        (f"Message-ID:\n <{TOKEN}@probe", f"Message-ID:\n <{TOKEN}@mx"),
    ],
)
def test_without_a_sender_it_has_to_be_as_it_was_made(ours: str, theirs: str) -> None:
    changed = AS_MADE.replace(ours, theirs)
    assert changed != AS_MADE
    assert recognised("Return-Path: <>\n" + changed) == BounceCandidate()


@pytest.mark.parametrize(
    "own",
    [
        "From: postmaster@mx.lab.example\n",
        "From: System <x@mx.lab.example>\n",
        "Auto-Submitted: auto-generated\n",
        "Content-Type: text/plain\n",
        "In-Reply-To: <x@y>\n",
        "References: <x@y>\n",
        "X-Failed-Recipients: inbox@lab.example\n",
        "X-MS-Exchange-Message-Is-Ndr:\n",
        "Auto-Submitted: auto-notified\n",
        "Content-Type: message/rfc822\n",
    ],
)
def test_headers_copied_into_another_message_are_no_canary(own: str) -> None:
    for sender in ("", "Return-Path: <>\n", "Return-Path: <x@y>\n"):
        assert recognised(sender + own + AS_MADE) == BounceCandidate()
        assert recognised(sender + AS_MADE + own) == BounceCandidate()


def test_a_postmaster_may_send_canaries_and_bounces() -> None:
    made = Composer(KEY, "fra1", "inbound", "postmaster@probe.example.net", "inbox@contoso.example").compose("abc", TEN)

    assert recognised(made.content) == Ours(KEY.prove(made.token))  # type: ignore[arg-type]
    assert recognised(made.content.replace(b"auto-generated", b"auto-replied")) == BounceCandidate()
    assert recognised("From: postmaster@probe.example.net\nSubject: hello\n") == BounceCandidate()


def test_bombs_are_cut() -> None:
    bomb = b"X-Junk: " + b"x" * 10_000_000 + b"\r\nX-Mailprobe-Canary: " + TOKEN.encode() + b"\r\n"
    crowd = b"X-Mailprobe-Canary: v1.a.b.c.d.e\r\n" * 300_000

    assert recognised(bomb) == Stranger()
    assert recognised(crowd) == Stranger()
    assert recognised(b"X-Mailprobe-Canary:" + b"\r\n " * 3_000_000 + TOKEN.encode()) == Stranger()
    assert recognised(b"X-Mailprobe-Canary: " + TOKEN.encode() + b"\r\n" + bomb) == Ours(PROVEN)  # type: ignore[arg-type]


wire = st.lists(
    st.binary(max_size=30)
    | st.sampled_from(
        [b"X-Mailprobe-Canary:", b"Message-ID: <", FORGED.encode(), b"\r\n", b"\n ", b"From:", b"\r\n\r\n"]
    )
).map(b"".join)


@given(wire)
def test_nothing_raises_and_nothing_is_ours_by_chance(headers: bytes) -> None:
    assert isinstance(recognised(headers), Stranger | BounceCandidate)
