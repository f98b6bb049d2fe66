"""Delivery status notifications: what real MTAs report, and what nobody should have to read."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.samples import expected_report, fact, names, sample

from mailprobe.message.dsn import REPORT_LIMIT, parse_report
from mailprobe.message.mime import NESTING_LIMIT, PARTS_LIMIT
from mailprobe.message.replies import Category
from mailprobe.message.report import Action, category_of_bounce
from mailprobe.message.token import Key

KEY = Key(b"0123456789abcdef0123456789abcdef")
OTHER = Key(b"another key, just as long, or so")
TOKEN = KEY.sign("fra1", "inbound", "abcdefgh23456789", 1_795_428_000)
FORGED = OTHER.sign("fra1", "inbound", "abcdefgh23456789", 1_795_428_000)
PROVEN = KEY.prove(TOKEN)
assert PROVEN

REPORTS = [name for name in names("reports") if fact(f"reports/{name}", "report") != "none"]


@pytest.mark.parametrize("name", names("reports"))
@pytest.mark.parametrize("newline", ["\r\n", "\n"])
def test_what_real_servers_report_is_understood(name: str, newline: str) -> None:
    report = parse_report(sample(f"reports/{name}", token=TOKEN, newline=newline), KEY)

    assert report == expected_report(f"reports/{name}", PROVEN)
    assert report is None or report.category == fact(f"reports/{name}", "category")


@pytest.mark.parametrize(
    ("status", "diagnostic", "category"),
    [
        ("5.0.0", "550 5.1.1 gone", Category.ADDRESS),
        ("5.0.0", "#550 5.1.1 gone", Category.OTHER),
        ("5.1.1", "somebody is not at home", Category.ADDRESS),
        ("5.2.2", "550 who knows", Category.MAILBOX_FULL),
        ("4.4.7", "451 4.7.500 Server busy", Category.POLICY),
        ("5.1.1", "451 5.7.1 contradicts itself", Category.ADDRESS),
        ("", "552 full", Category.MAILBOX_FULL),
        ("", "", Category.OTHER),
        ("nonsense", "5", Category.OTHER),
    ],
)
def test_what_a_bounce_is_about(status: str, diagnostic: str, category: Category) -> None:
    assert category_of_bounce(status, diagnostic) is category


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_about_foreign_mail_or_with_a_forged_token_is_about_no_canary(name: str) -> None:
    for token in (FORGED, TOKEN[:-1], ""):
        report = parse_report(sample(f"reports/{name}", token=token), KEY)
        assert report is not None
        assert report.token is None


@pytest.mark.parametrize("name", names("reports"))
def test_a_report_that_ends_too_soon_says_no_more_than_it_holds(name: str) -> None:
    octets = sample(f"reports/{name}", token=TOKEN)
    for end in range(0, len(octets), 37):
        report = parse_report(octets[:end], KEY)
        assert report is None or report.token in (None, PROVEN)
        if fact(f"reports/{name}", "report") == "none":
            assert report is None


def dsn(status: str, *parts: str, head: str = "") -> bytes:
    """A report with this delivery-status and these further parts, each with its own headers."""
    bodies = ("Content-Type: text/plain\n\nSorry.\n", f"Content-Type: message/delivery-status\n\n{status}", *parts)
    text = head + "Content-Type: multipart/report; boundary=b\n\n" + "".join(f"--b\n{body}\n" for body in bodies)
    return (text + "--b--\n").replace("\n", "\r\n").encode("utf-8", "surrogateescape")


def status(recipient: str, message: str = "Reporting-MTA: dns; mx") -> str:
    return f"{message}\n\nFinal-Recipient: rfc822; a@b\n{recipient}\n"


@pytest.mark.parametrize(
    ("recipient", "action", "code"),
    [
        ("Action: failed\nStatus: 5.1.1", Action.FAILED, "5.1.1"),
        ("ACTION:\n Failed (bad address)\nstatus: 5.1.1 (no such user)", Action.FAILED, "5.1.1"),
        ("Action: delivered\nStatus: 2.0.0", Action.DELIVERED, "2.0.0"),
        ("Action: relayed\nStatus: 2.0.0", Action.RELAYED, "2.0.0"),
        ("Status: 5.2.2", Action.FAILED, "5.2.2"),
        ("Status: 4.2.2", Action.DELAYED, "4.2.2"),
        ("Action: exploded\nStatus: 4.0.0", Action.DELAYED, "4.0.0"),
        ("Action: failed", Action.FAILED, ""),
        ("Action: failed\nStatus: none\nDiagnostic-Code: smtp; 550-5.7.26 unauthenticated", Action.FAILED, "5.7.26"),
        ("Action: failed\nDiagnostic-Code: x-unix; 5.3.0", Action.FAILED, "5.3.0"),
        ("Action: failed\nDiagnostic-Code: smtp; 550 no code, but 5.1.1 later", Action.FAILED, ""),
        ("Action: failed\nDiagnostic-Code: smtp; 550 5.1.1.9 is listed", Action.FAILED, ""),
        ("Action: failed\nStatus: 999.999.999", Action.FAILED, ""),
    ],
)
def test_action_and_status_however_they_are_written(recipient: str, action: Action, code: str) -> None:
    report = parse_report(dsn(status(recipient)), KEY)

    assert report is not None
    assert (report.action, report.status) == (action, code)


@pytest.mark.parametrize(
    "text", ["", "Reporting-MTA: dns; mx\n", status("Status: 2.0.0"), status("Action: maybe"), "\n\n\n"]
)
def test_a_status_part_that_says_nothing_is_no_report(text: str) -> None:
    assert parse_report(dsn(text), KEY) is None


def test_the_worst_recipient_counts() -> None:
    two = (
        status("Action: delayed\nStatus: 4.0.0") + "\nAction: failed\nStatus: 5.0.0\n\nAction: relayed\nStatus: 2.0.0\n"
    )

    report = parse_report(dsn(two), KEY)

    assert report is not None
    assert (report.action, report.status) == (Action.FAILED, "5.0.0")


@pytest.mark.parametrize("between", ["\n\n", "\n\n\n\n", "\n \t\n", "\n \n\n"])
def test_blocks_are_told_apart_by_any_blank_lines(between: str) -> None:
    text = f"\n\nReporting-MTA: mx.lab.example{between}Action: delivered{between}Action: failed{between}"

    report = parse_report(dsn(text), KEY)

    assert report is not None
    assert (report.action, report.reporting_mta) == (Action.FAILED, "mx.lab.example")


def test_the_first_of_several_status_parts_counts() -> None:
    second = "Content-Type: message/delivery-status\n\n" + status("Action: failed\nStatus: 5.0.0")

    report = parse_report(dsn(status("Action: delayed\nStatus: 4.0.0"), second), KEY)

    assert report is not None
    assert report.action is Action.DELAYED


def test_what_stands_behind_the_last_delimiter_is_no_part() -> None:
    octets = dsn(status("Status: 2.0.0")) + b"\r\n\r\nAction: failed\r\n"

    assert parse_report(octets, KEY) is None


def test_the_envelope_id_comes_before_what_is_quoted() -> None:
    other = KEY.sign("fra1", "inbound", "another", 1.0)
    returned = f"Content-Type: message/rfc822\n\nX-Mailprobe-Canary: {other}\n\n"
    failed = "Action: failed\nStatus: 5.0.0"

    by_envelope = parse_report(dsn(status(failed, f"Original-Envelope-Id: {TOKEN.upper()}"), returned), KEY)
    by_headers = parse_report(dsn(status(failed, f"Original-Envelope-Id: {FORGED}"), returned), KEY)
    by_reference = parse_report(dsn(status(failed), head=f"References: <x@y>\n <{TOKEN}@z>\n"), KEY)

    assert by_envelope is not None
    assert by_headers is not None
    assert by_reference is not None
    assert by_envelope.token == by_reference.token == PROVEN
    assert by_headers.token == KEY.prove(other)


def test_a_returned_wrappedis_not_taken_for_one() -> None:
    """A bounce of a bounce, or a forwarded one, says nothing about the message that carries it."""
    inner = dsn(status("Action: failed\nStatus: 5.0.0")).decode().replace("\r\n", "\n")
    text = "Content-Type: multipart/mixed; boundary=o\n\n--o\nContent-Type: message/rfc822\n\n" + inner + "\n--o--\n"

    assert parse_report(text.encode(), KEY) is None


def test_utf8_reports_and_wrong_charsets_are_read() -> None:
    text = status("Action: failed\nStatus: 5.6.7\nDiagnostic-Code: smtp; 550 kein Postfach für \udcff\0\x1b[1m")
    octets = dsn(text).replace(b"message/delivery-status", b"message/global-delivery-status; charset=klingon")

    report = parse_report(octets, KEY)

    assert report is not None
    assert report.diagnostic == "550 kein Postfach für \ufffd\ufffd\ufffd[1m"


@pytest.mark.parametrize("encoding", ["base64", "BASE64", "quoted-printable", "8bit", "x-unknown"])
def test_transfer_encodings_are_undone(encoding: str) -> None:
    text = status("Action: failed\nStatus: 5.0.0")
    if encoding.lower() == "base64":
        text = base64.encodebytes(text.encode()).decode()
    elif encoding == "quoted-printable":
        text = text.replace("failed", "fail=\ned=20").replace("5.0.0", "=35.0.0")
    octets = dsn(text).replace(
        b"delivery-status\r\n", f"delivery-status\r\nContent-Transfer-Encoding: {encoding}\r\n".encode()
    )

    report = parse_report(octets, KEY)

    assert report is not None
    assert (report.action, report.status) == (Action.FAILED, "5.0.0")


@pytest.mark.parametrize("length", range(1, 9))
@pytest.mark.parametrize("padding", ["=", ""])
def test_base64_is_read_to_its_end(length: int, padding: str) -> None:
    text = f"Action: failed\nDiagnostic-Code: {'x' * length}"
    encoded = base64.b64encode(text.encode()).decode().replace("=", padding)
    head = "Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n"

    report = parse_report((head + encoded).encode(), KEY)

    assert report is not None
    assert report.diagnostic == "x" * length


@pytest.mark.parametrize("broken", [b"A", b"AAAAA", b"====", b"\xff" * 100, b"UmVw\0b3J0"])
def test_broken_base64_is_no_report(broken: bytes) -> None:
    octets = b"Content-Type: message/delivery-status\r\nContent-Transfer-Encoding: base64\r\n\r\n" + broken

    assert parse_report(octets, KEY) is None


def test_a_boundary_that_another_one_begins_with_splits_right() -> None:
    inner = "--bb\nContent-Type: message/delivery-status\n\n" + status("Action: failed\nStatus: 5.0.0") + "\n--bb--\n"
    wrapped = f"Content-Type: multipart/report; boundary=bb\n\n{inner}"
    text = f"Content-Type: multipart/mixed; boundary=b\n\n--b\n{wrapped}--b--\n"

    report = parse_report(text.encode(), KEY)

    assert report is not None
    assert report.status == "5.0.0"


def nested(depth: int) -> bytes:
    text = "Content-Type: message/delivery-status\n\n" + status("Action: failed\nStatus: 5.0.0")
    for level in range(depth):
        text = f"Content-Type: multipart/mixed; boundary=x{level}y\n\n--x{level}y\n{text}\n--x{level}y--\n"
    return text.encode()


def test_nesting_ends_somewhere() -> None:
    assert parse_report(nested(NESTING_LIMIT), KEY) is not None
    assert parse_report(nested(NESTING_LIMIT + 1), KEY) is None
    assert parse_report(nested(2_000), KEY) is None


def mixed(boundary: str, *parts: str) -> str:
    head = f"Content-Type: multipart/mixed; boundary={boundary}\n\n"
    return head + "".join(f"--{boundary}\n{part}\n" for part in parts) + f"--{boundary}--\n"


def test_parts_end_somewhere() -> None:
    text = "Content-Type: text/plain\n\nx\n"
    last = "Content-Type: message/delivery-status\n\n" + status("Action: failed\nStatus: 5.0.0")
    wide = mixed("w", *[text] * (PARTS_LIMIT // 2))

    assert parse_report(mixed("b", wide, last).encode(), KEY) is not None
    assert parse_report(mixed("b", wide, wide, last).encode(), KEY) is None
    assert parse_report(mixed("b", *[text] * 10_000, last).encode(), KEY) is None
    assert parse_report(mixed("b", *[text] * (2 * PARTS_LIMIT), last).encode(), KEY) is None


def test_size_ends_somewhere() -> None:
    octets = dsn(status("Action: failed\nStatus: 5.0.0"), "Content-Type: text/plain\n\n" + "x" * 10_000_000 + TOKEN)

    report = parse_report(octets, KEY)

    assert report is not None
    assert report.token is None
    assert len(octets) > REPORT_LIMIT


@pytest.mark.parametrize(
    "bomb",
    [
        b"\n" * 10_000_000,
        b" \n" * 5_000_000,
        b"Content-Type: multipart/report; boundary=" + b"b" * 10_000_000,
        b"Content-Type: multipart/report; " + b"boundary = " * 1_000_000,
        b"Content-Type: multipart/report; boundary*" + b"9" * 100_000 + b"=x\n\n--x\n",
        b"Content-Type: multipart/report; boundary=b\n\n" + b"--b\n" * 2_000_000,
        b"Content-Type: multipart/report; boundary=b\n\n" + b"--bb\n" * 2_000_000,
        b"Content-Type: message/delivery-status\n\n" + b"Action: failed\n\n" * 600_000,
        b"Content-Type: message/delivery-status\n\nAction: failed\n\n" + b"v1." * 3_000_000,
        b"Content-Type: message/delivery-status\n\nAction: failed\n\n" + FORGED.encode() * 100_000,
        b"Content-Type: message/delivery-status\n\nAction: failed\nDiagnostic-Code: " + b"5." * 5_000_000,
    ],
)
def test_bombs_are_cut(bomb: bytes) -> None:
    report = parse_report(bomb, KEY)

    assert report is None or (report.token is None and len(report.diagnostic) <= 400)


wire = st.lists(
    st.binary(max_size=20)
    | st.sampled_from(
        [
            b"Content-Type: multipart/report; boundary=b\r\n",
            b"Content-Type: message/delivery-status\r\n",
            b"Content-Transfer-Encoding: base64\r\n",
            b"Content-Transfer-Encoding: quoted-printable\r\n",
            b"\r\n--b\r\n",
            b"\r\n--b--\r\n",
            b"\r\n",
            b"\n\n",
            b"Action: failed\r\n",
            b"Status: 5.1.1\r\n",
            b"Diagnostic-Code: smtp;",
            TOKEN.encode(),
            b"=",
            b"\0",
        ]
    )
).map(b"".join)


@given(wire)
def test_nothing_raises(octets: bytes) -> None:
    report = parse_report(octets, KEY)

    assert report is None or report.token in (None, PROVEN)
