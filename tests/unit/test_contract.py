"""What users, dashboards and checks rely on: the command line, the paths, the metrics, the words, and README.

The tables here are the contract. What it promises and a later version will bring is listed as such: whoever brings it
takes it off that list.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest
import yaml
from support.result_shape import OUTCOMES, STAGES
from test_observe_metrics import CONTRACT as METRICS

from mailprobe.cli import COMMANDS, main
from mailprobe.config.load import load
from mailprobe.errors import Stage
from mailprobe.model import Outcome
from mailprobe.web.handlers import Handlers
from mailprobe.web.server import not_ready

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
STATUS_FEEDS = (ROOT / "deploy" / "STATUS_FEEDS.md").read_text(encoding="utf-8")

OPTIONS = {
    "": {"--version", "-v", "--verbose", "--log-format"},
    "run": {"-c", "--config"},
    "probe": {
        *("-c", "--config", "--smtp", "--imap", "--to", "--from", "--smtp-password-file", "--imap-password-file"),
        *("--smtp-token-file", "--imap-token-file"),
        *("--ca-file", "--timeout", "--format", "--warning", "--keep", "--transcript"),
    },
    "check": {"-c", "--config", "--connect"},
    "demo": {"--port", "--outage", "--speed"},
    "drill": {"--speed", "--format", "--seed", "--routes"},
    "report": {"-c", "--config", "--since", "--until", "--route", "--format"},
    "healthcheck": {"--url"},
    "config": set(),
}
OPTIONS_EVERYWHERE = {"--help", "-v", "--verbose", "--log-format"}
LATER_COMMANDS: set[str] = set()
LATER_OPTIONS: dict[str, set[str]] = {}

PATHS = {
    *("/metrics", "/probe", "/-/healthy", "/-/ready", "/-/reload", "/", "/canaries/{id}"),
    *("/api/v1/routes", "/api/v1/canaries", "/api/v1/canaries/{id}", "/api/v1/incidents"),
}
LATER_PATHS: set[str] = set()


# ---- the command line


def test_commands() -> None:
    assert set(COMMANDS) == OPTIONS.keys() - {""} - LATER_COMMANDS


@pytest.mark.parametrize("name", sorted(OPTIONS.keys() - LATER_COMMANDS))
def test_options(name: str) -> None:
    context = click.Context(main)
    command = main.get_command(context, name) if name else main
    assert command
    found = {option for parameter in command.get_params(context) for option in parameter.opts}
    promised = (OPTIONS[name] | OPTIONS_EVERYWHERE) - LATER_OPTIONS.get(name, set())
    # click remembers under which names help was asked for first
    assert {option for option in found if option.startswith("-")} - {"-h"} == promised


def test_parts_of_config() -> None:
    config = main.get_command(click.Context(main), "config")
    assert isinstance(config, click.Group)
    assert set(config.commands) == {"example", "schema"}


# ---- HTTP


def served() -> set[str]:
    parts = cast(Any, SimpleNamespace())
    handlers = Handlers(parts, parts, parts, parts, not_ready, parts)
    return {cast(Any, route).path for route in handlers.routes()} | {"/probe"}


def test_paths() -> None:
    assert served() == PATHS - LATER_PATHS


# ---- the document


def test_the_words_of_the_document() -> None:
    assert {str(stage) for stage in Stage} == set(STAGES)
    assert {str(outcome) for outcome in Outcome} == set(OUTCOMES)


# ---- README


def table(title: str) -> list[list[str]]:
    """The rows of the first table below a heading or with that first column's name, without its head."""
    _, _, rest = README.partition(title)
    lines = rest.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("|---"))
    rows = []
    for line in lines[begin + 1 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_readme_has_every_metric_with_its_labels() -> None:
    promised = {name: labels for name, _, *labels in map(str.split, METRICS.strip().splitlines())}
    said = {
        name: [label for label in labels.split(", ") if label]
        for names, labels, _ in table("## Metrics")
        for name in re.findall(r"`(mailprobe_\w+)`", names)
    }
    assert said == promised


def test_readme_has_every_path() -> None:
    cells = " ".join(row[0] for row in table("## HTTP")).replace("/ID", "/{id}")
    said = {path.partition("?")[0] for path in re.findall(r"`(/[^`]*)`", cells)}
    assert said == PATHS - LATER_PATHS


def test_readme_has_every_outcome() -> None:
    said = [row[0].strip("`") for row in table("| outcome |")]
    assert said == [str(outcome) for outcome in Outcome]


def test_readme_has_every_command() -> None:
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))
    said = set(re.findall(r"\bmailprobe ([a-z]+)", blocks))
    assert said == set(COMMANDS)


def test_the_configuration_in_readme_loads(tmp_path: Path) -> None:
    """As it stands there, with the status feeds, but for the directories, which this machine need not have."""
    block = "".join(re.findall(r"```yaml\n(.*?)```", README + STATUS_FEEDS, re.DOTALL))
    (tmp_path / "o365").write_text("a password\n")
    text = block.replace("/run/secrets", str(tmp_path)).replace("/var/lib/mailprobe", str(tmp_path))
    file = tmp_path / "mailprobe.yaml"
    file.write_text(text)
    configuration = load(file, {})
    assert set(configuration.plan.routes) == set(yaml.safe_load(text)["routes"])
    assert set(configuration.plan.feeds) == {"microsoft", "filter"}
    assert configuration.warnings == ()


def test_the_pictures_in_readme_are_there_and_small() -> None:
    pictures = set(re.findall(r"tests/screenshots/[\w-]+\.png", README))
    assert pictures
    assert {file.name for file in ROOT.glob("tests/screenshots/*.png")} == {Path(name).name for name in pictures}
    assert all((ROOT / name).stat().st_size < 200_000 for name in pictures)
