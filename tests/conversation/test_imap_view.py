"""What is new in a mailbox: looks, scans, watermarks, UIDVALIDITY, many and foreign messages."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
from support.imap_script import (
    CAPABILITIES,
    PASSWORD_VARIABLE,
    Action,
    Box,
    ImapServer,
    Talk,
    close,
    default,
    mailbox_at,
    session_on,
    then,
)
from support.loops import both_loops

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.imap import Found, IdleEnd, Look, MailboxView, Watermark

pytestmark = both_loops


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "hunter2")


@asynccontextmanager
async def viewing(
    server: ImapServer,
    watermarks: Mapping[str, Watermark] | None = None,
    since: date | None = None,
    **settings: str | None,
) -> AsyncIterator[MailboxView]:
    async with server.running(), session_on(server) as session:
        yield await MailboxView.open(session, mailbox_at(server.port, **settings), watermarks, since)


def where(look: Look) -> list[tuple[str, int]]:
    return [(found.folder, found.uid) for found in look.found]


def boxes(inbox: int = 0, junk: int = 0) -> dict[str, Box]:
    there = {"INBOX": Box(uidvalidity=11), "Junk": Box("\\Junk", uidvalidity=22)}
    for box, count in ((there["INBOX"], inbox), (there["Junk"], junk)):
        for _ in range(count):
            box.deliver()
    return there


# ---- beginning


async def test_what_was_there_before_does_not_matter() -> None:
    server = ImapServer(folders=boxes(3, 2))
    async with viewing(server) as view:
        assert view.watermarks == {"INBOX": Watermark(11, 4), "Junk": Watermark(22, 3)}
        assert view.junk == "Junk"
        for look in (await view.look(), await view.scan()):
            assert look.complete
            assert look.found == ()
    assert "uid fetch" not in server.commands()


async def test_resuming_where_an_earlier_session_ended() -> None:
    server = ImapServer(folders=boxes(3, 2))
    async with viewing(server, {"INBOX": Watermark(11, 3), "Junk": Watermark(22, 2)}) as view:
        assert where(await view.look()) == [("INBOX", 3), ("Junk", 2)]
        assert where(await view.look()) == []
        assert view.watermarks == {"INBOX": Watermark(11, 4), "Junk": Watermark(22, 3)}


async def test_canaries_of_an_earlier_process_are_searched_by_date() -> None:
    server = ImapServer(folders=boxes(3, 2))
    async with viewing(server, since=date(2026, 1, 21)) as view:
        assert view.watermarks == {}
        assert await view.idle(3600, asyncio.Event()) is IdleEnd.PUSHED
        assert where(await view.scan()) == [("INBOX", 1), ("INBOX", 2), ("INBOX", 3), ("Junk", 1), ("Junk", 2)]
        assert where(await view.scan()) == []
        assert view.watermarks == {"INBOX": Watermark(11, 4), "Junk": Watermark(22, 3)}
    assert sum(b"UID SEARCH SINCE 21-Jan-2026" in line for line in server.heard) == 2


@pytest.mark.parametrize("void", [Watermark(12, 2), Watermark(11, 9)])  # other UIDVALIDITY; UIDNEXT went back
async def test_a_void_watermark_is_searched_by_date(void: Watermark) -> None:
    server = ImapServer(folders=boxes(3))
    async with viewing(server, {"INBOX": void, "Junk": Watermark(22, 1)}, since=date(2026, 1, 21)) as view:
        assert where(await view.look()) == [("INBOX", 1), ("INBOX", 2), ("INBOX", 3)]


async def test_a_void_watermark_does_not_matter_where_nothing_is_expected() -> None:
    server = ImapServer(folders=boxes(3))
    async with viewing(server, {"INBOX": Watermark(12, 2)}) as view:
        assert where(await view.scan()) == []


async def test_folders_that_are_not_there() -> None:
    for settings in ({"inbox": "Nowhere"}, {"junk": "Nowhere"}):
        async with ImapServer().running() as server, session_on(server) as session:
            with pytest.raises(ProbeFailure) as caught:
                await MailboxView.open(session, mailbox_at(server.port, **settings))
            assert (caught.value.stage, caught.value.reason) == (Stage.SELECT, Reason.MAILBOX_MISSING)


async def test_without_junk_a_look_at_the_inbox_is_complete() -> None:
    server = ImapServer(folders=boxes(0))
    async with viewing(server, junk=None) as view:
        server.folders["INBOX"].deliver()
        look = await view.look(junk=False)
        assert look.complete
        assert where(look) == [("INBOX", 1)]
        assert (await view.scan()).complete
        assert view.junk is None


# ---- looking


async def test_a_look_finds_what_is_new_in_both_folders() -> None:
    server = ImapServer(folders=boxes(3, 2))
    async with viewing(server) as view:
        server.folders["INBOX"].deliver(b"Subject: in\r\n\r\n")
        server.folders["Junk"].deliver(b"Subject: junk\r\n\r\n")
        look = await view.look()
        assert look.complete
        assert look.started < look.finished
        internaldate = datetime(2026, 1, 22, 18, 30, tzinfo=UTC).timestamp()
        noticed = [found.noticed for found in look.found]
        assert all(look.started < at < look.finished for at in noticed)
        assert look.found == (
            Found("INBOX", False, 11, 4, internaldate, b"Subject: in\r\n\r\n", noticed[0]),
            Found("Junk", True, 22, 3, internaldate, b"Subject: junk\r\n\r\n", noticed[1]),
        )
        assert (await view.look()).found == ()


async def test_a_look_without_junk_is_cheap_and_not_complete() -> None:
    server = ImapServer(folders=boxes(3, 2))
    async with viewing(server) as view:
        server.folders["Junk"].deliver()
        server.heard.clear()
        look = await view.look(junk=False)
        assert not look.complete
        assert look.found == ()
        assert server.commands() == ["noop"]
        await view.look()
        server.heard.clear()
        await view.look()
        assert server.commands() == ["noop", "status"]


async def test_with_unselect_a_look_asks_from_outside() -> None:
    server = ImapServer(folders=boxes(3, 2), capabilities=CAPABILITIES + " UNSELECT")
    async with viewing(server) as view:
        server.heard.clear()
        await view.look()
        await view.look(junk=False)
        assert server.commands() == ["unselect", "status", "status", "status"]
        server.heard.clear()
        server.folders["INBOX"].deliver()
        look = await view.look()
        assert where(look) == [("INBOX", 4)]
        assert server.commands()[:3] == ["status", "select", "uid fetch"]
        assert look.started < look.found[0].noticed < look.finished
        server.heard.clear()
        await view.look(junk=False)
        assert await view.idle(0.0, asyncio.Event()) is IdleEnd.QUIET
        assert server.commands()[:3] == ["unselect", "status", "select"]


async def test_with_unselect_what_was_pushed_keeps_its_moment() -> None:
    server = ImapServer(folders=boxes(3, 2), capabilities=CAPABILITIES + " UNSELECT")
    server.says = {"IDLE": then(b"+ idling\r\n", b"* 4 EXISTS\r\n", default)}
    async with viewing(server) as view:
        server.folders["INBOX"].deliver()
        assert await view.idle(5.0, asyncio.Event()) is IdleEnd.PUSHED
        server.heard.clear()
        look = await view.look(junk=False)
        assert where(look) == [("INBOX", 4)]
        assert look.found[0].noticed < look.started
        assert "unselect" not in server.commands()


async def test_junk_is_noticed_when_its_status_said_so() -> None:
    server = ImapServer(folders=boxes())
    after_status: list[float] = []
    async with viewing(server) as view:

        async def select(talk: Talk) -> None:
            after_status.append(view.session.clock.now())
            await default(talk)

        server.says["select"] = select
        server.folders["Junk"].deliver()
        (found,) = (await view.look()).found
        assert found.noticed < after_status[0]


async def test_the_folder_that_is_not_selected_is_not_forgotten() -> None:
    """What comes into the inbox while junk is looked through is found in the same look."""
    server = ImapServer(folders=boxes())
    async with viewing(server) as view:

        async def fetch(talk: Talk) -> None:
            if talk.selected == "Junk":
                server.folders["INBOX"].deliver()
            await default(talk)

        server.says["uid fetch"] = fetch
        server.folders["Junk"].deliver()
        assert where(await view.look()) == [("Junk", 1), ("INBOX", 1)]


async def test_what_moves_from_folder_to_folder_meanwhile_is_not_missed_in_both() -> None:
    server = ImapServer(folders=boxes())
    async with viewing(server) as view:

        async def search(talk: Talk) -> None:
            await default(talk)
            if talk.selected == "INBOX" and server.folders["INBOX"].mails:
                server.folders["INBOX"].mails.clear()
                server.folders["Junk"].deliver()

        server.says["uid search"] = search
        server.folders["INBOX"].deliver()
        assert ("Junk", 1) in where(await view.scan())


async def test_more_than_a_hundred_at_once() -> None:
    server = ImapServer(folders=boxes(5))
    async with viewing(server) as view:
        for _ in range(257):
            server.folders["INBOX"].deliver()
        assert where(await view.look()) == [("INBOX", uid) for uid in range(6, 263)]
        fetches = [line for line in server.heard if b"UID FETCH" in line]
        assert len(fetches) == 3
        assert not any(b"*" in line for line in fetches)


async def test_a_push_between_looks_is_found_once() -> None:
    server = ImapServer(folders=boxes(3))
    async with viewing(server) as view:
        waiting = asyncio.ensure_future(view.idle(3600, asyncio.Event()))
        async with asyncio.timeout(5):
            while "idle" not in server.commands():
                await asyncio.sleep(0.001)
        server.folders["INBOX"].deliver()
        await server.push(server.unannounced(server.talks[-1]))
        assert await waiting is IdleEnd.PUSHED
        pushed = view.session.clock.now()
        (found,) = (await view.look()).found
        assert found.noticed < pushed
        assert where(await view.scan()) == []


async def test_a_scan_does_not_trust_hints() -> None:
    server = ImapServer(folders=boxes(3, 2))
    async with viewing(server) as view:
        # a server whose NOOP and STATUS never say anything new
        server.says["noop"] = b"%T OK done\r\n"
        server.says["status"] = b'* STATUS "Junk" (UIDNEXT 3 UIDVALIDITY 22 MESSAGES 2)\r\n%T OK done\r\n'
        server.folders["INBOX"].deliver()
        server.folders["Junk"].deliver()
        assert where(await view.look()) == []
        scan = await view.scan()
        assert scan.complete
        assert where(scan) == [("INBOX", 4), ("Junk", 3)]


@pytest.mark.parametrize("folder", ["INBOX", "Junk"])
async def test_uidvalidity_changes_under_way(folder: str) -> None:
    server = ImapServer(folders=boxes(3, 3))
    async with viewing(server, since=None) as view:
        view.since = date(2026, 1, 20)
        box = server.folders[folder]
        box.uidvalidity, box.uidnext, box.mails = 99, 1, []
        box.deliver()
        box.deliver()
        scan = await view.scan()
        assert where(scan) == [(folder, 1), (folder, 2)]
        assert {found.uidvalidity for found in scan.found} == {99}
        assert view.watermarks[folder] == Watermark(99, 3)
        assert any(line.endswith(b"UID SEARCH SINCE 20-Jan-2026\r\n") for line in server.heard)


async def test_uidvalidity_of_junk_is_seen_in_a_look() -> None:
    server = ImapServer(folders=boxes(0, 3))
    async with viewing(server) as view:
        server.folders["Junk"].uidvalidity = 99
        assert where(await view.look()) == [("Junk", 1), ("Junk", 2), ("Junk", 3)]
        yesterday = datetime.fromtimestamp(view.session.clock.wall(), UTC).date() - timedelta(days=1)
        assert any(b"SINCE %d-" % yesterday.day in line for line in server.heard)


async def test_a_failed_look_loses_nothing() -> None:
    server = ImapServer(
        folders=boxes(3), says={"uid fetch": then(b"* 4 FETCH (UID 4 BODY[HEADER]<0> {1}\r\n\r)\r\n", close)}
    )
    async with viewing(server) as view:
        server.folders["INBOX"].deliver()
        with pytest.raises(ProbeFailure):
            await view.look()
        kept = view.watermarks
        del server.says["uid fetch"]
        async with session_on(server) as session:
            again = await MailboxView.open(session, mailbox_at(server.port), kept)
            assert where(await again.look()) == [("INBOX", 4)]


@pytest.mark.parametrize("fault", [close, b"%T NO [UNAVAILABLE] later\r\n"])
async def test_what_was_found_before_a_look_failed_is_found_again(fault: Action) -> None:
    """The inbox was gone through, its watermark moved, and then junk could not be looked at."""
    server = ImapServer(folders=boxes(3), says={"status": fault})
    async with viewing(server) as view:
        server.folders["INBOX"].deliver()
        with pytest.raises(ProbeFailure):
            await view.look()
        kept = view.watermarks
        assert kept["INBOX"] == Watermark(11, 4)
        del server.says["status"]
        if view.session.alive:
            assert where(await view.look()) == [("INBOX", 4)]
            assert where(await view.scan()) == []
        async with session_on(server) as session:
            again = await MailboxView.open(session, mailbox_at(server.port), kept)
            assert where(await again.look()) == [("INBOX", 4)]


async def test_a_scan_knows_when_its_news_were_announced() -> None:
    server = ImapServer(folders=boxes(3))
    async with viewing(server) as view:
        server.folders["INBOX"].deliver()
        await view.session.noop()
        announced = view.session.clock.now()
        (found,) = (await view.scan()).found
        assert found.noticed < announced


async def test_a_message_that_is_gone_before_it_is_fetched() -> None:
    server = ImapServer(folders=boxes(3))
    async with viewing(server) as view:
        mail = server.folders["INBOX"].deliver()
        await view.session.noop()
        server.folders["INBOX"].mails.remove(mail)
        assert where(await view.look()) == []


# ---- deleting


async def test_exactly_the_proven_ones_are_deleted() -> None:
    server = ImapServer(folders=boxes(5, 5))
    async with viewing(server) as view:
        places = [("INBOX", 11, 2), ("Junk", 22, 4), ("INBOX", 11, 5), ("INBOX", 12, 1), ("Elsewhere", 1, 1)]
        gone = await view.delete(places)
        assert gone == {("INBOX", 11, 2), ("Junk", 22, 4), ("INBOX", 11, 5)}
        assert [mail.uid for mail in server.folders["INBOX"].mails] == [1, 3, 4]
        assert [mail.uid for mail in server.folders["Junk"].mails] == [1, 2, 3, 5]
        server.folders["INBOX"].deliver()
        assert where(await view.look()) == [("INBOX", 6)]


async def test_what_comes_while_junk_is_emptied_is_found() -> None:
    server = ImapServer(folders=boxes(1, 1))
    async with viewing(server) as view:

        async def expunge(talk: Talk) -> None:
            server.folders["INBOX"].deliver()
            await default(talk)

        server.says["uid expunge"] = expunge
        await view.delete([("Junk", 22, 1)])
        assert await view.idle(3600, asyncio.Event()) is IdleEnd.PUSHED
        assert where(await view.look(junk=False)) == [("INBOX", 2)]


async def test_nothing_is_deleted_under_another_uidvalidity() -> None:
    server = ImapServer(folders=boxes(3, 3))
    async with viewing(server) as view:
        server.folders["Junk"].uidvalidity = 99
        assert await view.delete([("Junk", 22, 1)]) == frozenset()
        assert "uid store" not in server.commands()


async def test_nothing_to_delete_asks_nothing() -> None:
    server = ImapServer(folders=boxes(3))
    async with viewing(server) as view:
        server.heard.clear()
        assert await view.delete([]) == frozenset()
        assert server.heard == []


async def test_a_whole_message() -> None:
    server = ImapServer(folders=boxes())
    async with viewing(server) as view:
        server.folders["Junk"].deliver(b"Subject: dsn\r\n\r\n")
        (found,) = (await view.look()).found
        assert await view.fetch_message(found) == b"Subject: dsn\r\n\r\n"
        server.folders["Junk"].mails.clear()
        assert await view.fetch_message(found) is None


# ---- long lives


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_each_message_is_found_once(seed: int) -> None:
    """Deliveries, other clients' deletions, our own, looks, scans and idling in any order."""
    rng = random.Random(seed)
    server = ImapServer(folders=boxes(rng.randrange(4), rng.randrange(4)))
    seen: list[tuple[str, int]] = []
    delivered: set[tuple[str, int]] = set()
    async with viewing(server) as view:
        for _ in range(60):
            name = rng.choice(["INBOX", "INBOX", "Junk"])
            match rng.randrange(7):
                case 0 | 1:
                    delivered |= {(name, server.folders[name].deliver().uid) for _ in range(rng.choice([1, 1, 3, 130]))}
                case 2:
                    found = (await view.look(junk=rng.random() < 0.5)).found
                    seen += [(item.folder, item.uid) for item in found]
                    if found and rng.random() < 0.5:
                        await view.delete([(item.folder, item.uidvalidity, item.uid) for item in found])
                case 3:
                    seen += where(await view.scan())
                case 4:
                    await view.idle(0.001, asyncio.Event())
                case 5:
                    await view.session.noop()
                case 6:  # another client's deletion, of something that we have seen or do not look for
                    old = [mail for mail in server.folders[name].mails if (name, mail.uid) not in delivered - {*seen}]
                    if old:
                        server.folders[name].mails.remove(rng.choice(old))
        look = await view.look()
        seen += where(look)
        assert look.complete
        exists = view.session._connection.protocol.arrivals.exists
        assert exists == len(server.talks[-1].known)
    assert sorted(seen) == sorted(delivered)
