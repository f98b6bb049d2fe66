"""Passwords, read when they are needed from where the configuration says, and never shown."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Final

from mailprobe.errors import OUR_LIMITS, NoCredential, Reason
from mailprobe.plan import SecretReference

_LIMIT: Final = 64 * 1024
"""Bytes of a secret file that are read: a longer one is not a secret but a mistake."""
FRESH_SECONDS: Final = 5.0
"""How long a password read from a file is used before the file is read again."""


class Secret:
    """A text that shows itself to nobody but who asks with `reveal()`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; for the wire only."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, _: str) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Secret) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret is not serialised")


def read_secret(reference: SecretReference | None, what: str = "password") -> Secret:
    """The secret as it is now, without the newline that ends a file; `what` it is, for people.

    Raises NoCredential(AUTH_UNAVAILABLE) where it is missing, empty or not text; OSError where this process is at
    its limits, which says nothing about the password. Reads a file: from an
    event loop, call it in a thread.
    """
    if reference is None:
        raise _unavailable(f"no {what} is configured")
    text = _from_file(reference.file, what) if reference.file else os.environ.get(reference.env or "", "")
    if not text:
        raise _unavailable(f"the {what} is empty or not set: {reference}")
    if not _is_utf8(text):
        raise _unavailable(f"the {what} is not UTF-8: {reference}")
    return Secret(text)


_read: Final[dict[Path, tuple[float, Secret]]] = {}


async def shared_secret(reference: SecretReference | None, what: str = "password") -> Secret:
    """As `read_secret`, from an event loop: a file, which may be on a file system that hangs, is read in a thread.

    Now and then only, since a thread costs more than a command to a server: a new password is seen within a few
    seconds. Until then the one read last is held.
    """
    file = reference.file if reference else None
    if file is None:
        return read_secret(reference, what)
    at, secret = _read.get(file, (float("-inf"), None))
    if secret is None or time.monotonic() - at > FRESH_SECONDS:
        _read.pop(file, None)
        secret = await asyncio.to_thread(read_secret, reference, what)
        _read[file] = time.monotonic(), secret
    return secret


def _from_file(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LIMIT + 1)
    except OSError as error:
        if error.errno in OUR_LIMITS:
            raise
        raise _unavailable(f"the {what} cannot be read: {path}: {error.strerror}") from None
    if len(content) > _LIMIT:
        raise _unavailable(f"the {what} is longer than {_LIMIT} bytes: {path}")
    try:
        return content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:  # its message would quote the content
        raise _unavailable(f"the {what} is not UTF-8: {path}") from None


def _is_utf8(text: str) -> bool:
    """False where the environment has an octet that is no character: Python makes it a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:  # its message would quote the text, as would whatever shows it as a cause
        return False
    return True


def _unavailable(detail: str) -> NoCredential:
    return NoCredential(Reason.AUTH_UNAVAILABLE, detail)
