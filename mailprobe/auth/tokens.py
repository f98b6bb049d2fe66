"""Bearer tokens: at hand when they are needed, shared by all who need the same one, renewed before they end.

    tokens = Tokens(clock, publish)                 # one for each agent
    source = tokens.source(OAuth2(token_url=..., client_id=..., client_secret=..., scope=...), "feed/microsoft")
    secret = await source.token()                   # raises NoCredential

Equal `OAuth2` mean the same source. Whoever asks while a token is at hand does not wait; whoever asks while one is
being fetched waits for that one. How long a token lives is counted on the monotonic clock from when it was asked for,
so that a wrong wall clock changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mailprobe.auth.bearer import checked_token, expiry_of
from mailprobe.auth.giveaways import TOKEN_FRAGMENT, Scrubber, token_giveaways
from mailprobe.auth.passwords import Secret, shared_secret
from mailprobe.backoff import Backoff
from mailprobe.clock import Clock
from mailprobe.errors import NoCredential, Reason
from mailprobe.events import Publish, TaskFailed, TokenRequested
from mailprobe.plan import Login, OAuth2, SecretReference

LOG: Final = logging.getLogger(__name__)

MARGIN: Final = 300.0
"""Seconds before its end at which a token is renewed, and up to half as many more; a fifth of its life if less."""
LAST: Final = 30.0
"""Seconds before its end from which on a token is not used any more; a tenth of its life if that is less."""
ASSUMED_LIFE: Final = 300.0
"""Seconds for which a token is taken to live of which nobody says how long. Source: RFC 6749 5.1, RECOMMENDED."""
LONGEST_LIFE: Final = 86400.0
REST: Final = 30.0
"""Seconds at least between a token and the next one, however short its life is said to be; so long it is used."""
REFUSED_AFTER: Final = 300.0
"""Seconds that a token must be old for a server's refusal to be taken for its end, and not for ours."""
REJECTED_PAUSE: Final = 30.0
"""Seconds at least until an identity provider that said no is asked again."""
LONGEST_PAUSE: Final = 120.0
LONGEST_RETRY_AFTER: Final = 3600.0
"""Seconds for which an identity provider can keep us from asking again."""


class Token(Secret):
    """A bearer token. `scrub` hides what a server repeats of it."""

    __slots__ = ("_outlived", "_refused", "_scrub")

    def __init__(
        self, text: str, outlived: Callable[[], bool], refused: Callable[[Token], None] = lambda token: None
    ) -> None:
        super().__init__(text)
        self._outlived = outlived
        self._refused = refused
        self._scrub: Scrubber | None = None

    @property
    def scrub(self) -> Scrubber:
        """Made when it is first asked for, and once: a token is some thousand octets."""
        if self._scrub is None:
            self._scrub = Scrubber(token_giveaways(self.reveal()), TOKEN_FRAGMENT)
        return self._scrub

    @property
    def outlived(self) -> bool:
        """Whether its time is over, as far as is known here."""
        return self._outlived()

    def refused(self) -> Reason:
        """A server did not take it; answers what that means, and lets its source know."""
        self._refused(self)
        return Reason.TOKEN_EXPIRED if self.outlived else Reason.AUTH_REJECTED


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a source gave: a token, and for how many seconds it is good, None if nobody said."""

    text: Secret
    life: float | None = None


Fetch = Callable[[], Awaitable[Fetched]]
"""Gets one new token; bounded in time. Raises NoCredential."""


class TokenSource:
    """One source of tokens. `label` says which it is, in metrics and logs."""

    is_asked = True
    """Whether somebody has to be asked for a token; not where it simply lies in a file."""

    def __init__(self, label: str) -> None:
        self.label = label

    async def token(self) -> Token:
        """A token that is good now. Raises NoCredential: auth_unavailable, auth_rejected, token_expired, throttled."""
        raise NotImplementedError

    async def ready(self) -> None:
        """Returns when a token is at hand, or cannot be had now."""
        with suppress(NoCredential):
            await self.token()

    async def run(self) -> None:
        """Keeps a token at hand, for ever."""
        raise NotImplementedError

    def hurry(self) -> None:
        """The configuration was read again: whatever kept us from getting a token may be mended."""


class TokenFile(TokenSource):
    """A token that somebody else keeps fresh in a file. A JWT says itself when it ends, by its issuer's clock."""

    is_asked = False

    def __init__(self, label: str, file: Path, clock: Clock) -> None:
        super().__init__(label)
        self._reference = SecretReference(file=file)
        self._clock = clock
        self._last: Token | None = None

    async def token(self) -> Token:
        """What the file holds; a new one is seen within a few seconds."""
        text = (await shared_secret(self._reference, "token")).reveal().strip()
        if self._last is None or self._last.reveal() != text:
            self._last = self._made(checked_token(text, f"in {self._reference}"))
        return self._last

    def _made(self, text: str) -> Token:
        expiry = expiry_of(text)
        return Token(text, lambda: expiry is not None and self._clock.wall() >= expiry)


