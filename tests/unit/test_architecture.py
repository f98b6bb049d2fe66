"""The rooms and who may import whom (a rule that is not executed is a wish), and how long a file may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import mailprobe

ROOT = Path(mailprobe.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
LONGEST = 500
VOCABULARY = ("clock", "errors", "events", "model", "plan", "vendor")
PURE = ("asyncio", "ssl", "socket", "logging", "mailprobe.config")
ADAPTERS_MAY_NOT = ("mailprobe.probe", "mailprobe.observe", "mailprobe.web", "mailprobe.config")

FEEDS_MAY_NOT = (
    *("mailprobe.observe", "mailprobe.web", "mailprobe.config", "mailprobe.smtp", "mailprobe.imap"),
    *("prometheus_client", "os.environ"),
)


@dataclass(frozen=True)
class Rule:
    """The modules of a room import none of these, nor anything in them. Names under `mailprobe` are rooms."""

    room: str
    never: tuple[str, ...]

    def broken_by(self, module: str, imported: str) -> bool:
        return _inside(module, self.room) and any(_inside(imported, name) for name in self.never)


RULES = (
    Rule("message", PURE),
    Rule("probe.ledger", PURE),
    Rule("probe.entry", PURE),
    *(Rule(room, ADAPTERS_MAY_NOT) for room in ("smtp", "imap", "net", "auth")),
    Rule("probe", ("prometheus_client", "mailprobe.web", "mailprobe.config", "os.environ", "os.getenv")),
    Rule("observe", ("mailprobe.probe", "mailprobe.net", "mailprobe.smtp", "mailprobe.imap")),
    Rule(
        "report", ("asyncio", "mailprobe.probe", "mailprobe.net", "mailprobe.smtp", "mailprobe.imap", "mailprobe.cli")
    ),
    Rule("service", tuple(f"mailprobe.{room}" for room in ("probe", "observe", "web", "config", "net"))),
    Rule("web", ("mailprobe.probe", "mailprobe.net", "mailprobe.smtp", "mailprobe.imap")),
    Rule("feeds.parse", (*PURE, "aiohttp", "mailprobe.net")),
    Rule("feeds", FEEDS_MAY_NOT),
    *(Rule(room, ("mailprobe.feeds",)) for room in ("observe", "web", "probe", "net", "smtp", "imap", "auth")),
)
ONLY_IMPORTERS = {
    "prometheus_client": ("observe", "web"),
    "aiosmtplib": ("smtp", "lab"),
    "aioimaplib": ("imap", "lab"),
    "mailprobe.app": ("cli", "app"),
    "mailprobe.service": ("cli", "app"),
}
"""Who alone may import these: every library has one door."""


def _inside(name: str, room: str) -> bool:
    return name == room or name.startswith(f"{room}.")


def module_of(path: Path) -> str:
    """The module's name without `mailprobe.`; the package itself is the empty name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(source: str, module: str, *, package: bool) -> set[str]:
    """All that a source imports or reaches through `os`, by full name, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = ["mailprobe", *module.split(".")][: None if package else -1]
                base = ".".join([*above[: len(above) - node.level + 1], *([base] if base else [])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            found.add(f"os.{node.attr}")
    return found


def broken(module: str, imported: set[str]) -> list[str]:
    """The rules that these imports break, as lines for people."""
    lines = [f"{module} imports {name}" for name in imported for rule in RULES if rule.broken_by(module, name)]
    if module in VOCABULARY:
        own = {name.removeprefix("mailprobe.") for name in imported if name.startswith("mailprobe.")}
        lines += [f"{module} imports {name}" for name in own if name.split(".")[0] not in VOCABULARY]
    for name, doors in ONLY_IMPORTERS.items():
        if any(_inside(each, name) for each in imported) and not any(_inside(module, door) for door in doors):
            lines.append(f"{module} imports {name}")
    return sorted(set(lines))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_imports_keep_to_the_rules(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert broken(module_of(path), imports_of(source, module_of(path), package=path.name == "__init__.py")) == []


@pytest.mark.parametrize("path", FILES, ids=_name)
def test_files_are_short_and_say_what_they_are(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= LONGEST
    assert ast.get_docstring(ast.parse(source)), "a module begins with what it is for"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("probe.ledger", "import asyncio"),
        ("probe.ledger", "def f():\n    import logging.handlers"),
        ("message.token", "from mailprobe.config import load"),
        ("message.token", "from ..config import load"),
        ("smtp.attempt", "from mailprobe import probe"),
        ("imap.view", "from mailprobe.observe.metrics import Metrics"),
        ("probe.watcher", "from os import environ"),
        ("probe.watcher", "import os\nx = os.environ"),
        ("probe.watcher", "from prometheus_client import Counter"),
        ("observe.history", "from mailprobe.net.connect import connect"),
        ("web.server", "import mailprobe.probe.watcher"),
        ("model", "from mailprobe.net import resolve"),
        ("web.server", "from mailprobe.app import run"),
        ("probe.submitter", "import aiosmtplib"),
        ("report.text", "from mailprobe.cli import main"),
        ("feeds.parse.rss", "import asyncio"),
        ("feeds.parse.rss", "from mailprobe.net import https"),
        ("feeds.poller", "from mailprobe.observe.vendors import Vendors"),
        ("observe.vendors", "from mailprobe.feeds.parse import PARSERS"),
        ("vendor", "from mailprobe.feeds import parse"),
    ],
)
def test_a_broken_rule_is_found(module: str, source: str) -> None:
    assert broken(module, imports_of(source, module, package=False))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("probe.ledger", "from mailprobe.probe.entry import Entry"),
        ("probe.watcher", "import asyncio, logging"),
        ("events", "from mailprobe.model import Canary"),
        ("cli.run", "from mailprobe.app import run"),
    ],
)
def test_what_is_allowed_is_not_found(module: str, source: str) -> None:
    assert broken(module, imports_of(source, module, package=False)) == []


def test_there_is_something_to_walk() -> None:
    assert {"model", "events", "probe.ledger"} <= {module_of(path) for path in FILES}


def test_what_reads_feeds_is_not_imported_where_none_is_configured() -> None:
    program = "import sys, mailprobe.app, mailprobe.cli.run; print(*(name for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "mailprobe.app" in loaded
    assert [name for name in loaded if _inside(name, "mailprobe.feeds")] == []
