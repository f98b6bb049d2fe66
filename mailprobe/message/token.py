"""The keyed token that proves a canary ours: `v1.<agent>.<route-hash>.<id>.<sent>.<tag>`.

It travels in a header, in the Message-ID (RFC 5322 3.6.4), as an ENVID (RFC 3461 4.4) and in the body, because any of
these may be rewritten on the way. Its alphabet is `a-z 0-9 - .`: an atom wherever it stands, its own xtext, and the
same after case folding, for it is proved in lower case. It is at most 77 characters long, so that no line that carries
it exceeds 78 (RFC 5322 2.1.1).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

TOKEN_LIMIT: Final = 77
"""Characters of the longest token that is made."""

KEY_MINIMUM: Final = 16
"""Octets of the shortest key: as strong as the tag (128 bits)."""

CANDIDATES_LIMIT: Final = 64
"""How many things that look like a token are tried in one text; a genuine report quotes ours first or second."""

_ID: Final = re.compile(r"[a-z0-9]{1,16}")
_AGENT: Final = re.compile(r"[a-z0-9-]{1,12}")
_SHAPE: Final = re.compile(rb"(v1\.([a-z0-9-]{1,12})\.([a-z2-7]{8})\.([a-z0-9]{1,16})\.([0-9a-f]{8}))\.([a-z2-7]{26})")


def new_canary_id() -> str:
    """A canary's id: 80 unguessable bits as 16 characters."""
    return _base32(secrets.token_bytes(10))


@lru_cache(maxsize=256)
def agent_label(agent: str) -> str:
    """An agent's name as it stands in its tokens: the name itself if it is short and plain, else a hash of it.

    Names are host names, so case does not count; dots and long names would break the token. Raises ValueError on
    an empty name.
    """
    if not agent:
        raise ValueError("an agent needs a name")
    name = agent.lower()
    return name if _AGENT.fullmatch(name) else _digest("agent", name)[:12]


@lru_cache(maxsize=1 << 15)
def route_hash(route: str) -> str:
    """A route's name as it stands in tokens: 40 bits as 8 characters."""
    return _digest("route", route)[:8]


@dataclass(frozen=True, slots=True)
class Token:
    """What a proven token says.

    `agent` and `route` are `agent_label` and `route_hash` of the names; `sent_wall` is in whole seconds.
    """

    text: str
    agent: str
    route: str
    id: str
    sent_wall: float

    def is_from(self, agent: str) -> bool:
        """Whether the agent of this name made it."""
        return self.agent == agent_label(agent)

    def is_for(self, route: str) -> bool:
        """Whether it was made for the route of this name."""
        return self.route == route_hash(route)


class Key:
    """The HMAC key that agents which share mailboxes have in common. Never shown."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        """A key as it stands in its file; white space around it, as editors leave it, does not count.

        Raises ValueError where it is shorter than `KEY_MINIMUM`.
        """
        self._octets = octets.strip()
        if len(self._octets) < KEY_MINIMUM:
            raise ValueError(f"the key is too short: at least {KEY_MINIMUM} octets, better 32 random ones")

    @classmethod
    def from_bytes(cls, octets: bytes) -> Key:
        """The same as `Key(octets)`."""
        return cls(octets)

    @classmethod
    def generate(cls) -> Key:
        """A new key: 256 random bits as 64 hexadecimal digits, so that its file can be copied as text."""
        return cls(secrets.token_hex(32).encode())

    def reveal(self) -> bytes:
        """The key itself, to be written to its file and nowhere else."""
        return self._octets

    def __repr__(self) -> str:
        return "Key(***)"

    def sign(self, agent: str, route: str, canary_id: str, sent_wall: float) -> str:
        """The token of one canary, at most `TOKEN_LIMIT` characters.

        Raises ValueError where the id is not 1 to 16 of `a-z 0-9`, or the time is not a Unix time of 32 bits.
        """
        if not _ID.fullmatch(canary_id):
            raise ValueError(f"a canary's id is 1 to 16 of a-z and 0-9, not {canary_id!r}")
        if not 0 <= sent_wall < 1 << 32:
            raise ValueError(f"not a Unix time of this century: {sent_wall!r}")
        claim = f"v1.{agent_label(agent)}.{route_hash(route)}.{canary_id}.{int(sent_wall):08x}"
        return f"{claim}.{self._tag(claim.encode())}"

    def prove(self, text: str | bytes) -> Token | None:
        """What the token says if it is one of this key and nothing else stands there, else None.

        Case and white space around it do not count. Takes the same time whatever is wrong with the tag.
        """
        octets = _octets_of(text).strip()
        if len(octets) > TOKEN_LIMIT:
            return None
        match = _SHAPE.fullmatch(octets.lower())
        return self._proven(match) if match else None

    def find(self, text: str | bytes) -> Token | None:
        """The first proven token anywhere in a text, among the first `CANDIDATES_LIMIT` that look like one.

        The work is linear in the text; how much of it is given is the caller's bound.
        """
        for _, match in zip(range(CANDIDATES_LIMIT), _SHAPE.finditer(_octets_of(text).lower()), strict=False):
            if token := self._proven(match):
                return token
        return None

    def _proven(self, match: re.Match[bytes]) -> Token | None:
        claim, agent, route, id_, sent, tag = match.groups()
        if not hmac.compare_digest(self._tag(claim), tag.decode()):
            return None
        return Token(match[0].decode(), agent.decode(), route.decode(), id_.decode(), float(int(sent, 16)))

    def _tag(self, claim: bytes) -> str:
        return _base32(hmac.digest(self._octets, claim, "sha256")[:16])


def _octets_of(text: str | bytes) -> bytes:
    return text.encode("utf-8", "replace") if isinstance(text, str) else text


def _digest(kind: str, name: str) -> str:
    return _base32(hashlib.sha256(f"mailprobe {kind}\0{name}".encode("utf-8", "surrogatepass")).digest())


def _base32(octets: bytes) -> str:
    return base64.b32encode(octets).rstrip(b"=").lower().decode()
