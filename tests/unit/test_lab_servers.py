"""The embedded servers speak SMTP and IMAP well enough for the standard library's clients, and misbehave when told."""

from __future__ import annotations

import asyncio
import contextlib
import email
import imaplib
import smtplib
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest
from support.loops import both_loops

from mailprobe.lab.behaviour import (
    Answer,
    Bounce,
    Context,
    Credential,
    Drop,
    Junk,
    Lose,
    Moment,
    Say,
    Show,
    Stall,
)
from mailprobe.lab.imap import _Changes
from mailprobe.lab.servers import Lab, lab

pytestmark = both_loops

USERS = {"probe@lab.test": "pw-probe", "sender@lab.test": "pw-sender"}
MESSAGE = "From: <sender@lab.test>\r\nSubject: hello\r\nMessage-ID: <1@tests>\r\n\r\nhello\r\n"


@dataclass
class Scripted:
    """Answers as the test says; everything else as usual."""

    answers: dict[Moment, Answer] = field(default_factory=dict)
    asked: list[tuple[Moment, Context]] = field(default_factory=list)

    async def at(self, moment: Moment, context: Context) -> Answer | None:
        self.asked.append((moment, context))
        return self.answers.get(moment)


@pytest.fixture
def script() -> Scripted:
    return Scripted()


@pytest.fixture
async def servers(script: Scripted) -> AsyncIterator[Lab]:
    async with lab(USERS, behaviour=script) as running:
        yield running


@contextlib.contextmanager
def submission(servers: Lab, *, implicit: bool = False) -> Iterator[smtplib.SMTP]:
    context = ssl.create_default_context(cafile=str(servers.ca_file))
    if implicit:
        client: smtplib.SMTP = smtplib.SMTP_SSL(
            "localhost", servers.submissions_port, timeout=10, context=context, local_hostname="tests"
        )
    else:
        client = smtplib.SMTP("localhost", servers.submission_port, timeout=10, local_hostname="tests")
    try:
        if not implicit:
            client.starttls(context=context)
        client.login("sender@lab.test", "pw-sender")
        yield client
    finally:
        client.close()


def submit(servers: Lab, recipient: str = "probe@lab.test", *, implicit: bool = False) -> None:
    with submission(servers, implicit=implicit) as client:
        client.sendmail("sender@lab.test", [recipient], MESSAGE)


@contextlib.contextmanager
def mailbox(servers: Lab, user: str = "probe@lab.test", *, implicit: bool = True) -> Iterator[imaplib.IMAP4]:
    context = ssl.create_default_context(cafile=str(servers.ca_file))
    if implicit:
        client: imaplib.IMAP4 = imaplib.IMAP4_SSL("localhost", servers.imaps_port, ssl_context=context, timeout=10)
    else:
        client = imaplib.IMAP4("localhost", servers.imap_port, timeout=10)
        client.starttls(context)
    try:
        client.login(user, USERS[user])
        yield client
    finally:
        client.shutdown()


async def arrived(servers: Lab, user: str = "probe@lab.test", folder: str = "INBOX") -> None:
    async with asyncio.timeout(10):
        while not await servers.mailboxes.count(user, folder):
            await asyncio.sleep(0.001)


def first_message(servers: Lab, user: str = "probe@lab.test", folder: str = "INBOX") -> bytes:
    with mailbox(servers, user) as client:
        client.select(folder)
        content: bytes = client.uid("FETCH", "1:*", "(BODY.PEEK[])")[1][0][1]
        return content


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
async def test_delivers(servers: Lab, script: Scripted, implicit: bool) -> None:
    await asyncio.to_thread(submit, servers, "probe+detail@lab.test", implicit=implicit)
    await arrived(servers)
    content = await asyncio.to_thread(first_message, servers)
    assert content.endswith(MESSAGE.encode())
    assert b"Return-Path: <sender@lab.test>\r\nReceived: from [127.0.0.1]" in content
    asked = dict(script.asked)
    assert set(asked) == set(Moment) - {Moment.DNS}
    assert asked[Moment.RCPT].recipient == "probe+detail@lab.test"
    assert asked[Moment.END_OF_DATA].sender == "sender@lab.test"
    assert asked[Moment.END_OF_DATA].user == "sender@lab.test"
    assert asked[Moment.IMAP_FETCH].user == "probe@lab.test"


async def test_takes_mail_as_an_mx_does(servers: Lab) -> None:
    def deliver() -> None:
        with smtplib.SMTP("localhost", servers.mx_port, timeout=10, local_hostname="tests") as client:
            client.ehlo()
            assert client.has_extn("starttls")
            assert not client.has_extn("auth")
            client.sendmail("", ["probe@lab.test"], MESSAGE)
            assert client.rcpt("nobody@lab.test")[0] == 503
            client.mail("")
            assert client.rcpt("nobody@lab.test") == (550, b"5.1.1 No such user here")

    await asyncio.to_thread(deliver)
    await arrived(servers)


