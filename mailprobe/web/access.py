"""Basic authentication against bcrypt hashes (RFC 7617), as exporter-toolkit does it.

A hash costs 70 ms of CPU: it is computed in a thread, one at a time, for at most `_WAITING` requests, and the answer
is remembered under a keyed digest. An unknown user costs the same as a known one.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
from collections.abc import Mapping
from typing import Final

import bcrypt

_REMEMBERED: Final = 100
_WAITING: Final = 16
"""Requests that wait for a hash; more are turned away, or a flood would keep real users out for minutes."""
_PASSWORD_LIMIT: Final = 72
"""Octets that bcrypt looks at; a longer password is refused instead of being cut."""
_NOBODY: Final = "$2b$10$abcdefghijklmnopqrstuuBzY62wpgX3PECZsDrfWEYL2DB0d7mZu"
"""A hash of the usual cost that no known password has, for users that are not there."""


class TooManyLogins(Exception):
    """More logins are being checked than is good for the agent."""


class Gate:
    """Tells who may come in."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, bool] = {}
        self._one_at_a_time = asyncio.Lock()
        self._waiting = 0

    async def admits(self, users: Mapping[str, str], authorization: str | None) -> bool:
        """True if the header's user and password are among `users`. Raises TooManyLogins."""
        login = credentials(authorization)
        if login is None:
            return False
        user, password = login
        hashed = users.get(user, _NOBODY)
        parts = (part.hex().encode() for part in (user.encode("utf-8", "replace"), hashed.encode(), password))
        digest = hashlib.blake2b(b":".join(parts), key=self._key, digest_size=32).digest()
        if digest not in self._known:
            matches = await self._check(password, hashed)
            if len(self._known) >= _REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[digest] = matches and user in users
        return self._known[digest]

    async def _check(self, password: bytes, hashed: str) -> bool:
        if self._waiting >= _WAITING:
            raise TooManyLogins
        self._waiting += 1
        try:
            async with self._one_at_a_time:
                return await asyncio.to_thread(_matches, password, hashed)
        finally:
            self._waiting -= 1


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
