"""Files that somebody else put where ours are to be: never followed, never overwritten."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from mailprobe.auth.canary_key import canary_key
from mailprobe.errors import ConfigurationError
from mailprobe.observe.storage import Storage
from mailprobe.web.web_config import read_web_config


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    file = tmp_path / "victim"
    file.write_text("precious\n")
    return file


def test_a_new_key_is_not_written_through_a_link(tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guessed = secrets.token_hex  # even one who guesses the name
    monkeypatch.setattr(secrets, "token_hex", lambda octets: "guessed" if octets == 8 else guessed(octets))
    for name in ("guessed", str(os.getpid())):
        (tmp_path / f"journal.db.key.{name}").symlink_to(victim)

    with pytest.raises(ConfigurationError, match="cannot write the canary key"):
        canary_key(None, tmp_path / "journal.db")
    assert victim.read_text() == "precious\n"


def test_the_lock_is_not_written_through_a_link(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "journal.db.lock").symlink_to(victim)
    storage = Storage(tmp_path / "journal.db")
    with pytest.raises(OSError, match="symbolic"):
        storage.open()
    storage.close()
    assert victim.read_text() == "precious\n"


def test_a_web_configuration_nested_too_deeply_is_refused_like_any_other(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text("basic_auth_users: " + "[" * 50_000)
    with pytest.raises(ConfigurationError, match="not YAML"):
        read_web_config(file)