async def test_submission_wants_tls_and_login(servers: Lab) -> None:
    def attempt() -> None:
        with smtplib.SMTP("localhost", servers.submission_port, timeout=10, local_hostname="tests") as client:
            client.ehlo()
            assert client.mail("sender@lab.test")[0] == 530
            client.starttls(context=ssl.create_default_context(cafile=str(servers.ca_file)))
            client.ehlo()
            assert client.mail("sender@lab.test") == (530, b"5.7.0 Authentication required")
            with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
                client.login("sender@lab.test", "wrong")
            assert refused.value.smtp_code == 535

    await asyncio.to_thread(attempt)


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
async def test_reads_and_deletes(servers: Lab, implicit: bool) -> None:
    for number in range(3):
        await servers.deliver("probe@lab.test", f"Subject: {number}\r\n\r\n".encode())
    await servers.deliver("probe@lab.test", b"Subject: junk\r\n\r\n", "Junk")

    def use() -> None:
        with mailbox(servers, implicit=implicit) as client:
            assert any(b"Junk" in folder for folder in client.list()[1])
            assert client.select("INBOX")[1] == [b"3"]
            uids = client.uid("SEARCH", None, "ALL")[1][0].split()
            client.uid("STORE", uids[1].decode(), "+FLAGS.SILENT", r"(\Deleted)")
            client.uid("EXPUNGE", uids[1].decode())
            assert client.uid("SEARCH", None, "ALL")[1][0].split() == [uids[0], uids[2]]
            assert client.select("Junk")[1] == [b"1"]
            with pytest.raises(imaplib.IMAP4.error):
                client.login("probe@lab.test", "again")

    await asyncio.to_thread(use)


async def test_tells_idle_clients(servers: Lab) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", servers.imap_port)
    try:
        await reader.readline()
        for command, answer in (
            (b'1 LOGIN probe@lab.test "pw-probe"', b"1 OK"),
            (b"2 SELECT INBOX", b"2 OK"),
            (b"3 IDLE", b"+"),
        ):
            writer.write(command + b"\r\n")
            while not (await reader.readline()).startswith(answer):
                pass
        for number in range(1, 301):
            await servers.deliver("probe@lab.test", b"Subject: x\r\n\r\n")
            async with asyncio.timeout(10):
                while not (await reader.readline()).startswith(b"* %d EXISTS" % number):
                    pass
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("moment", "answer", "code"),
    [
        (Moment.GREETING, Say(("554 5.3.2 no",)), 554),
        (Moment.EHLO, Say(("502 no",)), 502),
        (Moment.STARTTLS, Say(("454 4.7.0 no",)), 454),
        (Moment.AUTH, Say(("454 4.7.0 later",)), 454),
        (Moment.MAIL, Say(("451 4.3.2 no",)), 451),
        (Moment.RCPT, Say(("550-5.1.1 no such", "550 5.1.1 user")), 550),
        (Moment.DATA, Say(("421 4.3.2 closing",)), 421),
        (Moment.END_OF_DATA, Say(("451 4.3.2 no",)), 451),
    ],
    ids=lambda value: str(value) if isinstance(value, Moment) else "",
)
async def test_says_what_it_is_told(servers: Lab, script: Scripted, moment: Moment, answer: Answer, code: int) -> None:
    script.answers[moment] = answer
    with (
        pytest.raises(smtplib.SMTPResponseException)
        if moment is not Moment.RCPT
        else pytest.raises(smtplib.SMTPRecipientsRefused) as raised
    ):
        await asyncio.to_thread(submit, servers)
    if isinstance(raised.value, smtplib.SMTPRecipientsRefused):
        assert raised.value.recipients["probe@lab.test"] == (550, b"5.1.1 no such\n5.1.1 user")
    elif moment is not Moment.EHLO:
        assert raised.value.smtp_code == code
    assert not await servers.mailboxes.count("probe@lab.test")


@pytest.mark.parametrize(
    "moment",
    [Moment.CONNECT, Moment.GREETING, Moment.EHLO, Moment.STARTTLS, Moment.AUTH, Moment.RCPT, Moment.END_OF_DATA],
)
@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
# the client, smtplib, leaves a socket behind that was reset before its handshake
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
async def test_drops(servers: Lab, script: Scripted, moment: Moment, implicit: bool) -> None:
    script.answers[moment] = Drop(reset=moment is Moment.CONNECT)
    with pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError, ssl.SSLError)):
        await asyncio.to_thread(submit, servers, implicit=implicit)
    if moment is Moment.END_OF_DATA:
        # it was taken, and the answer never came
        await arrived(servers)


