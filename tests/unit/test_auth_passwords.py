"""Secrets: read where they are, shown nowhere."""

from __future__ import annotations

import copy
import errno
import json
import os
import pickle
from pathlib import Path

import pytest

from mailprobe.auth.passwords import Secret, read_secret, shared_secret
from mailprobe.errors import NoCredential, ProbeFailure, Reason, Stage
from mailprobe.plan import SecretReference


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret("hunter2")
    for shown in (str(secret), repr(secret), f"{secret}", f"{secret!r:>20}", repr([secret]), "%s" % secret):  # noqa: UP031
        assert "hunter2" not in shown
        assert "***" in shown
    assert secret.reveal() == "hunter2"


def test_a_secret_is_not_serialised() -> None:
    for serialise in (pickle.dumps, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            serialise(Secret("hunter2"))
    assert not hasattr(Secret("hunter2"), "__dict__")


def test_secrets_are_compared_by_value() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"hunter2", "hunter2"),
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b" two words \n", " two words "),
        ("pässwörd\n".encode(), "pässwörd"),
        (b"a\n\n", "a\n"),
    ],
)
def test_from_a_file(content: bytes, password: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    assert read_secret(SecretReference(file=file)).reveal() == password


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PASSWORD", "hunter2")
    assert read_secret(SecretReference(env="SOME_PASSWORD")).reveal() == "hunter2"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"hunter2\xff", b"hunter2" * 10_000])
def test_what_is_no_password(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ProbeFailure) as raised:
        read_secret(SecretReference(file=file))
    assert (raised.value.stage, raised.value.reason) == (Stage.AUTH, Reason.AUTH_UNAVAILABLE)
    assert str(file) in raised.value.detail
    assert "hunter2" not in raised.value.detail
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_a_variable_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_PASSWORD", raising=False)
    with pytest.raises(ProbeFailure, match="SOME_PASSWORD"):
        read_secret(SecretReference(env="SOME_PASSWORD"))


def test_a_variable_that_is_not_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PASSWORD", os.fsdecode(b"hunter2\xfc"))
    with pytest.raises(NoCredential, match="not UTF-8") as raised:
        read_secret(SecretReference(env="SOME_PASSWORD"))
    assert raised.value.reason is Reason.AUTH_UNAVAILABLE
    assert "hunter2" not in raised.value.detail
    assert raised.value.__context__ is None


async def test_a_shared_secret_is_read_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    reference = SecretReference(file=file)
    file.write_text("old\n")
    assert (await shared_secret(reference)).reveal() == "old"
    file.write_text("new\n")
    assert (await shared_secret(reference)).reveal() == "old"
    monkeypatch.setattr("mailprobe.auth.passwords.FRESH_SECONDS", 0.0)
    assert (await shared_secret(reference)).reveal() == "new"
    file.unlink()
    with pytest.raises(ProbeFailure):
        await shared_secret(reference)


async def test_a_secret_of_the_environment_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    for password in ("old", "new"):
        monkeypatch.setenv("SOME_PASSWORD", password)
        assert (await shared_secret(SecretReference(env="SOME_PASSWORD"))).reveal() == password


@pytest.mark.parametrize("limit", ["EMFILE", "ENFILE", "ENOMEM"])
def test_a_limit_of_ours_is_no_fact_about_the_password(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(getattr(errno, limit), limit)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(OSError, match=limit):
        read_secret(SecretReference(file=Path("secret")))
