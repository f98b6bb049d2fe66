"""The key that signs canaries: read from a file, or made once and kept beside the journal."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final

from mailprobe.errors import ConfigurationError
from mailprobe.message.token import KEY_MINIMUM, Key

KEY_OCTETS: Final = 32
_MOST: Final = 4096


def canary_key(key_file: Path | None, journal: Path | None) -> Key:
    """The agent's key: that of `key_file`, else one kept beside the journal, else one for this run only.

    With neither, canaries of an earlier run are strangers. Raises ConfigurationError if a file cannot be used.
    """
    if key_file is not None:
        return _read(key_file)
    if journal is None:
        return Key.generate()
    kept = journal.with_name(journal.name + ".key")
    if kept.exists():
        return _read(kept)
    try:
        _make(kept)
    except OSError as error:
        raise ConfigurationError(
            f"{kept}: cannot write the canary key here: {error.strerror}; give agent.key_file or another agent.journal"
        ) from error
    return _read(kept)


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # whole or not at all: a process killed here must not leave half a key
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, secrets.token_hex(KEY_OCTETS).encode() + b"\n")
        os.fsync(descriptor)
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        os.close(descriptor)
        os.unlink(temporary)


def _read(path: Path) -> Key:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST + 1).strip()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot read the canary key: {error.strerror}") from error
    if not KEY_MINIMUM <= len(content) <= _MOST:
        raise ConfigurationError(
            f"{path}: a canary key has {KEY_MINIMUM} to {_MOST} octets, this file {len(content)}; "
            "make one with: openssl rand -hex 32"
        )
    return Key.from_bytes(content)