class RenewedToken(TokenSource):
    """A token that is fetched, and fetched again before it ends: in the background, where `run` runs."""

    def __init__(self, label: str, fetch: Fetch, clock: Clock, publish: Publish) -> None:
        super().__init__(label)
        self._fetch = fetch
        self._clock = clock
        self._publish = publish
        self._token: Token | None = None
        self._fetched = self._ends = self._due = float("-inf")
        self._failure: NoCredential | None = None
        self._backoff = Backoff(2.0, LONGEST_PAUSE)
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()

    async def token(self) -> Token:
        """As the base class says; a failure is the same for everybody until it is time to ask again."""
        if self._token and self._clock.now() < self._ends:
            return self._token
        # who is asking again has not been answered yet: what it came to last time still holds
        if self._failure and (self._lock.locked() or self._clock.now() < self._due):
            raise NoCredential(self._failure.reason, self._failure.detail)
        async with self._lock:
            if self._token is None or self._clock.now() >= self._ends:
                if self._failure and self._clock.now() < self._due:  # since somebody has asked in the meantime
                    raise NoCredential(self._failure.reason, self._failure.detail)
                await self._renew()
            assert self._token is not None
            return self._token

    async def run(self) -> None:
        """Renews a token before it ends, and tries again what failed."""
        while True:
            await self._wait()
            async with self._lock:
                if self._clock.now() >= self._due:
                    with suppress(NoCredential):
                        await self._renew()

    async def _wait(self) -> None:
        self._wake.clear()
        if self._clock.now() < self._due:
            with suppress(TimeoutError):
                async with self._clock.timeout_at(self._due):
                    await self._wake.wait()

    def hurry(self) -> None:
        """Asks again now if asking failed."""
        if self._failure:
            self._backoff.reset()
            self._ask_now()

    def _ask_now(self) -> None:
        self._due = self._clock.now()
        self._wake.set()

    async def _renew(self) -> None:
        begun = self._clock.now()
        try:
            fetched = await self._fetch()
        except NoCredential as failure:
            self._failed(failure, begun)
            raise
        except Exception as error:
            bug = self._bug(error)
            self._failed(bug, begun)
            raise bug from None
        life = min(fetched.life or ASSUMED_LIFE, LONGEST_LIFE)
        ends = begun + life
        self._token = Token(fetched.text.reveal(), lambda: self._clock.now() >= ends, self._refused)
        self._failure = None
        self._backoff.reset()
        # spread, so that the tokens of many mailboxes that were fetched together are not renewed together
        early = min(MARGIN, life / 5) * random.uniform(1.0, 1.5)  # noqa: S311 - spreads load
        self._fetched, self._due = begun, max(ends - early, begun + REST)
        self._ends = max(ends - min(LAST, life / 10), self._due)
        self._publish(TokenRequested(self.label, self._clock.now(), self._clock.now() - begun, ends))

    def _bug(self, error: Exception) -> NoCredential:
        """What is no fact about the world: reported, and logged without its text, which could quote a secret."""
        kind, where = type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
        LOG.error("no token for %s, a bug or a limit of mailprobe's: %s\n%s", self.label, kind, where)
        self._publish(TaskFailed("token", error))
        return NoCredential(Reason.AUTH_UNAVAILABLE, f"a bug or a limit of mailprobe's: {kind}; see the log")

    def _failed(self, failure: NoCredential, begun: float) -> None:
        now = self._clock.now()
        slow = failure.reason is not Reason.AUTH_UNAVAILABLE
        asked = min(failure.retry_after, LONGEST_RETRY_AFTER)
        self._failure = failure
        self._due = now + max(self._backoff.pause(), REJECTED_PAUSE if slow else 0.0, asked)
        self._publish(TokenRequested(self.label, now, now - begun, failure=failure))

    def _refused(self, token: Token) -> None:
        """Revoked, perhaps: another one is fetched, but not for each of many who may not log in with a good one."""
        if token is self._token and self._clock.now() - self._fetched >= REFUSED_AFTER and not self._failure:
            self._ask_now()


