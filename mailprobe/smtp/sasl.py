"""AUTH with a password, PLAIN or LOGIN, once: a wrong one is one failed login. Source: RFC 4954, RFC 4616."""

from __future__ import annotations

import base64
from collections.abc import Collection
from enum import StrEnum

from mailprobe.auth.passwords import Secret


class Mechanism(StrEnum):
    """How to log in."""

    PLAIN = "PLAIN"
    LOGIN = "LOGIN"


def choose(offered: Collection[str]) -> Mechanism | None:
    """The mechanism to use of those a server offers (in lower case): PLAIN rather than LOGIN, else None."""
    return next((mechanism for mechanism in Mechanism if mechanism.lower() in offered), None)


def answers(mechanism: Mechanism, username: str, password: Secret) -> tuple[str, ...]:
    """What to say to the server, encoded: with PLAIN in the AUTH command itself, with LOGIN to its challenges."""
    if mechanism is Mechanism.PLAIN:
        return (_encoded(f"\0{username}\0{password.reveal()}"),)
    return _encoded(username), _encoded(password.reveal())


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
