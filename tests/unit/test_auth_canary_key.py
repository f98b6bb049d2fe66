"""The canary key: made once, private, the same after a restart; a file that is no key is said to be none."""

from __future__ import annotations

import stat

import pytest

from mailprobe.auth.canary_key import canary_key
from mailprobe.errors import ConfigurationError


def sign(key):
    return key.sign("fra1", "inbound", "a" * 16, 1_700_000_000)


def test_a_key_is_made_beside_the_journal_once(tmp_path):
    journal = tmp_path / "new" / "journal.db"
    first = canary_key(None, journal)
    assert sign(canary_key(None, journal)) == sign(first)
    kept = tmp_path / "new" / "journal.db.key"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [path.name for path in kept.parent.iterdir()] == ["journal.db.key"]


def test_without_a_journal_every_run_has_its_own_key():
    assert sign(canary_key(None, None)) != sign(canary_key(None, None))


def test_a_key_file_wins_and_its_newline_does_not_count(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789abcdef0123456789abcdef\n")
    (tmp_path / "b").write_bytes(b"0123456789abcdef0123456789abcdef")
    assert sign(canary_key(tmp_path / "a", tmp_path / "journal.db")) == sign(canary_key(tmp_path / "b", None))
    assert not (tmp_path / "journal.db.key").exists()


@pytest.mark.parametrize(("content", "words"), [(b"", "file 0"), (b"short\n", "file 5"), (b"x" * 5000, "file 4097")])
def test_a_file_that_is_no_key_is_refused_without_showing_it(tmp_path, content, words):
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        canary_key(path, None)
    assert words in str(caught.value)
    assert "short" not in str(caught.value)


def test_what_cannot_be_read_or_written_is_said(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot read the canary key"):
        canary_key(tmp_path / "missing", None)
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot write the canary key"):
        canary_key(None, tmp_path / "file" / "journal.db")
