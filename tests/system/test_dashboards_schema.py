"""The dashboards against Grafana's own types, by the compiler of the language in which these are written."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.dashboards import FILES, NAMES, load
from support.servers import missing

HERE = Path(__file__).parents[1]
CODE = "import type {{ Board }} from './board';\nexport const board: Board = {};\n"
OPTIONS = ["--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "bundler", "--module", "esnext"]


@pytest.fixture
def grafana_types(tmp_path: Path) -> Path:
    """A directory in which `@grafana/schema` is found; tests/run has installed it."""
    work = Path(os.environ.get("GRAFANA_TYPES", HERE.parent / ".venv-test" / "grafana"))
    if not (work / "node_modules" / ".bin" / "tsc").exists():
        missing("tsc", f"nothing in {work}; tests/run installs it where there is npm")
    (tmp_path / "node_modules").symlink_to(work / "node_modules")
    (tmp_path / "board.ts").write_text((HERE / "support" / "grafana_types" / "board.ts").read_text())
    return tmp_path


def complaints(directory: Path, boards: dict[str, str]) -> list[str]:
    """What the compiler says of these dashboards, given as JSON."""
    for name, text in boards.items():
        (directory / f"{name}.ts").write_text(CODE.format(text))
    done = subprocess.run(
        [directory / "node_modules" / ".bin" / "tsc", *OPTIONS, *(f"{name}.ts" for name in boards)],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.stdout.splitlines()


def spoilt(change: dict[str, Any]) -> str:
    return json.dumps(load("overview") | change)


@pytest.mark.timeout(120)
def test_dashboards_are_of_grafanas_types(grafana_types: Path) -> None:
    wrong = {
        "wrong_type": spoilt({"refresh": 60}),
        "wrong_enumeration": spoilt({"graphTooltip": "both"}),
        "unknown_key": spoilt({"tittle": "Overview"}),
    }
    right = {name: FILES[name].read_text(encoding="utf-8") for name in NAMES}
    said = complaints(grafana_types, right | wrong)
    assert {line.partition("(")[0] for line in said} == {f"{name}.ts" for name in wrong}, "\n".join(said)
