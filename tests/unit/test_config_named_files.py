"""Files that settings name: everything that a file system may say to them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailprobe.config import files


def test_a_file_with_something_in_it_is_readable(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    assert files.unreadable(tmp_path / "secret") is None


def test_a_link_into_a_directory_of_kubernetes_is_readable(tmp_path: Path) -> None:
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "secret").write_text("x")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "secret").symlink_to("..data/secret")
    assert files.unreadable(tmp_path / "secret") is None


def test_a_pipe_is_readable_and_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert files.unreadable(tmp_path / "pipe") is None


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("nothing", "the file does not exist"),
        ("dangling", "the file does not exist"),
        ("directory", "is a directory, not a file"),
        ("empty", "the file is empty"),
        ("empty/below", "the file cannot be read: Not a directory"),
        ("loop", "the file cannot be read: Too many levels of symbolic links"),
        ("x" * 300, "the file cannot be read: File name too long"),
        ("x\0y", "the file cannot be read: not a file name"),
    ],
)
def test_what_cannot_be_read(name: str, wrong: str, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "loop").symlink_to("loop")
    assert files.unreadable(tmp_path / name) == wrong


def test_a_file_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("x")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    assert files.unreadable(tmp_path / "secret") == "the file may not be read by the user that runs mailprobe"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("directory", None),
        ("nothing", "the directory does not exist"),
        ("file", "is a file, not a directory"),
        ("x" * 300, "the directory cannot be read: File name too long"),
    ],
)
def test_a_directory_of_secrets(name: str, wrong: str | None, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    assert files.not_a_directory(tmp_path / name) == wrong


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("file", None),
        ("directory/journal.db", None),
        ("directory", "is a directory; write the name of a file in it"),
        ("nothing/journal.db", "the directory that it is to be in does not exist; create it"),
        ("file/journal.db", "the file cannot be used: Not a directory"),
        ("x" * 300, "the file cannot be used: File name too long"),
    ],
)
def test_a_journal(name: str, wrong: str | None, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    assert files.unusable_as_database(tmp_path / name) == wrong
