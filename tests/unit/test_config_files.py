"""Whole files: each broken one fails with exactly its own errors, each good one loads."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailprobe.config.load import load
from mailprobe.errors import ConfigurationError

FILES = Path(__file__).parent / "config"
ENVIRON = {"CANARY_PASSWORD": "hunter2", "EMPTY_VARIABLE": ""}
BAD = sorted((FILES / "bad").glob("*.yaml"))


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_broken_file_fails_with_its_own_errors(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The errors stand beside the file as they are printed, without its name."""
    monkeypatch.chdir(path.parent)
    with pytest.raises(ConfigurationError) as caught:
        load(Path(path.name), ENVIRON)
    said = [problem.removeprefix(f"{path.name}:").lstrip() for problem in caught.value.problems]
    assert said == path.with_suffix(".errors").read_text().splitlines()


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_no_error_holds_a_secret(path: Path) -> None:
    """Every password, and every place where one might be written by mistake, is hunter2."""
    with pytest.raises(ConfigurationError) as caught:
        load(path, ENVIRON)
    assert "hunter" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_every_broken_file_has_its_errors() -> None:
    assert len(BAD) > 40
    assert {path.stem for path in BAD} == {path.stem for path in (FILES / "bad").glob("*.errors")}


@pytest.mark.parametrize("path", sorted((FILES / "good").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_good_file_loads_without_a_warning(path: Path) -> None:
    configuration = load(path, ENVIRON)
    assert configuration.plan.routes
    assert configuration.warnings == ()


def test_words_that_yaml_1_1_takes_for_something_else_are_words() -> None:
    plan = load(FILES / "good" / "surprising_words.yaml", ENVIRON).plan
    assert list(plan.routes) == ["123", "y"]
    assert plan.routes["y"].sender.name == "on"
    assert plan.routes["123"].mailbox.login.username == "0123"
    assert plan.routes["123"].mailbox.junk == "off"


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """A configuration that is not there is no empty configuration."""
    with pytest.raises(ConfigurationError, match=r"nothing\.yaml: this file does not exist"):
        load(tmp_path / "nothing.yaml", {})


def test_a_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="this is a directory; name the YAML file in it"):
        load(tmp_path, {})


def test_an_unreadable_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # root may read everything
    with pytest.raises(ConfigurationError, match="may not be read by the user that runs mailprobe"):
        load(tmp_path / "mailprobe.yaml", {})


def test_a_file_name_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigurationError, match="this file cannot be read: Not a directory"):
        load(tmp_path / "file" / "mailprobe.yaml", {})
