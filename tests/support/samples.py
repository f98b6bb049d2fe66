"""Messages as real servers write them, from `tests/data`: one file each, its origin in the first line."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parent.parent / "data"


def names(folder: str) -> list[str]:
    """The samples in a folder of `tests/data`."""
    return sorted(path.stem for path in (DATA / folder).glob("*.txt"))


def origin(name: str) -> str:
    """Where a sample comes from."""
    return _read(name)[0]


def sample(name: str, *, token: str = "", newline: str = "\r\n") -> bytes:
    """A sample without its origin, as it would come over the wire; `{token}` in it is replaced."""
    return _read(name)[1].replace("{token}", token).replace("\n", newline).encode()


def _read(name: str) -> tuple[str, str]:
    first, _, text = (DATA / f"{name}.txt").read_text(encoding="utf-8").partition("\n")
    return first.removeprefix("Origin: ").strip(), text
