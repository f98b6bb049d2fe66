"""Hides what a server repeats of a password, whole or in part, in whatever form it was sent. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote, quote_plus

from mailprobe.auth.passwords import Secret

HIDDEN: Final = "***"
_FRAGMENT: Final = 6
"""Characters of a password that are not shown together. Larger, and too much of it would pass."""
TOKEN_FRAGMENT: Final = 12
"""Of a bearer token, which has a thousand and more: with six of them, ordinary words would be hidden by chance."""
_FEW: Final = 64
"""Fragments that are faster looked for one by one."""
_REMEMBERED: Final = 100
"""Short texts in which nothing was found, and logins whose fragments are at hand: servers repeat themselves."""
_SHORT: Final = 1024


class Scrubber:
    """Hides text in which a server repeats a credential: whole or a good part of it, however it is spaced."""

    def __init__(self, forms: Iterable[str] = (), fragment: int = _FRAGMENT) -> None:
        self._fragments = frozenset(piece for form in forms for piece in _fragments(_dense(form), fragment))
        few = len(self._fragments) <= _FEW
        self._singly = tuple(piece for piece in self._fragments if few or len(piece) < fragment)
        self._length = fragment
        self._clean: set[str] = set()

    def __call__(self, text: str) -> str:
        """The text, or `***` if it has anything of a credential."""
        return HIDDEN if self.finds_in(text) else text

    def finds_in(self, text: str) -> bool:
        """Whether the text has anything of a credential."""
        if not self._fragments or text in self._clean:
            return False
        if self._has_fragment(_dense(text)):
            return True
        if len(text) <= _SHORT:
            if len(self._clean) >= _REMEMBERED:
                self._clean.clear()
            self._clean.add(text)
        return False

    def _has_fragment(self, dense: str) -> bool:
        if any(fragment in dense for fragment in self._singly):
            return True
        if len(self._fragments) <= _FEW:
            return False
        length = self._length
        return any(dense[at : at + length] in self._fragments for at in range(len(dense) - length + 1))


_scrubbers: Final[dict[str, tuple[Secret, Scrubber]]] = {}


def scrubber_of(username: str, password: Secret) -> Scrubber:
    """The scrubber of a login's `giveaways`; the last ones are remembered."""
    known, scrubber = _scrubbers.get(username, (None, None))
    if scrubber is None or known != password:
        if len(_scrubbers) >= _REMEMBERED:
            _scrubbers.clear()
        scrubber = Scrubber(giveaways(username, password))
        _scrubbers[username] = password, scrubber
    return scrubber


def giveaways(username: str, password: Secret) -> tuple[str, ...]:
    """The forms in which a server could repeat the password: as it is, in hexadecimal, in any base64, in quotes."""
    secret = password.reveal().encode()
    whole = (_base64(password.reveal()), _base64(f"\0{username}\0{password.reveal()}"))
    quoted = password.reveal().replace("\\", "\\\\").replace('"', '\\"')
    return password.reveal(), quoted, secret.hex(), *whole, *_shifted(secret)


def token_giveaways(token: str) -> tuple[str, ...]:
    """The forms in which a server could repeat a token or what it costs: as it is, as in a URL or a form, in
    hexadecimal, in any base64.
    """
    quoted = quote_plus(token), quote(token), quote(token, safe="")
    return token, *quoted, token.encode().hex(), *_shifted(token.encode())


def _shifted(secret: bytes) -> tuple[str, ...]:
    # in the base64 of a longer text the secret begins at any of three places in a group of three bytes
    forms = (base64.b64encode(b"\0" * shift + secret).decode()[bool(shift) * 4 : -4] for shift in range(3))
    return tuple(form for form in forms if form)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _fragments(dense: str, length: int) -> list[str]:
    """Pieces one of which is in every longer part of the text."""
    last = len(dense) - length
    if last <= 0:
        return [dense] if dense else []
    return [dense[at : at + length] for at in (*range(0, last, length), last)]


def _dense(text: str) -> str:
    return "".join(text.split()).casefold()
