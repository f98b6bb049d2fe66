"""`mailprobe check --connect` against scripted servers: what it says of each, in order, and what it never sends."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from support.feed_samples import FeedSample
from support.feed_server import FeedServer, Say
from support.imap_script import Box, ImapServer, mailbox_at
from support.imap_script import close as close_imap
from support.loops import both_loops
from support.smtp_attempts import LOGIN, PASSWORD, certificates, sender_to, with_endpoint
from support.smtp_script import SmtpScript, Wire, then

from mailprobe.cli import connecting
from mailprobe.cli.check import Waiting
from mailprobe.cli.connecting import _connect_all
from mailprobe.model import SenderKind, TlsMode
from mailprobe.plan import Endpoint, FeedKind, Mailbox, Plan, Route, Sender, StatusFeed

pytestmark = both_loops


@pytest.fixture(autouse=True)
def passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILPROBE_TEST_PASSWORD", PASSWORD)
    monkeypatch.setenv("MAILPROBE_TEST_IMAP_PASSWORD", "hunter2")


def plan(*pairs: tuple[Sender, Mailbox], timeout: float = 2.0) -> Plan:
    routes = {
        f"route-{number}": Route(f"route-{number}", sender, mailbox, 60, 300, 86400, timeout)
        for number, (sender, mailbox) in enumerate(pairs)
    }
    senders = {sender.name: sender for sender, _ in pairs}
    return Plan(routes, senders, {mailbox.name: mailbox for _, mailbox in pairs})


async def connected(a_plan: Plan) -> tuple[bool, str]:
    said: list[str] = []
    good = await _connect_all(a_plan, said.append, lambda ended, wanted: None)
    text = "\n".join(said)
    assert PASSWORD not in text
    assert "hunter2" not in text
    assert all(len(line) <= 80 for line in text.splitlines())
    return good, text


async def test_what_each_server_offers() -> None:
    imap = ImapServer()
    async with SmtpScript(tls=certificates().good) as smtp, imap.running():
        sender = with_endpoint(sender_to(smtp, TlsMode.STARTTLS, LOGIN), server_name="localhost")
        good, text = await connected(plan((sender, mailbox_at(imap.port))))
    assert good
    assert f"sender script, 127.0.0.1:{smtp.port}: good\n" in text
    assert "  tls         TLSv1.3, TLS_" in text
    assert "days)" in text
    assert "  offers      PIPELINING, SIZE 1000000" in text
    assert "  auth        CRAM-MD5 LOGIN PLAIN\n" in text
    assert "  logged in   as canary@lab.test\n" in text
    assert f"mailbox box, 127.0.0.1:{imap.port}: good\n" in text
    assert "  tls         none: everything is in the clear\n" in text
    assert "  inbox       INBOX\n  junk        Junk" in text


async def test_nothing_is_sent() -> None:
    imap = ImapServer()
    async with SmtpScript() as smtp, imap.running():
        await connected(plan((sender_to(smtp, login=LOGIN), mailbox_at(imap.port))))
    assert [line.split()[0].upper() for line in smtp.lines] == [b"EHLO", b"AUTH", b"QUIT"]
    assert smtp.contents == []
    assert not {"select", "examine", "uid fetch", "uid store", "append", "expunge"} & set(imap.commands())
    assert imap.commands()[-1] == "logout"


async def test_one_wrong_password_is_one_failed_login() -> None:
    imap = ImapServer(users={"user": "another"})
    async with SmtpScript(auth=b"535 5.7.8 wrong\r\n") as smtp, imap.running():
        good, text = await connected(plan((sender_to(smtp, login=LOGIN), mailbox_at(imap.port))))
    assert not good
    assert text.count(": FAILED\n") == 2
    assert "  failed      auth_rejected: 535 5.7.8 wrong" in text
    assert text.count("failed      auth_rejected") == 2
    assert sum(line.upper().startswith(b"AUTH") for line in smtp.lines) == 1
    assert sum(command in ("login", "authenticate") for command in imap.commands()) == 1


async def test_a_missing_junk_folder_is_a_failure() -> None:
    imap = ImapServer(folders={"INBOX": Box()})
    async with SmtpScript() as smtp, imap.running():
        good, text = await connected(plan((sender_to(smtp), mailbox_at(imap.port, junk="Spam"))))
        assert not good
        assert "  failed      select: mailbox_missing" in text
        good, text = await connected(plan((sender_to(smtp), mailbox_at(imap.port))))
        assert good
        assert "  junk        no such folder" in text


async def test_a_server_that_is_slow_does_not_change_the_order() -> None:
    imap = ImapServer(says={"greeting": close_imap})

    async def slowly(wire: Wire) -> None:
        await asyncio.sleep(0.1)

    async with (
        SmtpScript(greeting=then(slowly, b"220 first ESMTP\r\n")) as first,
        SmtpScript() as second,
        imap.running(),
    ):
        mailbox = mailbox_at(imap.port)
        senders = [replace(sender_to(first), name="first"), replace(sender_to(second), name="second")]
        good, text = await connected(plan(*((sender, mailbox) for sender in senders)))
    assert not good
    titles = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert [title.split(",")[0] for title in titles] == ["sender first", "sender second", "mailbox box"]
    assert [title.rpartition(": ")[2] for title in titles] == ["good", "good", "FAILED"]


async def test_an_mx_sender_asks_each_domain_once() -> None:
    """Nobody answers on the resolver's port: so much is said, and the mailboxes are still looked at."""
    imap = ImapServer()
    async with imap.running():
        box = mailbox_at(imap.port)
        endpoint = Endpoint("", 25, TlsMode.OPPORTUNISTIC)
        sender = Sender("mx", SenderKind.MX, endpoint, "from@lab.test", "probe.test", resolver=(("127.0.0.1", 1),))
        addresses = {"one": "one@a.test", "two": "two@a.test", "three": "three@b.test"}
        boxes = [replace(box, name=name, address=address) for name, address in addresses.items()]
        good, text = await connected(plan(*((sender, mailbox) for mailbox in boxes), timeout=0.2))
    assert not good
    assert [line for line in text.splitlines() if line.startswith("sender")] == [
        "sender mx, MX of a.test: FAILED",
        "sender mx, MX of b.test: FAILED",
    ]
    assert text.count("failed      resolve: dns_") == 2
    assert text.count(": good\n") == 3


