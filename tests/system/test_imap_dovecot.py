"""The adapter on a real Dovecot: every TLS mode, looking, junk, deleting, UIDVALIDITY, restarts, 20,000 messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from support.loops import both_loops
from support.servers import HOST, TLS_NAME
from support.servers_dovecot import EXPIRED_ADDRESS, UNKNOWN_CA_ADDRESS, WRONGNAME_ADDRESS, Account, Dovecot

from mailprobe.clock import SystemClock
from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.imap import IdleEnd, Look, MailboxView, Session, Watermark
from mailprobe.imap.protocol import Protocol
from mailprobe.model import TlsMode
from mailprobe.net.resolve import Resolver
from mailprobe.plan import Endpoint, Login, Mailbox, SecretReference

pytestmark = both_loops


def mailbox_of(
    dovecot: Dovecot,
    account: Account,
    tls: TlsMode = TlsMode.PLAINTEXT,
    *,
    host: str = HOST,
    port: int | None = None,
    timeout: float = 10.0,
    password: str | None = None,
    **settings: str | None,
) -> Mailbox:
    secret = Path(dovecot.directory / f"secret-{account.user}-{password or ''}")
    secret.write_text((password or account.password) + "\n")
    port = port or (dovecot.imaps_port if tls is TlsMode.IMPLICIT else dovecot.imap_port)
    endpoint = Endpoint(host, port, tls, ca_file=dovecot.ca_file, server_name=TLS_NAME)
    login = Login(account.address, SecretReference(file=secret))
    return Mailbox("box", account.address, endpoint, login, timeout=timeout, **settings)  # type: ignore[arg-type]


async def opened(mailbox: Mailbox) -> Session:
    return await Session.open(mailbox, clock=SystemClock(), resolver=Resolver())


@asynccontextmanager
async def viewing(
    mailbox: Mailbox, watermarks: Mapping[str, Watermark] | None = None, since: date | None = None
) -> AsyncIterator[MailboxView]:
    session = await opened(mailbox)
    try:
        yield await MailboxView.open(session, mailbox, watermarks, since)
        if session.alive:
            await session.close()
    finally:
        session.abort()


async def failure(mailbox: Mailbox) -> tuple[Stage, Reason]:
    with pytest.raises(ProbeFailure) as caught:
        (await opened(mailbox)).abort()
    return caught.value.stage, caught.value.reason


async def deliver(dovecot: Dovecot, account: Account, subject: str, count: int = 1) -> None:
    message = f"From: <a@lab.test>\r\nSubject: {subject}\r\n\r\nhello\r\n".encode()
    for _ in range(count):
        await asyncio.to_thread(dovecot.deliver, account, message)


def subjects(look: Look) -> list[tuple[str, bytes]]:
    return [(found.folder, found.headers.partition(b"Subject: ")[2].partition(b"\r\n")[0]) for found in look.found]


# ---- opening


@pytest.mark.parametrize("tls", [TlsMode.IMPLICIT, TlsMode.STARTTLS])
async def test_opening(dovecot: Dovecot, tls: TlsMode) -> None:
    session = await opened(mailbox_of(dovecot, dovecot.new_account(), tls))
    assert session.tls is not None
    assert session.tls.verified
    assert TLS_NAME in session.tls.subject
    assert session.capabilities >= {"IDLE", "UIDPLUS", "QUOTA"}
    assert "\\junk" in {attribute for folder in await session.folders() for attribute in folder.attributes}
    assert await session.quota() == 0.0
    await session.close()
    assert not session.alive


async def test_one_wrong_password_is_one_failed_login(dovecot: Dovecot) -> None:
    account = dovecot.new_account()
    mailbox = mailbox_of(dovecot, account, TlsMode.IMPLICIT, password="wrong")
    assert await failure(mailbox) == (Stage.AUTH, Reason.AUTH_REJECTED)
    failed = [line for line in dovecot.log().splitlines() if account.address in line and "mismatch" in line]
    assert len(failed) == 1


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (EXPIRED_ADDRESS, Reason.CERTIFICATE_EXPIRED),
        (WRONGNAME_ADDRESS, Reason.CERTIFICATE_NAME),
        (UNKNOWN_CA_ADDRESS, Reason.CERTIFICATE_UNTRUSTED),
    ],
)
async def test_certificates_that_do_not_hold(dovecot: Dovecot, address: str, reason: Reason) -> None:
    mailbox = mailbox_of(dovecot, dovecot.new_account(), TlsMode.IMPLICIT, host=address)
    assert await failure(mailbox) == (Stage.TLS, reason)


async def test_the_wrong_tls_mode_is_said_as_such(dovecot: Dovecot) -> None:
    account = dovecot.new_account()
    reverse = mailbox_of(dovecot, account, TlsMode.IMPLICIT, port=dovecot.imap_port)
    assert await failure(reverse) == (Stage.TLS, Reason.WRONG_TLS_MODE)
    mailbox = mailbox_of(dovecot, account, TlsMode.STARTTLS, port=dovecot.imaps_port, timeout=0.5)
    assert await failure(mailbox) == (Stage.GREETING, Reason.WRONG_TLS_MODE)


async def test_a_folder_that_is_not_there(dovecot: Dovecot) -> None:
    mailbox = mailbox_of(dovecot, dovecot.new_account(), TlsMode.IMPLICIT, junk="Quarantäne")
    with pytest.raises(ProbeFailure) as caught:
        async with viewing(mailbox):
            pass
    assert (caught.value.stage, caught.value.reason) == (Stage.SELECT, Reason.MAILBOX_MISSING)


async def test_a_folder_whose_name_is_not_ascii(dovecot: Dovecot) -> None:
    account = dovecot.new_account()
    await asyncio.to_thread(dovecot.doveadm, "mailbox", "create", "-u", account.address, "Quarantäne & mehr")
    async with viewing(mailbox_of(dovecot, account, TlsMode.IMPLICIT, junk="Quarantäne & mehr")) as view:
        assert (await view.scan()).complete
        assert view.junk == "Quarantäne & mehr"


# ---- looking


async def test_looking_in_inbox_and_junk(dovecot: Dovecot) -> None:
    account = dovecot.new_account()
    await deliver(dovecot, account, "before")
    async with viewing(mailbox_of(dovecot, account, TlsMode.IMPLICIT)) as view:
        assert (await view.look()).found == ()
        begun = datetime.now(UTC).timestamp()
        await deliver(dovecot, account, "one")
        await deliver(dovecot, account, "two [JUNKME]")
        look = await view.look()
        assert look.complete
        assert subjects(look) == [("INBOX", b"one"), ("Junk", b"two [JUNKME]")]
        assert [found.junk for found in look.found] == [False, True]
        for found in look.found:
            assert found.internaldate_wall is not None
            assert abs(found.internaldate_wall - begun) < 60
            assert look.started <= found.noticed <= look.finished
        assert (await view.scan()).found == ()
        whole = await view.fetch_message(look.found[1])
        assert whole is not None
        assert whole.endswith(b"\r\n\r\nhello\r\n")


async def test_idle_tells_of_mail_and_of_nothing_else(dovecot: Dovecot) -> None:
    account = dovecot.new_account()
    async with viewing(mailbox_of(dovecot, account, TlsMode.IMPLICIT)) as view:
        assert await view.idle(0.05, asyncio.Event()) is IdleEnd.QUIET
        waiting = asyncio.ensure_future(view.idle(30, asyncio.Event()))
        await deliver(dovecot, account, "pushed")
        assert await waiting is IdleEnd.PUSHED
        assert subjects(await view.look(junk=False)) == [("INBOX", b"pushed")]


async def test_more_than_a_hundred(dovecot: Dovecot) -> None:
    account = dovecot.new_account()
    async with viewing(mailbox_of(dovecot, account)) as view:
        await asyncio.to_thread(dovecot.fill, account, 250)
        look = await view.look()
        assert len({found.uid for found in look.found}) == len(look.found) == 250
        assert (await view.scan()).found == ()


async def test_exactly_the_proven_ones_are_deleted(dovecot: Dovecot) -> None:
    account = dovecot.new_account()
    async with viewing(mailbox_of(dovecot, account)) as view:
        for subject in ("mine", "yours", "mine [JUNKME]", "yours [JUNKME]"):
            await deliver(dovecot, account, subject)
        found = (await view.look()).found
        theirs = [item for item in found if b"yours" in item.headers]
        await asyncio.to_thread(
            dovecot.doveadm, "flags", "add", "-u", account.address, "\\Deleted", "mailbox", "INBOX", "subject", "yours"
        )
        mine = [(item.folder, item.uidvalidity, item.uid) for item in found if item not in theirs]
        assert await view.delete(mine) == frozenset(mine)
        left = await asyncio.to_thread(
            dovecot.doveadm, "fetch", "-u", account.address, "hdr.subject", "mailbox", "INBOX", "or", "mailbox", "Junk"
        )
        assert left.count("yours") == 2
        assert "mine" not in left


async def test_uidvalidity_changes_while_nobody_looks(dovecot: Dovecot) -> None:
    account = dovecot.new_account()
    mailbox = mailbox_of(dovecot, account)
    async with viewing(mailbox) as view:
        await deliver(dovecot, account, "in flight", 3)
        kept = view.watermarks
        while time.time() < kept["INBOX"].uidvalidity + 1:  # it is the second in which Dovecot made the folder
            await asyncio.sleep(0.05)
        await asyncio.to_thread(dovecot.change_uidvalidity, account)
        with pytest.raises(ProbeFailure):
            await looking_for_ever(view)
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    async with viewing(mailbox, kept, yesterday) as view:
        assert len((await view.scan()).found) == 3
        assert view.watermarks["INBOX"].uidvalidity != kept["INBOX"].uidvalidity


async def test_canaries_of_an_earlier_process(dovecot: Dovecot) -> None:
    account = dovecot.new_account()
    await deliver(dovecot, account, "in flight")
    await deliver(dovecot, account, "in flight [JUNKME]")
    async with viewing(mailbox_of(dovecot, account), since=datetime.now(UTC).date() - timedelta(days=1)) as view:
        assert len((await view.scan()).found) == 2
    async with viewing(mailbox_of(dovecot, account), since=datetime.now(UTC).date() + timedelta(days=2)) as view:
        assert len((await view.scan()).found) == 0


async def looking_for_ever(view: MailboxView) -> None:
    async with asyncio.timeout(10):
        while True:
            await view.look()
            await asyncio.sleep(0.01)


# ---- ends


async def test_a_kicked_session_ends_at_once(dovecot: Dovecot) -> None:
    account = dovecot.new_account()
    async with viewing(mailbox_of(dovecot, account, TlsMode.IMPLICIT, timeout=3600)) as view:
        waiting = asyncio.ensure_future(view.idle(3600, asyncio.Event()))
        async with asyncio.timeout(10):
            while not waiting.done():  # a kick may come before the server knows who we are
                await asyncio.to_thread(dovecot.kick, account)
                await asyncio.wait({waiting}, timeout=0.1)
        with pytest.raises(ProbeFailure) as caught:
            await waiting
        assert caught.value.reason is Reason.CONNECTION_LOST


async def test_a_server_that_restarts_loses_nothing(fresh_dovecot: Dovecot) -> None:
    account = fresh_dovecot.new_account()
    mailbox = mailbox_of(fresh_dovecot, account, TlsMode.IMPLICIT)
    async with viewing(mailbox) as view:
        waiting = asyncio.ensure_future(view.idle(3600, asyncio.Event()))
        await asyncio.to_thread(fresh_dovecot.kill)
        with pytest.raises(ProbeFailure) as caught:
            await asyncio.wait_for(waiting, 10)
        assert caught.value.reason is Reason.CONNECTION_LOST
        async with asyncio.timeout(10):  # the last of its processes may be dying still
            while await failure(mailbox) != (Stage.CONNECT, Reason.CONNECTION_REFUSED):
                await asyncio.sleep(0.01)
    await asyncio.to_thread(fresh_dovecot.start)
    await deliver(fresh_dovecot, account, "while blind")
    async with viewing(mailbox, view.watermarks) as again:
        assert subjects(await again.look()) == [("INBOX", b"while blind")]


# ---- 20,000 messages of strangers


async def test_strangers_cost_nothing(dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what is said, not by the clock: no opening, look or scan tells anything of 20,000 old messages."""
    heard, receive = [0], Protocol.data_received

    def counting(self: Protocol, data: bytes) -> None:
        heard[0] += len(data)
        receive(self, data)

    monkeypatch.setattr(Protocol, "data_received", counting)
    account = dovecot.new_account()
    await asyncio.to_thread(dovecot.fill, account, 20_000)
    mailbox = mailbox_of(dovecot, account, timeout=30.0)
    async with viewing(mailbox) as view:
        assert view.watermarks["INBOX"].next_uid == 20_001
        assert view.session.selected is not None
        assert view.session.selected.exists == 20_000
        assert (await view.scan()).found == ()
        await deliver(dovecot, account, "new")
        assert subjects(await view.look()) == [("INBOX", b"new")]
        await view.look()
        await view.scan()
        assert view.watermarks["INBOX"].next_uid == 20_002
    assert 0 < heard[0] < 20_000
