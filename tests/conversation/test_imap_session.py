"""A session's commands: what they make of answers good and bad, and that none of them ever hangs."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime

import pytest
from support.imap_script import (
    CAPABILITIES,
    PASSWORD_VARIABLE,
    Action,
    Box,
    ImapServer,
    Talk,
    Use,
    close,
    default,
    drip,
    failing,
    hang,
    reset,
    session_on,
    stocked,
    then,
)
from support.loops import both_loops

from mailprobe.errors import ProbeFailure, Reason, Stage
from mailprobe.imap import Folder, Removal, Session, protocol

pytestmark = both_loops

IMPATIENT = 0.06
NO_UIDPLUS = CAPABILITIES.replace(" UIDPLUS", "")


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, "hunter2")


async def using(server: ImapServer, use: Use) -> object:
    async with server.running(), session_on(server) as session:
        await session.select("INBOX")
        return await use(session)


# ---- what they make of good answers


async def test_folders() -> None:
    server = ImapServer(folders={"INBOX": Box(), "Entw&APw-rfe": Box("\\Drafts"), "star* name* x": Box("\\Noselect")})
    assert await using(server, lambda session: session.folders()) == (
        Folder("INBOX"),
        Folder("Entwürfe", frozenset({"\\drafts"})),
        Folder("star* name* x", frozenset({"\\noselect"})),
    )
    assert server.heard[-1].endswith(b'LIST "" "*" RETURN (SPECIAL-USE)\r\n')


async def test_folders_of_a_server_without_extensions() -> None:
    server = ImapServer(capabilities="IMAP4rev1")
    await using(server, lambda session: session.folders())
    assert server.heard[-1].endswith(b'LIST "" "*"\r\n')


async def test_select_and_its_name() -> None:
    server = ImapServer(folders={"INBOX": Box(), "Entw&APw-rfe": Box(uidvalidity=7, uidnext=9)})
    async with server.running(), session_on(server) as session:
        selected = await session.select("Entwürfe")
        assert (selected.name, selected.uidvalidity, selected.uidnext, selected.exists) == ("Entwürfe", 7, 9, 0)
        with pytest.raises(ProbeFailure) as caught:
            await session.select("nowhere")
        assert (caught.value.stage, caught.value.reason) == (Stage.SELECT, Reason.MAILBOX_MISSING)
        assert session.selected is None
        await session.select("INBOX")  # a plain NO does not end the session


async def test_select_of_a_server_that_does_not_say_uidnext() -> None:
    async def silent(talk: Talk) -> None:
        talk.selected, talk.known = "INBOX", list(server.folders["INBOX"].mails)
        await talk.send(b"* 3 EXISTS\r\n* OK [UIDVALIDITY 4] x\r\n%T OK done\r\n")

    server = ImapServer(folders={"INBOX": stocked(3)}, says={"select": silent})
    selected = await using(server, lambda session: session.select("INBOX"))
    assert (selected.uidvalidity, selected.uidnext) == (4, 4)  # type: ignore[attr-defined]


async def test_status() -> None:
    server = ImapServer(folders={"INBOX": Box(), "Junk": stocked(2)})
    status = await using(server, lambda session: session.status("Junk"))
    assert (status.uidvalidity, status.uidnext, status.messages) == (1, 3, 2)  # type: ignore[attr-defined]


async def test_fetching_headers() -> None:
    server = ImapServer(folders={"INBOX": stocked(5)})
    async with server.running(), session_on(server) as session:
        await session.select("INBOX")
        assert [message.uid for message in await session.fetch_headers(3)] == [3, 4, 5]
        assert [message.uid for message in await session.fetch_headers(2, 3)] == [2, 3]
        assert await session.fetch_headers(6) == []  # although `6:*` has message 5 in it
        (message,) = await session.fetch_uids([4, 9])
        assert message.headers == b"Subject: 4\r\n\r\n"
        assert message.internaldate_wall == datetime(2026, 1, 22, 18, 30, tzinfo=UTC).timestamp()
        await session.fetch_message(2)
    assert b"BODY.PEEK[HEADER]<0.65536>" in server.heard[-2]
    assert b"BODY.PEEK[]<0.262144>" in server.heard[-1]
    assert not any(b"BODY[" in line for line in server.heard)  # which would mark messages as seen


async def test_a_hundred_at_a_time() -> None:
    server = ImapServer(folders={"INBOX": stocked(250)})
    fetched = await using(server, lambda session: session.fetch_uids(list(range(1, 251))))
    assert [message.uid for message in fetched] == list(range(1, 251))  # type: ignore[attr-defined]
    sets = [line.split()[3] for line in server.heard if b"UID FETCH" in line]
    assert sets == [b"1:100", b"101:200", b"201:250"]


async def test_flags_that_somebody_changes_meanwhile_are_no_messages() -> None:
    answer = b"* 1 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (UID 2 FLAGS ())\r\n"
    server = ImapServer(folders={"INBOX": stocked(3)}, says={"uid fetch": then(answer, default)})
    fetched = await using(server, lambda session: session.fetch_headers(3))
    assert [message.uid for message in fetched] == [3]  # type: ignore[attr-defined]


async def test_when_a_message_was_noticed() -> None:
    server = ImapServer(folders={"INBOX": stocked(2)})
    async with server.running(), session_on(server) as session:
        await session.select("INBOX")
        box = server.folders["INBOX"]
        box.deliver()
        await session.noop()
        after_first = session.clock.now()
        box.deliver()
        await session.noop()
        after_second = session.clock.now()
        assert session.news == 2
        old, *new = await session.fetch_headers(2)
        assert old.noticed > after_second  # nobody announced it
        assert new[0].noticed < after_first < new[1].noticed < after_second
        assert session.news == 0


async def test_searching() -> None:
    server = ImapServer(folders={"INBOX": stocked(5)})
    async with server.running(), session_on(server) as session:
        await session.select("INBOX")
        assert await session.search_from(4) == [4, 5]
        assert await session.search_from(6) == []
        assert await session.search_since(date(2026, 1, 2)) == [1, 2, 3, 4, 5]
    assert server.heard[-1].endswith(b"UID SEARCH SINCE 2-Jan-2026\r\n")


async def test_deleting_with_uidplus() -> None:
    server = ImapServer(folders={"INBOX": stocked(5)})
    server.folders["INBOX"].mails[0].deleted = True  # another client's
    assert await using(server, lambda session: session.delete([2, 3, 5])) is Removal.EXPUNGED
    assert [mail.uid for mail in server.folders["INBOX"].mails] == [1, 4]
    assert b"+FLAGS.SILENT (\\Deleted)" in server.heard[-2]
    assert server.heard[-1].endswith(b"UID EXPUNGE 2:3,5\r\n")


async def test_deleting_without_uidplus() -> None:
    server = ImapServer(folders={"INBOX": stocked(3)}, capabilities=NO_UIDPLUS)
    assert await using(server, lambda session: session.delete([2])) is Removal.EXPUNGED
    assert [mail.uid for mail in server.folders["INBOX"].mails] == [1, 3]


async def test_nothing_of_anybody_else_is_ever_expunged() -> None:
    server = ImapServer(folders={"INBOX": stocked(3)}, capabilities=NO_UIDPLUS)
    server.folders["INBOX"].mails[0].deleted = True
    assert await using(server, lambda session: session.delete([2])) is Removal.FLAGGED
    assert [mail.uid for mail in server.folders["INBOX"].mails] == [1, 2, 3]
    assert "expunge" not in server.commands()


async def test_deleting_where_it_is_not_allowed() -> None:
    server = ImapServer(folders={"INBOX": stocked(3)}, says={"uid store": b"%T NO [READ-ONLY] no\r\n"})
    assert await using(server, lambda session: session.delete([2])) is Removal.REFUSED
    assert "uid expunge" not in server.commands()


async def test_quota() -> None:
    assert await using(ImapServer(), lambda session: session.quota()) == 0.25
    assert await using(ImapServer(capabilities="IMAP4rev1"), lambda session: session.quota()) is None
    assert await using(ImapServer(says={"getquotaroot": b"%T NO no\r\n"}), lambda session: session.quota()) is None


@pytest.mark.parametrize("answer", [default, hang, close, reset, b"* BYE\r\n%T NO no\r\n"])
async def test_closing_never_fails(answer: Action) -> None:
    server = ImapServer(says={"logout": answer})
    async with server.running(), session_on(server) as session:
        session._connection.timeout = IMPATIENT
        await session.close()
        await session.close()
        async with asyncio.timeout(5):
            while session.alive:
                await asyncio.sleep(0)


# ---- what never hangs, and what is never misunderstood

COMMANDS: dict[str, Use] = {
    "list": lambda session: session.folders(),
    "select": lambda session: session.select("Junk"),
    "status": lambda session: session.status("Junk"),
    "noop": lambda session: session.noop(),
    "uid fetch": lambda session: session.fetch_headers(1),
    "uid search": lambda session: session.search_from(1),
    "uid store": lambda session: session.delete([1]),
    "uid expunge": lambda session: session.delete([1]),
    "getquotaroot": lambda session: session.quota(),
    "idle": lambda session: session.idle(3600, asyncio.Event()),
}
FAULTS: dict[str, tuple[Action, Reason]] = {
    "closed": (close, Reason.CONNECTION_LOST),
    "reset": (reset, Reason.CONNECTION_LOST),
    "never answered": (hang, Reason.TIMEOUT),
    "one octet at a time": (drip(b"* OK still here, and talking slowly", 0.01), Reason.TIMEOUT),
    "BYE": (b"* BYE Server shutting down.\r\n", Reason.CONNECTION_LOST),
    "BYE limit": (b"* BYE [LIMIT] x\r\n", Reason.THROTTLED),
    "wrong tag": (b"ZZZZ99 OK done\r\n", Reason.MALFORMED_REPLY),
    "no IMAP": (b"<html>\r\n", Reason.MALFORMED_REPLY),
    "no end of line": (b"x" * (1 << 20) + b"xx", Reason.REPLY_TOO_LONG),
    "literal shorter than announced": (b"* 1 FETCH (UID 1 BODY[HEADER]<0> {50}\r\nshort\r\n", Reason.TIMEOUT),
    "literal too long": (b"* 1 FETCH (UID 1 BODY[HEADER]<0> {99999999}\r\nshort\r\n", Reason.REPLY_TOO_LONG),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_every_command_ends_and_says_why(command: str, fault: str) -> None:
    if command == "select":
        says: dict[str, Action | list[Action]] = {"select": [default, FAULTS[fault][0]]}
    else:
        says = {command: FAULTS[fault][0]}
    reason = FAULTS[fault][1]
    # what fails at once must not have waited for a time-out: that one would be longer than the test may take
    timeout = IMPATIENT if reason is Reason.TIMEOUT else 3600.0
    why, alive = await failing(says, COMMANDS[command], timeout)
    assert why.stage in (Stage.SELECT, Stage.FETCH)
    assert why.reason is reason
    assert not alive


async def test_a_spent_session_says_so_at_once() -> None:
    async with ImapServer(says={"noop": close}).running() as server, session_on(server) as session:
        await session.select("INBOX")
        for _ in range(3):
            with pytest.raises(ProbeFailure) as caught:
                await session.noop()
            assert caught.value.reason is Reason.CONNECTION_LOST
    assert server.commands().count("noop") == 1


@pytest.mark.parametrize("bad", [b"* 1 FETCH (UID x)\r\n", b"* 1 FETCH (UID 1 BODY[HEADER] (\r\n"])
async def test_a_message_that_cannot_be_read_ends_the_session(bad: bytes) -> None:
    why, alive = await failing({"uid fetch": then(bad, default)}, lambda session: session.fetch_headers(1))
    assert why.reason is Reason.MALFORMED_REPLY
    assert not alive


async def test_ten_thousand_lines_in_one_segment() -> None:
    lines = b"".join(
        b"* %d FETCH (UID %d FLAGS (\\Seen) BODY[HEADER]<0> {3}\r\na: )\r\n" % (n, n) for n in range(1, 10_001)
    )
    server = ImapServer(says={"uid fetch": lines + b"%T OK done\r\n"})
    fetched = await using(server, lambda session: session.fetch_headers(1))
    assert len(fetched) == 10_000  # type: ignore[arg-type]


async def test_25_megabytes_without_an_end_of_line_are_not_waited_for() -> None:
    flood = then(*[b"x" * (1 << 20)] * 25, hang)
    why, alive = await failing({"noop": flood}, lambda session: session.noop(), 60)
    assert why.reason is Reason.REPLY_TOO_LONG
    assert not alive


async def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "COMMAND_LIMIT", 4 << 20)

    async def flood(talk: Talk) -> None:
        while True:
            await talk.send(b"* 1 FETCH (FLAGS ())\r\n" * 5_000)

    why, alive = await failing({"uid fetch": flood}, lambda session: session.fetch_headers(1), 60)
    assert why.reason is Reason.REPLY_TOO_LONG
    assert not alive


async def asking(command: str, session: Session) -> object:
    if command == "list":
        return await session.folders()
    return await (session.search_from(1) if command == "uid search" else session.fetch_headers(1))


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("uid search", b"* SEARCH" + b" 4294967295" * 90_000 + b"\r\n"),
        ("uid search", b"* SEARCH 1\r\n" * 7_000),
        ("uid fetch", b"* 1 FETCH (UID 1 BODY[HEADER] {0}\r\n)\r\n" * 7_000),
        ("list", b'* LIST () "/" "f"\r\n' * 7_000),
        ("list", b"* LIST " + b"(" * 900_000 + b"\r\n"),
    ],
    ids=["search", "searches", "fetch", "list", "deep"],
)
async def test_an_answer_that_would_take_long_to_read_is_not_read(command: str, line: bytes) -> None:
    why, alive = await failing({command: b"".join([line] * 3) + b"%T OK\r\n"}, lambda s: asking(command, s), 60)
    assert why.reason is Reason.REPLY_TOO_LONG
    assert not alive


async def test_a_uidvalidity_or_uid_beyond_32_bits_is_a_violation() -> None:
    says = b"* OK [UIDVALIDITY 4294967296]\r\n* OK [UIDNEXT 1]\r\n%T OK\r\n"
    async with ImapServer(says={"select": says}).running() as server, session_on(server) as session:
        with pytest.raises(ProbeFailure) as caught:
            await session.select("INBOX")
    assert caught.value.reason is Reason.MALFORMED_REPLY
    assert not session.alive


async def test_what_others_delete_during_a_command_is_none_of_its_answer() -> None:
    gone = b"* 1 EXPUNGE\r\n" * (protocol.RESPONSES_LIMIT + 1)
    says: dict[str, Action | list[Action]] = {"uid search": gone + b"* SEARCH 7\r\n%T OK\r\n"}
    async with ImapServer(says=says).running() as server, session_on(server) as session:
        await session.select("INBOX")
        assert await session.search_from(1) == [7]


async def test_lower_case_is_as_good() -> None:
    says: dict[str, Action | list[Action]] = {
        "noop": b"* 1 exists\r\n%T ok done\r\n",
        "uid search": b"* search 1\r\n%T Ok\r\n",
    }
    async with ImapServer(says=says).running() as server, session_on(server) as session:
        await session.select("INBOX")
        await session.noop()
        assert session.news == 1
        assert await session.search_from(1) == [1]


async def test_brackets_and_stars_within_strings_stay_there() -> None:
    answer = b'* LIST () "/" "* LIST (\\\\Junk) ( {5}"\r\n%T OK done\r\n'
    folders = await using(ImapServer(says={"list": answer}), lambda session: session.folders())
    assert folders == (Folder("* LIST (\\Junk) ( {5}"),)


async def test_a_cancelled_command_ends_the_session() -> None:
    reached = asyncio.Event()

    async def stall(talk: Talk) -> None:
        reached.set()
        await hang(talk)

    async with ImapServer(says={"noop": stall}).running() as server, session_on(server) as session:
        task = asyncio.ensure_future(session.noop())
        await asyncio.wait_for(reached.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(ProbeFailure):
            await session.noop()
        assert not session.alive


async def test_two_commands_at_a_time_are_a_bug_of_ours() -> None:
    async with ImapServer(says={"noop": hang}).running() as server, session_on(server) as session:
        waiting = asyncio.ensure_future(session.noop())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError):
            await session.folders()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.parametrize("result", ["NO", "BAD"])
@pytest.mark.parametrize("command", ["list", "select"])
async def test_let_in_and_refused_everything(command: str, result: str) -> None:
    """As Exchange does it; in a word that nobody reads."""
    answer = f"%T {result} User is authenticated but not connected.\r\n".encode()
    async with ImapServer(says={command: answer}).running() as server, session_on(server) as session:
        with pytest.raises(ProbeFailure) as caught:
            await (session.folders() if command == "list" else session.select("INBOX"))
    assert (caught.value.stage, caught.value.reason) == (Stage.SELECT, Reason.SERVER_REFUSED)
    assert "authenticated but not connected" in caught.value.detail
