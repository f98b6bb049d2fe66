"""Basic authentication against bcrypt hashes (RFC 7617), as exporter-toolkit does it.

A hash costs 70 ms of CPU and more: it is computed in a thread, one at a time, for at most `_WAITING` logins of a peer,
and the answer is remembered under a keyed digest. An unknown user costs as much as the dearest known one, and nothing
else tells whether there is such a user.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import ipaddress
import secrets
from collections import Counter
from collections.abc import Mapping
from typing import Final

import bcrypt

_REMEMBERED: Final = 100
"""Logins that are remembered, the good ones apart from the bad: no number of guesses makes a good one be forgotten."""
_WAITING: Final = 4
"""Logins of one peer that wait for a hash; more are turned away, or a flood would keep real users out for minutes."""
_ALL_WAITING: Final = 64
_PASSWORD_LIMIT: Final = 72
"""Octets that bcrypt looks at; a longer password is refused instead of being cut."""
_NOBODY: Final = "$abcdefghijklmnopqrstuuBzY62wpgX3PECZsDrfWEYL2DB0d7mZu"
"""Salt and digest that no known password has, for users that are not there."""


class TooManyLogins(Exception):
    """More logins are being checked than is good for the agent."""


class Gate:
    """Tells who may come in."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._good: dict[bytes, None] = {}
        self._bad: dict[bytes, None] = {}
        self._checking: dict[bytes, asyncio.Task[bool]] = {}
        self._waiting: Counter[str] = Counter()
        self._one_at_a_time = asyncio.Lock()

    async def admits(self, users: Mapping[str, str], authorization: str | None, peer: str = "") -> bool:
        """True if the header's user and password are among `users`; `peer` is who asks. Raises TooManyLogins."""
        login = credentials(authorization)
        if login is None:
            return False
        user, password = login
        hashed = users.get(user) or _nobody(users)
        parts = (part.hex().encode() for part in (user.encode("utf-8", "replace"), hashed.encode(), password))
        digest = hashlib.blake2b(b":".join(parts), key=self._key, digest_size=32).digest()
        if digest in self._good or digest in self._bad:
            return digest in self._good
        if digest not in self._checking:
            self._begin(digest, user in users, password, hashed, _network(peer))
        # the same login comes by many connections at once: it is checked once, and for all that are still there
        return await asyncio.shield(self._checking[digest])

    def _begin(self, digest: bytes, known: bool, password: bytes, hashed: str, peer: str) -> None:
        if self._waiting[peer] >= _WAITING or len(self._checking) >= _ALL_WAITING:
            raise TooManyLogins
        self._waiting[peer] += 1

        def done(_: asyncio.Task[bool]) -> None:
            del self._checking[digest]
            self._waiting[peer] -= 1
            self._waiting += Counter()  # forgets those at zero

        self._checking[digest] = asyncio.create_task(self._check(digest, known, password, hashed))
        self._checking[digest].add_done_callback(done)

    async def _check(self, digest: bytes, known: bool, password: bytes, hashed: str) -> bool:
        async with self._one_at_a_time:
            matches = await asyncio.to_thread(_matches, password, hashed) and known
        remembered = self._good if matches else self._bad
        if len(remembered) >= _REMEMBERED:
            remembered.pop(next(iter(remembered)))
        remembered[digest] = None
        return matches


def _nobody(users: Mapping[str, str]) -> str:
    """A hash of the highest cost there is, so that the time does not tell who is a user."""
    cost = max((hashed[4:6] for hashed in users.values()), default="10")
    return f"$2b${cost}{_NOBODY}"


def _network(peer: str) -> str:
    """An IPv6 peer's /64, which is one's own to choose addresses from; anything else as it is."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    return peer if address.version == 4 or address.ipv4_mapped else address.packed[:8].hex()


def is_loopback(host: str) -> bool:
    """True if the name or address, with or without a port, cannot be of another machine. Source: RFC 6761 6.3."""
    name = host.strip().lower()
    name = (
        name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0] if name.count(":") < 2 else name
    )
    if name.rstrip(".") == "localhost" or name.rstrip(".").endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or bool(address.version == 6 and address.ipv4_mapped and address.ipv4_mapped.is_loopback)


def from_elsewhere(headers: Mapping[str, str]) -> bool:
    """True if a browser asks on behalf of another site's page; other clients send neither header.

    Source: Fetch Metadata Request Headers 2.4; RFC 6454 7.
    """
    if headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        return True
    origin = headers.get("Origin")
    return origin is not None and origin.partition("://")[2].lower() != headers.get("Host", "").lower()


def credentials(authorization: str | None) -> tuple[str, bytes] | None:
    """User and password of a Basic Authorization header, None if it is not one. Source: RFC 7617 2."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (user.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None


def _matches(password: bytes, hashed: str) -> bool:
    try:
        return bcrypt.checkpw(password[:_PASSWORD_LIMIT], hashed.encode()) and len(password) <= _PASSWORD_LIMIT
    except ValueError:
        return False
