"""A status feed over real sockets: asked politely, believed only where it makes sense, bounded whatever it does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.feed_samples import FeedSample
from support.feed_server import MEBIBYTE, FeedServer, Say
from support.loops import both_loops

from mailprobe.auth.tokens import Token, TokenOf, Tokens, no_tokens
from mailprobe.clock import SystemClock
from mailprobe.config.feeds import GRAPH_SCOPE
from mailprobe.errors import NoCredential, Reason
from mailprobe.events import Event, FeedsChanged, VendorStatusSeen
from mailprobe.feeds.crew import Feeds
from mailprobe.feeds.fetch import LARGEST, REDIRECTS, USER_AGENT
from mailprobe.feeds.poller import FIRST_PAUSE, LONGEST_PAUSE, Poller
from mailprobe.lab.certificates import Authority
from mailprobe.net.resolve import Resolver
from mailprobe.plan import FeedKind, OAuth2, SecretReference, StatusFeed
from mailprobe.probe.supervisor import Supervisor
from mailprobe.vendor import VendorState, VendorStatus

pytestmark = [both_loops, pytest.mark.usefixtures("nothing_blocks")]

TOKEN, SECRET = "eyJ-hunter2", "correct-horse"
WHO = OAuth2(token_url="https://login.example.com/token", client_id="id")
UNREACHABLE, OK = VendorState.UNREACHABLE, VendorState.OK
EMPTY = Say(b"[]")


class Place:
    """Certificates of one authority, and another one that has nothing to do with it."""

    def __init__(self, directory: Path) -> None:
        authority = Authority(directory)
        self.ca_file = authority.ca_file
        self.feed, self.wrong = authority.issue("feed"), authority.issue("wrong", ("status.example.com",))
        (directory / "stranger").mkdir()
        self.stranger = Authority(directory / "stranger").ca_file


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("feeds"))


@pytest.fixture
def server(place: Place) -> Iterator[FeedServer]:
    with FeedServer(place.feed) as feed:
        yield feed


class Reader:
    """A poller of one feed, and what it published."""

    def __init__(self, feed: StatusFeed, token_of: TokenOf = no_tokens) -> None:
        self.seen: list[VendorStatus] = []
        self.poller = Poller(feed, SystemClock(), self._note, Resolver(), token_of=token_of)

    def _note(self, event: Event) -> None:
        assert isinstance(event, VendorStatusSeen)
        self.seen.append(event.status)

    async def look(self) -> VendorStatus:
        self.pause = await self.poller.poll()
        return self.seen[-1]


def feed_at(server: FeedServer, place: Place, kind: FeedKind = FeedKind.GOOGLE_WORKSPACE) -> StatusFeed:
    url = server.url + ("" if kind is FeedKind.STATUSPAGE else "/feed")
    return StatusFeed("vendor", kind, url, 300.0, 20.0, ca_file=place.ca_file)


def sample(name: str, **headers: str) -> Say:
    return Say(FeedSample(name).content, headers={name.replace("_", "-"): value for name, value in headers.items()})


# ---- good manners


async def test_a_page_is_read_and_told_who_asks(server: FeedServer, place: Place) -> None:
    server.answers["/api/v2/summary.json"] = sample("statuspage-open")
    server.answers["/api/v2/incidents.json"] = sample("statuspage-resolved")
    reader = Reader(feed_at(server, place, FeedKind.STATUSPAGE))
    status = await reader.look()
    assert status.state is VendorState.DEGRADED
    assert [each.id for each in status.incidents] == ["p31zjtct2jer", "x0ljvc9m1wxj", "kd83lsm2"]
    assert 270 <= reader.pause <= 330
    for asked in server.asked:
        assert asked.headers["User-Agent"] == USER_AGENT
        assert "mailprobe/" in USER_AGENT
        assert not {"Authorization", "Cookie", "If-None-Match"} & asked.headers.keys()


@pytest.mark.parametrize(
    ("name", "has", "knows"), [("etag", "ETag", "If-None-Match"), ("last", "Last-Modified", "If-Modified-Since")]
)
async def test_what_has_not_changed_is_not_sent_again(
    server: FeedServer, place: Place, name: str, has: str, knows: str
) -> None:
    content = FeedSample("google-open").content
    server.answers["/feed"] = Say(content, headers={has: f'"{name}1"', "Set-Cookie": "a=b"})
    reader = Reader(feed_at(server, place))
    first = await reader.look()
    sent = server.sent
    assert await reader.look() == first
    assert server.sent == sent
    assert server.asked[-1].headers[knows] == f'"{name}1"'
    assert "Cookie" not in server.asked[-1].headers
    server.answers["/feed"] = Say(b"[]", headers={has: f'"{name}2"'})
    assert await reader.look() == VendorStatus(OK)
    await reader.look()
    assert server.asked[-1].headers[knows] == f'"{name}2"'


async def test_what_could_not_be_read_is_asked_for_whole(server: FeedServer, place: Place) -> None:
    server.answers["/feed"] = sample("google-garbage", ETag='"1"')
    reader = Reader(feed_at(server, place))
    assert (await reader.look()).detail == "not JSON"
    assert (await reader.look()).detail == "not JSON"
    assert "If-None-Match" not in server.asked[-1].headers


async def test_a_server_that_asks_for_a_pause_gets_it(server: FeedServer, place: Place) -> None:
    reader = Reader(feed_at(server, place))
    for status, asks in ((429, "1200"), (503, "3000"), (429, "99999999")):
        server.answers["/feed"] = Say(b"slow down", status, {"Retry-After": asks})
        assert await reader.look() == VendorStatus(UNREACHABLE, detail=f"HTTP status {status}")
        assert reader.pause == min(float(asks), 3600.0)


async def test_pauses_after_failures_grow_and_success_ends_them(server: FeedServer, place: Place) -> None:
    server.answers["/feed"] = Say(b"", 500, {"Retry-After": "0"})
    reader = Reader(feed_at(server, place))
    for number in range(9):
        assert await reader.look() == VendorStatus(UNREACHABLE, detail="HTTP status 500")
        expected = min(FIRST_PAUSE * 2**number, LONGEST_PAUSE)
        assert expected / 2 <= reader.pause <= expected
    server.answers["/feed"] = EMPTY
    assert (await reader.look()).state is OK
    server.answers["/feed"] = Say(b"", 500)
    await reader.look()
    assert reader.pause <= FIRST_PAUSE


# ---- where it leads


async def test_a_redirect_is_followed(server: FeedServer, place: Place) -> None:
    server.answers["/feed"] = Say(b"", 302, {"Location": "elsewhere"})
    server.answers["/elsewhere"] = EMPTY
    assert (await Reader(feed_at(server, place)).look()).state is OK


async def test_endless_redirects_end(server: FeedServer, place: Place) -> None:
    server.answers["/feed"] = Say(b"", 301, {"Location": "/feed"})
    status = await Reader(feed_at(server, place)).look()
    assert status == VendorStatus(UNREACHABLE, detail=f"more than {REDIRECTS} redirects")
    assert len(server.asked) == REDIRECTS + 1


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("http://a:b@127.0.0.1/feed?c=d", "led to an address without TLS: http://127.0.0.1"),
        ("file:///etc/passwd", "led to what is no web address: file://"),
        ("https://:443/", "led to what is no web address: https://"),
        ("https://[", "a redirect to what is no address"),
        ("https://a:b/", "led to what is no address"),
        ("", "a redirect to nowhere"),
    ],
)
async def test_a_redirect_that_leads_nowhere_good(server: FeedServer, place: Place, location: str, said: str) -> None:
    server.answers["/feed"] = Say(b"", 302, {"Location": location})
    assert await Reader(feed_at(server, place)).look() == VendorStatus(UNREACHABLE, detail=said)


async def test_http_is_read_only_where_it_was_said(place: Place) -> None:
    with FeedServer() as server:
        server.answers["/feed"] = EMPTY
        feed = feed_at(server, place)
        assert (await Reader(feed).look()).detail == "led to an address without TLS: http://127.0.0.1"
        assert server.asked == []
        assert (await Reader(replace(feed, plaintext=True)).look()).state is OK


async def test_a_token_goes_to_its_server_and_to_nobody_else(
    server: FeedServer, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    refused: list[Token] = []

    async def token_of(oauth2: OAuth2) -> Token:
        assert oauth2 is WHO
        return Token(TOKEN, lambda: False, refused.append)

    with FeedServer(place.feed) as other:
        server.answers["/feed"] = Say(b"", 307, {"Location": f"{other.url}/feed"})
        reader = Reader(replace(feed_at(server, place, FeedKind.MICROSOFT_GRAPH), oauth2=WHO), token_of)
        await reader.look()
        other.answers["/feed"] = sample("graph-open-backdated")
        assert (await reader.look()).state is VendorState.OUTAGE
        assert {asked.headers["Authorization"] for asked in server.asked} == {f"Bearer {TOKEN}"}
        assert not any("Authorization" in asked.headers for asked in other.asked)
    assert refused == []
    server.answers["/feed"] = Say(b"", 401)
    assert (await reader.look()).detail == "HTTP status 401"
    assert len(refused) == 1
    assert TOKEN not in repr(reader.seen) + caplog.text


LONG = "eyJ0eXAiOiJKV1Qi.hunter2-hunter2.c2lnbmF0dXJlLW9mLWl0"
ISSUE = FeedSample("graph-open-backdated").content


@pytest.mark.parametrize(
    "say",
    [
        Say(ISSUE.replace(b"Some messages", LONG.encode())),
        Say(ISSUE.replace(b"EX1221200", LONG.encode())),
        Say(b'{"error": {"code": "Authorization", "message": "Bearer %s"}}' % LONG.encode()),
        Say(b'{"error": "%s"}' % LONG.encode().hex().encode()),
        Say(b"", headers={f"Authorization {LONG}": "x"}),
        Say(b"", headers={"Content-Length": LONG}, length=False),
        Say(b"", headers={"Transfer-Encoding": LONG}, length=False),
        Say(b"", 302, {"Location": f"http://{LONG}/"}),
        Say(b"", 302, {"Location": f"https://{LONG}.invalid/?{LONG}"}),
        Say(b"", 302, {"Location": f"{LONG[-12:]}:{LONG}"}),
        Say(b"", 302, {"Location": f"https://[{LONG}"}),
    ],
)
async def test_a_server_that_repeats_the_token_is_not_quoted(
    server: FeedServer, place: Place, caplog: pytest.LogCaptureFixture, say: Say
) -> None:
    caplog.set_level(logging.DEBUG)

    async def token_of(oauth2: OAuth2) -> Token:
        return Token(LONG, lambda: False)

    server.answers["/feed"] = say
    feed = replace(feed_at(server, place, FeedKind.MICROSOFT_GRAPH), oauth2=WHO, timeout=5.0)
    status = await Reader(feed, token_of).look()
    assert status.detail or len(status.incidents) == 2
    told = f"{status} {caplog.text}".casefold()
    assert not any(LONG[at : at + 16].casefold() in told for at in range(len(LONG) - 15))
    assert LONG.encode().hex() not in told


async def test_a_tenant_is_asked_with_a_token_from_its_endpoint(
    server: FeedServer, place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("GRAPH_SECRET", SECRET)
    server.answers["/token"] = Say(
        b'{"token_type": "Bearer", "expires_in": 3599, "access_token": "%s"}' % TOKEN.encode()
    )
    server.answers["/feed"] = sample("graph-good")
    oauth2 = OAuth2(
        token_url=f"{server.url}/token",
        client_id="id",
        client_secret=SecretReference(env="GRAPH_SECRET"),
        scope=GRAPH_SCOPE,
        ca_file=place.ca_file,
    )
    tokens = Tokens(SystemClock(), lambda event: None)
    reader = Reader(replace(feed_at(server, place, FeedKind.MICROSOFT_GRAPH), oauth2=oauth2), tokens.token_of)
    assert [(await reader.look()).state for _ in range(2)] == [VendorState.DEGRADED] * 2
    assert [asked.path for asked in server.asked] == ["/token", "/feed", "/feed"]
    assert server.asked[-1].headers["Authorization"] == f"Bearer {TOKEN}"
    revoked = Say(b'{"error": "invalid_client", "error_description": "AADSTS7000215"}', 401)
    server.answers["/token"] = revoked
    tokens = Tokens(SystemClock(), lambda event: None)
    reader = Reader(replace(feed_at(server, place, FeedKind.MICROSOFT_GRAPH), oauth2=oauth2), tokens.token_of)
    status = await reader.look()
    assert status.state is UNREACHABLE
    assert status.detail.startswith("auth_rejected")
    assert SECRET not in repr(reader.seen) + caplog.text
    assert TOKEN not in repr(reader.seen) + caplog.text


async def test_without_a_token_nobody_is_asked(server: FeedServer, place: Place) -> None:
    async def token_of(oauth2: OAuth2) -> Token:
        raise NoCredential(Reason.AUTH_UNAVAILABLE, "the identity provider is down", 1800.0)

    reader = Reader(replace(feed_at(server, place, FeedKind.MICROSOFT_GRAPH), oauth2=WHO), token_of)
    assert await reader.look() == VendorStatus(UNREACHABLE, detail="auth_unavailable: the identity provider is down")
    assert reader.pause == 1800.0
    assert server.asked == []


# ---- bad input


@pytest.mark.parametrize("length", [True, False], ids=["length said", "length not said"])
async def test_a_feed_of_50_mb_is_refused_early(server: FeedServer, place: Place, length: bool) -> None:
    server.answers["/feed"] = Say(b"x" * MEBIBYTE, times=50, length=length)
    status = await Reader(feed_at(server, place)).look()
    assert status == VendorStatus(UNREACHABLE, detail=f"more than {LARGEST // MEBIBYTE} MiB")
    assert server.sent < 50 * MEBIBYTE


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (FeedKind.STATUSPAGE, "statuspage-html-with-200"),
        (FeedKind.MICROSOFT_GRAPH, "graph-error-in-200"),
        (FeedKind.GOOGLE_WORKSPACE, "google-garbage"),
        (FeedKind.RSS, "rss-entities"),
    ],
)
async def test_what_is_no_feed_is_named(server: FeedServer, place: Place, kind: FeedKind, name: str) -> None:
    for path in ("/feed", "/api/v2/summary.json"):
        server.answers[path] = sample(name)
    status = await Reader(feed_at(server, place, kind)).look()
    assert status == VendorStatus(UNREACHABLE, detail=FeedSample(name).facts["wrong"])


async def test_a_304_that_nobody_asked_for(server: FeedServer, place: Place) -> None:
    server.answers["/feed"] = Say(status=304)
    assert (await Reader(feed_at(server, place)).look()).detail.startswith("not changed, it says")


async def test_a_server_that_says_nothing(server: FeedServer, place: Place) -> None:
    server.answers["/feed"] = Say(stalls=True)
    status = await Reader(replace(feed_at(server, place), timeout=0.3)).look()
    assert status == VendorStatus(UNREACHABLE, detail="no answer within 0.3 s")


async def test_a_server_that_ends_in_the_middle(server: FeedServer, place: Place) -> None:
    server.answers["/feed"] = Say(b"[]", headers={"Content-Length": "1000"}, length=False)
    assert (await Reader(feed_at(server, place)).look()).state is UNREACHABLE


async def test_a_server_that_speaks_something_else(place: Place) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
        feed = StatusFeed("vendor", FeedKind.RSS, url, 300.0, 20.0, plaintext=True)
        status = await Reader(feed).look()
        assert status.state is UNREACHABLE
        assert status.detail
        secure = replace(feed, url=url.replace("http", "https"))
        assert (await Reader(secure).look()).detail.startswith("tls: wrong_tls_mode")


async def test_a_server_that_cannot_be_trusted(server: FeedServer, place: Place) -> None:
    server.answers["/feed"] = EMPTY
    feed = replace(feed_at(server, place), ca_file=place.stranger)
    assert (await Reader(feed).look()).detail.startswith("tls: certificate_untrusted")
    with FeedServer(place.wrong) as other:
        assert (await Reader(feed_at(other, place)).look()).detail.startswith("tls: certificate_name")
    assert (await Reader(feed_at(other, place)).look()).detail.startswith("tls: connection_refused")


# ---- all of them


async def test_feeds_are_begun_and_ended_as_the_plan_says(server: FeedServer, place: Place) -> None:
    server.answers["/feed"] = EMPTY
    events: list[Event] = []
    looked = asyncio.Event()

    def note(event: Event) -> None:
        events.append(event)
        if isinstance(event, VendorStatusSeen):
            looked.set()

    one = replace(feed_at(server, place), name="one", mailboxes=("box",), senders=("out",))
    two = StatusFeed("two", FeedKind.MICROSOFT_GRAPH, f"{server.url}/graph", 300.0, 20.0, oauth2=WHO)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        supervisor = Supervisor(group, SystemClock(), note)
        feeds = Feeds(supervisor, SystemClock(), note)
        await feeds.apply({"one": one})
        assert events[0] == FeedsChanged((("one", ("box",), ("out",)),))
        await looked.wait()
        looked.clear()
        await feeds.apply({"one": one, "two": two})
        assert supervisor.names == {"feed:one", "feed:two"}
        await looked.wait()
        seen = [event for event in events if isinstance(event, VendorStatusSeen)]
        assert [(event.feed, event.status.state) for event in seen] == [("one", OK), ("two", UNREACHABLE)]
        looked.clear()
        await feeds.apply({"one": replace(one, interval=400.0)})
        await looked.wait()
        assert supervisor.names == {"feed:one"}
        assert len(server.asked) == 2, "the feed that changed was asked again, and only that"
        supervisor.cancel_all()