async def test_what_is_offered_without_tls_is_not_what_the_server_offers() -> None:
    """Postfix and Exim offer AUTH under TLS alone: `auth none` would send people looking in the wrong place."""
    imap = ImapServer()
    async with SmtpScript(tls=certificates().expired) as smtp, imap.running():
        sender = with_endpoint(sender_to(smtp, TlsMode.STARTTLS, LOGIN), server_name="localhost")
        good, text = await connected(plan((sender, mailbox_at(imap.port))))
    assert not good
    of_sender = text.partition("\nmailbox")[0]
    assert "  failed      tls: certificate_expired" in of_sender
    assert "  before tls  PIPELINING" in of_sender
    assert "\n  offers " not in of_sender
    assert "\n  auth " not in of_sender


async def test_no_server_is_waited_for_longer_than_a_person_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "WITHIN", 0.3)
    asked = asyncio.Event()

    async def silent(wire: Wire) -> None:
        asked.set()
        await asyncio.sleep(30)

    imap = ImapServer()
    told: list[tuple[int, int]] = []
    said: list[str] = []
    async with SmtpScript(greeting=then(silent)) as smtp, imap.running():
        a_plan = plan((sender_to(smtp), mailbox_at(imap.port)), timeout=20.0)
        good = await _connect_all(a_plan, said.append, lambda ended, wanted: told.append((ended, wanted)))
    assert asked.is_set()
    assert not good
    assert f"sender script, 127.0.0.1:{smtp.port}: FAILED\n  failed      not done within 0.3 s" in said[0]
    assert ": good\n" in said[1]
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_the_line_while_one_waits(capsys: pytest.CaptureFixture[str]) -> None:
    waiting = Waiting(shown=True)
    waiting(0, 2)
    waiting.echo("first")
    waiting(2, 2)
    said = capsys.readouterr()
    assert said.out == "first\n"
    assert said.err.split("\r") == ["", "0 of 2 servers", "", "0 of 2 servers", ""]
    nobody = Waiting(shown=False)
    nobody(0, 2)
    nobody.echo("second")
    assert capsys.readouterr() == ("second\n", "")


async def test_what_each_status_feed_says() -> None:
    with FeedServer() as server:
        server.answers["/good"] = Say(FeedSample("google-open").content)
        server.answers["/html"] = Say(FeedSample("rss-html-with-200").content)
        feeds = {
            name: StatusFeed(name, kind, f"{server.url}/{name}", 300.0, 20.0, plaintext=True)
            for name, kind in (("good", FeedKind.GOOGLE_WORKSPACE), ("html", FeedKind.RSS))
        }
        good, text = await connected(Plan(feeds=feeds))
    assert not good
    assert text.splitlines()[1:] == [
        "status feed good, 127.0.0.1: good",
        "  says        degraded",
        "  incident    Bounce messages for users who exist",
        "",
        "status feed html, 127.0.0.1: FAILED",
        "  failed      HTML where RSS was expected",
    ]