@pytest.mark.parametrize(
    ("credential", "code"), [(Credential.EXPIRED, 10), (Credential.UNTRUSTED, 20), (Credential.NAME, 62)]
)
@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "implicit"])
async def test_shows_a_bad_certificate(
    servers: Lab, script: Scripted, credential: Credential, code: int, implicit: bool
) -> None:
    script.answers[Moment.STARTTLS] = script.answers[Moment.IMAP_CONNECT] = Show(credential)

    def read() -> None:
        with mailbox(servers, implicit=implicit):
            pass

    for attempt in (lambda: submit(servers, implicit=implicit), read):
        with pytest.raises(ssl.SSLCertVerificationError) as raised:
            await asyncio.to_thread(attempt)
        assert raised.value.verify_code == code


async def test_junks_loses_bounces(servers: Lab, script: Scripted) -> None:
    script.answers[Moment.MAILBOX] = Junk()
    await asyncio.to_thread(submit, servers)
    await arrived(servers, folder="Junk")
    script.answers[Moment.MAILBOX] = Lose()
    await asyncio.to_thread(submit, servers)
    script.answers[Moment.QUEUE] = Bounce("550 5.1.1 no such user")
    await asyncio.to_thread(submit, servers)
    await arrived(servers, "sender@lab.test")
    assert not await servers.mailboxes.count("probe@lab.test")
    report = email.message_from_bytes(await asyncio.to_thread(first_message, servers, "sender@lab.test"))
    assert report.get_content_type() == "multipart/report"
    fields = report.get_payload(1).get_payload(1)  # type: ignore[union-attr]
    assert (fields["Action"], fields["Status"]) == ("failed", "5.1.1")
    assert "<1@tests>" in str(report.get_payload(2))


@pytest.mark.parametrize(
    ("moment", "answer", "error"),
    [
        (Moment.IMAP_LOGIN, Say(("NO AUTHENTICATE failed.",)), "AUTHENTICATE failed"),
        (Moment.IMAP_FETCH, Say(("NO [UNAVAILABLE] later",)), "UNAVAILABLE"),
        (Moment.IMAP_FETCH, Say(("BYE enough",)), "enough|EOF"),
        (Moment.IMAP_LOGIN, Drop(), "EOF|reset"),
        (Moment.IMAP_FETCH, Drop(), "EOF|reset"),
        (Moment.IMAP_CONNECT, Drop(), "EOF|reset"),
    ],
    ids=str,
)
async def test_imap_misbehaves(servers: Lab, script: Scripted, moment: Moment, answer: Answer, error: str) -> None:
    script.answers[moment] = answer

    def use() -> None:
        with mailbox(servers) as client:
            status, data = client.select("INBOX")
            if status == "NO":
                raise imaplib.IMAP4.error(data[0])

    with pytest.raises((imaplib.IMAP4.error, OSError), match=error):
        await asyncio.to_thread(use)


async def test_slow_behaviour_delays_only_its_own_connection() -> None:
    class Slow:
        async def at(self, moment: Moment, context: Context) -> Answer | None:
            if moment is Moment.RCPT and context.recipient == "probe+slow@lab.test":
                await asyncio.Event().wait()
            return None

    async with lab(USERS, behaviour=Slow()) as servers:
        stuck = asyncio.create_task(asyncio.to_thread(submit, servers, "probe+slow@lab.test"))
        await asyncio.to_thread(submit, servers)
        await arrived(servers)
        assert not stuck.done()
    with pytest.raises(smtplib.SMTPServerDisconnected):
        await stuck


async def test_stall_after_the_dot_takes_the_mail(script: Scripted) -> None:
    script.answers[Moment.END_OF_DATA] = Stall()
    async with lab(USERS, behaviour=script) as servers:
        stuck = asyncio.create_task(asyncio.to_thread(submit, servers))
        await arrived(servers)
        assert not stuck.done()
    with pytest.raises(smtplib.SMTPServerDisconnected):
        await stuck


async def test_ends_without_a_trace() -> None:
    before = asyncio.all_tasks()
    async with lab(USERS) as servers:
        plain = await asyncio.open_connection("127.0.0.1", servers.imap_port)
        smtp = await asyncio.open_connection("127.0.0.1", servers.mx_port)
        await plain[0].readline()
        await smtp[0].readline()
        # a client that never finishes its handshake
        half = await asyncio.open_connection("127.0.0.1", servers.imaps_port)
    assert asyncio.all_tasks() == before
    assert not servers.ca_file.exists()
    for port in (servers.mx_port, servers.submission_port, servers.submissions_port, servers.imap_port):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
    for _, writer in (plain, smtp, half):
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def test_remembers_few_removals() -> None:
    changes = _Changes()
    for uid in range(30_000):
        changes.update([uid])
        changes.expunge([uid])
    updated, gone = changes.find_updated(0)
    assert not updated
    assert gone == frozenset(range(20_000, 30_000))
    assert changes.find_updated(changes.highest) == (frozenset(), frozenset({29_999}))
