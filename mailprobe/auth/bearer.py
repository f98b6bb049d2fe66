"""What is said with a bearer token, and what comes back: XOAUTH2 and OAUTHBEARER. Pure.

Sources: RFC 7628 (OAUTHBEARER), Google's and Microsoft's description of XOAUTH2, RFC 6750 2.1 (a token's form),
RFC 7519 (JWT).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Collection
from enum import StrEnum
from typing import Any, Final

from mailprobe.auth.giveaways import Scrubber
from mailprobe.errors import NoCredential, Reason, plain_text

LARGEST_TOKEN: Final = 8192
"""Octets; more would not fit into AUTH's line of 12,288. Source: RFC 4954 4. Microsoft's have 2,000 to 3,000."""
LARGEST_CHALLENGE: Final = 4096
_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
_SHOWN: Final = ("status", "schemes", "scope", "error", "openid-configuration")
"""Keys of an error challenge that are worth showing. Source: RFC 7628 3.2.2."""


class Bearer(StrEnum):
    """How a token is handed over; the standard's way rather than the older one."""

    OAUTHBEARER = "OAUTHBEARER"
    XOAUTH2 = "XOAUTH2"


def choose(offered: Collection[str]) -> Bearer | None:
    """The mechanism to use of those a server offers (in upper case), else None."""
    return next((mechanism for mechanism in Bearer if mechanism in offered), None)


def initial_response(mechanism: Bearer, username: str, token: str, host: str, port: int) -> str:
    """What the client says first, encoded; `host` and `port` are where it is connected to."""
    if mechanism is Bearer.XOAUTH2:
        text = f"user={username}\x01auth=Bearer {token}\x01\x01"
    else:
        name = username.replace("=", "=3D").replace(",", "=2C")
        text = f"n,a={name},\x01host={host}\x01port={port}\x01auth=Bearer {token}\x01\x01"
    return base64.b64encode(text.encode()).decode("ascii")


def farewell(mechanism: Bearer) -> str:
    """What the client answers to an error challenge, so that the server can say its no."""
    return "AQ==" if mechanism is Bearer.OAUTHBEARER else ""


def challenge_text(challenge: str, scrub: Scrubber) -> str:
    """What an error challenge says, for people: the keys that are known, bounded, without anything of the token."""
    try:
        said = json.loads(base64.b64decode(challenge[:LARGEST_CHALLENGE], validate=True))
    except (ValueError, binascii.Error, RecursionError):
        return ""
    if not isinstance(said, dict):
        return ""
    kept = {key: plain_text(scrub(str(said[key])), 100) for key in _SHOWN if isinstance(said.get(key), str | int)}
    return json.dumps(kept) if kept else ""


def checked_token(text: str, where: str) -> str:
    """The text if it has a token's form; `where` it is, for people. Raises NoCredential, which holds nothing of it."""
    if len(text) > LARGEST_TOKEN:
        raise NoCredential(Reason.AUTH_UNAVAILABLE, f"more than {LARGEST_TOKEN} characters are no token: {where}")
    if not _TOKEN.fullmatch(text):
        raise NoCredential(Reason.AUTH_UNAVAILABLE, f"is not a bearer token (RFC 6750): what is {where}")
    return text


def expiry_of(token: str) -> float | None:
    """When a JWT says that it ends, in Unix seconds; None if it does not say, or is none. Nothing is verified."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    expiry = claims.get("exp") if isinstance(claims, dict) else None
    return float(expiry) if isinstance(expiry, int | float) and abs(expiry) < 1e11 else None


def seconds_of(value: object) -> float | None:
    """A life in seconds, which some write as text; None if it is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e9
    return float(value) if usable else None  # type: ignore[arg-type]
