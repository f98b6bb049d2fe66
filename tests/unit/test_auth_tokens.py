"""Tokens at hand: shared, renewed ahead of their end, tried again after a failure, in virtual time."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest
from support.clocks import VirtualClock, settle
from support.loops import both_loops

from mailprobe.auth import tokens as module
from mailprobe.auth.passwords import Secret
from mailprobe.auth.tokens import Fetched, Token, Tokens, TokenSource
from mailprobe.errors import NoCredential, Reason
from mailprobe.events import Event, TaskFailed, TokenRequested
from mailprobe.plan import OAuth2

pytestmark = both_loops

APP = OAuth2(token_url="https://idp.example.com/token", client_id="app")


class Provider:
    """An identity provider that gives token after token, unless it fails."""

    def __init__(self) -> None:
        self.asked = 0
        self.life: float | None = 3600.0
        self.failure: NoCredential | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Fetched:
        self.asked += 1
        await self.gate.wait()
        if self.failure:
            raise NoCredential(self.failure.reason, self.failure.detail, self.failure.retry_after)
        return Fetched(Secret(f"token-{self.asked}"), self.life)


class World:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.provider = Provider()
        self.events: list[Event] = []
        self.tokens = Tokens(self.clock, self.events.append, lambda oauth2, clock: self.provider)
        self.tasks: list[asyncio.Task[None]] = []

    def run(self, oauth2: OAuth2 = APP) -> TokenSource:
        source = self.tokens.source(oauth2, "sender/a")
        self.tasks.append(asyncio.create_task(source.run()))
        return source

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
async def world():  # type: ignore[no-untyped-def]
    made = World()
    yield made
    await made.end()


async def test_two_hundred_who_share_an_application_make_one_request(world: World) -> None:
    world.provider.gate.clear()
    equal = [OAuth2(token_url="https://idp.example.com/token", client_id="app") for _ in range(200)]
    asking = [asyncio.create_task(world.tokens.token_of(oauth2)) for oauth2 in equal]
    await settle()
    world.provider.gate.set()
    got = await asyncio.gather(*asking)
    assert world.provider.asked == 1
    assert {token.reveal() for token in got} == {"token-1"}


async def test_who_gives_up_waiting_does_not_leave_the_others_without(world: World) -> None:
    world.provider.gate.clear()
    first = asyncio.create_task(world.tokens.token_of(APP))
    second = asyncio.create_task(world.tokens.token_of(APP))
    await settle()
    first.cancel()
    await settle()
    world.provider.gate.set()
    assert (await second).reveal() == "token-2"


async def test_it_is_renewed_before_its_end_and_nobody_waits(world: World) -> None:
    source = world.run()
    await settle()
    assert world.provider.asked == 1
    await world.clock.advance(3600 - 1.5 * module.MARGIN - 1)
    assert world.provider.asked == 1
    world.provider.gate.clear()
    await world.clock.advance(0.5 * module.MARGIN + 1)
    assert world.provider.asked == 2
    assert (await source.token()).reveal() == "token-1"  # at once, while another one is being fetched
    world.provider.gate.set()
    await settle()
    assert (await source.token()).reveal() == "token-2"


async def test_a_short_life(world: World) -> None:
    world.provider.life = 60.0
    source = world.run()
    await world.clock.advance(3600)
    assert 3600 / 60 <= world.provider.asked <= 3600 / 40
    assert not (await source.token()).outlived


@pytest.mark.parametrize("life", [1e-3, 1.0, 20.0, 35.0])
async def test_a_token_that_hardly_lives_is_not_fetched_without_pause(world: World, life: float) -> None:
    world.provider.life = life
    source = world.run()
    for _ in range(360):
        await world.clock.advance(10)
        assert (await source.token()).reveal() == f"token-{world.provider.asked}"
    assert 3600 / 40 <= world.provider.asked <= 3600 / module.REST + 1


@pytest.mark.parametrize("life", [None, 1e9])
async def test_a_life_that_is_not_said_or_not_to_be_believed(world: World, life: float | None) -> None:
    world.provider.life = life
    world.run()
    await world.clock.advance(module.ASSUMED_LIFE if life is None else module.LONGEST_LIFE)
    assert world.provider.asked == 2


async def test_a_wrong_wall_clock_changes_nothing(world: World) -> None:
    source = world.run()
    await settle()
    world.clock._offset += 600
    assert (await source.token()).reveal() == "token-1"
    world.clock._offset -= 1200
    assert not (await source.token()).outlived


async def test_a_token_at_hand_is_used_while_there_is_no_new_one(world: World) -> None:
    source = world.run()
    await settle()
    world.provider.failure = NoCredential(Reason.AUTH_UNAVAILABLE, "down")
    await world.clock.advance(3600 - module.LAST - 1)
    assert world.provider.asked > 3
    assert (await source.token()).reveal() == "token-1"
    await world.clock.advance(module.LAST)
    with pytest.raises(NoCredential, match="down"):
        await source.token()
    world.provider.failure = None
    await world.clock.advance(module.LONGEST_PAUSE)
    assert (await source.token()).reveal().startswith("token-")


async def test_a_failure_is_everybodys_until_it_is_time_to_ask_again(world: World) -> None:
    world.provider.failure = NoCredential(Reason.AUTH_UNAVAILABLE, "down")
    for _ in range(50):
        with pytest.raises(NoCredential):
            await world.tokens.token_of(APP)
    assert world.provider.asked == 1
    await world.clock.advance(2.0)
    with pytest.raises(NoCredential):
        await world.tokens.token_of(APP)
    assert world.provider.asked == 2


async def test_nobody_waits_while_it_is_asked_again(world: World) -> None:
    world.provider.failure = NoCredential(Reason.AUTH_UNAVAILABLE, "down")
    source = world.run()
    await settle()
    world.provider.gate.clear()
    await world.clock.advance(2.0)
    assert world.provider.asked == 2  # and not answered
    with pytest.raises(NoCredential, match="down"):
        await source.token()
    world.provider.failure = None
    world.provider.gate.set()
    await settle()
    assert (await source.token()).reveal() == "token-2"


@pytest.mark.parametrize(
    ("reason", "retry_after", "least", "most"),
    [
        (Reason.AUTH_UNAVAILABLE, 0.0, 3600 / module.LONGEST_PAUSE, 3600 / module.LONGEST_PAUSE * 2 + 8),
        (Reason.AUTH_REJECTED, 0.0, 3600 / module.LONGEST_PAUSE, 3600 / module.LONGEST_PAUSE * 2 + 4),
        (Reason.THROTTLED, 600.0, 5, 7),
        (Reason.THROTTLED, 1e9, 1, 2),
    ],
)
async def test_back_off(world: World, reason: Reason, retry_after: float, least: float, most: float) -> None:
    world.provider.failure = NoCredential(reason, "no", retry_after)
    world.run()
    await world.clock.advance(3600)
    assert least <= world.provider.asked <= most


async def test_a_bug_is_a_failure_as_any_other(world: World, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Provider):
        quoted = "1234567.5"

        async def __call__(self) -> Fetched:
            self.asked += 1
            raise TypeError(self.quoted)

    world.provider = Broken()
    source = world.run()
    await world.clock.advance(3600)
    assert 3600 / module.LONGEST_PAUSE <= world.provider.asked <= 3600 / module.LONGEST_PAUSE * 2 + 8
    asked = world.provider.asked
    await source.ready()
    with pytest.raises(NoCredential, match="mailprobe's: TypeError") as caught:
        await source.token()
    assert world.provider.asked == asked
    assert caught.value.reason is Reason.AUTH_UNAVAILABLE
    failures = [event.failure for event in world.events if isinstance(event, TokenRequested)]
    assert len(failures) == len([event for event in world.events if isinstance(event, TaskFailed)]) == asked
    assert "in __call__" in caplog.text
    assert "1234567.5" not in f"{caplog.text} {failures}"


async def test_a_reload_asks_at_once_if_asking_failed_and_keeps_what_is_good(world: World) -> None:
    other = OAuth2(token_url="https://other.example.com/token")
    world.provider.failure = NoCredential(Reason.AUTH_REJECTED, "secret expired")
    world.run()
    await settle()
    assert world.provider.asked == 1
    world.provider.failure = None
    world.tokens.keep([(APP, "sender/a"), (other, "mailbox/b")])
    await settle()
    assert (await world.tokens.token_of(APP)).reveal() == "token-2"
    kept = world.tokens.keep([(APP, "mailbox/c"), (APP, "sender/a")])
    assert [source.label for source in kept.values()] == ["mailbox/c"]
    assert (await world.tokens.token_of(APP)).reveal() == "token-2"


async def test_a_refused_token_is_renewed_but_not_once_for_each_who_is_refused(world: World) -> None:
    source = world.run()
    await settle()
    for _ in range(200):
        assert (await source.token()).refused() is Reason.AUTH_REJECTED
    await settle()
    assert world.provider.asked == 1  # it is new: another one would not be let in either
    await world.clock.advance(module.REFUSED_AFTER)
    for _ in range(200):
        (await source.token()).refused()
    await settle()
    assert world.provider.asked == 2


async def test_expired_or_wrong(world: World) -> None:
    token = await world.tokens.token_of(APP)
    assert token.refused() is Reason.AUTH_REJECTED
    await world.clock.advance(3600)
    assert token.refused() is Reason.TOKEN_EXPIRED


async def test_what_is_told_of_a_request(world: World) -> None:
    await world.tokens.source(APP, "sender/a").ready()
    world.provider.failure = NoCredential(Reason.AUTH_UNAVAILABLE, "down")
    await world.clock.advance(3600)
    await world.tokens.source(APP).ready()
    good, bad = world.events
    assert isinstance(good, TokenRequested)
    assert isinstance(bad, TokenRequested)
    assert (good.source, good.failure, good.ends) == ("sender/a", None, 1000.0 + 3600)
    assert bad.failure
    assert bad.failure.detail == "down"
    assert bad.ends is None


def jwt(expires: float) -> str:
    def encoded(part: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()

    return f"{encoded({'alg': 'none'})}.{encoded({'exp': expires})}.c2lnbmF0dXJl"


async def test_a_file(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailprobe.auth.passwords.FRESH_SECONDS", 0.0)
    file = tmp_path / "token"
    oauth2 = OAuth2(token_file=file)
    with pytest.raises(NoCredential, match="the token cannot be read"):
        await world.tokens.token_of(oauth2)
    file.write_text(jwt(world.clock.wall() + 60) + "\n")
    token = await world.tokens.token_of(oauth2)
    assert token is await world.tokens.token_of(oauth2)
    assert not token.outlived
    await world.clock.advance(60)
    assert token.outlived
    file.write_text("an opaque one is none\n")
    with pytest.raises(NoCredential, match="is not a bearer token") as caught:
        await world.tokens.token_of(oauth2)
    assert "opaque" not in str(caught.value)
    file.write_text("opaque-one\n")
    assert not (await world.tokens.token_of(oauth2)).outlived
    assert not world.tokens.source(oauth2).is_asked


def test_a_token_shows_itself_to_nobody() -> None:
    token = Token("hunter2-hunter2-hunter2", lambda: False)
    assert f"{token} {token!r} {token.scrub('hunter2-hunter2-hunter2')}" == "*** *** ***"
    assert token.scrub is token.scrub


def test_a_scrubber_of_a_long_token_finds_any_part_of_it_and_leaves_words_alone() -> None:
    text = base64.b64encode(bytes(range(256)) * 8).decode()
    scrub = Token(text, lambda: False).scrub
    assert scrub("250 2.0.0 Ok: queued as 4bXyZ01AbCdEf") != "***"
    for at in range(0, len(text) - 23, 101):
        assert scrub(f"no: {text[at : at + 23]}") == "***"
    again = base64.b64encode(f"user=a\x01auth=Bearer {text}".encode()).decode()
    assert scrub(again[200:240]) == "***"