class Tokens:
    """All sources of one agent. They outlive a reload if they are needed after it."""

    def __init__(
        self, clock: Clock, publish: Publish, fetch_of: Callable[[OAuth2, Clock], Fetch] | None = None
    ) -> None:
        self._clock = clock
        self._publish = publish
        self._fetch_of = fetch_of or _fetch_of
        self._sources: dict[OAuth2, TokenSource] = {}

    def source(self, oauth2: OAuth2, label: str = "") -> TokenSource:
        """The source of these tokens, made where there is none yet."""
        source = self._sources.get(oauth2)
        if source is None:
            source = self._sources[oauth2] = self._made(oauth2, label)
        return source

    async def token_of(self, oauth2: OAuth2) -> Token:
        """As `TokenSource.token`."""
        return await self.source(oauth2).token()

    def keep(self, users: Iterable[tuple[OAuth2, str]]) -> Mapping[OAuth2, TokenSource]:
        """Keeps the sources that these users need, makes those that are new, and forgets all others.

        A source is named after the first of its users.
        """
        labels: dict[OAuth2, str] = {}
        for oauth2, user in users:
            labels.setdefault(oauth2, user)
        self._sources = {oauth2: self.source(oauth2, label) for oauth2, label in labels.items()}
        for oauth2, source in self._sources.items():
            source.label = labels[oauth2]
            source.hurry()
        return self._sources

    def _made(self, oauth2: OAuth2, label: str) -> TokenSource:
        if oauth2.token_file:
            return TokenFile(label, oauth2.token_file, self._clock)
        return RenewedToken(label, self._fetch_of(oauth2, self._clock), self._clock, self._publish)


TokenOf = Callable[[OAuth2], Awaitable[Token]]
"""Gets the token of a source that others share. Raises NoCredential."""


async def secret_of(login: Login, token_of: TokenOf) -> Secret:
    """What logs in: the bearer token, or the password. Raises NoCredential."""
    return await (token_of(login.oauth2) if login.oauth2 else shared_secret(login.password))


async def no_tokens(oauth2: OAuth2) -> Token:
    """Stands in where nobody keeps tokens."""
    raise NoCredential(Reason.AUTH_UNAVAILABLE, "nobody keeps tokens here")


def _fetch_of(oauth2: OAuth2, clock: Clock) -> Fetch:
    if oauth2.token_command:
        from mailprobe.auth.token_command import CommandFetch

        return CommandFetch(oauth2.token_command, clock)
    from mailprobe.auth.token_endpoint import EndpointFetch

    return EndpointFetch(oauth2, clock)
